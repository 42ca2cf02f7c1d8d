"""Acknowledged means on disk: killed processes, and disks that lose their power."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from awserver.errors import StorageError
from awserver.records import SealedRecord, Seq
from awserver.storage.sqlite.checkpoints import PAGE_BYTES
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from tests.helpers.disk import RECORDS
from tests.helpers.records import ACCOUNT, CLIENT, chain

ROOT: Final = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="the disk watches fsync through /proc"
)


def play(directory: Path, scenario: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.helpers.disk", str(directory), scenario],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def stored(directory: Path) -> list[SealedRecord]:
    """Return what a host finds that starts on what is left in a directory."""
    database = Database.open(directory / "host.db", create=False)
    try:
        return await SqliteLogStore(database).read(ACCOUNT, CLIENT, start=Seq(0))
    finally:
        await database.close()


async def test_a_power_cut_after_any_answer_loses_nothing(tmp_path: Path) -> None:
    """What is left of the disk holds every record acknowledged until then."""
    ended = play(tmp_path, "all")
    assert ended.stdout.count("acknowledged") == RECORDS, ended.stderr
    records = chain(RECORDS)
    for at in range(RECORDS):
        assert await stored(tmp_path / f"cut-{at}") == records[: at + 1]


async def test_a_process_killed_right_after_its_answer_loses_nothing(
    tmp_path: Path,
) -> None:
    """SIGKILL leaves the files as they are; the next start finds every record."""
    ended = play(tmp_path, "all")
    assert ended.returncode == -9, ended.stderr
    assert await stored(tmp_path) == chain(RECORDS)


async def test_the_disk_notices_a_commit_without_fsync(tmp_path: Path) -> None:
    """The mutant with synchronous=NORMAL loses what it acknowledged."""
    ended = play(tmp_path, "lazy")
    assert ended.stdout.count("acknowledged") == RECORDS, ended.stderr
    left = await stored(tmp_path / f"cut-{RECORDS - 1}")
    assert len(left) < RECORDS


async def test_already_stored_is_as_durable_as_stored(tmp_path: Path) -> None:
    """A record that a killed process wrote but did not sync is synced by the next.

    The client repeats its append and is told that the record is there. From then
    on a power cut must not take it away.
    """
    killed = play(tmp_path, "killed")
    assert killed.returncode == -9, killed.stderr
    assert len(await stored(tmp_path / "cut-0")) == RECORDS - 1
    # The first look above was at a copy; here the killed process left its own.
    resumed = play(tmp_path, "resume")
    assert resumed.stdout == "new 0\n", resumed.stderr
    assert await stored(tmp_path / "cut-1") == chain(RECORDS)


async def test_a_torn_end_of_the_log_is_no_record(tmp_path: Path) -> None:
    """Whatever part of an unsynced commit is there, a whole prefix is read."""
    killed = play(tmp_path, "killed")
    assert killed.returncode == -9, killed.stderr
    whole = (tmp_path / "host.db-wal").read_bytes()
    synced = len((tmp_path / "cut-0" / "host.db-wal").read_bytes())
    assert synced < len(whole)
    main = (tmp_path / "host.db").read_bytes()
    for length in range(synced, len(whole), 509):
        torn = tmp_path / f"torn-{length}"
        torn.mkdir()
        (torn / "host.db").write_bytes(main)
        (torn / "host.db-wal").write_bytes(whole[:length])
        assert await stored(torn) == chain(RECORDS - 1)


async def test_a_copy_into_the_database_may_be_broken_off(tmp_path: Path) -> None:
    """Killed while it copies the write-ahead log, a host loses nothing.

    What is copied last may be missing, and what is copied first be there.
    """
    ended = play(tmp_path, "all")
    assert ended.returncode == -9, ended.stderr
    wal = (tmp_path / "host.db-wal").read_bytes()
    before = (tmp_path / "host.db").read_bytes()
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "host.db").write_bytes(before)
    (whole / "host.db-wal").write_bytes(wal)
    assert await stored(whole) == chain(RECORDS)  # and closing copies it all
    after = (whole / "host.db").read_bytes()
    for at in range(0, max(len(before), len(after)), PAGE_BYTES):
        broken = tmp_path / f"broken-{at}"
        broken.mkdir()
        (broken / "host.db").write_bytes(after[:at] + before[at:])
        (broken / "host.db-wal").write_bytes(wal)
        assert await stored(broken) == chain(RECORDS)


async def test_a_missing_database_is_not_made_by_looking(tmp_path: Path) -> None:
    """The helper above opens what is there, and makes nothing."""
    with pytest.raises(StorageError):
        await stored(tmp_path)
