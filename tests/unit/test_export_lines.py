"""An export renders whole columns, and says of each event exactly what it holds."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from awvault.columns.table import PAIR
from awvault.columns.timestamps import TIME_US_MAX, TIME_US_MIN
from awvault.journal import EventRow, table_of
from awvault.transfer.exporting import EXACT_DURATION_US_MAX, _encode
from awvault.transfer.lines import EventLine, event_fields

DURATIONS = st.one_of(
    st.integers(-1, 10**7),
    st.integers(EXACT_DURATION_US_MAX - 10, EXACT_DURATION_US_MAX + 10),
    st.integers(0, 10**17),
)
ROWS = st.lists(
    st.builds(
        EventRow,
        id=st.integers(0, 2**53 - 1),
        revision=st.just(0),
        bucket_id=st.just(1),
        start=st.integers(TIME_US_MIN, TIME_US_MAX),
        duration=DURATIONS,
        stored_at=st.one_of(st.just(-1), st.integers(0, TIME_US_MAX)),
        flags=st.sampled_from([0, PAIR]),
        text=st.sampled_from([b"{}", b'{"a":1.5}', '{"ü":"x"}'.encode()]),
    ),
    max_size=40,
)


@given(ROWS)
def test_each_line_is_what_one_event_alone_would_be(rows: list[EventRow]) -> None:
    """Rendering columns gives the lines that rendering one by one gives."""
    expected = [
        b'{"event":{"bucket":"b",%b}}'
        % event_fields(
            event_id=row.id,
            start=row.start,
            duration=row.duration,
            pair=bool(row.flags & PAIR),
            stored_at=row.stored_at,
            text=row.text,
        )
        for row in rows
    ]
    found = _encode(b'"b"', table_of(rows))
    assert [msgspec.json.decode(line) for line in found] == [
        msgspec.json.decode(line) for line in expected
    ]


@given(ROWS)
def test_what_is_written_is_read_back_exactly(rows: list[EventRow]) -> None:
    """Start and duration survive a line to the microsecond."""
    for row, line in zip(rows, _encode(b'"b"', table_of(rows)), strict=True):
        inner = line.removeprefix(b'{"event":').removesuffix(b"}")
        read = msgspec.json.decode(inner, type=EventLine)
        assert read.start_us() == row.start
        assert read.duration_us() == row.duration
        assert read.stored_us() == row.stored_at
