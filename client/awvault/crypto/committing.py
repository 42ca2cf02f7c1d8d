"""Sealing that commits to its key.

    key[32] || commitment[32] = BLAKE2b-512(K, label, salt || H(context))
    sealed = salt[24] || commitment || XChaCha20-Poly1305(key, plaintext)
             nonce zero, associated data = context || salt || commitment

XChaCha20-Poly1305 alone does not commit: a ciphertext that opens under two
keys takes milliseconds to make, and turns a slot into a partitioning oracle
(Len, Grubbs, Ristenpart, USENIX Security 2021). The commitment is checked
first, in constant time, and every failure is the same error.

A zero nonce is right here, and only here: the key is fresh for every salt.
"""

import hmac
from dataclasses import dataclass
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from awvault.crypto import labels
from awvault.crypto.hashing import derive, hash_bytes
from awvault.crypto.hedge import hedged
from awvault.crypto.keys import Random, Secret
from awvault.errors import SealError

SALT_BYTES: Final = 24
COMMITMENT_BYTES: Final = 32
TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = SALT_BYTES + COMMITMENT_BYTES + TAG_BYTES
_ZERO_NONCE: Final = bytes(24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """The three parts of a committing seal."""

    salt: bytes
    commitment: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        """Return the parts as one."""
        return self.salt + self.commitment + self.ciphertext

    @classmethod
    def decode(cls, data: bytes) -> "Sealed":
        """Divide bytes into the parts; raises `SealError` if they are too few."""
        if len(data) < OVERHEAD_BYTES:
            raise _failed()
        return cls(
            salt=data[:SALT_BYTES],
            commitment=data[SALT_BYTES : SALT_BYTES + COMMITMENT_BYTES],
            ciphertext=data[SALT_BYTES + COMMITMENT_BYTES :],
        )


def seal(
    key: Secret, label: bytes, context: bytes, plaintext: bytes, random: Random
) -> Sealed:
    """Seal `plaintext` so that it opens only under `key`, `label` and `context`."""
    salt = hedged(key.reveal(), label, context, plaintext, random, size=SALT_BYTES)
    aead_key, commitment = _derive(key, label, salt, context)
    return Sealed(
        salt=salt,
        commitment=commitment,
        ciphertext=bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            plaintext, context + salt + commitment, _ZERO_NONCE, aead_key
        ),
    )


def open_sealed(key: Secret, label: bytes, context: bytes, sealed: Sealed) -> bytes:
    """Return the plaintext, or raise `SealError`: one error, whatever is wrong."""
    aead_key, commitment = _derive(key, label, sealed.salt, context)
    if not hmac.compare_digest(commitment, sealed.commitment):
        raise _failed()
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed.ciphertext,
            context + sealed.salt + sealed.commitment,
            _ZERO_NONCE,
            aead_key,
        )
    except CryptoError:
        raise _failed() from None


def _derive(
    key: Secret, label: bytes, salt: bytes, context: bytes
) -> tuple[bytes, bytes]:
    both = derive(
        key.reveal(), label, salt + hash_bytes(labels.CONTEXT, context), size=64
    )
    return both[:32], both[32:]


def _failed() -> SealError:
    return SealError("does not open: another key or place, or it was altered")
