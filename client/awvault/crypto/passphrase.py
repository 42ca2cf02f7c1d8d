"""From a passphrase to a key, slowly: Argon2id (RFC 9106), version 1.3."""

from dataclasses import dataclass
from typing import Final

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

from awserver.encoding import lp
from awvault.crypto import labels
from awvault.crypto.hashing import hash_bytes
from awvault.crypto.hedge import Random, draw
from awvault.crypto.keys import Passphrase, PassphraseKey
from awvault.errors import NotEnoughMemoryError

SALT_BYTES: Final = 16
LANES: Final = 1
"""The only number of lanes that libsodium's Argon2id can do."""

VERSION: Final = 0x13


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one guess at a passphrase costs."""

    memory_kib: int
    passes: int


STANDARD: Final = Profile(memory_kib=256 * 1024, passes=3)
"""The profile of suite 1, the only one of the product, chosen in 2026.

RFC 9106's second recommendation with four times its memory: about a second on
a laptop. Nothing that is stored or received selects another.
"""


def new_salt(random: Random) -> bytes:
    """Return a salt, straight from the generator.

    Not hedged, unlike others: a salt is public, and one that follows from the
    passphrase would let guesses be tested without Argon2, wherever the
    generator is known.
    """
    return draw(random, SALT_BYTES)


def bound_salt(username: str, salt: bytes) -> bytes:
    """Return salt': what Argon2 gets, so that no two usernames share one.

    BLAKE2b-128("salt", LP(username) || salt)
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, got {len(salt)}")
    data = lp(username.encode()) + salt
    return hash_bytes(labels.SALT, data, size=SALT_BYTES)


def derive_passphrase_key(
    passphrase: Passphrase, *, username: str, salt: bytes, profile: Profile
) -> PassphraseKey:
    """Return the passphrase's key. Takes about a second: use a thread.

    Raises `NotEnoughMemoryError` if the machine cannot spare the memory.
    """
    bound = bound_salt(username, salt)
    try:
        raw = hash_secret_raw(
            secret=passphrase.reveal(),
            salt=bound,
            time_cost=profile.passes,
            memory_cost=profile.memory_kib,
            parallelism=LANES,
            hash_len=PassphraseKey.SIZE,
            type=Type.ID,
            version=VERSION,
        )
    except (HashingError, MemoryError):
        raise NotEnoughMemoryError(profile.memory_kib * 1024) from None
    return PassphraseKey(raw)
