"""What a seal takes, what it leaves, and that nobody sees it happen."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from awserver.records import Seq
from awvault.incoming import NewRows
from awvault.sealer import JOURNAL_EVENTS_MAX
from awvault.sealing import JOURNAL_BYTES_WORTH
from awvault.testing import COMPOSITION, open_vault
from awvault.vault import Vault
from tests.helpers.vaults import (
    A,
    B,
    Shown,
    beat,
    bucket,
    contents,
    insert,
    read,
    us,
)


async def test_an_open_event_is_not_sealed(vault: Vault) -> None:
    """The event that the next heartbeat may extend stays in the journal."""
    await beat(vault, 0)
    await beat(vault, 100, 10)
    await vault.seal_now()
    assert vault.facts().journal_events == 1
    assert vault.facts().sealed_events == 1
    row = await beat(vault, 112)
    assert row.revision == 0
    assert read(vault) == [Shown(0, 0, A), Shown(100, 12, A)]


async def test_an_open_event_is_sealed_when_all_is_asked_for(vault: Vault) -> None:
    """What extends it after that is a revision; it is shown once, extended."""
    row = await beat(vault, 0)
    await vault.seal_now()
    assert vault.facts().journal_events == 1
    assert await vault.seal_now(whole=True) == 1
    assert vault.facts().journal_rows == 0
    extended = await beat(vault, 4)
    assert (extended.id, extended.revision) == (row.id, 1)
    assert read(vault) == [Shown(0, 4, A)]
    assert await vault.seal_slot(whole=True) == 2
    assert read(vault) == [Shown(0, 4, A)]


async def test_a_long_event_does_not_hold_others_back(vault: Vault) -> None:
    """One bucket's open event stays while hundreds of another's are sealed."""
    await bucket(vault, "afk")
    await beat(vault, 0, 0, name="afk", pulsetime=100_000)
    for at in range(50):
        await beat(vault, at * 10, 0, b'{"t":%d}' % at)
        await beat(vault, at * 10, 0, name="afk", pulsetime=100_000)
    await vault.seal_now()
    assert vault.facts().journal_events == 2
    assert vault.facts().sealed_events == 49
    assert read(vault, "afk") == [Shown(0, 490, A)]
    assert vault.count("b") == 50


async def test_sealing_changes_nothing_that_is_shown(vault: Vault) -> None:
    """Contents before, after, and after sealing again with nothing to seal."""
    await bucket(vault, "web", "web.tab.current")
    await insert(vault, *((at, 1, b'{"n":%d}' % at) for at in range(300)))
    await insert(vault, *((at, 1, b'{"u":%d}' % at) for at in range(30)), name="web")
    await beat(vault, 1_000)
    before = contents(vault)
    assert await vault.seal_now() == 2
    assert contents(vault) == before
    assert await vault.seal_now() == 0
    assert contents(vault) == before


async def test_web_events_have_records_of_their_own(vault: Vault) -> None:
    """No record holds events of a web bucket and of another."""
    await bucket(vault, "web", "web.tab.current")
    await insert(vault, (0, 1, A), (1, 1, A))
    await insert(vault, (0, 1, B), (1, 1, B), name="web")
    assert await vault.seal_now() == 2
    with vault.database.reading() as tx:
        payloads = [
            vault.keys.open_payload(record)
            for record in vault.store.read_within(
                tx,
                vault.keys.account_id,
                vault.keys.client_id,
                start=Seq(0),
                bytes_max=1 << 20,
            )
        ]
    held = [
        {text for _, table in payload.zones for text in table.texts}
        for payload in payloads
    ]
    assert sorted(held, key=sorted) == [{A}, {B}]


async def test_a_large_journal_is_sealed_before_the_answer(vault: Vault) -> None:
    """The request that passes the limit of events, or of bytes, seals."""
    count = JOURNAL_EVENTS_MAX
    await vault.insert_rows(
        "b",
        NewRows(
            starts=[us(at) for at in range(count)],
            durations=[0] * count,
            texts=[A] * count,
        ),
    )
    assert vault.facts().records >= 1
    assert vault.facts().journal_events == 0
    records = vault.facts().records
    # Digits that do not compress below the limit of bytes.
    digits = random.Random(1).randbytes(JOURNAL_BYTES_WORTH).hex().encode()
    for at in range(8):
        part = digits[at * JOURNAL_BYTES_WORTH // 4 :][: JOURNAL_BYTES_WORTH // 2]
        await insert(vault, (at, 0, b'{"x":"%s"}' % part))
    assert vault.facts().records > records
    assert vault.facts().journal_bytes < JOURNAL_BYTES_WORTH + JOURNAL_BYTES_WORTH // 2
    assert vault.count("b") == count + 8


async def test_a_seal_goes_on_without_its_caller(vault: Vault) -> None:
    """Whoever asked may be cancelled; the seal ends, and the next one works."""
    await insert(vault, (0, 1, A), (1, 1, B))
    asked = asyncio.create_task(vault.seal_now())
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await insert(vault, (2, 1, A), (3, 1, B))
    await vault.seal_now()
    assert vault.facts().journal_events == 0
    assert [row.start for row in read(vault)] == [0, 1, 2, 3]


async def test_heartbeats_during_a_seal_are_kept(tmp_path: Path) -> None:
    """An event that is being sealed is extended by a revision, and is one event."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async with await open_vault(tmp_path / "v") as vault:
        await bucket(vault)
        await insert(vault, (0, 1, A), (1, 1, B), (100, 10, A))
        sealing = asyncio.create_task(vault.seal_now())
        rows = [await beat(vault, 110 + at, 1) for at in range(20)]
        reached.set()
        go_on.set()
        await sealing
        assert {row.id for row in rows} == {rows[0].id}
        expected = [Shown(0, 1, A), Shown(1, 1, B), Shown(100, 30, A)]
        assert read(vault) == expected
        await vault.seal_now()
        assert read(vault) == expected
    async with await open_vault(tmp_path / "v") as vault:
        assert read(vault) == expected


async def test_a_row_replaced_during_a_seal_is_not_lost(tmp_path: Path) -> None:
    """A row is frozen when a seal begins: what comes then is a row of its own."""
    loop = asyncio.get_running_loop()
    beats: list[asyncio.Task[object]] = []

    def step(name: str) -> None:
        if name == "collected":
            # On the loop, between the choice of rows and their sealing.
            beats.append(loop.create_task(beat(vault, 112, 3)))

    composition = replace(COMPOSITION, step=step)
    async with await open_vault(tmp_path / "v", composition=composition) as vault:
        await bucket(vault)
        await beat(vault, 100, 10)
        await bucket(vault, "c")
        # Not the newest any more, so closed; then the newest again.
        (later,) = await insert(vault, (900, 0, B))
        await vault.delete_event("b", later)
        await vault.seal_now()
        assert len(beats) == 1
        await beats[0]
        assert read(vault) == [Shown(100, 15, A)]
    async with await open_vault(tmp_path / "v") as vault:
        assert read(vault) == [Shown(100, 15, A)]


async def test_seals_at_the_same_time_take_turns(vault: Vault) -> None:
    """Ten seals asked for at once make a record each at most, without a gap."""
    for at in range(5):
        await insert(vault, (at, 0, A), (at, 0, B))
    made = await asyncio.gather(*(vault.seal_now() for _ in range(10)))
    assert sum(made) == vault.facts().records == 1
    assert vault.count("b") == 10


async def test_event_numbers_never_come_again(tmp_path: Path) -> None:
    """Not after a seal, a deletion and restarts, whatever was last."""
    seen: set[int] = set()
    for generation in range(5):
        async with await open_vault(tmp_path / "v") as vault:
            if not generation:
                await bucket(vault)
            numbers = await insert(vault, (0, 0, A), (1, 0, B))
            assert not seen & set(numbers)
            seen |= set(numbers)
            await vault.delete_event("b", numbers[1])
            if generation % 2:
                await vault.seal_now()
    assert len(seen) == 10


async def test_buckets_do_not_pile_up_in_the_journal(vault: Vault) -> None:
    """Making many buckets with much data seals too, before the answer."""
    digits = random.Random(2).randbytes(30_000).hex().encode()
    for at in range(12):
        data = b'{"x":"%s"}' % digits[at:]
        assert await vault.create_bucket(f"bucket-{at}", type="t", data=data)
    assert vault.facts().records >= 1
    assert vault.facts().journal_bytes <= JOURNAL_BYTES_WORTH + 64 * 1024
    assert len(vault.buckets()) == 13


async def test_many_buckets_at_once_fit_into_records(vault: Vault) -> None:
    """More bucket data than a record takes goes into several."""
    generator = random.Random(4)
    made = await asyncio.gather(
        *(
            vault.create_bucket(
                f"bucket-{at}",
                type="web.tab.current" if at % 2 else "t",
                data=b'{"x":"%s"}' % generator.randbytes(30_000).hex().encode(),
            )
            for at in range(80)
        )
    )
    assert all(made)
    before = contents(vault)
    await vault.seal_now()
    assert vault.facts().journal_rows == 0
    assert contents(vault) == before


@pytest.mark.parametrize(
    ("events", "chars"), [(9_000, 2_000), (90, 200_000), (3, 262_000)]
)
async def test_large_data_in_one_request(
    tmp_path: Path, events: int, chars: int
) -> None:
    """Events of any allowed size are taken by thousands, and sealed."""
    digits = random.Random(6).randbytes(chars).hex().encode()
    texts = [b'{"n":%d,"x":"%s"}' % (at, digits[at:][:chars]) for at in range(events)]
    async with await open_vault(tmp_path / "v") as vault:
        await bucket(vault)
        numbers = await vault.insert_rows(
            "b",
            NewRows(
                starts=[us(at) for at in range(events)],
                durations=[0] * events,
                texts=texts,
            ),
        )
        assert vault.count("b") == events
    async with await open_vault(tmp_path / "v") as vault:
        await vault.seal_now()
        assert vault.facts().journal_events == 0
        table = vault.read("b", order="oldest")
        assert table.id.tolist() == list(numbers)
        assert [table.texts[at] for at in table.data.tolist()] == texts


async def test_a_journal_of_any_size_is_sealed(vault: Vault) -> None:
    """More than one transaction takes goes into several, nothing left behind."""
    generator = random.Random(8)

    async def one(name: str) -> None:
        text = generator.randbytes(100_000).hex().encode()
        await insert(
            vault,
            *((at, 0, b'{"n":%d,"x":"%s"}' % (at, text[at:])) for at in range(60)),
            name=name,
        )

    for name in "cdef":
        await bucket(vault, name)
    await asyncio.gather(*(one(name) for name in "bcdef"))
    before = {name: vault.count(name) for name in vault.buckets()}
    await vault.seal_now()
    assert vault.facts().journal_events == 0
    assert {name: vault.count(name) for name in vault.buckets()} == before
