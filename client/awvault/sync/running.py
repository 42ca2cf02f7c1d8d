"""A vault and its host: one connection, the schedule, and what is known of both."""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from awvault.crypto.keys import derive_slot
from awvault.errors import (
    HostRefusedError,
    NoRemoteError,
    TransportError,
    UnsupportedSuiteError,
    VaultDamagedError,
)
from awvault.remote import Remote, RemoteNotes
from awvault.sealing import LIVE, LOCAL, SLOTS
from awvault.sync.channel import LIMITS, Limits
from awvault.sync.rounds import OnProgress, Round, Syncer, ignore_progress
from awvault.sync.schedule import Schedule, Scheduler, Timer, WallTimer
from awvault.sync.transport import HostClient
from awvault.vault import Clock, Vault

log = logging.getLogger(__name__)

GOODBYE_SECONDS: Final = 2.0
"""How long a host is waited for that is told of a session's end."""

DAILY_OR_STEADY: Final = (Schedule.STEADY, Schedule.DAILY)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """What there is to say of the exchange with a host, apart from the notes."""

    schedule: Schedule
    running: bool
    """Whether this process meets the host by the schedule."""
    next_upload: float | None
    """Seconds since 1970. None: at once, or not by itself."""
    failure: str | None
    """Why the last round did not come to its end; None: it did, or there was none."""
    unreachable: bool
    """Whether that was because the host does not answer."""


class SyncRunner:
    """Keeps an open vault and its host the same.

    Where there is no host, it does nothing until there is one. Owned by the event
    loop.
    """

    def __init__(
        self,
        vault: Vault,
        notes: RemoteNotes,
        *,
        schedule: Schedule,
        clock: Clock,
        timer: Timer | None = None,
        limits: Limits = LIMITS,
        trust: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Meet the host by `schedule` once `start` is called, and when asked."""
        self._vault = vault
        self._notes = notes
        self._schedule = schedule
        self._clock = clock
        self._timer = WallTimer(clock) if timer is None else timer
        self._limits = limits
        self._trust = trust
        self._jitter = jitter
        self._failure: Exception | None = None
        self._changing: asyncio.Task[None] | None = None
        self._starts = False
        self._met: tuple[HostClient, Syncer] | None = None
        self._scheduler: Scheduler | None = None
        self._task: asyncio.Task[None] | None = None
        vault.call_when_sealed(self._sealed)
        self._plan_seals()

    def start(self) -> None:
        """Meet the host by the schedule from now on, where there is one."""
        self._starts = True
        self._plan_seals()
        remote = self._remote()
        if remote is not None and self._task is None:
            period = self._schedule.period_seconds
            scheduler = Scheduler(
                self,
                schedule=self._schedule,
                slot_seconds=(
                    0
                    if period is None
                    else derive_slot(self._vault.keys.journal_key, period)
                ),
                timer=self._timer,
                random=self._jitter,
                # Who has just logged in has told the host already.
                at_once=remote.synced_us is None,
            )
            self._scheduler = scheduler
            self._task = asyncio.create_task(scheduler.run())

    async def close(self) -> None:
        """End the schedule, and the connections to the host."""
        self._starts = False
        if self._changing is not None:
            await asyncio.gather(self._changing, return_exceptions=True)
        await self._stop()

    def remote_changed(self) -> None:
        """Take note that the vault has another host now, or none, or a first one."""
        if self._changing is None or self._changing.done():
            self._changing = asyncio.create_task(self._change())

    async def _change(self) -> None:
        starts = self._starts
        await self._stop()
        self._failure = None
        self._plan_seals()
        if starts and self._starts:
            self.start()

    async def _stop(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._scheduler = None
        if self._met is not None:
            (host, _), self._met = self._met, None
            if host.has_session:
                # Only polite: it would end by itself after a month.
                with contextlib.suppress(
                    TransportError, HostRefusedError, TimeoutError
                ):
                    async with asyncio.timeout(GOODBYE_SECONDS):
                        await host.end_session()
            await host.close()

    # -- rounds ----------------------------------------------------------------

    async def sync(self, on_progress: OnProgress = ignore_progress) -> Round:
        """Seal everything and make one round, now; raises as `Syncer.round`."""
        self._syncer()
        if self._schedule in DAILY_OR_STEADY:
            await self._vault.seal_slot(whole=True)
        else:
            await self._vault.seal_now(whole=True)
        return await self.meet(on_progress)

    async def meet(self, on_progress: OnProgress = ignore_progress) -> Round:
        """Make one round; see `Syncer.round`."""
        _, syncer = self._syncer()
        try:
            done = await syncer.round(on_progress)
        except Exception as error:
            self._failure = error
            raise
        self._failure = None
        return done

    async def seal_slot(self) -> None:
        """See `Meets.seal_slot`."""
        await self._vault.seal_slot()

    async def wait_for_change(
        self, *, entries: int, version: int, wait_seconds: int
    ) -> bool:
        """See `Meets.wait_for_change`."""
        _, syncer = self._syncer()
        return await syncer.wait_for_change(
            entries=entries, version=version, wait_seconds=wait_seconds
        )

    def host(self) -> HostClient:
        """Return the way to the host; raises `NoRemoteError` where there is none."""
        host, _ = self._syncer()
        return host

    def state(self) -> SyncState:
        """Return how it goes."""
        scheduler = self._scheduler
        failure = self._failure
        return SyncState(
            schedule=self._schedule,
            running=self._task is not None and not self._task.done(),
            next_upload=None if scheduler is None else scheduler.next_upload,
            failure=None if failure is None else str(failure),
            unreachable=isinstance(failure, TransportError),
        )

    def _syncer(self) -> tuple[HostClient, Syncer]:
        """Return the way to the host, made at the first use."""
        remote = self._notes.load()
        if remote is None:
            raise NoRemoteError
        if self._met is not None:
            return self._met
        host = HostClient(
            remote.url,
            insecure=remote.insecure,
            limits=self._limits,
            trust=self._trust,
        )
        syncer = Syncer(self._vault, self._notes, host, clock=self._clock)
        self._met = host, syncer
        return self._met

    def _remote(self) -> Remote | None:
        """Return the notes on the host; None: there is none, or they are damaged."""
        try:
            return self._notes.load()
        except (VaultDamagedError, UnsupportedSuiteError) as error:
            log.error("nothing is synced", extra={"reason": str(error)})  # noqa: TRY400
            return None

    def _plan_seals(self) -> None:
        """Seal by the schedule where there is a host, and by growth where not."""
        plan = LOCAL
        if self._remote() is not None:
            plan = SLOTS if self._schedule in DAILY_OR_STEADY else LIVE
        self._vault.plan_seals(plan)

    def _sealed(self) -> None:
        if self._scheduler is not None:
            self._scheduler.note_sealed()
