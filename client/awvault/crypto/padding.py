"""Sizes in buckets: what the length of a record tells is little.

Padme (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
Communication with PURBs", 2019, section 4): of a length L only the leading
floor(log2(log2 L)) + 1 bits are kept, so there are few sizes, and at most 12 %
is added.
"""

from typing import Final

from awserver.encoding import u32
from awvault.crypto.envelope import PLAINTEXT_BYTES_MAX
from awvault.errors import LimitError, PayloadError

FLOOR_LOCAL_BYTES: Final = 512
"""The smallest size where no host watches."""

FLOOR_REMOTE_BYTES: Final = 4096
"""The smallest size where a host could tell an idle hour from a busy one."""

LENGTH_BYTES: Final = 4
CONTENT_BYTES_MAX: Final = PLAINTEXT_BYTES_MAX - LENGTH_BYTES


def padded_bytes(size: int, *, floor: int) -> int:
    """Return the size of the bucket for `size` bytes, length field included."""
    if size <= floor:
        return floor
    exponent = size.bit_length() - 1
    kept = exponent.bit_length()
    mask = (1 << max(exponent - kept, 0)) - 1
    return min((size + mask) & ~mask, PLAINTEXT_BYTES_MAX)


def pad(content: bytes, *, floor: int) -> bytes:
    """Return the length of `content`, u32, then `content`, then zeros.

    Raises `LimitError` above `CONTENT_BYTES_MAX`.
    """
    if len(content) > CONTENT_BYTES_MAX:
        raise LimitError(
            "content",
            f"a record's content has {len(content)} bytes, at most {CONTENT_BYTES_MAX}",
        )
    framed = u32(len(content)) + content
    return framed.ljust(padded_bytes(len(framed), floor=floor), b"\0")


def unpad(padded: bytes) -> bytes:
    """Return the content; raises `PayloadError` where the padding is not ours.

    The seal was good when this is called: a fault here is its client's.
    """
    if len(padded) < LENGTH_BYTES:
        raise PayloadError(
            f"padded content has at least {LENGTH_BYTES} bytes, got {len(padded)}"
        )
    end = LENGTH_BYTES + int.from_bytes(padded[:LENGTH_BYTES], "little")
    if end > len(padded):
        raise PayloadError(
            f"padded content names {end - LENGTH_BYTES} bytes,"
            f" there are {len(padded) - LENGTH_BYTES}"
        )
    if padded.count(0, end) != len(padded) - end:
        raise PayloadError("the padding holds something else than zeros")
    return padded[LENGTH_BYTES:end]
