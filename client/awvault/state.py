"""What an open vault holds in memory, and how it is loaded from disk.

Everything here can be thrown away and loaded again: after a write failed,
that is what happens.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from awserver.errors import StorageCorruptError
from awserver.records import ZERO_HASH, ClientId, Head, SealedRecord, Seq
from awserver.storage.sqlite.database import Database, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from awvault import tables
from awvault.columns.payload import (
    BUCKET_VERSIONS_MAX,
    ROWS_MAX,
    BucketVersion,
    NextIds,
    Payload,
)
from awvault.columns.table import EventTable
from awvault.columns.zones import IndexRow, index_row_of
from awvault.errors import (
    ChainError,
    GapError,
    IntegrityError,
    PayloadError,
    VaultDamagedError,
    WrongPlaceError,
)
from awvault.index import Overlay, ZoneCache, ZoneIndex, Zones
from awvault.journal import EventRow, Journal, table_of
from awvault.unlocked import Unlocked

log = logging.getLogger(__name__)

COUNTER_BITS: Final = 40
"""An event id is client number * 2^40 + counter: safe as a JavaScript integer."""

COUNTER_MASK: Final = (1 << COUNTER_BITS) - 1

ACTIVITY_PREFIX: Final = "activity_"
"""Buckets of the activity API, whose events keep the time they were stored."""


_NOTHING: Final = IndexRow(
    zones=[], revisions=[], buckets=[], next_ids=NextIds(next_event=1, next_bucket=1)
)


@dataclass(slots=True)
class BucketState:
    """A visible bucket, and the event that the next heartbeat may extend."""

    version: BucketVersion
    last: EventRow | None = None
    last_jid: int | None = None
    """The journal row that holds `last` alone, and may be replaced."""
    last_known: bool = False

    @property
    def keeps_stored_at(self) -> bool:
        """Whether its events keep the time they were stored."""
        return self.version.name.startswith(ACTIVITY_PREFIX)

    def forget_last(self) -> None:
        """Look for the newest event again before the next heartbeat."""
        self.last, self.last_jid, self.last_known = None, None, False


@dataclass(slots=True)
class State:
    """All that is loaded from disk, and replaced as one."""

    client_number: int
    journal: Journal = field(default_factory=Journal)
    index: ZoneIndex = field(default_factory=ZoneIndex)
    overlay: Overlay = field(default_factory=Overlay)
    versions: dict[int, BucketVersion] = field(default_factory=dict)
    writers: dict[int, int] = field(default_factory=dict)
    """The number of the client that wrote each of `versions`."""
    buckets: dict[str, BucketState] = field(default_factory=dict)
    head: Head | None = None
    next_event: int = 1
    next_bucket: int = 1
    damaged_rows: list[int] = field(default_factory=list)
    """Journal rows that did not open; they stay on disk as they are."""
    stopped_logs: dict[ClientId, str] = field(default_factory=dict)
    """Logs that are not what their client sealed, and what is wrong with each.

    What comes before that place is shown, what comes after is not.
    """
    unreadable_records: list[Head] = field(default_factory=list)
    """Records whose body cannot be read; the others of their logs are shown."""

    repeated_rows: list[int] = field(default_factory=list)
    """Journal rows that hold what a record holds already; they are not shown."""

    def take_event_ids(self, count: int) -> int:
        """Return the first of `count` new event ids."""
        first = self.next_event
        if first + count > COUNTER_MASK:
            raise VaultDamagedError(
                f"the event counter is at {first}, no id above {COUNTER_MASK} exists:"
                " restore a backup"
            )
        self.next_event += count
        return (self.client_number << COUNTER_BITS) | first

    def take_bucket_id(self) -> int:
        """Return a new bucket number."""
        number = self.next_bucket
        if number >= COUNTER_MASK:
            raise VaultDamagedError(
                f"the bucket counter is at {number}, no number above {COUNTER_MASK}"
                " exists: restore a backup"
            )
        self.next_bucket += 1
        return (self.client_number << COUNTER_BITS) | number

    def see_ids(self, *, next_event: int = 1, next_bucket: int = 1) -> None:
        """Never give an id again that is, or was, in use."""
        self.next_event = max(self.next_event, next_event)
        self.next_bucket = max(self.next_bucket, next_bucket)

    def see_bucket(self, version: BucketVersion, writer: int) -> None:
        """Take a bucket version that client number `writer` wrote.

        The highest (revision, writer) counts, in whatever order they come.
        """
        known = self.versions.get(version.bucket_id)
        if known is not None:
            newest = (known.revision, self.writers[version.bucket_id])
            if (version.revision, writer) <= newest:
                return
        self.versions[version.bucket_id] = version
        self.writers[version.bucket_id] = writer
        if version.bucket_id >> COUNTER_BITS == self.client_number:
            self.see_ids(next_bucket=(version.bucket_id & COUNTER_MASK) + 1)

    def name_buckets(self) -> None:
        """Work out which bucket each name means now: the newest not hidden."""
        self.buckets = {
            version.name: BucketState(version)
            for _, version in sorted(self.versions.items())
            if not version.hidden
        }


class RecordReader:
    """Opens records, and keeps the zones that were decoded last.

    Safe to use from any thread.
    """

    def __init__(
        self, database: Database, store: SqliteLogStore, keys: Unlocked
    ) -> None:
        """Read from `store`, which lies in `database`."""
        self._db = database
        self._store = store
        self._keys = keys
        self.cache = ZoneCache()

    def zone(self, index: ZoneIndex, record: int, bucket_id: int) -> EventTable:
        """Return one decoded zone.

        Raises `IntegrityError` if the record is not what its client sealed.
        """
        table = self.cache.get(record, bucket_id)
        if table is not None:
            return table
        client_id, head = index.records[record]
        with self._db.reading() as tx:
            payload = self.payload_within(tx, client_id, head)
        self.cache.put(record, payload.zones)
        for zone_bucket, zone_table in payload.zones:
            if zone_bucket == bucket_id:
                return zone_table
        raise IntegrityError(
            f"the index names a bucket that record {head.seq} does not hold:"
            " run awvault verify"
        )

    def payload_within(
        self, tx: Transaction, client_id: ClientId, head: Head
    ) -> Payload:
        """Return what the record at `head` holds, read inside a transaction.

        A record opens at the place that its own header names, so it must also
        be the one that was asked for.
        """
        record = self._store.record_within(
            tx, self._keys.account_id, client_id, head.seq
        )
        if record is None or record.body is None:
            raise IntegrityError(
                f"record {head.seq} of client {client_id.hex()[:8]} is not in the"
                " database, its index row is: run awvault verify"
            )
        if record.hash != head.hash:
            raise IntegrityError(
                f"another record lies where record {head.seq} of client"
                f" {client_id.hex()[:8]} was: run awvault verify"
            )
        return self._keys.open_payload(record)


class Loader:
    """Reads state from disk. Runs in a thread; owns nothing that changes."""

    def __init__(
        self,
        database: Database,
        store: SqliteLogStore,
        keys: Unlocked,
        reader: RecordReader,
    ) -> None:
        """Load from `database` with `keys`."""
        self._db = database
        self._store = store
        self._keys = keys
        self._reader = reader

    def load(self) -> State:
        """Return the state as the disk has it, in one snapshot."""
        state = State(client_number=self._keys.client_number)
        with self._db.reading() as tx:
            rows = tables.index_rows(tx)
            for client_id, number in self._keys.client_numbers.items():
                self._load_log(tx, state, client_id, number, rows)
            sealed = _SealedVersions(self._reader, state.index)
            boots = tables.boots(tx)
            for row in tables.journal_rows(tx):
                self._load_journal_row(state, row, boots, sealed)
        mine = self._keys.client_number
        newest = state.index.id_max(mine)
        if newest >= 0:
            state.see_ids(next_event=(newest & COUNTER_MASK) + 1)
        for event_id in state.journal.ids():
            if event_id >> COUNTER_BITS == mine:
                state.see_ids(next_event=(event_id & COUNTER_MASK) + 1)
        for event_id, revision in state.journal.revised():
            state.overlay.add(event_id, revision, mine)
        # A bucket whose own row is gone still has its events: its number must not
        # be given to another, which would show them as its own.
        for bucket_id in (*state.journal.bucket_ids(), state.index.bucket_max(mine)):
            if bucket_id >> COUNTER_BITS == mine:
                state.see_ids(next_bucket=(bucket_id & COUNTER_MASK) + 1)
        # What does not open may hold ids that were given.
        closed = len(state.damaged_rows) + len(state.unreadable_records)
        state.see_ids(
            next_event=state.next_event + closed * ROWS_MAX,
            next_bucket=state.next_bucket + closed * BUCKET_VERSIONS_MAX,
        )
        state.name_buckets()
        return state

    def _load_log(
        self,
        tx: Transaction,
        state: State,
        client_id: ClientId,
        number: int,
        sealed_rows: Mapping[tuple[ClientId, Seq], bytes],
    ) -> None:
        """Load a log as far as it is in order; signatures are left to verify."""
        head: Head | None = None
        try:
            for record in self._store.headers_within(
                tx, self._keys.account_id, client_id
            ):
                self._check_place(client_id, head, record)
                head = Head(seq=record.header.seq, hash=record.hash)
                try:
                    row = self._index_row(tx, client_id, head, sealed_rows)
                except (IntegrityError, PayloadError, StorageCorruptError):
                    # The body alone is at fault. It is outside the chain, so
                    # the log goes on behind it.
                    state.unreadable_records.append(head)
                    row = _NOTHING
                self._take_record(state, client_id, number, head, row)
        except (IntegrityError, StorageCorruptError) as error:
            log.error("log is damaged, it is shown up to there")  # noqa: TRY400
            log.debug("reason", exc_info=error)
            state.stopped_logs[client_id] = str(error)
            # Records that are not shown may hold ids that were given.
            behind = sum(1 for owner, _ in sealed_rows if owner == client_id) + 1
            state.see_ids(
                next_event=state.next_event + behind * ROWS_MAX,
                next_bucket=state.next_bucket + behind * BUCKET_VERSIONS_MAX,
            )
        if number == self._keys.client_number:
            state.head = head

    def _check_place(
        self, client_id: ClientId, head: Head | None, record: SealedRecord
    ) -> None:
        """Raise unless `record` is the one that follows `head` in its log."""
        header = record.header
        expected = 0 if head is None else head.seq + 1
        if (header.account_id, header.client_id) != (self._keys.account_id, client_id):
            raise WrongPlaceError(
                f"another log's record lies at {expected} of client"
                f" {client_id.hex()[:8]}"
            )
        if header.seq != expected:
            raise GapError(expected=expected, got=header.seq)
        if header.prev != (ZERO_HASH if head is None else head.hash):
            raise ChainError(f"record {header.seq} does not follow the one before it")

    def _take_record(
        self,
        state: State,
        client_id: ClientId,
        number: int,
        head: Head,
        row: IndexRow,
    ) -> None:
        state.index.add(client_id, number, head, row.zones)
        for event_id, revision in row.revisions:
            state.overlay.add(event_id, revision, number)
        for version in row.buckets:
            state.see_bucket(version, number)
        if number == self._keys.client_number:
            state.see_ids(
                next_event=row.next_ids.next_event,
                next_bucket=row.next_ids.next_bucket,
            )

    def _index_row(
        self,
        tx: Transaction,
        client_id: ClientId,
        head: Head,
        sealed_rows: Mapping[tuple[ClientId, Seq], bytes],
    ) -> IndexRow:
        """Return a record's index row: a cache, so a bad one is made again."""
        sealed = sealed_rows.get((client_id, head.seq))
        if sealed is not None:
            try:
                return self._keys.open_index_row(head.hash, sealed)
            except (IntegrityError, PayloadError):
                pass
        log.warning("index row made again", extra={"seq": head.seq})
        return index_row_of(self._reader.payload_within(tx, client_id, head))

    def _load_journal_row(
        self,
        state: State,
        row: tables.SealedJournalRow,
        boots: Mapping[int, bytes],
        sealed: "_SealedVersions",
    ) -> None:
        size = len(row.sealed)
        try:
            held = self._keys.open_journal_row(row, boots)
        except (IntegrityError, PayloadError) as error:
            log.error("journal row does not open", extra={"jid": row.jid})  # noqa: TRY400
            log.debug("reason", exc_info=error)
            state.damaged_rows.append(row.jid)
            state.journal.next_jid = max(state.journal.next_jid, row.jid + 1)
            return
        if not isinstance(held, BucketVersion) and sealed.hold(held):
            # It was sealed, and somebody put it back. Shown, it would double.
            log.error("journal row repeats a record", extra={"jid": row.jid})
            state.repeated_rows.append(row.jid)
            state.journal.next_jid = max(state.journal.next_jid, row.jid + 1)
            return
        if isinstance(held, BucketVersion):
            state.journal.put_bucket(row.jid, held, size=size)
            state.see_bucket(held, self._keys.client_number)
        elif isinstance(held, EventRow):
            state.journal.put_event(row.jid, held, size=size, now=time.monotonic())
        else:
            state.journal.put_tables(row.jid, held, size=size)


class _SealedVersions:
    """Which (event id, revision) records hold: a row that comes back is no second.

    Zones are opened whose ids a row could be among. In honest use these are few:
    a bucket's newer events have higher ids, but for late corrections.
    """

    def __init__(self, reader: RecordReader, index: ZoneIndex) -> None:
        self._reader = reader
        self._index = index
        self._zones: dict[int, Zones] = {}

    def hold(self, held: EventRow | Sequence[tuple[int, EventTable]]) -> bool:
        """Say whether any event of a journal row lies in a record, as it is."""
        if isinstance(held, EventRow):
            return self._hold(held.bucket_id, table_of([held]))
        return any(self._hold(bucket_id, table) for bucket_id, table in held)

    def _hold(self, bucket_id: int, table: EventTable) -> bool:
        zones = self._zones.get(bucket_id)
        if zones is None:
            zones = self._zones[bucket_id] = self._index.of_bucket(bucket_id)
        if not len(zones) or not len(table):
            return False
        near = (zones["id_min"] <= table.id.max()) & (zones["id_max"] >= table.id.min())
        for record in zones["record"][near].tolist():
            try:
                zone = self._reader.zone(self._index, record, bucket_id)
            except (IntegrityError, PayloadError, StorageCorruptError):
                continue  # met again, and named, by whoever reads it
            if np.isin(zone.versions(), table.versions()).any():
                return True
        return False
