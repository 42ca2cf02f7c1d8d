"""A vault that meets its host by itself: what the host sees, and what it does not."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from awserver.records import Seq
from awvault.errors import NoRemoteError
from awvault.remote import Remote
from awvault.sealing import LIVE, LOCAL, SLOTS
from awvault.sync.running import SyncRunner
from awvault.sync.schedule import HOUR_SECONDS, Schedule
from awvault.testing import open_vault
from tests.helpers.lying_host import LyingHost
from tests.helpers.syncing import USERNAME, Member, Ticks, lied_to, notes_of, until
from tests.helpers.vaults import A, bucket, insert, read

SLOTS_RUN = 4


class Skips:
    """A clock that skips whatever anybody would wait for, and stops after a while."""

    def __init__(self, seconds: float) -> None:
        self._now = 1_700_000_000.0
        self._end = self._now + seconds
        self.is_over = asyncio.Event()
        self.before_sleep: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.before_sleep()
        if self._now >= self._end:
            self.is_over.set()
            await asyncio.Event().wait()
        self._now += seconds
        await asyncio.sleep(0)


def runner_of(member: Member, schedule: Schedule, timer: Skips) -> SyncRunner:
    return SyncRunner(
        member.vault,
        member.notes,
        schedule=schedule,
        clock=Ticks(),
        timer=timer,
        jitter=lambda: 1.0,
    )


async def watched(
    host: LyingHost, member: Member, events: Callable[[int], int]
) -> list[tuple[str, str]]:
    """Run some slots with so many events before each; return what the host sees."""
    timer = Skips(SLOTS_RUN * HOUR_SECONDS)
    runner = runner_of(member, Schedule.STEADY, timer)
    host.requests.clear()
    runner.start()
    for slot in range(SLOTS_RUN):
        count = events(slot)
        if count:
            await insert(
                member.vault,
                *((slot * 1000 + number, 1, A) for number in range(count)),
                name="window",
            )
        await asyncio.sleep(0)
    await timer.is_over.wait()
    await runner.close()
    return [(method, path.partition("?")[0]) for method, path in host.requests]


async def test_a_host_cannot_tell_an_idle_hour_from_a_busy_one(tmp_path: Path) -> None:
    """The same requests, in the same order, with two records in each slot."""
    async with lied_to(tmp_path) as (host, _, one, two):
        for member in (one, two):
            await bucket(member.vault, "window")
            await member.seal_and_sync()
        before = one.vault.replica.heads()[one.client_id].seq

        busy = await watched(host, one, lambda slot: 300 * slot)
        idle = await watched(host, two, lambda _: 0)

        own = [
            [
                (method, path.replace(member.client_id.hex(), "own"))
                for method, path in seen
                if "/logs/" not in path or member.client_id.hex() in path
            ]
            for member, seen in ((one, busy), (two, idle))
        ]
        assert own[0] == own[1]
        uploads = [
            path for method, path in own[0] if method == "POST" and "logs" in path
        ]
        assert len(uploads) == SLOTS_RUN
        head = one.vault.replica.heads()[one.client_id]
        assert head.seq - before == 2 * SLOTS_RUN
        sizes = {
            len(record.encode())
            for member in (one, two)
            for record in (
                await member.vault.replica.read(member.client_id, start=Seq(0))
            )[-2 * SLOTS_RUN :]
        }
        assert min(sizes) > 4096


async def test_a_live_client_uploads_what_it_sealed_at_once(tmp_path: Path) -> None:
    """And shows what another uploads while it waits for news."""
    async with lied_to(tmp_path) as (_, _, one, two):
        timer = Skips(1e9)
        runner = runner_of(two, Schedule.LIVE, timer)
        runner.start()
        try:
            await bucket(two.vault, "afk")
            await insert(two.vault, (1, 1, A), (2, 1, A), name="afk")
            await two.vault.seal_now()
            await until(lambda: two.remote.acknowledged is not None)
            await one.record(5)
            await until(lambda: "window" in two.vault.buckets())
            assert [event.start for event in read(two.vault, "window")] == [5]
            await one.sync()
            assert [event.start for event in read(one.vault, "afk")] == [1, 2]
            assert runner.state().running
            assert runner.state().failure is None
        finally:
            await runner.close()


async def test_an_outage_is_told_and_over_by_itself(tmp_path: Path) -> None:
    """The state names it while it lasts."""
    async with lied_to(tmp_path) as (host, _, one, _):
        timer = Skips(1e9)
        runner = runner_of(one, Schedule.LIVE, timer)
        await host.stop()
        runner.start()
        await until(lambda: runner.state().unreachable)
        assert "cannot be reached" in (runner.state().failure or "")
        await host.start()
        await until(lambda: runner.state().failure is None)
        await runner.close()
        assert not runner.state().running


async def test_a_vault_gets_a_host_and_loses_it(tmp_path: Path) -> None:
    """It begins to meet it without a start, and seals by its schedule."""
    async with await open_vault(tmp_path / "v") as vault:
        notes = notes_of(vault)
        runner = SyncRunner(
            vault, notes, schedule=Schedule.STEADY, clock=Ticks(), timer=Skips(1e9)
        )
        runner.start()
        assert not runner.state().running
        assert vault._sealer.plan is LOCAL
        with pytest.raises(NoRemoteError):
            await runner.sync()

        await notes.save(
            Remote(url="http://127.0.0.1:1", insecure=False, username=USERNAME)
        )
        runner.remote_changed()
        await until(lambda: runner.state().running)
        assert vault._sealer.plan is SLOTS
        assert runner.host().origin == "http://127.0.0.1:1"

        await notes.forget()
        runner.remote_changed()
        await until(lambda: vault._sealer.plan is LOCAL)
        assert not runner.state().running
        await runner.close()


async def test_the_plan_of_seals_is_the_schedule_s(tmp_path: Path) -> None:
    """Also for a single command, before anything is sealed."""
    async with await open_vault(tmp_path / "v") as vault:
        notes = notes_of(vault)
        await notes.save(
            Remote(url="http://127.0.0.1:1", insecure=False, username=USERNAME)
        )
        for schedule, plan in (
            (Schedule.LIVE, LIVE),
            (Schedule.STEADY, SLOTS),
            (Schedule.DAILY, SLOTS),
        ):
            SyncRunner(vault, notes, schedule=schedule, clock=Ticks())
            assert vault._sealer.plan is plan
