"""Sizes in buckets, so that a size tells little.

    padded = length u32 || content || zeros, up to a Padmé size

Padmé (Nikitin et al., PoPETs 2019) leaks O(log log size) bits for at most 12 %
more bytes. A floor hides small contents altogether.
"""

from typing import Final

from awserver.records import BODY_BYTES_MAX
from awvault.crypto.committing import TAG_BYTES
from awvault.errors import PayloadError

FLOOR_LOCAL_BYTES: Final = 512
"""Where no remote host watches."""

FLOOR_REMOTE_BYTES: Final = 4096
PADDED_BYTES_MAX: Final = BODY_BYTES_MAX - TAG_BYTES
_LENGTH_BYTES: Final = 4


def padme(size: int) -> int:
    """Return the smallest Padmé size that is not below `size`."""
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << max(low_bits, 0)) - 1
    return (size + mask) & ~mask


def pad(content: bytes, *, floor: int) -> bytes:
    """Return `content` padded; raises `PayloadError` if no record holds it."""
    size = _LENGTH_BYTES + len(content)
    if size > PADDED_BYTES_MAX:
        raise PayloadError(
            f"payload has {size} bytes, at most {PADDED_BYTES_MAX} fit a record"
        )
    padded = min(max(padme(size), floor), PADDED_BYTES_MAX)
    zeros = bytes(padded - size)
    return len(content).to_bytes(_LENGTH_BYTES, "little") + content + zeros


def unpad(padded: bytes) -> bytes:
    """Return the content; raises `PayloadError` if the padding is not ours."""
    length = int.from_bytes(padded[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    if len(padded) < _LENGTH_BYTES or end > len(padded):
        raise PayloadError(
            f"padding names {length} bytes of content, the record has {len(padded)}"
        )
    if padded.count(0, end) != len(padded) - end:
        raise PayloadError("padding is not zero")
    return padded[_LENGTH_BYTES:end]
