"""What was ever stored of a bucket's events: originals, corrections, deletions.

Nothing that was stored is changed, so all of it is here to be listed. Only an
event that a heartbeat extended before it was sealed has one row alone: that row
was not in a record yet, and was replaced.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from awvault.columns.table import TOMBSTONE, EventTable
from awvault.journal import EventRow
from awvault.view import BucketView, row_at


class Change(StrEnum):
    """What a revision of an event did to the one before it."""

    ORIGINAL = "original"
    EXTENSION = "extension"
    CORRECTION = "correction"
    DELETION = "deletion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One row of an event, as it was stored."""

    row: EventRow
    client_number: int
    """The client that wrote it."""
    change: Change
    counts: bool
    """Whether the event is shown by this row, or, if it is a deletion, not shown."""


def read_history(
    view: BucketView, *, start: int | None, end: int | None, limit: int | None
) -> Iterator[Revision]:
    """Yield every revision of the events of which any overlaps [start, end].

    The event whose newest start is the latest comes first, its revisions in the
    order of their number. `limit` is in events. It reads the disk, in a thread.
    """
    chosen = _chosen(view, start, end, limit)
    rows, writers, counts = _rows(view, chosen)
    if not len(rows):
        return
    place = np.searchsorted(chosen.ids, rows.id)
    order = np.lexsort((writers, rows.revision, rows.id, -chosen.starts[place]))
    before: EventRow | None = None
    for at in order.tolist():
        row = row_at(rows, at, view.bucket_id)
        if before is not None and before.id != row.id:
            before = None
        yield Revision(
            row=row,
            client_number=int(writers[at]),
            change=_change(before, row),
            counts=bool(counts[at]),
        )
        before = row


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Events by ascending id, each with the newest start of any of its revisions."""

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]


def _chosen(
    view: BucketView, start: int | None, end: int | None, limit: int | None
) -> _Chosen:
    found_ids = [np.empty(0, np.int64)]
    found_starts = [np.empty(0, np.int64)]
    for table, _ in view.parts():
        overlaps = np.ones(len(table), dtype=np.bool_)
        if start is not None:
            overlaps &= table.end() >= start
        if end is not None:
            overlaps &= table.start <= end
        found_ids.append(table.id[overlaps])
        found_starts.append(table.start[overlaps])
    all_ids, all_starts = np.concatenate(found_ids), np.concatenate(found_starts)
    ids, place = np.unique(all_ids, return_inverse=True)
    starts = np.full(len(ids), np.iinfo(np.int64).min, dtype=np.int64)
    np.maximum.at(starts, place, all_starts)
    if limit is not None:
        newest = np.sort(np.lexsort((ids, -starts))[:limit])
        ids, starts = ids[newest], starts[newest]
    return _Chosen(ids, starts)


def _rows(
    view: BucketView, chosen: _Chosen
) -> tuple[EventTable, NDArray[np.int64], NDArray[np.bool_]]:
    """Return every row of the chosen events, who wrote each, and which count."""
    tables = []
    writers = [np.empty(0, np.int64)]
    counts = [np.empty(0, np.bool_)]
    for table, client_number in view.parts():
        part = table.take(np.isin(table.id, chosen.ids))
        if not len(part):
            continue
        tables.append(part.compacted())
        writers.append(np.full(len(part), client_number, dtype=np.int64))
        counts.append(view.overlay.newest(part, client_number))
    return EventTable.concat(tables), np.concatenate(writers), np.concatenate(counts)


def _change(before: EventRow | None, row: EventRow) -> Change:
    if row.flags & TOMBSTONE:
        return Change.DELETION
    if before is None:
        return Change.CORRECTION if row.revision else Change.ORIGINAL
    same = (before.start, before.text, before.flags) == (row.start, row.text, row.flags)
    if same and before.duration <= row.duration:
        return Change.EXTENSION
    return Change.CORRECTION
