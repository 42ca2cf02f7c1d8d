"""docs/protocol/account-document.md: the chain, the keys blob, the keystore."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.independent_reader.primitives import (
    AlteredError,
    Costs,
    Fields,
    NewerError,
    WrongPassphraseError,
    check_signed,
    derived,
    ed25519_public,
    hashed,
    opened,
    passphrase_key,
)

ZEROS: Final = bytes(32)
DOCUMENT_BYTES_MAX: Final = 4 * 1024 * 1024
KEYS_BLOB_BYTES_MAX: Final = 147757
CLIENTS_MAX: Final = 8192
ERASED_MAX: Final = 16384
VERSION_MAX: Final = 2**32 - 1
EPOCHS_MAX: Final = 4096
SEQ_MAX: Final = 2**63 - 1

Head = tuple[int, bytes]


@dataclass(frozen=True)
class Client:
    number: int
    public: bytes
    added: int
    label_epoch: int
    label: bytes
    standing: int
    final: Head | None

    @property
    def id(self) -> bytes:
        return hashed("client", self.public, 16)

    @property
    def end(self) -> tuple[int, Head | None] | None:
        return (self.standing, self.final) if self.standing else None


@dataclass(frozen=True)
class Document:
    version: int
    prev: bytes
    account_id: bytes
    epoch: int
    ask: bytes
    oldest_suite: int
    username: str
    salt: bytes
    login: bytes
    recovery_login: bytes
    keys_blob_hash: bytes
    clients: tuple[Client, ...]
    heads: dict[bytes, Head]
    erased: tuple[tuple[bytes, int, int], ...]
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    second_signature: bytes = field(repr=False)
    hash: bytes


@dataclass(frozen=True)
class Keystore:
    number: int
    client_seed: bytes = field(repr=False)
    journal_key: bytes = field(repr=False)
    pin: Head
    ring: dict[int, bytes] = field(repr=False)


def need(condition: bool, problem: str) -> None:
    if not condition:
        raise AlteredError(problem)


# -- one version -------------------------------------------------------------


def parsed(data: bytes) -> Document:
    """Rule 1."""
    need(len(data) <= DOCUMENT_BYTES_MAX, "a document is too long")
    fields = Fields(data, "a document")
    need(fields.take(4) == b"AWSD", "a document has another magic")
    if fields.uint(1) != 1:
        raise NewerError("a document has another suite")
    version, prev, account_id = fields.uint(8), fields.take(32), fields.take(16)
    epoch, ask, oldest_suite = fields.uint(4), fields.take(32), fields.uint(1)
    username = fields.lp().decode("ascii", "replace")
    salt, login, recovery = fields.take(16), fields.take(32), fields.take(32)
    keys_blob_hash = fields.take(32)
    clients = tuple(_client(fields) for _ in range(_count(fields, CLIENTS_MAX)))
    heads = [
        (fields.take(16), (_seq(fields), fields.take(32)))
        for _ in range(_count(fields, CLIENTS_MAX))
    ]
    erased = tuple(
        (fields.take(16), _seq(fields), _seq(fields))
        for _ in range(_count(fields, ERASED_MAX))
    )
    body = data[: fields.at]
    signature, second = fields.lp(), fields.lp()
    fields.end()
    need(len(second) in {0, 64}, "a second signature has another length")
    need(version <= VERSION_MAX and epoch < EPOCHS_MAX, "a number is too large")
    need(
        re.fullmatch(r"[a-z0-9._-]{1,32}", username) is not None, "no username is such"
    )
    numbers = [client.number for client in clients]
    need(numbers == sorted(set(numbers)), "clients are not in order")
    owners = [owner for owner, _ in heads]
    need(owners == sorted(set(owners)), "heads are not in order")
    for owner, first, last in erased:
        need(first <= last, f"an erasure of {owner.hex()} ends before it begins")
    for before, after in itertools.pairwise(erased):
        need(
            before[0] < after[0]
            or (before[0] == after[0] and before[2] + 1 < after[1]),
            "erasures are not in order, or touch",
        )
    return Document(
        version=version,
        prev=prev,
        account_id=account_id,
        epoch=epoch,
        ask=ask,
        oldest_suite=oldest_suite,
        username=username,
        salt=salt,
        login=login,
        recovery_login=recovery,
        keys_blob_hash=keys_blob_hash,
        clients=clients,
        heads=dict(heads),
        erased=erased,
        body=body,
        signature=signature,
        second_signature=second,
        hash=hashed("document-hash", data),
    )


def _count(fields: Fields, limit: int) -> int:
    count = fields.uint(4)
    need(count <= limit, "a list is too long")
    return count


def _seq(fields: Fields) -> int:
    seq = fields.uint(8)
    need(seq <= SEQ_MAX, "a seq is too large")
    return seq


def _client(fields: Fields) -> Client:
    number, public, added = fields.uint(2), fields.take(32), fields.uint(8)
    label_epoch, label, standing = fields.uint(4), fields.take(200), fields.uint(1)
    need(number < CLIENTS_MAX and standing <= 2, "a client is not in its form")
    final = (_seq(fields), fields.take(32)) if standing == 2 else None
    return Client(number, public, added, label_epoch, label, standing, final)


# -- the chain ---------------------------------------------------------------


def verified(account_id: bytes, documents: Sequence[bytes]) -> list[Document]:
    """Return every version; raises where a rule is broken."""
    need(len(documents) > 0, "there is no document")
    chain = [parsed(documents[0])]
    need(chain[0].account_id == account_id, "the document is of another account")
    _check_first(chain[0])
    for data in documents[1:]:
        _check_next(chain[-1], parsed(data))
        chain.append(parsed(data))
    return chain


def _check_first(new: Document) -> None:
    """Rules 7 to 10."""
    need(
        new.version == 1 and new.prev == ZEROS and new.epoch == 0,
        "this is no first version",
    )
    need(hashed("account", new.ask, 16) == new.account_id, "the id is of another key")
    check_signed(new.ask, "document", new.body, new.signature, "the document")
    need(not new.second_signature, "a first version has one signature")
    need(
        bool(new.clients) and not any(client.standing for client in new.clients),
        "a first version has clients, none revoked",
    )
    need(not new.heads and not new.erased, "a first version knows no records")
    _check_alone(new)


def _check_next(old: Document, new: Document) -> None:
    """Rules 11 to 20."""
    need(
        new.version == old.version + 1
        and new.prev == old.hash
        and new.account_id == old.account_id,
        "a version does not follow the one before",
    )
    need(new.epoch - old.epoch in {0, 1}, "an epoch is left out")
    check_signed(new.ask, "document", new.body, new.signature, "the document")
    if new.epoch == old.epoch:
        need(new.ask == old.ask and not new.second_signature, "the key changed")
    else:
        check_signed(
            old.ask, "document", new.body, new.second_signature, "the document"
        )
        need(
            new.ask != old.ask
            and new.salt != old.salt
            and new.login != old.login
            and new.keys_blob_hash != old.keys_blob_hash
            and (
                new.recovery_login == ZEROS or new.recovery_login != old.recovery_login
            ),
            "a new epoch keeps an old secret",
        )
    need(new.oldest_suite >= old.oldest_suite, "the oldest suite went back")
    need(old.username in {new.username, "local"}, "the username changed")
    _check_alone(new)
    now = {client.number: client for client in new.clients}
    for client in old.clients:
        kept = now.pop(client.number, None)
        need(
            kept is not None
            and (kept.public, kept.added) == (client.public, client.added)
            and (client.end is None or kept.end == client.end),
            f"client {client.number} changed",
        )
    newest = max(client.number for client in old.clients)
    for client in now.values():
        need(
            client.number > newest and client.added == new.version,
            f"client {client.number} is not new",
        )
    for owner, (seq, record_hash) in old.heads.items():
        now_seq, now_hash = new.heads.get(owner, (-1, b""))
        need(
            now_seq > seq or (now_seq == seq and now_hash == record_hash),
            "a head went back",
        )
    for owner, first, last in old.erased:
        need(
            any(
                owner == other and start <= first and last <= end
                for other, start, end in new.erased
            ),
            "an erasure was taken back",
        )


def _check_alone(new: Document) -> None:
    """Rules 2 to 6."""
    if new.oldest_suite > 1:
        raise NewerError("the account asks for a newer suite")
    need(new.oldest_suite == 1, "there is no suite 0")
    by_id = {client.id: client for client in new.clients}
    need(len(by_id) == len(new.clients), "two clients have one key")
    for client in new.clients:
        need(
            1 <= client.added <= new.version and client.label_epoch <= new.epoch,
            f"client {client.number} is of a time to come",
        )
    for owner, head in new.heads.items():
        need(owner in by_id, "a head is of no client")
        client = by_id[owner]
        if client.standing:
            need(
                client.final is not None
                and (head[0] < client.final[0] or head == client.final),
                "a head is beyond the end of its client",
            )
    for owner, _, last in new.erased:
        need(
            owner in new.heads and last <= new.heads[owner][0],
            "an erasure is beyond what is known",
        )


# -- keys --------------------------------------------------------------------


def ring_of(
    document: Document, keys_blob: bytes, passphrase: str, costs: Costs
) -> dict[int, bytes]:
    """Return the epoch keys, as in "Opening an account"."""
    blob = _blob(document, keys_blob)
    key = passphrase_key(passphrase, document.username, document.salt, costs)
    place = Place(document.account_id, document.epoch, document.salt)
    try:
        master = opened_slot("passphrase", derived(key, "kek-pass"), place, blob.slot)
    except AlteredError:
        raise WrongPassphraseError("the passphrase is another one") from None
    return _ring_under(document, master, blob)


def recovered_ring_of(
    document: Document, keys_blob: bytes, recovery_key: bytes
) -> dict[int, bytes]:
    """Return the epoch keys, by the recovery key."""
    blob = _blob(document, keys_blob)
    place = Place(document.account_id, document.epoch, document.salt)
    kek = derived(recovery_key, "kek-rec")
    try:
        master = opened_slot("recovery", kek, place, blob.recovery_slot)
    except AlteredError:
        raise WrongPassphraseError("the recovery key is another one") from None
    return _ring_under(document, master, blob)


@dataclass(frozen=True)
class Blob:
    """The parts of a keys blob that the document names."""

    slot: bytes
    recovery_slot: bytes
    ring: bytes


def _blob(document: Document, keys_blob: bytes) -> Blob:
    need(len(keys_blob) <= KEYS_BLOB_BYTES_MAX, "the keys blob is too long")
    fields = Fields(keys_blob, "the keys blob")
    need(fields.take(4) == b"AWKB", "the keys blob has another magic")
    if fields.uint(1) != 1:
        raise NewerError("the keys blob has another suite")
    slot, recovery_slot, ring = fields.lp(), fields.lp(), fields.lp()
    fields.end()
    need(len(slot) == 104 and len(recovery_slot) in {0, 104}, "a slot has 104 bytes")
    need(
        hashed("keys-blob", keys_blob) == document.keys_blob_hash,
        "the keys blob is another one",
    )
    need(
        bool(recovery_slot) == (document.recovery_login != ZEROS),
        "recovery slot and recovery login do not fit",
    )
    return Blob(slot, recovery_slot, ring)


def _ring_under(document: Document, master: bytes, blob: Blob) -> dict[int, bytes]:
    need(
        ed25519_public(derived(master, "ask")) == document.ask,
        "the slot holds another master key",
    )
    place = Place(document.account_id, document.epoch, document.salt)
    return opened_ring(derived(master, "kek-ring"), place, blob.ring)


@dataclass(frozen=True)
class Place:
    """What slots and ring are bound to."""

    account_id: bytes
    epoch: int
    salt: bytes

    def context(self, kind: int, salt: bytes) -> bytes:
        return self.account_id + bytes([kind]) + self.epoch.to_bytes(4, "little") + salt


def opened_slot(kind: str, kek: bytes, place: Place, slot: bytes) -> bytes:
    """Return the master key in a slot; the recovery slot is bound to no salt."""
    label, context = {
        "passphrase": ("slot-pass", place.context(1, place.salt)),
        "recovery": ("slot-rec", place.context(2, bytes(16))),
    }[kind]
    return opened(kek, label, context, slot, f"the {kind} slot")


def opened_ring(kek: bytes, place: Place, sealed: bytes) -> dict[int, bytes]:
    """Return the epoch keys, which end with the epoch of the place."""
    plaintext = opened(kek, "ring", place.context(3, place.salt), sealed, "the ring")
    epochs = _ring(plaintext)
    need(len(epochs) == place.epoch + 1, "the ring ends with another epoch")
    return epochs


def _ring(data: bytes) -> dict[int, bytes]:
    fields = Fields(data, "a ring")
    count = fields.uint(4)
    need(1 <= count <= EPOCHS_MAX, "a ring has other epochs")
    epochs = {fields.uint(4): fields.take(32) for _ in range(count)}
    fields.end()
    need(list(epochs) == list(range(count)), "a ring leaves out an epoch")
    return epochs


def label_of(
    epoch_key: bytes, account_id: bytes, client_id: bytes, sealed: bytes
) -> str:
    """Return what a person calls a client."""
    context = account_id + client_id
    plaintext = opened(epoch_key, "client-label", context, sealed, "a client's label")
    need(len(plaintext) == 128, "a label is not in its form")
    end = 1 + plaintext[0]
    need(end <= 128 and not any(plaintext[end:]), "a label is not in its form")
    return plaintext[1:end].decode()


def keystore_of(
    epoch_key: bytes, account_id: bytes, client_id: bytes, sealed: bytes
) -> Keystore:
    """Open a client's keystore."""
    plaintext = opened(
        derived(epoch_key, "local", client_id),
        "keystore",
        account_id + client_id,
        sealed,
        "the keystore",
    )
    fields = Fields(plaintext, "the keystore")
    if plaintext[:1] != b"\x01":
        raise NewerError("the keystore has another version")
    fields.take(1)
    keystore = Keystore(
        number=fields.uint(2),
        client_seed=fields.take(32),
        journal_key=fields.take(32),
        pin=(fields.uint(8), fields.take(32)),
        ring=_ring(plaintext[107:]),
    )
    own = hashed("client", ed25519_public(keystore.client_seed), 16)
    need(
        own == client_id and keystore.number < CLIENTS_MAX,
        "the keystore is of another client",
    )
    return keystore


def check_pin(chain: list[Document], pin: Head) -> None:
    """Raise unless the version that was pinned is in the chain."""
    version, pinned = pin
    need(
        1 <= version <= len(chain) and chain[version - 1].hash == pinned,
        "the chain of documents is not the one that was pinned",
    )
