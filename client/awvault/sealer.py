"""When the journal becomes records.

A `SealPlan` says when. With no remote host nobody watches uploads, so a record
is made when it is worth one: enough closed events, enough bytes, or a day's age.
With one, the time of an upload tells something, so that the plan is by the
clock. The journal is as durable as a record, so nothing is lost by waiting.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from awserver.records import Head
from awserver.storage.sqlite.database import Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from awvault import tables
from awvault.columns.payload import COUNTER_BITS, NextIds, Payload
from awvault.durability import DurableState
from awvault.errors import VaultDamagedError
from awvault.journal import Tail
from awvault.protocol.mentions import Mention
from awvault.sealing import (
    JOURNAL_BYTES_WORTH,
    LOCAL,
    WEB_TYPE_PREFIX,
    NewRecord,
    Random,
    SealPlan,
    Step,
    divide,
    seal_payloads,
)
from awvault.state import State
from awvault.unlocked import Unlocked

log = logging.getLogger(__name__)

SEAL_EVENTS: Final = 1_000
"""Journal events that are worth a record."""

JOURNAL_EVENTS_MAX: Final = 8_192
"""The request that passes this many seals before it answers."""

SEAL_AGE_US: Final = 24 * 3600 * 1_000_000
"""Closed events older than this are sealed, however few they are."""

SEAL_AGE_PAUSE_SECONDS: Final = 3600.0
"""At most one record in this time is sealed for age alone."""

SEAL_RAW_BYTES_MAX: Final = 16 * 1024 * 1024
"""Journal rows of one transaction, before compression. A larger journal takes
several, each within what the log store appends at once."""

SEAL_DELAY_SECONDS: Final = 2.0
"""How long a seal waits for more, so that a bulk load fills its records."""

SEAL_RETRY_SECONDS: Final = 60.0
"""Pause between looks at the journal, and after a seal that failed."""


class Sealer:
    """Seals the closed events of the journal, by schedule or when asked."""

    def __init__(
        self,
        durable: DurableState,
        store: SqliteLogStore,
        keys: Unlocked,
        *,
        clock: Callable[[], int],
        random: Random,
        step: Step,
        compression: bool,
    ) -> None:
        """Seal what `durable` holds into `store`, by the plan `LOCAL` at first.

        `step` is called with a name at each step of a seal: tests break there.
        """
        self.plan: SealPlan = LOCAL
        self.on_sealed: Callable[[], None] = lambda: None
        """Called when there are new records, once they are on disk."""
        self._durable = durable
        self._store = store
        self._keys = keys
        self._clock = clock
        self._random = random
        self._step = step
        self._compression = compression
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failed_at = self._aged_at = float("-inf")
        self._sealed_at = time.monotonic()

    def start(self) -> None:
        """Begin to seal by schedule."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Let a seal under way end, and begin no other."""
        async with self._lock:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
                self._task = None

    async def after_write(self) -> None:
        """Seal, soon or before this returns, if the journal has grown enough.

        The events are durable already: a seal that fails is tried again later,
        and is no reason to refuse them.
        """
        state = self._durable.current
        journal = state.journal
        if self._keys.client_id in state.stopped_logs or not self._keys.may_seal:
            return  # nothing can follow; the journal keeps it all
        if (
            journal.events >= JOURNAL_EVENTS_MAX
            or journal.bytes >= self.plan.journal_bytes_max
        ):
            if time.monotonic() - self._failed_at > SEAL_RETRY_SECONDS:
                await self._try()
            else:
                self._wanted.set()
        elif self.plan.by_growth and (
            journal.events >= SEAL_EVENTS or journal.bytes >= JOURNAL_BYTES_WORTH
        ):
            self._wanted.set()

    async def seal_now(self, *, whole: bool = False) -> int:
        """Seal every closed event; return the number of records made.

        With `whole`, open ones too: what extends one later is a revision. None where
        this client's records would not count: it is revoked, or its account has keys
        that are not here. A caller that is cancelled leaves the seal to end by itself.
        """
        sealing = asyncio.create_task(self._seal_all(slot=False, whole=whole))
        return await asyncio.shield(sealing)

    async def seal_slot(self, *, whole: bool = False) -> int:
        """Do as `seal_now`, and make two records however little is closed.

        The first is of all buckets but those of web pages, the second of those.
        More only where what is closed does not fit into two.
        """
        sealing = asyncio.create_task(self._seal_all(slot=True, whole=whole))
        return await asyncio.shield(sealing)

    async def _seal_all(self, *, slot: bool, whole: bool) -> int:
        records, more = await self._seal_once(both=slot, whole=whole)
        while more:
            made, more = await self._seal_once(both=False, whole=whole)
            records += made
        if records:
            self.on_sealed()
        return records

    async def _seal_once(self, *, both: bool, whole: bool) -> tuple[int, bool]:
        """Seal what one transaction takes.

        Return the number of records made, and whether there is more to seal.
        """
        async with self._lock:
            await self._durable.settle()
            # What is not yet on disk must not be deleted from it.
            await self._durable.barrier()
            state = self._durable.current
            if not self._keys.may_seal:
                return 0, False
            stopped = state.stopped_logs.get(self._keys.client_id)
            if stopped is not None:
                raise VaultDamagedError(
                    f"this client's log is damaged, nothing can follow it: {stopped}"
                )
            open_jids = [] if whole else _open_jids(state)
            closed = state.journal.closed(open_jids, time.monotonic())
            self._sealed_at = time.monotonic()
            if not closed and not both:
                return 0, False
            seen = state.seen().joined(Mention(document=self._keys.pin))
            jids = state.journal.first_of(closed, raw_bytes_max=SEAL_RAW_BYTES_MAX)
            tail = state.journal.begin_seal(jids)
            stored = False
            try:
                self._step("collected")
                payloads = list(self._divide(state, tail, seen, both=both))
                records = await asyncio.to_thread(self._seal, payloads, state.head)
                if not self._durable.is_current(state):
                    state.journal.end_seal(sealed=False)
                    return 0, False  # a write failed meanwhile; the schedule comes back
                await self._durable.write(partial(self._store_all, records, jids))
                stored = True
                self._step("stored")
            except BaseException:
                state.journal.end_seal(sealed=False)
                if stored:
                    self._durable.distrust()
                raise
            state.journal.end_seal(sealed=True)
            self._apply(state, records, seen)
            return len(records), len(jids) < len(closed)

    def _divide(
        self, state: State, tail: Tail, seen: Mention, *, both: bool
    ) -> Iterator[Payload]:
        return divide(
            tail,
            web_buckets=_web_buckets(state),
            seen=seen,
            next_ids=NextIds(
                next_event=state.next_event, next_bucket=state.next_bucket
            ),
            both=both,
        )

    def _seal(self, payloads: list[Payload], head: Head | None) -> list[NewRecord]:
        return seal_payloads(
            payloads,
            self._keys,
            head,
            floor_bytes=self.plan.floor_bytes,
            random=self._random,
            step=self._step,
            compression=self._compression,
        )

    def _store_all(
        self, records: Sequence[NewRecord], jids: frozenset[int], tx: Transaction
    ) -> None:
        """Write records and index rows, delete journal rows: one transaction."""
        self._store.append_within(
            tx, self._keys.account_id, [new.record for new in records]
        )
        self._step("records-inserted")
        for new in records:
            header = new.record.header
            tables.put_index_row(tx, header.client_id, header.seq, new.sealed_index_row)
        self._step("index-inserted")
        tables.delete_journal_rows(tx, jids)
        self._step("journal-deleted")

    def _apply(self, state: State, records: Sequence[NewRecord], seen: Mention) -> None:
        """Show in memory what is on disk; no await between this and end_seal."""
        for new in records:
            header = new.record.header
            state.take_record(
                header.client_id,
                self._keys.client_number,
                Head(seq=header.seq, hash=new.record.hash),
                epoch=header.epoch,
                row=new.index_row,
                mention=seen,
            )
        for bucket in state.buckets.values():
            jid = bucket.last_jid
            if jid is not None and not state.journal.replaceable(jid):
                bucket.last_jid = None

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEAL_RETRY_SECONDS):
                    await self._wanted.wait()
                    await asyncio.sleep(SEAL_DELAY_SECONDS)
            if self._wanted.is_set() or self._is_due():
                self._wanted.clear()
                await self._try()

    async def _try(self) -> None:
        try:
            await self.seal_now()
        except Exception:
            self._failed_at = time.monotonic()
            log.exception("seal failed, the journal keeps the events")

    def _is_due(self) -> bool:
        """Say whether the clock alone asks for a seal."""
        state = self._durable.current
        if self._keys.client_id in state.stopped_logs or not self._keys.may_seal:
            return False
        now = time.monotonic()
        every = self.plan.every_seconds
        if every is not None:
            return len(state.journal) > 0 and now - self._sealed_at >= every
        if not self.plan.by_growth or now - self._aged_at < SEAL_AGE_PAUSE_SECONDS:
            return False
        oldest = state.journal.oldest_start(_open_jids(state))
        if oldest is None or self._clock() - oldest < SEAL_AGE_US:
            return False
        self._aged_at = now
        return True


def _open_jids(state: State) -> list[int]:
    """Return the rows that the next heartbeats of their buckets may extend.

    They hold this client's own events: no heartbeat extends another client's.
    """
    jids = []
    for bucket in state.buckets.values():
        if not bucket.last_known:
            newest = state.journal.newest_single(bucket.version.bucket_id)
        elif bucket.last is None or bucket.last_jid is None:
            newest = None
        else:
            newest = bucket.last_jid, bucket.last.id
        if newest is not None and newest[1] >> COUNTER_BITS == state.client_number:
            jids.append(newest[0])
    return jids


def _web_buckets(state: State) -> frozenset[int]:
    return frozenset(
        version.bucket_id
        for version in state.versions.values()
        if version.type.startswith(WEB_TYPE_PREFIX)
    )
