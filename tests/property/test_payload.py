"""Properties of payloads: every table comes back, and another reader agrees."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from awvault.columns.compress import pack, unpack
from awvault.columns.payload import (
    COUNTER_BITS,
    ID_MAX,
    REVISION_MAX,
    BucketVersion,
    NextIds,
    Payload,
    decode_payload,
    encode_payload,
)
from awvault.columns.table import TOMBSTONE
from awvault.columns.timestamps import TIME_US_MAX, TIME_US_MIN
from awvault.columns.zones import decode_index_row, encode_index_row, index_row_of
from tests.helpers.payload_reader import read_payload
from tests.helpers.tables import Row, rows_of, table, zone_rows

TEXTS = st.sampled_from(
    [b"{}", b'{"app":"a"}', b'{"app":"b"}', b'{"a":"\\ud83d"}', b'{"n":[1,{}]}']
) | st.integers().map(lambda number: b'{"n":%d}' % number)
TIMES = st.integers(TIME_US_MIN, TIME_US_MAX) | st.integers(-100, 100)
IDS = st.integers(0, ID_MAX) | st.integers(0, 50) | st.integers(2**40, 2**40 + 50)
WORDS = st.text(max_size=20)
HASHES = st.binary(min_size=32, max_size=32)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    start = draw(TIMES)
    longest = TIME_US_MAX - start
    return Row(
        id=draw(IDS),
        start=start,
        duration=draw(
            st.just(-1)
            | st.integers(0, longest)
            | st.integers(0, min(longest, 10_000_000))
        ),
        text=draw(TEXTS),
        revision=draw(st.just(0) | st.integers(0, REVISION_MAX)),
        stored_at=draw(st.just(-1) | st.integers(0, TIME_US_MAX)),
        flags=draw(st.integers(0, 3)),
    )


BUCKETS = st.builds(
    BucketVersion,
    bucket_id=IDS,
    revision=st.integers(0, REVISION_MAX),
    name=WORDS,
    type=WORDS,
    client=WORDS,
    hostname=WORDS,
    created_us=TIMES,
    data=TEXTS,
    hidden=st.booleans(),
)
PAYLOADS = st.builds(
    Payload,
    seen=st.dictionaries(
        st.binary(min_size=16, max_size=16),
        st.tuples(st.integers(0, 2**53 - 1), HASHES),
        max_size=3,
    ),
    document=st.just((0, b"")) | st.tuples(st.integers(0, 2**32), HASHES),
    next_ids=st.builds(NextIds, st.integers(0, 2**40), st.integers(0, 2**40)),
    buckets=st.lists(BUCKETS, max_size=3),
    zones=st.dictionaries(
        IDS,
        st.lists(rows(), min_size=1, max_size=12).map(lambda some: table(*some)),
        max_size=4,
    ).map(lambda zones: sorted(zones.items())),
)


@given(PAYLOADS)
def test_what_is_encoded_comes_back(payload: Payload) -> None:
    """Everything of a payload, its rows sorted, through bytes and compression."""
    encoded = encode_payload(payload)

    decoded = decode_payload(unpack(pack(encoded)))

    assert zone_rows(decoded) == [
        (number, rows_of(events.sorted_by_start())) for number, events in payload.zones
    ]
    assert decoded.seen == payload.seen
    assert decoded.document == payload.document
    assert decoded.next_ids == payload.next_ids
    assert decoded.buckets == payload.buckets
    assert encode_payload(decoded) == encoded


@given(PAYLOADS)
@settings(max_examples=50)
def test_another_reader_agrees(payload: Payload) -> None:
    """A reader written from the specification finds the same rows."""
    header, found = read_payload(encode_payload(payload))

    assert found == [
        {"bucket": number, **row._asdict()}
        for number, events in payload.zones
        for row in rows_of(events.sorted_by_start())
    ]
    assert {key: tuple(value) for key, value in header["s"].items()} == payload.seen
    assert tuple(header["d"]) == payload.document


@given(PAYLOADS, st.integers(0, 2))
@settings(max_examples=50)
def test_an_index_row_describes_its_payload(payload: Payload, writer: int) -> None:
    """Every row lies in the extent of its zone, and what may outrank is named."""
    row = decode_index_row(encode_index_row(index_row_of(payload, writer=writer)))

    for zone, (number, events) in zip(row.zones, payload.zones, strict=True):
        assert zone.bucket_id == number
        assert zone.count == len(events)
        assert zone.start_min == events.start.min()
        assert zone.end_max == events.end().max()
        assert (zone.id_min, zone.id_max) == (events.id.min(), events.id.max())
    assert row.revisions == [
        (each.id, each.revision)
        for _, events in payload.zones
        for each in rows_of(events)
        if each.revision or each.id >> COUNTER_BITS != writer or each.flags & TOMBSTONE
    ]
    assert np.all([version.data for version in row.buckets])
