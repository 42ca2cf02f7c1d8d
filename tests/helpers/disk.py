"""A disk whose power can be cut: it keeps what was synced, and nothing else.

Run as a program, it stores records through `SqliteLogStore` on such a disk:

    python -m tests.helpers.disk DIRECTORY SCENARIO

The files are real. Beside them it keeps in memory, file by file, what an fsync
has made durable, and writes that to `DIRECTORY/cut-N` when the power is cut.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

import apsw

from awserver.storage.sqlite import logs
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from tests.helpers.records import ACCOUNT, chain

RECORDS: Final = 12


class Disk:
    """What would be there after a power cut."""

    def __init__(self) -> None:
        """Begin with a disk that holds nothing."""
        self.durable: dict[str, bytes] = {}
        self.kill_at_sync_of: str | None = None

    def before_sync(self, name: str) -> None:
        """End the process, if this is the sync before which it is to die."""
        if name == self.kill_at_sync_of:
            os.kill(os.getpid(), signal.SIGKILL)

    def cut(self, directory: Path) -> None:
        """Write down what is left."""
        directory.mkdir()
        for name, content in self.durable.items():
            (directory / name).write_bytes(content)


class File(apsw.VFSFile):
    """A file of that disk, read and written by SQLite."""

    def __init__(self, disk: Disk, name: str, flags: list[int]) -> None:
        """Open it."""
        self._disk = disk
        self._name = Path(name).name
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Make durable what was written so far."""
        self._disk.before_sync(self._name)
        super().xSync(flags)
        self._disk.durable[self._name] = self.xRead(self.xFileSize(), 0)


class Files(apsw.VFS):
    """Makes `Disk` the disk of every connection of this process."""

    def __init__(self, disk: Disk) -> None:
        """Take over."""
        self._disk = disk
        super().__init__("disk", "unix", makedefault=True)

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open a file."""
        if isinstance(name, apsw.URIFilename):
            name = name.filename()
        return File(self._disk, name or "", flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """Delete a file, for good if the directory is synced."""
        super().xDelete(filename, syncdir)
        if syncdir:
            self._disk.durable.pop(Path(filename).name, None)


def watch_fsync(disk: Disk) -> None:
    """Note what Python itself syncs, too."""
    fsync = os.fsync

    def noting_fsync(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_file() and path.name.endswith("-wal"):
            disk.durable[path.name] = path.read_bytes()

    os.fsync = noting_fsync  # type: ignore[assignment]


async def main(directory: Path, scenario: str) -> None:
    """Play a scenario; print a line for each record that is acknowledged."""
    disk = Disk()
    files = Files(disk)
    watch_fsync(disk)
    path = directory / "host.db"
    if scenario == "resume":
        # Of the log's end nothing reached the disk when the process was killed.
        disk.durable = {
            file.name: file.read_bytes() for file in (directory / "cut-0").iterdir()
        }
    database = Database.open(path, create=scenario != "resume")
    logs.migrate(database)
    store = SqliteLogStore(database)
    if scenario == "lazy":  # the mutant: as many programs have it
        database._connection.pragma("synchronous", "normal")
    if scenario == "killed":
        await store.append(ACCOUNT, chain(RECORDS - 1))
        disk.cut(directory / "cut-0")
        disk.kill_at_sync_of = path.name + "-wal"
        await store.append(ACCOUNT, chain(RECORDS))
    elif scenario == "resume":
        print("new", await store.append(ACCOUNT, chain(RECORDS)), flush=True)  # noqa: T201
        disk.cut(directory / "cut-1")
    else:
        for at, record in enumerate(chain(RECORDS)):
            await store.append(ACCOUNT, [record])
            disk.cut(directory / f"cut-{at}")
            print("acknowledged", at, flush=True)  # noqa: T201
        os.kill(os.getpid(), signal.SIGKILL)
    await database.close()
    files.unregister()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
