-- What a host keeps: sealed records, and the documents that govern them.
-- No column holds a time. Every key of account data begins with account_id.
-- The triggers are the promise that a record is never changed: no UPDATE, no
-- DELETE, and no REPLACE, which deletes without asking the delete trigger. They
-- bind whoever changes data. Who may change the schema can drop them.

CREATE TABLE records (
    account_id BLOB NOT NULL CHECK (length(account_id) = 16),
    client_id BLOB NOT NULL CHECK (length(client_id) = 16),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    header BLOB NOT NULL CHECK (length(header) = 173),
    signature BLOB NOT NULL CHECK (length(signature) = 64),
    PRIMARY KEY (account_id, client_id, seq)
) STRICT, WITHOUT ROWID;

-- Bodies lie apart: they alone may be destroyed, by an owner's erasure.
CREATE TABLE bodies (
    account_id BLOB NOT NULL,
    client_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (account_id, client_id, seq),
    FOREIGN KEY (account_id, client_id, seq)
        REFERENCES records (account_id, client_id, seq)
) STRICT;

-- What owners have had destroyed. A range stays erased, so it never shrinks.
CREATE TABLE erasures (
    account_id BLOB NOT NULL,
    client_id BLOB NOT NULL,
    from_seq INTEGER NOT NULL CHECK (from_seq >= 0),
    to_seq INTEGER NOT NULL CHECK (to_seq >= from_seq),
    PRIMARY KEY (account_id, client_id, from_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    account_id BLOB NOT NULL CHECK (length(account_id) = 16),
    version INTEGER NOT NULL CHECK (version >= 1),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    document BLOB NOT NULL,
    PRIMARY KEY (account_id, version)
) STRICT;

-- Only the newest is kept: an old slot is worth something to a thief.
CREATE TABLE keys_blobs (
    account_id BLOB NOT NULL PRIMARY KEY,
    blob BLOB NOT NULL
) STRICT;

CREATE TABLE usage (
    account_id BLOB NOT NULL PRIMARY KEY,
    entries INTEGER NOT NULL CHECK (entries >= 0),
    bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;

CREATE TRIGGER records_no_update BEFORE UPDATE ON records BEGIN
    SELECT RAISE(ABORT, 'records are immutable');
END;
CREATE TRIGGER records_no_delete BEFORE DELETE ON records BEGIN
    SELECT RAISE(ABORT, 'records are immutable');
END;
CREATE TRIGGER records_no_replace BEFORE INSERT ON records
WHEN EXISTS (
    SELECT 1 FROM records WHERE account_id = NEW.account_id
    AND client_id = NEW.client_id AND seq = NEW.seq
) BEGIN
    SELECT RAISE(ABORT, 'records are immutable');
END;

CREATE TRIGGER bodies_no_update BEFORE UPDATE ON bodies BEGIN
    SELECT RAISE(ABORT, 'records are immutable');
END;
CREATE TRIGGER bodies_no_delete BEFORE DELETE ON bodies
WHEN NOT EXISTS (
    SELECT 1 FROM erasures WHERE account_id = OLD.account_id
    AND client_id = OLD.client_id AND OLD.seq BETWEEN from_seq AND to_seq
) BEGIN
    SELECT RAISE(ABORT, 'records are immutable');
END;
-- Also by rowid: REPLACE looks at every unique key of a table, and a rowid is one.
CREATE TRIGGER bodies_no_replace BEFORE INSERT ON bodies
WHEN EXISTS (
    SELECT 1 FROM bodies WHERE account_id = NEW.account_id
    AND client_id = NEW.client_id AND seq = NEW.seq
) OR EXISTS (SELECT 1 FROM bodies WHERE rowid = NEW.rowid) BEGIN
    SELECT RAISE(ABORT, 'records are immutable');
END;
CREATE TRIGGER bodies_not_back BEFORE INSERT ON bodies
WHEN EXISTS (
    SELECT 1 FROM erasures WHERE account_id = NEW.account_id
    AND client_id = NEW.client_id AND NEW.seq BETWEEN from_seq AND to_seq
) BEGIN
    SELECT RAISE(ABORT, 'erased bodies are not taken back');
END;

CREATE TRIGGER erasures_no_update BEFORE UPDATE ON erasures BEGIN
    SELECT RAISE(ABORT, 'erasures are immutable');
END;
CREATE TRIGGER erasures_no_delete BEFORE DELETE ON erasures BEGIN
    SELECT RAISE(ABORT, 'erasures are immutable');
END;
CREATE TRIGGER erasures_no_replace BEFORE INSERT ON erasures
WHEN EXISTS (
    SELECT 1 FROM erasures WHERE account_id = NEW.account_id
    AND client_id = NEW.client_id AND from_seq = NEW.from_seq
) BEGIN
    SELECT RAISE(ABORT, 'erasures are immutable');
END;

CREATE TRIGGER documents_no_update BEFORE UPDATE ON documents BEGIN
    SELECT RAISE(ABORT, 'account documents are immutable');
END;
CREATE TRIGGER documents_no_delete BEFORE DELETE ON documents BEGIN
    SELECT RAISE(ABORT, 'account documents are immutable');
END;
CREATE TRIGGER documents_no_replace BEFORE INSERT ON documents
WHEN EXISTS (
    SELECT 1 FROM documents WHERE account_id = NEW.account_id
    AND version = NEW.version
) OR EXISTS (SELECT 1 FROM documents WHERE rowid = NEW.rowid) BEGIN
    SELECT RAISE(ABORT, 'account documents are immutable');
END;
