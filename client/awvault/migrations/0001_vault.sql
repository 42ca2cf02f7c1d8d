-- The vault's own tables, beside the log store in the same file, so that one
-- transaction can span both. Every blob here is sealed; no column holds a time.

CREATE TABLE vault (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    account_id BLOB NOT NULL CHECK (length(account_id) = 16),
    client_id BLOB NOT NULL CHECK (length(client_id) = 16),
    keystore BLOB NOT NULL
) STRICT;

-- One row per start of the program that still has journal rows. The random
-- bytes are not secret: they separate the journal keys of two starts.
CREATE TABLE boots (
    boot INTEGER PRIMARY KEY,
    random BLOB NOT NULL CHECK (length(random) = 32)
) STRICT;

CREATE TABLE journal (
    jid INTEGER PRIMARY KEY,
    boot INTEGER NOT NULL REFERENCES boots (boot),
    write INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;

-- A cache: what a reader must know about a record without opening it.
CREATE TABLE index_rows (
    client_id BLOB NOT NULL CHECK (length(client_id) = 16),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    sealed BLOB NOT NULL,
    PRIMARY KEY (client_id, seq)
) STRICT, WITHOUT ROWID;
