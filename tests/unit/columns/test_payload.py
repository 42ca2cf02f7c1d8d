"""Payload bytes: what goes in comes out, and what breaks a rule is refused."""

import dataclasses
import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import msgpack
import msgspec
import numpy as np
import pytest

from awvault.columns.compress import pack
from awvault.columns.payload import (
    ID_MAX,
    ROWS_MAX,
    BucketVersion,
    NextIds,
    Payload,
    decode_payload,
    encode_payload,
)
from awvault.columns.table import PAIR, TOMBSTONE, EventTable
from awvault.columns.timestamps import TIME_US_MAX, TIME_US_MIN, parse
from awvault.errors import PayloadError
from tests.helpers.activity_data import activity, window_events
from tests.helpers.payload_reader import read_payload
from tests.helpers.tables import Row, payload, rows_of, table, zone_rows

A: Final = b'{"app":"a"}'
B: Final = b'{"app":"b"}'
PAGE: Final = Path(__file__).parents[3] / "docs" / "protocol" / "payload.md"

BUCKET: Final = BucketVersion(
    bucket_id=3,
    revision=2,
    name="b\N{SNOWMAN}",
    type="currentwindow",
    client="watcher",
    hostname="laptop",
    created_us=-1,
    data=b'{"x":[1]}',
    hidden=True,
)


def test_everything_of_a_payload_comes_back() -> None:
    """What was seen, the document, ids, buckets and every field of rows return."""
    whole = Payload(
        seen={b"c" * 16: (7, b"h" * 32), b"a" * 16: (0, b"i" * 32)},
        document=(4, b"d" * 32),
        next_ids=NextIds(next_event=9, next_bucket=3),
        buckets=[BUCKET],
        zones=[
            (
                3,
                table(
                    Row(1, 10, 5, A),
                    Row(2, 11, -1, B, 3, 99, TOMBSTONE),
                    Row(2**53 - 1, 12, 0, A, 2**32 - 1, 0, PAIR),
                ),
            )
        ],
    )

    decoded = decode_payload(encode_payload(whole))

    assert decoded.seen == whole.seen
    assert decoded.document == whole.document
    assert decoded.next_ids == whole.next_ids
    assert decoded.buckets == [BUCKET]
    assert zone_rows(decoded) == [(3, rows_of(whole.zones[0][1]))]


def test_rows_are_sorted_and_buckets_too() -> None:
    """Zones come by bucket, rows by (start, id), and each zone has its own texts."""
    late, early, twin = Row(1, 20, 1, A), Row(3, 10, 1, B), Row(2, 20, 1, B)

    decoded = decode_payload(
        encode_payload(payload((9, table(twin, early, late)), (4, table(late))))
    )

    assert zone_rows(decoded) == [(4, [late]), (9, [early, late, twin])]
    assert [events.texts for _, events in decoded.zones] == [[A], [B, A]]


def test_a_bucket_that_comes_twice_is_one_zone() -> None:
    """Two tables of a bucket become one zone; an empty table becomes none."""
    one, other = Row(1, 1, 1, A), Row(2, 2, 1, A)

    decoded = decode_payload(
        encode_payload(
            payload((1, table(other)), (2, EventTable.empty()), (1, table(one)))
        )
    )

    assert zone_rows(decoded) == [(1, [one, other])]


def test_unused_and_doubled_texts_are_not_written() -> None:
    """A text that no row has is left out, and one that stands twice comes once."""
    whole = table(Row(1, 1, 1, A), Row(2, 2, 1, B), Row(3, 3, 1, A))
    doubled = EventTable(
        id=whole.id,
        revision=whole.revision,
        start=whole.start,
        duration=whole.duration,
        stored_at=whole.stored_at,
        flags=whole.flags,
        data=np.array([3, 1, 2], dtype=np.uint32),
        texts=[b'{"unused":1}', B, A, A],
    )

    encoded = encode_payload(payload((1, doubled)))

    assert encoded == encode_payload(payload((1, whole)))
    assert zone_rows(decode_payload(encoded)) == [(1, rows_of(whole))]


def test_zones_do_not_keep_each_other_alive() -> None:
    """A zone that is kept holds its own memory, and nothing of its record."""
    zones = decode_payload(
        encode_payload(
            payload(*[(n, bucket.table) for n, bucket in enumerate(activity(500))])
        )
    ).zones

    for _, events in zones:
        for column in (events.id, events.start, events.duration, events.data):
            assert column.base is None or column.base.nbytes == column.nbytes


def test_extreme_values_are_kept() -> None:
    """The first and last times, ids and revisions survive next to each other."""
    rows = [
        Row(ID_MAX, TIME_US_MIN, TIME_US_MAX - TIME_US_MIN, A, 2**32 - 1),
        Row(0, TIME_US_MAX, 0, A, 0, TIME_US_MAX, TOMBSTONE | PAIR),
        Row(ID_MAX, TIME_US_MAX, -1, A, 0, 0),
    ]

    decoded = decode_payload(encode_payload(payload((ID_MAX, table(*rows)))))

    assert zone_rows(decoded) == [(ID_MAX, rows)]


def test_realistic_data_are_small() -> None:
    """Packed, a window event is 15.5 bytes among 1,000, and 11 among 8,192."""
    events = window_events(30_000)

    def packed_bytes(rows: int) -> float:
        part = events.take(slice(20_000, 20_000 + rows))
        return len(pack(encode_payload(payload((1, part))))) / rows

    assert packed_bytes(1_000) <= 15.5
    assert packed_bytes(8_192) <= 11


def test_another_reader_reads_the_same() -> None:
    """A reader written from the specification alone reads what was written."""
    zones = [(n, bucket.table) for n, bucket in enumerate(activity(400))]

    header, found = read_payload(encode_payload(payload(*zones)))

    assert header["n"] == [1, 1]
    expected = [
        {"bucket": number, **row._asdict()}
        for number, events in zones
        for row in rows_of(events.sorted_by_start())
    ]
    assert found == expected


def test_the_example_of_the_specification_is_right() -> None:
    """The bytes that the page spells out are those of the two events it names."""
    example = PAGE.read_text().split("## An example")[1].split("```")[1]
    octets = [
        octet
        for line in example.splitlines()
        for octet in takewhile(re.compile("[0-9a-f]{2}").fullmatch, line.split())
    ]
    start = parse("2024-03-01T10:01:20Z")
    events = table(Row(7, start, 2_000_000, A), Row(8, start + 3_000_000, 3_000_000, A))
    whole = Payload(
        seen={},
        document=(0, b""),
        next_ids=NextIds(next_event=9, next_bucket=2),
        buckets=[],
        zones=[(1, events)],
    )

    assert bytes.fromhex("".join(octets)) == encode_payload(whole)


# -- refusals ----------------------------------------------------------------


def with_header(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a payload of three rows whose header was changed."""
    encoded = encode_payload(
        payload((1, table(Row(1, 1, 1, A), Row(2, 2, 1, B), Row(3, 3, 1, A))))
    )
    end = 5 + int.from_bytes(encoded[1:5], "little")
    header = msgpack.unpackb(encoded[5:end], strict_map_key=False)
    change(header)
    changed: bytes = msgpack.packb(header)
    return b"\x01" + len(changed).to_bytes(4, "little") + changed + encoded[end:]


def test_a_header_may_be_written_otherwise() -> None:
    """Where nothing is changed, nothing is refused: the refusals below are real."""
    assert len(decode_payload(with_header(lambda header: None)).zones) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.pop("s"), "missing"),
        (lambda h: h.update(x=1), "unknown field"),
        (lambda h: h.update(s={b"c" * 15: [1, b"h" * 32]}), "length"),
        (lambda h: h.update(s={b"c" * 16: [1, b"h" * 31]}), "length"),
        (lambda h: h.update(s={b"c" * 16: [-1, b"h" * 32]}), ">= 0"),
        (lambda h: h.update(d=[1, b"short"]), "hash of 5 bytes, it has 32"),
        (lambda h: h.update(n=[1]), "length"),
        (lambda h: h.update(z=[[1, 3, 2, 0]]), "length"),
        (lambda h: h.update(z=[[1, 3, 4]]), "more texts than rows"),
        (lambda h: h.update(z=[[1, 2, 2], [1, 1, 1]]), "ascending bucket"),
        (lambda h: h.update(z=[[2, 2, 1], [1, 1, 1]]), "ascending bucket"),
        (lambda h: h.update(z=[[1, 2, 1], [2, 1, 1]]), "other texts than it names"),
        (lambda h: h.update(z=[[1, 3, 1]]), "bytes of texts"),
        (lambda h: h.update(z=[[1, 0, 1], [2, 3, 2]]), ">= 1"),
        (lambda h: h.update(z=[]), "bytes of texts"),
        (lambda h: h.update(z=[[1, ROWS_MAX + 1, 1]]), f"<= {ROWS_MAX}"),
        (lambda h: h.update(z=[[1, 60_000, 1], [2, 60_000, 1]]), "120000 rows"),
        (lambda h: h.update(z=[[n, 1, 1] for n in range(4097)]), "<= 4096"),
        (lambda h: h.update(z=[[2**53, 3, 2]]), f"<= {ID_MAX}"),
        (lambda h: h.update(p=[0] * 7), "length"),
        (lambda h: h.update(p=[9, 1, 1, 1, 0, 0, 0, 1]), "<= 8"),
        (lambda h: h.update(p=[8] * 3 + [4, 4, 8, 1, 4]), "are named"),
        (lambda h: h.update(i=-1), ">= 0"),
        (lambda h: h.update(i=ID_MAX), "an id outside"),
        (lambda h: h.update(t=TIME_US_MAX + 1), "<="),
        (lambda h: h.update(t=TIME_US_MAX), "years 1 to 9999"),
        (lambda h: h.update(t=TIME_US_MAX - 1), "years 1 to 9999"),
        (lambda h: h.update(b=[{"bucket_id": 1}]), "missing"),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """Every rule for the header is checked, and named."""
    with pytest.raises(PayloadError, match=re.escape(message)):
        decode_payload(with_header(change))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b'{"a":1}{}', b" {}", b'{"a":"\xff"}', b'{"a":NaN}']
)
def test_data_that_is_no_json_object_is_refused(text: bytes) -> None:
    """Neither written nor read: an answer made of it would be no JSON."""
    bad = payload((1, table(Row(1, 1, 1, text))))
    with pytest.raises(PayloadError, match="no JSON object"):
        encode_payload(bad)
    good = encode_payload(payload((1, table(Row(1, 1, 1, b'{"aaaaa":1}')))))
    assert good.endswith(b"\x0b" + b'{"aaaaa":1}')
    with pytest.raises(PayloadError, match="no JSON object"):
        decode_payload(good[:-12] + bytes([len(text)]) + text)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row(-1), "an id outside"),
        (Row(ID_MAX + 1), "an id outside"),
        (Row(1, TIME_US_MIN - 1), "a start outside"),
        (Row(1, TIME_US_MAX + 1), "a start outside"),
        (Row(1, 0, -2), "a duration outside"),
        (Row(1, 0, 2**63 - 1), "a duration outside"),
        (Row(1, TIME_US_MAX, 1), "an end after"),
        (Row(1, stored_at=-2), "a stored_at outside"),
        (Row(1, stored_at=TIME_US_MAX + 1), "a stored_at outside"),
        (Row(1, flags=4), "flags other than"),
        (Row(1, text=b'{"a":"%b"}' % (b"x" * 256 * 1024)), "at most 262144"),
    ],
)
def test_a_row_out_of_range_is_not_written(row: Row, message: str) -> None:
    """What no reader would take is refused before it is sealed."""
    with pytest.raises(PayloadError, match=message):
        encode_payload(payload((1, table(row))))


def test_too_many_rows_are_not_written() -> None:
    """A record has at most 65,536 rows."""
    rows = np.arange(ROWS_MAX + 1)
    whole = table(Row(1)).take(np.zeros(ROWS_MAX + 1, dtype=np.int64))
    many = EventTable(
        id=rows,
        revision=whole.revision,
        start=rows,
        duration=whole.duration,
        stored_at=whole.stored_at,
        flags=whole.flags,
        data=whole.data,
        texts=whole.texts,
    )

    with pytest.raises(PayloadError, match="has 65537 rows, at most 65536 fit"):
        encode_payload(payload((1, many)))
    most = decode_payload(encode_payload(payload((1, many.take(rows[1:])))))
    assert len(most.zones[0][1]) == ROWS_MAX


def test_too_many_bytes_are_not_written() -> None:
    """A payload has at most 16 MiB, and its header 8."""
    texts = [Row(n, n, 0, b'{"a":"%03d%b"}' % (n, b"x" * 250_000)) for n in range(68)]
    with pytest.raises(PayloadError, match="at most 16777216 are sealed"):
        encode_payload(payload((1, table(*texts))))
    version = msgspec.structs.replace(BUCKET, data=texts[0].text)
    whole = payload()
    for_many = dataclasses.replace(whole, buckets=[version] * 34)
    with pytest.raises(PayloadError, match="at most 8388608 fit"):
        encode_payload(for_many)


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        # stored_at is coded from the start: 100 before it is before 1970.
        (b"\x0a", b"\xc8", "a stored_at before 1970"),
        # The second row's start, coded from the end of the first: before it.
        (b"\x00\x04", b"\x00\x03", r"not by \(start, id\)"),
        (b"\x00\x04", b"\x02\x04", "not where it says"),
    ],
)
def test_columns_that_break_a_rule_are_refused(
    good: bytes, bad: bytes, message: str
) -> None:
    """What one byte of a column can do."""
    encoded = encode_payload(
        payload((1, table(Row(1, 50, 0, A), Row(2, 52, 0, A, 0, 47))))
    )
    end = 5 + int.from_bytes(encoded[1:5], "little")
    head, columns = encoded[:end], encoded[end:]
    assert columns.count(good) == 1

    with pytest.raises(PayloadError, match=message):
        decode_payload(head + columns.replace(good, bad))


def test_a_newer_version_is_named() -> None:
    """A payload of another version says that a newer client wrote it."""
    encoded = encode_payload(payload())
    with pytest.raises(PayloadError, match="has version 2, this program reads 1"):
        decode_payload(b"\x02" + encoded[1:])


@pytest.mark.parametrize("size", range(6))
def test_a_payload_that_is_cut_off_is_refused(size: int) -> None:
    """Too few bytes are no payload."""
    with pytest.raises(PayloadError):
        decode_payload(encode_payload(payload())[:size])
