"""T01: what a host, or whoever is on the way, can read of events: nothing.

Two clients with events full of canaries register, log in, upload, download, edit
and query; then every byte of traffic, of the host's database and of its log is
searched for them in every encoding, and for the times of the events.
"""

import json
import logging
from pathlib import Path
from typing import Final

import pytest

from tests.adversarial.scenes import Scene, scene, shown
from tests.helpers.canaries import Search, text_needles, time_needles
from tests.helpers.syncing import Member
from tests.helpers.vaults import bucket, insert, us

CANARIES: Final = {
    "app": "Zymurgy Editor 7x",
    "title": "quarterly layoffs draft \u2013 caf\u00e9 \U0001f98a",
    "url": "https://clinic.example/appointments/kx-4471?token=ab",
    "bucket": "aw-watcher-window_grubworm-laptop",
    "hostname": "grubworm-laptop.lan",
}
STARTS: Final = tuple(123_456.789 + 977.123 * n for n in range(12))


async def a_day(act: Scene, member: Member) -> None:
    """Let a client store a day of events."""
    text = json.dumps(
        {key: CANARIES[key] for key in ("app", "title", "url")}, ensure_ascii=False
    ).encode()
    if CANARIES["bucket"] not in member.vault.buckets():
        await bucket(member.vault, CANARIES["bucket"], kind="currentwindow")
    for start in STARTS:
        await insert(member.vault, (start, 61.5, text), name=CANARIES["bucket"])
    await member.seal_and_sync()


async def test_nothing_of_an_event_is_on_the_way_or_on_the_host(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the traffic of either way, the database, its journal, or a log line."""
    needles = {name: list(text_needles(name, text)) for name, text in CANARIES.items()}
    for number, start in enumerate(STARTS):
        needles[f"time {number}"] = list(time_needles(f"time {number}", us(start)))
    search = Search(needles)

    with caplog.at_level(logging.DEBUG):
        async with scene(tmp_path) as act:
            await a_day(act, act.one)
            await act.two.sync()
            await a_day(act, act.two)
            await act.one.sync()
            three = await act.join("grubworm laptop of a third")
            await three.sync()
            assert len(shown(three)) == 2 * len(STARTS) + 2
            await act.one.host.usage()
            await act.one.host.sessions()
            await act.one.host.clients()
            for _ in range(2):
                search.check("the traffic", act.proxy.sent())
                search.check("the database", act.host.dump())
                # What a checkpoint moves is looked at too.
                await act.host.restart()
            assert len(act.proxy.sent("up")) > 10_000
    search.check("the log", caplog.text.encode())


async def test_a_search_would_find_it(tmp_path: Path) -> None:
    """The same search finds the same words where they are."""
    search = Search(
        {name: list(text_needles(name, text)) for name, text in CANARIES.items()}
    )

    async with scene(tmp_path) as act:
        await a_day(act, act.one)
        text = json.dumps(CANARIES).encode()

        assert search.found(act.proxy.sent() + text)
