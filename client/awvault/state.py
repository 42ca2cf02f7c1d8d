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
from awserver.records import (
    ZERO_HASH,
    ClientId,
    Head,
    RecordHash,
    SealedRecord,
    Seq,
)
from awserver.storage.sqlite.database import Database, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from awvault import tables
from awvault.columns.payload import (
    BUCKET_VERSIONS_MAX,
    COUNTER_BITS,
    COUNTER_MASK,
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
from awvault.incoming import PREFERENCES
from awvault.index import Overlay, ZoneCache, ZoneIndex, Zones
from awvault.journal import EventRow, Journal, table_of
from awvault.naming import client_labels, shown_names
from awvault.protocol.log import VerifiedLog
from awvault.protocol.mentions import NOTHING_SEEN, Mention
from awvault.unlocked import Standing, Unlocked

log = logging.getLogger(__name__)

ACTIVITY_PREFIX: Final = "activity_"
"""Buckets of the activity API, whose events keep the time they were stored."""


MENTION_RECORDS_MAX: Final = 64
"""Records that are opened, from the newest back, to find one that can be read."""

_NOTHING: Final = IndexRow(
    zones=[], revisions=[], buckets=[], next_ids=NextIds(next_event=1, next_bucket=1)
)


@dataclass(slots=True)
class BucketState:
    """A bucket, and the event that the next heartbeat may extend."""

    version: BucketVersion
    last: EventRow | None = None
    last_jid: int | None = None
    """The journal row that holds `last` alone, and may be replaced."""
    last_known: bool = False

    @property
    def number(self) -> int:
        """The bucket's number."""
        return self.version.bucket_id

    @property
    def owner(self) -> int:
        """The number of the client that made it."""
        return self.version.bucket_id >> COUNTER_BITS

    @property
    def keeps_stored_at(self) -> bool:
        """Whether its events keep the time they were stored."""
        return self.version.name.startswith(ACTIVITY_PREFIX)

    def forget_last(self) -> None:
        """Look for the newest event again before the next heartbeat."""
        self.last, self.last_jid, self.last_known = None, None, False


@dataclass(slots=True)
class LogState:
    """One client's log, as far as it was verified."""

    heads: list[Head] = field(default_factory=list)
    """Every record's place and hash; a record's seq is its place in this list."""
    epoch: int = 0
    """The epoch of the newest record."""
    mention: Mention = NOTHING_SEEN
    """What the newest record that can be read says its writer had seen."""

    @property
    def head(self) -> Head | None:
        """The newest record's place and hash."""
        return self.heads[-1] if self.heads else None

    def hash_at(self, seq: Seq) -> RecordHash | None:
        """Return the hash of a record; None: it is not here."""
        return self.heads[seq].hash if 0 <= seq < len(self.heads) else None


@dataclass(slots=True, eq=False)
class State:
    """All that is loaded from disk, and replaced as one."""

    client_id: ClientId
    client_number: int
    journal: Journal = field(default_factory=Journal)
    index: ZoneIndex = field(default_factory=ZoneIndex)
    overlay: Overlay = field(default_factory=Overlay)
    versions: dict[int, BucketVersion] = field(default_factory=dict)
    """The newest version of every bucket, hidden ones too."""
    writers: dict[int, int] = field(default_factory=dict)
    """The number of the client that wrote each of `versions`."""
    buckets: dict[str, BucketState] = field(default_factory=dict)
    """The visible buckets by the name that each is shown under."""
    preferences: list[BucketState] = field(default_factory=list)
    """Every client's buckets of preferences, by number."""
    labels: Mapping[int, str] = field(default_factory=dict)
    """What each client is called, by its number."""
    logs: dict[ClientId, LogState] = field(default_factory=dict)
    """Every client's log, this one's included."""
    preferences_written: int = 0
    """How often this client has changed a preference since the state was loaded."""
    next_event: int = 1
    next_bucket: int = 1
    damaged_rows: list[int] = field(default_factory=list)
    """Journal rows that did not open; they stay on disk as they are."""
    stopped_logs: dict[ClientId, str] = field(default_factory=dict)
    """Logs that are not what their client sealed, and what is wrong with each.

    What comes before that place is shown, what comes after is not.
    """
    unreadable_records: list[tuple[ClientId, Head]] = field(default_factory=list)
    """Records whose body cannot be read; the others of their logs are shown."""

    repeated_rows: list[int] = field(default_factory=list)
    """Journal rows that hold what a record holds already; they are not shown."""

    @property
    def head(self) -> Head | None:
        """The newest record of this client's own log."""
        return self.log(self.client_id).head

    def log(self, client_id: ClientId) -> LogState:
        """Return a client's log; one of which nothing is here is empty."""
        return self.logs.setdefault(client_id, LogState())

    def hash_at(self, client_id: ClientId, seq: Seq) -> RecordHash | None:
        """Return the hash of a record that was verified; None: it is not here."""
        log_state = self.logs.get(client_id)
        return None if log_state is None else log_state.hash_at(seq)

    def seen(self) -> Mention:
        """Return what this client's next record says that it has seen.

        What it said before stays in it, even where a damaged disk shows less now:
        what a client has seen never shrinks.
        """
        heads = {
            client_id: log_state.heads[-1]
            for client_id, log_state in self.logs.items()
            if client_id != self.client_id and log_state.heads
        }
        return self.log(self.client_id).mention.joined(Mention(seen=heads))

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

    def take_record(
        self,
        client_id: ClientId,
        number: int,
        head: Head,
        *,
        epoch: int,
        row: IndexRow | None,
        mention: Mention | None = None,
    ) -> None:
        """Take the next record of a log; without a `row` it cannot be read."""
        log_state = self.log(client_id)
        log_state.heads.append(head)
        log_state.epoch = epoch
        if mention is not None:
            log_state.mention = mention
        if row is None:
            self.unreadable_records.append((client_id, head))
            row = _NOTHING
        self.index.add(client_id, number, head, row.zones)
        for event_id, revision in row.revisions:
            self.overlay.add(event_id, revision, number)
        for version in row.buckets:
            self.see_bucket(version, number)
        if number == self.client_number:
            self.see_ids(
                next_event=row.next_ids.next_event,
                next_bucket=row.next_ids.next_bucket,
            )

    def see_bucket(self, version: BucketVersion, writer: int) -> None:
        """Take a bucket version that client number `writer` wrote.

        The highest (revision, writer) counts, in whatever order they come; as
        with events, one that is not its owner's competes with (0, owner).
        """
        bucket_id = version.bucket_id
        owner = bucket_id >> COUNTER_BITS
        rank = version.revision, writer
        known = (
            (self.versions[bucket_id].revision, self.writers[bucket_id])
            if bucket_id in self.versions
            else None
        )
        if rank >= (0, owner) and (known is None or rank > known):
            self.versions[bucket_id] = version
            self.writers[bucket_id] = writer
        if owner == writer == self.client_number:
            self.see_ids(next_bucket=(bucket_id & COUNTER_MASK) + 1)

    def name_buckets(self) -> None:
        """Work out which bucket each name means now.

        What is known of a bucket's last event is kept.
        """
        known = {bucket.number: bucket for bucket in self.buckets.values()}
        buckets: dict[str, BucketState] = {}
        names = shown_names(self.versions, mine=self.client_number, labels=self.labels)
        for name, bucket_id in names.items():
            version = self.versions[bucket_id]
            bucket = known.get(bucket_id)
            if bucket is None:
                bucket = BucketState(version)
            bucket.version = version
            buckets[name] = bucket
        self.buckets = buckets
        self.preferences = [
            BucketState(version)
            for _, version in sorted(self.versions.items())
            if version.name == PREFERENCES
        ]

    def numbered(self, number: int) -> BucketState | None:
        """Return the visible bucket of a number; None: there is none."""
        for bucket in self.buckets.values():
            if bucket.number == number:
                return bucket
        return None

    def own_preferences(self) -> BucketState | None:
        """Return this client's bucket of preferences; None: it has none yet."""
        own = [b for b in self.preferences if b.owner == self.client_number]
        return own[-1] if own else None

    def own_bucket(self, name: str) -> BucketState | None:
        """Return this client's visible bucket of a name; None: it has none."""
        bucket = self.buckets.get(name)
        if bucket is None or bucket.owner != self.client_number:
            return None
        return bucket


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
        client_id, head = index.records[record]
        table = self.cache.get(head.hash, bucket_id)
        if table is not None:
            return table
        with self._db.reading() as tx:
            payload = self.payload_within(tx, client_id, head)
        self.cache.put(head.hash, payload.zones)
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
    """Reads state from disk. Runs in a thread; owns nothing that changes.

    Records that were accepted before are not verified again, but for what tells
    that they lie in their place.
    """

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
        keys = self._keys
        standing = keys.standing
        mine = keys.client_number
        state = State(
            client_id=keys.client_id,
            client_number=mine,
            labels=client_labels(standing),
        )
        with self._db.reading() as tx:
            rows = tables.index_rows(tx)
            for client_id in standing.client_numbers:
                self._load_log(tx, state, standing, client_id, rows)
            sealed = _SealedVersions(self._reader, state.index, mine)
            boots = tables.boots(tx)
            for row in tables.journal_rows(tx):
                self._load_journal_row(state, row, boots, sealed)
        self._count_on(state)
        for event_id, revision in state.journal.outranking(mine):
            state.overlay.add(event_id, revision, mine)
        state.name_buckets()
        return state

    def _count_on(self, state: State) -> None:
        """Set the counters above every id that this client gave.

        By its own log and journal alone: what others write could name any id.
        """
        mine = state.client_number
        newest = state.index.id_max(mine)
        if newest >= 0:
            state.see_ids(next_event=(newest & COUNTER_MASK) + 1)
        for event_id in state.journal.ids():
            if event_id >> COUNTER_BITS == mine:
                state.see_ids(next_event=(event_id & COUNTER_MASK) + 1)
        # A bucket whose own row is gone still has its events: its number must not
        # be given to another, which would show them as its own.
        for bucket_id in (*state.journal.bucket_ids(), state.index.bucket_max(mine)):
            if bucket_id >> COUNTER_BITS == mine:
                state.see_ids(next_bucket=(bucket_id & COUNTER_MASK) + 1)
        # What does not open may hold ids that were given.
        closed = len(state.damaged_rows) + sum(
            client_id == state.client_id for client_id, _ in state.unreadable_records
        )
        state.see_ids(
            next_event=state.next_event + closed * ROWS_MAX,
            next_bucket=state.next_bucket + closed * BUCKET_VERSIONS_MAX,
        )

    def _load_log(
        self,
        tx: Transaction,
        state: State,
        standing: Standing,
        client_id: ClientId,
        sealed_rows: Mapping[tuple[ClientId, Seq], bytes],
    ) -> None:
        """Load a log as far as it is in order, and as it counts."""
        log_state = state.log(client_id)
        number = standing.client_numbers[client_id]
        entry = standing.account.clients[client_id]
        end = entry.final.seq + 1 if entry.final is not None else 0
        try:
            for record in self._store.headers_within(
                tx, self._keys.account_id, client_id
            ):
                if entry.revoked and record.header.seq >= end:
                    break  # what a client sealed after its end does not count
                self._check_place(client_id, log_state.head, record)
                head = Head(seq=record.header.seq, hash=record.hash)
                row = self._kept_index_row(head, sealed_rows.get((client_id, head.seq)))
                if row is None:
                    if client_id != state.client_id:
                        _verify_again(standing, client_id, log_state, record)
                    row = self._new_index_row(tx, client_id, head)
                state.take_record(
                    client_id, number, head, epoch=record.header.epoch, row=row
                )
        except (IntegrityError, StorageCorruptError) as error:
            log.error("log is damaged, it is shown up to there")  # noqa: TRY400
            log.debug("reason", exc_info=error)
            state.stopped_logs[client_id] = str(error)
            if client_id == state.client_id:
                # Records that are not shown may hold ids that were given.
                behind = sum(1 for owner, _ in sealed_rows if owner == client_id) + 1
                state.see_ids(
                    next_event=state.next_event + behind * ROWS_MAX,
                    next_bucket=state.next_bucket + behind * BUCKET_VERSIONS_MAX,
                )
        log_state.mention = self._newest_mention(tx, client_id, log_state)

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

    def _kept_index_row(self, head: Head, sealed: bytes | None) -> IndexRow | None:
        """Return the index row beside a record; None: there is no good one.

        This client sealed it when it accepted the record, so a record that has one
        was verified whole. It is a cache all the same.
        """
        if sealed is None:
            return None
        try:
            return self._keys.open_index_row(head.hash, sealed)
        except (IntegrityError, PayloadError):
            return None

    def _new_index_row(
        self, tx: Transaction, client_id: ClientId, head: Head
    ) -> IndexRow | None:
        """Return an index row made from its record; None: that cannot be read.

        The body alone is at fault then. It is outside the chain, so the log goes
        on behind it.
        """
        log.warning("index row made again", extra={"seq": head.seq})
        try:
            return index_row_of(
                self._reader.payload_within(tx, client_id, head),
                writer=self._keys.client_numbers[client_id],
            )
        except (IntegrityError, PayloadError, StorageCorruptError):
            return None

    def _newest_mention(
        self, tx: Transaction, client_id: ClientId, log_state: LogState
    ) -> Mention:
        """Return what the newest record of a log that can be read has seen."""
        for head in reversed(log_state.heads[-MENTION_RECORDS_MAX:]):
            try:
                payload = self._reader.payload_within(tx, client_id, head)
            except (IntegrityError, PayloadError, StorageCorruptError):
                continue
            return Mention.of(payload.seen, payload.document)
        return NOTHING_SEEN

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


def _verify_again(
    standing: Standing, client_id: ClientId, log_state: LogState, record: SealedRecord
) -> None:
    """Verify a record of another client that no index row vouches for.

    It may have come into the store by another way. Raises `IntegrityError`.
    """
    verified = VerifiedLog.of(standing.account, client_id, standing.ring)
    verified.head = log_state.head
    verified.epoch = log_state.epoch
    verified.accept_header(record)


class _SealedVersions:
    """Which (event id, revision) a client's own records hold.

    A journal row that comes back is no second one; what another client wrote
    under the same revision is. Zones are opened whose ids a row could be among.
    In honest use these are few: a bucket's newer events have higher ids, but for
    late corrections.
    """

    def __init__(self, reader: RecordReader, index: ZoneIndex, writer: int) -> None:
        self._reader = reader
        self._index = index
        self._own = index.writers() == writer
        self._zones: dict[int, Zones] = {}

    def hold(self, held: EventRow | Sequence[tuple[int, EventTable]]) -> bool:
        """Say whether any event of a journal row lies in a record, as it is."""
        if isinstance(held, EventRow):
            return self._hold(held.bucket_id, table_of([held]))
        return any(self._hold(bucket_id, table) for bucket_id, table in held)

    def _hold(self, bucket_id: int, table: EventTable) -> bool:
        zones = self._zones.get(bucket_id)
        if zones is None:
            zones = self._index.of_bucket(bucket_id)
            zones = self._zones[bucket_id] = zones[self._own[zones["record"]]]
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
