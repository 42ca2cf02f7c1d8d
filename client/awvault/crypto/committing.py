"""Seals that open under one key only.

XChaCha20-Poly1305 alone does not commit to its key: a ciphertext that opens
under two keys is quickly made, and tells its maker which of two guessed
passphrases was right. So the key and a commitment to it come from one hash,
and the commitment is compared first.

    key[32] || commitment[32] = BLAKE2b-512(K, label, salt || H_context(context))
    ciphertext = XChaCha20-Poly1305(key, nonce = 0, plaintext,
                                    AAD = context || salt || commitment)
    sealed     = salt[24] || commitment[32] || ciphertext

The nonce is 24 zero bytes: each salt gives a fresh key, and a salt repeats only
where key, label, context, plaintext and random bytes all do.
"""

import hmac
from dataclasses import dataclass
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from awserver.encoding import lp
from awvault.crypto import labels
from awvault.crypto.hashing import derive, hash_bytes
from awvault.crypto.hedge import Random, hedged
from awvault.crypto.labels import Label
from awvault.errors import SealError

SALT_BYTES: Final = 24
COMMITMENT_BYTES: Final = 32
TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = SALT_BYTES + COMMITMENT_BYTES + TAG_BYTES

_KEY_BYTES: Final = 32
_NONCE: Final = bytes(24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """The parts of a seal, for formats that place them apart."""

    salt: bytes
    commitment: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        """Return salt || commitment || ciphertext."""
        return self.salt + self.commitment + self.ciphertext


def seal_parts(
    key: bytes, label: Label, context: bytes, plaintext: bytes, random: Random
) -> Sealed:
    """Seal `plaintext` so that it opens only with `key`, `label` and `context`."""
    salt = hedged(
        key,
        labels.HEDGE,
        context=lp(label) + context,
        plaintext=plaintext,
        random=random,
        size=SALT_BYTES,
    )
    sealing_key, commitment = _derive(key, label, context, salt)
    ciphertext = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, context + salt + commitment, _NONCE, sealing_key
    )
    return Sealed(salt=salt, commitment=commitment, ciphertext=ciphertext)


def open_parts(key: bytes, label: Label, context: bytes, sealed: Sealed) -> bytes:
    """Return what was sealed; raises the same `SealError` whatever is wrong."""
    opened = _open(key, label, context, sealed)
    if opened is None:
        # Raised here, outside of any handler: an error that carries its cause
        # would tell one failure from another.
        raise SealError("a seal does not open: another key, or altered, or moved")
    return opened


def seal(
    key: bytes, label: Label, context: bytes, plaintext: bytes, random: Random
) -> bytes:
    """Return salt || commitment || ciphertext; see `seal_parts`."""
    return seal_parts(key, label, context, plaintext, random).encode()


def open_sealed(key: bytes, label: Label, context: bytes, sealed: bytes) -> bytes:
    """Return what `seal` sealed; raises the same `SealError` whatever is wrong."""
    after_salt = SALT_BYTES + COMMITMENT_BYTES
    parts = Sealed(
        salt=sealed[:SALT_BYTES],
        commitment=sealed[SALT_BYTES:after_salt],
        ciphertext=sealed[after_salt:],
    )
    return open_parts(key, label, context, parts)


def _derive(
    key: bytes, label: Label, context: bytes, salt: bytes
) -> tuple[bytes, bytes]:
    data = salt + hash_bytes(labels.CONTEXT, context)
    both = derive(key, label, data, size=_KEY_BYTES + COMMITMENT_BYTES)
    return both[:_KEY_BYTES], both[_KEY_BYTES:]


def _open(key: bytes, label: Label, context: bytes, sealed: Sealed) -> bytes | None:
    if len(sealed.salt) != SALT_BYTES or len(sealed.ciphertext) < TAG_BYTES:
        return None
    sealing_key, commitment = _derive(key, label, context, sealed.salt)
    if not hmac.compare_digest(commitment, sealed.commitment):
        return None
    try:
        opened: bytes = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed.ciphertext,
            context + sealed.salt + sealed.commitment,
            _NONCE,
            sealing_key,
        )
    except CryptoError:
        return None
    return opened
