"""An error before and after every write, and at every step of a seal.

A scenario that does everything once is run with one fault, at the n-th passing
of one step, for every step and every n. Whatever the fault: a request fails or
succeeds; memory then shows what a fresh start would show; what was acknowledged
is there once; and the next requests work.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import apsw
import pytest

from awserver.errors import ServerError, StorageError, StorageFullError
from awvault.errors import BucketNotFoundError, Error
from awvault.journal import EventRow
from awvault.opening import Composition
from awvault.testing import COMPOSITION, open_vault
from awvault.vault import Vault
from tests.helpers.vaults import (
    A,
    B,
    Contents,
    beat,
    bucket,
    contents,
    correct,
    insert,
    us,
)

SEAL_STEPS = (
    "collected",
    "record-sealed",
    "records-inserted",
    "index-inserted",
    "journal-deleted",
    "stored",
)
DATABASE_STEPS = ("begin", "work", "worked", "commit", "committed")

pytestmark = [
    pytest.mark.timeout(600),
    # The faults are errors that nobody foresaw: their traces are not wanted.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class InjectedError(Exception):
    """What a fault raises where no error of the database is imitated."""


@dataclass(slots=True)
class Fault:
    """Counts the passings of every step, and raises at one of them."""

    name: str = ""
    at: int = 0
    error: Callable[[], BaseException] = InjectedError
    passed: Counter[str] = field(default_factory=Counter)
    armed: bool = False
    struck: bool = False

    def __call__(self, name: str) -> None:
        if not self.armed:
            return
        self.passed[name] += 1
        if name == self.name and self.passed[name] == self.at:
            self.struck = True
            raise self.error()

    def composition(self) -> Composition:
        return replace(COMPOSITION, step=self, probe=self)


@dataclass(slots=True)
class Books:
    """What the scenario was told."""

    acknowledged: dict[int, tuple[str, int, bytes]] = field(default_factory=dict)
    """By id: bucket, at least this duration in us, and data."""
    uncertain: set[int] = field(default_factory=set)
    """Events of which a revision failed: either version may be there."""
    gone: set[int] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)


Action = Callable[[Vault, Books], Awaitable[None]]


async def _beats(vault: Vault, books: Books) -> None:
    for second in range(3):
        row = await beat(vault, 1_000 + second)
        books.acknowledged[row.id] = ("b", row.duration, A)


async def _close(vault: Vault, books: Books) -> None:
    """Close the open event by a newer one, and take that away again."""
    (number,) = await insert(vault, (5_000, 1, B))
    books.uncertain.add(number)
    books.acknowledged[number] = ("b", 1_000_000, B)
    assert await vault.delete_event("b", number)
    books.uncertain.discard(number)
    del books.acknowledged[number]
    books.gone.add(number)


async def _more_beats(vault: Vault, books: Books) -> None:
    """The same event may be open, sealed, or extended by a revision by now."""
    row = await beat(vault, 1_004)
    books.acknowledged[row.id] = ("b", row.duration, A)


async def _one(vault: Vault, books: Books) -> None:
    (number,) = await insert(vault, (500, 1, B))
    books.acknowledged[number] = ("b", 1_000_000, B)


async def _many(vault: Vault, books: Books) -> None:
    numbers = await insert(vault, *((at, 2, b'{"n":%d}' % at) for at in range(30)))
    for at, number in enumerate(numbers):
        books.acknowledged[number] = ("b", 2_000_000, b'{"n":%d}' % at)


async def _web(vault: Vault, books: Books) -> None:
    numbers = await insert(vault, (1, 1, A), (2, 1, B), name="web")
    for number, text in zip(numbers, (A, B), strict=True):
        books.acknowledged[number] = ("web", 1_000_000, text)


def _known(books: Books, at: int) -> int | None:
    inserted = [n for n in books.acknowledged if n not in books.uncertain]
    return inserted[at] if len(inserted) > at else None


async def _correct(vault: Vault, books: Books) -> None:
    number = _known(books, 3)
    if number is None:
        return
    name, _, _ = books.acknowledged[number]
    books.uncertain.add(number)
    row = await correct(vault, number, 700, 3, b'{"corrected":1}', name=name)
    assert row is not None
    books.uncertain.discard(number)
    books.acknowledged[number] = (name, 3_000_000, b'{"corrected":1}')


async def _delete(vault: Vault, books: Books) -> None:
    number = _known(books, 5)
    if number is None:
        return
    name, _, _ = books.acknowledged[number]
    books.uncertain.add(number)
    assert await vault.delete_event(name, number)
    books.uncertain.discard(number)
    del books.acknowledged[number]
    books.gone.add(number)


async def _seal(vault: Vault, _: Books) -> None:
    await vault.seal_now()


async def _make(vault: Vault, _: Books) -> None:
    await vault.create_bucket("web", type="web.tab.current")


async def _hide(vault: Vault, _: Books) -> None:
    if "side" in vault.buckets():
        await vault.hide_bucket("side")
    else:
        await bucket(vault, "side")


SCENARIO: list[Action] = [
    _make,
    _beats,
    _hide,
    _one,
    _many,
    _web,
    _close,
    _seal,
    _more_beats,
    _correct,
    _delete,
    _hide,
    _seal,
    _one,
    _more_beats,
    _seal,
]


async def _play(vault: Vault, books: Books) -> None:
    for action in SCENARIO:
        try:
            await action(vault, books)
        except BucketNotFoundError:
            assert books.failures, "only after its making failed"
        except (InjectedError, apsw.Error, OSError, ServerError, Error) as error:
            books.failures.append(error)


def _check(found: Contents, books: Books) -> None:
    events = {row.id: (name, row) for name, (_, rows) in found.items() for row in rows}
    for number, (name, duration, text) in books.acknowledged.items():
        if number in books.uncertain:
            continue
        assert number in events, "an acknowledged event is missing"
        where, row = events[number]
        assert where == name
        assert row.text == text
        assert row.duration >= duration
    assert not books.gone & events.keys(), "a deleted event is back"


async def _observed(vault: Vault) -> Contents:
    await vault.settle()
    return contents(vault)


async def _passings(directory: Path) -> Counter[str]:
    """Run the scenario without a fault; return how often it passes each step."""
    fault = Fault(armed=False)
    books = Books()
    async with await open_vault(directory, composition=fault.composition()) as vault:
        await bucket(vault)
        fault.armed = True
        await _play(vault, books)
        assert not books.failures
        _check(await _observed(vault), books)
        fault.armed = False
    assert books.gone
    assert vault is not None
    return fault.passed


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(lambda: apsw.FullError("database or disk is full"), id="full"),
        pytest.param(InjectedError, id="unforeseen"),
    ],
)
@pytest.mark.parametrize("name", [*DATABASE_STEPS, *SEAL_STEPS])
async def test_a_fault_at_each_step(
    tmp_path: Path, name: str, error: Callable[[], BaseException]
) -> None:
    """Memory equals the disk, nothing acknowledged is lost, and work goes on."""
    passings = (await _passings(tmp_path / "without"))[name]
    assert passings > 0, "the scenario never passes this step"
    for at in range(1, passings + 1):
        directory = tmp_path / str(at)
        fault = Fault(name, at, error)
        books = Books()
        composition = fault.composition()
        async with await open_vault(directory, composition=composition) as vault:
            await bucket(vault)
            fault.armed = True
            await _play(vault, books)
            fault.armed = False
            assert fault.struck
            assert len(books.failures) <= 1 + SCENARIO.count(_seal)
            in_memory = await _observed(vault)
            _check(in_memory, books)
        async with await open_vault(directory) as vault:
            assert contents(vault) == in_memory, f"{name}:{at}"
            # And work goes on, with ids that nobody has.
            (number,) = await insert(vault, (3_000, 1, B))
            assert number not in {
                row.id for _, rows in in_memory.values() for row in rows
            }
            await vault.seal_now()
            after = contents(vault)
            assert len(after["b"][1]) == len(in_memory["b"][1]) + 1
        async with await open_vault(directory) as vault:
            assert contents(vault) == after


@pytest.mark.parametrize("name", DATABASE_STEPS)
async def test_a_request_fails_with_what_went_wrong(tmp_path: Path, name: str) -> None:
    """A full disk is `StorageFullError`, to the request that met it, and to it only."""
    fault = Fault(name, 1, lambda: apsw.FullError("full"))
    async with await open_vault(
        tmp_path / "v", composition=fault.composition()
    ) as vault:
        await bucket(vault)
        fault.armed = True
        with pytest.raises(StorageFullError):
            await insert(vault, (0, 1, A))
        (number,) = await insert(vault, (1, 1, B))
        assert vault.event("b", number) is not None


async def test_all_that_build_on_a_failed_write_fail(tmp_path: Path) -> None:
    """Requests in flight behind it fail with the same cause; none is half there."""
    fault = Fault("commit", 1, lambda: apsw.FullError("full"))
    async with await open_vault(
        tmp_path / "v", composition=fault.composition()
    ) as vault:
        await bucket(vault)
        fault.armed = True
        results = await asyncio.gather(
            *(insert(vault, (at, 1, A)) for at in range(20)),
            *(beat(vault, 2_000 + at, 0) for at in range(20)),
            return_exceptions=True,
        )
        await vault.settle()
        failed = [r for r in results if isinstance(r, BaseException)]
        assert failed
        assert all(isinstance(error, StorageFullError) for error in failed)
        stored = {
            number
            for result in results
            if isinstance(result, list)
            for number in result
        }
        stored |= {result.id for result in results if isinstance(result, EventRow)}
        held = {row.id for _, events in contents(vault).values() for row in events}
        assert stored == held
        before = contents(vault)
    async with await open_vault(tmp_path / "v") as vault:
        assert contents(vault) == before


async def test_an_event_is_not_stored_without_its_bucket(tmp_path: Path) -> None:
    """An insert in flight behind a bucket whose making fails does fail too."""
    fault = Fault("worked", 1, lambda: apsw.FullError("full"))
    async with await open_vault(
        tmp_path / "v", composition=fault.composition()
    ) as vault:
        await bucket(vault)
        fault.armed = True
        results = await asyncio.gather(
            vault.create_bucket("c", type="t"),
            insert(vault, (0, 1, A), name="c"),
            beat(vault, 100, 0, name="c"),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [StorageFullError] * 3
        await vault.settle()
        assert list(vault.buckets()) == ["b"]
        assert vault.facts().journal_events == 0


async def test_a_heartbeat_with_nothing_new_waits_for_the_disk(tmp_path: Path) -> None:
    """Two that say the same, in flight at once, are stored both or fail both."""
    fault = Fault("commit", 1, lambda: apsw.FullError("full"))
    async with await open_vault(
        tmp_path / "v", composition=fault.composition()
    ) as vault:
        await bucket(vault)
        fault.armed = True
        results = await asyncio.gather(
            *(beat(vault, 100, 10) for _ in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [StorageFullError] * 3
        assert len({(await beat(vault, 100, 10)).id for _ in range(2)}) == 1


async def test_nothing_is_confirmed_while_memory_is_ahead(tmp_path: Path) -> None:
    """While the disk cannot be read again, no request is told that all is well.

    A heartbeat that brings nothing new writes nothing, and so must not be
    answered from memory that no disk holds.
    """
    fault = Fault("commit", 1, lambda: apsw.FullError("full"))
    async with await open_vault(
        tmp_path / "v", composition=fault.composition()
    ) as vault:
        await bucket(vault)
        durable = vault._durable
        load, failing = durable._load, True

        def broken() -> object:
            if failing:
                raise StorageError("cannot read")
            return load()

        durable._load = broken  # type: ignore[assignment]
        fault.armed = True
        with pytest.raises(StorageFullError):
            await beat(vault, 100, 10)
        for _ in range(3):
            with pytest.raises(StorageError):
                await beat(vault, 100, 10)
            with pytest.raises(StorageError):
                await vault.create_bucket("b", type="t")
            with pytest.raises(StorageError):
                await vault.settle()
        failing = False
        row = await beat(vault, 100, 10)
        assert row.end == us(110)
        before = contents(vault)
    async with await open_vault(tmp_path / "v") as vault:
        assert contents(vault) == before


async def test_a_vault_closes_after_a_fault(tmp_path: Path) -> None:
    """Closing works while a write has just failed, and the lock is free after it."""
    fault = Fault("commit", 1, InjectedError)
    vault = await open_vault(tmp_path / "v", composition=fault.composition())
    await bucket(vault)
    fault.armed = True
    waiting = asyncio.create_task(insert(vault, (0, 1, A)))
    await asyncio.sleep(0)
    await vault.close()
    with pytest.raises(InjectedError):
        await waiting
    async with await open_vault(tmp_path / "v") as vault:
        assert contents(vault)["b"][1] == []
