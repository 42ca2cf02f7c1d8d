"""One type per secret, and how each comes from another.

A secret does not print, pickle, hash, copy or compare by accident, and mypy
refuses one where another is due. Python cannot erase memory: that is said in
the threat model, and not pretended here. docs/protocol/keys.md has the formulas.
"""

import hmac
import unicodedata
from typing import ClassVar, Final, NoReturn, SupportsIndex, TypeVar

from awserver.proofs import Transcript
from awserver.records import ClientId, client_id_of
from awvault.crypto import labels
from awvault.crypto.hashing import derive
from awvault.crypto.hedge import Random as Random  # noqa: PLC0414 - given on
from awvault.crypto.hedge import generate
from awvault.crypto.labels import Label
from awvault.crypto.signing import key_pair, sign
from awvault.errors import InvalidInputError, LimitError

BOOT_RANDOM_BYTES: Final = 32
PASSPHRASE_BYTES_MAX: Final = 1024
"""Of a passphrase in UTF-8, after it was normalised."""


class Secret:
    """Bytes that are hard to print, compare, pickle, copy or mistake."""

    SIZE: ClassVar[int] = 32
    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        """Hold `raw`, which has SIZE bytes."""
        if type(raw) is not bytes or len(raw) != self.SIZE:
            raise ValueError(f"{type(self).__name__} has {self.SIZE} bytes")
        self._raw = raw

    def reveal(self) -> bytes:
        """Return the raw bytes. Only `crypto` and the keystore call this."""
        return self._raw

    def __repr__(self) -> str:
        return f"<{type(self).__name__} redacted>"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(self._raw, other._raw)

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError(f"{type(self).__name__} must not be pickled or copied")


class RandomKey(Secret):
    """A key that is drawn, not derived."""

    PURPOSE: ClassVar[bytes]
    __slots__ = ()


_Key = TypeVar("_Key", bound=RandomKey)


class _KeyPair(Secret):
    """An Ed25519 seed (RFC 8032)."""

    __slots__ = ("_expanded", "public")

    def __init__(self, raw: bytes) -> None:
        """Hold the seed, 32 bytes."""
        super().__init__(raw)
        self.public: bytes
        self._expanded: bytes
        self.public, self._expanded = key_pair(raw)

    def prove(self, transcript: Transcript) -> bytes:
        """Return the signature that shows a host that this key is here."""
        return sign(self._expanded, labels.PROOF, transcript.encode())


class _SigningKey(_KeyPair):
    """A key pair whose kind signs one thing beside proofs, under one label."""

    LABEL: ClassVar[Label]
    __slots__ = ()

    def sign(self, message: bytes) -> bytes:
        """Return the signature over LP(label) || message."""
        return sign(self._expanded, self.LABEL, message)


class Passphrase:
    """What a person knows, in the one form that opens (NFKC, UTF-8)."""

    __slots__ = ("_utf8",)

    def __init__(self, text: str) -> None:
        """Take what was typed; raises `InvalidInputError`, which never quotes it."""
        if len(text) > PASSPHRASE_BYTES_MAX:
            raise _too_long(len(text))
        # Outside of any handler: an exception of the codec would carry the text.
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidInputError("passphrase", "the passphrase is not valid text")
        utf8 = unicodedata.normalize("NFKC", text).encode()
        if not utf8:
            raise InvalidInputError("passphrase", "the passphrase is empty")
        if len(utf8) > PASSPHRASE_BYTES_MAX:
            raise _too_long(len(utf8))
        self._utf8 = utf8

    def reveal(self) -> bytes:
        """Return the bytes that Argon2 gets.

        Only `crypto`, `strength` and `passphrases` call this.
        """
        return self._utf8

    def __repr__(self) -> str:
        return "<Passphrase redacted>"

    def __eq__(self, other: object) -> bool:
        if type(other) is not Passphrase:
            return NotImplemented
        return hmac.compare_digest(self._utf8, other._utf8)

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("Passphrase must not be pickled or copied")


def _too_long(size: int) -> LimitError:
    return LimitError(
        "passphrase",
        f"the passphrase has {size} bytes, at most {PASSPHRASE_BYTES_MAX} are taken",
    )


class PassphraseKey(Secret):
    """What Argon2id makes of a passphrase, a username and a salt."""

    SIZE = 64
    __slots__ = ()


class RecoveryKey(RandomKey):
    """R: the 24 words. Stored nowhere."""

    PURPOSE = b"recovery"
    __slots__ = ()


class LoginKey(_KeyPair):
    """Proves the passphrase to a host."""

    __slots__ = ()


class RecoveryLoginKey(LoginKey):
    """Proves the recovery key to a host."""

    __slots__ = ()


class PassphraseKek(Secret):
    """Seals the master key in the passphrase slot."""

    __slots__ = ()


class RecoveryKek(Secret):
    """Seals the master key in the recovery slot."""

    __slots__ = ()


class MasterKey(RandomKey):
    """MK: the root of one epoch. In memory only while unlocking or editing."""

    PURPOSE = b"master"
    __slots__ = ()


class RingKek(Secret):
    """Seals the ring of epoch keys."""

    __slots__ = ()


class AccountSigningKey(_SigningKey):
    """ASK: signs the account document."""

    LABEL = labels.DOCUMENT
    __slots__ = ()


class EpochKey(RandomKey):
    """E: seals the records of one epoch."""

    PURPOSE = b"epoch"
    __slots__ = ()


class ClientKey(_SigningKey, RandomKey):
    """CK: signs one client's records. Made there, and never leaves it."""

    LABEL = labels.RECORD
    PURPOSE = b"client"
    __slots__ = ()

    @property
    def client_id(self) -> ClientId:
        """The id that this key certifies."""
        return client_id_of(self.public)


class LocalKey(Secret):
    """Seals one client's keystore."""

    __slots__ = ()


class JournalKey(RandomKey):
    """JK: root of one client's journal and index keys. Random, never derived."""

    PURPOSE = b"journal"
    __slots__ = ()


class BootKey(Secret):
    """Seals the journal rows of one start of the program."""

    __slots__ = ()


class IndexKey(Secret):
    """Seals index rows."""

    __slots__ = ()


class RemoteKey(Secret):
    """Seals the notes on the remote host."""

    __slots__ = ()


def new_key(
    kind: type[_Key],
    owner: PassphraseKey | RecoveryKey,
    *,
    context: bytes,
    random: Random,
) -> _Key:
    """Return a new random key, hedged with what only its owner has.

    Where the generator repeats itself, another owner still gets another key.
    """
    raw = generate(owner.reveal(), kind.PURPOSE, context=context, random=random)
    return kind(raw)


def derive_login_key(key: PassphraseKey) -> LoginKey:
    """Return the key that proves knowledge of the passphrase."""
    return LoginKey(derive(key.reveal(), labels.LOGIN))


def derive_passphrase_kek(key: PassphraseKey) -> PassphraseKek:
    """Return the key of the passphrase slot."""
    return PassphraseKek(derive(key.reveal(), labels.KEK_PASSPHRASE))


def derive_recovery_login_key(key: RecoveryKey) -> RecoveryLoginKey:
    """Return the key that proves knowledge of the recovery words."""
    return RecoveryLoginKey(derive(key.reveal(), labels.RECOVERY_LOGIN))


def derive_recovery_kek(key: RecoveryKey) -> RecoveryKek:
    """Return the key of the recovery slot."""
    return RecoveryKek(derive(key.reveal(), labels.KEK_RECOVERY))


def derive_account_signing_key(master: MasterKey) -> AccountSigningKey:
    """Return the key that signs the account document of an epoch."""
    return AccountSigningKey(derive(master.reveal(), labels.ACCOUNT_SIGNING))


def derive_ring_kek(master: MasterKey) -> RingKek:
    """Return the key that seals the ring of epoch keys."""
    return RingKek(derive(master.reveal(), labels.KEK_RING))


def derive_local_key(epoch_key: EpochKey, client_id: ClientId) -> LocalKey:
    """Return the key of a client's keystore."""
    return LocalKey(derive(epoch_key.reveal(), labels.LOCAL, client_id))


def derive_boot_key(journal_key: JournalKey, boot_random: bytes) -> BootKey:
    """Return the key of the journal rows of one start of the program.

    `boot_random` is drawn at that start and lies beside the rows; no secret.
    """
    if len(boot_random) != BOOT_RANDOM_BYTES:
        raise ValueError(
            f"a start has {BOOT_RANDOM_BYTES} random bytes, got {len(boot_random)}"
        )
    return BootKey(derive(journal_key.reveal(), labels.JOURNAL, boot_random))


def derive_index_key(journal_key: JournalKey) -> IndexKey:
    """Return the key of a client's index rows."""
    return IndexKey(derive(journal_key.reveal(), labels.INDEX))


def derive_remote_key(journal_key: JournalKey) -> RemoteKey:
    """Return the key of a client's notes on the remote host."""
    return RemoteKey(derive(journal_key.reveal(), labels.REMOTE))


def derive_slot(journal_key: JournalKey, period_seconds: int) -> int:
    """Return at which second of each period a client uploads. Always the same.

    From a secret, so that nobody can tell it before the first upload, and two
    clients of one owner do not share it.
    """
    drawn = derive(journal_key.reveal(), labels.SLOT)
    return int.from_bytes(drawn[:8], "little") % period_seconds
