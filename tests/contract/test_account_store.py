"""What every `AccountStore` must do, told as one story per promise.

A backend joins by adding itself to `BACKENDS`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from awserver.errors import (
    AccountDeletingError,
    AccountDisabledError,
    AccountExistsError,
    AccountUnknownError,
    ChainBrokenError,
    DocumentConflictError,
    InviteInvalidError,
    ProofRefusedError,
    QuotaExceededError,
    SeqConflictError,
    ServerError,
    SessionInvalidError,
    UsernameTakenError,
)
from awserver.records import AccountId, ClientId, Head, Seq
from awserver.storage.base import (
    DELETE_ROWS_MAX,
    SESSIONS_MAX,
    Access,
    Account,
    AccountStore,
    Appended,
    ChangeState,
    EndedSessions,
    FoundAccount,
    Grant,
    LogState,
    LogStore,
    NewDocument,
    Overview,
    Session,
    Standing,
    Usage,
)
from awserver.storage.sqlite import logs
from awserver.storage.sqlite.accounts import SqliteAccountStore
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from tests.helpers.records import (
    ACCOUNT,
    CLIENT,
    OTHER_ACCOUNT,
    OTHER_CLIENT,
    chain,
    record,
)

NOW: Final = 500_000
"""The current hour of the tests."""

BLOB: Final = b"keys blob"
_fresh: Final = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    accounts: AccountStore
    logs: LogStore


@asynccontextmanager
async def sqlite(directory: Path) -> AsyncIterator[Backend]:
    database = Database.open(directory / "host.db", create=True)
    logs.migrate(database)
    records = SqliteLogStore(database)
    yield Backend(accounts=SqliteAccountStore(database, records), logs=records)
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
def store(backend: Backend) -> AccountStore:
    return backend.accounts


def nonce(hour: int = NOW) -> bytes:
    """Return a nonce that was not used yet."""
    return hour.to_bytes(4, "big") + next(_fresh).to_bytes(28, "big")


def session(
    number: int = 1,
    *,
    client: ClientId = CLIENT,
    created: int = NOW,
    seen: int | None = None,
) -> Session:
    return Session(
        token_hash=number.to_bytes(8, "big") * 4,
        client_id=client,
        created_hour=created,
        seen_hour=created if seen is None else seen,
    )


def grant(
    to: Session | None = None, *, hour: int = NOW, account: AccountId = ACCOUNT
) -> Grant:
    return Grant(
        account_id=account,
        token_hash=(to or session()).token_hash,
        seen_hour_min=hour - 720,
        hour=hour,
    )


def documents(*versions: int) -> list[NewDocument]:
    return [
        NewDocument(version=version, document=b"document %d" % version, hash=bytes(32))
        for version in versions
    ]


async def create(
    store: AccountStore,
    account: AccountId = ACCOUNT,
    *,
    username: str = "ada",
    versions: Sequence[int] = (1,),
    used: bytes | None = None,
    invite: bytes | None = None,
    first: Session | None = None,
    hour: int = NOW,
) -> None:
    await store.create(
        account,
        username=username,
        documents=documents(*versions),
        keys_blob=BLOB,
        nonce=used or nonce(),
        session=first or session(),
        invite_hash=invite,
        hour=hour,
    )


async def put(
    store: AccountStore,
    *versions: int,
    used: bytes | None = None,
    blob: bytes | None = None,
    ended: EndedSessions | None = None,
    by: Grant | None = None,
) -> None:
    await store.put_documents(
        ACCOUNT,
        documents(*versions),
        keys_blob=blob,
        nonce=used or nonce(),
        ended=ended or EndedSessions(),
        grant=by,
    )


def live(store: AccountStore, one: Session) -> bool:
    return store.access(ACCOUNT, one.token_hash) is not None


# -- making accounts ----------------------------------------------------------


async def test_a_new_account_is_found_by_its_name(backend: Backend) -> None:
    """With its documents, its blob and its first session, all at once."""
    store = backend.accounts
    await create(store, versions=(1, 2))
    assert await store.find("ada") == FoundAccount(
        account_id=ACCOUNT, standing=Standing.ACTIVE, version=2
    )
    assert await store.account(ACCOUNT) == Account(
        account_id=ACCOUNT,
        username="ada",
        standing=Standing.ACTIVE,
        quota_bytes=None,
        usage=Usage(entries=0, stored_bytes=0),
    )
    assert store.access(ACCOUNT, session().token_hash) == Access(
        session=session(), standing=Standing.ACTIVE, version=2
    )
    assert await backend.logs.documents(ACCOUNT) == [b"document 1", b"document 2"]
    assert await backend.logs.keys_blob(ACCOUNT) == BLOB


async def test_what_is_not_there_is_not_found(store: AccountStore) -> None:
    """Unknown names, accounts and tokens are None, and end nothing."""
    assert await store.find("ada") is None
    assert await store.account(ACCOUNT) is None
    assert store.access(ACCOUNT, bytes(32)) is None
    assert await store.sessions(ACCOUNT) == []
    assert not await store.end_session(ACCOUNT, bytes(8))
    assert await store.states([ACCOUNT]) == {}
    assert await store.deletions() == []
    for act in (
        store.set_quota(ACCOUNT, 1),
        store.set_standing(ACCOUNT, Standing.DISABLED),
        store.delete(ACCOUNT, nonce=None, grant=None),
        put(store, 1),
        store.add_session(
            ACCOUNT, session(), nonce=nonce(), version=0, seen_hour_min=0
        ),
    ):
        with pytest.raises(AccountUnknownError):
            await act
    with pytest.raises(SessionInvalidError):
        await store.append(grant(), chain(1), version=0, quota_bytes=None)


async def test_names_and_accounts_are_unique(backend: Backend) -> None:
    """The second of a name, or of an account, is refused and leaves nothing."""
    store = backend.accounts
    await create(store)
    with pytest.raises(UsernameTakenError):
        await create(store, OTHER_ACCOUNT)
    with pytest.raises(AccountExistsError):
        await create(store, username="bob")
    assert await store.find("bob") is None
    assert await backend.logs.documents(OTHER_ACCOUNT) == []
    assert [one.username for one in await store.list_accounts()] == ["ada"]


async def test_of_many_who_want_a_name_one_gets_it(store: AccountStore) -> None:
    """At once: the others are told that it is taken."""
    ids = [AccountId(bytes([n]) * 16) for n in range(20)]
    outcomes = await asyncio.gather(
        *(create(store, one) for one in ids), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(one, UsernameTakenError) for one in outcomes) == 19
    found = await store.find("ada")
    assert found is not None
    assert found.account_id == ids[outcomes.index(None)]


async def test_an_invitation_serves_once_and_not_for_ever(store: AccountStore) -> None:
    """Used, expired and unknown ones are refused alike; a failure uses none up."""
    invite = b"i" * 32
    with pytest.raises(InviteInvalidError):
        await create(store, invite=invite)
    await store.add_invite(invite, expires_hour=NOW + 1)
    with pytest.raises(InviteInvalidError):
        await create(store, invite=invite, hour=NOW + 1)
    with pytest.raises(DocumentConflictError):
        await create(store, invite=invite, versions=(2,))
    await create(store, invite=invite)
    with pytest.raises(InviteInvalidError):
        await create(store, OTHER_ACCOUNT, username="bob", invite=invite)
    assert await store.find("bob") is None


async def test_one_invitation_makes_one_of_many(store: AccountStore) -> None:
    """Also when twenty come with it at once."""
    await store.add_invite(b"i" * 32, expires_hour=NOW + 1)
    outcomes = await asyncio.gather(
        *(
            create(
                store, AccountId(bytes([n]) * 16), username=f"u{n}", invite=b"i" * 32
            )
            for n in range(20)
        ),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    assert len(await store.list_accounts()) == 1


async def test_accounts_are_listed_by_id_in_pages(store: AccountStore) -> None:
    """Each once, from the one after the last of the page before."""
    ids = [AccountId(bytes([n]) * 16) for n in (9, 3, 200, 1)]
    for one in ids:
        await create(store, one, username=f"u{one[0]}")
    first = await store.list_accounts(count_max=3)
    assert [one.account_id for one in first] == sorted(ids)[:3]
    rest = await store.list_accounts(after=first[-1].account_id)
    assert [one.account_id for one in rest] == sorted(ids)[3:]


async def test_an_account_that_is_there_can_be_adopted(backend: Backend) -> None:
    """It keeps its records, and is found by one name, the last it was given."""
    await backend.logs.put_document(
        ACCOUNT, version=1, document=b"d", document_hash=bytes(32), keys_blob=None
    )
    store = backend.accounts
    for username in ("local", "local", "ada"):
        await store.adopt(ACCOUNT, username=username)
    assert await store.find("local") is None
    found = await store.find("ada")
    assert found is not None
    assert (found.account_id, found.version) == (ACCOUNT, 1)


# -- nonces -------------------------------------------------------------------


async def test_a_nonce_is_used_once(store: AccountStore) -> None:
    """By whatever comes first; what comes second changes nothing."""
    used = nonce()
    await create(store, used=used)
    acts = [
        store.add_session(ACCOUNT, session(2), nonce=used, version=1, seen_hour_min=0),
        put(store, 2, used=used),
        store.delete(ACCOUNT, nonce=used, grant=grant()),
    ]
    for act in acts:
        with pytest.raises(ProofRefusedError):
            await act
    assert await store.sessions(ACCOUNT) == [session()]
    assert (await store.states([ACCOUNT]))[ACCOUNT].version == 1
    assert await store.deletions() == []


async def test_a_nonce_that_failed_is_not_used_up(store: AccountStore) -> None:
    """Its proof had no effect, so it may be tried once more."""
    await create(store)
    used = nonce()
    with pytest.raises(DocumentConflictError):
        await put(store, 3, used=used)
    await put(store, 2, used=used)


async def test_of_twenty_with_one_nonce_one_succeeds(store: AccountStore) -> None:
    """At once: nineteen are refused, and one session is made."""
    await create(store)
    used = nonce()
    outcomes = await asyncio.gather(
        *(
            store.add_session(
                ACCOUNT, session(n), nonce=used, version=1, seen_hour_min=0
            )
            for n in range(2, 22)
        ),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(one, ProofRefusedError) for one in outcomes) == 19
    assert len(await store.sessions(ACCOUNT)) == 2


async def test_what_is_too_old_is_forgotten(store: AccountStore) -> None:
    """Nonces by their time, sessions by their last use, invitations by their end."""
    old, new = nonce(1_000), nonce(2_000)
    await create(store, used=old, first=session(1, created=10))
    await store.add_session(
        ACCOUNT, session(2, created=11), nonce=new, version=1, seen_hour_min=0
    )
    for code, expires in ((b"o" * 32, 10), (b"n" * 32, 12)):
        await store.add_invite(code, expires_hour=expires)
    await store.forget_nonces(below=(1_500).to_bytes(4, "big"))
    await store.forget_sessions(seen_hour_min=11)
    await store.forget_invites(hour=11)
    assert await store.sessions(ACCOUNT) == [session(2, created=11)]
    await put(store, 2, used=old)
    with pytest.raises(ProofRefusedError):
        await put(store, 3, used=new)
    with pytest.raises(InviteInvalidError):
        await create(store, OTHER_ACCOUNT, username="b", invite=b"o" * 32, hour=0)
    await create(store, OTHER_ACCOUNT, username="b", invite=b"n" * 32, hour=11)


# -- sessions -----------------------------------------------------------------


async def test_a_session_ends_by_its_id(store: AccountStore) -> None:
    """And no other, nor another account's of the same id."""
    await create(store)
    await create(store, OTHER_ACCOUNT, username="bob")
    await store.add_session(
        ACCOUNT, session(2), nonce=nonce(), version=1, seen_hour_min=0
    )
    assert await store.end_session(ACCOUNT, session(2).token_hash[:8])
    assert not await store.end_session(ACCOUNT, session(2).token_hash[:8])
    assert not await store.end_session(ACCOUNT, session(2).token_hash)
    assert await store.sessions(ACCOUNT) == [session()]
    assert await store.sessions(OTHER_ACCOUNT) == [session()]


async def test_the_document_must_be_the_one_that_was_proven_under(
    store: AccountStore,
) -> None:
    """A session is not made by a key that a newer document may have taken back."""
    await create(store)
    await put(store, 2)
    with pytest.raises(DocumentConflictError):
        await store.add_session(
            ACCOUNT, session(2), nonce=nonce(), version=1, seen_hour_min=0
        )


async def test_sessions_have_a_limit(store: AccountStore) -> None:
    """Those unused for the longest make room; ended ones go first of all."""
    await create(store, first=session(0, created=NOW - 9_000))
    for n in range(1, SESSIONS_MAX + 2):
        await store.add_session(
            ACCOUNT,
            session(n, created=NOW + n),
            nonce=nonce(),
            version=1,
            seen_hour_min=NOW - 720,
        )
    hours = {one.created_hour for one in await store.sessions(ACCOUNT)}
    assert hours == set(range(NOW + 2, NOW + SESSIONS_MAX + 2))


async def test_a_use_is_noted_and_never_taken_back(store: AccountStore) -> None:
    """By a touch, and by an append; an earlier hour changes nothing."""
    await create(store)
    await store.touch(grant(hour=NOW + 5))
    await store.touch(grant(hour=NOW + 3))
    assert await store.sessions(ACCOUNT) == [session(seen=NOW + 5)]
    await store.append(grant(hour=NOW + 7), chain(1), version=1, quota_bytes=None)
    assert await store.sessions(ACCOUNT) == [session(seen=NOW + 7)]


async def test_the_host_has_one_secret(store: AccountStore) -> None:
    """The first candidate, for ever."""
    outcomes = await asyncio.gather(
        *(store.host_secret(bytes([n]) * 32) for n in range(10))
    )
    assert len(set(outcomes)) == 1
    assert await store.host_secret(b"x" * 32) == outcomes[0]


# -- appending ----------------------------------------------------------------


async def test_an_append_says_what_it_came_to(backend: Backend) -> None:
    """How many records were new, and where their logs end."""
    store, records = backend.accounts, chain(3)
    await create(store)
    for new in (3, 0):
        assert await store.append(
            grant(), records, version=1, quota_bytes=None
        ) == Appended(new=new, heads={CLIENT: Head(seq=Seq(2), hash=records[2].hash)})
    again = await store.append(grant(), records[:1], version=1, quota_bytes=None)
    assert again.heads[CLIENT].seq == 2


async def test_each_log_is_counted(backend: Backend) -> None:
    """Heads, entries and bytes by client, and the change state with them."""
    store = backend.accounts
    await create(store)
    mine, theirs = chain(3), chain(2, client=OTHER_CLIENT, body=bytes(1_000))
    for records in (mine, theirs, mine[:2]):
        await store.append(grant(), records, version=1, quota_bytes=None)
    assert await backend.logs.overview(ACCOUNT) == Overview(
        logs={
            records[0].header.client_id: LogState(
                head=Head(seq=Seq(len(records) - 1), hash=records[-1].hash),
                stored_bytes=sum(len(one.encode()) for one in records),
            )
            for records in (mine, theirs)
        },
        state=ChangeState(entries=5, version=1),
    )
    assert await store.states([ACCOUNT, OTHER_ACCOUNT]) == {
        ACCOUNT: ChangeState(entries=5, version=1)
    }
    assert await backend.logs.clients(ACCOUNT) == [CLIENT, OTHER_CLIENT]


async def refused(backend: Backend, error: type[ServerError], by: Grant) -> None:
    """Check that an append is refused, and that it stores and charges nothing."""
    before = await backend.logs.overview(ACCOUNT)
    usage = await backend.logs.usage(ACCOUNT)
    after = await backend.logs.read(ACCOUNT, CLIENT, start=Seq(0))
    more = chain(1, after=after[-1] if after else None)
    with pytest.raises(error):
        await backend.accounts.append(by, more, version=1, quota_bytes=None)
    assert await backend.logs.overview(ACCOUNT) == before
    assert await backend.logs.usage(ACCOUNT) == usage
    assert await backend.logs.read(ACCOUNT, CLIENT, start=Seq(0)) == after


async def test_an_append_needs_a_session_that_lives(backend: Backend) -> None:
    """Not an unknown one, one of another account, one unused for long, an ended one."""
    store = backend.accounts
    await create(store)
    await create(store, OTHER_ACCOUNT, username="bob", first=session(2))
    await store.append(grant(), chain(1), version=1, quota_bytes=None)
    await refused(backend, SessionInvalidError, grant(session(3)))
    await refused(backend, SessionInvalidError, grant(session(2)))
    await refused(backend, SessionInvalidError, grant(hour=NOW + 721))
    await store.append(grant(hour=NOW + 720), chain(1), version=1, quota_bytes=None)
    await store.end_session(ACCOUNT, session().token_hash)
    await refused(backend, SessionInvalidError, grant())


async def test_a_disabled_account_takes_nothing_until_enabled(
    backend: Backend,
) -> None:
    """No records, documents or sessions; what it stored stays."""
    store = backend.accounts
    await create(store)
    await store.append(grant(), chain(1), version=1, quota_bytes=None)
    await store.set_standing(ACCOUNT, Standing.DISABLED)
    await refused(backend, AccountDisabledError, grant())
    with pytest.raises(AccountDisabledError):
        await put(store, 2)
    with pytest.raises(AccountDisabledError):
        await put(store, 2, by=grant())
    with pytest.raises(AccountDisabledError):
        await store.add_session(
            ACCOUNT, session(2), nonce=nonce(), version=1, seen_hour_min=0
        )
    await store.set_standing(ACCOUNT, Standing.ACTIVE)
    await put(store, 2, by=grant())


async def test_an_append_is_judged_by_the_newest_document(backend: Backend) -> None:
    """One that was checked against an older one is refused, with both numbers."""
    store = backend.accounts
    await create(store)
    await put(store, 2)
    with pytest.raises(DocumentConflictError) as caught:
        await store.append(grant(), chain(1), version=1, quota_bytes=None)
    assert (caught.value.expected_version, caught.value.got_version) == (2, 1)
    assert await backend.logs.overview(ACCOUNT) == Overview(
        logs={}, state=ChangeState(entries=0, version=2)
    )


async def test_a_quota_is_held_to_the_byte(backend: Backend) -> None:
    """The account's own before the host's; what is there already counts once."""
    store, records = backend.accounts, chain(3)
    size = len(records[0].encode())
    await create(store)
    await store.append(grant(), records[:1], version=1, quota_bytes=size)
    with pytest.raises(QuotaExceededError) as caught:
        await store.append(grant(), records, version=1, quota_bytes=3 * size - 1)
    assert (caught.value.quota_bytes, caught.value.needed_bytes) == (
        3 * size - 1,
        3 * size,
    )
    assert (await backend.logs.usage(ACCOUNT)).entries == 1
    assert (await backend.logs.overview(ACCOUNT)).logs[CLIENT].stored_bytes == size
    await store.set_quota(ACCOUNT, 2 * size)
    with pytest.raises(QuotaExceededError):
        await store.append(grant(), records, version=1, quota_bytes=None)
    await store.append(grant(), records[:2], version=1, quota_bytes=0)
    await store.set_quota(ACCOUNT, None)
    await store.append(grant(), records, version=1, quota_bytes=None)


async def test_the_rules_of_a_log_hold_here_too(backend: Backend) -> None:
    """Conflicts and broken chains are refused, and change nothing."""
    store = backend.accounts
    await create(store)
    await store.append(grant(), chain(2), version=1, quota_bytes=None)
    before = await backend.logs.overview(ACCOUNT)
    for bad, error in ((record(3), SeqConflictError), (record(2), ChainBrokenError)):
        with pytest.raises(error):
            await store.append(grant(), [bad], version=1, quota_bytes=None)
    assert await backend.logs.overview(ACCOUNT) == before


async def test_fifty_appends_at_one_seq_store_one(backend: Backend) -> None:
    """Through sessions of one account, at once: exactly one is stored and charged."""
    store = backend.accounts
    await create(store)
    rivals = [record(body=b"rival %2d" % n) for n in range(50)]
    outcomes = await asyncio.gather(
        *(store.append(grant(), [one], version=1, quota_bytes=None) for one in rivals),
        return_exceptions=True,
    )
    won = [at for at, one in enumerate(outcomes) if isinstance(one, Appended)]
    assert sum(isinstance(one, SeqConflictError) for one in outcomes) == 49
    assert await backend.logs.read(ACCOUNT, CLIENT, start=Seq(0)) == [rivals[won[0]]]
    assert (await backend.logs.usage(ACCOUNT)).stored_bytes == len(rivals[0].encode())


# -- documents ----------------------------------------------------------------


async def test_documents_and_blob_change_as_one(backend: Backend) -> None:
    """Several versions at once, or none of them; a version that is taken is not."""
    store = backend.accounts
    await create(store)
    await put(store, 2, 3, blob=b"new")
    with pytest.raises(DocumentConflictError):
        await put(store, 4, 6, blob=b"never")
    with pytest.raises(DocumentConflictError):
        await put(store, 3, blob=b"never")
    assert len(await backend.logs.documents(ACCOUNT)) == 3
    assert await backend.logs.keys_blob(ACCOUNT) == b"new"
    await put(store, blob=b"only the blob")
    assert await backend.logs.keys_blob(ACCOUNT) == b"only the blob"


async def test_a_document_ends_sessions(store: AccountStore) -> None:
    """Those of clients that it revokes, or everyone's; in the same transaction."""
    theirs, other = session(2, client=OTHER_CLIENT), session(3)
    await create(store)
    for one in (theirs, other):
        await store.add_session(ACCOUNT, one, nonce=nonce(), version=1, seen_hour_min=0)
    gone = EndedSessions(clients=frozenset({OTHER_CLIENT}))
    with pytest.raises(DocumentConflictError):
        await put(store, 3, ended=gone)
    assert live(store, theirs)
    await put(store, 2, ended=gone)
    assert not live(store, theirs)
    assert live(store, other)
    await put(store, 3, ended=EndedSessions(everyone=True))
    assert await store.sessions(ACCOUNT) == []


async def test_of_many_edits_at_once_one_wins(store: AccountStore) -> None:
    """Compare-and-swap: the others are told which version is next."""
    await create(store)
    outcomes = await asyncio.gather(
        *(put(store, 2, by=grant()) for _ in range(20)), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(one, DocumentConflictError) for one in outcomes) == 19


# -- the end of an account ----------------------------------------------------


async def filled(backend: Backend, account: AccountId, username: str) -> None:
    """Make an account with two logs and two documents."""
    await create(backend.accounts, account, username=username, versions=(1, 2))
    for client in (CLIENT, OTHER_CLIENT):
        await backend.accounts.append(
            grant(account=account),
            chain(5, account=account, client=client),
            version=2,
            quota_bytes=None,
        )


async def nothing_of(backend: Backend, account: AccountId, username: str) -> bool:
    """Say whether no reader finds anything of an account."""
    found = (
        await backend.accounts.find(username),
        await backend.accounts.account(account),
        backend.accounts.access(account, session().token_hash),
        await backend.accounts.sessions(account),
        await backend.accounts.states([account]),
        await backend.logs.documents(account),
        await backend.logs.keys_blob(account),
        await backend.logs.clients(account),
        await backend.logs.heads(account),
        await backend.logs.read(account, CLIENT, start=Seq(0)),
        await backend.logs.read_body(account, CLIENT, Seq(0)),
        account in await backend.logs.accounts(),
        account in [one.account_id for one in await backend.accounts.list_accounts()],
        (await backend.logs.usage(account)).entries,
        (await backend.logs.overview(account)).state.version,
    )
    return not any(found)


async def test_a_deleted_account_is_gone_at_once(backend: Backend) -> None:
    """For every reader, from the mark on; another account is as it was."""
    store = backend.accounts
    await filled(backend, ACCOUNT, "ada")
    await filled(backend, OTHER_ACCOUNT, "bob")
    await store.delete(ACCOUNT, nonce=nonce(), grant=grant())
    assert await nothing_of(backend, ACCOUNT, "ada")
    with pytest.raises(SessionInvalidError):
        await store.append(grant(), chain(1), version=2, quota_bytes=None)
    with pytest.raises(AccountDeletingError):
        await backend.logs.append(ACCOUNT, chain(1))
    with pytest.raises(AccountDeletingError):
        await create(store)
    while await store.delete_some(ACCOUNT):
        assert await store.deletions() == [ACCOUNT]
        assert await nothing_of(backend, ACCOUNT, "ada")
    assert await store.deletions() == []
    assert await nothing_of(backend, ACCOUNT, "ada")
    assert (await backend.logs.overview(OTHER_ACCOUNT)).state == ChangeState(
        entries=10, version=2
    )
    assert len(await backend.logs.read(OTHER_ACCOUNT, CLIENT, start=Seq(0))) == 5


async def test_after_a_deletion_the_account_can_be_made_again(
    backend: Backend,
) -> None:
    """Empty, by its old name, and not by the proof that deleted the first one."""
    store, used = backend.accounts, nonce()
    await filled(backend, ACCOUNT, "ada")
    await store.delete(ACCOUNT, nonce=used, grant=grant())
    while await store.delete_some(ACCOUNT):
        pass
    await create(store)
    assert await backend.logs.overview(ACCOUNT) == Overview(
        logs={}, state=ChangeState(entries=0, version=1)
    )
    with pytest.raises(ProofRefusedError):
        await store.delete(ACCOUNT, nonce=used, grant=grant())


async def test_a_deletion_goes_by_small_steps(backend: Backend) -> None:
    """However many rows there are, one step takes no more than it may."""
    store = backend.accounts
    await create(store)
    records = chain(2 * DELETE_ROWS_MAX + 1, body=b"")
    for at in range(0, len(records), 500):
        await store.append(grant(), records[at : at + 500], version=1, quota_bytes=None)
    await store.delete(ACCOUNT, nonce=None, grant=None)
    steps = 0
    while await store.delete_some(ACCOUNT):
        steps += 1
    # Bodies and records in three steps each; documents and counts in one each.
    assert steps == 8


async def test_what_is_not_marked_is_not_deleted(backend: Backend) -> None:
    """A step for an account that lives does nothing."""
    await filled(backend, ACCOUNT, "ada")
    before = await backend.logs.overview(ACCOUNT)
    assert not await backend.accounts.delete_some(ACCOUNT)
    assert await backend.logs.overview(ACCOUNT) == before


async def test_only_who_may_delete_does(backend: Backend) -> None:
    """An ended session deletes nothing."""
    store = backend.accounts
    await filled(backend, ACCOUNT, "ada")
    with pytest.raises(SessionInvalidError):
        await store.delete(
            ACCOUNT, nonce=nonce(), grant=replace(grant(), token_hash=bytes(32))
        )
    assert await store.deletions() == []
    assert (await backend.logs.usage(ACCOUNT)).entries == 10
