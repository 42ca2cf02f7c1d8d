"""Making an account, opening one, and a client's keystore.

    keys blob = magic[4] suite[1] LP(passphrase slot) LP(recovery slot, or nothing)
                LP(sealed ring)
    keystore  = version u8, number u16, client seed[32], journal key[32],
                pin version u64, pin hash[32], ring
                sealed under "local"; context = account_id || client_id

docs/protocol/keys.md has the hierarchy and the reasons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from awserver.encoding import lp, u8, u16, u32, u64
from awserver.records import HASH_BYTES, AccountId, ClientId, account_id_of
from awvault.crypto import labels
from awvault.crypto.committing import open_sealed, seal
from awvault.crypto.hedge import Random
from awvault.crypto.keys import (
    ClientKey,
    EpochKey,
    JournalKey,
    MasterKey,
    Passphrase,
    PassphraseKey,
    RecoveryKey,
    derive_account_signing_key,
    derive_local_key,
    derive_login_key,
    derive_passphrase_kek,
    derive_recovery_kek,
    derive_ring_kek,
    new_key,
)
from awvault.crypto.passphrase import Profile, derive_passphrase_key, new_salt
from awvault.crypto.slots import (
    SEALED_RING_BYTES_MAX,
    SLOT_BYTES,
    Ring,
    decode_ring,
    encode_ring,
    open_passphrase_slot,
    open_recovery_slot,
    open_ring,
    seal_client_label,
    seal_passphrase_slot,
    seal_ring,
)
from awvault.errors import (
    DocumentError,
    InvalidInputError,
    MalformedError,
    RollbackError,
    SealError,
    UnsupportedSuiteError,
    WrongPassphraseError,
    WrongPlaceError,
    WrongRecoveryKeyError,
)
from awvault.protocol.document import (
    CLIENTS_MAX,
    NO_KEY,
    SUITE,
    USERNAME,
    ZERO_HASH,
    AccountDocument,
    ClientEntry,
    Erasure,
    SignedDocument,
    decode_document,
    hash_document,
    hash_keys_blob,
    verify_first,
    verify_next,
)

FIRST_CLIENT_NUMBER: Final = 1
"""Event ids of client 0 would be small numbers, and so are those of ActivityWatch.

An event that a script copies from there with its id must not be taken for a
correction of an unrelated event here.
"""

KEYS_BLOB_MAGIC: Final = b"AWKB"
KEYS_BLOB_BYTES_MAX: Final = 5 + 3 * 4 + 2 * SLOT_BYTES + SEALED_RING_BYTES_MAX
KEYSTORE_VERSION: Final = 1

_SEED: Final = 3
_JOURNAL_KEY: Final = _SEED + ClientKey.SIZE
_PIN: Final = _JOURNAL_KEY + JournalKey.SIZE
_PIN_HASH: Final = _PIN + 8
_RING: Final = _PIN_HASH + HASH_BYTES

Pin = tuple[int, bytes]
"""(version, hash) of an account document that was verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedAccount:
    """A chain of account documents that broke no rule."""

    newest: SignedDocument
    hashes: tuple[bytes, ...]
    """The hash of every version, from the first."""
    clients: Mapping[ClientId, ClientEntry]
    """Every client that exists, by its id."""

    @property
    def document(self) -> AccountDocument:
        """The version in force."""
        return self.newest.document

    @property
    def pin(self) -> Pin:
        """(version, hash) of the version in force."""
        return self.document.version, self.newest.hash

    def check_pin(self, pin: Pin) -> None:
        """Raise unless the document that was pinned is in this chain.

        Raises `RollbackError` if the chain ends before it, and `DocumentError`
        if another document stands in its place.
        """
        version, pinned = pin
        if version > len(self.hashes):
            raise RollbackError(
                "account document", verified=version, offered=len(self.hashes)
            )
        if version < 1 or self.hashes[version - 1] != pinned:
            raise DocumentError(
                f"account document version {version} is another one than this"
                " client has verified"
            )

    def erased(self, client_id: ClientId) -> list[Erasure]:
        """Return the ranges of one log whose bodies the owner had destroyed."""
        return [e for e in self.document.erased if e.client_id == client_id]

    def extended_by(self, documents: Sequence[bytes]) -> Self:
        """Return this chain with later versions; raises as `verify_documents`."""
        newest = self.newest
        hashes = list(self.hashes)
        for data in documents:
            after = decode_document(data)
            verify_next(newest, after)
            newest = after
            hashes.append(after.hash)
        return type(self)(
            newest=newest, hashes=tuple(hashes), clients=_by_id(newest.document)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysBlob:
    """The wrapped keys of an account, divided. None of it is opened yet."""

    passphrase_slot: bytes
    recovery_slot: bytes
    """Empty where there is no recovery key."""
    ring: bytes

    def encode(self) -> bytes:
        """Return the blob's bytes."""
        fields = lp(self.passphrase_slot, self.recovery_slot, self.ring)
        return KEYS_BLOB_MAGIC + u8(SUITE) + fields

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a blob; raises `MalformedError` for any but the one encoding."""
        if len(data) > KEYS_BLOB_BYTES_MAX:
            raise MalformedError(
                f"the keys blob has {len(data)} bytes, at most {KEYS_BLOB_BYTES_MAX}"
            )
        if data[:4] != KEYS_BLOB_MAGIC:
            raise MalformedError("the bytes do not begin as a keys blob does")
        if data[4:5] != u8(SUITE):
            raise UnsupportedSuiteError(
                f"the keys blob has another suite than {SUITE}: update this client"
            )
        fields: list[bytes] = []
        at = 5
        for _ in range(3):
            size = int.from_bytes(data[at : at + 4], "little")
            fields.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        blob = cls(passphrase_slot=fields[0], recovery_slot=fields[1], ring=fields[2])
        if (
            at != len(data)
            or len(blob.passphrase_slot) != SLOT_BYTES
            or len(blob.recovery_slot) not in {0, SLOT_BYTES}
            or blob.encode() != data
        ):
            raise MalformedError("the keys blob is not in its form")
        return blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Keystore:
    """What one client keeps for itself."""

    client_number: int
    client_key: ClientKey
    journal_key: JournalKey
    pin: Pin
    ring: Ring


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """All that a new account stores; nothing in it is secret as it stands."""

    account_id: AccountId
    client_id: ClientId
    document: bytes
    document_hash: bytes
    keys_blob: bytes
    keystore: bytes


def create_account(
    passphrase: Passphrase,
    *,
    username: str,
    client_label: str,
    profile: Profile,
    random: Random,
) -> NewAccount:
    """Make the keys of a new account with one client, and seal them.

    Runs Argon2: takes about a second. There is no recovery slot yet. Raises
    `InvalidInputError` for a username that is none.
    """
    check_username(username)
    salt = new_salt(random)
    passphrase_key = derive_passphrase_key(
        passphrase, username=username, salt=salt, profile=profile
    )
    master = new_key(MasterKey, passphrase_key, context=u32(0), random=random)
    signing_key = derive_account_signing_key(master)
    account_id = account_id_of(signing_key.public)
    epoch_key = new_key(
        EpochKey, passphrase_key, context=account_id + u32(0), random=random
    )
    client_key = new_key(ClientKey, passphrase_key, context=account_id, random=random)
    journal_key = new_key(JournalKey, passphrase_key, context=account_id, random=random)
    ring = {0: epoch_key}
    keys_blob = KeysBlob(
        passphrase_slot=seal_passphrase_slot(
            derive_passphrase_kek(passphrase_key),
            master,
            account_id=account_id,
            epoch=0,
            salt=salt,
            random=random,
        ),
        recovery_slot=b"",
        ring=seal_ring(
            derive_ring_kek(master),
            ring,
            account_id=account_id,
            epoch=0,
            salt=salt,
            random=random,
        ),
    ).encode()
    client = ClientEntry(
        number=FIRST_CLIENT_NUMBER,
        public=client_key.public,
        added_version=1,
        label_epoch=0,
        sealed_label=seal_client_label(
            epoch_key,
            client_label,
            account_id=account_id,
            client_id=client_key.client_id,
            random=random,
        ),
    )
    document = AccountDocument(
        version=1,
        prev=ZERO_HASH,
        account_id=account_id,
        epoch=0,
        signing_public=signing_key.public,
        oldest_suite=SUITE,
        username=username,
        salt=salt,
        login_public=derive_login_key(passphrase_key).public,
        recovery_login_public=NO_KEY,
        keys_blob_hash=hash_keys_blob(keys_blob),
        clients=(client,),
        heads=(),
        erased=(),
    ).sign(signing_key)
    document_hash = hash_document(document)
    keystore = Keystore(
        client_number=client.number,
        client_key=client_key,
        journal_key=journal_key,
        pin=(1, document_hash),
        ring=ring,
    )
    return NewAccount(
        account_id=account_id,
        client_id=client_key.client_id,
        document=document,
        document_hash=document_hash,
        keys_blob=keys_blob,
        keystore=seal_keystore(account_id, keystore, epoch=0, random=random),
    )


def check_username(username: str) -> None:
    """Raise `InvalidInputError` for a username that no document can hold."""
    if USERNAME.fullmatch(username) is None:
        raise InvalidInputError(
            "username",
            "a username has 1 to 32 of a to z, 0 to 9, dot, underscore and dash",
        )


def verify_documents(
    account_id: AccountId, documents: Sequence[bytes]
) -> VerifiedAccount:
    """Verify a chain of account documents from the first.

    Raises `DocumentError`, `SignatureError`, `WrongPlaceError` (of another
    account) or `UnsupportedSuiteError`.
    """
    if not documents:
        raise DocumentError("there is no account document")
    first = decode_document(documents[0])
    if first.document.account_id != account_id:
        raise WrongPlaceError("the account document is of another account")
    verify_first(first)
    account = VerifiedAccount(
        newest=first, hashes=(first.hash,), clients=_by_id(first.document)
    )
    return account.extended_by(documents[1:])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedAccount:
    """A verified account with its master key in hand.

    It lives while a client unlocks, or while the account document changes.
    """

    account: VerifiedAccount
    blob: KeysBlob
    owner: PassphraseKey | RecoveryKey
    """What opened it."""
    master: MasterKey
    ring: Ring


def open_keys(
    secret: Passphrase | PassphraseKey | RecoveryKey,
    account: VerifiedAccount,
    keys_blob: bytes,
    *,
    profile: Profile,
) -> OpenedAccount:
    """Open an account's keys by its passphrase, or by its recovery key.

    Before anything is derived, raises `MalformedError`, or `DocumentError` if the
    blob is not the one that the document names. So if the slot does not open, the
    secret is another one: `WrongPassphraseError` or `WrongRecoveryKeyError`, which
    is also what an account without a recovery key gives. Raises `DocumentError` if
    the master key is not the one that signs the document, and as `open_ring`.

    With a passphrase, Argon2 runs: takes about a second. Its key, where somebody has
    derived it for this document's username and salt, is as good.
    """
    document = account.document
    blob = _named_blob(document, keys_blob)
    owner = (
        derive_passphrase_key(
            secret, username=document.username, salt=document.salt, profile=profile
        )
        if isinstance(secret, Passphrase)
        else secret
    )
    master = (
        _open_recovery_slot(document, owner, blob)
        if isinstance(owner, RecoveryKey)
        else _open_passphrase_slot(document, owner, blob)
    )
    return OpenedAccount(
        account=account,
        blob=blob,
        owner=owner,
        master=master,
        ring=_open_ring(document, master, blob),
    )


def open_account(
    passphrase: Passphrase,
    account: VerifiedAccount,
    keys_blob: bytes,
    *,
    profile: Profile,
) -> Ring:
    """Return the ring of epoch keys, by the passphrase; raises as `open_keys`."""
    return open_keys(passphrase, account, keys_blob, profile=profile).ring


def seal_keystore(
    account_id: AccountId, keystore: Keystore, *, epoch: int, random: Random
) -> bytes:
    """Seal a client's keystore under the key of an epoch."""
    client_id = keystore.client_key.client_id
    version, pinned = keystore.pin
    plaintext = b"".join(
        (
            u8(KEYSTORE_VERSION),
            u16(keystore.client_number),
            keystore.client_key.reveal(),
            keystore.journal_key.reveal(),
            u64(version),
            pinned,
            encode_ring(keystore.ring),
        )
    )
    key = derive_local_key(keystore.ring[epoch], client_id)
    return seal(
        key.reveal(), labels.KEYSTORE, account_id + client_id, plaintext, random
    )


def open_keystore(
    epoch_key: EpochKey, account_id: AccountId, client_id: ClientId, sealed: bytes
) -> Keystore:
    """Open a client's keystore.

    Raises `SealError`; `UnsupportedSuiteError` for a keystore of a newer
    program, `MalformedError` or `EpochError` for what no program of ours seals.
    """
    key = derive_local_key(epoch_key, client_id)
    opened = open_sealed(key.reveal(), labels.KEYSTORE, account_id + client_id, sealed)
    if opened[:1] != u8(KEYSTORE_VERSION):
        raise UnsupportedSuiteError("the keystore is of a newer program: update it")
    if len(opened) < _RING:
        raise MalformedError(f"a keystore has more than {_RING} bytes")
    keystore = Keystore(
        client_number=int.from_bytes(opened[1:_SEED], "little"),
        client_key=ClientKey(opened[_SEED:_JOURNAL_KEY]),
        journal_key=JournalKey(opened[_JOURNAL_KEY:_PIN]),
        pin=(
            int.from_bytes(opened[_PIN:_PIN_HASH], "little"),
            opened[_PIN_HASH:_RING],
        ),
        ring=decode_ring(opened[_RING:]),
    )
    if (
        keystore.client_key.client_id != client_id
        or keystore.client_number >= CLIENTS_MAX
    ):
        raise MalformedError("the keystore holds the key of another client")
    return keystore


def _by_id(document: AccountDocument) -> dict[ClientId, ClientEntry]:
    return {client.client_id: client for client in document.clients}


def _named_blob(document: AccountDocument, keys_blob: bytes) -> KeysBlob:
    """Return the blob if it is the one that the owner signed."""
    blob = KeysBlob.decode(keys_blob)
    if hash_keys_blob(keys_blob) != document.keys_blob_hash:
        raise DocumentError("the keys blob is not the one that the document names")
    if bool(blob.recovery_slot) != (document.recovery_login_public != NO_KEY):
        raise DocumentError("a recovery slot without a recovery login, or the reverse")
    return blob


def _open_passphrase_slot(
    document: AccountDocument, key: PassphraseKey, blob: KeysBlob
) -> MasterKey:
    try:
        return open_passphrase_slot(
            derive_passphrase_kek(key),
            blob.passphrase_slot,
            account_id=document.account_id,
            epoch=document.epoch,
            salt=document.salt,
        )
    except SealError:
        raise WrongPassphraseError from None


def _open_recovery_slot(
    document: AccountDocument, key: RecoveryKey, blob: KeysBlob
) -> MasterKey:
    try:
        return open_recovery_slot(
            derive_recovery_kek(key),
            blob.recovery_slot,
            account_id=document.account_id,
            epoch=document.epoch,
        )
    except SealError:
        raise WrongRecoveryKeyError from None


def _open_ring(document: AccountDocument, master: MasterKey, blob: KeysBlob) -> Ring:
    # Pinned: whoever could make a slot that opens could otherwise put a master
    # key of his own below it.
    if derive_account_signing_key(master).public != document.signing_public:
        raise DocumentError("the slot holds another key than the one that signs")
    return open_ring(
        derive_ring_kek(master),
        blob.ring,
        account_id=document.account_id,
        epoch=document.epoch,
        salt=document.salt,
    )
