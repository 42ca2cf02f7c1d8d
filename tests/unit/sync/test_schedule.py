"""When a client meets its host: told by a clock of the test's own."""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awvault.crypto.keys import JournalKey, derive_slot
from awvault.errors import HostBusyError, TransportError
from awvault.replica import Accepted
from awvault.sync.rounds import Round
from awvault.sync.schedule import (
    BACKOFF_SECONDS_MAX,
    DAY_SECONDS,
    HOUR_SECONDS,
    LATE_SECONDS_MAX,
    QUIET_SECONDS_MAX,
    Schedule,
    Scheduler,
    backoff,
    next_slot,
)

START = 1_700_000_000.0


class Hands:
    """A clock that moves when everybody waits for it."""

    def __init__(self) -> None:
        self._now = START
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        await future

    async def run_until(self, end: float) -> None:
        """Let time pass, a sleeper at a time."""
        while True:
            for _ in range(20):  # whoever was woken goes on until it waits again
                await asyncio.sleep(0)
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            if not self._sleepers or self._sleepers[0][0] > end:
                self._now = max(self._now, end)
                return
            at, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, at)
            future.set_result(None)

    def jump(self, seconds: float) -> None:
        """Let the machine sleep: no timer runs meanwhile."""
        self._now += seconds


@dataclass
class Diary:
    """Notes when it is asked to seal and to meet, and answers as it is told."""

    hands: Hands
    seals: list[float] = field(default_factory=list)
    meetings: list[float] = field(default_factory=list)
    polls: list[float] = field(default_factory=list)
    failing: Callable[[int], Exception | None] = lambda _: None
    news: asyncio.Queue[bool] = field(default_factory=asyncio.Queue)
    pulled: int = 0

    async def seal_slot(self) -> None:
        self.seals.append(self.hands.now())

    async def meet(self) -> Round:
        self.meetings.append(self.hands.now())
        error = self.failing(len(self.meetings))
        if error is not None:
            raise error
        return Round(
            pulled=Accepted(records=self.pulled),
            pushed=0,
            alarms=[],
            entries=1,
            version=1,
        )

    async def wait_for_change(
        self, *, entries: int, version: int, wait_seconds: int
    ) -> bool:
        self.polls.append(self.hands.now())
        return await self.news.get()


class Run:
    """A scheduler that runs, with its clock and its diary."""

    def __init__(
        self, schedule: Schedule, *, slot: int = 120, at_once: bool = False
    ) -> None:
        self.hands = Hands()
        self.diary = Diary(self.hands)
        self.scheduler = Scheduler(
            self.diary,
            schedule=schedule,
            slot_seconds=slot,
            timer=self.hands,
            random=lambda: 1.0,
            at_once=at_once,
        )
        self.task = asyncio.create_task(self.scheduler.run())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def passes(self, seconds: float) -> None:
        await self.hands.run_until(self.hands.now() + seconds)


@given(
    st.floats(0, 4e9),
    st.sampled_from([HOUR_SECONDS, DAY_SECONDS]),
    st.integers(0, 3599),
)
def test_a_slot_is_always_ahead_and_at_its_second(
    now: float, period: int, slot: int
) -> None:
    """Within one period, at the second that is this client's."""
    found = next_slot(now, period_seconds=period, slot_seconds=slot)

    assert 0 < found - now <= period
    assert (
        abs((found - slot) % period) < 1e-3 or period - (found - slot) % period < 1e-3
    )


def test_the_second_of_a_slot_is_a_secret_s_own() -> None:
    """Fixed for one key, spread over the period for many."""
    seconds = [
        derive_slot(JournalKey(number.to_bytes(32, "little")), HOUR_SECONDS)
        for number in range(200)
    ]

    assert derive_slot(JournalKey(bytes(32)), HOUR_SECONDS) == seconds[0]
    assert all(0 <= second < HOUR_SECONDS for second in seconds)
    assert len({second // 360 for second in seconds}) == 10


def test_a_pause_doubles_up_to_a_limit() -> None:
    """And jitter takes up to half of it away."""
    assert [backoff(n, first_seconds=2, jitter=1) for n in (1, 2, 3)] == [2, 4, 8]
    assert backoff(1000, first_seconds=2, jitter=1) == BACKOFF_SECONDS_MAX
    assert backoff(3, first_seconds=2, jitter=0) == 4


@pytest.mark.parametrize("schedule", [Schedule.STEADY, Schedule.DAILY])
async def test_a_steady_client_meets_once_in_a_period(schedule: Schedule) -> None:
    """At its second, whatever was sealed meanwhile; and polls for nothing."""
    period = schedule.period_seconds
    assert period is not None
    async with Run(schedule) as run:
        await run.passes(period / 2)
        run.scheduler.note_sealed()
        await run.passes(4.5 * period)

        assert len(run.diary.meetings) == 5
        assert run.diary.seals == run.diary.meetings
        assert {moment % period for moment in run.diary.meetings} == {120}
        assert run.diary.polls == []
        assert run.scheduler.next_upload == run.diary.meetings[-1] + period


async def test_a_client_that_is_new_does_not_wait_for_its_slot() -> None:
    """It meets once at the start, tries again if need be, and then keeps its slots."""
    async with Run(Schedule.DAILY, at_once=True) as run:
        run.diary.failing = lambda times: TransportError("down") if times < 3 else None
        await run.passes(2 * DAY_SECONDS)

    first = run.diary.meetings[:3]
    assert [moment - START for moment in first] == [0, 60, 180]
    assert run.diary.seals == run.diary.meetings[3:]
    assert {moment % DAY_SECONDS for moment in run.diary.seals} == {120}
    assert len(run.diary.seals) == 2


async def test_a_slot_that_was_slept_through_is_left_out() -> None:
    """An upload at once would tell when the machine woke."""
    async with Run(Schedule.STEADY) as run:
        await run.passes(1)
        slot = run.scheduler.next_upload
        assert slot is not None
        run.hands.jump(slot - run.hands.now() + LATE_SECONDS_MAX + 1)
        await run.passes(1000)
        assert run.diary.meetings == []
        await run.passes(HOUR_SECONDS)
        assert run.diary.meetings == [slot + HOUR_SECONDS]


async def test_a_slot_is_tried_again_until_the_next() -> None:
    """Through an outage: later and later, the records sealed once."""
    async with Run(Schedule.STEADY) as run:
        run.diary.failing = lambda times: TransportError("down") if times < 4 else None
        await run.passes(2 * HOUR_SECONDS)

    first, *later = run.diary.meetings
    assert [moment - first for moment in later[:3]] == [60, 180, 420]
    assert len(run.diary.seals) == 2
    assert run.diary.seals[1] == first + HOUR_SECONDS == run.diary.meetings[4]


async def test_an_outage_does_not_shift_the_slots() -> None:
    """A host that is down for hours is met at the usual second when it is back."""
    async with Run(Schedule.STEADY) as run:
        run.diary.failing = lambda _: TransportError("down")
        await run.passes(5 * HOUR_SECONDS)

        assert {moment % HOUR_SECONDS for moment in run.diary.seals} == {120}
        gaps = zip(run.diary.meetings, run.diary.meetings[1:], strict=False)
        assert max(b - a for a, b in gaps) <= 2 * BACKOFF_SECONDS_MAX


async def test_a_live_client_meets_when_there_is_something() -> None:
    """At the start, when it has sealed, and when the host tells of news."""
    async with Run(Schedule.LIVE) as run:
        await run.passes(100)
        assert len(run.diary.meetings) == 1
        run.scheduler.note_sealed()
        await run.passes(100)
        assert len(run.diary.meetings) == 2
        run.diary.news.put_nowait(True)
        await run.passes(100)
        assert len(run.diary.meetings) == 3
        run.diary.news.put_nowait(False)
        await run.passes(100)
        assert len(run.diary.meetings) == 3
        assert run.diary.seals == []


async def test_what_is_sealed_during_a_round_is_not_forgotten() -> None:
    """The next round follows at once."""
    async with Run(Schedule.LIVE) as run:

        def seal(times: int) -> None:
            if times == 1:
                run.scheduler.note_sealed()

        run.diary.failing = seal
        await run.passes(10)

    assert len(run.diary.meetings) == 2


async def test_a_host_that_always_has_news_does_not_keep_us_busy() -> None:
    """Rounds without a record come further and further apart."""
    async with Run(Schedule.LIVE) as run:
        for _ in range(1000):
            run.diary.news.put_nowait(True)
        await run.passes(HOUR_SECONDS)

    assert len(run.diary.meetings) < HOUR_SECONDS / QUIET_SECONDS_MAX + 10


async def test_a_live_client_comes_back_after_an_outage() -> None:
    """Soon at first, then rarely; and as a host that is busy asks for."""
    async with Run(Schedule.LIVE) as run:
        run.diary.failing = lambda times: TransportError("down") if times < 4 else None
        await run.passes(100)
        first, *later = run.diary.meetings
        assert [moment - first for moment in later] == [2, 6, 14]

    async with Run(Schedule.LIVE) as run:
        busy = HostBusyError("later", code="rate-limited", retry_seconds=30)
        run.diary.failing = lambda times: busy if times < 2 else None
        await run.passes(100)
        assert [moment - run.diary.meetings[0] for moment in run.diary.meetings] == [
            0,
            30,
        ]


async def test_what_nobody_foresaw_does_not_end_it() -> None:
    """A fault in a round is tried again like any other failure."""
    async with Run(Schedule.LIVE) as run:
        run.diary.failing = lambda times: RuntimeError("bug") if times < 3 else None
        await run.passes(100)

        assert len(run.diary.meetings) == 3
        assert not run.task.done()
