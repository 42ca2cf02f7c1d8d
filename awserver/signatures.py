"""Ed25519 verification: the host's only use of cryptography beside hashing."""

from typing import Final

from nacl.signing import VerifyKey

from awserver.errors import SignatureInvalidError

PUBLIC_KEY_BYTES: Final = 32


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Return if `signature` over `message` is by `public_key` (RFC 8032).

    Raises `SignatureInvalidError` otherwise, whatever is wrong.
    """
    try:
        VerifyKey(public_key).verify(message, signature)
    except Exception:  # noqa: BLE001 - its own errors are not imported here
        raise SignatureInvalidError(
            "the signature is not by the key that should have made it"
        ) from None
