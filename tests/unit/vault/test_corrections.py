"""Corrections and tombstones: the view changes, the log only grows."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from awvault.errors import BucketNotFoundError, InvalidInputError
from awvault.testing import open_vault
from awvault.vault import Vault
from tests.helpers.vaults import (
    A,
    B,
    Shown,
    bucket,
    contents,
    correct,
    ids,
    insert,
    read,
    seal_all,
    shown,
    us,
)

C = b'{"app":"c"}'

Between = Callable[[Vault], Awaitable[object]]


async def _nothing(_: Vault) -> None:
    pass


# Where the rows lie between two revisions must make no difference.
anywhere = pytest.mark.parametrize(
    "between",
    [pytest.param(_nothing, id="journal"), pytest.param(seal_all, id="sealed")],
)


@pytest.fixture
async def three(vault: Vault) -> list[int]:
    """The ids of three events, at 0, 100 and 200 s."""
    return await insert(vault, (0, 10, A), (100, 10, A), (200, 10, A))


@anywhere
async def test_a_correction_replaces_what_is_shown(
    vault: Vault, three: list[int], between: Between
) -> None:
    """Times and data are the corrected ones, the id stays, the count too."""
    await between(vault)
    row = await correct(vault, three[1], 101, 20, B)
    assert row is not None
    assert (row.id, row.revision) == (three[1], 1)
    await between(vault)
    assert read(vault) == [Shown(0, 10, A), Shown(101, 20, B), Shown(200, 10, A)]
    assert vault.count("b") == 3
    found = vault.event("b", three[1])
    assert found is not None
    assert (found.start, found.text) == (us(101), B)


@anywhere
async def test_the_last_of_many_corrections_counts(
    vault: Vault, three: list[int], between: Between
) -> None:
    """Each revision is one higher, and only the highest is seen."""
    for revision in range(1, 5):
        await between(vault)
        row = await correct(vault, three[0], revision, 0, b'{"r":%d}' % revision)
        assert row is not None
        assert row.revision == revision
    await between(vault)
    assert read(vault)[0] == Shown(4, 0, b'{"r":4}')
    assert vault.count("b") == 3


@anywhere
async def test_a_correction_may_move_an_event_out_of_a_range(
    vault: Vault, three: list[int], between: Between
) -> None:
    """It is found at its new time only, by reading and by counting."""
    await between(vault)
    await correct(vault, three[1], 5_000, 1, B)
    await between(vault)
    assert ids(vault.read("b", start=us(50), end=us(150))) == []
    assert vault.count("b", start=us(50), end=us(150)) == 0
    assert ids(vault.read("b", start=us(4_000), end=us(6_000))) == [three[1]]
    assert vault.count("b", start=us(4_000), end=us(6_000)) == 1
    assert ids(vault.read("b", limit=1)) == [three[1]]


@anywhere
async def test_a_deleted_event_is_gone_from_view(
    vault: Vault, three: list[int], between: Between
) -> None:
    """Read, count and event agree, and a second deletion finds nothing."""
    await between(vault)
    assert await vault.delete_event("b", three[1])
    await between(vault)
    assert ids(vault.read("b", order="oldest")) == [three[0], three[2]]
    assert vault.count("b") == 2
    assert vault.event("b", three[1]) is None
    assert not await vault.delete_event("b", three[1])
    assert await correct(vault, three[1], 0, 0, A) is None
    assert ids(vault.read("b", limit=2)) == [three[2], three[0]]


@anywhere
async def test_a_corrected_event_can_be_deleted(
    vault: Vault, three: list[int], between: Between
) -> None:
    """The tombstone is above the correction."""
    await correct(vault, three[2], 300, 1, B)
    await between(vault)
    assert await vault.delete_event("b", three[2])
    await between(vault)
    assert ids(vault.read("b", order="oldest")) == three[:2]


async def test_what_does_not_exist_cannot_be_changed(
    vault: Vault, three: list[int]
) -> None:
    """An unknown id, or one of another bucket, is no event of this one."""
    await bucket(vault, "c")
    for event_id in (three[0], three[2] + 1, 0, -1, 2**62):
        assert await correct(vault, event_id, 0, 0, B, name="c") is None
        assert not await vault.delete_event("c", event_id)
        assert vault.event("c", event_id) is None
    assert len(read(vault)) == 3
    with pytest.raises(BucketNotFoundError) as caught:
        await correct(vault, three[0], 0, 0, B, name="nowhere")
    assert caught.value.bucket_id == "nowhere"


async def test_a_bad_correction_changes_nothing(vault: Vault, three: list[int]) -> None:
    """Data that is no object, or times out of range, are refused."""
    for text in (b"[]", b"1", b'{"a":NaN}', b"{", b'{"a":1e400}'):
        with pytest.raises(InvalidInputError):
            await correct(vault, three[0], 0, 0, text)
    with pytest.raises(InvalidInputError):
        await vault.correct("b", three[0], start=10**18, duration=0, text=A)
    found = vault.event("b", three[0])
    assert found is not None
    assert found.revision == 0


async def test_a_reopened_vault_shows_the_same(tmp_path: Path) -> None:
    """Corrections and tombstones, in journal and records, survive a restart."""
    async with await open_vault(tmp_path / "v") as vault:
        await bucket(vault)
        numbers = await insert(vault, *((at, 1, A) for at in range(20)))
        for at in range(0, 20, 3):
            await correct(vault, numbers[at], at + 0.5, 2, B)
        for at in range(0, 20, 4):
            await vault.delete_event("b", numbers[at])
        await vault.seal_now()
        for at in range(1, 20, 5):
            await correct(vault, numbers[at], at, 3, C)
        await vault.delete_event("b", numbers[1])
        before = contents(vault)
        assert len(before["b"][1]) == 14
    async with await open_vault(tmp_path / "v") as vault:
        assert contents(vault) == before
        await vault.seal_now()
        assert contents(vault) == before
    async with await open_vault(tmp_path / "v") as vault:
        assert contents(vault) == before


async def test_the_log_keeps_what_was_corrected(vault: Vault, three: list[int]) -> None:
    """No row is taken back: each revision and tombstone is one more sealed row."""
    await correct(vault, three[0], 0, 0, B)
    await vault.delete_event("b", three[1])
    assert vault.facts().journal_events == 5
    await insert(vault, (900, 0, A), (901, 0, A))
    await vault.seal_now()
    assert vault.facts().sealed_events >= 6


async def test_a_reader_sees_one_version(vault: Vault, three: list[int]) -> None:
    """A table that was read before a correction is what it was."""
    before = vault.read("b", order="oldest")
    seen = shown(before)
    await correct(vault, three[0], 50, 5, B)
    await vault.delete_event("b", three[1])
    await vault.seal_now()
    assert shown(before) == seen
