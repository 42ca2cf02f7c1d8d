"""One bucket as it is at one moment: journal and records as one table.

A view is taken on the event loop's thread, where a seal moves rows from the
journal to a record in one step, so it names every row once. It is then safe
to read from any thread: what it refers to is never changed, only replaced.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from awvault.columns.table import TOMBSTONE, EventTable
from awvault.index import FrozenOverlay, Zones
from awvault.journal import EventRow

Order = Literal["newest", "oldest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketView:
    """What a reader of one bucket needs, and nothing that can change."""

    bucket_id: int
    client_number: int
    """The client whose journal `tables` come from."""
    tables: Sequence[EventTable]
    zones: Zones
    client_numbers: Sequence[int]
    overlay: FrozenOverlay
    load: Callable[[int, int], EventTable]
    """Return the decoded zone of (record, bucket), from the cache or the disk."""

    def read(
        self, *, start: int | None, end: int | None, newest_max: int | None = None
    ) -> EventTable:
        """Return the live rows that overlap [start, end], in no order.

        With `newest_max`, zones are opened from the newest back, and no more
        of them than are needed for that many newest rows.
        """
        found = [
            self._select(table, self.client_number, start, end) for table in self.tables
        ]
        zones = self._overlapping(start, end)
        if newest_max is None:
            found += [self._zone(zone, start, end) for zone in zones]
            return EventTable.concat([table for table in found if len(table)])
        for zone in zones[np.argsort(-zones["end_max"], kind="stable")]:
            # A zone's events start at its end_max or before: once enough rows
            # start later than that, no older zone can hold a newer one.
            newer = sum(int((t.start > zone["end_max"]).sum()) for t in found)
            if newer >= newest_max:
                break
            found.append(self._zone(zone, start, end))
        return EventTable.concat([table for table in found if len(table)])

    def with_zones(self, zones: Zones) -> "BucketView":
        """Return the same view of fewer zones."""
        return replace(self, zones=zones)

    def parts(self) -> Iterator[tuple[EventTable, int]]:
        """Yield every row, earlier revisions too, by table and writing client."""
        for table in self.tables:
            yield table, self.client_number
        for zone in self.zones:
            yield self._load(zone), self.client_numbers[zone["record"]]

    def count(self, *, start: int | None, end: int | None) -> int:
        """Return how many live rows overlap [start, end]."""
        total = sum(
            len(self._select(table, self.client_number, start, end))
            for table in self.tables
        )
        for zone in self._overlapping(start, end):
            inside = (start is None or zone["start_min"] >= start) and (
                end is None or zone["end_max"] <= end
            )
            if inside and not self.overlay.touches(
                int(zone["id_min"]), int(zone["id_max"])
            ):
                total += int(zone["count"])
            else:
                total += len(self._zone(zone, start, end))
        return total

    def event(self, event_id: int) -> EventTable:
        """Return the live row of one event: a table of one row, or of none."""
        holds = (self.zones["id_min"] <= event_id) & (self.zones["id_max"] >= event_id)
        found = [(table, self.client_number) for table in self.tables]
        found += [
            (self._load(zone), self.client_numbers[zone["record"]])
            for zone in self.zones[holds]
        ]
        for table, client_number in reversed(found):
            rows = (table.id == event_id) & self.overlay.newest(table, client_number)
            if rows.any():
                row = table.take(np.flatnonzero(rows)[-1:])
                return row.take(row.flags & TOMBSTONE == 0)
        return EventTable.empty()

    def _overlapping(self, start: int | None, end: int | None) -> Zones:
        zones = self.zones
        if start is not None:
            zones = zones[zones["end_max"] >= start]
        if end is not None:
            zones = zones[zones["start_min"] <= end]
        return zones

    def _load(self, zone: np.void) -> EventTable:
        return self.load(int(zone["record"]), self.bucket_id)

    def _zone(self, zone: np.void, start: int | None, end: int | None) -> EventTable:
        client_number = self.client_numbers[zone["record"]]
        return self._select(self._load(zone), client_number, start, end)

    def _select(
        self, table: EventTable, client_number: int, start: int | None, end: int | None
    ) -> EventTable:
        keep = self.overlay.newest(table, client_number)
        keep &= table.flags & TOMBSTONE == 0
        if start is not None:
            keep &= table.end() >= start
        if end is not None:
            keep &= table.start <= end
        return table if keep.all() else table.take(keep)


def read_view(
    view: BucketView,
    *,
    start: int | None,
    end: int | None,
    limit: int | None,
    order: Order,
    clip: bool,
) -> EventTable:
    """Return what `Vault.read` returns, of a view; from any thread."""
    if limit == 0 or (start is not None and end is not None and start > end):
        return EventTable.empty()
    table = view.read(start=start, end=end, newest_max=limit)
    newest_first = np.lexsort((table.id, -table.start))
    if limit is not None:
        newest_first = newest_first[:limit]
    if order == "oldest":
        chosen = table.take(newest_first)
        chosen = chosen.take(np.lexsort((chosen.id, chosen.start)))
    else:
        chosen = table.take(newest_first)
    return chosen.clipped(start, end) if clip else chosen


def row_at(table: EventTable, at: int, bucket_id: int) -> EventRow:
    """Return one row of a table."""
    return EventRow(
        id=int(table.id[at]),
        revision=int(table.revision[at]),
        bucket_id=bucket_id,
        start=int(table.start[at]),
        duration=int(table.duration[at]),
        stored_at=int(table.stored_at[at]),
        flags=int(table.flags[at]),
        text=table.texts[table.data[at]],
    )


def deleted_row(view: BucketView, event_id: int) -> EventRow | None:
    """Return what a deleted event was last; None: it is not a deleted event.

    It reads the disk.
    """
    holds = (view.zones["id_min"] <= event_id) & (view.zones["id_max"] >= event_id)
    is_deleted = False
    rows: list[tuple[int, int, EventRow]] = []
    for table, client_number in view.with_zones(view.zones[holds]).parts():
        counts = view.overlay.newest(table, client_number)
        for at in np.flatnonzero(table.id == event_id).tolist():
            row = row_at(table, at, view.bucket_id)
            if not row.flags & TOMBSTONE:
                rows.append((row.revision, client_number, row))
            elif counts[at]:
                is_deleted = True
    if not is_deleted or not rows:
        return None
    # The one that counted before: see `Overlay.add`.
    return max(rows, key=lambda found: found[:2])[2]


def event_row(view: BucketView, event_id: int) -> EventRow | None:
    """Return the live row of one event; None if the bucket has no such event."""
    found = view.event(event_id)
    return row_at(found, 0, view.bucket_id) if len(found) else None
