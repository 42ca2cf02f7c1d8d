"""From a passphrase to a key: Argon2id (RFC 9106)."""

import unicodedata
from dataclasses import dataclass
from typing import Final

from argon2.low_level import Type, hash_secret_raw

from awvault.crypto import labels
from awvault.crypto.hashing import hash_bytes, lp
from awvault.crypto.keys import Passphrase, PassphraseKey

SALT_BYTES: Final = 16
_VERSION: Final = 0x13


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The cost of one guess. The suite fixes it: nothing stored selects it."""

    memory_kib: int
    passes: int


STANDARD: Final = Profile(memory_kib=256 * 1024, passes=3)
"""Suite 1, of 2026: 256 MiB, three passes, one lane; about a second."""


def derive_passphrase_key(
    passphrase: Passphrase, *, username: str, salt: bytes, profile: Profile
) -> PassphraseKey:
    """Return what Argon2id v1.3 makes of a passphrase; takes about a second.

    The passphrase is brought to NFKC and UTF-8. The salt that goes in is bound
    to the username, so a host cannot give two users the same one.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, got {len(salt)}")
    return PassphraseKey(
        hash_secret_raw(
            unicodedata.normalize("NFKC", passphrase.reveal()).encode(),
            hash_bytes(labels.SALT, lp(username.encode()) + salt, size=SALT_BYTES),
            time_cost=profile.passes,
            memory_cost=profile.memory_kib,
            parallelism=1,
            hash_len=PassphraseKey.SIZE,
            type=Type.ID,
            version=_VERSION,
        )
    )
