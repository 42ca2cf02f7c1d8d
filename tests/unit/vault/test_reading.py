"""What a range, a limit, an order and clipping select."""

import pytest

from awvault.columns.timestamps import TIME_US_MAX, TIME_US_MIN
from awvault.errors import InvalidInputError
from awvault.incoming import NewRows
from awvault.vault import BULK_ROW_EVENTS_MAX, Vault
from tests.helpers.vaults import (
    SECOND,
    A,
    B,
    Shown,
    beat,
    bucket,
    ids,
    insert,
    read,
    shown,
    us,
)

LAYOUTS = ["journal", "one record", "three records", "mixed"]


@pytest.fixture(params=LAYOUTS)
async def laid_out(
    vault: Vault, request: pytest.FixtureRequest
) -> tuple[Vault, list[int]]:
    """Six events with the same view, wherever their rows lie.

    [0,10] [20,30] [20,25] [40,-] [50,90] [60,60]
    """
    parts = [
        [(0.0, 10.0, A), (20.0, 10.0, A)],
        [(20.0, 5.0, B), (40.0, -1.0, A)],
        [(50.0, 40.0, B), (60.0, 0.0, A)],
    ]
    numbers: list[int] = []
    for at, part in enumerate(parts):
        numbers += await insert(vault, *part)
        if request.param == "three records" or (request.param == "mixed" and at == 1):
            await vault.seal_now()
    if request.param == "one record":
        await vault.seal_now()
    return vault, numbers


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [0, 1, 2, 3, 4, 5]),
        (None, 20, [0, 1, 2]),
        (10, None, [0, 1, 2, 3, 4, 5]),
        (10.000001, None, [1, 2, 3, 4, 5]),
        (26, 39, [1]),
        (30, 40, [1, 3]),
        (40, 40, [3]),
        (40.000001, 49, []),
        (85, 95, [4]),
        (90, 95, [4]),
        (90.000001, 95, []),
        (60, 60, [4, 5]),
        (-50, -1, []),
        (50, 40, []),
    ],
)
async def test_a_range_selects_what_overlaps_it(
    laid_out: tuple[Vault, list[int]],
    start: float | None,
    end: float | None,
    expected: list[int],
) -> None:
    """What ends at its start or later, and begins at its end or before."""
    vault, numbers = laid_out
    low = None if start is None else us(start)
    high = None if end is None else us(end)
    found = vault.read("b", start=low, end=high, order="oldest")
    assert ids(found) == [numbers[at] for at in expected]
    assert vault.count("b", start=low, end=high) == len(expected)
    again = await vault.read_async("b", start=low, end=high, order="oldest")
    assert shown(again) == shown(found)


async def test_newest_first_but_ties_as_inserted(
    laid_out: tuple[Vault, list[int]],
) -> None:
    """Of two events with one start, the one that was inserted first comes first."""
    vault, numbers = laid_out
    expected = [numbers[at] for at in (5, 4, 3, 1, 2, 0)]
    assert ids(vault.read("b")) == expected
    oldest = [numbers[at] for at in (0, 1, 2, 3, 4, 5)]
    assert ids(vault.read("b", order="oldest")) == oldest


@pytest.mark.parametrize("limit", range(9))
async def test_a_limit_keeps_the_newest(
    laid_out: tuple[Vault, list[int]], limit: int
) -> None:
    """In either order, the limit takes the same events as without one."""
    vault, _ = laid_out
    everything = ids(vault.read("b"))
    assert ids(vault.read("b", limit=limit)) == everything[:limit]
    kept = everything[:limit]
    oldest = [i for i in ids(vault.read("b", order="oldest")) if i in kept]
    assert ids(vault.read("b", order="oldest", limit=limit)) == oldest
    inside = ids(vault.read("b", start=us(5), end=us(45)))
    assert ids(vault.read("b", start=us(5), end=us(45), limit=limit)) == inside[:limit]


async def test_clipping_cuts_to_the_range(laid_out: tuple[Vault, list[int]]) -> None:
    """Start and duration fit the range; what touches it has no duration left."""
    vault, _ = laid_out
    found = vault.read("b", start=us(10), end=us(22), clip=True, order="oldest")
    assert sorted(shown(found)) == [
        Shown(10, 0, A),
        Shown(20, 2, A),
        Shown(20, 2, B),
    ]
    found = vault.read("b", start=us(85), end=us(87), clip=True)
    assert shown(found) == [Shown(85, 2, B)]
    whole = vault.read("b", start=us(85), end=us(87))
    assert shown(whole) == [Shown(50, 40, B)]


async def test_an_event_longer_than_a_day_is_found(vault: Vault) -> None:
    """However long ago it began, it overlaps as long as it lasts."""
    year = 365 * 24 * 3600
    await insert(vault, (0, year, A), (1, 1, B))
    await vault.seal_now()
    found = vault.read("b", start=us(year - 1), end=us(year + 5), clip=True)
    assert shown(found) == [Shown(year - 1, 1, A)]


async def test_two_thousand_ties_across_records(vault: Vault) -> None:
    """Equal starts keep the order of insertion over records, rows and journal."""
    numbers: list[int] = []
    for _ in range(4):
        numbers += await insert(vault, *((7, 1, b'{"n":%d}' % n) for n in range(500)))
        await vault.seal_now()
    numbers += await insert(vault, (7, 1, A))
    assert ids(vault.read("b")) == numbers
    assert ids(vault.read("b", limit=700)) == numbers[:700]
    assert ids(vault.read("b", order="oldest")) == numbers


async def test_a_large_request_is_one_insertion(vault: Vault) -> None:
    """More events than a journal row takes come back complete, in order."""
    count = 2 * BULK_ROW_EVENTS_MAX + 3
    numbers = await vault.insert_rows(
        "b",
        NewRows(
            starts=[us(at) for at in range(count)],
            durations=[SECOND] * count,
            texts=[b'{"n":%d}' % (at % 700) for at in range(count)],
        ),
    )
    assert len(set(numbers)) == count
    assert vault.count("b") == count
    table = vault.read("b", order="oldest")
    assert ids(table) == list(numbers)
    assert [row.text for row in shown(table)] == [
        b'{"n":%d}' % (at % 700) for at in range(count)
    ]


async def test_data_comes_back_as_sent(vault: Vault) -> None:
    """Key order and numbers of any size survive, and so do odd characters."""
    texts = [
        b'{"z":1,"a":2,"m":{"y":[1,{"x":null}]}}',
        b'{"n":123456789012345678901234567890}',
        b'{"f":1.5,"g":-0.0,"h":1e300}',
        '{"u":"äöü 漢字 \U0001f600"}'.encode(),
        b'{"s":"\\ud800 alone"}',
        b'{"c":"\\u0000\\u001f\\"\\\\"}',
        b"{}",
    ]
    await insert(vault, *((at, 0, text) for at, text in enumerate(texts)))
    for text in texts:
        await beat(vault, 100_000, 0, text, pulsetime=0)
    await vault.seal_now()
    import json

    got = [json.loads(row.text) for row in read(vault)]
    expected = [json.loads(text) for text in texts]
    assert got == expected + expected
    assert [list(value) for value in got[: len(texts)]] == [
        list(value) for value in expected
    ]


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize(
    ("field", "start", "duration"),
    [
        ("timestamp", TIME_US_MIN - 1, 0),
        ("timestamp", TIME_US_MAX + 1, 0),
        ("timestamp", 2**63 - 1, 0),
        ("timestamp", 2**70, 0),
        ("duration", us(0), -2),
        ("duration", us(0), 2**63 - 1),
        ("duration", TIME_US_MAX, 1),
        ("duration", TIME_US_MAX, 2**63 - 1),
        ("duration", us(0), 2**70),
    ],
)
async def test_times_out_of_range_are_refused(
    vault: Vault, field: str, start: int, duration: int, bulk: bool
) -> None:
    """One bad event refuses the request, names the field, and stores nothing."""
    starts, durations, texts = [start], [duration], [A]
    if bulk:
        starts, durations, texts = [us(0), start], [0, duration], [A, A]
    with pytest.raises(InvalidInputError) as caught:
        await vault.insert_rows(
            "b", NewRows(starts=starts, durations=durations, texts=texts)
        )
    assert caught.value.field.endswith(field)
    assert vault.count("b") == 0
    await insert(vault, (0, 1, A))
    assert vault.count("b") == 1


async def test_the_edges_of_time_are_kept(vault: Vault) -> None:
    """The first and the last microsecond that a calendar has come back."""
    await vault.insert_rows(
        "b",
        NewRows(
            starts=[TIME_US_MIN, TIME_US_MAX],
            durations=[TIME_US_MAX - TIME_US_MIN, 0],
            texts=[A, B],
        ),
    )
    await vault.seal_now()
    table = vault.read("b", order="oldest")
    assert table.start.tolist() == [TIME_US_MIN, TIME_US_MAX]
    assert table.end().tolist() == [TIME_US_MAX, TIME_US_MAX]
    assert vault.count("b", start=TIME_US_MAX, end=TIME_US_MAX) == 2


async def test_an_empty_request_is_no_event(vault: Vault) -> None:
    """No rows: no ids, and nothing is written."""
    rows = vault.facts().journal_rows
    assert list(await insert(vault)) == []
    assert vault.facts().journal_rows == rows


async def test_an_activity_keeps_when_it_was_stored(vault: Vault) -> None:
    """Buckets of the activity API keep the time of storing, others do not."""
    await bucket(vault, "activity_test")
    (kept,) = await insert(vault, (0, 0, A), name="activity_test")
    (plain,) = await insert(vault, (0, 0, A))
    one, other = vault.event("activity_test", kept), vault.event("b", plain)
    assert one is not None
    assert other is not None
    assert one.stored_at > us(0)
    assert other.stored_at == -1
