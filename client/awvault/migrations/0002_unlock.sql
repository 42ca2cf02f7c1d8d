-- What the passphrase that is known here opens: the version of the account
-- document that has its salt, and the keys blob of that version. Another client
-- may have changed the passphrase since, and a host keeps the newest blob alone.
-- NULL in a vault that was made before: the newest.

ALTER TABLE vault ADD COLUMN unlock_version INTEGER;
ALTER TABLE vault ADD COLUMN unlock_blob BLOB;
