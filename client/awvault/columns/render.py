"""Columns to JSON, as ActivityWatch writes events: never through dicts."""

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from awvault.columns.table import EventTable
from awvault.columns.timestamps import format_many

CHUNK_ROWS: Final = 1_000
"""Rows of one piece of a streamed array."""

_SECOND_US: Final = 1_000_000


def render_seconds(us: NDArray[np.int64]) -> list[bytes]:
    """Return durations as JSON numbers of seconds; none is 0.0."""
    seconds = np.maximum(us, 0) / _SECOND_US
    return msgspec.json.encode(seconds.tolist())[1:-1].split(b",")


def render_events(table: EventTable) -> list[bytes]:
    """Return each row as `{"id","timestamp","duration","data"}`, in order."""
    if not len(table):
        return []
    texts = table.texts
    return [
        b'{"id":%d,"timestamp":"%b","duration":%b,"data":%b}'
        % (event_id, timestamp.encode(), duration, texts[data])
        for event_id, timestamp, duration, data in zip(
            table.id.tolist(),
            format_many(table.start),
            render_seconds(table.duration),
            table.data.tolist(),
            strict=True,
        )
    ]


def render_array(table: EventTable) -> Iterator[bytes]:
    """Yield the JSON array of a table's events, in pieces."""
    opening = b"["
    for at in range(0, len(table), CHUNK_ROWS):
        part = table.take(slice(at, at + CHUNK_ROWS))
        yield opening + b",".join(render_events(part))
        opening = b","
    yield b"[]" if opening == b"[" else b"]"
