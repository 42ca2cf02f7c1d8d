"""A disk without room: a typed error, nothing lost, and on again with room."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from awserver.errors import StorageFullError
from awserver.records import Seq
from awserver.storage.sqlite import logs
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from tests.helpers.records import ACCOUNT, CLIENT, chain

ROOT: Final = Path(__file__).parents[2]
DISK_BYTES: Final = 1_000_000
RECORDS: Final = chain(80, body=bytes(20_000))


@pytest.mark.skipif(os.name == "nt", reason="there are no limits on files")
async def test_a_limit_on_files_is_a_full_disk(tmp_path: Path) -> None:
    """EFBIG: `StorageFullError`, alone and in a group; then it works again."""
    ended = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        [sys.executable, "-m", "tests.helpers.full_disk", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["error"] == "StorageFullError", told
    assert "free some space" in told["message"]
    assert 5 < told["stored"] < 60
    assert told["group"] == [True] * 5
    assert told["readable"] == told["stored"]
    assert (told["total"], told["rest_error"]) == (60, None)
    async with opened(tmp_path / "host.db", create=False) as store:
        assert await store.read(ACCOUNT, CLIENT, start=Seq(0)) == chain(
            60, body=bytes(20_000)
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of one megabyte, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no command to mount a small disk with")
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_a_full_disk_keeps_what_it_has(small_disk: Path) -> None:
    """Appends fail with `StorageFullError`; all that was acknowledged is read."""
    async with opened(small_disk / "host.db", create=True) as store:
        stored = await fill(store)
        assert 5 < stored < len(RECORDS)
        assert await store.read(ACCOUNT, CLIENT, start=Seq(0)) == RECORDS[:stored]
        usage = await store.usage(ACCOUNT)
        assert usage.entries == stored
        with pytest.raises(StorageFullError):
            await store.append(ACCOUNT, RECORDS[stored:])
    async with opened(small_disk / "host.db", create=False) as store:
        assert await store.read(ACCOUNT, CLIENT, start=Seq(0)) == RECORDS[:stored]


async def test_with_room_again_a_full_disk_goes_on(small_disk: Path) -> None:
    """The same process, the same connections, no restart."""
    ballast = small_disk / "ballast"
    write(ballast, DISK_BYTES // 2)
    async with opened(small_disk / "host.db", create=True) as store:
        stored = await fill(store)
        got = await asyncio.gather(
            *(store.append(ACCOUNT, [one]) for one in RECORDS[stored : stored + 3]),
            return_exceptions=True,
        )
        assert all(isinstance(one, StorageFullError) for one in got)
        ballast.unlink()
        more = await store.append(ACCOUNT, RECORDS[: stored + 3])
        assert more == 3
        assert await store.read(ACCOUNT, CLIENT, start=Seq(0)) == RECORDS[: stored + 3]


async def test_a_disk_without_any_room_is_named_at_once(small_disk: Path) -> None:
    """Making a database there is a full disk too, and no other failure."""
    write(small_disk / "ballast", DISK_BYTES)
    with pytest.raises(StorageFullError):
        Database.open(small_disk / "host.db", create=True)


async def fill(store: SqliteLogStore) -> int:
    """Append until there is no room; return how many records are stored."""
    for stored, record in enumerate(RECORDS):
        try:
            await store.append(ACCOUNT, [record])
        except StorageFullError:
            return stored
    pytest.fail("the disk never was full")


def write(path: Path, size: int) -> None:
    """Take up room, as much of `size` as there is."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for _ in range(size // 4096):
            file.write(bytes(4096))


@contextlib.asynccontextmanager
async def opened(path: Path, *, create: bool) -> AsyncIterator[SqliteLogStore]:
    database = Database.open(path, create=create)
    try:
        logs.migrate(database)
        yield SqliteLogStore(database)
    finally:
        await database.close()
