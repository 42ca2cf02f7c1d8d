"""A tenant of a host: an account with its keys, seen from the host's side.

Everything is signed as a vault would sign it, but nothing is sealed: to a host the
inside of a record, a blob or a label is bytes. No Argon2 runs.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nacl.signing import SigningKey

from awserver import labels
from awserver.documents import (
    NO_KEY,
    SEALED_CLIENT_LABEL_BYTES,
    ZERO_HASH,
    AccountDocument,
    ClientEntry,
    SignedDocument,
    hash_keys_blob,
)
from awserver.encoding import lp
from awserver.proofs import (
    Action,
    Transcript,
    body_of_delete,
    body_of_document,
    body_of_register,
    body_of_restore,
)
from awserver.records import (
    AccountId,
    ClientId,
    Head,
    SealedRecord,
    account_id_of,
    client_id_of,
)
from awserver.wire import (
    DeleteRequest,
    DocumentRequest,
    RegisterProofs,
    RegisterRequest,
    RestoreRequest,
    SessionRequest,
)
from tests.helpers.records import chain

ORIGIN: Final = "https://host.example"
OTHER_ORIGIN: Final = "https://other.example:8443"


def fixed(text: str, size: int = 32) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=size).digest()


@dataclass(frozen=True)
class Key:
    """A signing key of whatever purpose."""

    secret: SigningKey

    @classmethod
    def of(cls, text: str) -> "Key":
        return cls(SigningKey(fixed(text)))

    @property
    def public(self) -> bytes:
        return bytes(self.secret.verify_key)

    def sign(self, message: bytes) -> bytes:
        """Sign as an owner signs a document."""
        return self.raw(lp(labels.DOCUMENT) + message)

    def raw(self, message: bytes) -> bytes:
        return self.secret.sign(message).signature


@dataclass
class Tenant:
    """An account, its keys, and the chain of its documents."""

    name: str = "ada"
    clients: int = 2
    recovery: bool = True
    documents: list[bytes] = field(default_factory=list)
    blob: bytes = b""

    def __post_init__(self) -> None:
        self.login = Key.of(f"{self.name} login 0")
        self.recovery_key = Key.of(f"{self.name} recovery 0")
        self.blob = b"blob of %s" % self.name.encode()
        self.sign(
            AccountDocument(
                version=1,
                prev=ZERO_HASH,
                account_id=self.account_id,
                epoch=0,
                signing_public=self.ask().public,
                oldest_suite=1,
                username=self.name,
                salt=fixed(f"{self.name} salt 0", 16),
                login_public=self.login.public,
                recovery_login_public=(
                    self.recovery_key.public if self.recovery else NO_KEY
                ),
                keys_blob_hash=hash_keys_blob(self.blob),
                clients=tuple(self.entry(n) for n in range(self.clients)),
                heads=(),
                erased=(),
            )
        )

    # -- keys

    def ask(self, epoch: int = 0) -> Key:
        return Key.of(f"{self.name} ask {epoch}")

    def client_key(self, number: int = 0) -> Key:
        return Key.of(f"{self.name} client {number}")

    def client_id(self, number: int = 0) -> ClientId:
        return client_id_of(self.client_key(number).public)

    @property
    def account_id(self) -> AccountId:
        return account_id_of(self.ask().public)

    # -- documents

    def entry(self, number: int, *, added: int = 1) -> ClientEntry:
        return ClientEntry(
            number=number,
            public=self.client_key(number).public,
            added_version=added,
            label_epoch=0,
            sealed_label=bytes(SEALED_CLIENT_LABEL_BYTES),
        )

    @property
    def newest(self) -> SignedDocument:
        return SignedDocument.decode(self.documents[-1])

    def next(self, **changes: Any) -> AccountDocument:
        """Return the version after the newest, with changes, not yet signed."""
        newest = self.newest
        document = replace(
            newest.document, version=newest.document.version + 1, prev=newest.hash
        )
        return replace(document, **changes)

    def next_epoch(self, blob: bytes, **changes: Any) -> AccountDocument:
        """Return the version that rotates every secret, not yet signed."""
        epoch = self.newest.document.epoch + 1
        rotated = self.next(
            epoch=epoch,
            signing_public=self.ask(epoch).public,
            salt=fixed(f"{self.name} salt {epoch}", 16),
            login_public=Key.of(f"{self.name} login {epoch}").public,
            recovery_login_public=NO_KEY,
            keys_blob_hash=hash_keys_blob(blob),
        )
        return replace(rotated, **changes)

    def signed(self, document: AccountDocument) -> bytes:
        """Return a document signed as the owner signs, whatever it says."""
        rises = document.version > 1 and document.epoch > self.newest.document.epoch
        previous = self.ask(document.epoch - 1) if rises else None
        return document.sign(self.ask(document.epoch), previous)

    def sign(self, document: AccountDocument) -> bytes:
        """Sign a document, and make it the newest."""
        data = self.signed(document)
        self.documents.append(data)
        return data

    def revoked(
        self, number: int, after: SealedRecord | None = None
    ) -> tuple[ClientEntry, ...]:
        """Return the clients of the newest document, one of them revoked."""
        final = None if after is None else Head(seq=after.header.seq, hash=after.hash)
        return tuple(
            replace(entry, revoked=True, final=final)
            if entry.number == number
            else entry
            for entry in self.newest.document.clients
        )

    # -- records

    def record(self, *, client: int = 0, **kinds: Any) -> SealedRecord:
        return self.records(1, client=client, **kinds)[0]

    def records(
        self,
        count: int,
        *,
        client: int = 0,
        after: SealedRecord | None = None,
        epoch: int = 0,
        body: bytes = b"sealed",
        key: Key | None = None,
    ) -> list[SealedRecord]:
        """Return `count` records of a log, each signed by its client."""
        signer = key or self.client_key(client)
        signed: list[SealedRecord] = []
        for _ in range(count):
            (bare,) = chain(
                1,
                after=after,
                account=self.account_id,
                client=self.client_id(client),
                epoch=epoch,
                body=body,
            )
            after = replace(bare, signature=signer.raw(bare.signed_bytes()))
            signed.append(after)
        return signed

    # -- proofs

    def transcript(
        self,
        nonce: bytes,
        action: Action,
        *,
        body: bytes = b"",
        client: int = 0,
        forged: dict[str, Any],
    ) -> Transcript:
        """Return the transcript of a proof, with some fields another than is right."""
        made = Transcript(
            origin=ORIGIN,
            action=action,
            username=self.newest.document.username,
            nonce=nonce,
            client_nonce=fixed("client nonce"),
            client_id=self.client_id(client),
            salt=self.newest.document.salt,
            body=body,
        )
        return replace(made, **forged)

    def prove(self, transcript: Transcript, key: Key) -> bytes:
        return key.raw(lp(labels.PROOF) + transcript.encode())

    def _proven(self, nonce: bytes, client: int) -> dict[str, Any]:
        return {
            "client_id": self.client_id(client).hex(),
            "nonce": nonce,
            "client_nonce": fixed("client nonce"),
        }

    def key_of(self, by: str, client: int = 0) -> Key:
        return {
            "login": self.login,
            "recovery": self.recovery_key,
            "client": self.client_key(client),
        }[by]

    def session_request(
        self,
        nonce: bytes,
        /,
        *,
        by: str = "login",
        client: int = 0,
        key: Key | None = None,
        **forged: Any,
    ) -> SessionRequest:
        action = Action.SESSION if by == "client" else Action.LOGIN
        made = self.transcript(nonce, action, client=client, forged=forged)
        return SessionRequest(
            **self._proven(nonce, client),
            username=self.newest.document.username,
            by=by,
            signature=self.prove(made, key or self.key_of(by, client)),
        )

    def register_request(
        self,
        nonce: bytes,
        /,
        *,
        invite: str | None = None,
        documents: Sequence[bytes] | None = None,
        wrong: str = "",
        **forged: Any,
    ) -> RegisterRequest:
        """Return a registration; `wrong` names the key whose proof is another's."""
        offered = list(self.documents if documents is None else documents)
        body = body_of_register(offered, self.blob, invite)
        made = self.transcript(nonce, Action.REGISTER, body=body, forged=forged)
        proofs = {
            name: self.prove(made, Key.of("nobody") if name == wrong else key)
            for name, key in (
                ("login", self.login),
                ("client", self.client_key()),
                ("signing", self.ask(self.newest.document.epoch)),
                ("recovery", self.recovery_key),
            )
            if name != "recovery" or self.recovery
        }
        return RegisterRequest(
            **self._proven(nonce, 0),
            username=self.newest.document.username,
            documents=offered,
            keys_blob=self.blob,
            invite=invite,
            proofs=RegisterProofs(**proofs),
        )

    def document_request(
        self,
        nonce: bytes,
        document: bytes,
        /,
        *,
        blob: bytes | None = None,
        by: str = "login",
        key: Key | None = None,
        **forged: Any,
    ) -> DocumentRequest:
        body = body_of_document(document, blob)
        made = self.transcript(nonce, Action.DOCUMENT, body=body, forged=forged)
        return DocumentRequest(
            **self._proven(nonce, 0),
            document=document,
            keys_blob=blob,
            by=by,
            signature=self.prove(made, key or self.key_of(by)),
        )

    def restore_request(
        self,
        nonce: bytes,
        /,
        *,
        documents: Sequence[bytes] | None = None,
        client: int = 0,
        key: Key | None = None,
        **forged: Any,
    ) -> RestoreRequest:
        offered = list(self.documents if documents is None else documents)
        made = self.transcript(
            nonce,
            Action.RESTORE,
            body=body_of_restore(offered, self.blob),
            client=client,
            forged=forged,
        )
        return RestoreRequest(
            **self._proven(nonce, client),
            username=self.newest.document.username,
            documents=offered,
            keys_blob=self.blob,
            signature=self.prove(made, key or self.client_key(client)),
        )

    def delete_request(
        self, nonce: bytes, /, *, by: str = "login", **forged: Any
    ) -> DeleteRequest:
        made = self.transcript(
            nonce,
            Action.DELETE,
            body=body_of_delete(self.account_id),
            forged=forged,
        )
        return DeleteRequest(
            **self._proven(nonce, 0),
            by=by,
            signature=self.prove(made, self.key_of(by)),
        )
