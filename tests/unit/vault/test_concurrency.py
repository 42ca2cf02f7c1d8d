"""Many requests at once, callers that go away, and a barrier that ends."""

import asyncio
from pathlib import Path

import pytest

from awvault.errors import BucketNotFoundError, VaultClosedError
from awvault.testing import open_vault
from awvault.vault import Vault
from tests.helpers.vaults import (
    A,
    B,
    Shown,
    beat,
    bucket,
    contents,
    correct,
    insert,
    read,
)


async def test_many_writers_at_once(tmp_path: Path) -> None:
    """Ids are unique, every event is there, and a restart shows the same."""
    async with await open_vault(tmp_path / "v") as vault:
        for name in "bcd":
            await bucket(vault, name)

        async def inserts(name: str, first: int) -> list[int]:
            numbers = []
            for at in range(20):
                numbers += await insert(
                    vault, *[(first + at, 1, B)] * (1 + at % 3), name=name
                )
            return numbers

        async def beats(name: str) -> None:
            for second in range(60):
                await beat(vault, 10_000 + second, 0, name=name)

        async def seals() -> None:
            for _ in range(5):
                await vault.seal_now()

        made = await asyncio.gather(
            *(inserts(name, 100 * at) for at, name in enumerate("bcdbcd"))
        )
        await asyncio.gather(*(beats(name) for name in "bcd"), seals())
        numbers = [number for part in made for number in part]
        assert len(numbers) == len(set(numbers))
        for name in "bcd":
            # The inserted events are older than the window, which is one event.
            assert read(vault, name)[-1] == Shown(10_000, 59, A)
        assert sum(vault.count(name) for name in "bcd") == len(numbers) + 3
        before = contents(vault)
    async with await open_vault(tmp_path / "v") as vault:
        assert contents(vault) == before


async def test_heartbeats_sent_together_merge_in_order(vault: Vault) -> None:
    """Requests in flight at once are one event; each answer is at least its own."""
    rows = await asyncio.gather(*(beat(vault, second, 0) for second in range(50)))
    assert len({row.id for row in rows}) == 1
    assert [row.duration for row in rows] == [s * 1_000_000 for s in range(50)]
    assert read(vault) == [Shown(0, 49, A)]


async def test_a_caller_that_goes_away_takes_nothing_back(tmp_path: Path) -> None:
    """A request that is cancelled is stored whole, and later ones build on it."""
    async with await open_vault(tmp_path / "v") as vault:
        await bucket(vault)
        for at in range(30):
            tasks = [
                asyncio.create_task(beat(vault, 100 + at, 0)),
                asyncio.create_task(insert(vault, (at, 1, B), (at, 2, B))),
            ]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(r, asyncio.CancelledError) for r in results)
        last = await beat(vault, 131, 0)
        assert last.duration == 31_000_000
        assert vault.count("b") == 61
        before = contents(vault)
    async with await open_vault(tmp_path / "v") as vault:
        assert contents(vault) == before


async def test_a_bucket_made_by_many_at_once_is_one(vault: Vault) -> None:
    """Exactly one of them made it, and all of them can use it."""
    made = await asyncio.gather(*(vault.create_bucket("x", type="t") for _ in range(9)))
    assert sorted(made) == [False] * 8 + [True]


async def test_hiding_wins_over_what_comes_after(vault: Vault) -> None:
    """Requests that were sent behind a deletion of the bucket find none."""
    first = asyncio.create_task(beat(vault, 0))
    hiding = asyncio.create_task(vault.hide_bucket("b"))
    second = asyncio.create_task(beat(vault, 1))
    await asyncio.gather(first, hiding)
    with pytest.raises(BucketNotFoundError):
        await second


async def test_corrections_of_one_event_at_once(vault: Vault) -> None:
    """Each is a revision of its own; the last that was sent is what is seen."""
    (number,) = await insert(vault, (0, 1, A))
    rows = await asyncio.gather(
        *(correct(vault, number, 0, 1, b'{"v":%d}' % v) for v in range(20))
    )
    assert [row.revision for row in rows if row is not None] == list(range(1, 21))
    assert read(vault) == [Shown(0, 1, b'{"v":19}')]


async def test_others_do_not_keep_a_request_waiting_for_ever(vault: Vault) -> None:
    """A seal, and a heartbeat with nothing new, end while others go on writing."""
    await insert(vault, (0, 1, B), (1, 1, B))
    stopping = False

    async def busy(at: int) -> int:
        count = 0
        while not stopping:
            await insert(vault, (10_000 + at, 0, B))
            count += 1
        return count

    writers = [asyncio.create_task(busy(at)) for at in range(8)]
    try:
        async with asyncio.timeout(20):
            await bucket(vault, "c")
            await beat(vault, 500, 10, name="c")
            await beat(vault, 500, 10, name="c")
            assert not await vault.create_bucket("c", type="t")
            assert await vault.seal_now() >= 1
    finally:
        stopping = True
        counts = await asyncio.gather(*writers)
    assert all(counts)
    assert vault.count("b") == 2 + sum(counts)


async def test_readers_and_seals_at_once_see_every_event_once(vault: Vault) -> None:
    """While events move from journal to records, each read has all of them."""
    for round_ in range(10):
        await insert(vault, *((round_ * 100 + at, 0, A) for at in range(50)))
        sealing = asyncio.create_task(vault.seal_now())
        counts = set()
        while not sealing.done():
            counts.add(vault.count("b"))
            table = await vault.read_async("b")
            assert len(set(table.id.tolist())) == len(table) == 50 * (round_ + 1)
        assert counts <= {50 * (round_ + 1)}


async def test_a_closed_vault_says_so(tmp_path: Path) -> None:
    """Every write after closing is refused; closing twice is no error."""
    vault = await open_vault(tmp_path / "v")
    await bucket(vault)
    await vault.close()
    await vault.close()
    for call in (
        beat(vault, 0),
        insert(vault, (0, 0, A)),
        vault.create_bucket("c", type="t"),
        vault.hide_bucket("b"),
        vault.settle(),
    ):
        with pytest.raises(VaultClosedError):
            await call
