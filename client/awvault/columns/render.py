"""Events as JSON, in the form in which ActivityWatch shows them.

    {"id":7,"timestamp":"2024-03-01T10:01:20+00:00","duration":1.5,"data":{"app":"x"}}

An event without an end is shown with a duration of 0.0: readers of this form
expect a number.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import numpy as np

from awvault.columns.table import EventTable
from awvault.columns.timestamps import (
    render,
    render_many,
    render_seconds,
    render_seconds_many,
)

CHUNK_ROWS: Final = 1_000
"""Rows of one piece: half a millisecond of work."""

_EVENT: Final = b'{"id":%d,"timestamp":"%b","duration":%b,"data":%b}'


class Row(Protocol):
    """One event, times in microseconds; `text` is its data as compact JSON."""

    @property
    def id(self) -> int:
        """The event's id."""

    @property
    def start(self) -> int:
        """Since 1970, UTC."""

    @property
    def duration(self) -> int:
        """-1: none."""

    @property
    def text(self) -> bytes:
        """A JSON object."""


def render_event(row: Row) -> bytes:
    """Return one event as a JSON object."""
    return _EVENT % (
        row.id,
        render(row.start).encode(),
        render_seconds(max(row.duration, 0)),
        row.text,
    )


def render_dropped(start: int, duration: int) -> bytes:
    """Return an event that was not stored: it has no id, and no data."""
    when = render(start).encode(), render_seconds(max(duration, 0))
    return b'{"id":null,"timestamp":"%b","duration":%b,"data":{}}' % when


def render_objects(table: EventTable) -> list[bytes]:
    """Return each row as a JSON object, in the table's order."""
    texts = table.texts
    return [
        _EVENT % (event_id, timestamp, seconds, texts[data])
        for event_id, timestamp, seconds, data in zip(
            table.id.tolist(),
            render_many(table.start),
            render_seconds_many(np.maximum(table.duration, 0)),
            table.data.tolist(),
            strict=True,
        )
    ]


def render_array(table: EventTable) -> bytes:
    """Return a table's events as one JSON array, in the table's order."""
    return b"[%b]" % b",".join(render_objects(table))


def render_table(table: EventTable) -> Iterator[bytes]:
    """Yield the JSON array of a table's events in pieces, in the table's order."""
    return _array(
        len(table), lambda begin, end: render_objects(table.take(slice(begin, end)))
    )


def render_rows(
    ids: Sequence[int],
    starts: Sequence[int],
    durations: Sequence[int],
    texts: Sequence[bytes],
) -> Iterator[bytes]:
    """Yield the JSON array of events given as columns, in pieces.

    `texts` are JSON objects, compact or as they were sent.
    """

    def objects(begin: int, end: int) -> list[bytes]:
        duration = np.array(durations[begin:end], dtype=np.int64)
        return [
            _EVENT % row
            for row in zip(
                ids[begin:end],
                render_many(np.array(starts[begin:end], dtype=np.int64)),
                render_seconds_many(np.maximum(duration, 0)),
                texts[begin:end],
                strict=True,
            )
        ]

    return _array(len(ids), objects)


def render_lines(table: EventTable, *, prefix: bytes = b"") -> Iterator[bytes]:
    """Yield a table's events as lines of JSON, in pieces of many lines.

    `prefix` are members that come first in each object, as in `"bucket":"b",`.
    """
    opening = b"{" + prefix
    for begin in range(0, len(table), CHUNK_ROWS):
        part = render_objects(table.take(slice(begin, begin + CHUNK_ROWS)))
        yield b"".join([b"%b%b\n" % (opening, item[1:]) for item in part])


def _array(count: int, objects: Callable[[int, int], list[bytes]]) -> Iterator[bytes]:
    opening = b"["
    for begin in range(0, count, CHUNK_ROWS):
        yield opening + b",".join(objects(begin, begin + CHUNK_ROWS))
        opening = b","
    yield b"[]" if opening == b"[" else b"]"
