"""T28: a host shows records to one client and withholds them from another.

Caught at the first mention of them in what another client has sealed; and clients
that are only at work at the same time never alarm.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from awserver.errors import LimitExceededError
from awserver.records import ClientId, Head, SealedRecord
from awserver.service.base import Caller
from awserver.wire import HeadsAnswer
from awvault.errors import HostRefusedError
from awvault.sync.alarms import Name
from tests.adversarial.scenes import Records, Scene, cut_off, scene, sealed_by, shown
from tests.helpers.lying_host import Lie
from tests.helpers.syncing import Member

ROUNDS = 40


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


async def test_what_is_withheld_is_caught_at_the_first_mention(act: Scene) -> None:
    """The third client has seen it, says so in what it seals, and the second hears."""
    three = await act.join("third")
    known = act.two.vault.replica.heads()[act.one.client_id]
    lie = cut_off(act.one.client_id, known, to=act.two.client_id)
    with act.host.lying(lie):
        await act.record(act.one)
        for _ in range(2):
            # Nothing proves anything yet: the first client may have been silent.
            assert (await act.two.sync()).alarms == []
        await three.sync()
        await act.record(three)
        before = act.state(act.two)

        done = await act.two.sync()

        assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
            (Name.LOG_WITHHELD, act.one.client_id.hex())
        ]
        assert act.state(act.two).heads[act.one.client_id] == known
        assert set(before.shown) < set(act.state(act.two).shown)
    await act.goes_on()


async def test_a_head_that_is_named_and_not_given_is_withheld(act: Scene) -> None:
    """The host says that there is a record, and gives none of it."""
    await act.store(act.one)
    await act.one.seal_and_sync()

    await act.caught(
        act.two,
        Records(act.one.client_id, lambda honest: []),
        Name.LOG_WITHHELD,
        client=act.one.client_id,
    )


class TwoTongues(Lie):
    """Cuts a log off in the first answer of each round, and not in the last."""

    def __init__(self, client: ClientId, head: Head, to: ClientId) -> None:
        self._cut = cut_off(client, head, to=to)
        self._to = to
        self._asked = 0

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        if caller.client_id != self._to:
            return honest
        self._asked += 1
        return self._cut.heads(caller, honest) if self._asked % 2 else honest

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        return self._cut.records(caller, client, honest)


async def test_a_host_that_only_claims_to_have_it_withholds_it(act: Scene) -> None:
    """At the end of each round it names the true head, and gives no records."""
    three = await act.join("third")
    known = act.two.vault.replica.heads()[act.one.client_id]
    with act.host.lying(TwoTongues(act.one.client_id, known, act.two.client_id)):
        await act.record(act.one)
        assert (await act.two.sync()).alarms == []
        await three.sync()
        await act.record(three)

        rounds = [await act.two.sync() for _ in range(3)]

        assert act.two.vault.replica.heads()[act.one.client_id] == known
        for done in rounds:
            assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
                (Name.LOG_WITHHELD, act.one.client_id.hex())
            ]
    await act.goes_on()


class Late(Lie):
    """Names a log's end in the last answer of a round alone, and gives it then."""

    def __init__(self, client: ClientId, head: Head, to: ClientId) -> None:
        self._cut = cut_off(client, head, to=to)
        self._to = to
        self._asked = 0

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        if caller.client_id != self._to:
            return honest
        self._asked += 1
        return self._cut.heads(caller, honest) if self._asked % 2 else honest


async def test_what_is_mentioned_is_asked_for_in_the_same_round(act: Scene) -> None:
    """So it is with honest hosts too, where an upload falls into a round."""
    three = await act.join("third")
    known = act.two.vault.replica.heads()[act.one.client_id]
    await act.record(act.one)
    await three.sync()
    await act.record(three)
    with act.host.lying(Late(act.one.client_id, known, act.two.client_id)):
        done = await act.two.sync()

    assert done.alarms == []
    assert shown(act.two) == shown(three)


class CutsRounds(Lie):
    """Cuts a log off, and gives no second answer in any round."""

    def __init__(self, client: ClientId, head: Head, to: ClientId) -> None:
        self._cut = cut_off(client, head, to=to)
        self._to = to
        self._asked = 0

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        if caller.client_id != self._to:
            return honest
        self._asked += 1
        if self._asked % 2 == 0:
            raise LimitExceededError("not now")
        return self._cut.heads(caller, honest)

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        return self._cut.records(caller, client, honest)


async def test_a_host_that_cuts_every_round_is_caught_too(act: Scene) -> None:
    """What was mentioned before a round is missed before the round can be cut."""
    three = await act.join("third")
    known = act.two.vault.replica.heads()[act.one.client_id]
    with act.host.lying(CutsRounds(act.one.client_id, known, act.two.client_id)):
        await act.record(act.one)
        await three.sync()
        await act.record(three)
        for _ in range(2):
            with pytest.raises(HostRefusedError):
                await act.two.sync()

    assert [(alarm.name, alarm.client_id) for alarm in act.two.remote.alarms] == [
        (Name.LOG_WITHHELD, act.one.client_id.hex())
    ]
    await act.goes_on()


class TwoFaces(Lie):
    """Shows one client another record at the end of a log than all others see."""

    def __init__(self, to: ClientId, record: SealedRecord) -> None:
        self._to = to
        self._record = record

    def _concerns(self, caller: Caller, client: ClientId) -> bool:
        return caller.client_id == self._to and client == self._record.header.client_id

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        told = [
            replace(one, hash=self._record.hash.hex())
            if self._concerns(caller, ClientId(bytes.fromhex(one.client_id)))
            else one
            for one in honest.heads
        ]
        return replace(honest, heads=told)

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        return [self._record] if self._concerns(caller, client) else honest


async def test_two_histories_of_one_client_are_a_fork(act: Scene) -> None:
    """Even with two records that the client's own key signed at one seq.

    A host cannot make one; a copied machine can, and whoever has its key. What
    another client has seen tells, and the log of that client stops.
    """
    three = await act.join("third")
    twin = sealed_by(act.one, b'{"app":"twin"}')
    await act.record(act.one)
    await three.sync()

    with act.host.lying(TwoFaces(act.two.client_id, twin)):
        # The twin is signed, and nothing else is known yet.
        assert (await act.two.sync()).alarms == []
        await act.record(three)
        done = await act.two.sync()

    assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
        (Name.LOG_FORKED, act.one.client_id.hex())
    ]
    assert f"record {twin.header.seq}" in done.alarms[0].sentence
    # The third client's records are another matter, and are shown.
    assert three.client_id in act.two.vault.replica.heads()
    # And it does not forget: the two histories are there, honest host or not.
    again = await act.two.sync()
    assert [alarm.name for alarm in again.alarms] == [Name.LOG_FORKED]
    act.no_secret_left()


async def test_honest_clients_at_the_same_time_never_alarm(tmp_path: Path) -> None:
    """However uploads and downloads of three clients fall together."""
    random = Random(28)
    async with scene(tmp_path) as act:
        three = await act.join("third")
        members = [act.one, act.two, three]

        async def work(member: Member) -> None:
            for _ in range(ROUNDS // len(members)):
                if random.random() < 0.5:
                    await act.store(member)
                done = await (
                    member.seal_and_sync() if random.random() < 0.7 else member.sync()
                )
                assert done.alarms == []

        await asyncio.gather(*map(work, members))

        assert all(not member.remote.incidents for member in members)
        await act.goes_on()
        assert len(shown(three)) == act.clock // 10
