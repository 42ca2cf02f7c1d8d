"""Every domain-separation label, in one place.

A label is the personalisation of a BLAKE2b call or the first field of a signed
message. It has 1 to 16 bytes without NUL (BLAKE2b pads with NULs), serves one
purpose, and is never reused, changed or removed: that would make stored data
unreadable. docs/protocol/labels.md lists them.
"""

from typing import Final, NewType

Label = NewType("Label", bytes)

LABEL_BYTES_MAX: Final = 16

# identities
ACCOUNT: Final = Label(b"account")
CLIENT: Final = Label(b"client")

# from the passphrase and the recovery key
SALT: Final = Label(b"salt")
LOGIN: Final = Label(b"login")
KEK_PASSPHRASE: Final = Label(b"kek-pass")
RECOVERY_LOGIN: Final = Label(b"rec-login")
KEK_RECOVERY: Final = Label(b"kek-rec")

# from the master key
ACCOUNT_SIGNING: Final = Label(b"ask")
KEK_RING: Final = Label(b"kek-ring")

# from an epoch key
LOCAL: Final = Label(b"local")

# from a client's journal key
JOURNAL: Final = Label(b"journal")
INDEX: Final = Label(b"index")

# what a committing seal is for: each derives a key and its commitment
SLOT_PASSPHRASE: Final = Label(b"slot-pass")
SLOT_RECOVERY: Final = Label(b"slot-rec")
RING: Final = Label(b"ring")
KEYSTORE: Final = Label(b"keystore")
CLIENT_LABEL: Final = Label(b"client-label")
RECORD_SEAL: Final = Label(b"record-seal")

# inside a seal
CONTEXT: Final = Label(b"context")
PLAINTEXT: Final = Label(b"plaintext")
HEDGE: Final = Label(b"hedge")
ROW_NONCE: Final = Label(b"row-nonce")
GENERATE: Final = Label(b"generate")

# hashes of what is stored
BODY: Final = Label(b"body")
RECORD_HASH: Final = Label(b"record-hash")
DOCUMENT_HASH: Final = Label(b"document-hash")
KEYS_BLOB: Final = Label(b"keys-blob")

# signed messages
RECORD: Final = Label(b"record")
DOCUMENT: Final = Label(b"document")
