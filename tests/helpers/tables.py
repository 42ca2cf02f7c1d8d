"""Small event tables for tests, and what a table says, row by row."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from awvault.columns.payload import NextIds, Payload
from awvault.columns.table import EventTable


class Row(NamedTuple):
    """One row, spelled out; times in microseconds."""

    id: int
    start: int = 0
    duration: int = 0
    text: bytes = b"{}"
    revision: int = 0
    stored_at: int = -1
    flags: int = 0


def table(*rows: Row) -> EventTable:
    """Return a table of rows, with each text once."""
    numbers: dict[bytes, int] = {}
    data = [numbers.setdefault(row.text, len(numbers)) for row in rows]
    return EventTable(
        id=np.array([row.id for row in rows], dtype=np.int64),
        revision=np.array([row.revision for row in rows], dtype=np.uint32),
        start=np.array([row.start for row in rows], dtype=np.int64),
        duration=np.array([row.duration for row in rows], dtype=np.int64),
        stored_at=np.array([row.stored_at for row in rows], dtype=np.int64),
        flags=np.array([row.flags for row in rows], dtype=np.uint8),
        data=np.array(data, dtype=np.uint32),
        texts=list(numbers),
    )


def rows_of(events: EventTable) -> list[Row]:
    """Return what a table says."""
    return [
        Row(
            id=events.id[at].item(),
            start=events.start[at].item(),
            duration=events.duration[at].item(),
            text=events.texts[events.data[at].item()],
            revision=events.revision[at].item(),
            stored_at=events.stored_at[at].item(),
            flags=events.flags[at].item(),
        )
        for at in range(len(events))
    ]


def payload(*zones: tuple[int, EventTable]) -> Payload:
    """Return a payload with nothing but rows."""
    return Payload(
        seen={},
        document=(0, b""),
        next_ids=NextIds(1, 1),
        buckets=[],
        zones=zones,
    )


def zone_rows(decoded: Payload) -> list[tuple[int, Sequence[Row]]]:
    """Return the rows of each zone."""
    return [(number, rows_of(events)) for number, events in decoded.zones]
