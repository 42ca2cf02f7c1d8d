"""An owner with every key in hand, who can sign anything: right or wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from awserver.records import (
    ZERO_HASH,
    AccountId,
    ClientId,
    Head,
    Header,
    RecordHash,
    SealedRecord,
    Seq,
    account_id_of,
    hash_body,
)
from awvault.crypto.envelope import seal_record
from awvault.crypto.keys import (
    AccountSigningKey,
    ClientKey,
    EpochKey,
    MasterKey,
    Passphrase,
    derive_account_signing_key,
    derive_passphrase_kek,
    derive_ring_kek,
)
from awvault.crypto.passphrase import Profile, derive_passphrase_key
from awvault.crypto.slots import seal_client_label, seal_passphrase_slot, seal_ring
from awvault.protocol.account import (
    KeysBlob,
    VerifiedAccount,
    verify_documents,
)
from awvault.protocol.document import (
    NO_KEY,
    AccountDocument,
    ClientEntry,
    decode_document,
    hash_keys_blob,
)
from awvault.protocol.document import ZERO_HASH as NO_DOCUMENT
from awvault.protocol.log import VerifiedLog
from tests.helpers.randomness import Seeded, fixed

CHEAP = Profile(memory_kib=64, passes=1)
PASSPHRASE = "correct horse battery staple"


@dataclass
class Owner:
    """An account, its keys, and the chain of its documents."""

    name: str = "owner"
    clients: int = 2
    username: str = "local"
    passphrase: str = PASSPHRASE
    documents: list[bytes] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Seeded(self.name)
        self.client_keys = [self._client_key(n) for n in range(self.clients)]
        self.sign(self.first())

    def _client_key(self, number: int) -> ClientKey:
        return ClientKey(fixed(f"{self.name} client {number}"))

    def master(self, epoch: int = 0) -> MasterKey:
        return MasterKey(fixed(f"{self.name} master {epoch}"))

    def epoch_key(self, epoch: int = 0) -> EpochKey:
        return EpochKey(fixed(f"{self.name} epoch {epoch}"))

    def ring(self, epoch: int = 0) -> dict[int, EpochKey]:
        return {number: self.epoch_key(number) for number in range(epoch + 1)}

    def ask(self, epoch: int = 0) -> AccountSigningKey:
        return derive_account_signing_key(self.master(epoch))

    def salt(self, epoch: int = 0) -> bytes:
        return fixed(f"{self.name} salt {epoch}", 16)

    @property
    def account_id(self) -> AccountId:
        return account_id_of(self.ask().public)

    def entry(self, number: int, *, added: int = 1) -> ClientEntry:
        key = self._client_key(number)
        return ClientEntry(
            number=number,
            public=key.public,
            added_version=added,
            label_epoch=0,
            sealed_label=seal_client_label(
                self.epoch_key(),
                f"client {number}",
                account_id=self.account_id,
                client_id=key.client_id,
                random=Seeded(f"{self.name} label {number}"),
            ),
        )

    def keys_blob(self, epoch: int = 0) -> bytes:
        """Return the blob of an epoch, and remember it."""
        salt = self.salt(epoch)
        key = derive_passphrase_key(
            Passphrase(self.passphrase),
            username=self.username,
            salt=salt,
            profile=CHEAP,
        )
        random = Seeded(f"{self.name} blob {epoch}")
        return KeysBlob(
            passphrase_slot=seal_passphrase_slot(
                derive_passphrase_kek(key),
                self.master(epoch),
                account_id=self.account_id,
                epoch=epoch,
                salt=salt,
                random=random,
            ),
            recovery_slot=b"",
            ring=seal_ring(
                derive_ring_kek(self.master(epoch)),
                self.ring(epoch),
                account_id=self.account_id,
                epoch=epoch,
                salt=salt,
                random=random,
            ),
        ).encode()

    def first(self) -> AccountDocument:
        """Return version 1, not yet signed."""
        return AccountDocument(
            version=1,
            prev=NO_DOCUMENT,
            account_id=self.account_id,
            epoch=0,
            signing_public=self.ask().public,
            oldest_suite=1,
            username=self.username,
            salt=self.salt(),
            login_public=fixed(f"{self.name} login 0"),
            recovery_login_public=NO_KEY,
            keys_blob_hash=hash_keys_blob(self.keys_blob()),
            clients=tuple(self.entry(number) for number in range(self.clients)),
            heads=(),
            erased=(),
        )

    def next(self, **changes: Any) -> AccountDocument:
        """Return the version after the newest, with changes, not yet signed."""
        newest = decode_document(self.documents[-1])
        document = replace(
            newest.document, version=newest.document.version + 1, prev=newest.hash
        )
        return replace(document, **changes)

    def next_epoch(self, **changes: Any) -> AccountDocument:
        """Return the version that rotates every secret, not yet signed."""
        epoch = decode_document(self.documents[-1]).document.epoch + 1
        rotated = self.next(
            epoch=epoch,
            signing_public=self.ask(epoch).public,
            salt=self.salt(epoch),
            login_public=fixed(f"{self.name} login {epoch}"),
            keys_blob_hash=hash_keys_blob(self.keys_blob(epoch)),
        )
        return replace(rotated, **changes)

    def signed(self, document: AccountDocument, *, rotated: bool = False) -> bytes:
        """Return a document signed as the owner signs, whatever it says."""
        previous = self.ask(document.epoch - 1) if rotated else None
        return document.sign(self.ask(document.epoch), previous)

    def sign(self, document: AccountDocument, *, rotated: bool = False) -> bytes:
        """Sign a document, and make it the newest."""
        signed = self.signed(document, rotated=rotated)
        self.documents.append(signed)
        return signed

    def verified(self) -> VerifiedAccount:
        return verify_documents(self.account_id, self.documents)

    # -- records

    def client_id(self, client: int = 0) -> ClientId:
        return self.client_keys[client].client_id

    def record(
        self,
        plaintext: bytes,
        *,
        after: SealedRecord | None = None,
        client: int = 0,
        epoch: int = 0,
    ) -> SealedRecord:
        """Seal a record that follows `after`."""
        return seal_record(
            self.epoch_key(epoch),
            self.client_keys[client],
            account_id=self.account_id,
            client_id=self.client_id(client),
            epoch=epoch,
            seq=Seq(0 if after is None else after.header.seq + 1),
            prev=ZERO_HASH if after is None else after.hash,
            plaintext=plaintext,
            random=self.random,
        )

    def records(
        self, *plaintexts: bytes, client: int = 0, epochs: Sequence[int] = ()
    ) -> list[SealedRecord]:
        """Seal a whole log."""
        sealed: list[SealedRecord] = []
        for at, plaintext in enumerate(plaintexts):
            sealed.append(
                self.record(
                    plaintext,
                    after=sealed[-1] if sealed else None,
                    client=client,
                    epoch=epochs[at] if epochs else 0,
                )
            )
        return sealed

    def log(self, client: int = 0, *, epoch: int = 0) -> VerifiedLog:
        """Return the empty log of a client, as a reader begins it."""
        return VerifiedLog.of(self.verified(), self.client_id(client), self.ring(epoch))


def resign(
    key: ClientKey, record: SealedRecord, *, body: bytes | None = None, **changes: Any
) -> SealedRecord:
    """Return a record with another header, signed by whoever holds `key`."""
    if body is not None:
        changes |= {"body_bytes": len(body), "body_hash": hash_body(body)}
    header: Header = replace(record.header, **changes)
    header_bytes = header.encode()
    return SealedRecord(
        header=header,
        header_bytes=header_bytes,
        signature=key.sign(header_bytes),
        body=record.body if body is None else body,
    )


def head_of(record: SealedRecord) -> Head:
    return Head(seq=record.header.seq, hash=RecordHash(record.hash))
