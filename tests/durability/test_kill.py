"""Acknowledged is on disk: SIGKILL at any moment, and everything is there once.

`DURABILITY_KILLS` sets how often the testing root is killed, over all its tests.
"""

import asyncio
import contextlib
import os
import random
import socket
import time
from pathlib import Path
from typing import Final

import pytest

from tests.durability.load import Ledger, Load, connected
from tests.helpers.processes import Root, Server, home

KILLS: Final = int(os.environ.get("DURABILITY_KILLS", "200"))
KILLS_OF_ONE_DIRECTORY: Final = 25
"""Then a fresh one: the books are compared in full after each kill."""

KILLS_OF_SHIPPED: Final = 20
KILLS_IN_ONE_TEST: Final = 50
LOAD_SECONDS_MAX: Final = 0.4

pytestmark = pytest.mark.timeout(600)


async def kill_under_load(server: Server, load: Load, seconds: float) -> None:
    """Kill the server `seconds` after the load has begun."""
    running = asyncio.create_task(load.run(server.url))
    acknowledged = load.ledger.acknowledgements
    # The moment is what this test chooses at random; nothing is waited for.
    await asyncio.sleep(seconds)
    server.process.kill()
    await running
    server.wait()
    assert not load.refused, load.refused[0]
    assert load.ledger.acknowledgements >= acknowledged


async def check(server: Server, ledger: Ledger) -> int:
    async with connected(server.url) as api:
        return await ledger.check(api)


async def kills(directory: Path, root: Root, count: int, seed: int) -> int:
    """Kill one vault's server `count` times; return the acknowledged writes."""
    generator = random.Random(seed)
    ledger = Ledger()
    with home(directory, root=root) as where:
        server = where.serve()
        for at in range(count):
            load = Load(ledger, seed * 10_000 + at)
            await kill_under_load(
                server, load, generator.random() ** 2 * LOAD_SECONDS_MAX
            )
            server = where.serve()
            await check(server, ledger)
        status, _ = server.terminate()
        assert status == 0
        done = where.run("verify")
        assert done.status == 0, (done.stdout, done.stderr)
    return ledger.acknowledgements


def campaigns() -> list[tuple[int, int]]:
    """Return (seed, kills) of each test, so that several processes share them."""
    sizes = [KILLS_IN_ONE_TEST] * (KILLS // KILLS_IN_ONE_TEST)
    rest = KILLS % KILLS_IN_ONE_TEST
    return list(enumerate(sizes + [rest] * bool(rest)))


@pytest.mark.parametrize(("seed", "count"), campaigns())
async def test_nothing_acknowledged_is_lost(
    tmp_path: Path, seed: int, count: int
) -> None:
    """After each of many kills every acknowledged event is there exactly once."""
    acknowledged = 0
    for begun in range(0, count, KILLS_OF_ONE_DIRECTORY):
        acknowledged += await kills(
            tmp_path / str(begun),
            Root.FORKED,
            min(KILLS_OF_ONE_DIRECTORY, count - begun),
            seed * 1_000 + begun,
        )
    # A load that does nothing would prove nothing.
    assert acknowledged > count


async def test_nothing_acknowledged_is_lost_by_the_shipped_command(
    tmp_path: Path,
) -> None:
    """As above, with the installed `aw-server` and the full Argon2id."""
    acknowledged = await kills(tmp_path, Root.SHIPPED, KILLS_OF_SHIPPED, seed=99)
    assert acknowledged > KILLS_OF_SHIPPED


# Where the process kills itself, and how often it may pass there before: a
# start passes the database's steps a few times, and each request once.
STEPS = [
    *(
        f"{name}:{count}"
        for name in ("begin", "work", "worked", "commit", "committed")
        for count in (8, 13, 40)
    ),
    *(
        f"{name}:{count}"
        for name in (
            "collected",
            "record-sealed",
            "records-inserted",
            "index-inserted",
            "journal-deleted",
            "stored",
        )
        for count in (1, 2, 5)
    ),
]


async def _run_until_dead(server: Server, ledger: Ledger) -> None:
    """Send load until the process has killed itself."""
    for seed in range(1_000):
        load = Load(ledger, seed)
        await load.run(server.url)
        assert not load.refused, load.refused[0]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.to_thread(server.wait)
        if not server.is_alive():
            return
    pytest.fail("the server did not reach the step")


@pytest.mark.parametrize("step", STEPS)
async def test_a_kill_at_each_step(tmp_path: Path, step: str) -> None:
    """Killed at a named step of a commit or a seal, nothing is lost or doubled."""
    ledger = Ledger()
    with home(tmp_path, root=Root.FORKED) as where:
        # The vault is made first: a kill while it is made is another test.
        assert where.run("init").status == 0
        server = where.serve(kill_at=step)
        await _run_until_dead(server, ledger)
        assert server.process.returncode == -9
        server = where.serve()
        await check(server, ledger)
        # And it goes on.
        load = Load(ledger, 7)
        await kill_under_load(server, load, 0.1)
        server = where.serve()
        await check(server, ledger)
        assert server.terminate()[0] == 0
        done = where.run("verify")
        assert done.status == 0, (done.stdout, done.stderr)


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("name", ["begin", "worked", "commit", "committed"])
def test_a_kill_while_the_vault_is_made(tmp_path: Path, name: str, count: int) -> None:
    """A vault whose making was cut short is made by the next start, or was made."""
    with home(tmp_path, root=Root.FORKED) as where:
        with contextlib.suppress(Exception):
            where.serve(kill_at=f"{name}:{count}")
        assert len(where.servers) == 1
        where.servers[0].kill()
        server = where.serve()
        assert server.terminate()[0] == 0
        done = where.run("verify")
        assert done.status == 0, (done.stdout, done.stderr)


async def test_sigterm_under_load(tmp_path: Path) -> None:
    """SIGTERM ends the server with status 0 within 5 s, and nothing is lost."""
    ledger = Ledger()
    with home(tmp_path, root=Root.FORKED) as where:
        for round_ in range(5):
            server = where.serve()
            if round_:
                await check(server, ledger)
            load = Load(ledger, round_)
            running = asyncio.create_task(load.run(server.url, workers=12))
            before = ledger.acknowledgements
            async with asyncio.timeout(30):
                await ledger.reached(before + 50)
            begun = time.monotonic()
            status, _ = await asyncio.to_thread(server.terminate)
            assert status == 0, server.stderr
            assert time.monotonic() - begun < 5
            await running
            assert "rror" not in server.stderr, server.stderr
        server = where.serve()
        assert await check(server, ledger) > 0


def test_sigterm_when_idle_and_while_it_starts(tmp_path: Path) -> None:
    """With connections open and idle, and in the middle of Argon2, it ends too."""
    with home(tmp_path, root=Root.SHIPPED) as where:
        server = where.serve()
        with socket.create_connection(("127.0.0.1", server.port)) as idle:
            idle.sendall(b"GET /api/0/info HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert idle.recv(100).startswith(b"HTTP/1.1 200")
            status, seconds = server.terminate()
            assert status == 0
            assert seconds < 5
