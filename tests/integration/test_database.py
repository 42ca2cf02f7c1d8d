"""`Database` on a real file: opening, migrating, group commit, reading, closing."""

import asyncio
import gc
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import apsw
import pytest

from awserver.errors import (
    SchemaTooNewError,
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageForeignError,
)
from awserver.storage.sqlite import logs
from awserver.storage.sqlite.checkpoints import PAGE_BYTES, WAL_BYTES_MAX
from awserver.storage.sqlite.database import Database, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from awserver.storage.sqlite.writer import GROUP_WORKS_MAX
from tests.helpers.databases import (
    Fault,
    InjectedError,
    database,
    failing,
    insert,
    numbers,
)
from tests.helpers.records import ACCOUNT, CLIENT, OTHER_CLIENT, chain


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
async def db(path: Path) -> AsyncIterator[Database]:
    async with database(path) as opened:
        yield opened


def touch(path: Path) -> None:
    path.touch(mode=0o600)


def scribble(path: Path) -> None:
    path.write_bytes(b"not a database at all, " * 400)


def held(hold: threading.Event) -> Callable[[Transaction], bool]:
    """Return a work that keeps the writer busy, so that others gather."""
    return lambda _: hold.wait()


def running(statement: str) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        tx.execute(statement)

    return work


# -- opening ------------------------------------------------------------------


async def test_files_are_for_their_owner_alone(path: Path) -> None:
    """The database, its write-ahead log and its shared memory are mode 0600."""
    before = os.umask(0)
    try:
        async with database(path):
            modes = {
                file.name: stat.S_IMODE(file.stat().st_mode)
                for file in path.parent.iterdir()
            }
    finally:
        os.umask(before)
    assert modes == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600}


async def test_settings_that_durability_rests_on(db: Database) -> None:
    """WAL, synchronous FULL, zeros over what is deleted, no temporary files."""

    def work(tx: Transaction) -> list[object]:
        names: tuple[str, ...] = ("journal_mode", "synchronous", "foreign_keys")
        names += ("secure_delete", "temp_store", "application_id")
        return [tx.pragma(name) for name in names]

    assert await db.write(work) == ["wal", 2, 1, 1, 2, 0x41575332]


def test_create_refuses_a_file_that_is_there(path: Path) -> None:
    """Also an empty one, and a link to nowhere: nothing is replaced or followed."""
    path.write_bytes(b"")
    with pytest.raises(StorageError, match="exists"):
        Database.open(path, create=True)
    link = path.with_name("link.db")
    link.symlink_to(path.with_name("nowhere.db"))
    with pytest.raises(StorageError, match="exists"):
        Database.open(link, create=True)
    assert not path.with_name("nowhere.db").exists()


def test_open_refuses_a_file_that_is_missing(path: Path) -> None:
    """And makes none."""
    with pytest.raises(StorageError, match="there is no database"):
        Database.open(path, create=False)
    with pytest.raises(StorageError, match="there is no database"):
        Database.open(path.parent, create=False)
    assert list(path.parent.iterdir()) == []


def test_a_directory_that_is_missing_is_named(path: Path) -> None:
    """The error says which file could not be made."""
    with pytest.raises(StorageError, match=r"no-such/a\.db"):
        Database.open(path.parent / "no-such" / "a.db", create=True)


async def test_what_a_killed_first_start_left_is_a_new_database(path: Path) -> None:
    """An empty file is opened as one."""
    touch(path)
    async with database(path, create=False) as opened:
        await opened.write(lambda tx: tx.pragma("user_version", 7))
    async with database(path, create=False) as opened:
        with opened.reading() as tx:
            assert tx.pragma("user_version") == 7


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
@pytest.mark.parametrize("application_id", [0, 0x0F055112])
def test_a_database_of_another_program_stays_as_it_is(
    tmp_path: Path, journal_mode: str, application_id: int
) -> None:
    """Refused, with a mark of its own or none, and untouched, its log included."""
    busy = tmp_path / "busy"
    busy.mkdir()
    other = apsw.Connection(str(busy / "a.db"))
    other.pragma("journal_mode", journal_mode)
    other.pragma("application_id", application_id)
    other.execute("CREATE TABLE precious (x); INSERT INTO precious VALUES (1)")
    # Copied while it is open: as a killed program leaves it.
    left = {
        name: (busy / name).read_bytes()
        for name in ("a.db", "a.db-wal")
        if (busy / name).exists()
    }
    other.close()
    directory = tmp_path / "left"
    directory.mkdir()
    for name, content in left.items():
        (directory / name).write_bytes(content)
    with pytest.raises(StorageForeignError, match="another program"):
        Database.open(directory / "a.db", create=False)
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == left
    assert len(left) == (2 if journal_mode == "wal" else 1)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """It is called damaged, for nobody can tell what it was."""
    scribble(path)
    before = path.read_bytes()
    with pytest.raises(StorageCorruptError, match="damaged"):
        Database.open(path, create=False)
    assert path.read_bytes() == before


async def test_a_path_means_the_same_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading connections, opened later, find the file after a chdir."""
    monkeypatch.chdir(tmp_path)
    async with database(Path("a.db?mode=memory#%41")) as opened:
        monkeypatch.chdir("/")
        await opened.write(insert(1))
        assert numbers(opened) == [1]
    monkeypatch.chdir(tmp_path)
    async with database(Path("a.db?mode=memory#%41"), create=False) as opened:
        assert numbers(opened) == [1]


# -- migrations ---------------------------------------------------------------


def copies(directory: Path) -> list[Path]:
    return sorted(directory.glob("*before*"))


def write_migrations(directory: Path, *statements: str) -> Path:
    directory.mkdir(exist_ok=True)
    for number, statement in enumerate(statements, start=1):
        (directory / f"{number:04d}_step.sql").write_text(statement)
    return directory


async def test_migrations_run_once_and_in_order(tmp_path: Path, db: Database) -> None:
    """Running them again changes nothing; components are apart."""
    steps = write_migrations(
        tmp_path / "sql",
        "CREATE TABLE one (x);",
        "ALTER TABLE one ADD COLUMN y; INSERT INTO one VALUES (1, 2);",
    )
    for component in ("first", "first"):
        db.migrate(component, steps)
    with db.reading() as tx:
        assert tx.execute("SELECT * FROM one").fetchall() == [(1, 2)]
    with pytest.raises(StorageError, match="already exists"):
        db.migrate("second", steps)


async def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, db: Database
) -> None:
    """All of one file, or nothing of it; and it can run once it is mended."""
    steps = write_migrations(tmp_path / "sql", "CREATE TABLE one (x); SELECT nonsense;")
    with pytest.raises(StorageError, match="nonsense"):
        db.migrate("first", steps)
    db.migrate("first", write_migrations(steps, "CREATE TABLE one (x);"))
    await db.write(insert(1))


async def test_before_an_upgrade_the_file_is_copied(tmp_path: Path, path: Path) -> None:
    """The copy opens, is ours, holds what was there, and is mode 0600."""
    old = write_migrations(tmp_path / "old", "")
    new = write_migrations(tmp_path / "new", "", "DELETE FROM notes;")
    async with database(path) as opened:
        opened.migrate("first", old)
        await opened.write(insert(1))
    assert not copies(tmp_path)
    async with database(path, create=False) as opened:
        opened.migrate("first", new)
        assert numbers(opened) == []
    (copy,) = copies(tmp_path)
    assert copy.name == "a.db.before-first-0002"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    async with database(copy, create=False) as opened:
        assert numbers(opened) == [1]


async def test_a_database_of_a_newer_program_is_refused(
    tmp_path: Path, path: Path
) -> None:
    """With both numbers, and without a change to it."""
    new = write_migrations(tmp_path / "new", "", "CREATE TABLE two (x);")
    async with database(path) as opened:
        opened.migrate("first", new)
    old = write_migrations(tmp_path / "old", "")
    async with database(path, create=False) as opened:
        with pytest.raises(SchemaTooNewError, match="are at 2, this version knows 1"):
            opened.migrate("first", old)


async def test_two_processes_may_migrate_at_once(tmp_path: Path, path: Path) -> None:
    """Each step runs once, whoever comes first."""
    async with database(path), asyncio.TaskGroup() as group:
        steps = write_migrations(
            tmp_path / "sql", *(f"CREATE TABLE t{n} (x);" for n in range(10))
        )
        both = [Database.open(path, create=False) for _ in range(2)]
        for one in both:
            group.create_task(asyncio.to_thread(one.migrate, "first", steps))
    for one in both:
        with one.reading() as tx:
            done = tx.execute("SELECT count(*) FROM schema_migrations").fetchall()
        assert done == [(10,)]
        await one.close()


# -- group commit -------------------------------------------------------------


async def test_writes_at_once_share_commits(path: Path) -> None:
    """Many concurrent writes make few commits, and each is there."""
    fault = Fault("never")
    async with database(path, fault) as opened:
        got = await asyncio.gather(*(opened.write(insert(n)) for n in range(300)))
        assert got == list(range(300))
        assert fault.count("worked") == 300
        assert fault.count("commit") < 30
    async with database(path, create=False) as opened:
        assert numbers(opened) == list(range(300))


async def test_a_group_is_bounded(path: Path) -> None:
    """However many wait, a commit has at most so many works."""
    fault = Fault("never")
    async with database(path, fault) as opened:
        hold = threading.Event()
        futures = [opened.submit(held(hold))]
        futures += [opened.submit(lambda _: True) for _ in range(GROUP_WORKS_MAX * 2)]
        hold.set()
        await asyncio.gather(*futures)
        runs = " ".join(fault.passed).split("commit committed")
        assert max(run.count("worked") for run in runs) == GROUP_WORKS_MAX
        assert len(runs) - 1 >= 3


async def test_works_run_in_the_order_of_submission(db: Database) -> None:
    """Within a group and over groups."""
    seen: list[int] = []

    def appending(at: int, _: Transaction) -> None:
        seen.append(at)

    await asyncio.gather(*(db.submit(partial(appending, at)) for at in range(1_500)))
    assert seen == list(range(1_500))


async def test_a_failed_work_is_undone_alone(db: Database) -> None:
    """Its neighbours in the group are stored; it leaves nothing behind."""
    works = [
        insert(1),
        failing(2, InjectedError("mine")),
        insert(3),
        insert(3),
        insert(4),
    ]
    got = await asyncio.gather(
        *(db.write(one) for one in works), return_exceptions=True
    )
    assert got[0] == 1
    assert isinstance(got[1], InjectedError)
    assert got[2] == 3
    assert isinstance(got[3], StorageError)
    assert "UNIQUE" in str(got[3])
    assert got[4] == 4
    assert numbers(db) == [1, 3, 4]


async def test_a_work_that_ends_its_transaction_is_refused(db: Database) -> None:
    """It fails, and those after it in the group are not committed piece by piece."""
    for statement in ("COMMIT", "ROLLBACK"):
        hold = threading.Event()
        db.submit(held(hold))
        wrong = db.submit(running(statement))
        after = db.submit(insert(9))
        hold.set()
        for future in (wrong, after):
            with pytest.raises(StorageError):
                await future
        assert numbers(db) == []
    assert await db.write(insert(1)) == 1


async def test_an_odd_exception_reaches_whoever_waits(db: Database) -> None:
    """Even those that a future does not take; the others are resolved too."""
    kinds = (StopIteration("a"), KeyboardInterrupt("b"), SystemExit("c"))
    futures = [db.submit(failing(at, kind)) for at, kind in enumerate(kinds)]
    good = db.submit(insert(9))
    await asyncio.wait([*futures, good])
    assert isinstance(futures[0].exception(), RuntimeError)
    assert isinstance(futures[1].exception(), KeyboardInterrupt)
    assert isinstance(futures[2].exception(), SystemExit)
    assert numbers(db) == [await good]


async def test_who_is_cancelled_takes_nothing_back(db: Database) -> None:
    """The write goes on, the writer too, and no error is left unseen."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: complaints.append(context)
    )
    hold = threading.Event()
    db.submit(held(hold))
    waiting = [
        asyncio.create_task(db.write(one))
        for one in (insert(1), failing(2, InjectedError()), insert(3))
    ]
    await asyncio.wait(waiting, timeout=0)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert all(task.cancelled() for task in waiting)
    hold.set()
    assert await db.write(insert(4)) == 4
    assert numbers(db) == [1, 3, 4]
    del waiting
    gc.collect()
    assert complaints == []


async def test_a_loop_that_is_gone_does_not_stop_the_writer(db: Database) -> None:
    """A work whose loop has closed is done, and nobody is told."""
    hold = threading.Event()

    async def submit_and_leave() -> None:
        db.submit(held(hold))
        db.submit(insert(1))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, submit_and_leave()).result()
    hold.set()
    assert await db.write(insert(2)) == 2
    assert numbers(db) == [1, 2]


async def test_another_process_that_holds_the_lock_is_named(
    db: Database, path: Path
) -> None:
    """A typed error after the time to wait is over, and the next write works."""
    await db.write(lambda tx: tx.set_busy_timeout(20))
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageBusyError, match="another process"):
        await db.write(insert(1))
    other.close()
    assert await db.write(insert(2)) == 2


async def test_two_processes_may_write(db: Database, path: Path) -> None:
    """Each waits for the other; nothing is lost."""
    async with database(path, create=False) as other:
        await asyncio.gather(
            *(one.write(insert(n)) for n in range(200) for one in ((db, other)[n % 2],))
        )
        assert numbers(db) == numbers(other) == list(range(200))


# -- reading ------------------------------------------------------------------


async def test_a_read_sees_one_moment(db: Database) -> None:
    """The one when it began, even before its first statement."""
    await db.write(insert(1))
    with db.reading() as before:
        await db.write(insert(2))
        with db.reading() as after:
            assert before.execute("SELECT count(*) FROM notes").fetchall() == [(1,)]
            assert after.execute("SELECT count(*) FROM notes").fetchall() == [(2,)]
        await db.write(insert(3))
        assert before.execute("SELECT count(*) FROM notes").fetchall() == [(1,)]
    assert numbers(db) == [1, 2, 3]


async def test_a_read_cannot_write(db: Database) -> None:
    """Not by a statement, and not by a way around."""
    for statement in ("INSERT INTO notes VALUES (1, x'')", "DROP TABLE notes"):
        with pytest.raises(StorageError), db.reading() as tx:
            tx.execute(statement)
    assert numbers(db) == []


async def test_no_connection_reaches_behind_the_schema(db: Database) -> None:
    """Defensive mode: `writable_schema` has no effect."""

    def work(tx: Transaction) -> None:
        tx.execute("PRAGMA writable_schema = ON")
        tx.execute("DELETE FROM sqlite_schema")

    with pytest.raises(StorageError, match="sqlite_master may not be modified"):
        await db.write(work)


async def test_reads_run_beside_writes_in_any_thread(db: Database) -> None:
    """No reader sees half a group's work, whatever is going on."""

    def pair(number: int) -> Callable[[Transaction], None]:
        def work(tx: Transaction) -> None:
            insert(number)(tx)
            insert(-number)(tx)

        return work

    def look() -> bool:
        seen = numbers(db)
        return sum(seen) == 0 and len(seen) % 2 == 0

    writes = [db.write(pair(number)) for number in range(1, 200)]
    looks = [asyncio.to_thread(look) for _ in range(100)]
    got = await asyncio.gather(*writes, *looks)
    assert all(got[len(writes) :])
    assert len(numbers(db)) == 398


def break_off(db: Database) -> None:
    with db.reading() as tx:
        next(tx.execute("SELECT * FROM notes"))
        raise InjectedError


async def test_a_read_that_was_broken_off_leaves_nothing(db: Database) -> None:
    """Its connection serves the next one, with a fresh snapshot."""
    for number in range(20):
        await db.write(insert(number))
        with pytest.raises(InjectedError):
            break_off(db)
        assert len(numbers(db)) == number + 1


# -- the write-ahead log ------------------------------------------------------


def wal_bytes(path: Path) -> int:
    return path.with_name(path.name + "-wal").stat().st_size


async def test_the_write_ahead_log_stays_short_under_steady_load(
    db: Database, path: Path
) -> None:
    """Ten times its bound is written, without a pause, and it is begun anew."""
    text = bytes(PAGE_BYTES * 8)
    longest = 0

    async def load(first: int) -> None:
        nonlocal longest
        for number in range(first, first + 400):
            await db.write(insert(number, text))
            longest = max(longest, wal_bytes(path))

    await asyncio.gather(*(load(1_000 * at) for at in range(4)))
    assert 1_600 * len(text) > 10 * WAL_BYTES_MAX
    assert WAL_BYTES_MAX < longest < 4 * WAL_BYTES_MAX


async def test_a_long_read_delays_no_write_and_the_log_recovers(
    db: Database, path: Path
) -> None:
    """The log grows while the read lasts, and is short again some writes later."""
    text = bytes(PAGE_BYTES * 32)
    with db.reading() as tx:
        for number in range(100):
            await db.write(insert(number, text))
        assert wal_bytes(path) > 2 * WAL_BYTES_MAX
        assert tx.execute("SELECT count(*) FROM notes").fetchall() == [(0,)]
    for number in range(100, 1_000):
        await db.write(insert(number, text))
        if wal_bytes(path) <= WAL_BYTES_MAX:
            break
    else:
        pytest.fail(f"the log still has {wal_bytes(path)} bytes")


def holds(path: Path, text: bytes) -> bool:
    return text in path.read_bytes()


async def test_a_checkpoint_may_be_asked_for(db: Database, path: Path) -> None:
    """Then what was committed is in the file itself."""
    await db.write(insert(1, b"canary in the file"))
    assert not holds(path, b"canary in the file")
    await db.checkpoint()
    assert holds(path, b"canary in the file")


# -- closing ------------------------------------------------------------------


async def test_closing_commits_what_was_submitted(path: Path) -> None:
    """Every future is resolved, and one file is left."""
    opened = Database.open(path, create=True)
    await opened.write(running("CREATE TABLE notes (number, text)"))
    futures = [opened.submit(insert(number)) for number in range(600)]
    await asyncio.gather(opened.close(), opened.close())
    assert [await future for future in futures] == list(range(600))
    assert [file.name for file in path.parent.iterdir()] == ["a.db"]
    await opened.close()


async def test_nothing_is_done_once_it_is_closed(db: Database) -> None:
    """Writing, reading: a typed error each; another checkpoint is no matter."""
    await db.close()
    with pytest.raises(StorageError, match="closed"):
        await db.write(insert(1))
    with pytest.raises(StorageError, match="closed"):
        numbers(db)
    await db.checkpoint()


async def test_closing_does_not_wait_for_a_reader(db: Database, path: Path) -> None:
    """The reader goes on with what it saw; nothing committed is lost."""
    await db.write(insert(1))
    with db.reading() as tx:
        await db.write(insert(2))
        await asyncio.wait_for(db.close(), 5)
        assert tx.execute("SELECT count(*) FROM notes").fetchall() == [(1,)]
    async with database(path, create=False) as opened:
        assert numbers(opened) == [1, 2]


async def test_threads_end(path: Path) -> None:
    """Opening and closing leaves no thread, also where opening failed."""
    before = threading.active_count()
    scribble(path)
    with pytest.raises(StorageCorruptError):
        Database.open(path, create=False)
    assert threading.active_count() == before
    async with database(path.with_name("b.db")):
        assert threading.active_count() == before + 2
    names = {thread.name for thread in threading.enumerate()}
    assert not any(name.startswith("database") for name in names)


async def test_the_stores_tables_are_made_once(path: Path) -> None:
    """The product's own migrations run on a new file and not again."""
    for create in (True, False):
        async with database(path, create=create) as opened:
            logs.migrate(opened)
            logs.migrate(opened)
            with opened.reading() as tx:
                found = tx.execute("SELECT * FROM schema_migrations").fetchall()
            assert found == [("host", 1), ("host", 2)]


async def test_a_store_of_the_version_before_is_upgraded(
    tmp_path: Path, path: Path
) -> None:
    """A copy is kept beside it; what each log takes is counted from its records."""
    old = tmp_path / "old"
    old.mkdir()
    first = logs.migrations() / "0001_logs.sql"
    (old / "0001_logs.sql").write_text(first.read_text())
    records = [*chain(3), *chain(2, client=OTHER_CLIENT, body=bytes(100))]
    async with database(path) as opened:
        opened.migrate(logs.COMPONENT, old)

        def work(tx: Transaction) -> None:
            for one in records:
                key = (ACCOUNT, one.header.client_id, one.header.seq)
                tx.execute(
                    "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)",
                    (*key, one.hash, one.header_bytes, one.signature),
                )
                tx.execute("INSERT INTO bodies VALUES (?, ?, ?, ?)", (*key, one.body))

        await opened.write(work)
    async with database(path, create=False) as opened:
        logs.migrate(opened)
        overview = await SqliteLogStore(opened).overview(ACCOUNT)
        taken = {client: log.stored_bytes for client, log in overview.logs.items()}
        assert taken == {
            CLIENT: sum(len(one.encode()) for one in records[:3]),
            OTHER_CLIENT: sum(len(one.encode()) for one in records[3:]),
        }
        await opened.write(running("DROP TABLE notes"))
        opened.check_schema({logs.COMPONENT: logs.migrations()})
    assert [copy.name for copy in copies(tmp_path)] == ["a.db.before-host-0002"]
