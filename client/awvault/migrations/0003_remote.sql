-- What is known of the remote host, sealed: its address, what it has acknowledged,
-- and what it was caught at. No row: this account has no remote.

CREATE TABLE remote (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    sealed BLOB NOT NULL
) STRICT;
