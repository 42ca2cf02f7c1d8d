"""What fails at any point of a commit: who is told what, and what is stored.

Each fault comes in two kinds. *Lost*: the commit did not happen. *Persisted*:
it did, and only the answer failed. A writer cannot tell them apart, so both
must leave a state in which the same write can be made again.
"""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw
import pytest

from awserver.errors import (
    FenceBrokenError,
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
)
from awserver.storage.sqlite import logs
from awserver.storage.sqlite.database import Database, Fence
from awserver.storage.sqlite.logs import SqliteLogStore
from tests.helpers.databases import (
    Fault,
    InjectedError,
    database,
    failing,
    insert,
    numbers,
)
from tests.helpers.records import ACCOUNT, chain

LOST: Final = ("begin", "work", "worked", "commit")
PERSISTED: Final = ("committed",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


async def together(
    opened: Database, *works: int, fence: Fence | None = None
) -> list[int | BaseException]:
    """Submit works that become one group; return how each ended."""
    futures = [opened.submit(insert(number), fence=fence) for number in works]
    return await asyncio.gather(*futures, return_exceptions=True)


@pytest.mark.parametrize("point", [*LOST, *PERSISTED])
async def test_a_fault_is_told_and_the_next_write_works(path: Path, point: str) -> None:
    """Whatever point fails; and what was acknowledged before stays."""
    fault = Fault(point)
    async with database(path, fault) as opened:
        fault.armed = False
        await opened.write(insert(1))
        fault.armed = True
        with pytest.raises(InjectedError):
            await opened.write(insert(2))
        assert numbers(opened) == ([1] if point in LOST else [1, 2])
        assert await opened.write(insert(3)) == 3
    async with database(path, create=False) as opened:
        assert numbers(opened) == ([1, 3] if point in LOST else [1, 2, 3])


@pytest.mark.parametrize("point", ["begin", "commit", "committed"])
async def test_a_commit_that_fails_fails_for_all_who_share_it(
    path: Path, point: str
) -> None:
    """Nobody is told that a write is done when it is not known to be."""
    fault = Fault(point, lambda: apsw.FullError("full"))
    async with database(path, fault) as opened:
        got = await together(opened, *range(5))
        assert fault.count("begin") == 1
        assert all(isinstance(one, StorageFullError) for one in got)
        assert len({id(one) for one in got}) == 5, "one error object for several tasks"
        assert numbers(opened) == ([] if point in LOST else [0, 1, 2, 3, 4])


@pytest.mark.parametrize("point", ["commit", "committed"])
async def test_after_a_fault_nothing_is_held(path: Path, point: str) -> None:
    """Another process can write at once, before this one writes again."""
    async with database(path, Fault(point)) as opened:
        with pytest.raises(InjectedError):
            await opened.write(insert(1))
        # Told after the transaction is over, so there is nothing to wait for.
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE; INSERT INTO notes VALUES (2, x''); COMMIT")
        other.close()
        assert 2 in numbers(opened)


@pytest.mark.parametrize("point", ["work", "worked"])
async def test_a_work_that_fails_fails_alone(path: Path, point: str) -> None:
    """The others of its group are stored."""
    fault = Fault(point, nth=3)
    async with database(path, fault) as opened:
        got = await together(opened, *range(5))
        assert fault.count("commit") == 1
        assert [type(one) for one in got] == [int, int, InjectedError, int, int]
        assert numbers(opened) == [0, 1, 3, 4]


@pytest.mark.parametrize("point", [*LOST, *PERSISTED])
async def test_the_same_append_again_repairs_either_kind(
    path: Path, point: str
) -> None:
    """After a fault, appending the same records stores each exactly once."""
    fault = Fault(point)
    records = chain(3)
    async with database(path, fault) as opened:
        fault.armed = False
        logs.migrate(opened)
        store = SqliteLogStore(opened)
        fault.armed = True
        with pytest.raises(InjectedError):
            await store.append(ACCOUNT, records)
        usage = await store.usage(ACCOUNT)
        assert usage.entries == (0 if point in LOST else 3)
        assert await store.append(ACCOUNT, records) == 3 - usage.entries
        assert (await store.usage(ACCOUNT)).entries == 3


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (lambda: apsw.FullError("x"), StorageFullError, "free some space"),
        (lambda: OSError(errno.ENOSPC, "x"), StorageFullError, "free some space"),
        (lambda: OSError(errno.EDQUOT, "x"), StorageFullError, "free some space"),
        (lambda: OSError(errno.EFBIG, "x"), StorageFullError, "free some space"),
        (lambda: apsw.CorruptError("x"), StorageCorruptError, "restore it"),
        (lambda: apsw.NotADBError("x"), StorageCorruptError, "restore it"),
        (lambda: apsw.BusyError("x"), StorageBusyError, "another process"),
        (lambda: apsw.IOError("gone"), StorageError, "cannot read or write"),
        (lambda: OSError(errno.EIO, "gone"), StorageError, "cannot read or write"),
        (lambda: apsw.ReadOnlyError("x"), StorageError, "read-only"),
        (lambda: apsw.CantOpenError("x"), StorageError, "who owns the file"),
        (lambda: apsw.NoMemError("x"), StorageError, "failed"),
    ],
)
async def test_errors_of_the_disk_are_typed(
    path: Path,
    error: Callable[[], BaseException],
    expected: type[StorageError],
    words: str,
) -> None:
    """Each says what to do, and its cause is kept for the log."""
    fault = Fault("commit", error)
    async with database(path, fault) as opened:
        with pytest.raises(StorageError, match=words) as caught:
            await opened.write(insert(1))
        assert type(caught.value) is expected
        assert isinstance(caught.value.__cause__, apsw.Error | OSError)
        assert numbers(opened) == []
        await opened.write(insert(1))


# -- fences -------------------------------------------------------------------


async def test_after_a_failed_work_its_fence_is_closed(path: Path) -> None:
    """Later works under it are not tried, in the same group and in later ones."""
    fence = Fence()
    cause = InjectedError("the first")
    async with database(path) as opened:
        futures = [
            opened.submit(insert(1), fence=fence),
            opened.submit(failing(2, cause), fence=fence),
            opened.submit(insert(3), fence=fence),
            opened.submit(insert(4)),
            opened.submit(insert(5), fence=Fence()),
        ]
        got = await asyncio.gather(*futures, return_exceptions=True)
        assert got[:2] == [1, cause]
        assert isinstance(got[2], FenceBrokenError)
        assert got[2].cause is cause
        assert got[3:] == [4, 5]
        with pytest.raises(FenceBrokenError) as caught:
            await opened.write(insert(6), fence=fence)
        assert caught.value.cause is cause
        assert fence.broken is cause
        assert numbers(opened) == [1, 4, 5]


@pytest.mark.parametrize("point", ["begin", "commit", "committed"])
async def test_after_a_failed_commit_its_fences_are_closed(
    path: Path, point: str
) -> None:
    """Also for works whose part of the group went well, and also if it persisted."""
    first, second, untouched = Fence(), Fence(), Fence()
    async with database(path, Fault(point)) as opened:
        futures = [
            opened.submit(insert(1), fence=first),
            opened.submit(insert(2), fence=second),
        ]
        got = await asyncio.gather(*futures, return_exceptions=True)
        assert all(isinstance(one, InjectedError) for one in got)
        for fence in (first, second):
            with pytest.raises(FenceBrokenError, match="an earlier write failed"):
                await opened.write(insert(3), fence=fence)
        assert await opened.write(insert(4), fence=untouched) == 4
        assert numbers(opened) == ([4] if point in LOST else [1, 2, 4])


async def test_no_write_passes_one_that_failed(path: Path) -> None:
    """Of a long run under one fence a beginning is stored, whatever fails when."""
    for nth in range(1, 60, 7):
        fault = Fault("worked", nth=nth)
        name = path.with_name(f"{nth}.db")
        async with database(name, fault) as opened:
            fence = Fence()
            futures = [opened.submit(insert(n), fence=fence) for n in range(20)]
            await asyncio.wait(futures[:1])
            futures += [opened.submit(insert(n), fence=fence) for n in range(20, 60)]
            got = await asyncio.gather(*futures, return_exceptions=True)
            assert [one for one in got if isinstance(one, int)] == list(range(nth - 1))
            assert isinstance(got[nth - 1], InjectedError)
            assert all(isinstance(one, FenceBrokenError) for one in got[nth:])
            assert numbers(opened) == list(range(nth - 1))


async def test_who_is_cancelled_still_breaks_the_fence(path: Path) -> None:
    """A failure that nobody waits for any more is a failure all the same."""
    fence = Fence()
    async with database(path) as opened:
        future = opened.submit(failing(1, InjectedError()), fence=fence)
        future.cancel()
        with pytest.raises(FenceBrokenError):
            await opened.write(insert(2), fence=fence)
        assert numbers(opened) == []


async def test_closing_resolves_works_behind_a_broken_fence(path: Path) -> None:
    """Nobody waits for ever."""
    fence = Fence()
    opened = Database.open(path, create=True)
    futures = [opened.submit(failing(0, InjectedError()), fence=fence)]
    futures += [opened.submit(insert(n), fence=fence) for n in range(10)]
    await opened.close()
    got = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(one, FenceBrokenError) for one in got[1:])
