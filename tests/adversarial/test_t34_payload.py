"""T34: nonsense in a good seal costs a reader little memory and one error.

Payloads are what a faulty or hostile client of the owner's own can choose
freely: their seal is right. Each case here is as large as a record can be.
"""

import gc
import random
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgpack
import pytest

from awvault.columns.compress import RAW_BYTES_MAX, unpack
from awvault.columns.payload import ROWS_MAX, decode_payload, encode_payload
from awvault.columns.zones import decode_index_row
from awvault.errors import PayloadError
from tests.helpers.tables import payload

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB: Final = 1024 * 1024
RECORD_BYTES: Final = MIB
"""What a sealed record holds at most."""

MEMORY_BYTES_MAX: Final = 96 * MIB
"""What reading one record may take, beside the bytes that are read."""

MANY: Final = 10_000_000


def peak_of(work: Callable[[], object]) -> int:
    """Return the most memory that `work`, which must be refused, held at once."""
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError):
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def packed(declared: int, frame: bytes) -> bytes:
    return b"\x01" + declared.to_bytes(4, "little") + frame


def frame_of_zeros(mebibytes: int) -> bytes:
    compressor = zstd.ZstdCompressor(level=3)
    part = bytes(MIB)
    return (
        b"".join([compressor.compress(part) for _ in range(mebibytes)])
        + compressor.flush()
    )


@pytest.mark.parametrize(
    "declared", [0, 1, MIB, RAW_BYTES_MAX, RAW_BYTES_MAX + 1, 2**32 - 1]
)
def test_a_bomb_of_zeros_is_stopped(declared: int) -> None:
    """T34: a gigabyte in a small frame is read no further than was declared."""
    bomb = packed(declared, frame_of_zeros(1024))
    assert len(bomb) < RECORD_BYTES

    assert peak_of(lambda: unpack(bomb)) < 3 * RAW_BYTES_MAX


def test_a_bomb_in_a_bomb_is_opened_once() -> None:
    """T34: what was decompressed is not decompressed again."""
    inner = packed(RAW_BYTES_MAX, frame_of_zeros(16))
    outer = packed(len(inner), zstd.compress(inner))

    assert peak_of(lambda: decode_payload(unpack(outer))) < MIB


def of_header(encoded: bytes, rest: bytes = b"") -> bytes:
    return b"\x01" + len(encoded).to_bytes(4, "little") + encoded + rest


def header(changes: Mapping[str, Any]) -> bytes:
    empty = encode_payload(payload())
    fields = msgpack.unpackb(empty[5:], strict_map_key=False)
    packed_header: bytes = msgpack.packb({**fields, **changes})
    return packed_header


def array_of_many(key: str, item: bytes, count: int) -> bytes:
    """Return a header whose array `key` has `count` times the same item."""
    fields = msgpack.unpackb(header({}), strict_map_key=False)
    del fields[key]
    packer = msgpack.Packer()
    whole: bytes = packer.pack_map_header(len(fields) + 1)
    for name, value in fields.items():
        whole += packer.pack(name) + packer.pack(value)
    prefix: bytes = packer.pack(key)
    start: bytes = packer.pack_array_header(count)
    return whole + prefix + start + item * count


ZONE: Final = b"\x93\x01\x01\x01"


@pytest.mark.parametrize(
    ("data", "case"),
    [
        (of_header(header({"z": [[1, MANY, 1]]})), "ten million rows"),
        (of_header(header({"z": [[1, ROWS_MAX, MANY]]})), "ten million texts"),
        (
            of_header(header({"z": [[n, ROWS_MAX, ROWS_MAX] for n in range(4096)]})),
            "more rows than a record has, in many zones",
        ),
        (
            of_header(
                header({"z": [[1, ROWS_MAX, ROWS_MAX]], "p": [8, 8, 8, 4, 4, 8, 1, 4]})
            ),
            "columns that are not there",
        ),
        (of_header(array_of_many("z", ZONE, 2_000_000)), "two million zones"),
        (of_header(array_of_many("b", b"\x80", 8_000_000)), "eight million buckets"),
        (of_header(array_of_many("s", b"\xc0", 8_000_000)), "seen is no map"),
        (of_header(array_of_many("z", b"\x90", MANY)), "a header above its limit"),
        (of_header(b"\x91" * 8 * MIB), "arrays in arrays"),
        (of_header(b"\xdd\xff\xff\xff\xff"), "an array that says it is long"),
        (of_header(b"\xdf\xff\xff\xff\xff"), "a map that says it is large"),
        (of_header(b"\xc6\xff\xff\xff\xff"), "bytes that say they are many"),
        (of_header(header({}), bytes(15 * MIB)), "zeros after the end"),
        (
            of_header(
                header({"z": [[1, ROWS_MAX, ROWS_MAX]], "p": [0, 0, 0, 0, 0, 0, 0, 0]})
            ),
            "empty texts",
        ),
        (
            of_header(
                header({"z": [[1, ROWS_MAX, ROWS_MAX]], "p": [0, 0, 0, 0, 0, 0, 0, 4]}),
                b"\xff" * 4 * ROWS_MAX,
            ),
            "lengths whose sum is far above",
        ),
        (
            of_header(
                header({"z": [[1, ROWS_MAX, 1]], "p": [0, 0, 8, 0, 0, 0, 0, 1]}),
                b"\xff" * 8 * ROWS_MAX + b"\x02{}",
            ),
            "durations without end",
        ),
        (
            of_header(
                header({"z": [[1, ROWS_MAX, 1]], "p": [8, 8, 0, 0, 0, 8, 0, 1]}),
                b"\xff" * 24 * ROWS_MAX + b"\x02{}",
            ),
            "steps that wrap around",
        ),
        (
            of_header(
                header({"z": [[1, 60, 60]], "p": [0, 0, 0, 0, 0, 0, 0, 3]}),
                b"\0" * 60 + b"\0" * 60 + b"\4" * 60 + (b'{"a":' + b"[" * 262_139) * 60,
            ),
            "texts that nest without end",
        ),
        (of_header(header({}))[:-1], "one byte too few"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_more_than_there_may_be_is_refused(data: bytes, case: str) -> None:
    """T34: counts are checked before memory is taken for what they count."""
    assert peak_of(lambda: decode_payload(data)) < MEMORY_BYTES_MAX, case


def test_the_largest_payload_takes_bounded_memory() -> None:
    """T34: 65,536 rows, each with data of its own, are within the same limit."""
    head = header({"z": [[1, ROWS_MAX, ROWS_MAX]], "p": [0, 0, 0, 0, 0, 0, 0, 1]})
    above = bytes([255]) * ROWS_MAX + (b'{"a":"' + b"x" * 247 + b'"}') * ROWS_MAX
    too_large = of_header(head, above)
    assert peak_of(lambda: decode_payload(too_large)) < MIB
    fitting = of_header(
        head, bytes([240]) * ROWS_MAX + (b'{"a":"' + b"x" * 232 + b'"}') * ROWS_MAX
    )

    tracemalloc.start()
    try:
        decoded = decode_payload(fitting)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(decoded.zones[0][1]) == ROWS_MAX
    assert peak < MEMORY_BYTES_MAX


@pytest.mark.parametrize("size", [0, 1, 5, 100, 10_000, RECORD_BYTES])
def test_random_bytes_are_one_error(size: int) -> None:
    """T34: random bytes are no payload, packed or not, and no index row."""
    noise = random.Random(size)
    for prefix in (b"", b"\0", b"\1", b"\1\0\0\0\1", b"\1\xff\0\0\0", b"\x94\x90\x90"):
        data = prefix + noise.randbytes(size)
        for read in (unpack, decode_payload, decode_index_row):
            with pytest.raises(PayloadError):
                read(data)
