"""Every domain-separation label, in one place.

A label is the personalisation of a BLAKE2b call or the first field of a signed
message. It has 1 to 16 bytes without NUL (BLAKE2b pads with NULs), serves one
purpose, and is never reused, changed or removed: that would make stored data
unreadable. docs/protocol/labels.md lists them. Those that a host needs too come
from `awserver.labels`.
"""

from typing import Final

from awserver import labels as shared
from awserver.labels import Label

__all__ = ["LABEL_BYTES_MAX", "Label"]

LABEL_BYTES_MAX: Final = 16

# identities
ACCOUNT: Final = shared.ACCOUNT
CLIENT: Final = shared.CLIENT

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
REMOTE: Final = Label(b"remote")
SLOT: Final = Label(b"slot")

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
BODY: Final = shared.BODY
RECORD_HASH: Final = shared.RECORD_HASH
DOCUMENT_HASH: Final = shared.DOCUMENT_HASH
KEYS_BLOB: Final = shared.KEYS_BLOB

# signed messages
RECORD: Final = shared.RECORD
DOCUMENT: Final = shared.DOCUMENT
PROOF: Final = shared.PROOF

# inside a proof
PROOF_HASH: Final = shared.PROOF_HASH
