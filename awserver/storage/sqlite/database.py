"""One SQLite file: a writer thread with group commit, and reading connections.

Every write runs on one thread, so SQLite never sees two writers of one process
and the event loop never waits for fsync. Reads have connections of their own.

apsw brings its own SQLite: versions 3.7.0 to 3.51.2 can corrupt a WAL database
that has several connections.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import apsw

from awserver.errors import (
    SchemaTooNewError,
    StorageCorruptError,
    StorageError,
    StorageForeignError,
)
from awserver.storage.sqlite.checkpoints import (
    PAGE_BYTES,
    WAL_BYTES_MAX,
    Checkpointer,
)
from awserver.storage.sqlite.failures import typed_error
from awserver.storage.sqlite.writer import (
    Fence,
    Joint,
    Probe,
    Refused,
    Transaction,
    Writer,
)

__all__ = ["Database", "Fence", "Joint", "Probe", "Refused", "Transaction"]

Item = TypeVar("Item")
T = TypeVar("T")
SQLiteValue = int | float | bytes | str | None

APPLICATION_ID: Final = 0x41575332
"""Marks the file as this program's ("AWS2")."""

BUSY_TIMEOUT_MS: Final = 10_000
"""How long a write waits for one of another process."""

READERS_KEPT_MAX: Final = 8
"""Reading connections that stay open for the next read."""

FILE_MODE: Final = 0o600

# Where SQLite keeps the mark (https://www.sqlite.org/fileformat.html, 1.3).
_HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_MARK_AT: Final = 68

_MIGRATIONS_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    component TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (component, number)
) STRICT, WITHOUT ROWID
"""


class Database:
    """A SQLite database in WAL mode. Acknowledged means on disk.

    `write`, `submit`, `checkpoint` and `close` are called from an event loop;
    `reading` from any thread.
    """

    def __init__(self, path: Path, *, probe: Probe | None) -> None:
        """Use `open`."""
        self.path = path
        self._readers: list[apsw.Connection] = []
        self._readers_lock = threading.Lock()
        self._closing = False
        self._closed = threading.Event()
        with contextlib.ExitStack() as on_failure:
            self._connection = self._connect()
            on_failure.callback(self._connection.close)
            self._mark_if_new()
            self._prepare_writing(self._connection)
            _flush(path)
            self._connection.execute(_MIGRATIONS_TABLE)
            checkpoints = self._connect()
            on_failure.callback(checkpoints.close)
            self._prepare_writing(checkpoints)
            on_failure.pop_all()
        self._checkpointer = Checkpointer(checkpoints, path)
        self._connection.set_wal_hook(self._on_commit)
        self._writer = Writer(
            self._connection, self._checkpointer, path=path, probe=probe
        )

    @classmethod
    def open(cls, path: Path, *, create: bool, probe: Probe | None = None) -> Self:
        """Open the database in `path`, or make it there, for its owner alone.

        With `create`, the file must not exist; without, it must. An empty file
        is what a start leaves that was killed in its first moment, and is taken
        for a new database. Raises `StorageForeignError` for a file that is not
        this program's, which stays as it is; `StorageCorruptError` for one that
        is no database; `StorageError` for one that cannot be opened.
        """
        # Connections are opened later too, whatever directory is current then.
        path = path.absolute()
        try:
            if create:
                _create(path)
            elif not path.is_file():
                raise StorageError(f'there is no database at "{path}"')
            else:
                _check_mark(path)
            database = cls(path, probe=probe)
        except (OSError, apsw.Error) as error:
            raise typed_error(error, path) from error
        database._checkpointer.start()
        database._writer.start()
        return database

    def _connect(self, *, reading: bool = False) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        # No SQL reaches into the file or the schema behind SQLite's back.
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        # Else a plan may depend on the values, so SQLite makes many of them anew each
        # time, which takes several times as long as the statement.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        # What SQLite sets aside, to undo a work or to sort, is not written to files:
        # they would lie outside of the data directory, and cost more than the rest.
        connection.pragma("temp_store", "memory")
        connection.pragma("query_only", reading)
        return connection

    def _mark_if_new(self) -> None:
        """Mark an empty file as ours; check the mark of any other.

        SQLite's locks keep two processes apart that open a new file at once. The
        mark comes before WAL mode, so that it is in the file itself and can be
        read without a change to the file.
        """
        connection = self._connection
        # An acknowledged commit survives a power cut.
        connection.pragma("synchronous", "full")
        connection.pragma("page_size", PAGE_BYTES)
        if _mark_of(connection) != APPLICATION_ID:
            connection.execute("BEGIN EXCLUSIVE")
            if _mark_of(connection) == 0 and self.path.stat().st_size == 0:
                connection.pragma("application_id", APPLICATION_ID)
            connection.execute("COMMIT")
        if _mark_of(connection) != APPLICATION_ID:
            raise _foreign(self.path)

    def _prepare_writing(self, connection: apsw.Connection) -> None:
        mode = connection.pragma("journal_mode", "wal")
        if mode != "wal":
            raise StorageError(
                f'the disk of "{self.path}" cannot share memory between processes, so'
                f" the database is in mode {mode}, not wal: use a local disk"
            )
        connection.pragma("synchronous", "full")
        # On macOS fsync leaves the data in the disk's cache; this does not.
        connection.pragma("fullfsync", True)  # noqa: FBT003
        connection.pragma("checkpoint_fullfsync", True)  # noqa: FBT003
        connection.pragma("foreign_keys", True)  # noqa: FBT003
        # What is deleted is overwritten with zeros, and so is every copy of it that
        # SQLite leaves behind when it moves rows between pages. All the time, for a
        # copy that an earlier insert has left would not be found by a later delete.
        connection.pragma("secure_delete", True)  # noqa: FBT003
        connection.pragma("journal_size_limit", WAL_BYTES_MAX)
        connection.wal_autocheckpoint(0)

    def _on_commit(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._checkpointer.committed(pages)
        return apsw.SQLITE_OK

    # -- migrations ----------------------------------------------------------

    def migrate(self, component: str, directory: Traversable) -> None:
        """Run the numbered .sql files of `directory` that have not run yet.

        `0001_name.sql`, in order, each in one transaction. Before tables that
        exist are changed, the file is copied beside itself. Call it before any
        write; it blocks. Raises `SchemaTooNewError` if a newer program was here.
        """
        files = _numbered(directory)
        connection = self._connection
        try:
            done = self._migrations_done(component, known=files.keys())
            missing = sorted(files.keys() - done)
            if done and missing:
                self._copy_aside(f"before-{component}-{missing[0]:04d}")
            for number in missing:
                script = files[number].read_text(encoding="utf-8")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    # Another process may have been quicker.
                    done = self._migrations_done(component, known=files.keys())
                    if number not in done:
                        connection.execute(script)
                        connection.execute(
                            "INSERT INTO schema_migrations VALUES (?, ?)",
                            (component, number),
                        )
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except (apsw.Error, OSError) as error:
            raise typed_error(error, self.path, connection) from error

    def check_schema(self, components: Mapping[str, Traversable]) -> None:
        """Hold the file's tables and triggers against those of the migrations.

        Call it after every component was migrated. A trigger or an index that is
        missing is made again. Raises `StorageCorruptError` for an object that is
        none of ours, or another than ours: a trigger that somebody planted could
        take back what is acknowledged later.
        """
        expected = _schema_of(components)
        try:
            found = _objects(self._connection)
            for name, statement in found.items():
                if expected.get(name) != statement:
                    raise StorageCorruptError(
                        f'"{self.path}" has {name[0]} "{name[1]}", which this program'
                        " did not make: restore a backup, and keep this file"
                    )
            for name, statement in expected.items():
                if name in found:
                    continue
                if name[0] == "table":
                    raise StorageCorruptError(
                        f'"{self.path}" has no table "{name[1]}": restore a backup,'
                        " and keep this file"
                    )
                self._connection.execute(statement)
        except apsw.Error as error:
            raise typed_error(error, self.path, self._connection) from error

    def _migrations_done(self, component: str, *, known: AbstractSet[int]) -> set[int]:
        done = {
            int(number)
            for (number,) in self._connection.execute(
                "SELECT number FROM schema_migrations WHERE component = ?",
                (component,),
            )
        }
        if done - known:
            raise SchemaTooNewError(
                f'"{self.path}" was written by a newer version of this program: its'
                f" {component} tables are at {max(done)}, this version knows"
                f" {max(known, default=0)}; install the newer version"
            )
        return done

    def _copy_aside(self, suffix: str) -> None:
        target = self.path.with_name(f"{self.path.name}.{suffix}")
        # One that is there was left by an upgrade that did not come to its end.
        target.unlink(missing_ok=True)
        _create(target)
        self._connection.execute("VACUUM INTO ?", (str(target),))
        _sync_directory(target.parent)

    # -- writing -------------------------------------------------------------

    async def write(
        self, work: Callable[[Transaction], T], *, fence: Fence | None = None
    ) -> T:
        """Run `work` in a transaction; return its result once it is on disk.

        `work` runs on the writer thread. If it raises, its changes are undone
        and others' are not. Errors of the database arrive as `StorageError`.
        A caller that is cancelled takes nothing back: the write goes on.
        """
        return await self.submit(work, fence=fence)

    def submit(
        self, work: Callable[[Transaction], T], *, fence: Fence | None = None
    ) -> "asyncio.Future[T]":
        """Do as `write`, without waiting. Works run in the order of submission."""
        return self._writer.submit(work, fence)

    def submit_jointly(self, joint: Joint[Item, T], item: Item) -> "asyncio.Future[T]":
        """Submit one of many items that `joint` does together, where many wait.

        Pass the same function each time. It runs on the writer thread, inside a
        transaction, returns one result for each item, and `Refused` for one that it
        has not done. If it raises, it is called again for each item alone.
        """
        return self._writer.submit_jointly(joint, item)

    # -- reading -------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Give a connection that shows the database as it is now, and cannot write.

        What is committed later is not seen. From any thread; the connection
        stays in the one that asked.
        """
        reader = self._take_reader()
        try:
            # BEGIN alone would take its snapshot at the first SELECT.
            reader.execute("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1")
            yield reader
        except apsw.Error as error:
            raise typed_error(error, self.path, reader) from error
        finally:
            self._give_back(reader)

    def first_row(
        self, statement: str, values: tuple[SQLiteValue, ...]
    ) -> tuple[Any, ...] | None:
        """Return the first row of one SELECT; None: there is none. From any thread.

        One statement sees one state by itself, so this is a third of `reading`. No
        other row is looked for.
        """
        reader = self._take_reader()
        try:
            return reader.execute(statement, values).fetchone()
        except apsw.Error as error:
            raise typed_error(error, self.path, reader) from error
        finally:
            self._give_back(reader)

    def _take_reader(self) -> apsw.Connection:
        with self._readers_lock:
            if self._closing:
                raise StorageError(f'the database "{self.path}" is closed')
            if self._readers:
                return self._readers.pop()
        try:
            return self._connect(reading=True)
        except apsw.Error as error:
            raise typed_error(error, self.path) from error

    def _give_back(self, reader: apsw.Connection) -> None:
        try:
            if reader.in_transaction:
                reader.execute("ROLLBACK")
        except apsw.Error:
            reader.close(True)  # noqa: FBT003 - whatever still goes on in it
            return
        with self._readers_lock:
            if len(self._readers) < READERS_KEPT_MAX and not self._closing:
                self._readers.append(reader)
                return
        reader.close(True)  # noqa: FBT003

    # -- copies --------------------------------------------------------------

    async def copy_to(self, target: Path) -> None:
        """Write the database as it is now to a new file, for its owner alone.

        Whoever writes meanwhile goes on. The copy is on disk when this returns;
        where it fails, no file is left. Raises `FileExistsError`, `StorageError`.
        """
        await asyncio.to_thread(self._copy_to, target)

    def _copy_to(self, target: Path) -> None:
        try:
            _create(target)
        except FileExistsError:
            raise
        except OSError as error:
            raise typed_error(error, target) from error
        try:
            connection = self._connect()
            try:
                connection.execute("VACUUM INTO ?", (str(target),))
            finally:
                connection.close()
            _sync_file(target)
            _sync_directory(target.parent)
        except (apsw.Error, OSError) as error:
            target.unlink(missing_ok=True)
            raise typed_error(error, target) from error

    # -- checkpoints, and the end --------------------------------------------

    async def checkpoint(self) -> None:
        """Copy the write-ahead log into the database, as far as readers allow.

        Needed for nothing but the size of that log, which is kept short anyway.
        """
        if not self._closing:
            await asyncio.to_thread(self._checkpointer.run_now)

    async def close(self) -> None:
        """Commit what was submitted, and close. Once more does nothing."""
        with self._readers_lock:
            first, self._closing = not self._closing, True
        await asyncio.to_thread(self._finish if first else self._closed.wait)

    def _finish(self) -> None:
        try:
            self._writer.stop()
            self._checkpointer.close()
            with self._readers_lock:
                readers, self._readers = self._readers, []
            for reader in readers:
                reader.close(True)  # noqa: FBT003
            # Nothing is lost without it: the write-ahead log is as durable. A
            # reader that goes on, here or in another process, is not waited for.
            self._connection.set_busy_timeout(0)
            with contextlib.suppress(apsw.Error):
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._connection.close()
        finally:
            self._closed.set()


def _create(path: Path) -> None:
    """Make an empty file that only its owner may read; raise if one is there."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    _sync_directory(path.parent)


def _check_mark(path: Path) -> None:
    """Refuse the database of another program, without a change to it.

    Only the header is looked at: to open the database would recover it, and its
    pages may be in disorder until then, if a process was killed that copied the
    write-ahead log into it. SQLite reads it, for if we closed a descriptor of
    this file ourselves, all locks that this process has on it would be gone.
    """
    journal = path.with_name(path.name + "-journal")
    if path.stat().st_size == 0 or journal.exists():
        return  # new, or made by a start that was killed; see _mark_if_new
    flags = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY
    file = apsw.VFSFile("", str(path), [flags, 0])
    try:
        header = file.xRead(min(_HEADER_BYTES, file.xFileSize()), 0)
    finally:
        file.xClose()
    if not header.startswith(_MAGIC) or len(header) < _HEADER_BYTES:
        raise apsw.NotADBError(f'"{path}" does not begin as a database does')
    mark = int.from_bytes(header[_MARK_AT : _MARK_AT + 4], "big")
    if mark != APPLICATION_ID:
        raise _foreign(path)


def _mark_of(connection: apsw.Connection) -> int:
    return int(connection.pragma("application_id"))


def _foreign(path: Path) -> StorageForeignError:
    return StorageForeignError(
        f'"{path}" is a database of another program: name another file'
    )


def _flush(path: Path) -> None:
    """Make what recovery found in the write-ahead log as durable as it looks.

    A process that is killed between writing a commit and its fsync leaves one
    that the next start sees, though the disk may not have it yet. Without
    this, an append that is repeated would be acknowledged on its word.
    """
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path.with_name(path.name + "-wal"), os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sync_file(path: Path) -> None:
    """Make what was written to a file durable. No connection has it open."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _schema_of(components: Mapping[str, Traversable]) -> dict[tuple[str, str], str]:
    """Return what the migrations of all components make, by (type, name)."""
    with contextlib.closing(apsw.Connection(":memory:")) as reference:
        reference.execute(_MIGRATIONS_TABLE)
        for directory in components.values():
            files = _numbered(directory)
            for number in sorted(files):
                reference.execute(files[number].read_text(encoding="utf-8"))
        return _objects(reference)


def _objects(connection: apsw.Connection) -> dict[tuple[str, str], str]:
    """Return the statement that made each object; SQLite's own have none."""
    return {
        (str(kind), str(name)): str(statement)
        for kind, name, statement in connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
        )
    }


def _numbered(directory: Traversable) -> dict[int, Traversable]:
    """Return the migrations in a directory by number."""
    files: dict[int, Traversable] = {}
    for file in directory.iterdir():
        if file.name.endswith(".sql"):
            number = int(file.name[:4])
            if number in files:
                raise ValueError(f'"{file.name}" has the number of another migration')
            files[number] = file
    return files
