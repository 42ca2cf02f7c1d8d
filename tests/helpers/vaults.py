"""An open vault in this process, and short words for what tests do with it."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from awvault.columns.table import EventTable
from awvault.incoming import NewRows
from awvault.journal import EventRow
from awvault.vault import Vault

SECOND: Final = 1_000_000
"""Microseconds."""

T0: Final = 1_700_000_000 * SECOND
"""Where the tests' times begin: 2023-11-14T22:13:20Z."""

A: Final = b'{"app":"a"}'
B: Final = b'{"app":"b"}'


class Shown(NamedTuple):
    """An event as a reader sees it; times in seconds after T0."""

    start: float
    duration: float
    text: bytes


def us(seconds: float) -> int:
    """Return a time of the tests in microseconds since 1970."""
    return T0 + round(seconds * SECOND)


def shown(table: EventTable) -> list[Shown]:
    """Return a table's rows; a duration of -1 us is shown as -1e-06 s."""
    return [
        Shown(
            (int(start) - T0) / SECOND, int(duration) / SECOND, table.texts[int(data)]
        )
        for start, duration, data in zip(
            table.start, table.duration, table.data, strict=True
        )
    ]


def ids(table: EventTable) -> list[int]:
    return [int(event_id) for event_id in table.id]


def read(vault: Vault, bucket: str = "b") -> list[Shown]:
    """Return all of a bucket, oldest first."""
    return shown(vault.read(bucket, order="oldest"))


async def bucket(vault: Vault, name: str = "b", kind: str = "test") -> str:
    assert await vault.create_bucket(name, type=kind)
    return name


async def beat(
    vault: Vault,
    start: float,
    duration: float = 0,
    text: bytes = A,
    *,
    pulsetime: float = 5,
    name: str = "b",
) -> EventRow:
    return await vault.heartbeat(
        name,
        start=us(start),
        duration=round(duration * SECOND),
        text=text,
        pulsetime_us=round(pulsetime * SECOND),
    )


async def insert(
    vault: Vault,
    *events: tuple[float, float, bytes],
    name: str = "b",
) -> list[int]:
    """Insert (start, duration, data) in one request; a duration of -1: none."""
    return list(
        await vault.insert_rows(
            name,
            NewRows(
                starts=[us(start) for start, _, _ in events],
                durations=[-1 if d == -1 else round(d * SECOND) for _, d, _ in events],
                texts=[text for _, _, text in events],
            ),
        )
    )


async def correct(
    vault: Vault,
    event_id: int,
    start: float,
    duration: float,
    text: bytes,
    *,
    name: str = "b",
) -> EventRow | None:
    return await vault.correct(
        name,
        event_id,
        start=us(start),
        duration=round(duration * SECOND),
        text=text,
    )


async def seal_all(vault: Vault, name: str = "b") -> None:
    """Seal everything of a bucket, its open event too.

    A newer event closes that one, and is deleted: its tombstone stays open.
    """
    (newer,) = await insert(vault, (10**6, 0, A), name=name)
    assert await vault.delete_event(name, newer)
    assert await vault.seal_now() >= 1


Contents = dict[str, tuple[object, list[EventRow]]]


def contents(vault: Vault) -> Contents:
    """Return all that a vault shows: every bucket, and every event of it in full.

    Asserts on the way that `read`, `count` and `event` agree, and that no event
    lies both in a record and, as it is there, in the journal.
    """
    assert vault.facts().repeated_journal_rows == 0
    found: Contents = {}
    for name, described in vault.buckets().items():
        table = vault.read(name, order="oldest")
        rows = [vault.event(name, event_id) for event_id in ids(table)]
        assert vault.count(name) == len(table)
        whole = [row for row in rows if row is not None]
        assert [row.id for row in whole] == ids(table)
        assert [row.start for row in whole] == table.start.tolist()
        assert [row.duration for row in whole] == table.duration.tolist()
        assert [row.text for row in whole] == texts(table)
        # What number an event's bucket has says nothing to a reader.
        found[name] = (described, whole)
    everywhere = [row.id for _, rows in found.values() for row in rows]
    assert len(everywhere) == len(set(everywhere)), "an id was given twice"
    return found


def texts(table: EventTable) -> Sequence[bytes]:
    return [table.texts[int(data)] for data in table.data]
