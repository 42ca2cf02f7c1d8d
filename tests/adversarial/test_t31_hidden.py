"""T31: a host hides a client, and the account document that adds it.

What another client has seen names it, and exposes the host.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from awserver.records import ClientId, SealedRecord
from awserver.service.base import Caller
from awserver.wire import HeadsAnswer
from awvault.sync.alarms import Name
from tests.adversarial.scenes import Scene, cut_off, scene, shown
from tests.helpers.lying_host import Lie


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


class Hidden(Lie):
    """To one client, another was never added."""

    def __init__(self, client: ClientId, *, versions: int, to: ClientId) -> None:
        self._client = client
        self._versions = versions
        self._to = to

    def documents(self, caller: Caller, after: int, honest: list[bytes]) -> list[bytes]:
        if caller.client_id != self._to:
            return honest
        return honest[: max(self._versions - after, 0)]

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        if caller.client_id != self._to:
            return honest
        kept = [one for one in honest.heads if one.client_id != self._client.hex()]
        return replace(honest, heads=kept, version=self._versions)

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        hides = caller.client_id == self._to and client == self._client
        return [] if hides else honest


async def test_a_hidden_client_is_named_by_who_has_seen_it(act: Scene) -> None:
    """The first client saw the third; what it seals says so to the second."""
    versions = len(act.met.account.documents)
    three = await act.join("third")
    lie = Hidden(three.client_id, versions=versions, to=act.two.client_id)
    with act.host.lying(lie):
        await act.record(three)
        assert (await act.two.sync()).alarms == []
        await act.one.sync()
        await act.record(act.one)
        before = act.state(act.two)

        done = await act.two.sync()

        names = {(alarm.name, alarm.client_id) for alarm in done.alarms}
        assert (Name.DOCUMENTS_WITHHELD, None) in names
        assert names <= {
            (Name.DOCUMENTS_WITHHELD, None),
            (Name.LOG_WITHHELD, three.client_id.hex()),
        }
        assert act.state(act.two).pin == before.pin
        assert three.client_id not in act.state(act.two).heads
        # The record that told is the first client's, and is shown.
        assert len(shown(act.two)) == len(before.shown) + 1
    await act.goes_on()


async def test_a_log_that_is_hidden_alone_is_named_too(act: Scene) -> None:
    """The document is shown, and the log of the client in it is not."""
    three = await act.join("third")
    lie = cut_off(three.client_id, None, to=act.two.client_id)
    with act.host.lying(lie):
        await act.record(three)
        assert (await act.two.sync()).alarms == []
        await act.one.sync()
        await act.record(act.one)

        done = await act.two.sync()

        assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
            (Name.LOG_WITHHELD, three.client_id.hex())
        ]
    await act.goes_on()
