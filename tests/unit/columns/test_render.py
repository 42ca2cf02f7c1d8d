"""Events as JSON: exact, in order, in pieces."""

import json
from typing import Any

import numpy as np
import pytest

from awvault.columns.render import (
    CHUNK_ROWS,
    render_array,
    render_event,
    render_lines,
    render_rows,
    render_table,
)
from awvault.columns.table import EventTable
from tests.helpers.activity_data import window_events
from tests.helpers.tables import Row, rows_of, table

START = 1_709_287_280_000_000
"""2024-03-01T10:01:20Z."""

ROWS = [
    Row(7, START, 1_500_000, b'{"app":"x"}'),
    Row(2**53 - 1, START + 1, 0, '{"é":"\\ud83d"}'.encode()),
    Row(8, START, -1, b"{}"),
]
MOMENT = "2024-03-01T10:01:20"
LINES = [
    f'{{"id":{event_id},"timestamp":"{when}+00:00","duration":{seconds},"data":{data}}}'
    for event_id, when, seconds, data in [
        (7, MOMENT, "1.5", '{"app":"x"}'),
        (2**53 - 1, f"{MOMENT}.000001", "0.0", '{"é":"\\ud83d"}'),
        (8, MOMENT, "0.0", "{}"),
    ]
]


def test_events_are_written_as_activitywatch_does() -> None:
    """Fields, their order, and an event without an end as one of no duration."""
    assert [render_event(row).decode() for row in ROWS] == LINES
    assert render_array(table(*ROWS)).decode() == "[" + ",".join(LINES) + "]"
    assert render_array(EventTable.empty()) == b"[]"


@pytest.mark.parametrize(
    "count", [0, 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS + 7]
)
def test_pieces_make_up_the_whole(count: int) -> None:
    """However many rows, the pieces joined are the array of all of them, in order."""
    events = window_events(count).take(np.arange(count - 1, -1, -1))
    rows = rows_of(events)

    pieces = list(render_table(events))
    by_columns = list(
        render_rows(
            [row.id for row in rows],
            [row.start for row in rows],
            [row.duration for row in rows],
            [row.text for row in rows],
        )
    )

    whole = b"[" + b",".join([render_event(row) for row in rows]) + b"]"
    assert b"".join(pieces) == b"".join(by_columns) == whole == render_array(events)
    assert len(pieces) == -(-count // CHUNK_ROWS) + 1
    assert [event["id"] for event in json.loads(whole)] == events.id.tolist()


def test_lines_may_say_more() -> None:
    """One object a line, with members in front of it; nothing of no rows."""
    prefix = b'"bucket":"b",'

    lines = b"".join(render_lines(table(*ROWS), prefix=prefix)).decode()

    assert lines == "".join('{"bucket":"b",' + line[1:] + "\n" for line in LINES)
    assert b"".join(render_lines(table(*ROWS))).decode() == "\n".join([*LINES, ""])
    assert list(render_lines(EventTable.empty())) == []
    parsed: list[Any] = [json.loads(line) for line in lines.splitlines()]
    assert {event["bucket"] for event in parsed} == {"b"}
