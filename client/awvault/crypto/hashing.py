"""BLAKE2b (RFC 7693), always with a label: unkeyed for hashes, keyed to derive."""

from hashlib import blake2b
from typing import Final

from awvault.crypto.labels import LABEL_BYTES_MAX, Label

HASH_BYTES: Final = 32
KEY_BYTES_ALLOWED: Final = (32, 64)


def hash_bytes(label: Label, data: bytes, *, size: int = HASH_BYTES) -> bytes:
    """Return H_label(data): an unkeyed BLAKE2b of `size` bytes."""
    _check_label(label)
    return blake2b(data, digest_size=size, person=label).digest()


def derive(key: bytes, label: Label, data: bytes = b"", *, size: int = 32) -> bytes:
    """Return a keyed BLAKE2b: a key, or a part of one, from another.

    The key has 32 or 64 bytes: an empty one would silently mean "unkeyed".
    Raises ValueError for another length, which is a fault of the caller.
    """
    _check_label(label)
    if len(key) not in KEY_BYTES_ALLOWED:
        raise ValueError(f"a key has 32 or 64 bytes, got {len(key)}")
    return blake2b(data, key=key, digest_size=size, person=label).digest()


def _check_label(label: Label) -> None:
    # BLAKE2b fills a short person with NULs, so "a" and "a\0" would be one label.
    if not 1 <= len(label) <= LABEL_BYTES_MAX or 0 in label:
        raise ValueError("a label has 1 to 16 bytes, none of them NUL")
