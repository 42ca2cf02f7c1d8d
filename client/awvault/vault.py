"""The vault: one owner's history, open.

It gives events their ids, merges heartbeats, writes the journal, and shows
journal and records as one view. The rooms beneath it do the rest: `durability`
keeps memory honest, `sealer` turns the journal into records, `view` reads.

The event loop's thread owns all state. Nothing is answered before it is on
disk.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from uuid import UUID

import msgspec
import numpy as np

from awserver.errors import StorageCorruptError
from awserver.storage.sqlite.database import Database, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from awvault import tables
from awvault.columns import jsontext
from awvault.columns.frames import Columns
from awvault.columns.payload import COUNTER_BITS, REVISION_MAX, BucketVersion
from awvault.columns.table import PAIR, TOMBSTONE, EventTable
from awvault.columns.timestamps import (
    TIME_US_MAX,
    TIME_US_MIN,
    from_datetime,
    to_datetime,
)
from awvault.crypto.passphrase import STANDARD, Profile
from awvault.durability import DurableState
from awvault.errors import (
    BucketNotFoundError,
    IntegrityError,
    InvalidInputError,
    LimitError,
    NoRemoteError,
    PayloadError,
)
from awvault.events import Bucket, Event, event_from_row
from awvault.following import Mark, News
from awvault.incoming import (
    PREFERENCES,
    CompactTexts,
    NewRows,
    check_bucket_texts,
    check_pulsetime,
    check_span,
    compact_bucket_data,
    free_name,
    same_data,
)
from awvault.journal import EventRow, encode_bucket, encode_event, encode_tables
from awvault.replica import Replica
from awvault.sealer import Sealer
from awvault.sealing import Random, SealPlan, Step, split
from awvault.state import BucketState, Loader, RecordReader, State
from awvault.unlocked import Unlocked
from awvault.view import BucketView, Order, deleted_row, event_row, read_view, row_at

if TYPE_CHECKING:
    from awvault.filtering import Filters
    from awvault.preferences import Preferences

log = logging.getLogger(__name__)

BULK_ROW_EVENTS_MAX: Final = 8_192
"""Events of one journal row; a larger request takes several, in one commit."""

BULK_ROW_TEXT_BYTES_MAX: Final = 4 * 1024 * 1024
"""Distinct data of one journal row, so that any request's rows can be encoded."""

BUCKETS_MAX: Final = 4_096
"""Visible buckets of this client; hidden ones, and others' clients', do not count."""

Clock = Callable[[], int]


def wall_clock_us() -> int:
    """Return the time in microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


_NO_MORE_REVISIONS: Final = "it was revised as often as can be"

# What a record raises that is not what its client sealed, or not readable.
_UNREADABLE: Final = (IntegrityError, PayloadError, StorageCorruptError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What `awvault status` says of an open vault."""

    account_id: str
    client_id: str
    client_number: int
    epoch: int
    buckets: int
    hidden_buckets: int
    records: int
    sealed_events: int
    """Rows in records, earlier revisions and tombstones included."""
    journal_rows: int
    journal_events: int
    journal_bytes: int
    damaged_journal_rows: int
    unreadable_records: int
    """Records that a faulty client sealed, and nobody can read."""
    repeated_journal_rows: int
    """Journal rows that hold what records hold already; they are not shown."""
    stopped_logs: Sequence[str]
    """Of each log that is damaged, what is wrong; it is shown up to there."""
    passphrase_changed: bool
    """Whether the passphrase was changed on another client, and not proved here."""
    new_secret_needed: bool
    """Whether the account's keys were replaced, so that nothing is sealed here."""
    revoked: bool
    """Whether this client was revoked: what it seals would not count."""


class Vault:
    """One owner's history on one client.

    Open one with `Vault.open`; it is an async context manager. Times are
    microseconds since 1970, UTC, where a method does not say otherwise.
    Errors are those of `awvault.errors`, and `awserver.errors.StorageError`
    where the disk fails.
    """

    def __init__(
        self,
        database: Database,
        unlocked: Unlocked,
        *,
        random: Random,
        clock: Clock = wall_clock_us,
        step: Step = lambda _: None,
        compression: bool = True,
        profile: Profile = STANDARD,
    ) -> None:
        """Use an unlocked vault; `start` comes before anything else.

        `step` is called with a name at each step of a seal: tests break there.
        """
        self._db = database
        self._keys = unlocked
        self._random = random
        self._clock = clock
        self._store = SqliteLogStore(database)
        self._reader = RecordReader(database, self._store, unlocked)
        loader = Loader(database, self._store, unlocked, self._reader)
        self._durable = DurableState(database, loader.load)
        self._sealer = Sealer(
            self._durable,
            self._store,
            unlocked,
            clock=clock,
            random=random,
            step=step,
            compression=compression,
        )
        self._replica = Replica(
            self._durable,
            database,
            self._store,
            unlocked,
            profile=profile,
            random=random,
            step=step,
        )
        self._boot = 0
        self._boot_key = unlocked.boot_key(bytes(32))
        self._writes = 0
        self._texts = CompactTexts()
        self._resources = contextlib.AsyncExitStack()
        self._closed = False
        self._meet: Callable[[], Awaitable[object]] | None = None
        self._end_meeting: Callable[[], Awaitable[object]] | None = None

    # -- opening and closing -------------------------------------------------

    @classmethod
    async def open(
        cls,
        where: str | Path,
        *,
        passphrase: str | None = None,
        passphrase_file: str | Path | None = None,
        username: str | None = None,
        data_dir: str | Path | None = None,
        insecure: bool = False,
    ) -> "Vault":
        """Open the vault in the directory `where`, and make it where there is none.

        The passphrase is `passphrase`, or lies in `passphrase_file`, or is
        looked for where `awvault` looks for it. Raises `WrongPassphraseError`;
        `VaultLockedError` if another process has the directory; and
        `IntegrityError` if what is stored is not what this owner sealed.

        Where `where` is the address of a host, open the account `username` there.
        The first time this program becomes a client of the account, with a vault
        in `data_dir`, or in a directory of its own. Raises `TransportError` then if
        the host does not answer, and `LoginRefusedError`; later it opens also
        without the host. `insecure` allows plain http to another machine.
        """
        if isinstance(where, str) and "://" in where:
            from awvault import hosted

            if username is None:
                raise InvalidInputError("username", "name the account at this host")
            return await hosted.open_at_host(
                where,
                username=username,
                passphrase=passphrase,
                passphrase_file=passphrase_file,
                data_dir=data_dir,
                insecure=insecure,
            )
        if username is not None or data_dir is not None:
            raise InvalidInputError(
                "username", "username and data_dir go with the address of a host"
            )
        from awvault import opening

        return await opening.open_for_library(
            Path(where), passphrase=passphrase, passphrase_file=passphrase_file
        )

    async def __aenter__(self) -> Self:
        """Return the vault."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the vault."""
        await self.close()

    def release_on_close(self, resources: contextlib.AsyncExitStack) -> None:
        """Release `resources` when the vault is closed, the latest first."""
        self._resources.push_async_callback(resources.aclose)

    async def start(self) -> None:
        """Read journal and index, and begin to seal by schedule."""
        boot_random = self._random(32)
        self._boot = await self._db.write(
            partial(tables.begin_boot, random=boot_random)
        )
        self._boot_key = self._keys.boot_key(boot_random)
        await self._durable.open()
        self._sealer.start()

    async def close(self) -> None:
        """End what is under way, and let go of the data directory."""
        if self._closed:
            return
        self._closed = True
        if self._end_meeting is not None:
            await self._end_meeting()
        await self._sealer.stop()
        await self._replica.close()
        await self._durable.close()
        await self._resources.aclose()

    async def settle(self) -> None:
        """Return once memory agrees with the disk: at once, but after a failure."""
        await self._durable.settle()

    async def flush(self) -> None:
        """Return once all that the vault shows now is on disk."""
        await self._durable.barrier()

    @property
    def keys(self) -> Unlocked:
        """The keys this vault was opened with."""
        return self._keys

    @property
    def database(self) -> Database:
        """The database that holds log store, journal and index."""
        return self._db

    @property
    def store(self) -> SqliteLogStore:
        """The log store that holds the sealed records."""
        return self._store

    @property
    def replica(self) -> Replica:
        """The logs of all clients, as far as they were verified here."""
        return self._replica

    @property
    def device_id(self) -> str:
        """A UUID that stays the same for this client, and says nothing of it."""
        return str(UUID(bytes=self._keys.client_id))

    # -- buckets -------------------------------------------------------------

    def buckets(self) -> dict[str, Bucket]:
        """Return every visible bucket by its id, those of other clients too."""
        return {
            name: self._described(name, bucket)
            for name, bucket in self._durable.current.buckets.items()
        }

    def bucket(self, bucket_id: str) -> Bucket:
        """Return one bucket, or raise `BucketNotFoundError`."""
        return self._described(bucket_id, self._bucket(bucket_id))

    def bucket_kind(
        self, bucket_id: str, *, missing: str | None = None
    ) -> tuple[str, str]:
        """Return the name that a bucket's own client gave it, and its type.

        One that does not exist has the type `missing`; None: raise
        `BucketNotFoundError`.
        """
        bucket = self._durable.current.buckets.get(bucket_id)
        if bucket is not None:
            return bucket.version.name, bucket.version.type
        if missing is None:
            raise BucketNotFoundError(bucket_id)
        return bucket_id, missing

    def last_updated(self, bucket_id: str) -> int | None:
        """Return the end of the bucket's newest event; None if it is empty.

        The newest by start, which need not be what the last heartbeat extended.
        It is also None where that event cannot be read: one damaged record is
        no reason to show no bucket at all.
        """
        try:
            newest = self._newest_row(self._bucket(bucket_id))
        except _UNREADABLE:
            log.exception("the newest event cannot be read")
            return None
        return None if newest is None else newest.end

    async def create_bucket(
        self,
        bucket_id: str,
        *,
        type: str,  # noqa: A002 - the field's name
        client: str = "",
        hostname: str = "",
        data: bytes = b"{}",
        created_us: int | None = None,
    ) -> bool:
        """Make a bucket; return False, and change nothing, if it exists.

        The name of a bucket that was hidden may be used again, for a new one, and
        so may that of another client's bucket, which is then shown under another.
        """
        await self.settle()
        check_bucket_texts(bucket_id, type, client, hostname)
        text = compact_bucket_data(data)
        state = self._durable.current
        if state.own_bucket(bucket_id) is not None:
            # Whoever made it may still be waiting for the disk.
            await self._durable.barrier()
            return False
        mine = self._keys.client_number
        own = sum(bucket.owner == mine for bucket in state.buckets.values())
        if own >= BUCKETS_MAX:
            raise LimitError(
                "id", f"there are {BUCKETS_MAX} buckets already: delete one first"
            )
        version = BucketVersion(
            bucket_id=state.take_bucket_id(),
            revision=0,
            name=bucket_id,
            type=type,
            client=client,
            hostname=hostname,
            created_us=self._clock() if created_us is None else created_us,
            data=text,
            hidden=False,
        )
        await self._write_bucket(state, version)
        return True

    async def update_bucket(
        self,
        bucket_id: str,
        *,
        type: str | None = None,  # noqa: A002 - the field's name
        client: str | None = None,
        hostname: str | None = None,
        data: bytes | None = None,
    ) -> None:
        """Say something else of a bucket. None: that stays as it is."""
        await self.settle()
        version = self._bucket(bucket_id).version
        changed = msgspec.structs.replace(
            version,
            type=version.type if type is None else type,
            client=version.client if client is None else client,
            hostname=version.hostname if hostname is None else hostname,
            data=version.data if data is None else compact_bucket_data(data),
        )
        check_bucket_texts(version.name, changed.type, changed.client, changed.hostname)
        if changed == version:
            await self._durable.barrier()
            return
        await self._revise_bucket(changed)

    async def hide_bucket(self, bucket_id: str) -> None:
        """Take a bucket out of sight. Its records stay as they are."""
        await self.settle()
        version = self._bucket(bucket_id).version
        await self._revise_bucket(msgspec.structs.replace(version, hidden=True))

    def hidden_buckets(self) -> dict[int, Bucket]:
        """Return every bucket that was deleted, by its number, oldest first.

        Each has the name that it had; several may have one. Call `settle` before it.
        """
        state = self._durable.current
        return {
            number: self._described(version.name, BucketState(version))
            for number, version in sorted(state.versions.items())
            if version.hidden
        }

    def hidden_view(self, number: int) -> BucketView:
        """Return a deleted bucket as it is now; it may be read from any thread."""
        return self._view(BucketState(self._hidden(number)))

    async def show_bucket(self, number: int, *, name: str | None = None) -> str:
        """Bring a deleted bucket back, with its events; return the id it has now.

        It gets `name`, which its client may have no bucket of; else its own name,
        with `-restored` behind it if its client has one of that name again.
        """
        await self.settle()
        version = self._hidden(number)
        state = self._durable.current
        owner = number >> COUNTER_BITS
        mine = self._keys.client_number
        used = {
            other.name
            for other_number, other in state.versions.items()
            if other_number >> COUNTER_BITS == owner and not other.hidden
        }
        if owner == mine and len(used) >= BUCKETS_MAX:
            raise LimitError(
                "id", f"there are {BUCKETS_MAX} buckets already: delete one first"
            )
        if name is None:
            name = free_name(version.name, used)
        elif name in used:
            raise InvalidInputError("name", f'there is a bucket "{name}" already')
        check_bucket_texts(name)
        await self._revise_bucket(
            msgspec.structs.replace(version, name=name, hidden=False)
        )
        shown = self._durable.current.buckets
        return next((i for i, b in shown.items() if b.number == number), name)

    def _hidden(self, number: int) -> BucketVersion:
        version = self._durable.current.versions.get(number)
        if version is None or not version.hidden:
            raise InvalidInputError("number", f"no deleted bucket has number {number}")
        return version

    async def _revise_bucket(self, version: BucketVersion) -> None:
        """Store what is said of a bucket now, as its next revision."""
        if version.revision >= REVISION_MAX:
            raise LimitError("id", _NO_MORE_REVISIONS)
        await self._write_bucket(
            self._durable.current,
            msgspec.structs.replace(version, revision=version.revision + 1),
        )

    async def _write_bucket(self, state: State, version: BucketVersion) -> None:
        state.see_bucket(version, self._keys.client_number)
        state.name_buckets()
        jid = state.journal.take_jid()
        row = self._seal_row(jid, encode_bucket(version))
        state.journal.put_bucket(jid, version, size=len(row.sealed))
        await self._write([row])
        await self._sealer.after_write()

    def _bucket(self, bucket_id: str) -> BucketState:
        try:
            return self._durable.current.buckets[bucket_id]
        except KeyError:
            raise BucketNotFoundError(bucket_id) from None

    def _described(self, name: str, bucket: BucketState) -> Bucket:
        version = bucket.version
        return Bucket(
            id=name,
            type=version.type,
            client=version.client,
            hostname=version.hostname,
            created=to_datetime(version.created_us),
            data=jsontext.decode(version.data),
            client_label=self._durable.current.labels.get(bucket.owner, ""),
            own=bucket.owner == self._keys.client_number,
        )

    # -- writing events ------------------------------------------------------

    async def insert_rows(self, bucket_id: str, rows: NewRows) -> Sequence[int]:
        """Store new events, all of them or none; return their ids."""
        await self.settle()
        bucket = self._bucket(bucket_id)
        count = len(rows.starts)
        rows.check_count()
        texts = self._texts.many(rows.texts)
        ids: Sequence[int]
        if count == 0:
            return ()
        if count == 1:
            check_span(rows.starts[0], rows.durations[0])
            row = self._new_row(bucket, rows.starts[0], rows.durations[0], texts[0])
            if rows.flags is not None:
                row = row._replace(flags=rows.flags[0])
            if rows.stored_at is not None and row.stored_at >= 0 <= rows.stored_at[0]:
                row = row._replace(stored_at=rows.stored_at[0])
            ids = (row.id,)
            _, sealed = self._journal_event(row)
            sealed_rows = [sealed]
        else:
            table = self._new_table(bucket, rows, texts)
            first = int(table.id[0])
            ids = range(first, first + count)
            sealed_rows = self._journal_table(bucket, table)
        bucket.forget_last()
        await self._write(sealed_rows)
        await self._sealer.after_write()
        return ids

    async def heartbeat(
        self,
        bucket_id: str,
        *,
        start: int,
        duration: int,
        text: bytes,
        pulsetime_us: int,
    ) -> EventRow:
        """Extend the bucket's last event, or store a new one; return the result.

        The last event is what the last heartbeat made or extended; after any
        other write to the bucket it is the newest by start. It is extended if
        its data is equal, and `start` lies between its start and its end plus
        `pulsetime_us`, both inclusive: its end is then the later of the two. An
        event that another client stored is never extended.
        """
        await self.settle()
        bucket = self._bucket(bucket_id)
        check_span(start, duration)
        check_pulsetime(pulsetime_us)
        text = self._texts.one(text)
        last = self._last(bucket)
        extends = (
            last is not None
            and last.id >> COUNTER_BITS == self._keys.client_number
            and last.revision < REVISION_MAX
            and last.start <= start <= last.end + pulsetime_us
            and same_data(last.text, text)
        )
        jid = None
        if last is None or not extends:
            row = self._new_row(bucket, start, duration, text)
        else:
            whole = max(last.duration, start - last.start + max(duration, 0))
            if whole == last.duration:
                # Nothing is new, but what is told must be on disk.
                await self._durable.barrier()
                return last
            row = last._replace(duration=whole)
            jid = bucket.last_jid
            state = self._durable.current
            if jid is None or not state.journal.replaceable(jid):
                # It lies in a record, or in a row with others: add a revision.
                jid = None
                row = row._replace(revision=state.overlay.revision(row.id) + 1)
        jid, sealed = self._journal_event(row, jid=jid)
        bucket.last, bucket.last_jid, bucket.last_known = row, jid, True
        await self._write([sealed])
        await self._sealer.after_write()
        return row

    async def correct(
        self,
        bucket_id: str,
        event_id: int,
        *,
        start: int,
        duration: int,
        text: bytes,
        flags: int = 0,
    ) -> EventRow | None:
        """Append a new revision of an event; None if the bucket has no such event.

        The revision before stays where it is, in the journal or in a record.
        """
        await self.settle()
        bucket = self._bucket(bucket_id)
        check_span(start, duration)
        text = self._texts.one(text)
        before = event_row(self._view(bucket), event_id)
        if before is None:
            return None
        return await self._revise(
            bucket,
            before._replace(
                start=start,
                duration=duration,
                text=text,
                flags=flags & PAIR,
                stored_at=self._stored_at(bucket),
            ),
        )

    async def delete_event(self, bucket_id: str, event_id: int) -> bool:
        """Append a tombstone for an event; False if the bucket has no such event."""
        await self.settle()
        bucket = self._bucket(bucket_id)
        before = event_row(self._view(bucket), event_id)
        if before is None:
            return False
        await self._revise(bucket, before._replace(flags=TOMBSTONE, text=b"{}"))
        return True

    async def show_event(self, bucket_id: str, event_id: int) -> EventRow | None:
        """Append what a deleted event was last; None if no such event is deleted."""
        await self.settle()
        row = await asyncio.to_thread(deleted_row, self.view(bucket_id), event_id)
        # A bucket or an event that somebody else has changed meanwhile stays so.
        bucket = self._bucket(bucket_id)
        view = self._view(bucket)
        if row is None or event_row(view, event_id) is not None:
            return None
        return await self._revise(
            bucket, row._replace(stored_at=self._stored_at(bucket))
        )

    async def _revise(self, bucket: BucketState, row: EventRow) -> EventRow:
        revision = self._durable.current.overlay.revision(row.id) + 1
        if revision > REVISION_MAX:
            raise LimitError("id", _NO_MORE_REVISIONS)
        row = row._replace(revision=revision)
        _, sealed = self._journal_event(row)
        bucket.forget_last()
        await self._write([sealed])
        await self._sealer.after_write()
        return row

    def _stored_at(self, bucket: BucketState) -> int:
        return self._clock() if bucket.keeps_stored_at else -1

    def _new_row(
        self, bucket: BucketState, start: int, duration: int, text: bytes
    ) -> EventRow:
        return EventRow(
            id=self._durable.current.take_event_ids(1),
            revision=0,
            bucket_id=bucket.version.bucket_id,
            start=start,
            duration=duration,
            stored_at=self._stored_at(bucket),
            flags=0,
            text=text,
        )

    def _new_table(
        self, bucket: BucketState, rows: NewRows, texts: Sequence[bytes]
    ) -> EventTable:
        count = len(rows.starts)
        try:
            start = np.array(rows.starts, dtype=np.int64)
            duration = np.array(rows.durations, dtype=np.int64)
        except OverflowError:
            rows.check_spans()
            raise  # it is one of them that did not fit
        # Not by the end: the sum of two numbers that fit may not fit.
        wrong = (start < TIME_US_MIN) | (start > TIME_US_MAX)
        wrong |= (duration < -1) | (duration > TIME_US_MAX - start)
        if wrong.any():
            rows.check_spans()
        numbers: dict[bytes, int] = {}
        data = [numbers.setdefault(text, len(numbers)) for text in texts]
        first = self._durable.current.take_event_ids(count)
        stored_at = np.full(count, self._stored_at(bucket), dtype=np.int64)
        if rows.stored_at is not None and bucket.keeps_stored_at:
            given = np.array(rows.stored_at, dtype=np.int64)
            stored_at = np.where(given >= 0, given, stored_at)
        return EventTable(
            id=np.arange(first, first + count, dtype=np.int64),
            revision=np.zeros(count, dtype=np.uint32),
            start=start,
            duration=duration,
            stored_at=stored_at,
            flags=(
                np.zeros(count, dtype=np.uint8)
                if rows.flags is None
                else np.array(rows.flags, dtype=np.uint8)
            ),
            data=np.array(data, dtype=np.uint32),
            texts=list(numbers),
        )

    # -- preferences ---------------------------------------------------------

    @cached_property
    def preferences(self) -> "Preferences":
        """What an owner prefers, for all clients of the account."""
        from awvault.preferences import Preferences

        return Preferences(self)

    @cached_property
    def filters(self) -> "Filters":
        """What is kept out, or kept in other words, of what comes in from outside."""
        from awvault.filtering import Filters

        return Filters(self)

    def now_us(self) -> int:
        """Return what this machine's clock says."""
        return self._clock()

    def preferences_mark(self) -> tuple[State, int, int]:
        """Return what compares equal as long as no preference has changed."""
        state = self._durable.current
        return state, state.preferences_written, len(state.index.records)

    def preferences_views(self) -> list[BucketView]:
        """Return the buckets of preferences of all clients, as they are now."""
        return [self._view(bucket) for bucket in self._durable.current.preferences]

    async def note_preference(
        self, text: bytes, *, after_us: int, event_id: int | None
    ) -> None:
        """Store a change of a preference, or correct this client's event of it.

        It happens now, but later than `after_us`, whatever the clock says. Only
        where nothing is later does the clock decide.
        """
        await self.settle()
        while (bucket := self._durable.current.own_preferences()) is None:
            state = self._durable.current
            version = BucketVersion(
                bucket_id=state.take_bucket_id(),
                revision=0,
                name=PREFERENCES,
                type=PREFERENCES,
                client="awvault",
                hostname="",
                created_us=self._clock(),
                data=b"{}",
                hidden=False,
            )
            await self._write_bucket(state, version)
            await self.settle()
        start = max(self._clock(), after_us + 1)
        if start > TIME_US_MAX:
            start = self._clock()
        before = None if event_id is None else event_row(self._view(bucket), event_id)
        self._durable.current.preferences_written += 1
        if before is None:
            _, sealed = self._journal_event(self._new_row(bucket, start, -1, text))
            await self._write([sealed])
            await self._sealer.after_write()
        else:
            await self._revise(bucket, before._replace(start=start, text=text))

    # -- the journal ---------------------------------------------------------

    def _seal_row(self, jid: int, plaintext: bytes) -> tables.SealedJournalRow:
        self._writes += 1
        return self._keys.seal_journal_row(
            self._boot_key,
            jid=jid,
            boot=self._boot,
            write=self._writes,
            plaintext=plaintext,
            random=self._random,
        )

    def _journal_event(
        self, row: EventRow, *, jid: int | None = None
    ) -> tuple[int, tables.SealedJournalRow]:
        state = self._durable.current
        if jid is None:
            jid = state.journal.take_jid()
        sealed = self._seal_row(jid, encode_event(row))
        state.journal.put_event(jid, row, size=len(sealed.sealed), now=time.monotonic())
        if row.revision:
            state.overlay.add(row.id, row.revision, self._keys.client_number)
        return jid, sealed

    def _journal_table(
        self, bucket: BucketState, table: EventTable
    ) -> list[tables.SealedJournalRow]:
        parts = split(
            table,
            rows_max=BULK_ROW_EVENTS_MAX,
            text_bytes_max=BULK_ROW_TEXT_BYTES_MAX,
        )
        rows = [[(bucket.version.bucket_id, part)] for part in parts]
        # All of them before any is shown: if one cannot be encoded, none is there.
        plaintexts = [encode_tables(zones) for zones in rows]
        journal = self._durable.current.journal
        sealed_rows = []
        for zones, plaintext in zip(rows, plaintexts, strict=True):
            jid = journal.take_jid()
            sealed = self._seal_row(jid, plaintext)
            journal.put_tables(jid, zones, size=len(sealed.sealed))
            sealed_rows.append(sealed)
        return sealed_rows

    async def _write(self, rows: Sequence[tables.SealedJournalRow]) -> None:
        def work(tx: Transaction) -> None:
            for row in rows:
                tables.put_journal_row(tx, row)

        await self._durable.write(work)
        self._durable.note_shown()

    # -- reading -------------------------------------------------------------

    def read(
        self,
        bucket_id: str,
        *,
        start: int | None = None,
        end: int | None = None,
        limit: int | None = None,
        order: Order = "newest",
        clip: bool = False,
    ) -> EventTable:
        """Return the events that overlap [start, end], both inclusive.

        Newest start first, or oldest first; of equal starts, the one that was
        inserted first comes first. `limit` keeps that many of the newest. With
        `clip`, events are cut to the range. It may read the disk: milliseconds
        for a day. Call `settle` before it.
        """
        return read_view(
            self._view(self._bucket(bucket_id)),
            start=start,
            end=end,
            limit=limit,
            order=order,
            clip=clip,
        )

    async def read_async(
        self,
        bucket_id: str,
        *,
        start: int | None = None,
        end: int | None = None,
        limit: int | None = None,
        order: Order = "newest",
        clip: bool = False,
    ) -> EventTable:
        """Return what `read` returns, without holding up the event loop."""
        await self.settle()
        return await asyncio.to_thread(
            read_view,
            self._view(self._bucket(bucket_id)),
            start=start,
            end=end,
            limit=limit,
            order=order,
            clip=clip,
        )

    def count(
        self, bucket_id: str, *, start: int | None = None, end: int | None = None
    ) -> int:
        """Return how many events `read` would return. Call `settle` before it."""
        view = self._view(self._bucket(bucket_id))
        if start is not None and end is not None and start > end:
            return 0
        return view.count(start=start, end=end)

    def event(self, bucket_id: str, event_id: int) -> EventRow | None:
        """Return one event, unclipped; None if the bucket has no such event."""
        return event_row(self._view(self._bucket(bucket_id)), event_id)

    async def event_async(self, bucket_id: str, event_id: int) -> EventRow | None:
        """Return what `event` returns, without holding up the event loop."""
        await self.settle()
        return await asyncio.to_thread(event_row, self.view(bucket_id), event_id)

    def view(self, bucket_id: str) -> BucketView:
        """Return a bucket as it is now; it may be read from any thread."""
        return self._view(self._bucket(bucket_id))

    def client_label(self, number: int) -> str:
        """Return what the owner calls a client, by its number; "" if nothing."""
        return self._durable.current.labels.get(number, "")

    def _view(self, bucket: BucketState) -> BucketView:
        state = self._durable.current
        bucket_id = bucket.version.bucket_id
        return BucketView(
            bucket_id=bucket_id,
            client_number=self._keys.client_number,
            tables=state.journal.tables(bucket_id),
            zones=state.index.of_bucket(bucket_id),
            client_numbers=state.index.client_numbers,
            overlay=state.overlay.frozen(),
            load=partial(self._reader.zone, state.index),
        )

    def _last(self, bucket: BucketState) -> EventRow | None:
        """Return the event that a heartbeat may extend, and note where it lies.

        A record that does not open is no reason to lose a heartbeat.
        """
        if bucket.last_known:
            return bucket.last
        bucket.forget_last()
        try:
            bucket.last = self._newest_row(bucket)
        except _UNREADABLE:
            log.exception("the newest event cannot be read, a new one begins")
            return None
        if bucket.last is not None:
            journal = self._durable.current.journal
            number = bucket.version.bucket_id
            bucket.last_jid = journal.row_of(number, bucket.last)
        bucket.last_known = True
        return bucket.last

    def _newest_row(self, bucket: BucketState) -> EventRow | None:
        """Return the event with the latest start, of several the last inserted."""
        found = self._view(bucket).read(start=None, end=None, newest_max=1)
        if not len(found):
            return None
        at = int(np.lexsort((found.id, found.start))[-1])
        return row_at(found, at, bucket.version.bucket_id)

    # -- sealing, and facts --------------------------------------------------

    async def seal_now(self, *, whole: bool = False) -> int:
        """Seal every closed event of the journal; return the number of records.

        With `whole`, also those that a heartbeat may still extend.
        """
        return await self._sealer.seal_now(whole=whole)

    async def seal_slot(self, *, whole: bool = False) -> int:
        """Seal what is closed into exactly two records, empty or not.

        More only where it does not fit. Returns their number: 0 where this
        client's records would not count.
        """
        return await self._sealer.seal_slot(whole=whole)

    def plan_seals(self, plan: SealPlan) -> None:
        """Seal by another plan from now on; at first it is `sealing.LOCAL`."""
        self._sealer.plan = plan

    def call_when_sealed(self, callback: Callable[[], None]) -> None:
        """Call `callback`, in the event loop, whenever there are new records here."""
        self._sealer.on_sealed = callback

    def facts(self) -> Facts:
        """Return what there is to say of this vault."""
        state = self._durable.current
        standing = self._keys.standing
        return Facts(
            account_id=self._keys.account_id.hex(),
            client_id=self._keys.client_id.hex(),
            client_number=self._keys.client_number,
            epoch=self._keys.epoch,
            buckets=len(state.buckets),
            hidden_buckets=sum(v.hidden for v in state.versions.values()),
            records=len(state.index.records),
            sealed_events=state.index.events,
            journal_rows=len(state.journal) + len(state.damaged_rows),
            journal_events=state.journal.events,
            journal_bytes=state.journal.bytes,
            damaged_journal_rows=len(state.damaged_rows),
            unreadable_records=len(state.unreadable_records),
            repeated_journal_rows=len(state.repeated_rows),
            stopped_logs=list(state.stopped_logs.values()),
            passphrase_changed=standing.passphrase_changed,
            new_secret_needed=standing.awaiting is not None,
            revoked=self._keys.clients[self._keys.client_id].revoked,
        )

    # -- the library's own types ---------------------------------------------

    async def insert(
        self, bucket_id: str, events: Event | Sequence[Event]
    ) -> Sequence[int]:
        """Store one event or several; return their ids. All of them or none.

        A bucket that does not exist is made, of the first event's kind.
        """
        several = [events] if isinstance(events, Event) else _events(events)
        await self.settle()
        if several and bucket_id not in self._durable.current.buckets:
            await self.create_bucket(
                bucket_id,
                type=several[0].kind,
                client="awvault",
                hostname=socket.gethostname(),
            )
        return await self.insert_rows(
            bucket_id,
            NewRows(
                starts=[event.start_us for event in several],
                durations=[event.duration_us for event in several],
                texts=[event.data_text for event in several],
            ),
        )

    async def events(
        self,
        bucket_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Event]:
        """Yield events oldest first; `limit` keeps that many of the newest."""
        table = await self.read_async(
            bucket_id,
            start=None if start is None else from_datetime(start),
            end=None if end is None else from_datetime(end),
            limit=limit,
            order="oldest",
        )
        version = self._bucket(bucket_id).version
        for at in range(len(table)):
            yield event_from_row(version.type, row_at(table, at, version.bucket_id))

    async def follow(self, bucket_id: str) -> AsyncIterator[Event]:
        """Yield the events that come from now on, until the vault is closed.

        Of this client as they are stored, of others as their records come. Each
        once, as it is when it is first seen: a heartbeat that is extended later is
        not yielded again.
        """
        await self.settle()
        number = self._bucket(bucket_id).version.bucket_id
        own = self._keys.client_number
        mark = Mark.of(self._durable.current)
        while True:
            change = self._durable.next_change
            state = self._durable.current
            bucket = state.numbered(number)
            if bucket is None:
                raise BucketNotFoundError(bucket_id)
            news = News.of(self._view(bucket), state, mark, own_number=own)
            mark = Mark.of(state)
            table = await asyncio.to_thread(news.read)
            for at in range(len(table)):
                yield event_from_row(bucket.version.type, row_at(table, at, number))
            await change.wait()
            if self._closed:
                return
            await self.settle()

    async def columns(
        self,
        bucket_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Columns:
        """Return a range of events as columns, for pandas, polars or NumPy.

        Oldest first; what overlaps [start, end], not cut to it.
        """
        table = await self.read_async(
            bucket_id,
            start=None if start is None else from_datetime(start),
            end=None if end is None else from_datetime(end),
            order="oldest",
        )
        return await asyncio.to_thread(Columns.of, table)

    # -- the host, for who uses the library -----------------------------------

    def meet_with(
        self,
        meet: Callable[[], Awaitable[object]],
        *,
        end: Callable[[], Awaitable[object]],
    ) -> None:
        """Let `sync` exchange records with a host by `meet`, and end that by `end`."""
        self._meet, self._end_meeting = meet, end

    async def sync(self) -> None:
        """Send what is stored here to the host, and bring what others sent.

        Raises `NoRemoteError` for a vault that was not opened at a host,
        `TransportError` if the host does not answer, `HostRefusedError`.
        """
        if self._meet is None:
            raise NoRemoteError
        await self._meet()


def _events(given: object) -> list[Event]:
    """Return what a library user gave as several events, or refuse it."""
    several = None
    if isinstance(given, Iterable) and not isinstance(given, Mapping | str | bytes):
        several = list(given)
        wrong = [event for event in several if not isinstance(event, Event)]
        if not wrong:
            return several
        given = wrong[0]
    raise InvalidInputError(
        "events",
        "expected an Event or a sequence of Events, such as Event.now({...}), got"
        f" {type(given).__name__}" + (" in it" if several else ""),
    )
