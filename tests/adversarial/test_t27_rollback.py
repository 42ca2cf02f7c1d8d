"""T27: the whole database of a host is an older one.

A dishonest host puts it back, or an honest one was restored from a backup: the
clients name what is missing, and one command on one of them puts it back.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from awserver.records import ClientId, SealedRecord
from awserver.wire import AppendAnswer
from awvault.sync import rounds
from awvault.sync.alarms import Name
from awvault.sync.repair import Repairer
from awvault.sync.rounds import ignore_progress
from awvault.sync.transport import HostClient
from tests.adversarial.scenes import Scene, scene
from tests.helpers.lying_host import Lie
from tests.helpers.syncing import USERNAME, Member

BACKUP = "backup"


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    """A host of which a backup was made, and which learnt more since."""
    async with scene(tmp_path) as made:
        await made.host.save(BACKUP)
        await made.record(made.one)
        await made.record(made.two)
        await made.record(made.one)
        for member in (made.one, made.two):
            assert (await member.sync()).alarms == []
        yield made


async def repair(act: Scene, member: Member) -> int:
    """Put back what a client holds; return how many records that were."""
    async with HostClient(act.met.url) as host:
        repairer = Repairer(member.vault, host, USERNAME, ignore_progress)
        done = await repairer.repair()
    assert done.conflicts == []
    return done.records


async def on_the_host(act: Scene, member: Member) -> dict[ClientId, list[bytes]]:
    """Return every record that the host has, byte for byte."""
    found: dict[ClientId, list[bytes]] = {}
    for client in (act.one.client_id, act.two.client_id):
        records: list[SealedRecord] = [
            record async for record in member.host.read_log(client, after=-1)
        ]
        found[client] = [record.encode() for record in records]
    return found


async def test_each_log_that_lost_something_is_named(act: Scene) -> None:
    """Which client's, from which seq: and nothing that was verified is forgotten."""
    before = act.state(act.two)
    await act.host.put_back(BACKUP)

    done = await act.two.sync()

    alarms = {alarm.name: alarm for alarm in done.alarms}
    assert alarms.keys() == {Name.LOG_ROLLED_BACK, Name.OWN_LOG_SHORTENED}
    rolled_back = alarms[Name.LOG_ROLLED_BACK]
    assert rolled_back.client_id == act.one.client_id.hex()
    assert "verified up to 3 before, now offered 1" in rolled_back.sentence
    assert alarms[Name.OWN_LOG_SHORTENED].client_id == act.two.client_id.hex()
    assert act.state(act.two) == before


@pytest.mark.parametrize("who", ["one", "two"])
async def test_one_client_puts_everything_back(act: Scene, who: str) -> None:
    """Byte for byte, the records of the other client too, and all goes on."""
    before = await on_the_host(act, act.two)
    await act.host.put_back(BACKUP)
    repairing: Member = getattr(act, who)
    await repairing.sync()

    await repair(act, repairing)

    assert await on_the_host(act, act.two) == before
    await act.goes_on()


async def test_an_empty_host_is_filled_again(act: Scene) -> None:
    """Where a host lost all it had, documents and blob come back as well."""
    before = await on_the_host(act, act.two)
    documents = await act.two.host.documents(after=0)
    blob = await act.two.host.keys_blob()
    await act.host.stop()
    for path in act.host.directory.glob("host.db*"):
        path.unlink()
    await act.host.start()

    assert await repair(act, act.two) == sum(map(len, before.values()))

    for member in (act.one, act.two):
        assert (await member.sync()).alarms == []
    assert await on_the_host(act, act.two) == before
    assert await act.two.host.documents(after=0) == documents
    assert await act.two.host.keys_blob() == blob
    await act.goes_on()


async def test_two_clients_may_put_one_log_back_at_once(
    act: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose log it is does not take its own records for those of a copied machine."""
    await act.host.put_back(BACKUP)
    monkeypatch.setattr(rounds, "PUSH_BYTES", 1)
    act.one.host.forget_session()
    with act.host.lying(Overtaken(partial(repair, act, act.two))):
        done = await act.one.sync()

    assert Name.OWN_LOG_SHORTENED in {alarm.name for alarm in done.alarms}
    assert Name.OWN_LOG_ELSEWHERE not in {alarm.name for alarm in done.alarms}
    await act.goes_on()


class Overtaken(Lie):
    """Honest; before it takes the first records, somebody else does something."""

    def __init__(self, first: Callable[[], Awaitable[object]]) -> None:
        self._first: Callable[[], Awaitable[object]] | None = first

    async def append(
        self,
        client: ClientId,
        records: Sequence[SealedRecord],
        append: Callable[[], Awaitable[AppendAnswer]],
    ) -> AppendAnswer:
        first, self._first = self._first, None
        if first is not None:
            await first()
        return await append()


async def test_a_repair_overwrites_nothing(act: Scene) -> None:
    """A host that has everything is given nothing, however often."""
    before = await on_the_host(act, act.two)

    assert await repair(act, act.two) == 0
    assert await repair(act, act.one) == 0

    assert await on_the_host(act, act.two) == before
    await act.goes_on()
