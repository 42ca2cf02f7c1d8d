"""The history of a bucket: every row that was ever stored, and what it did."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from awvault.history import read_history
from awvault.vault import Vault
from tests.helpers.clients import Account, account_of, exchange
from tests.helpers.vaults import A, B, beat, bucket, correct, insert, us

Clients = tuple[Account, Vault, Vault]


def history(
    vault: Vault, *, start: float | None = None, limit: int | None = None
) -> list[tuple[int, str, int, bool]]:
    """Return (id, change, writer, counts) of each revision."""
    return [
        (r.row.id, r.change.value, r.client_number, r.counts)
        for r in read_history(
            vault.view("b"),
            start=None if start is None else us(start),
            end=None,
            limit=limit,
        )
    ]


@pytest.mark.parametrize("sealed", [False, True])
async def test_every_revision_is_listed(vault: Vault, sealed: bool) -> None:
    """Originals, corrections and deletions, by event, the newest event first."""
    mine = vault.keys.client_number
    old, edited, gone = await insert(vault, (0, 1, A), (10, 1, A), (20, 1, A))
    if sealed:
        await vault.seal_now(whole=True)
    await correct(vault, edited, 11, 1, B)
    if sealed:
        await vault.seal_now(whole=True)
    await correct(vault, edited, 11, 2, A)
    assert await vault.delete_event("b", gone)

    assert history(vault) == [
        (gone, "original", mine, False),
        (gone, "deletion", mine, True),
        (edited, "original", mine, False),
        (edited, "correction", mine, False),
        (edited, "correction", mine, True),
        (old, "original", mine, True),
    ]
    rows = [r.row for r in read_history(vault.view("b"), start=None, end=None, limit=2)]
    assert [row.id for row in rows] == [gone] * 2 + [edited] * 3
    assert (rows[2].text, rows[3].text) == (A, B)
    assert history(vault, start=15)[0][0] == gone
    assert history(vault, start=15, limit=1) == history(vault, limit=1)
    assert history(vault, limit=0) == []
    # A range is met by any revision: the original of the edited event ends at 11.
    assert {i for i, *_ in history(vault, start=12.5)} == {edited, gone}


async def test_what_a_heartbeat_does_to_a_sealed_event_is_an_extension(
    vault: Vault,
) -> None:
    """Before it is sealed an event is extended in place, later by a revision."""
    mine = vault.keys.client_number
    await beat(vault, 0)
    row = await beat(vault, 3)
    assert history(vault) == [(row.id, "original", mine, True)]
    await vault.seal_now(whole=True)

    await beat(vault, 5)

    assert history(vault) == [
        (row.id, "original", mine, False),
        (row.id, "extension", mine, True),
    ]


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    async with account_of(tmp_path) as (account, first):
        second = await account.join("lap")
        await account.adopt(first)
        yield account, first, second


async def test_it_says_which_client_wrote_what(clients: Clients) -> None:
    """Of two corrections made at once both are there, and one counts."""
    _, first, second = clients
    await bucket(first)
    (number,) = await insert(first, (0, 1, A))
    await exchange(first, second)
    await correct(first, number, 5, 1, A)
    await correct(second, number, 7, 1, B)
    await exchange(first, second)
    one, two = first.keys.client_number, second.keys.client_number

    expected = [
        (number, "original", one, False),
        (number, "correction", one, False),
        (number, "correction", two, True),
    ]
    assert history(first) == expected
    assert history(second) == expected
    assert first.client_label(two)
