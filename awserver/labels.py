"""The labels of what both packages hash and sign.

docs/protocol/labels.md lists all labels, and says what one is. These are the ones
that a host needs; the vault's own stand in `awvault.crypto.labels`, beside these.
"""

from typing import Final, NewType

Label = NewType("Label", bytes)

# identities
ACCOUNT: Final = Label(b"account")
CLIENT: Final = Label(b"client")

# hashes of what is stored
BODY: Final = Label(b"body")
RECORD_HASH: Final = Label(b"record-hash")
DOCUMENT_HASH: Final = Label(b"document-hash")
KEYS_BLOB: Final = Label(b"keys-blob")

# signed messages
RECORD: Final = Label(b"record")
DOCUMENT: Final = Label(b"document")
PROOF: Final = Label(b"proof")

# inside a proof
PROOF_HASH: Final = Label(b"proof-hash")
