"""The account document: the one authority on an account, a chain of versions.

    body     = magic[4] suite[1] version[8] prev[32] account_id[16] epoch[4]
               ask[32] oldest_suite[1] LP(username) salt[16] login[32]
               recovery_login[32] keys_blob_hash[32] clients heads erased
    document = body || LP(signature by ASK_e) || LP(signature by ASK_{e-1} or nothing)

    clients  = count[4] { number[2] public[32] added[8] label_epoch[4] label[200]
                          standing[1] [seq[8] hash[32]] }     by number
    heads    = count[4] { client_id[16] seq[8] hash[32] }     by client_id
    erased   = count[4] { client_id[16] from[8] to[8] }       by client_id, from

Integers are little-endian. What was signed is hashed and stored as received,
and never encoded again. docs/protocol/account-document.md has the rules. A host
applies all of them, so that a faulty client locks nobody out; a vault does too,
and believes no host that says it did.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol, Self, TypeVar

from awserver import labels
from awserver.encoding import lp, u8, u16, u32, u64
from awserver.errors import DocumentInvalidError, SuiteUnknownError
from awserver.records import (
    HASH_BYTES,
    ID_BYTES,
    SEQ_MAX,
    SIGNATURE_BYTES,
    AccountId,
    ClientId,
    Head,
    RecordHash,
    Seq,
    account_id_of,
    client_id_of,
)
from awserver.signatures import PUBLIC_KEY_BYTES, verify_signature

MAGIC: Final = b"AWSD"
SUITE: Final = 1
DOCUMENT_BYTES_MAX: Final = 4 * 1024 * 1024
CHAIN_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of all versions of one account: any client can put them back in one request."""

CLIENTS_MAX: Final = 2**13
"""Numbers are below this and never reused: an event id has 13 bits for them."""

ERASED_MAX: Final = 2**14
EPOCHS_MAX: Final = 4096
"""Epochs of one account: a new one each time a client is revoked."""

SALT_BYTES: Final = 16
"""Bytes of the salt of a passphrase."""

SEALED_CLIENT_LABEL_BYTES: Final = 200
KEYS_BLOB_BYTES_MAX: Final = 1024 * 1024
VERSION_MAX: Final = 2**32 - 1
USERNAME: Final = re.compile(r"[a-z0-9._-]{1,32}", re.ASCII)
USERNAME_BYTES_MAX: Final = 32
LOCAL_USERNAME: Final = "local"
"""The username of an account that no remote host knows yet."""

NO_KEY: Final = bytes(PUBLIC_KEY_BYTES)
"""In place of a recovery-login key where there is no recovery slot."""

ZERO_HASH: Final = bytes(HASH_BYTES)

_ACTIVE: Final = 0
_REVOKED_EMPTY: Final = 1
_REVOKED_AT: Final = 2

Item = TypeVar("Item")


class Signer(Protocol):
    """An owner's key: what signs an account document."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature over LP("document") || message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEntry:
    """One client, as the owner admitted it."""

    number: int
    public: bytes
    added_version: int
    label_epoch: int
    """The epoch whose key seals the label."""
    sealed_label: bytes
    revoked: bool = False
    final: Head | None = None
    """The last record that counts, once the client is revoked; None: none does."""

    @property
    def client_id(self) -> ClientId:
        """The id that the client's key certifies."""
        return client_id_of(self.public)

    def encode(self) -> bytes:
        """Return the entry's bytes."""
        end = b""
        standing = _REVOKED_EMPTY if self.revoked else _ACTIVE
        if self.final is not None:
            standing = _REVOKED_AT
            end = u64(self.final.seq) + self.final.hash
        return (
            u16(self.number)
            + self.public
            + u64(self.added_version)
            + u32(self.label_epoch)
            + self.sealed_label
            + u8(standing)
            + end
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """A range of one log whose bodies the owner had destroyed, both inclusive."""

    client_id: ClientId
    from_seq: Seq
    to_seq: Seq


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDocument:
    """One version of the account, as its owner signed it."""

    version: int
    prev: bytes
    account_id: AccountId
    epoch: int
    signing_public: bytes
    oldest_suite: int
    username: str
    salt: bytes
    login_public: bytes
    recovery_login_public: bytes
    keys_blob_hash: bytes
    clients: Sequence[ClientEntry]
    heads: Sequence[tuple[ClientId, Head]]
    erased: Sequence[Erasure]

    def encode_body(self) -> bytes:
        """Return what the owner signs."""
        return b"".join(
            (
                MAGIC,
                u8(SUITE),
                u64(self.version),
                self.prev,
                self.account_id,
                u32(self.epoch),
                self.signing_public,
                u8(self.oldest_suite),
                lp(self.username.encode()),
                self.salt,
                self.login_public,
                self.recovery_login_public,
                self.keys_blob_hash,
                u32(len(self.clients)),
                *(client.encode() for client in self.clients),
                u32(len(self.heads)),
                *(id_ + u64(head.seq) + head.hash for id_, head in self.heads),
                u32(len(self.erased)),
                *(e.client_id + u64(e.from_seq) + u64(e.to_seq) for e in self.erased),
            )
        )

    def sign(self, key: Signer, previous: Signer | None = None) -> bytes:
        """Return the document's bytes; `previous` signs too when the epoch rises."""
        body = self.encode_body()
        second = b"" if previous is None else previous.sign(body)
        return body + lp(key.sign(body), second)

    def client(self, client_id: ClientId) -> ClientEntry | None:
        """Return a client that the document names; None: it does not exist."""
        for client in self.clients:
            if client.client_id == client_id:
                return client
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDocument:
    """A document as it was received: its bytes count, not its meaning."""

    document: AccountDocument
    body: bytes
    signature: bytes
    previous_signature: bytes
    """Empty but where the epoch rose."""
    hash: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a document, in its one encoding; raises `DocumentInvalidError`."""
        if len(data) > DOCUMENT_BYTES_MAX:
            raise DocumentInvalidError(
                f"account document has {len(data)} bytes, at most {DOCUMENT_BYTES_MAX}"
            )
        reader = _Reader(data)
        document = _decode_body(reader)
        body = data[: reader.at]
        signature = reader.field(SIGNATURE_BYTES)
        previous_signature = reader.field(SIGNATURE_BYTES)
        reader.end()
        return cls(
            document=document,
            body=body,
            signature=signature,
            previous_signature=previous_signature,
            hash=hash_document(data),
        )

    def signed_bytes(self) -> bytes:
        """Return the message that the owner signs: LP("document") || body."""
        return lp(labels.DOCUMENT) + self.body

    def verify_signature(self, public: bytes) -> None:
        """Raise `SignatureInvalidError` unless `public` signed this document."""
        verify_signature(public, self.signed_bytes(), self.signature)

    def verify_previous_signature(self, public: bytes) -> None:
        """Raise `SignatureInvalidError` unless the epoch before agreed to this one."""
        verify_signature(public, self.signed_bytes(), self.previous_signature)


def hash_document(data: bytes) -> bytes:
    """Return the hash that the next version names as its `prev`."""
    return blake2b(data, digest_size=HASH_BYTES, person=labels.DOCUMENT_HASH).digest()


def hash_keys_blob(blob: bytes) -> bytes:
    """Return the hash that a document names of its keys blob."""
    return blake2b(blob, digest_size=HASH_BYTES, person=labels.KEYS_BLOB).digest()


def verify_first(signed: SignedDocument) -> None:
    """Believe version 1, or raise: the account id certifies its signing key."""
    document = signed.document
    _require(document.version == 1, f"the first version is 1, got {document.version}")
    _require(document.prev == ZERO_HASH, "version 1 follows no other")
    _require(document.epoch == 0, f"version 1 is of epoch 0, got {document.epoch}")
    _require(
        account_id_of(document.signing_public) == document.account_id,
        "the account id is not that of its signing key",
    )
    signed.verify_signature(document.signing_public)
    _require(not signed.previous_signature, "version 1 has a second signature")
    _require(len(document.clients) > 0, "version 1 names no client")
    _require(
        not any(client.revoked for client in document.clients)
        and not document.heads
        and not document.erased,
        "version 1 speaks of records, and there are none yet",
    )
    _verify_own(document)


def verify_next(before: SignedDocument, signed: SignedDocument) -> None:
    """Believe the version after `before`, or raise; nothing is changed."""
    old, new = before.document, signed.document
    _require(
        new.version == old.version + 1,
        f"version {old.version + 1} is next, got {new.version}",
    )
    _require(new.prev == before.hash, f"version {new.version} follows another")
    _require(new.account_id == old.account_id, "the document is of another account")
    _require(
        new.epoch in {old.epoch, old.epoch + 1},
        f"epoch {old.epoch} or {old.epoch + 1} is next, got {new.epoch}",
    )
    # The signatures before everything that costs time or trusts a number.
    if new.epoch == old.epoch:
        _require(
            new.signing_public == old.signing_public,
            "the signing key changed within an epoch",
        )
        signed.verify_signature(old.signing_public)
        _require(not signed.previous_signature, "a second signature where none is due")
    else:
        signed.verify_previous_signature(old.signing_public)
        signed.verify_signature(new.signing_public)
        _verify_rotation(old, new)
    _require(
        new.oldest_suite >= old.oldest_suite,
        f"the oldest suite went from {old.oldest_suite} back to {new.oldest_suite}",
    )
    _require(
        old.username in {new.username, LOCAL_USERNAME},
        "the username changed",
    )
    _verify_own(new)
    _verify_clients(old, new)
    _verify_grows(old, new)


def _verify_rotation(old: AccountDocument, new: AccountDocument) -> None:
    """Check that a new epoch changes everything that a revoked client knew."""
    _require(
        new.signing_public != old.signing_public,
        "a new epoch keeps the old signing key",
    )
    _require(
        new.salt != old.salt
        and new.login_public != old.login_public
        and new.keys_blob_hash != old.keys_blob_hash,
        "a new epoch keeps the old salt, login key or keys",
    )
    _require(
        new.recovery_login_public == NO_KEY
        or new.recovery_login_public != old.recovery_login_public,
        "a new epoch keeps the old recovery key",
    )


def _verify_own(document: AccountDocument) -> None:
    """Check what holds for every version by itself."""
    if document.oldest_suite > SUITE:
        raise SuiteUnknownError(
            f"the account asks for suite {document.oldest_suite}, this program knows"
            f" {SUITE}: update it"
        )
    _require(document.oldest_suite > 0, "the document names suite 0")
    for client in document.clients:
        _require(
            1 <= client.added_version <= document.version,
            f"client {client.number} was added at version {client.added_version}"
            f" of {document.version}",
        )
        _require(
            client.label_epoch <= document.epoch,
            f"the label of client {client.number} is of epoch {client.label_epoch}"
            f" of {document.epoch}",
        )
    clients = {client.client_id: client for client in document.clients}
    _require(len(clients) == len(document.clients), "two clients have one key")
    heads = dict(document.heads)
    for client_id, head in document.heads:
        _verify_head(clients.get(client_id), client_id, head)
    for erasure in document.erased:
        known = heads.get(erasure.client_id)
        _require(
            known is not None and erasure.to_seq <= known.seq,
            f"records up to {erasure.to_seq} of client {erasure.client_id.hex()[:8]}"
            " are erased that the document does not know",
        )


def _verify_head(client: ClientEntry | None, client_id: ClientId, head: Head) -> None:
    """Check that a head is of a client there is, and not beyond its end."""
    if client is None:
        raise DocumentInvalidError(
            f"a head is of client {client_id.hex()[:8]}, which the document does"
            " not name"
        )
    if not client.revoked:
        return
    final = client.final
    _require(
        final is not None
        and head.seq <= final.seq
        and (head.seq < final.seq or head.hash == final.hash),
        f"the head of client {client.number} is beyond the end of the client",
    )


def _verify_clients(old: AccountDocument, new: AccountDocument) -> None:
    """Clients only grow, their keys never change, the end is set once."""
    now = {client.number: client for client in new.clients}
    for client in old.clients:
        kept = now.pop(client.number, None)
        if kept is None:
            raise DocumentInvalidError(
                f"client {client.number} is gone from the document"
            )
        _require(
            (kept.public, kept.added_version) == (client.public, client.added_version),
            f"client {client.number} has another key, or was added another time",
        )
        _require(
            not client.revoked or (kept.revoked and kept.final == client.final),
            f"the end of revoked client {client.number} was changed",
        )
    newest = max((client.number for client in old.clients), default=-1)
    for client in now.values():
        _require(
            client.number > newest and client.added_version == new.version,
            f"new client {client.number} takes the place of an old one",
        )


def _verify_grows(old: AccountDocument, new: AccountDocument) -> None:
    """Heads and erasures never shrink."""
    heads = dict(new.heads)
    for client_id, head in old.heads:
        now = heads.get(client_id)
        if now is None or now.seq < head.seq:
            raise DocumentInvalidError(
                f"the head of client {client_id.hex()[:8]} went back from {head.seq}"
            )
        _require(
            now.seq > head.seq or now.hash == head.hash,
            f"record {head.seq} of client {client_id.hex()[:8]} has two hashes",
        )
    # Both lists are in order and without overlap, so one pass is enough.
    ranges = iter(new.erased)
    cover = next(ranges, None)
    for erasure in old.erased:
        while cover is not None and (cover.client_id, cover.to_seq) < (
            erasure.client_id,
            erasure.to_seq,
        ):
            cover = next(ranges, None)
        _require(
            cover is not None
            and cover.client_id == erasure.client_id
            and cover.from_seq <= erasure.from_seq,
            f"an erasure of client {erasure.client_id.hex()[:8]} was taken back",
        )


def _require(condition: bool, message: str) -> None:  # noqa: FBT001 - an assertion
    if not condition:
        raise DocumentInvalidError(message)


class _Reader:
    """Reads fields from bytes; raises `DocumentInvalidError` where they end early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self._data):
            raise DocumentInvalidError(
                f"account document ends at {len(self._data)}, a field at {end}"
            )
        taken = self._data[self.at : end]
        self.at = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def field(self, size_max: int) -> bytes:
        size = self.number(4)
        if size > size_max:
            raise DocumentInvalidError(f"a field has {size} bytes, at most {size_max}")
        return self.take(size)

    def items(self, item: Callable[[], Item], *, count_max: int) -> tuple[Item, ...]:
        count = self.number(4)
        if count > count_max:
            raise DocumentInvalidError(
                f"a list has {count} entries, at most {count_max}"
            )
        return tuple(item() for _ in range(count))

    def end(self) -> None:
        if self.at != len(self._data):
            raise DocumentInvalidError(
                f"account document has {len(self._data) - self.at} bytes too many"
            )


def _decode_body(reader: _Reader) -> AccountDocument:
    if reader.take(len(MAGIC)) != MAGIC:
        raise DocumentInvalidError("the bytes do not begin as an account document does")
    suite = reader.number(1)
    if suite != SUITE:
        raise SuiteUnknownError(
            f"the account document has suite {suite}, this program knows {SUITE}:"
            " update it"
        )
    document = AccountDocument(
        version=reader.number(8),
        prev=reader.take(HASH_BYTES),
        account_id=AccountId(reader.take(ID_BYTES)),
        epoch=reader.number(4),
        signing_public=reader.take(PUBLIC_KEY_BYTES),
        oldest_suite=reader.number(1),
        username=_username(reader.field(USERNAME_BYTES_MAX)),
        salt=reader.take(SALT_BYTES),
        login_public=reader.take(PUBLIC_KEY_BYTES),
        recovery_login_public=reader.take(PUBLIC_KEY_BYTES),
        keys_blob_hash=reader.take(HASH_BYTES),
        clients=reader.items(lambda: _client(reader), count_max=CLIENTS_MAX),
        heads=reader.items(
            lambda: (ClientId(reader.take(ID_BYTES)), _head(reader)),
            count_max=CLIENTS_MAX,
        ),
        erased=reader.items(lambda: _erasure(reader), count_max=ERASED_MAX),
    )
    _require(
        document.version <= VERSION_MAX,
        f"version {document.version} is above {VERSION_MAX}",
    )
    _require(
        document.epoch < EPOCHS_MAX, f"epoch {document.epoch} is above {EPOCHS_MAX - 1}"
    )
    _verify_order(document)
    return document


def _verify_order(document: AccountDocument) -> None:
    """Check that there is no other way to write the same lists."""
    numbers = [client.number for client in document.clients]
    _require(
        all(a < b for a, b in itertools.pairwise(numbers)),
        "the clients of the account document are not in order",
    )
    ids = [client_id for client_id, _ in document.heads]
    _require(
        all(a < b for a, b in itertools.pairwise(ids)),
        "the heads of the account document are not in order",
    )
    for a, b in itertools.pairwise(document.erased):
        _require(
            a.client_id < b.client_id
            or (a.client_id == b.client_id and a.to_seq + 1 < b.from_seq),
            "the erasures of the account document are not in order, or touch",
        )


def _username(raw: bytes) -> str:
    username = raw.decode("ascii", "replace")
    _require(
        USERNAME.fullmatch(username) is not None,
        "the username is not one: a to z, 0 to 9, dot, underscore, dash",
    )
    return username


def _client(reader: _Reader) -> ClientEntry:
    number = reader.number(2)
    _require(number < CLIENTS_MAX, f"client number {number} is above {CLIENTS_MAX - 1}")
    public = reader.take(PUBLIC_KEY_BYTES)
    added_version = reader.number(8)
    label_epoch = reader.number(4)
    sealed_label = reader.take(SEALED_CLIENT_LABEL_BYTES)
    standing = reader.number(1)
    _require(standing <= _REVOKED_AT, f"client {number} has standing {standing}")
    return ClientEntry(
        number=number,
        public=public,
        added_version=added_version,
        label_epoch=label_epoch,
        sealed_label=sealed_label,
        revoked=standing != _ACTIVE,
        final=_head(reader) if standing == _REVOKED_AT else None,
    )


def _head(reader: _Reader) -> Head:
    return Head(seq=_seq(reader), hash=RecordHash(reader.take(HASH_BYTES)))


def _seq(reader: _Reader) -> Seq:
    seq = reader.number(8)
    _require(seq <= SEQ_MAX, f"seq {seq} is above {SEQ_MAX}")
    return Seq(seq)


def _erasure(reader: _Reader) -> Erasure:
    erasure = Erasure(
        client_id=ClientId(reader.take(ID_BYTES)),
        from_seq=_seq(reader),
        to_seq=_seq(reader),
    )
    _require(erasure.from_seq <= erasure.to_seq, "an erasure ends before it begins")
    return erasure
