"""Waiting for something new: woken at once, by another process soon, or by time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from awserver.errors import RateLimitedError, SessionInvalidError
from awserver.service.base import Caller
from awserver.service.changes import ACCOUNT_WAITS_MAX, HostChanges
from awserver.service.times import Clock
from awserver.storage.sqlite.accounts import SqliteAccountStore
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from awserver.wire import ChangesAnswer
from tests.helpers.services import Host, TurnedClock, open_host
from tests.helpers.tenants import Tenant

LONG: Final = 50.0
"""Longer than any test: whoever answers was woken."""


@dataclass
class Ada:
    """A tenant with a session."""

    host: Host
    tenant: Tenant
    caller: Caller

    async def wait(self, *, entries: int, version: int) -> ChangesAnswer:
        return await self.host.service.changes.wait(
            self.caller, entries=entries, version=version, seconds=LONG
        )

    async def append(self, count: int) -> None:
        await self.host.service.logs.append(
            self.caller, self.tenant.client_id(), self.tenant.records(count)
        )


@pytest.fixture
async def ada(host: Host) -> Ada:
    tenant = Tenant()
    return Ada(host, tenant, await host.register(tenant))


async def begun(*waits: "asyncio.Task[ChangesAnswer]") -> None:
    """Let waits come to where they wait."""
    done, _ = await asyncio.wait(waits, timeout=0.05)
    assert not done


async def test_what_differs_already_is_told_at_once(ada: Ada) -> None:
    """Whichever number differs, and in whichever direction."""
    now = ChangesAnswer(entries=0, version=1)
    for entries, version in ((1, 1), (0, 0), (0, 2)):
        assert await ada.wait(entries=entries, version=version) == now


async def test_a_record_wakes_who_waits(ada: Ada) -> None:
    """All of the account, and nobody of another."""
    bob = Tenant(name="bob")
    other = Ada(ada.host, bob, await ada.host.register(bob))
    waits = [asyncio.create_task(ada.wait(entries=0, version=1)) for _ in range(3)]
    apart = asyncio.create_task(other.wait(entries=0, version=1))
    await begun(*waits, apart)
    await ada.append(2)
    assert await asyncio.gather(*waits) == [ChangesAnswer(entries=2, version=1)] * 3
    await begun(apart)
    apart.cancel()


async def test_a_document_wakes_who_waits(ada: Ada) -> None:
    """With its version."""
    wait = asyncio.create_task(ada.wait(entries=0, version=1))
    await begun(wait)
    tenant = ada.tenant
    await ada.host.put(tenant, ada.caller, tenant.signed(tenant.next()))
    assert await wait == ChangesAnswer(entries=0, version=2)


async def test_what_changes_nothing_wakes_nobody(ada: Ada) -> None:
    """A record that was there already is no change."""
    await ada.append(2)
    wait = asyncio.create_task(ada.wait(entries=2, version=1))
    await begun(wait)
    await ada.append(2)
    await begun(wait)
    await ada.append(3)
    assert (await wait).entries == 3


async def test_after_the_time_what_is_is_told(ada: Ada) -> None:
    """Unchanged."""
    answer = await ada.host.service.changes.wait(
        ada.caller, entries=0, version=1, seconds=0.01
    )
    assert answer == ChangesAnswer(entries=0, version=1)


async def test_the_end_of_the_session_ends_the_wait(ada: Ada) -> None:
    """By logging out, by a new epoch, by the end of the account."""
    host, tenant = ada.host, ada.tenant
    for end in ("session", "epoch", "account"):
        caller = await host.login(tenant, by="client")
        mine = Ada(host, tenant, caller)
        version = tenant.newest.document.version
        wait = asyncio.create_task(mine.wait(entries=0, version=version))
        await begun(wait)
        if end == "session":
            await host.service.sessions.end(caller, "current")
        elif end == "epoch":
            blob = b"blob of epoch 1"
            document = tenant.signed(tenant.next_epoch(blob))
            await host.put(tenant, ada.caller, document, blob=blob)
            tenant.documents.append(document)
        else:
            await host.service.administration.delete(tenant.account_id)
        with pytest.raises(SessionInvalidError):
            await wait


async def test_an_account_waits_so_often_at_once(ada: Ada) -> None:
    """One more is refused, and has room once another is answered."""
    waits = [
        asyncio.create_task(ada.wait(entries=0, version=1))
        for _ in range(ACCOUNT_WAITS_MAX)
    ]
    await begun(*waits)
    with pytest.raises(RateLimitedError):
        await ada.wait(entries=0, version=1)
    waits.pop().cancel()
    await asyncio.sleep(0)
    more = asyncio.create_task(ada.wait(entries=0, version=1))
    await begun(more)
    await ada.append(1)
    await asyncio.gather(*waits, more)


@pytest.fixture
async def polling(tmp_path: Path, ada: Ada) -> AsyncIterator[HostChanges]:
    """Give changes of a second process of the host, which asks very often."""
    database = Database.open(tmp_path / "host.db", create=False)
    accounts = SqliteAccountStore(database, SqliteLogStore(database))
    changes = HostChanges(accounts, clock=Clock(TurnedClock()), poll_seconds=0.01)
    yield changes
    await changes.close()
    await database.close()


async def test_what_another_process_changes_is_noticed(
    ada: Ada, polling: HostChanges
) -> None:
    """Nobody notifies it: it asks the store for who waits."""
    for entries in (0, 1, 2):
        wait = asyncio.create_task(
            polling.wait(ada.caller, entries=entries, version=1, seconds=LONG)
        )
        await begun(wait)
        await ada.append(entries + 1)
        assert await wait == ChangesAnswer(entries=entries + 1, version=1)


async def test_a_deletion_by_another_process_is_noticed(
    ada: Ada, polling: HostChanges
) -> None:
    """The wait ends as the session does."""
    wait = asyncio.create_task(
        polling.wait(ada.caller, entries=0, version=1, seconds=LONG)
    )
    await begun(wait)
    await ada.host.service.administration.delete(ada.tenant.account_id)
    with pytest.raises(SessionInvalidError):
        await wait


async def test_who_waits_when_the_host_ends_is_not_left_behind(
    tmp_path: Path,
) -> None:
    """A wait that is cancelled with its request leaves nothing."""
    async with open_host(tmp_path / "h.db") as host:
        tenant = Tenant()
        ada = Ada(host, tenant, await host.register(tenant))
        wait = asyncio.create_task(ada.wait(entries=0, version=1))
        await begun(wait)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert others == set()
