"""Packed payloads: declared lengths are held to."""

import sys

import pytest

from awvault.columns.compress import RAW_BYTES_MAX, pack, unpack
from awvault.errors import PayloadError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONG = b"abc" * 1000


def packed(codec: int, raw_bytes: int, data: bytes) -> bytes:
    return bytes([codec]) + raw_bytes.to_bytes(4, "little") + data


@pytest.mark.parametrize("compression", [True, False])
@pytest.mark.parametrize("payload", [b"", b"x", LONG, bytes(RAW_BYTES_MAX)])
def test_what_is_packed_comes_back(payload: bytes, *, compression: bool) -> None:
    """With and without compression, of any length that is allowed."""
    assert unpack(pack(payload, compression=compression)) == payload


def test_compression_is_used_where_it_helps() -> None:
    """Codec 1 is for what gets shorter, 0 for the rest and when it is turned off."""
    assert pack(LONG)[0] == 1
    assert len(pack(LONG)) < 100
    assert pack(b"x") == packed(0, 1, b"x")
    assert pack(LONG, compression=False) == packed(0, len(LONG), LONG)


def test_too_much_is_not_packed() -> None:
    """A payload above 16 MiB is refused before it is sealed."""
    with pytest.raises(PayloadError, match="has 16777217 bytes, at most 16777216"):
        pack(bytes(RAW_BYTES_MAX + 1))


FRAME = zstd.compress(LONG)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too few"),
        (b"\x00\x00\x00\x00", "too few"),
        (packed(2, 1, b"x"), "codec is 2"),
        (packed(0, 2, b"x"), "declares 2 bytes, has 1"),
        (packed(0, 1, b"xy"), "declares 1 bytes, has 2"),
        (packed(0, RAW_BYTES_MAX + 1, b"x"), "declares 16777217 bytes, at most"),
        (packed(1, 2**32 - 1, FRAME), "declares 4294967295 bytes, at most"),
        (packed(1, 3, b"abc"), "no zstd frame"),
        (packed(1, len(LONG), FRAME[:-1]), "ends after"),
        (packed(1, len(LONG), FRAME + b"x"), "after its zstd frame"),
        (packed(1, len(LONG), FRAME + FRAME), "after its zstd frame"),
        (packed(1, len(LONG) - 1, FRAME), "longer than the 2999 bytes"),
        (packed(1, len(LONG) + 1, FRAME), "declares 3001 bytes, has 3000"),
        (packed(1, 0, b""), "ends after 0 of 0"),
    ],
)
def test_what_is_no_packed_payload_is_refused(data: bytes, message: str) -> None:
    """Every way to be wrong is an error that says which."""
    with pytest.raises(PayloadError, match=message):
        unpack(data)


def test_a_frame_may_not_ask_for_a_large_window() -> None:
    """A window above 16 MiB is memory that no payload needs."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 25})
    frame = compressor.compress(LONG) + compressor.flush()

    with pytest.raises(PayloadError, match="no zstd frame"):
        unpack(packed(1, len(LONG), frame))
