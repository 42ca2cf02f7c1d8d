"""T25: a host serves records out of order, twice, or with some left out."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from awserver.records import SealedRecord
from awvault.sync.alarms import Name
from tests.adversarial.scenes import Records, Scene, scene, shown

Alter = Callable[[list[SealedRecord]], list[SealedRecord]]


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        for _ in range(4):
            await made.store(made.one)
            await made.one.seal_and_sync()
        yield made


@pytest.mark.parametrize(
    "alter",
    [
        lambda honest: honest[1:],
        lambda honest: honest[::-1],
        lambda honest: [honest[1], honest[0], *honest[2:]],
    ],
    ids=["first-left-out", "backwards", "swapped"],
)
async def test_nothing_of_it_is_shown(act: Scene, alter: Alter) -> None:
    """Where the first is not the next, nothing is taken, and a retry works."""
    await act.caught(
        act.two,
        Records(act.one.client_id, alter),
        Name.LOG_INVALID,
        client=act.one.client_id,
        says="record 1 is next, got",
    )


@pytest.mark.parametrize(
    ("alter", "came"),
    [
        (lambda honest: [honest[0], *honest[2:]], 1),
        (lambda honest: [honest[0], honest[0], *honest[1:]], 1),
        (lambda honest: [honest[0], honest[1], honest[3], honest[2]], 2),
        (lambda honest: [*honest[:3], honest[0]], 3),
    ],
    ids=["gap", "twice", "swapped", "repeated-at-the-end"],
)
async def test_what_is_in_order_counts_and_nothing_after_it(
    act: Scene, alter: Alter, came: int
) -> None:
    """Records before the fault are kept and shown; those after it wait."""
    before = shown(act.two)
    lie = Records(act.one.client_id, alter)

    with act.host.lying(lie):
        done = await act.two.sync()

    assert [alarm.name for alarm in done.alarms] == [Name.LOG_INVALID]
    assert len(shown(act.two)) == len(before) + came
    head = act.two.vault.replica.heads()[act.one.client_id]
    assert head.seq == came
    await act.goes_on()


async def test_the_other_logs_go_on(act: Scene) -> None:
    """A fault in one log keeps nobody from the others, nor from uploading."""
    three = await act.join("third")
    await act.store(act.two)
    lie = Records(act.one.client_id, lambda honest: honest[::-1])

    with act.host.lying(lie):
        second = await act.two.seal_and_sync()
        third = await three.sync()

    for done in (second, third):
        assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
            (Name.LOG_INVALID, act.one.client_id.hex())
        ]
    assert second.pushed == 1
    assert third.pulled.records == 2
    assert act.one.client_id not in three.vault.replica.heads()
    await act.goes_on()
