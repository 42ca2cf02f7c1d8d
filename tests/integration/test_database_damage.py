"""A disk that does not give back what was stored: named, and never passed on."""

from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from awserver.errors import StorageCorruptError
from awserver.records import ClientId, Seq
from awserver.storage.sqlite import logs
from awserver.storage.sqlite.checkpoints import PAGE_BYTES
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from tests.helpers.records import ACCOUNT, CLIENT, OTHER_CLIENT, chain

DAMAGES = [
    "DELETE FROM bodies",
    "UPDATE bodies SET body = zeroblob(length(body))",
    "UPDATE bodies SET body = x''",
    "UPDATE bodies SET body = CAST(body || x'00' AS BLOB)",
    "UPDATE records SET header = zeroblob(173)",
    "UPDATE records SET header = CAST(x'41' || substr(header, 1, 172) AS BLOB)",
]


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """Give a database with two logs of three records each."""
    database = Database.open(tmp_path / "host.db", create=True)
    logs.migrate(database)
    store = SqliteLogStore(database)
    await store.append(ACCOUNT, chain(3))
    await store.append(ACCOUNT, chain(3, client=OTHER_CLIENT))
    yield database
    await database.close()


def damage(path: Path, statement: str, client: ClientId, seq: int) -> None:
    """Change a record as a disk would: without asking a trigger."""
    connection = apsw.Connection(str(path))
    triggers = list(
        connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    )
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(f"{statement} WHERE client_id = ? AND seq = ?", (client, seq))
    assert connection.changes() == 1
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()


@pytest.mark.parametrize("statement", DAMAGES)
async def test_a_damaged_record_is_named_and_not_read(
    db: Database, statement: str
) -> None:
    """The page before it, and every other log, are read as ever."""
    damage(db.path, statement, CLIENT, 1)
    store = SqliteLogStore(db)
    with pytest.raises(StorageCorruptError, match="damaged"):
        await store.read(ACCOUNT, CLIENT, start=Seq(0))
    with pytest.raises(StorageCorruptError):
        await store.read_body(ACCOUNT, CLIENT, Seq(1))
    first = await store.read(ACCOUNT, CLIENT, start=Seq(0), bytes_max=1)
    assert first == chain(1)
    theirs = await store.read(ACCOUNT, OTHER_CLIENT, start=Seq(0))
    assert theirs == chain(3, client=OTHER_CLIENT)


async def test_nothing_is_put_on_top_of_a_damaged_head(db: Database) -> None:
    """It is the store that is at fault, not who appends."""
    records = chain(4)
    damage(db.path, "UPDATE records SET header = zeroblob(173)", CLIENT, 2)
    store = SqliteLogStore(db)
    with pytest.raises(StorageCorruptError, match="damaged"):
        await store.append(ACCOUNT, records[3:])
    assert await store.append(ACCOUNT, chain(4, client=OTHER_CLIENT)) == 1


def overwrite_last_pages(path: Path, count: int) -> None:
    content = path.read_bytes()
    assert len(content) > 2 * count * PAGE_BYTES
    path.write_bytes(content[: -count * PAGE_BYTES] + b"\xff" * count * PAGE_BYTES)


async def test_a_damaged_page_of_the_file_is_a_typed_error(tmp_path: Path) -> None:
    """What SQLite itself finds is `StorageCorruptError` too, and says what to do."""
    path = tmp_path / "host.db"
    database = Database.open(path, create=True)
    logs.migrate(database)
    store = SqliteLogStore(database)
    await store.append(ACCOUNT, chain(200))
    await database.close()
    overwrite_last_pages(path, 10)
    database = Database.open(path, create=False)
    with pytest.raises(StorageCorruptError, match="restore it from a backup"):
        await SqliteLogStore(database).read(ACCOUNT, CLIENT, start=Seq(0))
    await database.close()
