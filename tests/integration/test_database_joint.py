"""Works that are done jointly: many appends of one group in few statements."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import apsw
import pytest

from awserver.errors import (
    ChainBrokenError,
    QuotaExceededError,
    SeqConflictError,
    SessionInvalidError,
    StorageFullError,
)
from awserver.records import AccountId, SealedRecord, Seq
from awserver.storage.base import Appended, Grant, NewDocument, Session
from awserver.storage.sqlite import logs
from awserver.storage.sqlite.accounts import SqliteAccountStore
from awserver.storage.sqlite.database import Database, Refused, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from tests.helpers.databases import Fault, InjectedError, database, insert, numbers
from tests.helpers.records import (
    ACCOUNT,
    CLIENT,
    OTHER_ACCOUNT,
    OTHER_CLIENT,
    chain,
    record,
)

NOW: Final = 500_000
BROKEN: Final = 13
REFUSED: Final = 7


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@contextlib.asynccontextmanager
async def gathering(opened: Database) -> AsyncIterator[None]:
    """Let what is submitted inside become one group, after one that is held."""
    started, hold = threading.Event(), threading.Event()

    def work(_: Transaction) -> None:
        started.set()
        hold.wait()

    held = opened.submit(work)
    try:
        await asyncio.to_thread(started.wait)
        yield
    finally:
        hold.set()
    await held


@dataclass(slots=True)
class Notes:
    """A joint function that notes numbers, and how often it was called."""

    calls: list[list[int]] = field(default_factory=list)

    def __call__(self, tx: Transaction, items: Sequence[int]) -> list[int | Refused]:
        self.calls.append(list(items))
        results: list[int | Refused] = []
        for number in items:
            if number == REFUSED:
                results.append(Refused(InjectedError("refused")))
                continue
            results.append(insert(number)(tx))
            if number == BROKEN:
                raise InjectedError("broken")
        return results


async def outcomes(
    *futures: "asyncio.Future[int]",
) -> list[int | BaseException]:
    return await asyncio.gather(*futures, return_exceptions=True)


# -- the writer -----------------------------------------------------------------


async def test_what_waits_is_done_by_one_call(path: Path) -> None:
    """Each gets its own result, and other works keep their place among them."""
    notes = Notes()
    seen: list[object] = []

    def look(tx: Transaction) -> int:
        seen.extend(number for (number,) in tx.execute("SELECT number FROM notes"))
        return 0

    async with database(path) as opened:
        async with gathering(opened):
            futures = [opened.submit_jointly(notes, number) for number in (1, 2, 3)]
            futures.append(opened.submit(look))
            futures += [opened.submit_jointly(notes, number) for number in (4, 5)]
        assert await outcomes(*futures) == [1, 2, 3, 0, 4, 5]
    assert notes.calls == [[1, 2, 3], [4, 5]]
    assert seen == [1, 2, 3]


async def test_a_refused_item_fails_alone(path: Path) -> None:
    """Without another try, whether others wait beside it or not."""
    notes = Notes()
    async with database(path) as opened:
        async with gathering(opened):
            futures = [opened.submit_jointly(notes, n) for n in (1, REFUSED, 3)]
        got = await outcomes(*futures)
        with pytest.raises(InjectedError, match="refused"):
            await opened.submit_jointly(notes, REFUSED)
        assert [type(one) for one in got] == [int, InjectedError, int]
        assert numbers(opened) == [1, 3]
    assert notes.calls == [[1, REFUSED, 3], [REFUSED]]


async def test_where_all_fail_together_each_is_tried_alone(path: Path) -> None:
    """What the call had done is undone; only the one that is broken fails."""
    notes = Notes()
    async with database(path) as opened:
        async with gathering(opened):
            futures = [opened.submit_jointly(notes, n) for n in (1, BROKEN, 3)]
        got = await outcomes(*futures)
        assert [type(one) for one in got] == [int, InjectedError, int]
        assert numbers(opened) == [1, 3]
    assert notes.calls == [[1, BROKEN, 3], [1], [BROKEN], [3]]


@pytest.mark.parametrize("point", ["work", "worked"])
async def test_a_fault_of_the_call_costs_nobody_their_write(
    path: Path, point: str
) -> None:
    """The group is done one by one."""
    notes, fault = Notes(), Fault(point, nth=2)
    async with database(path, fault) as opened:
        async with gathering(opened):
            futures = [opened.submit_jointly(notes, n) for n in range(5)]
        assert await outcomes(*futures) == [0, 1, 2, 3, 4]
        assert numbers(opened) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("point", ["commit", "committed"])
async def test_a_commit_that_fails_fails_for_the_whole_call(
    path: Path, point: str
) -> None:
    """Nobody is told that a write is done when it is not known to be."""
    notes, fault = Notes(), Fault(point, lambda: apsw.FullError("full"), nth=2)
    async with database(path, fault) as opened:
        async with gathering(opened):
            futures = [opened.submit_jointly(notes, n) for n in range(3)]
        got = await outcomes(*futures)
        assert all(isinstance(one, StorageFullError) for one in got)
        assert len({id(one) for one in got}) == 3, "one error object for several tasks"


# -- appends ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Host:
    """Two accounts in a database, each with a session."""

    database: Database
    accounts: SqliteAccountStore
    logs: SqliteLogStore

    async def together(
        self,
        *wanted: tuple[Grant, Sequence[SealedRecord]],
        quota_bytes: int | None = None,
    ) -> list[Appended | BaseException]:
        """Append in one group; return how each ended."""
        async with gathering(self.database):
            tasks = [
                asyncio.ensure_future(
                    self.accounts.append(
                        by, records, version=1, quota_bytes=quota_bytes
                    )
                )
                for by, records in wanted
            ]
            await asyncio.sleep(0)  # each is submitted by its first step
        return await asyncio.gather(*tasks, return_exceptions=True)


def grant(account: AccountId = ACCOUNT, *, token: bytes = b"t" * 32) -> Grant:
    return Grant(
        account_id=account, token_hash=token, seen_hour_min=NOW - 720, hour=NOW
    )


@pytest.fixture
async def host(path: Path) -> AsyncIterator[Host]:
    opened = Database.open(path, create=True)
    logs.migrate(opened)
    store = SqliteLogStore(opened)
    accounts = SqliteAccountStore(opened, store)
    for account in (ACCOUNT, OTHER_ACCOUNT):
        await accounts.create(
            account,
            username=f"owner-{account[:1].decode()}",
            documents=[NewDocument(version=1, document=b"document", hash=b"h" * 32)],
            keys_blob=b"blob",
            nonce=account * 2,
            session=Session(
                token_hash=b"t" * 32,
                client_id=CLIENT,
                created_hour=NOW,
                seen_hour=NOW,
            ),
            invite_hash=None,
            hour=NOW,
        )
    yield Host(opened, accounts, store)
    await opened.close()


def ended(outcomes: Sequence[Appended | BaseException]) -> list[object]:
    """Return how many records were new, or the class of the error."""
    return [one.new if isinstance(one, Appended) else type(one) for one in outcomes]


async def test_appends_of_one_group_build_on_one_another(host: Host) -> None:
    """In the order they came: records follow those of the append before."""
    records = chain(90)
    got = await host.together(
        *((grant(), records[at : at + 30]) for at in range(0, 90, 30)),
        (grant(OTHER_ACCOUNT), chain(2, account=OTHER_ACCOUNT)),
        (grant(), chain(3, client=OTHER_CLIENT)),
    )
    assert ended(got) == [30, 30, 30, 2, 3]
    assert await host.logs.read(ACCOUNT, CLIENT, start=Seq(0)) == records
    usage = await host.logs.usage(ACCOUNT)
    overview = await host.logs.overview(ACCOUNT)
    assert usage.entries == overview.state.entries == 93
    assert usage.stored_bytes == sum(one.stored_bytes for one in overview.logs.values())
    assert (await host.logs.usage(OTHER_ACCOUNT)).entries == 2


async def test_appends_of_one_group_are_refused_one_by_one(host: Host) -> None:
    """Rivals, gaps, breaks and strangers change nothing, and stop nobody else."""
    records = chain(3)
    rival = record(1, prev=records[0].hash, body=b"another")
    broken = record(3, prev=records[1].hash)
    got = await host.together(
        (grant(), records[:1]),
        (grant(), [*records[:2], record(3)]),
        (grant(), records[:2]),
        (grant(), [rival]),
        (grant(token=b"u" * 32), records[2:]),
        (grant(), records[1:]),
        (grant(), [broken]),
        (grant(), records),
    )
    assert ended(got) == [
        1,
        SeqConflictError,
        1,
        SeqConflictError,
        SessionInvalidError,
        1,
        ChainBrokenError,
        0,
    ]
    conflict = got[3]
    assert isinstance(conflict, SeqConflictError)
    assert (conflict.expected_seq, conflict.got_seq) == (2, 1)
    assert await host.logs.read(ACCOUNT, CLIENT, start=Seq(0)) == records
    assert (await host.logs.usage(ACCOUNT)).entries == 3


async def test_a_group_is_held_to_its_quota(host: Host) -> None:
    """What the group has brought so far counts, what was refused does not."""
    records = chain(3)
    size = len(records[0].encode())
    got = await host.together(
        (grant(), records[:2]),
        (grant(), records),
        (grant(OTHER_ACCOUNT), chain(2, account=OTHER_ACCOUNT)),
        (grant(), records[:2]),
        quota_bytes=2 * size,
    )
    assert ended(got) == [2, QuotaExceededError, 2, 0]
    refused = got[1]
    assert isinstance(refused, QuotaExceededError)
    assert (refused.quota_bytes, refused.needed_bytes) == (2 * size, 3 * size)
    assert (await host.logs.usage(ACCOUNT)).stored_bytes == 2 * size


async def test_a_group_notes_the_use_of_its_sessions(host: Host) -> None:
    """Only of those whose append was taken."""
    later = replace(grant(), hour=NOW + 5)
    other = replace(grant(OTHER_ACCOUNT), hour=NOW + 5)
    await host.together((later, chain(1)), (other, [record(1, account=OTHER_ACCOUNT)]))
    seen = [
        (await host.accounts.sessions(account))[0].seen_hour
        for account in (ACCOUNT, OTHER_ACCOUNT)
    ]
    assert seen == [NOW + 5, NOW]
