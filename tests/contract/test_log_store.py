"""What every `LogStore` must do, told as one story per promise.

A backend joins by adding itself to `BACKENDS`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from awserver.documents import DOCUMENT_BYTES_MAX, KEYS_BLOB_BYTES_MAX
from awserver.errors import (
    ChainBrokenError,
    DocumentConflictError,
    LimitExceededError,
    MalformedRecordError,
    RecordErasedError,
    SeqConflictError,
    ServerError,
)
from awserver.records import (
    BODY_BYTES_MAX,
    RECORD_BYTES_MIN,
    SEQ_MAX,
    AccountId,
    ClientId,
    Head,
    RecordHash,
    SealedRecord,
    Seq,
)
from awserver.storage.base import (
    APPEND_BYTES_MAX,
    APPEND_RECORDS_MAX,
    LogStore,
    Usage,
)
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
    without_body,
)

Erase = Callable[[AccountId, ClientId, int, int], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A store, and what only its service may do."""

    store: LogStore
    erase: Erase
    """Destroy the bodies from one seq to another."""


@asynccontextmanager
async def sqlite(directory: Path) -> AsyncIterator[Backend]:
    database = Database.open(directory / "host.db", create=True)
    logs.migrate(database)

    async def erase(
        account: AccountId, client: ClientId, first: int, last: int
    ) -> None:
        def work(tx: Transaction) -> None:
            place = (account, client, first, last)
            tx.execute("INSERT INTO erasures VALUES (?, ?, ?, ?)", place)
            tx.execute(
                "DELETE FROM bodies WHERE account_id = ? AND client_id = ?"
                " AND seq BETWEEN ? AND ?",
                place,
            )

        await database.write(work)

    yield Backend(store=SqliteLogStore(database), erase=erase)
    await database.close()


BACKENDS: Final[dict[str, Callable[[Path], AbstractAsyncContextManager[Backend]]]] = {
    "sqlite": sqlite
}


@pytest.fixture(params=sorted(BACKENDS))
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Backend]:
    async with BACKENDS[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def store(backend: Backend) -> LogStore:
    return backend.store


async def stored(
    store: LogStore, account: AccountId = ACCOUNT, client: ClientId = CLIENT
) -> list[SealedRecord]:
    return await store.read(account, client, start=Seq(0), bytes_max=2**30)


def bytes_of(records: list[SealedRecord]) -> int:
    return sum(len(one.encode()) for one in records)


async def test_what_is_appended_is_read_byte_for_byte(store: LogStore) -> None:
    """Records come back in order, with their bodies; heads and usage follow."""
    records = chain(3)
    assert await store.append(ACCOUNT, records) == 3
    assert await stored(store) == records
    assert await store.heads(ACCOUNT) == {
        CLIENT: Head(seq=Seq(2), hash=records[2].hash)
    }
    assert await store.usage(ACCOUNT) == Usage(
        entries=3, stored_bytes=bytes_of(records)
    )
    assert await store.read_body(ACCOUNT, CLIENT, Seq(1)) == records[1].body


async def test_a_store_that_holds_nothing_says_so(store: LogStore) -> None:
    """An unknown account is empty, not an error."""
    assert await store.heads(ACCOUNT) == {}
    assert await stored(store) == []
    assert await store.usage(ACCOUNT) == Usage(entries=0, stored_bytes=0)
    assert await store.accounts() == []
    assert await store.documents(ACCOUNT) == []
    assert await store.keys_blob(ACCOUNT) is None
    assert await store.read_body(ACCOUNT, CLIENT, Seq(0)) is None
    assert await store.append(ACCOUNT, []) == 0


async def test_the_same_bytes_again_are_done_already(store: LogStore) -> None:
    """A repeated append stores nothing, charges nothing, and is no error."""
    records = chain(3)
    await store.append(ACCOUNT, records)
    usage = await store.usage(ACCOUNT)
    assert await store.append(ACCOUNT, records[1:]) == 0
    assert await store.append(ACCOUNT, without_body(records)) == 0
    assert await store.usage(ACCOUNT) == usage
    more = chain(2, after=records[-1])
    assert await store.append(ACCOUNT, [*records, *more]) == 2
    assert await stored(store) == [*records, *more]


@pytest.mark.parametrize("seq", [1, 4, SEQ_MAX])
async def test_a_gap_is_refused(store: LogStore, seq: int) -> None:
    """Only the next seq is taken; the error has both numbers."""
    (first,) = chain(1)
    if seq > 1:
        await store.append(ACCOUNT, [first])
    with pytest.raises(SeqConflictError) as caught:
        await store.append(ACCOUNT, [record(seq, prev=first.hash)])
    assert caught.value.got_seq == seq
    assert caught.value.expected_seq == (0 if seq == 1 else 1)


@pytest.mark.parametrize("seq", [0, 1, 2])
async def test_other_bytes_at_a_taken_seq_are_refused(
    store: LogStore, seq: int
) -> None:
    """Whatever differs, header or signature: what stands there stays."""
    records = chain(3)
    await store.append(ACCOUNT, records)
    taken = records[seq]
    others = [
        replace(taken, signature=bytes(64)),
        record(seq, prev=taken.header.prev, body=b"other"),
    ]
    for other in others:
        with pytest.raises(SeqConflictError) as caught:
            await store.append(ACCOUNT, [other])
        assert (caught.value.expected_seq, caught.value.got_seq) == (3, seq)
    assert await stored(store) == records


async def test_prev_must_be_the_hash_of_the_record_before(store: LogStore) -> None:
    """Zeros before the first record, its predecessor's hash before any other."""
    wrong = RecordHash(b"\1" * 32)
    with pytest.raises(ChainBrokenError):
        await store.append(ACCOUNT, [record(0, prev=wrong)])
    records = chain(1)
    await store.append(ACCOUNT, records)
    for prev in (wrong, RecordHash(bytes(32))):
        with pytest.raises(ChainBrokenError):
            await store.append(ACCOUNT, [record(1, prev=prev)])
    assert await stored(store) == records


async def test_an_epoch_never_falls(store: LogStore) -> None:
    """A log goes to a later epoch, and not back, not within one append either."""
    first = chain(1, epoch=2)
    later = chain(1, after=first[0], epoch=4)
    await store.append(ACCOUNT, first)
    with pytest.raises(ChainBrokenError):
        await store.append(ACCOUNT, chain(1, after=first[0], epoch=1))
    with pytest.raises(ChainBrokenError):
        await store.append(ACCOUNT, [*later, *chain(1, after=later[0], epoch=3)])
    assert await store.append(ACCOUNT, later) == 1


async def test_an_append_is_all_or_nothing(store: LogStore) -> None:
    """One bad record at the end, and none of the good ones before it is stored."""
    records = chain(4)
    bad: list[tuple[SealedRecord, type[ServerError]]] = [
        (record(5, prev=records[-1].hash), SeqConflictError),
        (record(4), ChainBrokenError),
        (record(0, account=OTHER_ACCOUNT), MalformedRecordError),
        (replace(chain(1, after=records[-1])[0], body=None), MalformedRecordError),
        (replace(chain(1, after=records[-1])[0], body=b"?"), MalformedRecordError),
    ]
    for last, error in bad:
        with pytest.raises(error):
            await store.append(ACCOUNT, [*records, last])
        assert await stored(store) == []
        assert await store.heads(ACCOUNT) == {}
        assert await store.usage(ACCOUNT) == Usage(entries=0, stored_bytes=0)
    assert await store.append(ACCOUNT, records) == 4


async def test_one_append_may_go_to_several_logs(store: LogStore) -> None:
    """Each client has a log of its own, with seqs and a chain of its own."""
    mine, theirs = chain(3), chain(2, client=OTHER_CLIENT)
    mixed = [mine[0], theirs[0], mine[1], theirs[1], mine[2]]
    assert await store.append(ACCOUNT, mixed) == 5
    assert await stored(store) == mine
    assert await stored(store, client=OTHER_CLIENT) == theirs
    assert await store.heads(ACCOUNT) == {
        CLIENT: Head(seq=Seq(2), hash=mine[2].hash),
        OTHER_CLIENT: Head(seq=Seq(1), hash=theirs[1].hash),
    }


async def test_accounts_are_apart(store: LogStore) -> None:
    """The same client id in another account is another log."""
    await store.append(ACCOUNT, chain(2))
    theirs = chain(1, account=OTHER_ACCOUNT)
    await store.append(OTHER_ACCOUNT, theirs)
    assert await stored(store, OTHER_ACCOUNT) == theirs
    assert (await store.usage(ACCOUNT)).entries == 2
    assert set(await store.heads(OTHER_ACCOUNT)) == {CLIENT}
    with pytest.raises(MalformedRecordError):
        await store.append(ACCOUNT, theirs)


async def test_heads_name_every_log_at_its_end(store: LogStore) -> None:
    """However many logs, and however their ids sort."""
    clients = [ClientId(bytes([n]) * 16) for n in (0, 1, 127, 128, 255)]
    ends = {}
    for length, client in enumerate(clients, start=1):
        records = chain(length, client=client)
        await store.append(ACCOUNT, records)
        ends[client] = Head(seq=Seq(length - 1), hash=records[-1].hash)
    assert await store.heads(ACCOUNT) == ends


@pytest.mark.parametrize("start", [0, 2, 4, 5, SEQ_MAX, SEQ_MAX + 1, 2**64])
async def test_a_page_begins_where_it_is_asked_to(store: LogStore, start: int) -> None:
    """A start beyond the end is an empty page, whatever the number."""
    records = chain(5)
    await store.append(ACCOUNT, records)
    page = await store.read(ACCOUNT, CLIENT, start=Seq(start), bytes_max=10_000)
    assert page == records[start:]


@pytest.mark.parametrize("bytes_max", [0, 1, 244, 488, 500, 731, 732, 10_000])
async def test_a_page_is_no_longer_than_asked_for(
    store: LogStore, bytes_max: int
) -> None:
    """Pages lead through the whole log; a record that is too long comes alone."""
    records = chain(5, body=b"")  # of 239 bytes each
    await store.append(ACCOUNT, records)
    start, got = Seq(0), list[SealedRecord]()
    while page := await store.read(ACCOUNT, CLIENT, start=start, bytes_max=bytes_max):
        assert len(page) == 1 or bytes_of(page) <= bytes_max
        rest = records[len(got) + len(page) :]
        assert not rest or bytes_of([*page, rest[0]]) > bytes_max
        got += page
        start = Seq(len(got))
    assert got == records


async def test_a_page_may_come_without_bodies(store: LogStore) -> None:
    """Then only headers and signatures count for its length."""
    records = chain(3, body=bytes(1_000))
    await store.append(ACCOUNT, records)
    page = await store.read(
        ACCOUNT, CLIENT, start=Seq(0), bytes_max=3 * RECORD_BYTES_MIN, bodies=False
    )
    assert page == without_body(records)


async def test_an_erased_body_is_gone_and_is_not_taken_back(backend: Backend) -> None:
    """The chain still reads; headers may be put back, the body may not."""
    store, records = backend.store, chain(4)
    await store.append(ACCOUNT, records)
    await backend.erase(ACCOUNT, CLIENT, 1, 2)
    assert await stored(store) == [
        records[0],
        *without_body(records[1:3]),
        records[3],
    ]
    assert await store.read_body(ACCOUNT, CLIENT, Seq(2)) is None
    for seq in (1, 2):
        with pytest.raises(RecordErasedError):
            await store.append(ACCOUNT, [records[seq]])
    assert await store.append(ACCOUNT, without_body(records[1:3])) == 0
    assert await store.append(ACCOUNT, [records[0], records[3]]) == 0
    assert (await store.heads(ACCOUNT))[CLIENT].hash == records[3].hash


async def test_a_log_with_an_erased_range_can_be_put_back(backend: Backend) -> None:
    """A store that lost its records takes the erased ones without their bodies."""
    store, records = backend.store, chain(3)
    await backend.erase(ACCOUNT, CLIENT, 1, 1)
    with pytest.raises(RecordErasedError):
        await store.append(ACCOUNT, records)
    bodiless = [records[0], *without_body(records[1:2]), records[2]]
    assert await store.append(ACCOUNT, bodiless) == 3
    assert await stored(store) == bodiless
    with pytest.raises(RecordErasedError):
        await store.append(ACCOUNT, records)


async def test_one_append_has_limits(store: LogStore) -> None:
    """Too many records, or too many bytes, are refused before any is stored."""
    many = chain(APPEND_RECORDS_MAX + 1, body=b"")
    with pytest.raises(LimitExceededError, match=str(APPEND_RECORDS_MAX)):
        await store.append(ACCOUNT, many)
    heavy = [record(0, body=bytes(BODY_BYTES_MAX))]
    with pytest.raises(LimitExceededError, match=str(APPEND_BYTES_MAX)):
        await store.append(ACCOUNT, heavy * (APPEND_BYTES_MAX // BODY_BYTES_MAX))
    assert await stored(store) == []
    assert await store.append(ACCOUNT, many[:-1]) == APPEND_RECORDS_MAX
    assert await store.append(ACCOUNT, many[-1:]) == 1


async def test_appends_at_once_at_one_place_have_one_winner(store: LogStore) -> None:
    """Others at the same seq are told so; the winner's bytes are what is read."""
    rivals = [record(0, body=b"rival %d" % n) for n in range(20)]
    outcomes = await asyncio.gather(
        *(store.append(ACCOUNT, [one]) for one in rivals), return_exceptions=True
    )
    (winner,) = [at for at, outcome in enumerate(outcomes) if outcome == 1]
    losers = outcomes[:winner] + outcomes[winner + 1 :]
    assert all(isinstance(one, SeqConflictError) for one in losers)
    assert await stored(store) == [rivals[winner]]
    assert (await store.usage(ACCOUNT)).entries == 1


async def test_many_logs_grow_at_once(store: LogStore) -> None:
    """Appends of many clients do not disturb one another."""

    async def grow(number: int) -> list[SealedRecord]:
        client = ClientId(bytes([number]) * 16)
        records = chain(10, client=client)
        for one in records:
            assert await store.append(ACCOUNT, [one]) == 1
        return records

    logs_of_all = await asyncio.gather(*(grow(number) for number in range(8)))
    for number, records in enumerate(logs_of_all):
        client = ClientId(bytes([number]) * 16)
        assert await stored(store, client=client) == records
    assert (await store.usage(ACCOUNT)).entries == 80


async def put(
    store: LogStore, version: int, *, blob: bytes | None = None, text: bytes = b"doc"
) -> None:
    await store.put_document(
        ACCOUNT,
        version=version,
        document=text + b" %d" % version,
        document_hash=bytes(32),
        keys_blob=blob,
    )


async def test_documents_are_kept_and_the_blob_replaced(store: LogStore) -> None:
    """Every version stays readable; of the keys blob only the newest."""
    await put(store, 1, blob=b"one")
    await put(store, 2)
    assert await store.keys_blob(ACCOUNT) == b"one"
    await put(store, 3, blob=b"three")
    assert await store.keys_blob(ACCOUNT) == b"three"
    assert await store.documents(ACCOUNT) == [b"doc 1", b"doc 2", b"doc 3"]
    assert await store.documents(ACCOUNT, start_version=3) == [b"doc 3"]
    assert await store.documents(ACCOUNT, start_version=2**64) == []
    assert await store.accounts() == [ACCOUNT]


@pytest.mark.parametrize("version", [-1, 0, 1, 2, 4, 2**63, 2**64])
async def test_a_document_must_be_the_next_version(
    store: LogStore, version: int
) -> None:
    """Any other version is a conflict, and its blob is not stored either."""
    await put(store, 1, blob=b"one")
    await put(store, 2)
    with pytest.raises(DocumentConflictError) as caught:
        await put(store, version, blob=b"stale", text=b"stale")
    assert (caught.value.expected_version, caught.value.got_version) == (3, version)
    assert await store.documents(ACCOUNT) == [b"doc 1", b"doc 2"]
    assert await store.keys_blob(ACCOUNT) == b"one"


async def test_edits_at_once_of_one_document_have_one_winner(store: LogStore) -> None:
    """Compare-and-swap: all others are told that it has moved on."""
    texts = [b"edit %d" % number for number in range(20)]
    outcomes = await asyncio.gather(
        *(put(store, 1, text=text, blob=text) for text in texts),
        return_exceptions=True,
    )
    (winner,) = [at for at, outcome in enumerate(outcomes) if outcome is None]
    losers = outcomes[:winner] + outcomes[winner + 1 :]
    assert all(isinstance(one, DocumentConflictError) for one in losers)
    assert await store.documents(ACCOUNT) == [texts[winner] + b" 1"]
    assert await store.keys_blob(ACCOUNT) == texts[winner]


async def test_documents_have_limits(store: LogStore) -> None:
    """A document or a blob that is too long is refused, and nothing is stored."""
    with pytest.raises(LimitExceededError, match=str(DOCUMENT_BYTES_MAX)):
        await put(store, 1, text=bytes(DOCUMENT_BYTES_MAX))
    with pytest.raises(LimitExceededError, match=str(KEYS_BLOB_BYTES_MAX)):
        await put(store, 1, blob=bytes(KEYS_BLOB_BYTES_MAX + 1))
    assert await store.documents(ACCOUNT) == []
