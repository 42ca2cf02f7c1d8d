"""When records are made, and how small: what their times and sizes tell a host."""

import random

from awserver.records import SealedRecord, Seq
from awvault.columns.payload import Payload
from awvault.crypto.committing import TAG_BYTES
from awvault.crypto.padding import FLOOR_LOCAL_BYTES, FLOOR_REMOTE_BYTES
from awvault.incoming import NewRows
from awvault.sealer import JOURNAL_EVENTS_MAX, SEAL_EVENTS
from awvault.sealing import LIVE, LIVE_SECONDS, RECORD_TEXT_BYTES_MAX, SLOTS
from awvault.vault import Vault
from tests.helpers.vaults import A, B, beat, bucket, contents, insert, us


async def records(vault: Vault) -> list[SealedRecord]:
    return await vault.store.read(
        vault.keys.account_id, vault.keys.client_id, start=Seq(0)
    )


async def payloads(vault: Vault) -> list[Payload]:
    return [vault.keys.open_payload(record) for record in await records(vault)]


async def insert_many(vault: Vault, count: int, *, first: int = 0) -> None:
    await vault.insert_rows(
        "b",
        NewRows(
            starts=[us(first + at) for at in range(count)],
            durations=[0] * count,
            texts=[A] * count,
        ),
    )


async def test_an_idle_slot_makes_two_records_of_the_smallest_size(
    vault: Vault,
) -> None:
    """A host sees the same as in an hour of work: two records of one size."""
    vault.plan_seals(SLOTS)
    await vault.seal_slot()
    before = len(await records(vault))

    assert await vault.seal_slot() == 2

    idle = (await records(vault))[before:]
    assert [record.header.body_bytes for record in idle] == [
        FLOOR_REMOTE_BYTES + TAG_BYTES
    ] * 2
    assert all(not payload.zones for payload in (await payloads(vault))[before:])

    await bucket(vault, "web", "web.tab.current")
    await insert(vault, (0, 1, A), (1, 1, A))
    await insert(vault, (0, 1, B), (1, 1, B), name="web")
    assert await vault.seal_slot() == 2
    busy = (await records(vault))[before + 2 :]
    assert [record.header.body_bytes for record in busy] == [
        record.header.body_bytes for record in idle
    ]


async def test_the_second_record_of_a_slot_is_that_of_web_pages(vault: Vault) -> None:
    """Each of the two may be empty, and their order never changes."""
    await bucket(vault, "web", "web.tab.current")
    await vault.seal_now()
    before = len(await records(vault))
    await insert(vault, (0, 1, B), (1, 1, B), name="web")
    await vault.seal_slot()
    await insert(vault, (0, 1, A), (1, 1, A))
    await vault.seal_slot()

    held = [
        [text for _, table in payload.zones for text in table.texts]
        for payload in (await payloads(vault))[before:]
    ]

    assert held == [[], [B], [A], []]


async def test_an_open_event_waits_for_its_end(vault: Vault) -> None:
    """A slot takes what is closed; what is shown stays as it is."""
    vault.plan_seals(SLOTS)
    await beat(vault, 0)
    await beat(vault, 100)
    before = contents(vault)

    assert await vault.seal_slot() == 2

    assert contents(vault) == before
    assert vault.facts().journal_events == 1
    assert (await beat(vault, 103)).revision == 0


async def test_between_slots_nothing_is_sealed(vault: Vault) -> None:
    """However much comes: but a journal at its limit is sealed, and none is lost."""
    vault.plan_seals(SLOTS)
    await vault.seal_slot()
    before = len(await records(vault))
    await insert_many(vault, SEAL_EVENTS * 2)
    await vault._sealer.after_write()
    assert not vault._sealer._wanted.is_set()
    assert not vault._sealer._is_due()
    assert len(await records(vault)) == before

    await insert_many(vault, JOURNAL_EVENTS_MAX - SEAL_EVENTS * 2, first=10_000)

    assert len(await records(vault)) > before
    assert vault.facts().journal_events == 0
    assert vault.count("b") == JOURNAL_EVENTS_MAX


async def test_a_slot_that_does_not_fit_makes_more_records(vault: Vault) -> None:
    """Nothing waits for the next slot."""
    vault.plan_seals(SLOTS)
    digits = random.Random(1).randbytes(RECORD_TEXT_BYTES_MAX).hex().encode()
    eighth = len(digits) // 8
    for at in range(8):
        part = digits[at * eighth : (at + 1) * eighth]
        await insert(vault, (at, 1, b'{"x":"%s"}' % part), (at, 1, A))
    assert vault.facts().records == 0

    assert await vault.seal_slot() > 2

    assert vault.facts().journal_events == 0
    assert vault.count("b") == 16


async def test_live_seals_by_the_clock(vault: Vault) -> None:
    """What is closed, however little, a quarter of an hour after the last time."""
    vault.plan_seals(LIVE)
    await insert(vault, (0, 1, A), (1, 1, B))
    assert not vault._sealer._is_due()

    vault._sealer._sealed_at -= LIVE_SECONDS

    assert vault._sealer._is_due()
    assert await vault.seal_now() == 1
    assert not vault._sealer._is_due()
    (record,) = await records(vault)
    assert record.header.body_bytes == FLOOR_LOCAL_BYTES + TAG_BYTES
    vault._sealer._sealed_at -= LIVE_SECONDS
    assert not vault._sealer._is_due(), "there is nothing to seal"


async def test_whoever_uploads_is_told_of_new_records(vault: Vault) -> None:
    """Once they are on disk, and not where there are none."""
    told: list[int] = []
    vault.call_when_sealed(lambda: told.append(vault.facts().records))
    await insert(vault, (0, 1, A), (1, 1, B))

    await vault.seal_now()
    await vault.seal_now()
    await vault.seal_slot()

    assert told == [1, 3]


async def test_every_record_says_which_document_its_client_knew(vault: Vault) -> None:
    """Also one that has no events."""
    await vault.seal_slot()
    await insert(vault, (0, 1, A), (1, 1, B))
    await vault.seal_now()

    assert {payload.document for payload in await payloads(vault)} == {vault.keys.pin}
