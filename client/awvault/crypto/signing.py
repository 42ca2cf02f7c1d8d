"""Ed25519 (RFC 8032) over LP(label) || message: a signature serves one purpose."""

from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from awserver.encoding import lp
from awvault.crypto.labels import Label
from awvault.errors import SignatureError

PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SEED_BYTES: Final = 32


def key_pair(seed: bytes) -> tuple[bytes, bytes]:
    """Return the public key of a seed, and the 64 secret bytes that sign."""
    public, secret = bindings.crypto_sign_seed_keypair(seed)
    return public, secret


def sign(secret: bytes, label: Label, message: bytes) -> bytes:
    """Return the 64 bytes of the signature."""
    signed = bindings.crypto_sign(lp(label) + message, secret)
    return signed[:SIGNATURE_BYTES]


def verify_signed(
    public: bytes, label: Label, message: bytes, signature: bytes
) -> None:
    """Return if `signature` is by `public`; raises `SignatureError` otherwise.

    libsodium refuses keys of small order and second encodings of a signature,
    so what is signed has one signature.
    """
    if not _is_signed(public, lp(label) + message, signature):
        raise SignatureError(
            f'the signature of a "{label.decode()}" is not by the key that should'
            " have made it"
        )


def _is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public)
    except CryptoError:
        return False
    return True
