"""Payload bytes, compressed or not, with their length declared.

    packed = codec u8 || raw_bytes u32 || data

Codec 0 is the raw payload, codec 1 is one zstd frame (RFC 8878). The declared
length is a cap that is held to while decompressing, so a bomb costs its reader
no more than RAW_BYTES_MAX.
"""

import struct
import sys
from typing import Final

from awvault.errors import PayloadError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RAW_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of a payload before compression."""

WINDOW_LOG_MAX: Final = 24
"""Base-2 logarithm of the bytes that a frame may make its reader look back."""

LEVEL: Final = 3
CODEC_RAW: Final = 0
CODEC_ZSTD: Final = 1
_HEAD: Final = struct.Struct("<BI")


def pack(payload: bytes, *, compression: bool = True) -> bytes:
    """Return a payload packed; the longer form is never chosen."""
    if len(payload) > RAW_BYTES_MAX:
        raise PayloadError(
            f"payload has {len(payload)} bytes, at most {RAW_BYTES_MAX} are sealed"
        )
    if compression:
        packed = zstd.compress(payload, level=LEVEL)
        if len(packed) < len(payload):
            return _HEAD.pack(CODEC_ZSTD, len(payload)) + packed
    return _HEAD.pack(CODEC_RAW, len(payload)) + payload


def unpack(packed: bytes) -> bytes:
    """Return the payload; raises `PayloadError` for anything that is none."""
    if len(packed) < _HEAD.size:
        raise PayloadError(f"packed payload has {len(packed)} bytes, too few")
    codec, raw_bytes = _HEAD.unpack_from(packed)
    if raw_bytes > RAW_BYTES_MAX:
        raise PayloadError(
            f"payload declares {raw_bytes} bytes, at most {RAW_BYTES_MAX} are opened"
        )
    data = packed[_HEAD.size :]
    if codec == CODEC_ZSTD:
        data = _decompress(data, raw_bytes)
    elif codec != CODEC_RAW:
        raise PayloadError(f"payload codec is {codec}, known are 0 and 1")
    if len(data) != raw_bytes:
        raise PayloadError(f"payload declares {raw_bytes} bytes, has {len(data)}")
    return data


def _decompress(frame: bytes, raw_bytes: int) -> bytes:
    decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
    )
    try:
        # One byte more than declared shows a frame that goes on.
        data = decompressor.decompress(frame, max_length=raw_bytes + 1)
    except zstd.ZstdError:
        raise PayloadError("payload is no zstd frame") from None
    if len(data) > raw_bytes:
        raise PayloadError(f"payload is longer than the {raw_bytes} bytes it declares")
    if not decompressor.eof:
        raise PayloadError(f"payload ends after {len(data)} of {raw_bytes} bytes")
    if decompressor.unused_data:
        raise PayloadError("payload has bytes after its zstd frame")
    return data
