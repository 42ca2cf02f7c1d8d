"""When to upload, and when to ask for what others uploaded.

The time of an upload tells a host when its owner is at the computer. `steady` and
`daily` therefore upload at one second of their period, idle or not, and ask for
nothing in between; `live` tells it, and is quick. docs/protocol/sync.md, "When".

No wall clock and no sleep of their own: both are passed in.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from awserver.errors import ServerError
from awvault.errors import Error, HostBusyError
from awvault.sync.rounds import Round

log = logging.getLogger(__name__)

HOUR_SECONDS: Final = 3600
DAY_SECONDS: Final = 24 * HOUR_SECONDS

SLEEP_SECONDS_MAX: Final = 30.0
"""The clock is looked at this often: it jumps when a machine wakes."""

LATE_SECONDS_MAX: Final = 120.0
"""A slot that is longer ago was slept through, and is left out."""

POLL_SECONDS: Final = 50
"""How long a live client lets the host wait with its answer."""

PAUSE_SECONDS: Final = 0.5
"""Between two rounds of a live client."""

QUIET_SECONDS_MAX: Final = 60.0
"""The longest pause where a host says there is news and there is none."""

BACKOFF_SECONDS: Final = 2.0
"""Before the first try again, in `live`; it doubles with each."""

SLOT_BACKOFF_SECONDS: Final = 60.0
"""The same in a slot: nobody waits for it."""

BACKOFF_SECONDS_MAX: Final = 600.0


class Schedule(StrEnum):
    """How often a client meets its host."""

    LIVE = "live"
    STEADY = "steady"
    DAILY = "daily"

    @property
    def period_seconds(self) -> int | None:
        """The time between two slots; None: there are none."""
        match self:
            case Schedule.LIVE:
                return None
            case Schedule.STEADY:
                return HOUR_SECONDS
            case Schedule.DAILY:
                return DAY_SECONDS


class Timer(Protocol):
    """The time, and waiting for it."""

    def now(self) -> float:
        """Return the seconds since 1970, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return after so long; a machine that sleeps may make it longer."""


class WallTimer:
    """The time of this machine."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        """Look at `clock_us`: microseconds since 1970."""
        self._clock_us = clock_us

    def now(self) -> float:
        """See `Timer.now`."""
        return self._clock_us() / 1_000_000

    async def sleep(self, seconds: float) -> None:
        """See `Timer.sleep`."""
        await asyncio.sleep(seconds)


class Meets(Protocol):
    """What a schedule needs of whoever makes the rounds."""

    async def seal_slot(self) -> None:
        """Seal what is closed into the two records of a slot."""

    async def meet(self) -> Round:
        """Make one round with the host."""

    async def wait_for_change(
        self, *, entries: int, version: int, wait_seconds: int
    ) -> bool:
        """Return whether the host has something new; False once the time is up."""


def next_slot(now: float, *, period_seconds: int, slot_seconds: int) -> float:
    """Return when the next slot begins, after `now`."""
    since = (now - slot_seconds) % period_seconds
    return now - since + period_seconds


def backoff(failures: int, *, first_seconds: float, jitter: float) -> float:
    """Return how long to wait after so many failures in a row, at least one.

    `jitter` is from 0 to 1: two clients that lost one host do not come back at
    the same moment.
    """
    whole: float = min(
        first_seconds * 2.0 ** min(failures - 1, 30), BACKOFF_SECONDS_MAX
    )
    return whole * (0.5 + jitter / 2)


class Scheduler:
    """Meets the host by one schedule, until it is cancelled.

    Whatever fails is tried again: the journal and the log keep everything.
    """

    def __init__(
        self,
        meets: Meets,
        *,
        schedule: Schedule,
        slot_seconds: int,
        timer: Timer,
        random: Callable[[], float],
        at_once: bool = False,
    ) -> None:
        """Meet by `schedule`; `slot_seconds` is this client's second of the period.

        `random` returns numbers from 0 to 1. With `at_once`, the first round does
        not wait for a slot.
        """
        self._meets = meets
        self._schedule = schedule
        self._slot_seconds = slot_seconds
        self._timer = timer
        self._random = random
        self._at_once = at_once
        self._sealed = asyncio.Event()
        self.next_upload: float | None = None
        """When the next slot begins; None: at once, whenever there is something."""

    def note_sealed(self) -> None:
        """Take note that this client has new records."""
        self._sealed.set()

    async def run(self) -> None:
        """Meet the host for ever."""
        period = self._schedule.period_seconds
        if period is None:
            await self._live()
        else:
            await self._slots(period)

    # -- steady, daily -------------------------------------------------------

    async def _slots(self, period: int) -> None:
        if self._at_once:
            await self._meet_before(self._next_slot(period))
        while True:
            slot = self._next_slot(period)
            self.next_upload = slot
            await self._sleep_until(slot)
            late = self._timer.now() - slot
            if late > LATE_SECONDS_MAX:
                continue
            try:
                await self._meets.seal_slot()
            except Exception as error:  # noqa: BLE001 - the next slot tries again
                _note(error)
            await self._meet_before(slot + period)

    def _next_slot(self, period: int) -> float:
        return next_slot(
            self._timer.now(), period_seconds=period, slot_seconds=self._slot_seconds
        )

    async def _meet_before(self, end: float) -> None:
        """Make the round of a slot, again while it fails and there is time."""
        failures = 0
        while True:
            try:
                await self._meets.meet()
                return
            except Exception as error:  # noqa: BLE001 - it is tried again
                _note(error)
                failures += 1
                pause = self._pause(error, failures, SLOT_BACKOFF_SECONDS)
            if self._timer.now() + pause >= end:
                return
            await self._timer.sleep(pause)

    async def _sleep_until(self, moment: float) -> None:
        while (left := moment - self._timer.now()) > 0:
            await self._timer.sleep(min(left, SLEEP_SECONDS_MAX))

    # -- live ----------------------------------------------------------------

    async def _live(self) -> None:
        failures = quiet = 0
        while True:
            self._sealed.clear()
            try:
                done = await self._meets.meet()
                failures = 0
                quiet = 0 if done.pulled.records or done.pushed else quiet + 1
                # A host that tells of news without end must not keep us busy.
                await self._timer.sleep(
                    min(PAUSE_SECONDS * 2.0 ** min(quiet, 30), QUIET_SECONDS_MAX)
                )
                await self._news(done)
            except Exception as error:  # noqa: BLE001 - it is tried again
                _note(error)
                failures += 1
                await self._timer.sleep(self._pause(error, failures, BACKOFF_SECONDS))

    async def _news(self, done: Round) -> None:
        """Return once there is something to exchange, on either side."""
        sealed = asyncio.create_task(self._sealed.wait())
        polling = asyncio.create_task(self._poll(done))
        try:
            await asyncio.wait({sealed, polling}, return_when=asyncio.FIRST_COMPLETED)
            if polling.done():
                polling.result()
        finally:
            for task in (sealed, polling):
                task.cancel()
            await asyncio.gather(sealed, polling, return_exceptions=True)

    async def _poll(self, done: Round) -> None:
        while not await self._meets.wait_for_change(
            entries=done.entries, version=done.version, wait_seconds=POLL_SECONDS
        ):
            await self._timer.sleep(PAUSE_SECONDS)

    # -- both ----------------------------------------------------------------

    def _pause(self, failed: Exception, failures: int, first: float) -> float:
        pause = backoff(failures, first_seconds=first, jitter=self._random())
        asked = failed.retry_seconds if isinstance(failed, HostBusyError) else None
        return pause if asked is None else max(pause, asked)


def _note(error: Exception) -> None:
    if isinstance(error, Error | ServerError):
        log.info("sync failed, it is tried again", extra={"reason": str(error)})
    else:
        log.error("sync failed, it is tried again", exc_info=error)
