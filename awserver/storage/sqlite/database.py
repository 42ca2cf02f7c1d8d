"""One SQLite file: a writer thread with group commit, and reading connections.

Every write runs on one thread, so SQLite never sees two writers and the event
loop never waits for fsync. The thread drains its queue, runs each work in a
savepoint of its own, commits once, and only then says that they are done: the
more are waiting, the cheaper each becomes.

apsw brings its own SQLite: versions 3.7.0 to 3.51.2 can corrupt a WAL database
that has several connections.
"""

import asyncio
import contextlib
import errno
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

import apsw

from awserver.errors import (
    FenceBrokenError,
    StorageCorruptError,
    StorageError,
    StorageForeignError,
    StorageFullError,
)

T = TypeVar("T")

Transaction = apsw.Connection
"""A connection inside a transaction: what a work is given."""

Probe = Callable[[str], None]
"""Called with "begin", "work", "worked", "commit" and "committed" on the writer
thread. Tests raise there, or end the process."""

log = logging.getLogger(__name__)

APPLICATION_ID: Final = 0x41575332
"""Marks the file as this program's ("AWS2")."""

GROUP_WORKS_MAX: Final = 512
"""Works that share one commit."""

WAL_CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""The write-ahead log is copied into the database when it is longer than this."""

JOURNAL_SIZE_LIMIT_BYTES: Final = 4 * 1024 * 1024
BUSY_TIMEOUT_MS: Final = 10_000
READERS_KEPT_MAX: Final = 8

_MIGRATIONS_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    component TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (component, number)
) STRICT, WITHOUT ROWID
"""
_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})


@dataclass(slots=True)
class Fence:
    """Ties writes that build on one another.

    Once one of them has failed, those submitted after it fail too.
    """

    broken: BaseException | None = None


@dataclass(slots=True, eq=False)
class _Work(Generic[T]):
    run: Callable[[Transaction], T]
    fence: Fence | None
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[T]"
    value: T | None = None
    error: BaseException | None = None

    def resolve(self) -> None:
        if self.future.done():  # whoever waited was cancelled
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)  # type: ignore[arg-type]


class Database:
    """A SQLite database in WAL mode. Acknowledged means on disk.

    `write` and `submit` belong to the event loop's thread; `reading` may be
    used from any thread.
    """

    def __init__(self, path: Path, *, probe: Probe | None) -> None:
        """Use `open`."""
        self.path = path
        self._probe: Probe = probe if probe is not None else lambda _: None
        self._queue: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._readers: list[apsw.Connection] = []
        self._readers_lock = threading.Lock()
        self._checkpoint_wanted = threading.Event()
        self._closing = False
        self._writer = self._connect()
        self._thread = threading.Thread(
            target=self._write_until_closed, name="database-writer", daemon=True
        )
        self._checkpointer = threading.Thread(
            target=self._checkpoint_until_closed,
            name="database-checkpoint",
            daemon=True,
        )

    @classmethod
    def open(cls, path: Path, *, create: bool, probe: Probe | None = None) -> Self:
        """Open the database in `path`, or make it there.

        With `create`, the file must not exist; without, it must. Raises
        `StorageForeignError` for a file that is not this program's, and
        `StorageError` for one that cannot be opened.
        """
        try:
            if create:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
                os.close(os.open(path, flags, 0o600))
            elif not path.is_file():
                raise StorageError(f'there is no database at "{path}"')
            database = cls(path, probe=probe)
        except (OSError, apsw.Error) as error:
            raise _storage_error(error, path) from error
        try:
            database._check_or_mark(create=create)
        except BaseException:
            database._writer.close()
            raise
        database._thread.start()
        database._checkpointer.start()
        return database

    def _check_or_mark(self, *, create: bool) -> None:
        try:
            marked = self._writer.pragma("application_id")
            if not marked and not self._tables():
                # New, or made by a start that was killed right here.
                self._writer.pragma("application_id", APPLICATION_ID)
            elif create or marked != APPLICATION_ID:
                raise StorageForeignError(
                    f'"{self.path}" is a database of another program'
                )
            self._writer.execute(_MIGRATIONS_TABLE)
        except apsw.Error as error:
            raise _storage_error(error, self.path) from error

    def _tables(self) -> int:
        return int(
            self._writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        )

    def _connect(self, *, reading: bool = False) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if reading:
            connection.pragma("query_only", True)  # noqa: FBT003
            return connection
        connection.pragma("journal_mode", "wal")
        # An append is acknowledged only once it survives a power cut.
        connection.pragma("synchronous", "full")
        connection.pragma("foreign_keys", True)  # noqa: FBT003
        connection.pragma("journal_size_limit", JOURNAL_SIZE_LIMIT_BYTES)
        connection.wal_autocheckpoint(0)
        connection.set_wal_hook(self._on_wal)
        return connection

    def _on_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        if pages * 4096 > WAL_CHECKPOINT_BYTES:
            self._checkpoint_wanted.set()
        return apsw.SQLITE_OK

    def migrate(self, component: str, directory: Traversable) -> None:
        """Run the numbered .sql files of `directory` that have not run yet.

        `0001_name.sql`, in order, each in one transaction. Before an existing
        database changes, its file is copied beside itself. Call before any
        write. Raises `StorageForeignError` if a newer program was here.
        """
        files = {
            int(file.name[:4]): file
            for file in directory.iterdir()
            if file.name.endswith(".sql")
        }
        try:
            done = {
                number
                for (number,) in self._writer.execute(
                    "SELECT number FROM schema_migrations WHERE component = ?",
                    (component,),
                )
            }
            if done - files.keys():
                raise StorageForeignError(
                    f'"{self.path}" was written by a newer version of this program:'
                    f" its {component} tables are at {max(done)}, this version"
                    f" knows {max(files)}"
                )
            missing = sorted(files.keys() - done)
            if done and missing:
                self._copy_aside(f"before-{component}-{missing[0]:04d}")
            for number in missing:
                with self._writer:
                    self._writer.execute(files[number].read_text(encoding="utf-8"))
                    self._writer.execute(
                        "INSERT INTO schema_migrations VALUES (?, ?)",
                        (component, number),
                    )
        except apsw.Error as error:
            raise _storage_error(error, self.path) from error

    def _copy_aside(self, suffix: str) -> None:
        target = self.path.with_name(f"{self.path.name}.{suffix}")
        target.unlink(missing_ok=True)
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self._writer.execute("VACUUM INTO ?", (str(target),))

    # -- writing -------------------------------------------------------------

    async def write(
        self, work: Callable[[Transaction], T], *, fence: Fence | None = None
    ) -> T:
        """Run `work` in a transaction; return its result once it is on disk.

        `work` runs on the writer thread. If it raises, its changes are undone
        and others' are not. Errors of the database arrive as `StorageError`.
        """
        return await asyncio.shield(self.submit(work, fence=fence))

    def submit(
        self, work: Callable[[Transaction], T], *, fence: Fence | None = None
    ) -> "asyncio.Future[T]":
        """Do as `write`, without waiting. Works run in the order of submission."""
        if self._closing:
            raise StorageError("the database is closed")
        loop = asyncio.get_running_loop()
        item = _Work(run=work, fence=fence, loop=loop, future=loop.create_future())
        self._queue.put(item)
        return item.future

    def _write_until_closed(self) -> None:
        open_for_work = True
        while open_for_work:
            group: list[_Work[Any]] = []
            item = self._queue.get()
            while item is not None:
                group.append(item)
                if len(group) >= GROUP_WORKS_MAX:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            else:
                open_for_work = False
            if group:
                self._commit(group)
                _resolve(group)

    def _commit(self, group: list[_Work[Any]]) -> None:
        """Run works and commit them together; their errors are noted, not raised."""
        try:
            self._probe("begin")
            self._writer.execute("BEGIN IMMEDIATE")
            for item in group:
                self._run_in_savepoint(item)
            self._probe("commit")
            self._writer.execute("COMMIT")
            self._probe("committed")
        except BaseException as error:  # noqa: BLE001 - the thread must go on
            # SQLite may have rolled back by itself, on a full disk for one.
            self._roll_back()
            mapped = _storage_error(error, self.path)
            for item in group:
                item.error = item.error if item.error is not None else mapped
                if item.fence is not None and item.fence.broken is None:
                    item.fence.broken = mapped

    def _run_in_savepoint(self, item: _Work[Any]) -> None:
        fence = item.fence
        if fence is not None and fence.broken is not None:
            item.error = FenceBrokenError(fence.broken)
            return
        self._writer.execute("SAVEPOINT work")
        try:
            self._probe("work")
            item.value = item.run(self._writer)
            self._probe("worked")
        except BaseException as error:
            item.error = _storage_error(error, self.path)
            if fence is not None:
                fence.broken = item.error
            if not self._writer.in_transaction:
                raise  # the whole transaction is gone, and the others with it
            self._writer.execute("ROLLBACK TO work")
        self._writer.execute("RELEASE work")

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            try:
                self._writer.execute("ROLLBACK")
            except apsw.Error:
                log.exception("rollback failed")

    # -- reading -------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Give a connection that sees one snapshot. From any thread."""
        with self._readers_lock:
            reader = self._readers.pop() if self._readers else None
        try:
            if reader is None:
                reader = self._connect(reading=True)
            reader.execute("BEGIN")
        except apsw.Error as error:
            raise _storage_error(error, self.path) from error
        try:
            yield reader
        except apsw.Error as error:
            raise _storage_error(error, self.path) from error
        finally:
            self._give_back(reader)

    def _give_back(self, reader: apsw.Connection) -> None:
        try:
            if reader.in_transaction:
                reader.execute("ROLLBACK")
        except apsw.Error:
            reader.close(True)  # noqa: FBT003
            return
        with self._readers_lock:
            if len(self._readers) < READERS_KEPT_MAX and not self._closing:
                self._readers.append(reader)
                return
        reader.close()

    # -- checkpoints, and the end --------------------------------------------

    def _checkpoint_until_closed(self) -> None:
        """Copy the write-ahead log into the database, on a connection of its own.

        Passive: it waits for nobody, and nobody waits for it.
        """
        connection = self._connect()
        try:
            while True:
                self._checkpoint_wanted.wait()
                self._checkpoint_wanted.clear()
                if self._closing:
                    return
                try:
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                except apsw.Error as error:
                    log.warning(
                        "checkpoint failed", extra={"kind": type(error).__name__}
                    )
        finally:
            connection.close()

    async def close(self) -> None:
        """Commit what was submitted, and close. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._queue.put(None)
        self._checkpoint_wanted.set()
        await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        self._thread.join()
        self._checkpointer.join()
        with self._readers_lock:
            readers, self._readers = self._readers, []
        for reader in readers:
            reader.close()
        # Nothing is lost without it: the write-ahead log is as durable.
        with contextlib.suppress(apsw.Error):
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._writer.close()


def _resolve(group: list[_Work[Any]]) -> None:
    """Tell each loop, once, that its works are done."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Work[Any]]] = {}
    for item in group:
        by_loop.setdefault(item.loop, []).append(item)
    for loop, items in by_loop.items():
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve_items, items)


def _resolve_items(items: list[_Work[Any]]) -> None:
    for item in items:
        item.resolve()


def _storage_error(error: BaseException, path: Path) -> BaseException:
    """Return the typed error of a failure below; others as they are."""
    full = StorageFullError(
        f'there is no room for "{path.name}" in "{path.parent}": free some space on'
        " that disk; what was stored is intact"
    )
    if isinstance(error, apsw.FullError):
        return full
    if isinstance(error, apsw.IOError):
        if _disk_is_full(path):
            return full
        return StorageError(f'cannot read or write "{path}": {error}')
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return StorageCorruptError(
            f'"{path}" is damaged: restore it from a backup, and keep this file'
        )
    if isinstance(error, OSError):
        if error.errno in _FULL_ERRNOS:
            return full
        return StorageError(f'cannot open "{path}": {error.strerror or error}')
    if isinstance(error, apsw.ConstraintError):
        return error
    if isinstance(error, apsw.Error):
        return StorageError(f"the database failed: {error}")
    return error


def _disk_is_full(path: Path) -> bool:
    """Try to write where SQLite failed: its error does not say why."""
    probe = path.with_name(f"{path.name}.room")
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            # Where the limit is on the size of a file, the offset meets it too.
            os.pwrite(descriptor, b"\0" * 4096, path.stat().st_size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno in _FULL_ERRNOS
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return False
