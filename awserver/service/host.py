"""Puts the service together, over one database."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from awserver.config import ServiceSettings
from awserver.documents import SignedDocument
from awserver.records import AccountId
from awserver.service.accounts import HostAccounts
from awserver.service.administration import HostAdministration
from awserver.service.base import Service
from awserver.service.changes import HostChanges
from awserver.service.deleting import Deleter
from awserver.service.documents import HostDocuments
from awserver.service.known import KnownDocuments
from awserver.service.limits import Limiter
from awserver.service.logs import HostLogs
from awserver.service.parts import Parts
from awserver.service.proving import Prover
from awserver.service.secrets import SECRET_BYTES, HostSecret, Nonces
from awserver.service.sessions import HostSessions
from awserver.service.sweeping import Sweeper
from awserver.service.times import Clock, ClockUs, Random
from awserver.storage.base import AccountStore, LogStore
from awserver.storage.sqlite.accounts import SqliteAccountStore
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore


@asynccontextmanager
async def open_service(
    database: Database,
    settings: ServiceSettings,
    *,
    clock_us: ClockUs,
    random: Random,
    is_local: bool = False,
    is_read_only: Callable[[], bool] = lambda: False,
    on_change: Callable[[AccountId], None] = lambda _: None,
) -> AsyncIterator[Service]:
    """Serve the accounts of a database that was migrated, on the running event loop.

    `is_local`: the database is a vault's own. Its account is served under the name
    in its document, and cannot be deleted this way. While `is_read_only` says so,
    records and documents are refused: the store follows a remote host. Deletions
    that did not come to their end are gone on with.
    """
    logs = SqliteLogStore(database)
    accounts = SqliteAccountStore(database, logs)
    clock = Clock(clock_us)
    if is_local:
        await adopt_accounts(logs, accounts)
    secret = HostSecret(await accounts.host_secret(random(SECRET_BYTES)))
    nonces = Nonces(secret, clock=clock, random=random)
    known = KnownDocuments(logs)
    prover = Prover(
        accounts=accounts,
        known=known,
        secret=secret,
        nonces=nonces,
        origins=settings.origins,
    )
    parts = Parts(
        accounts=accounts,
        logs=logs,
        known=known,
        prover=prover,
        settings=settings,
        clock=clock,
        random=random,
        proofs=Limiter(settings.proofs, clock),
        edits=Limiter(settings.edits, clock),
        registrations=Limiter(settings.registrations, clock),
        is_local=is_local,
        is_read_only=is_read_only,
    )
    async with AsyncExitStack() as resources:
        deleter = Deleter(accounts)
        resources.push_async_callback(deleter.close)
        changes = HostChanges(accounts, clock=clock, on_change=on_change)
        resources.push_async_callback(changes.close)
        sessions = HostSessions(parts, changes=changes)
        resources.push_async_callback(sessions.close)
        sweeper = Sweeper(accounts, deleter=deleter, nonces=nonces, clock=clock)
        resources.push_async_callback(sweeper.close)
        sweeper.start()
        yield Service(
            accounts=HostAccounts(parts, changes=changes, deleter=deleter),
            sessions=sessions,
            documents=HostDocuments(parts, changes=changes),
            logs=HostLogs(parts, changes=changes),
            changes=changes,
            administration=HostAdministration(parts, changes=changes, deleter=deleter),
        )


async def adopt_accounts(logs: LogStore, accounts: AccountStore) -> None:
    """Serve each account that has documents, under the name in its newest one."""
    for account in await logs.accounts():
        documents = await logs.documents(account)
        newest = SignedDocument.decode(documents[-1]).document
        await accounts.adopt(account, username=newest.username)
