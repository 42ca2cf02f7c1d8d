"""A real window on a real screen, watched through ActivityWatch's client.

Five seconds of it in `make test`, a minute in `make watch`.
"""

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from awvault.gateway import GatewaySettings
from tests.helpers.programs import program
from tests.integration.clients.peers import peer_environment, peer_python
from tests.integration.gateway.running import Api, running

SCRIPTS = Path(__file__).parent / "desktop"
SECONDS = float(os.environ.get("WATCH_SECONDS", "5"))
WINDOW_SECONDS = 1.2
"""How long each window is the active one."""
SLACK_SECONDS = 0.8
"""What a busy machine may be late by."""


@pytest.fixture
def screen() -> Iterator[str]:
    """Return the name of an X screen that nobody sees."""
    reading, writing = os.pipe()
    with (
        os.fdopen(reading) as number,
        subprocess.Popen(
            [
                *(program("Xvfb", package="xvfb"), "-displayfd", str(writing)),
                *("-screen", "0", "640x480x24", "-nolisten", "tcp", "-noreset"),
            ],
            pass_fds=[writing],
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        os.close(writing)
        try:
            yield f":{int(number.readline())}"
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def script(
    name: str, *arguments: object, environment: dict[str, str]
) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        peer_python(),
        SCRIPTS / name,
        *map(str, arguments),
        stdin=PIPE,
        stdout=PIPE,
        env=environment,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def tell(window: Process, **order: object) -> None:
    assert window.stdin is not None
    assert window.stdout is not None
    window.stdin.write(json.dumps(order).encode() + b"\n")
    assert await window.stdout.readline() == b"done\n"


async def events(api: Api, kind: str) -> list[dict[str, Any]]:
    """Return the events of the bucket of a kind, oldest first."""
    buckets = await api.ok("GET", "/api/0/buckets/")
    (bucket,) = (b["id"] for b in buckets.values() if b["type"] == kind)
    found = await api.ok("GET", f"/api/0/buckets/{bucket}/events")
    return list(reversed(found))


@pytest.mark.activitywatch
async def test_what_is_on_the_screen_is_stored(screen: str, tmp_path: Path) -> None:
    """Each title that was shown, in order and for as long; and who was away when."""
    environment = peer_environment(tmp_path / "home") | {"DISPLAY": screen}
    shown: list[str] = []
    async with (
        running(tmp_path / "vault", GatewaySettings(testing=True)) as api,
        script("window.py", environment=environment) as window,
    ):
        await tell(window, app="editor", title="before")
        async with script(
            "watcher.py", api.port, SECONDS, environment=environment
        ) as watcher:
            assert watcher.stdout is not None
            assert await watcher.stdout.readline() == b"watching\n"
            loop = asyncio.get_running_loop()
            end = loop.time() + SECONDS
            # Time has to pass here: it is what is watched. A person types at
            # first, and is then away.
            while end - loop.time() > WINDOW_SECONDS + SLACK_SECONDS:
                shown.append(f"file {len(shown)}: é€😀")
                await tell(window, app="editor", title=shown[-1])
                for _ in range(4):
                    if end - loop.time() > 0.6 * SECONDS:
                        await tell(window, press=True)
                    await asyncio.sleep(WINDOW_SECONDS / 4)
            await tell(window, app="editor", title="after")
            assert await watcher.wait() == 0
        windows = await events(api, "currentwindow")
        afk = await events(api, "afkstatus")

    seen = [e["data"]["title"] for e in windows]
    assert [title for title in seen if title.startswith("file")] == shown
    assert {e["data"]["app"] for e in windows} == {"Editor"}
    for event in windows:
        if event["data"]["title"] in shown:
            assert event["duration"] == pytest.approx(WINDOW_SECONDS, abs=SLACK_SECONDS)
    # Before the first key nobody was there either, on a machine that starts slowly.
    states = [e["data"]["status"] for e in afk]
    assert ("not-afk", "afk") in itertools.pairwise(states)
    # Nothing overlaps, and next to nothing is missing between two windows.
    ends = [
        datetime.fromisoformat(e["timestamp"]).timestamp() + e["duration"]
        for e in windows
    ]
    begins = [datetime.fromisoformat(e["timestamp"]).timestamp() for e in windows]
    for end_of_one, begin_of_next in zip(ends[:-1], begins[1:], strict=True):
        assert -0.001 <= begin_of_next - end_of_one <= SLACK_SECONDS
