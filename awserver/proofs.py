"""What a client signs to show a host that it holds a key.

    transcript = LP(origin, action, username, nonce, client_nonce, client_id,
                    H(salt), H(body))
    signature over LP("proof") || transcript

H is BLAKE2b-256 under the label "proof-hash". Both sides build the transcript from
what they know themselves, so a signature serves one host, one action, one body and
one nonce. docs/protocol/http-api.md says which key proves what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from awserver import labels
from awserver.encoding import lp
from awserver.records import HASH_BYTES, AccountId, ClientId
from awserver.signatures import verify_signature

NONCE_BYTES: Final = 32


class Action(StrEnum):
    """What a proof is for."""

    LOGIN = "login"
    """A session, by the passphrase or the recovery key."""
    SESSION = "session"
    """A session, by a client's key."""
    REGISTER = "register"
    DOCUMENT = "document"
    RESTORE = "restore"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """All that a proof is bound to."""

    origin: str
    """Of the host, as the person typed it, in its one form (`awserver.origins`)."""
    action: Action
    username: str
    nonce: bytes
    """The host's; 32 bytes, used once."""
    client_nonce: bytes
    """The client's own, 32 bytes: nobody else chooses all of what is signed."""
    client_id: ClientId
    salt: bytes
    """Of the account document that is in force, or that is offered."""
    body: bytes
    """What the action does, as one of the functions below gives it."""

    def encode(self) -> bytes:
        """Return the transcript's bytes."""
        return lp(
            self.origin.encode(),
            self.action.value.encode(),
            self.username.encode(),
            self.nonce,
            self.client_nonce,
            self.client_id,
            _hash(self.salt),
            _hash(self.body),
        )

    def verify(self, public: bytes, signature: bytes) -> None:
        """Raise `SignatureInvalidError` unless `public` signed this transcript."""
        verify_signature(public, lp(labels.PROOF) + self.encode(), signature)


def body_of_register(
    documents: Sequence[bytes], keys_blob: bytes, invite: str | None
) -> bytes:
    """Return what registering does: LP(LP(documents...), keys blob, invite)."""
    return lp(lp(*documents), keys_blob, (invite or "").encode())


def body_of_document(document: bytes, keys_blob: bytes | None) -> bytes:
    """Return what an edit does: LP(document, keys blob or nothing)."""
    return lp(document, keys_blob or b"")


def body_of_restore(documents: Sequence[bytes], keys_blob: bytes) -> bytes:
    """Return what putting documents back does: LP(LP(documents...), keys blob)."""
    return lp(lp(*documents), keys_blob)


def body_of_delete(account_id: AccountId) -> bytes:
    """Return what deleting an account does: its id."""
    return account_id


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=HASH_BYTES, person=labels.PROOF_HASH).digest()
