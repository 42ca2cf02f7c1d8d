-- What a host keeps of accounts beside their logs: names, sessions, what was used
-- up. Times are whole hours since 1970, of sessions and invitations alone; a nonce
-- begins with a time too, and goes within minutes. Every key of account data begins
-- with account_id, but that of usernames, by which an account is found.

-- An account that the host serves. Its keys and clients stand in its documents.
CREATE TABLE accounts (
    account_id BLOB NOT NULL PRIMARY KEY CHECK (length(account_id) = 16),
    standing INTEGER NOT NULL CHECK (standing IN (0, 1)), -- active, disabled
    quota_bytes INTEGER CHECK (quota_bytes >= 0) -- NULL: as the host has it set
) STRICT, WITHOUT ROWID;

CREATE TABLE usernames (
    username TEXT NOT NULL PRIMARY KEY,
    account_id BLOB NOT NULL UNIQUE REFERENCES accounts (account_id)
) STRICT, WITHOUT ROWID;

-- A token is 32 random bytes that the host forgets: only its hash is here.
CREATE TABLE sessions (
    account_id BLOB NOT NULL REFERENCES accounts (account_id),
    token_hash BLOB NOT NULL CHECK (length(token_hash) = 32),
    client_id BLOB NOT NULL CHECK (length(client_id) = 16),
    created_hour INTEGER NOT NULL,
    seen_hour INTEGER NOT NULL,
    PRIMARY KEY (account_id, token_hash)
) STRICT, WITHOUT ROWID;

-- Nonces of proofs that were taken. They stay until they are too old to be taken
-- again, also where the account is gone: it may be registered again before that.
CREATE TABLE used_nonces (
    account_id BLOB NOT NULL,
    nonce BLOB NOT NULL CHECK (length(nonce) = 32),
    PRIMARY KEY (account_id, nonce)
) STRICT, WITHOUT ROWID;

-- Invitations that nobody has used yet. They belong to no account.
CREATE TABLE invites (
    code_hash BLOB NOT NULL PRIMARY KEY CHECK (length(code_hash) = 32),
    expires_hour INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Makes nonces, and the salts of names that nobody has.
CREATE TABLE host_secret (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    secret BLOB NOT NULL CHECK (length(secret) = 32)
) STRICT;

-- What each log takes; its entries are its head's seq + 1.
CREATE TABLE log_usage (
    account_id BLOB NOT NULL,
    client_id BLOB NOT NULL,
    bytes INTEGER NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (account_id, client_id)
) STRICT, WITHOUT ROWID;

-- No earlier version could erase, so every body that counts is here.
INSERT INTO log_usage
SELECT r.account_id, r.client_id,
    sum(length(r.header) + length(r.signature) + coalesce(length(b.body), 0))
FROM records AS r LEFT JOIN bodies AS b USING (account_id, client_id, seq)
GROUP BY r.account_id, r.client_id;

-- Accounts whose owners had them deleted. The mark comes first, and whatever it
-- names is gone for every reader; the rows follow in batches; the mark goes last.
CREATE TABLE deletions (
    account_id BLOB NOT NULL PRIMARY KEY CHECK (length(account_id) = 16)
) STRICT, WITHOUT ROWID;

-- The promise of 0001, with one way out: the rows of an account that is marked may
-- be deleted. They still cannot be changed or replaced.

DROP TRIGGER records_no_delete;
CREATE TRIGGER records_no_delete BEFORE DELETE ON records
WHEN NOT EXISTS (
    SELECT 1 FROM deletions WHERE account_id = OLD.account_id
) BEGIN
    SELECT RAISE(ABORT, 'records are immutable');
END;

DROP TRIGGER bodies_no_delete;
CREATE TRIGGER bodies_no_delete BEFORE DELETE ON bodies
WHEN NOT EXISTS (
    SELECT 1 FROM erasures WHERE account_id = OLD.account_id
    AND client_id = OLD.client_id AND OLD.seq BETWEEN from_seq AND to_seq
) AND NOT EXISTS (
    SELECT 1 FROM deletions WHERE account_id = OLD.account_id
) BEGIN
    SELECT RAISE(ABORT, 'records are immutable');
END;

DROP TRIGGER erasures_no_delete;
CREATE TRIGGER erasures_no_delete BEFORE DELETE ON erasures
WHEN NOT EXISTS (
    SELECT 1 FROM deletions WHERE account_id = OLD.account_id
) BEGIN
    SELECT RAISE(ABORT, 'erasures are immutable');
END;

DROP TRIGGER documents_no_delete;
CREATE TRIGGER documents_no_delete BEFORE DELETE ON documents
WHEN NOT EXISTS (
    SELECT 1 FROM deletions WHERE account_id = OLD.account_id
) BEGIN
    SELECT RAISE(ABORT, 'account documents are immutable');
END;
