"""T45: the connection to a host ends at any point; an error after the commit.

No event is lost and none is there twice, whatever answer never came. Kills of the
process are in `tests/durability`.
"""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from awvault.errors import TransportError
from tests.adversarial.scenes import Scene, scene, shown
from tests.helpers.fault_proxy import End, Fault
from tests.helpers.syncing import Member

Way = Literal["up", "down"]
POINTS = 6


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


async def round_bytes(act: Scene, member: Member, way: Way) -> int:
    """Return how much passes on the way of a round with one record."""
    act.proxy.forget()
    await act.record(member)
    return len(act.proxy.sent(way))


@pytest.mark.parametrize("end", [End.RESET, End.CLOSE, End.HALF])
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_round_that_is_cut_loses_nothing(
    act: Scene, way: Way, end: End
) -> None:
    """Cut anywhere while one client uploads and the other downloads."""
    size = await round_bytes(act, act.one, way)
    await act.two.sync()
    cut = 0
    for point in range(POINTS):
        for member in (act.one, act.two):
            await act.store(member)
            act.proxy.drop()
            act.proxy.set(
                Fault(
                    end=end,
                    after=size * point // POINTS + point,
                    direction=way,
                    connections=1,
                )
            )
            try:
                done = await member.seal_and_sync()
                assert done.alarms == []
            except TransportError:
                cut += 1
            act.proxy.heal()

    assert cut >= POINTS // 2
    await act.goes_on()
    for member in (act.one, act.two):
        assert max(Counter(shown(member)).values()) == 1
        assert member.remote.incidents == []


async def test_an_answer_that_is_lost_after_the_commit_is_no_second_record(
    act: Scene,
) -> None:
    """The host stored it and nobody heard: it is sent again, and is there once."""
    await act.store(act.one)
    seen = len(act.proxy.sent("up"))

    # Everything goes up; of the answer to the append nothing comes back.
    await act.one.vault.seal_now()
    act.proxy.set(Fault(end=End.RESET, after=0, in_body=True, connections=1))
    for _ in range(6):
        try:
            await act.one.seal_and_sync()
        except TransportError:
            act.proxy.set(Fault(end=End.RESET, after=0, in_body=True, connections=1))
    act.proxy.heal()
    await act.one.sync()

    assert len(act.proxy.sent("up")) > seen
    await act.goes_on()
    heads = await act.one.host.heads()
    assert {log.entries for log in heads.logs.values()} == {
        log.head.seq + 1 for log in heads.logs.values()
    }
