"""The end of an account: gone at once for everybody, and soon from the disk.

The process is killed at each step, and the next start goes on.
"""

import asyncio
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest

from awserver.errors import (
    AccountUnknownError,
    ProofRefusedError,
    SessionInvalidError,
)
from awserver.records import Seq
from awserver.service.base import Caller
from awserver.storage.sqlite.database import Database
from tests.helpers.databases import Fault
from tests.helpers.services import Host, open_host
from tests.helpers.tenants import Tenant

RECORDS: Final = 5
BODY: Final = b"what lay in a body of this account, "

# The mark, bodies, records, documents, counts, and the mark again.
COMMITS: Final = 6
KILLED: Final = 9

_DELETING: Final = """
import asyncio, os, sys
from pathlib import Path
from awserver.records import AccountId
from awserver.storage.sqlite.accounts import SqliteAccountStore
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore

path, account, point, nth = sys.argv[1:]
left = int(nth)

def probe(passed):
    global left
    left -= passed == point
    if left == 0:
        os._exit(9)

async def delete():
    database = Database.open(Path(path), create=False, probe=probe)
    accounts = SqliteAccountStore(database, SqliteLogStore(database))
    name = AccountId(bytes.fromhex(account))
    if name not in await accounts.deletions():
        await accounts.delete(name, nonce=None, grant=None)
    while await accounts.delete_some(name):
        pass
    await database.close()

asyncio.run(delete())
"""


async def filled(host: Host, name: str) -> tuple[Tenant, Caller]:
    """Register a tenant with two logs and two documents."""
    tenant = Tenant(name=name)
    caller = await host.register(tenant)
    for client in (0, 1):
        await host.service.logs.append(
            caller,
            tenant.client_id(client),
            tenant.records(RECORDS, client=client, body=BODY * 40),
        )
    await host.put(tenant, caller, tenant.sign(tenant.next()))
    return tenant, caller


async def delete(host: Host, tenant: Tenant, caller: Caller, **how: Any) -> None:
    request = tenant.delete_request(await host.nonce(tenant.name), **how)
    await host.service.accounts.delete(caller, request, address=host.address())


def rows_of(database: Database, tenant: Tenant) -> dict[str, int]:
    """Return how many rows of an account each table has, of those that have any."""
    found = {}
    with database.reading() as tx:
        tables = [
            str(name)
            for (name,) in tx.execute(
                "SELECT t.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c"
                " WHERE t.type = 'table' AND c.name = 'account_id'"
            )
        ]
        for table in tables:
            ((rows,),) = tx.execute(
                f"SELECT count(*) FROM {table} WHERE account_id = ?",
                (tenant.account_id,),
            ).fetchall()
            if rows:
                found[table] = int(rows)
    return found


async def gone(
    host: Host, tenant: Tenant, *, but: frozenset[str] = frozenset({"used_nonces"})
) -> None:
    """Wait until no row of an account is left, but nonces that must stay a while."""
    while True:
        if not set(rows_of(host.database, tenant)) - but:
            return
        await asyncio.sleep(0)


@pytest.mark.parametrize("by", ["login", "recovery"])
async def test_an_account_is_deleted_wholly(host: Host, by: str) -> None:
    """Records, bodies, documents, blob, sessions, name; and of nobody else."""
    ada, caller = await filled(host, "ada")
    bob, theirs = await filled(host, "bob")
    before = rows_of(host.database, bob)
    token = await host.token(ada)
    await delete(host, ada, caller, by=by)
    assert set(rows_of(host.database, ada)) == {"used_nonces"}
    with pytest.raises(SessionInvalidError):
        await host.service.sessions.find(token)
    with pytest.raises(ProofRefusedError):
        await host.login(ada)
    assert rows_of(host.database, bob) == before
    read = await host.service.logs.read(theirs, bob.client_id(), start=Seq(0))
    assert len(read) == RECORDS
    await host.register(Tenant(name="ada"))


async def test_a_request_under_way_finds_nothing(host: Host) -> None:
    """Whoever was let in just before the end is told that the session has ended."""
    ada, caller = await filled(host, "ada")
    await delete(host, ada, caller)
    service = host.service
    assert await service.documents.read(caller, after=0) == []
    assert (await service.logs.heads(caller)).heads == []
    assert await service.logs.read(caller, ada.client_id(), start=Seq(0)) == []
    for act in (
        service.logs.append(caller, ada.client_id(), ada.records(1)),
        service.logs.usage(caller),
        service.logs.clients(caller),
        service.documents.keys_blob(caller),
        delete(host, ada, caller),
    ):
        with pytest.raises(SessionInvalidError):
            await act


@pytest.mark.parametrize("forged", [{"origin": "https://evil.example"}, {"body": b""}])
async def test_a_deletion_takes_a_fresh_proof(
    host: Host, forged: dict[str, Any]
) -> None:
    """T42: a session is not enough, nor a proof of something else."""
    ada, caller = await filled(host, "ada")
    before = rows_of(host.database, ada)
    with pytest.raises(ProofRefusedError):
        await delete(host, ada, caller, **forged)
    assert rows_of(host.database, ada) == before


async def test_whoever_runs_the_host_deletes_too(host: Host) -> None:
    """By the id of an account that is there."""
    ada, _ = await filled(host, "ada")
    await host.service.administration.delete(ada.account_id)
    assert set(rows_of(host.database, ada)) == {"used_nonces"}
    with pytest.raises(AccountUnknownError):
        await host.service.administration.delete(ada.account_id)


async def test_what_was_deleted_is_overwritten(tmp_path: Path) -> None:
    """No body, document, blob or id of it is left in the file, among many others.

    Rows of all accounts have moved between pages, and none left a copy behind.
    """
    path = tmp_path / "h.db"
    async with open_host(path) as host:
        tenants = [Tenant(name=f"n{n}") for n in range(20)]
        callers = [await host.register(tenant) for tenant in tenants]
        for seq, (tenant, caller) in product(
            range(20), zip(tenants, callers, strict=True)
        ):
            records = tenant.records(seq + 1, body=body_of(tenant))
            await host.service.logs.append(caller, tenant.client_id(), records[seq:])
        ada, caller = tenants[7], callers[7]
        needles = [BODY + b"n7.", ada.blob, ada.documents[0][40:90], ada.account_id]
        await host.database.checkpoint()
        assert all(needle in path.read_bytes() for needle in needles)
        await delete(host, ada, caller)
        host.clock.turn(minutes=5)
    async with open_host(path, create=False, clock=host.clock) as host:
        await gone(host, ada, but=frozenset())
    left = path.read_bytes()
    assert [needle for needle in needles if needle in left] == []


def body_of(tenant: Tenant) -> bytes:
    return (BODY + tenant.name.encode() + b".") * 5


# -- stopped half way -----------------------------------------------------------


def die_deleting(path: Path, tenant: Tenant, point: str, nth: int) -> int:
    """Delete in another process, which ends at the nth passing of a point."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _DELETING,
            path,
            tenant.account_id.hex(),
            point,
            str(nth),
        ],
        check=False,
        timeout=60,
    )
    return done.returncode


@pytest.mark.parametrize("point", ["commit", "committed"])
@pytest.mark.parametrize("nth", range(1, COMMITS + 1))
async def test_a_deletion_goes_on_after_a_kill(
    tmp_path: Path, nth: int, point: str
) -> None:
    """At each of its commits, before or after: nobody sees a part of the account."""
    path = tmp_path / "h.db"
    async with open_host(path) as host:
        ada, _ = await filled(host, "ada")
        bob, _ = await filled(host, "bob")
    assert die_deleting(path, ada, point, nth) == KILLED
    is_marked = (nth, point) != (1, "commit")
    async with open_host(path, create=False) as host:
        if not is_marked:
            caller = await host.login(ada)
            assert len(await host.service.documents.read(caller, after=0)) == 2
            return
        with pytest.raises(ProofRefusedError):
            await host.login(ada)
        await gone(host, ada)
        caller = await host.login(bob)
        assert (await host.service.logs.heads(caller)).entries == 2 * RECORDS
        await host.register(Tenant(name="ada"))


async def test_the_steps_are_those_that_are_killed_at(tmp_path: Path) -> None:
    """There is no commit after the last one of the test above."""
    path = tmp_path / "h.db"
    async with open_host(path) as host:
        ada, _ = await filled(host, "ada")
    assert die_deleting(path, ada, "commit", COMMITS + 1) == 0


async def test_a_deletion_that_fails_is_tried_again(tmp_path: Path) -> None:
    """A step that the disk refused is the next sweep's, or the next start's."""
    path = tmp_path / "h.db"
    fault = Fault("commit", error=lambda: OSError(28, "no room"), nth=3)
    async with open_host(path, probe=fault) as host:
        ada, caller = await filled(host, "ada")
        request = ada.delete_request(await host.nonce("ada"))
        fault.armed = True
        await host.service.accounts.delete(caller, request, address=host.address())
        assert "deletions" in rows_of(host.database, ada)
        with pytest.raises(ProofRefusedError):
            await host.login(ada)
        fault.armed = False
    async with open_host(path, create=False) as host:
        await gone(host, ada)
