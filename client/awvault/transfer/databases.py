"""Read ActivityWatch's own databases, while its server runs or not.

Both servers keep one SQLite file. It is opened for reading only, and read in short
pages: each is a transaction of a few milliseconds, so that the server, should it
run, never waits for us long enough to refuse a heartbeat. What it writes meanwhile
is found by the next import. The file is never copied, which would leave plain text
in one more place.

What is read of the Python server's: `bucketmodel(key, id, created, type, client,
hostname, datastr)` and `eventmodel(id, bucket_id, timestamp, duration, datastr)`;
of the Rust server's: `buckets(id, name, type, client, hostname, created, data)` and
`events(id, bucketrow, starttime, endtime, data)`, times in nanoseconds.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import apsw
import platformdirs

from awvault.columns import timestamps
from awvault.errors import Error, InvalidInputError
from awvault.transfer.activitywatch import shown
from awvault.transfer.parts import BucketPart, Part, Parts, Rows, bucket_part

PAGE_EVENTS: Final = 4_096
"""Events of one transaction: about ten milliseconds."""

GATHERED_EVENTS_MAX: Final = 65_536
"""Events of all buckets together that wait for more of their bucket."""

BUSY_MILLISECONDS: Final = 5_000
TEXT_BYTES_MAX: Final = 1024 * 1024
"""Of one value; SQLite refuses to make a longer one."""

FOLDER: Final = "activitywatch"
FILES: Final = (
    Path("aw-server") / "peewee-sqlite.v2.db",
    Path("aw-server-rust") / "sqlite.db",
)
"""Where the two servers keep their data, in ActivityWatch's folder."""


class DatabaseError(Error):
    """A database of ActivityWatch cannot be read."""

    def __init__(self, path: Path, message: str, *, hint: str | None = None) -> None:
        super().__init__(f'"{path}": {message}')
        self.hint = hint


Row = tuple[Any, ...]
Columns = tuple[list[int], list[int], list[Any]]


@dataclass(frozen=True, slots=True)
class _Schema:
    """How one of the servers keeps buckets and events."""

    tables: tuple[str, str]
    """Of buckets, and of events."""
    buckets: str
    """Gives key, id, type, client, hostname, when it was created, and the data."""
    data: str
    """The column with a bucket's data; old databases do not have it."""
    buckets_without_data: str
    page: str
    """Gives id and bucket, then what `columns` takes: ? events after the id ?."""
    columns: Callable[[list[Row]], Columns]
    """Makes starts, durations and data of rows."""


def find_databases() -> list[Path]:
    """Return the databases in ActivityWatch's folder that are there."""
    folder = Path(platformdirs.user_data_dir(FOLDER))
    return [folder / file for file in FILES if (folder / file).is_file()]


async def database_parts(path: Path) -> Parts:
    """Yield what a database holds.

    Raises `DatabaseError`, and `InvalidInputError` naming the event that is wrong.
    """
    reader = await asyncio.to_thread(_Database, path)
    try:
        parts = reader.parts()
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            yield part
    except apsw.Error as error:
        raise _failed(path, error) from error
    finally:
        reader.close()


class _Database:
    """One database, open for reading."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = apsw.Connection(
                f"file:{quote(str(path.absolute()))}?mode=ro{_how(path)}",
                flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI,
            )
        except apsw.Error as error:
            raise _failed(path, error) from error
        try:
            self._connection.set_busy_timeout(BUSY_MILLISECONDS)
            self._connection.limit(apsw.SQLITE_LIMIT_LENGTH, TEXT_BYTES_MAX)
            # The file is another program's: nothing in its schema runs here.
            self._connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
            self._connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            self._schema = self._find_schema()
        except apsw.Error as error:
            self.close()
            raise _failed(path, error) from error
        except DatabaseError:
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def _find_schema(self) -> _Schema:
        tables = self._names("SELECT name FROM sqlite_master WHERE type = 'table'")
        for schema in (_PYTHON, _RUST):
            if tables.issuperset(schema.tables):
                return schema
        raise DatabaseError(
            self._path, "this is no database of ActivityWatch's servers"
        )

    def _names(self, sql: str, *given: str) -> set[str]:
        return {str(row[0]) for row in self._connection.execute(sql, given)}

    def parts(self) -> Iterator[Part]:
        """Yield every bucket, and then the events in the order of their ids."""
        schema = self._schema
        columns = self._names("SELECT name FROM pragma_table_info(?)", schema.tables[0])
        has_data = schema.data in columns
        buckets: list[Row] = self._connection.execute(
            schema.buckets if has_data else schema.buckets_without_data
        ).fetchall()
        gathered: dict[int, Rows] = {}
        for key, *fields in buckets:
            bucket = _bucket(fields)
            gathered[key] = Rows(bucket.id)
            yield bucket
        after = -(2**63)
        while page := self._page(after):
            after = int(page[-1][0])
            _put_page(gathered, page, schema)
            everything = sum(map(_count, gathered.values())) > GATHERED_EVENTS_MAX
            for rows in gathered.values():
                if rows.is_full() or (everything and rows.starts):
                    yield rows.take()
        for rows in gathered.values():
            if rows.starts:
                yield rows.take()

    def _page(self, after: int) -> list[Row]:
        found: list[Row] = self._connection.execute(
            self._schema.page, (after, PAGE_EVENTS)
        ).fetchall()
        return found


def _how(path: Path) -> str:
    """Return how a database in a folder that cannot be written to must be opened.

    SQLite would make its files for readers there. Without a write-ahead log, all is
    in the one file, which nobody changes.
    """
    log = path.with_name(path.name + "-wal")
    if os.access(path.parent, os.W_OK) or log.exists():
        return ""
    return "&immutable=1"


def _count(rows: Rows) -> int:
    return len(rows.starts)


def _bucket(fields: Sequence[Any]) -> BucketPart:
    bucket_id, kind, client, hostname, created, data = fields
    try:
        return bucket_part(
            str(bucket_id),
            type=str(kind),
            client=str(client),
            hostname=str(hostname),
            created=timestamps.parse(str(created), field="created"),
            data=_bytes(data) or b"{}",
        )
    except InvalidInputError as error:
        raise error.within(f'bucket "{shown(str(bucket_id))}"') from None


def _put_page(gathered: dict[int, Rows], page: list[Row], schema: _Schema) -> None:
    """Put rows to those of their buckets."""
    by_bucket: dict[int, list[Row]] = {}
    for row in page:
        by_bucket.setdefault(row[1], []).append(row)
    for key, part in by_bucket.items():
        # A bucket that was made meanwhile is found by the next import.
        if key in gathered:
            _put(gathered[key], part, schema)


def _put(rows: Rows, part: list[Row], schema: _Schema) -> None:
    try:
        starts, durations, texts = schema.columns(part)
        rows.put_many(starts, durations, [_bytes(text) for text in texts])
    except (InvalidInputError, TypeError, ValueError, OverflowError) as error:
        if len(part) > 1:
            for row in part:
                _put(Rows(rows.bucket), [row], schema)
        wrong = InvalidInputError("", "its time or duration is no number")
        if isinstance(error, InvalidInputError):
            wrong = error
        field = wrong.field.removeprefix("[0]").removeprefix(".")
        raise InvalidInputError(
            f'bucket "{shown(rows.bucket)}", event {part[0][0]}'
            + (f", {field}" if field else ""),
            str(wrong),
        ) from None


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode("utf-8", "surrogatepass")


def _python_columns(rows: list[Row]) -> Columns:
    return (
        [timestamps.parse(str(row[2])) for row in rows],
        [round(float(row[3]) * 1e6) for row in rows],
        [row[4] for row in rows],
    )


def _rust_columns(rows: list[Row]) -> Columns:
    # As its export is read: rounded to the nearest microsecond.
    return (
        [(row[2] + 500) // 1_000 for row in rows],
        [round((row[3] - row[2]) / 1e9 * 1e6) for row in rows],
        [row[4] for row in rows],
    )


_PYTHON: Final = _Schema(
    tables=("bucketmodel", "eventmodel"),
    buckets="SELECT key, id, type, client, hostname, created, datastr"
    " FROM bucketmodel ORDER BY key",
    data="datastr",
    buckets_without_data="SELECT key, id, type, client, hostname, created, NULL"
    " FROM bucketmodel ORDER BY key",
    page="SELECT id, bucket_id, timestamp, duration, datastr FROM eventmodel"
    " WHERE id > ? ORDER BY id LIMIT ?",
    columns=_python_columns,
)
_RUST: Final = _Schema(
    tables=("buckets", "events"),
    buckets="SELECT id, name, type, client, hostname, created, data"
    " FROM buckets ORDER BY id",
    data="data",
    buckets_without_data="SELECT id, name, type, client, hostname, created, NULL"
    " FROM buckets ORDER BY id",
    page="SELECT id, bucketrow, starttime, endtime, data FROM events"
    " WHERE id > ? ORDER BY id LIMIT ?",
    columns=_rust_columns,
)


def _failed(path: Path, error: apsw.Error) -> DatabaseError:
    """Say what a person can do about an error of SQLite."""
    match error:
        case apsw.NotADBError():
            return DatabaseError(
                path,
                "this is no SQLite database, or it is encrypted",
                hint="import from the running server: awvault import"
                " http://localhost:5600",
            )
        case apsw.BusyError() | apsw.LockedError():
            return DatabaseError(
                path,
                "another program is writing to it",
                hint="stop ActivityWatch, and try again",
            )
        case apsw.ReadOnlyError() | apsw.CantOpenError():
            return DatabaseError(
                path,
                "it cannot be opened for reading",
                hint="if it is there and yours to read: its server was not shut down;"
                " start it once and stop it, and try again",
            )
        case apsw.CorruptError():
            return DatabaseError(
                path,
                "it is damaged; what came before that place is here",
                hint="import an export of it, or what `sqlite3 FILE .recover` makes"
                " of a copy",
            )
        case _:
            return DatabaseError(path, f"it cannot be read: {error}")
