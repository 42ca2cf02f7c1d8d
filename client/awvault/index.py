"""The index: which records hold a bucket's events of a time range.

There is no entry per event. A *zone* is what one record holds of one bucket:
its time range, its id range, its count. Ten million events in half a million
zones are 18 MB, and a scan over all of them is one NumPy comparison.

Of an event that several rows speak of, the one with the highest (revision,
number of the writing client) counts. Most events have one row alone: of
revision 0, written by the client whose number the id has. The *overlay* knows
what counts for every other id, so a reader drops the rows that do not; the one
that counts lies in a zone of its own, found by its own time range.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from awserver.records import ClientId, Head, RecordHash
from awvault.columns.payload import COUNTER_BITS
from awvault.columns.table import EventTable
from awvault.columns.zones import ZoneMeta

CACHE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Decoded zones that are kept; the least recently used ones go first."""

_ZONE = np.dtype(
    [
        ("record", np.int64),
        ("bucket", np.int64),
        ("start_min", np.int64),
        ("end_max", np.int64),
        ("id_min", np.int64),
        ("id_max", np.int64),
        ("count", np.int64),
    ]
)
_GROWTH_MIN: Final = 1024
Zones = NDArray[Any]


class ZoneIndex:
    """Every zone of every record, in one growing array.

    A slice that was handed out stays valid while records are added: rows are
    only ever appended, and a larger array is a new one.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.records: list[tuple[ClientId, Head]] = []
        self.client_numbers: list[int] = []
        self.events = 0
        self._zones = np.empty(_GROWTH_MIN, dtype=_ZONE)
        self._used = 0

    def add(
        self,
        client: ClientId,
        client_number: int,
        head: Head,
        zones: Iterable[ZoneMeta],
    ) -> None:
        """Add one record's zones."""
        record = len(self.records)
        self.records.append((client, head))
        self.client_numbers.append(client_number)
        for zone in zones:
            if self._used == len(self._zones):
                self._zones = np.concatenate([self._zones, np.empty_like(self._zones)])
            self._zones[self._used] = (
                record,
                zone.bucket_id,
                zone.start_min,
                zone.end_max,
                zone.id_min,
                zone.id_max,
                zone.count,
            )
            self._used += 1
            self.events += zone.count

    def __len__(self) -> int:
        """Return the number of zones."""
        return self._used

    def of_bucket(self, bucket_id: int) -> Zones:
        """Return a bucket's zones, oldest record first."""
        zones = self._zones[: self._used]
        chosen: Zones = zones[zones["bucket"] == bucket_id]
        return chosen

    def id_max(self, client_number: int) -> int:
        """Return the largest event id of a client that its own zones name, or -1."""
        return self._max("id_max", client_number)

    def bucket_max(self, client_number: int) -> int:
        """Return the largest bucket number of a client that its own zones name, or -1.

        What other clients write says nothing: they could name any number.
        """
        return self._max("bucket", client_number)

    def _max(self, column: str, client_number: int) -> int:
        zones = self._zones[: self._used]
        values = zones[column]
        mine = values >> COUNTER_BITS == client_number
        mine &= self.writers()[zones["record"]] == client_number
        return int(values[mine].max()) if mine.any() else -1

    def writers(self) -> NDArray[np.int64]:
        """Return the number of the client that wrote each record."""
        return np.array(self.client_numbers, dtype=np.int64)


class Overlay:
    """What counts of every event that has more than its first row, or another's.

    An event counts as its owner's row of revision 0 unless it is here: the
    owner is the client whose number the id has. So that does not depend on
    which rows have come: a row of revision 0 under another client's id competes
    with (0, owner) even where the owner never wrote one.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._newest: dict[int, tuple[int, int]] = {}
        self._frozen: FrozenOverlay | None = None

    def add(self, event_id: int, revision: int, client_number: int) -> None:
        """Note a row; the highest (revision, client) wins in any order.

        An owner's row of revision 0 need not be noted, but may be.
        """
        known = self._newest.get(event_id)
        newest = max(
            (revision, client_number),
            (0, event_id >> COUNTER_BITS) if known is None else known,
        )
        if newest != known:
            self._newest[event_id] = newest
            self._frozen = None

    def revision(self, event_id: int) -> int:
        """Return the newest revision of an event; 0 if it was never revised."""
        newest = self._newest.get(event_id)
        return 0 if newest is None else newest[0]

    def frozen(self) -> "FrozenOverlay":
        """Return the overlay as arrays that do not change any more."""
        if self._frozen is None:
            ids = np.array(sorted(self._newest), dtype=np.int64)
            pairs = np.array(
                [self._newest[i] for i in ids.tolist()], dtype=np.int64
            ).reshape(len(ids), 2)
            self._frozen = FrozenOverlay(
                ids=ids, revisions=pairs[:, 0], clients=pairs[:, 1]
            )
        return self._frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenOverlay:
    """A snapshot of the overlay, by ascending id."""

    ids: NDArray[np.int64]
    revisions: NDArray[np.int64]
    clients: NDArray[np.int64]

    def touches(self, id_min: int, id_max: int) -> bool:
        """Say whether any id of the overlay lies in [id_min, id_max]."""
        at = int(np.searchsorted(self.ids, id_min))
        return at < len(self.ids) and int(self.ids[at]) <= id_max

    def newest(self, table: EventTable, client_number: int) -> NDArray[np.bool_]:
        """Return which of a client's rows count, tombstones included."""
        if not len(self.ids):
            return np.ones(len(table), dtype=np.bool_)
        at = np.searchsorted(self.ids, table.id)
        at[at == len(self.ids)] = 0
        listed = self.ids[at] == table.id
        is_newest = (self.revisions[at] == table.revision) & (
            self.clients[at] == client_number
        )
        newest: NDArray[np.bool_] = ~listed | is_newest
        return newest


class ZoneCache:
    """Decoded zones, least recently used first, bounded by bytes.

    By record hash, which means the same after the state was loaded again. Safe
    to use from several threads: queries run beside the event loop.
    """

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        """Start empty, and never keep more than `bytes_max`."""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._tables: OrderedDict[tuple[RecordHash, int], EventTable] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, record: RecordHash, bucket_id: int) -> EventTable | None:
        """Return a decoded zone, if it is still kept."""
        with self._lock:
            table = self._tables.get((record, bucket_id))
            if table is not None:
                self._tables.move_to_end((record, bucket_id))
            return table

    def put(self, record: RecordHash, zones: Sequence[tuple[int, EventTable]]) -> None:
        """Keep the zones of one record."""
        with self._lock:
            for bucket_id, table in zones:
                if table.nbytes > self._bytes_max:
                    continue
                before = self._tables.pop((record, bucket_id), None)
                self._bytes += table.nbytes - (before.nbytes if before else 0)
                self._tables[record, bucket_id] = table
            while self._bytes > self._bytes_max:
                _, dropped = self._tables.popitem(last=False)
                self._bytes -= dropped.nbytes

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._tables.clear()
            self._bytes = 0
