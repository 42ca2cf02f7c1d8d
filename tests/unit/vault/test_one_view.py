"""The logs of several clients, shown as one history."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from awvault.errors import BucketNotFoundError
from awvault.vault import Vault
from tests.helpers.clients import Account, account_of, exchange, pull, seal_whole
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

Clients = tuple[Account, Vault, Vault]


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    """An account, its first client, and a second one called `lap`."""
    async with account_of(tmp_path) as (account, first):
        second = await account.join("lap")
        await account.adopt(first)
        yield account, first, second


def label_of_first(vault: Vault) -> str:
    return vault._durable.current.labels[1]


async def test_another_clients_bucket_is_shown_with_its_events(
    clients: Clients,
) -> None:
    """A bucket that one client alone has keeps its name, and says whose it is."""
    _, first, second = clients
    await bucket(first, "desk")
    await insert(first, (0, 1, A), (10, 2, B), name="desk")

    await exchange(first, second)

    assert read(second, "desk") == [Shown(0, 1, A), Shown(10, 2, B)]
    described = second.bucket("desk")
    assert not described.own
    assert described.client_label == label_of_first(second)
    assert first.bucket("desk").own
    assert second.facts().records == 1


async def test_the_view_is_the_same_after_a_start(clients: Clients) -> None:
    """What was accepted is on disk, with its index."""
    account, first, second = clients
    await bucket(first)
    await bucket(second)
    for vault in (first, second):
        numbers = await insert(vault, (0, 1, A), (1, 1, B), (2, 1, A))
        await correct(vault, numbers[0], 5, 5, B)
        await vault.delete_event("b", numbers[1])
    await exchange(first, second)
    before = contents(second), second.replica.heads(), second.replica.mentions()
    path = second.database.path.parent
    await second.close()

    again = await account.open(path)

    assert (contents(again), again.replica.heads(), again.replica.mentions()) == before


async def test_a_shared_name_is_told_apart_by_the_client(clients: Clients) -> None:
    """A client's own bucket keeps the name, on each client."""
    _, first, second = clients
    await bucket(first)
    await bucket(second)
    await insert(first, (0, 1, A))
    await insert(second, (0, 1, B))

    await exchange(first, second)

    other = f"b-synced-from-{label_of_first(second)}"
    assert read(first) == [Shown(0, 1, A)]
    assert read(first, "b-synced-from-lap") == [Shown(0, 1, B)]
    assert sorted(first.buckets()) == ["b", "b-synced-from-lap"]
    assert read(second) == [Shown(0, 1, B)]
    assert read(second, other) == [Shown(0, 1, A)]
    assert second.bucket(other).id == other


async def test_a_name_that_two_others_share_is_told_apart_for_a_third(
    clients: Clients,
) -> None:
    """Labels that are alike get a number, by the order in which clients were added."""
    account, first, second = clients
    third = await account.join("lap")
    fourth = await account.join("odd/name ü")
    await account.adopt(first, second, third)
    for vault in (second, third, fourth):
        await bucket(vault)
    await exchange(first, second, third, fourth)

    assert sorted(first.buckets()) == [
        "b-synced-from-lap",
        "b-synced-from-lap-2",
        "b-synced-from-odd-name-ü",
    ]
    assert sorted(third.buckets()) == [
        "b",
        "b-synced-from-lap",
        "b-synced-from-odd-name-ü",
    ]
    assert first.bucket("b-synced-from-odd-name-ü").client_label == "odd/name ü"


async def test_a_made_up_name_gives_way_to_a_real_one(clients: Clients) -> None:
    """A bucket that is really called so keeps its name; the other gets a number."""
    _, first, second = clients
    await bucket(first)
    await bucket(second)
    await insert(second, (0, 1, B))
    await exchange(first, second)

    await bucket(first, "b-synced-from-lap")

    assert read(first, "b-synced-from-lap") == []
    assert read(first, "b-synced-from-lap-2") == [Shown(0, 1, B)]


async def test_making_a_bucket_looks_at_ones_own_alone(clients: Clients) -> None:
    """A watcher's bucket is made although another client has one of that name."""
    _, first, second = clients
    await bucket(first)
    await insert(first, (0, 1, A))
    await exchange(first, second)
    assert read(second) == [Shown(0, 1, A)]

    assert await second.create_bucket("b", type="test")

    assert not await second.create_bucket("b", type="test")
    assert read(second) == []
    assert read(second, f"b-synced-from-{label_of_first(second)}") == [Shown(0, 1, A)]


async def test_a_hidden_bucket_gives_its_name_back(clients: Clients) -> None:
    """Hiding one's own bucket leaves the other's under the plain name."""
    _, first, second = clients
    await bucket(first)
    await bucket(second)
    await insert(first, (0, 1, A))
    await exchange(first, second)

    await second.hide_bucket("b")

    assert read(second) == [Shown(0, 1, A)]
    assert not second.bucket("b").own


async def test_another_clients_bucket_can_be_hidden(clients: Clients) -> None:
    """It is gone everywhere, and may be made again where it came from."""
    _, first, second = clients
    await bucket(first)
    await insert(first, (0, 1, A))
    await exchange(first, second)

    await second.hide_bucket("b")
    await exchange(first, second)

    for vault in (first, second):
        with pytest.raises(BucketNotFoundError):
            vault.bucket("b")
    await bucket(first)
    await exchange(first, second)
    assert read(second) == []


async def test_another_clients_bucket_comes_back_from_anywhere(
    clients: Clients,
) -> None:
    """Beside the one that its client made meanwhile, which stays as it is."""
    _, first, second = clients
    await bucket(first)
    await insert(first, (0, 1, A))
    await exchange(first, second)
    await second.hide_bucket("b")
    await exchange(first, second)
    await bucket(first)
    await insert(first, (5, 1, B))
    await exchange(first, second)

    (number,) = second.hidden_buckets()
    assert await second.show_bucket(number) == "b-restored"
    await exchange(first, second)

    for vault in (first, second):
        assert read(vault, "b") == [Shown(5, 1, B)]
        assert read(vault, "b-restored") == [Shown(0, 1, A)]
        assert vault.hidden_buckets() == {}


async def test_a_correction_of_another_clients_event_counts_everywhere(
    clients: Clients,
) -> None:
    """Any client corrects and deletes any event."""
    _, first, second = clients
    await bucket(first)
    numbers = await insert(first, (0, 1, A), (10, 1, A), (20, 1, A))
    await exchange(first, second)

    assert await correct(second, numbers[0], 1, 2, B) is not None
    assert await second.delete_event("b", numbers[1])

    assert read(second) == [Shown(1, 2, B), Shown(20, 1, A)]
    await exchange(first, second)
    assert read(first) == [Shown(1, 2, B), Shown(20, 1, A)]
    assert first.count("b") == 2


async def test_of_two_corrections_the_higher_client_number_counts(
    clients: Clients,
) -> None:
    """Both clients show the same, and the lower number's journal row stays whole."""
    account, first, second = clients
    await bucket(first)
    (number,) = await insert(first, (0, 1, A))
    await exchange(first, second)
    await correct(first, number, 5, 1, A)
    await correct(second, number, 7, 1, B)
    await exchange(first, second)

    assert read(first) == read(second) == [Shown(7, 1, B)]
    path = second.database.path.parent
    await second.close()
    assert read(await account.open(path)) == [Shown(7, 1, B)]


async def test_a_correction_in_the_journal_is_no_copy_of_anothers(
    clients: Clients,
) -> None:
    """The same event and revision, by another client, repeats nothing."""
    account, first, second = clients
    await bucket(first)
    (number,) = await insert(first, (0, 1, A))
    await exchange(first, second)
    await correct(first, number, 5, 1, A)
    assert await seal_whole(first) == 1
    await correct(second, number, 7, 1, B)
    assert await pull(second, first) == 1
    path = second.database.path.parent
    await second.close()

    again = await account.open(path)

    assert again.facts().repeated_journal_rows == 0
    assert read(again) == [Shown(7, 1, B)]


async def test_a_heartbeat_does_not_extend_another_clients_event(
    clients: Clients,
) -> None:
    """In another client's bucket too, it begins an event of its own, and goes on."""
    _, first, second = clients
    await bucket(first)
    (number,) = await insert(first, (0, 1, A))
    await exchange(first, second)

    mine = await beat(second, 2)
    again = await beat(second, 4)

    assert mine.id != number
    assert again.id == mine.id
    assert read(second) == [Shown(0, 1, A), Shown(2, 2, A)]
    await exchange(first, second)
    later = await beat(first, 5)
    assert later.id not in {mine.id, number}


async def test_an_open_event_stays_open_while_others_come(clients: Clients) -> None:
    """Records and buckets of other clients leave what a heartbeat extends."""
    _, first, second = clients
    await bucket(second)
    opened = await beat(second, 0)
    await bucket(first)
    await bucket(first, "c")
    await insert(first, (0, 1, A))
    rows = second.facts().journal_rows

    await first.seal_now()
    await pull(second, first)

    extended = await beat(second, 3)
    assert extended.id == opened.id
    assert extended.revision == 0
    assert second.facts().journal_rows == rows


async def test_an_event_that_another_client_deleted_is_not_extended(
    clients: Clients,
) -> None:
    """The next heartbeat begins a new event, and does not bring the old one back."""
    _, first, second = clients
    await bucket(first)
    opened = await beat(first, 0)
    await exchange(first, second)
    assert await second.delete_event("b", opened.id)
    await seal_whole(second)
    await pull(first, second)

    later = await beat(first, 2)

    assert later.id != opened.id
    assert read(first) == [Shown(2, 0, A)]


async def test_own_counters_look_at_ones_own_log_alone(clients: Clients) -> None:
    """Corrections of another's events do not move one's own numbers."""
    account, first, second = clients
    await bucket(first)
    numbers = await insert(first, (0, 1, A), (1, 1, A))
    await exchange(first, second)
    await correct(second, numbers[-1], 5, 1, B)
    await exchange(first, second)
    path = first.database.path.parent
    await first.close()

    again = await account.open(path)

    (number,) = await insert(again, (50, 1, A))
    assert number == numbers[-1] + 1


async def test_a_correction_of_anothers_event_is_not_held_back(
    clients: Clients,
) -> None:
    """No heartbeat can extend it, so it is sealed with the next seal."""
    _, first, second = clients
    await bucket(first)
    (event,) = await insert(first, (0, 1, A))
    await exchange(first, second)

    assert await correct(second, event, 0, 2, B)
    assert await second.seal_now() == 1
    await pull(first, second)
    assert read(first) == [Shown(0, 2, B)]

    assert await first.delete_event("b", event)
    assert await first.seal_now(whole=True) == 1
    await pull(second, first)
    assert read(second) == []
