"""T32: on an honest host nothing that is stored changes, whoever asks for it.

The database itself refuses, so that no fault of the code above it can overwrite
a record. It binds statements that change data; whoever may change the schema
(DROP TRIGGER) owns the file, and that is for clients to notice.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Final

import apsw
import pytest

from awserver.errors import SeqConflictError
from awserver.records import AccountId, RecordHash, Seq
from awserver.storage.base import Usage
from awserver.storage.sqlite import logs
from awserver.storage.sqlite.database import Database, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from tests.helpers.records import (
    ACCOUNT,
    CLIENT,
    OTHER_ACCOUNT,
    OTHER_CLIENT,
    chain,
    record,
)

APPENDS: Final = 50

COLUMNS: Final = {
    "records": ("account_id", "client_id", "seq", "hash", "header", "signature"),
    "bodies": ("account_id", "client_id", "seq", "body", "rowid"),
    "documents": ("account_id", "version", "hash", "document", "rowid"),
    "erasures": ("account_id", "client_id", "from_seq", "to_seq"),
}
TRIGGERS: Final = (
    *(f"{table}_no_update" for table in COLUMNS),
    *(f"{table}_no_delete" for table in COLUMNS),
    *(f"{table}_no_replace" for table in COLUMNS),
    "bodies_not_back",
)
NAMES: Final = {"account": ACCOUNT, "client": CLIENT, "other": OTHER_CLIENT}

Rows = dict[str, list[tuple[object, ...]]]


def updates() -> Iterator[str]:
    """To a value of its own kind, to another row's, to the very same."""
    hows = ("", " OR REPLACE", " OR IGNORE", " OR FAIL", " OR ROLLBACK")
    for how, (table, columns) in product(hows, COLUMNS.items()):
        for column in columns:
            for value in (f"max({column}, 0)", "zeroblob(16)", "2", column):
                yield f"UPDATE{how} {table} SET {column} = {value}"


def deletes() -> Iterator[str]:
    for table in COLUMNS:
        yield f"DELETE FROM {table}"
        yield f"DELETE FROM {table} WHERE account_id = :account RETURNING *"
    # What is erased already may go; all else stays.
    yield "DELETE FROM bodies WHERE seq NOT BETWEEN 3 AND 5"


def inserts() -> Iterator[str]:
    """Over rows that are there, by their key or by their rowid; and back again."""
    hows = (
        "INSERT",
        "REPLACE",
        *(f"INSERT OR {how}" for how in ("IGNORE", "ROLLBACK")),
    )
    for how in hows:
        for table in COLUMNS:
            yield f"{how} INTO {table} SELECT * FROM {table}"
        for seq in range(3):
            yield (
                f"{how} INTO records VALUES (:account, :client, {seq},"
                " zeroblob(32), zeroblob(173), zeroblob(64))"
            )
            yield f"{how} INTO bodies VALUES (:account, :client, {seq}, x'00')"
        for erased in (3, 4, 5):
            yield f"{how} INTO bodies VALUES (:account, :client, {erased}, x'00')"
        yield f"{how} INTO documents VALUES (:account, 1, zeroblob(32), x'00')"
        yield f"{how} INTO erasures VALUES (:account, :client, 3, 3)"
        for place, row in product(("rowid", "_rowid_", "oid"), (1, 2, 3)):
            yield (
                f"{how} INTO bodies ({place}, account_id, client_id, seq, body)"
                f" VALUES ({row}, :account, :other, 0, x'00')"
            )
        for row in (1, 2):
            yield (
                f"{how} INTO documents (rowid, account_id, version, hash, document)"
                f" VALUES ({row}, :account, 9, zeroblob(32), x'00')"
            )


def upserts() -> Iterator[str]:
    for table, (*_, column) in COLUMNS.items():
        name = "body" if table == "bodies" else column.replace("rowid", "document")
        for action in ("NOTHING", f"UPDATE SET {name} = excluded.{name}"):
            yield (
                f"INSERT INTO {table} SELECT * FROM {table} WHERE true"
                f" ON CONFLICT DO {action}"
            )


def statements() -> list[str]:
    return [*updates(), *deletes(), *inserts(), *upserts()]


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(tmp_path / "host.db", create=True)
    logs.migrate(database)
    yield database
    await database.close()


@pytest.fixture
async def rows(db: Database) -> Rows:
    """Fill the store: four records, one of them erased, and two documents.

    Another account is marked for deletion; nothing of this one may go for that.
    """
    store = SqliteLogStore(db)
    await store.append(ACCOUNT, chain(4))
    for version in (1, 2):
        await store.put_document(
            ACCOUNT,
            version=version,
            document=b"document",
            document_hash=bytes(32),
            keys_blob=None,
        )

    def erase(tx: Transaction) -> None:
        tx.execute("INSERT INTO erasures VALUES (:account, :client, 3, 5)", NAMES)
        tx.execute("DELETE FROM bodies WHERE client_id = :client AND seq = 3", NAMES)

    await db.write(erase)
    await db.write(mark(OTHER_ACCOUNT))
    with outsider(db) as connection:
        return all_rows(connection)


def mark(account: AccountId) -> Callable[[Transaction], None]:
    """Return a work that marks an account for deletion."""

    def work(tx: Transaction) -> None:
        tx.execute("INSERT INTO deletions (account_id) VALUES (?)", (account,))

    return work


@contextlib.contextmanager
def outsider(db: Database) -> Iterator[apsw.Connection]:
    """Connect as somebody who has the file and none of our settings."""
    connection = apsw.Connection(str(db.path))
    try:
        yield connection
    finally:
        connection.close()


def all_rows(connection: apsw.Connection) -> Rows:
    return {
        table: list(connection.execute(f"SELECT {', '.join(columns)} FROM {table}"))
        for table, columns in COLUMNS.items()
    }


def try_all(connection: apsw.Connection, before: Rows) -> tuple[int, list[str]]:
    """Try each statement by itself; return how many were refused, and what changed."""
    refused, changed = 0, []
    for statement in statements():
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(statement, NAMES).fetchall()
        except (apsw.ConstraintError, apsw.MismatchError):
            refused += 1
        if all_rows(connection) != before:
            changed.append(statement)
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return refused, changed


@pytest.mark.parametrize("recursive_triggers", [False, True])
def test_t32_no_statement_changes_what_is_stored(
    db: Database, rows: Rows, *, recursive_triggers: bool
) -> None:
    """UPDATE, DELETE, REPLACE, upserts, rowids: refused, or without effect."""
    assert [len(stored) for stored in rows.values()] == [4, 3, 2, 1]
    with outsider(db) as connection:
        connection.pragma("recursive_triggers", recursive_triggers)
        refused, changed = try_all(connection, rows)
    assert changed == []
    assert refused > 0.9 * len(statements())


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_t32_without_any_one_trigger_something_changes(
    db: Database, rows: Rows, trigger: str
) -> None:
    """Each trigger is needed: the mutants of the test above."""
    with outsider(db) as connection:
        connection.execute(f"DROP TRIGGER {trigger}")
        _, changed = try_all(connection, rows)
    assert changed


def test_t32_every_trigger_has_its_mutant(db: Database) -> None:
    """A trigger that is added is added to the list above too."""
    with outsider(db) as connection:
        named = "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        assert {name for (name,) in connection.execute(named)} == set(TRIGGERS)


async def test_t32_rows_of_an_account_that_is_deleted_may_only_go(
    db: Database, rows: Rows
) -> None:
    """Once it is marked: DELETE alone, no UPDATE, and nothing in another's place."""
    await db.write(mark(ACCOUNT))
    with outsider(db) as connection:
        _, changed = try_all(connection, rows)
    assert changed
    assert {statement.split()[0] for statement in changed} == {"DELETE"}
    assert {statement.split()[2] for statement in changed} == set(COLUMNS)


async def test_t32_fifty_appends_at_one_seq_store_one(db: Database) -> None:
    """Exactly one is stored and charged; the others are a conflict at that seq."""
    store = SqliteLogStore(db)
    (first,) = chain(1)
    await store.append(ACCOUNT, [first])
    rivals = [record(1, prev=first.hash, body=b"rival %d" % n) for n in range(APPENDS)]
    outcomes = await asyncio.gather(
        *(store.append(ACCOUNT, [rival]) for rival in rivals), return_exceptions=True
    )
    assert outcomes.count(1) == 1
    for outcome in outcomes:
        if outcome != 1:
            assert isinstance(outcome, SeqConflictError)
            assert (outcome.expected_seq, outcome.got_seq) == (2, 1)
    winner = rivals[outcomes.index(1)]
    assert await store.read(ACCOUNT, CLIENT, start=Seq(0)) == [first, winner]
    assert await store.usage(ACCOUNT) == Usage(
        entries=2, stored_bytes=len(first.encode()) + len(winner.encode())
    )


async def test_t32_fifty_appends_from_several_processes_store_one(
    db: Database,
) -> None:
    """The same through several writers of one file, as workers of a host are."""
    others = [Database.open(db.path, create=False) for _ in range(4)]
    stores = [SqliteLogStore(one) for one in (db, *others)]
    outcomes = await asyncio.gather(
        *(
            stores[n % len(stores)].append(ACCOUNT, [record(body=b"rival %d" % n)])
            for n in range(APPENDS)
        ),
        return_exceptions=True,
    )
    assert outcomes.count(1) == 1
    assert sum(isinstance(one, SeqConflictError) for one in outcomes) == APPENDS - 1
    (stored,) = await stores[0].read(ACCOUNT, CLIENT, start=Seq(0))
    assert stored.body == b"rival %d" % outcomes.index(1)
    for one in others:
        await one.close()


async def test_t32_an_overwrite_is_a_conflict(db: Database) -> None:
    """Through the store, whatever is different: body, epoch, prev, signature."""
    store = SqliteLogStore(db)
    records = chain(2)
    await store.append(ACCOUNT, records)
    before = await store.usage(ACCOUNT)
    for other in (
        record(0, body=b"another body"),
        record(0, epoch=1, body=records[0].body or b""),
        record(1, prev=RecordHash(b"\1" * 32), body=records[1].body or b""),
    ):
        with pytest.raises(SeqConflictError):
            await store.append(ACCOUNT, [other])
    assert await store.read(ACCOUNT, CLIENT, start=Seq(0)) == records
    assert await store.usage(ACCOUNT) == before
