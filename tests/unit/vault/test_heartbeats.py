"""The merge rule of heartbeats: ActivityWatch's, without its faults."""

from pathlib import Path

import pytest

from awvault.errors import BucketNotFoundError, InvalidInputError
from awvault.incoming import PULSETIME_US_MAX
from awvault.testing import open_vault
from awvault.vault import Vault
from tests.helpers.vaults import (
    SECOND,
    A,
    B,
    Shown,
    beat,
    bucket,
    correct,
    insert,
    read,
    us,
)

# The event before is always [100, 110] with the data A; the pulsetime is 5.
MERGED = [
    pytest.param(110, 0, A, (100, 10), id="at its end"),
    pytest.param(112, 0, A, (100, 12), id="within the pulsetime"),
    pytest.param(115, 0, A, (100, 15), id="just at the pulsetime"),
    pytest.param(115, 7, A, (100, 22), id="its own duration counts"),
    pytest.param(104, 3, A, (100, 10), id="shorter: nothing is shortened"),
    pytest.param(104, 30, A, (100, 34), id="begins inside, ends later"),
    pytest.param(100, 0, A, (100, 10), id="at its start"),
    pytest.param(100, 12, A, (100, 12), id="the same start, longer"),
    pytest.param(112, 0, b'{ "app" : "a" }', (100, 12), id="other spaces"),
]

APART = [
    pytest.param(115.000001, 0, A, id="one microsecond too late"),
    pytest.param(99.999999, 0, A, id="one microsecond too early"),
    pytest.param(112, 0, B, id="other data"),
    pytest.param(112, 0, b"{}", id="no data"),
    pytest.param(50, 100, A, id="begins before, though it covers it"),
]


@pytest.mark.parametrize("sealed", [False, True], ids=["in the journal", "sealed"])
@pytest.mark.parametrize(("start", "duration", "text", "whole"), MERGED)
async def test_a_heartbeat_extends_the_last_event(
    vault: Vault,
    start: float,
    duration: float,
    text: bytes,
    whole: tuple[float, float],
    sealed: bool,
) -> None:
    """A heartbeat with equal data inside [start, end + pulsetime] extends it."""
    if sealed:
        event_id, _ = await insert(vault, (100, 10, A), (0, 1, B))
        assert await vault.seal_now() == 1
        assert vault.facts().journal_events == 0
    else:
        event_id = (await beat(vault, 100, 10)).id
    row = await beat(vault, start, duration, text)
    assert row.id == event_id
    assert (row.start, row.duration) == (us(whole[0]), round(whole[1] * SECOND))
    assert Shown(*whole, A) in read(vault)
    assert len(read(vault)) == (2 if sealed else 1)


@pytest.mark.parametrize(("start", "duration", "text"), APART)
async def test_a_heartbeat_apart_is_an_event_of_its_own(
    vault: Vault, start: float, duration: float, text: bytes
) -> None:
    """Other data, or a start outside the range, makes a new event."""
    first = await beat(vault, 100, 10)
    row = await beat(vault, start, duration, text)
    assert row.id != first.id
    assert sorted(read(vault)) == sorted(
        [Shown(100, 10, A), Shown(start, duration, text)]
    )


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (b'{"a":1,"b":2}', b'{"b":2,"a":1}', True),
        (b'{"a":1}', b'{"a":1.0}', True),
        (b'{"a":{"x":[1,2]}}', b'{"a":{"x":[1.0,2]}}', True),
        (b'{"a":"\\u00e9"}', '{"a":"é"}'.encode(), True),
        (b'{"a":1}', b'{"a":true}', False),
        (b'{"a":0}', b'{"a":null}', False),
        (b'{"a":[1,2]}', b'{"a":[2,1]}', False),
        (b'{"a":"1"}', b'{"a":1}', False),
        (b'{"a":9007199254740993}', b'{"a":9007199254740992}', False),
    ],
)
async def test_data_is_compared_by_value(
    vault: Vault, one: bytes, other: bytes, equal: bool
) -> None:
    """Key order and the spelling of a number do not matter; types do."""
    await beat(vault, 100, 10, one)
    await beat(vault, 111, 0, other)
    assert len(read(vault)) == (1 if equal else 2)


async def test_pulsetime_zero_merges_only_what_touches(vault: Vault) -> None:
    """With pulsetime 0 the end itself still merges, a microsecond later not."""
    await beat(vault, 100, 10, pulsetime=0)
    await beat(vault, 110, 1, pulsetime=0)
    assert read(vault) == [Shown(100, 11, A)]
    await beat(vault, 111.000001, 0, pulsetime=0)
    assert len(read(vault)) == 2


async def test_an_older_heartbeat_is_inserted_and_becomes_the_last(
    vault: Vault,
) -> None:
    """As ActivityWatch has it, so the next one in order begins a new event."""
    first = await beat(vault, 100, 10)
    older = await beat(vault, 20, 1)
    assert older.id != first.id
    again = await beat(vault, 112)
    assert again.id not in {first.id, older.id}
    assert read(vault) == [Shown(20, 1, A), Shown(100, 10, A), Shown(112, 0, A)]


async def test_an_older_heartbeat_is_not_what_was_last_updated(vault: Vault) -> None:
    """The end of the newest event stays what it is when an older one comes."""
    await beat(vault, 100, 10)
    await beat(vault, 20, 1, B)
    assert vault.last_updated("b") == us(110)


async def test_an_inserted_event_is_never_overwritten(vault: Vault) -> None:
    """An event that came by insert in between keeps its data, and merging stops."""
    first = await beat(vault, 100, 10)
    (inserted,) = await insert(vault, (111, 1, B))
    third = await beat(vault, 112, 0)
    assert len({first.id, inserted, third.id}) == 3
    assert read(vault) == [Shown(100, 10, A), Shown(111, 1, B), Shown(112, 0, A)]


async def test_an_inserted_event_is_extended_by_id(vault: Vault) -> None:
    """A heartbeat may extend an inserted event, and another insert is left alone."""
    inserted = await insert(vault, (100, 10, A), (90, 1, B))
    row = await beat(vault, 112, 0)
    assert row.id == inserted[0]
    assert read(vault) == [Shown(90, 1, B), Shown(100, 12, A)]


async def test_an_event_deleted_is_not_extended(vault: Vault) -> None:
    """After the last event was deleted, the next heartbeat makes a new one."""
    first = await beat(vault, 100, 10)
    assert await vault.delete_event("b", first.id)
    row = await beat(vault, 112, 0)
    assert row.id != first.id
    assert read(vault) == [Shown(112, 0, A)]


async def test_a_corrected_event_is_extended_as_it_is_now(vault: Vault) -> None:
    """After a correction the heartbeat compares with the corrected event."""
    first = await beat(vault, 100, 10)
    assert await correct(vault, first.id, 100, 10, B)
    row = await beat(vault, 112, 0, B)
    assert row.id == first.id
    assert read(vault) == [Shown(100, 12, B)]
    other = await beat(vault, 113, 0, A)
    assert other.id != first.id


async def test_a_made_again_bucket_has_no_last_event(vault: Vault) -> None:
    """The last event of a hidden bucket is not extended in its successor."""
    await beat(vault, 100, 10)
    await vault.hide_bucket("b")
    with pytest.raises(BucketNotFoundError):
        await beat(vault, 111)
    await bucket(vault)
    await beat(vault, 111)
    assert read(vault) == [Shown(111, 0, A)]


async def test_buckets_do_not_mix(vault: Vault) -> None:
    """Each bucket has its own last event."""
    await bucket(vault, "c")
    await beat(vault, 100, 10)
    await beat(vault, 101, 10, name="c")
    await beat(vault, 111)
    await beat(vault, 112, name="c")
    assert read(vault) == [Shown(100, 11, A)]
    assert read(vault, "c") == [Shown(101, 11, A)]


async def test_a_heartbeat_goes_on_after_a_restart(tmp_path: Path) -> None:
    """The newest event is extended by whoever opens the vault next."""
    async with await open_vault(tmp_path / "v") as vault:
        await bucket(vault)
        first = await beat(vault, 100, 10)
    async with await open_vault(tmp_path / "v") as vault:
        row = await beat(vault, 112)
        assert row.id == first.id
        assert row.revision == first.revision, "an open event is replaced in place"
        assert vault.facts().journal_events == 1
        assert read(vault) == [Shown(100, 12, A)]


async def test_an_open_event_stays_one_journal_row(vault: Vault) -> None:
    """A hundred heartbeats of one event are one row, not a hundred."""
    for second in range(100):
        await beat(vault, second, 0)
    assert vault.facts().journal_events == 1
    assert read(vault) == [Shown(0, 99, A)]


async def test_a_sealed_event_is_extended_by_a_revision(tmp_path: Path) -> None:
    """What lies in a record stays there; the longer event is a new revision."""
    async with await open_vault(tmp_path / "v") as vault:
        await bucket(vault)
        event_id, _ = await insert(vault, (100, 10, A), (0, 1, B))
        assert await vault.seal_now() == 1
        assert vault.facts().journal_events == 0
        first = await beat(vault, 112)
        second = await beat(vault, 114)
        assert first.id == second.id == event_id
        assert first.revision == second.revision == 1, "extended in place again"
        assert vault.facts().journal_events == 1
        await insert(vault, (200, 1, B), (201, 1, B))
        assert await vault.seal_now() == 1
        third = await beat(vault, 218)
        assert third.id != event_id, "the newest is B now"
        expected = [
            Shown(0, 1, B),
            Shown(100, 14, A),
            Shown(200, 1, B),
            Shown(201, 1, B),
            Shown(218, 0, A),
        ]
        assert read(vault) == expected
        assert vault.count("b") == 5
    async with await open_vault(tmp_path / "v") as vault:
        assert read(vault) == expected
        assert vault.count("b") == 5


async def test_an_extension_is_sealed_and_extended_again(vault: Vault) -> None:
    """Revision upon revision, each in a record of its own, is one event."""
    row = await beat(vault, 0, 1)
    for round_ in range(1, 6):
        # A newer event closes it; deleted, it leaves the way free again.
        (newer,) = await insert(vault, (500 + round_, 1, B))
        assert await vault.delete_event("b", newer)
        assert await vault.seal_now() == 1
        longer = await beat(vault, round_, 1)
        assert (longer.id, longer.revision) == (row.id, round_)
    assert read(vault) == [Shown(0, 6, A)]


async def test_a_heartbeat_with_nothing_new_changes_nothing(vault: Vault) -> None:
    """One that lies inside the event is answered with the event as it is."""
    first = await beat(vault, 100, 10)
    again = await beat(vault, 103, 1)
    assert again == first
    assert read(vault) == [Shown(100, 10, A)]


@pytest.mark.parametrize(
    ("field", "start", "duration", "pulsetime"),
    [
        ("duration", us(0), -2, 0),
        ("timestamp", -(10**18), 0, 0),
        ("timestamp", 10**18, 0, 0),
        ("duration", us(0), 10**18, 0),
        ("pulsetime", us(0), 0, -1),
        ("pulsetime", us(0), 0, PULSETIME_US_MAX + 1),
    ],
)
async def test_times_that_cannot_be_are_refused(
    vault: Vault, field: str, start: int, duration: int, pulsetime: int
) -> None:
    """The error names the field, and nothing is stored."""
    with pytest.raises(InvalidInputError) as caught:
        await vault.heartbeat(
            "b", start=start, duration=duration, text=A, pulsetime_us=pulsetime
        )
    assert caught.value.field == field
    assert read(vault) == []
