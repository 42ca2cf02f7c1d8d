"""Two machines and a host, for real: kills, cuts, wrong clocks, weeks offline.

Whatever happens between them, both machines end with the same events: each once,
and every one that a gateway acknowledged. Meanwhile the gateways answer watchers
quickly, and never with an error.
"""

import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from awvault.naming import SYNCED_FROM
from tests.durability.load import EPOCH, Ledger, Load, connected, moment
from tests.helpers.fault_proxy import End, Fault
from tests.scenarios.household import (
    BEATS,
    DONE,
    UNREACHABLE,
    Household,
    Machine,
    by_owner,
    household,
    shown,
)

LOAD_SECONDS: Final = 0.6
"""How long watchers write while one thing goes wrong."""

MEDIAN_SECONDS_MAX: Final = 0.1
SLOWEST_SECONDS_MAX: Final = 5.0
"""Of one heartbeat. ActivityWatch's client gives up after much longer."""

WEEKS: Final = 5
EVENTS_OF_A_DAY: Final = 400

pytestmark = pytest.mark.timeout(300)


@dataclass
class Watchers:
    """What writes on one machine, and the books of all it wrote."""

    machine: Machine
    seed: int
    ledger: Ledger = field(default_factory=Ledger)
    rounds: int = 0

    @contextlib.asynccontextmanager
    async def writing(
        self, seconds: float = LOAD_SECONDS, *, may_die: bool = False
    ) -> AsyncIterator[None]:
        """Write while this lasts, and at least so long; nothing is refused."""
        self.rounds += 1
        load = Load(self.ledger, self.seed * 1_000 + self.rounds)
        running = asyncio.create_task(load.run(self.machine.gateway))
        before = self.ledger.acknowledgements
        try:
            await asyncio.sleep(seconds)
            yield
        finally:
            load.stop()
            await running
        assert not load.refused, load.refused[0]
        assert may_die or self.ledger.acknowledgements > before


class Beats:
    """A watcher that measures how long each of its heartbeats takes."""

    def __init__(self, machine: Machine) -> None:
        self.seconds: list[float] = []
        self._machine = machine
        self._stopping = False

    @contextlib.asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        """Beat meanwhile; every answer is quick, and good."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._stopping = True
            await task
        assert len(self.seconds) > 20
        assert statistics.median(self.seconds) < MEDIAN_SECONDS_MAX
        assert max(self.seconds) < SLOWEST_SECONDS_MAX

    async def _run(self) -> None:
        async with connected(self._machine.gateway) as api:
            await api.bucket(BEATS)
            second = 0
            while not self._stopping:
                begun = time.perf_counter()
                await api.heartbeat(
                    BEATS,
                    {
                        "timestamp": moment(second),
                        "duration": 0.0,
                        "data": {"app": "watched"},
                    },
                    5.0,
                )
                self.seconds.append(time.perf_counter() - begun)
                second += 1
                await asyncio.sleep(0.02)


FAULTS: Final[dict[str, Fault]] = {
    "delay": Fault(delay_seconds=0.1),
    "cut an answer in its middle": Fault(
        end=End.RESET, direction="down", in_body=True, after=300
    ),
    "cut a request in its middle": Fault(
        end=End.RESET, direction="up", in_body=True, after=500
    ),
    "half close": Fault(end=End.HALF, direction="up", in_body=True, after=20),
    "half close of the answer": Fault(
        end=End.HALF, direction="down", in_body=True, after=20
    ),
    "1 byte/s": Fault(seconds_per_byte=1.0, direction="down"),
    "stall": Fault(end=End.STALL, direction="down", after=10),
}


async def sync_through(machine: Machine, fault: Fault) -> None:
    """Sync while the network fails, and end the failure."""
    machine.proxy.set(fault)
    going = asyncio.create_task(machine.sync())
    await asyncio.wait([going], timeout=1.0)
    machine.proxy.drop()
    machine.proxy.heal()
    await going


async def check_books(books: Sequence[Watchers]) -> None:
    """Both machines show, of both, exactly what was acknowledged."""
    for owner in books:
        counts = []
        for viewer in (owner, *books):  # its own first: it settles what was in flight
            async with shown(viewer.machine, owner.machine) as api:
                counts.append(await owner.ledger.check(api))
        assert len(set(counts)) == 1
        assert counts[0] > 0


async def check_same(house: Household) -> None:
    """Both machines show the same, to the last field."""
    laptop, desktop = house.machines
    one = by_owner(await house.events(laptop), laptop, desktop)
    two = by_owner(await house.events(desktop), desktop, laptop)
    assert one == two
    for machine in house.machines:
        await machine.good("verify")
        status = await machine.json("status")
        assert status["problems"] == []


async def test_whatever_happens_between_them(tmp_path: Path) -> None:
    """Writes on both, the host killed, the network cut, clients killed, clocks off."""
    async with household(tmp_path, laptop_hours=5, desktop_hours=-31) as house:
        laptop, desktop = house.machines
        books = [Watchers(laptop, 1), Watchers(desktop, 2)]
        beats = [Beats(laptop), Beats(desktop)]
        async with contextlib.AsyncExitStack() as watching:
            for one in beats:
                await watching.enter_async_context(one.measured())
            await kill_the_host(house, books)
            await cut_the_network(house, books)
        await kill_the_clients(house, books)
        await house.settle()
        await check_books(books)
        await check_same(house)


async def kill_the_host(house: Household, books: Sequence[Watchers]) -> None:
    """The host is killed in the middle of uploads, three times."""
    generator = random.Random(5)
    for _ in range(3):
        async with books[0].writing(), books[1].writing():
            syncs = [asyncio.create_task(one.sync()) for one in house.machines]
            await asyncio.sleep(generator.random() * 0.3)
            await house.restart_host()
            await asyncio.gather(*syncs)
            assert await house.laptop.sync() in {DONE, UNREACHABLE}


async def cut_the_network(house: Household, books: Sequence[Watchers]) -> None:
    """The network of each machine fails in every way."""
    for at, fault in enumerate(FAULTS.values()):
        one, other = house.machines[:: 1 if at % 2 else -1]
        async with books[0].writing(0.2), books[1].writing(0.2):
            await sync_through(one, fault)
            await other.sync()


async def kill_the_clients(house: Household, books: Sequence[Watchers]) -> None:
    """Each gateway is killed while it is written to and syncs."""
    for machine, its in zip(house.machines, books, strict=True):
        load = Load(its.ledger, 77)
        running = asyncio.create_task(load.run(machine.gateway))
        going = asyncio.create_task(machine.run("sync"))
        await asyncio.sleep(LOAD_SECONDS)
        await machine.kill()
        await asyncio.gather(running, going)
        await machine.start()
        async with shown(machine, machine) as api:
            await its.ledger.check(api)


async def test_weeks_without_the_host(tmp_path: Path) -> None:
    """A machine that was away for weeks catches up, and gives all it recorded."""
    async with household(tmp_path, desktop_hours=3) as house:
        laptop, desktop = house.machines
        desktop.proxy.refuse()
        desktop.proxy.drop()
        for day in range(7 * WEEKS):
            await record_day(laptop, "window", day)
            if day % 7 == 0:
                await record_day(desktop, "window", day)
                assert await laptop.sync() == DONE
        assert await desktop.sync() == UNREACHABLE
        desktop.proxy.accept()
        await house.settle()
        await check_same(house)
        found = await house.events(desktop)
        assert (
            len(found[f"window{SYNCED_FROM}{laptop.label}"])
            == 7 * WEEKS * EVENTS_OF_A_DAY
        )
        assert len(found["window"]) == WEEKS * EVENTS_OF_A_DAY


async def record_day(machine: Machine, name: str, day: int) -> None:
    """Record a day's events in one request."""
    async with connected(machine.gateway) as api:
        await api.bucket(name)
        await api.insert(
            name,
            [
                {
                    "timestamp": moment(day * 86_400 + at * 120),
                    "duration": 100.5,
                    "data": {"app": f"app {at % 7}", "title": f"day {day}, {at}"},
                }
                for at in range(EVENTS_OF_A_DAY)
            ],
        )


STEPS: Final = (
    "accepted-records-inserted:1",
    "accepted:1",
    "accepted:2",
    "stored:1",
)


@pytest.mark.parametrize("step", STEPS)
async def test_a_client_killed_at_each_step(tmp_path: Path, step: str) -> None:
    """Killed while it takes in another's records or has sealed its own, it goes on."""
    async with household(tmp_path) as house:
        laptop, desktop = house.machines
        books = [Watchers(laptop, 3), Watchers(desktop, 4)]
        await laptop.stop()
        await laptop.start(kill_at=step)
        assert laptop.server is not None
        while laptop.server.is_alive():
            async with books[0].writing(0.2, may_die=True), books[1].writing(0.2):
                pass
            await desktop.sync()
            await laptop.run("sync")
        assert await asyncio.to_thread(laptop.server.wait) == -9, laptop.server.stderr
        await laptop.start()
        await house.settle()
        await check_books(books)
        await check_same(house)


async def test_one_corrects_what_the_other_recorded(tmp_path: Path) -> None:
    """A correction made offline on one machine is shown on both, once."""
    async with household(tmp_path) as house:
        laptop, desktop = house.machines
        async with connected(laptop.gateway) as api:
            await api.bucket("window")
            (event,) = await api.insert(
                "window",
                [{"timestamp": EPOCH.isoformat(), "duration": 5, "data": {"n": 1}}],
            )
        await house.settle()
        laptop.proxy.refuse()
        laptop.proxy.drop()
        async with connected(desktop.gateway) as api:
            corrected: dict[str, Any] = {
                "id": event,
                "timestamp": EPOCH.isoformat(),
                "duration": 6,
                "data": {"n": 2},
            }
            assert await api.insert("window", [corrected])
        laptop.proxy.accept()
        await house.settle()
        for machine in house.machines:
            ((name, events),) = (await house.events(machine)).items()
            assert name == "window"
            assert [(e["id"], e["duration"], e["data"]) for e in events] == [
                (event, 6.0, {"n": 2})
            ]
