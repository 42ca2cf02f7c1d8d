"""What a client sends to show a host that it holds a key.

Every signature here is over a transcript that was built here: a host gives a
nonce of 32 bytes and, before the account is known, a salt, of which only the hash
goes in. Whatever else it would like to see signed has no way in. The origin is the
one that the person typed, so what is signed for one host is worth nothing to
another. docs/protocol/http-api.md has the table of actions, keys and bodies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from awserver.proofs import (
    NONCE_BYTES,
    Action,
    Transcript,
    body_of_delete,
    body_of_document,
    body_of_register,
    body_of_restore,
)
from awserver.records import AccountId, ClientId
from awserver.wire import (
    DeleteRequest,
    DocumentRequest,
    RegisterProofs,
    RegisterRequest,
    RestoreRequest,
    SessionRequest,
)
from awvault.crypto.hedge import Random, draw
from awvault.crypto.keys import (
    AccountSigningKey,
    ClientKey,
    LoginKey,
    RecoveryLoginKey,
)
from awvault.errors import MalformedAnswerError

BY_LOGIN: Final = "login"
BY_RECOVERY: Final = "recovery"
BY_CLIENT: Final = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """All of a transcript but what is done. It serves one proof."""

    origin: str
    """Of the host, as the person typed it, in its one form (`awserver.origins`)."""
    username: str
    client_id: ClientId
    """Who asks. At a login, a client that the account does not name yet."""
    salt: bytes
    """Of the account document that is in force, or that is offered."""
    nonce: bytes
    client_nonce: bytes

    @classmethod
    def answer(
        cls,
        nonce: bytes,
        *,
        origin: str,
        username: str,
        client_id: ClientId,
        salt: bytes,
        random: Random,
    ) -> "Challenge":
        """Take a host's nonce; raises `MalformedAnswerError` unless it has 32 bytes."""
        if len(nonce) != NONCE_BYTES:
            raise MalformedAnswerError(
                f"the host's nonce has {len(nonce)} bytes, must have {NONCE_BYTES}"
            )
        return cls(
            origin=origin,
            username=username,
            client_id=client_id,
            salt=salt,
            nonce=nonce,
            client_nonce=draw(random, NONCE_BYTES),
        )

    def transcript(self, action: Action, body: bytes = b"") -> Transcript:
        """Return what is signed for one action."""
        return Transcript(
            origin=self.origin,
            action=action,
            username=self.username,
            nonce=self.nonce,
            client_nonce=self.client_nonce,
            client_id=self.client_id,
            salt=self.salt,
            body=body,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegisterKeys:
    """The keys that an account shows when a host learns of it."""

    login: LoginKey
    recovery: RecoveryLoginKey
    client: ClientKey
    signing: AccountSigningKey


def register_request(
    challenge: Challenge,
    keys: RegisterKeys,
    *,
    documents: Sequence[bytes],
    keys_blob: bytes,
    invite: str | None = None,
) -> RegisterRequest:
    """Return the request that makes the account known to a host."""
    transcript = challenge.transcript(
        Action.REGISTER, body_of_register(documents, keys_blob, invite)
    )
    return RegisterRequest(
        username=challenge.username,
        client_id=challenge.client_id.hex(),
        nonce=challenge.nonce,
        client_nonce=challenge.client_nonce,
        documents=list(documents),
        keys_blob=keys_blob,
        invite=invite,
        proofs=RegisterProofs(
            login=keys.login.prove(transcript),
            client=keys.client.prove(transcript),
            signing=keys.signing.prove(transcript),
            recovery=keys.recovery.prove(transcript),
        ),
    )


def session_request(
    challenge: Challenge, key: LoginKey | RecoveryLoginKey | ClientKey
) -> SessionRequest:
    """Return the request for a session."""
    action = Action.SESSION if isinstance(key, ClientKey) else Action.LOGIN
    return SessionRequest(
        username=challenge.username,
        client_id=challenge.client_id.hex(),
        nonce=challenge.nonce,
        client_nonce=challenge.client_nonce,
        by=_by(key),
        signature=key.prove(challenge.transcript(action)),
    )


def document_request(
    challenge: Challenge,
    key: LoginKey | RecoveryLoginKey,
    *,
    document: bytes,
    keys_blob: bytes | None,
) -> DocumentRequest:
    """Return the request that puts the next version of the account document."""
    transcript = challenge.transcript(
        Action.DOCUMENT, body_of_document(document, keys_blob)
    )
    return DocumentRequest(
        client_id=challenge.client_id.hex(),
        nonce=challenge.nonce,
        client_nonce=challenge.client_nonce,
        document=document,
        keys_blob=keys_blob,
        by=_by(key),
        signature=key.prove(transcript),
    )


def restore_request(
    challenge: Challenge,
    key: ClientKey,
    *,
    documents: Sequence[bytes],
    keys_blob: bytes,
) -> RestoreRequest:
    """Return the request that puts back what a host has lost."""
    transcript = challenge.transcript(
        Action.RESTORE, body_of_restore(documents, keys_blob)
    )
    return RestoreRequest(
        username=challenge.username,
        client_id=challenge.client_id.hex(),
        nonce=challenge.nonce,
        client_nonce=challenge.client_nonce,
        documents=list(documents),
        keys_blob=keys_blob,
        signature=key.prove(transcript),
    )


def delete_request(
    challenge: Challenge, key: LoginKey | RecoveryLoginKey, *, account_id: AccountId
) -> DeleteRequest:
    """Return the request that ends the account at a host."""
    transcript = challenge.transcript(Action.DELETE, body_of_delete(account_id))
    return DeleteRequest(
        client_id=challenge.client_id.hex(),
        nonce=challenge.nonce,
        client_nonce=challenge.client_nonce,
        by=_by(key),
        signature=key.prove(transcript),
    )


def _by(key: LoginKey | RecoveryLoginKey | ClientKey) -> str:
    match key:
        case ClientKey():
            return BY_CLIENT
        case RecoveryLoginKey():
            return BY_RECOVERY
        case _:
            return BY_LOGIN
