"""What is too old goes by itself; what a failure interrupted is gone on with."""

from pathlib import Path

from awserver.service.deleting import Deleter
from awserver.service.secrets import HostSecret, Nonces
from awserver.service.sweeping import Sweeper
from awserver.service.times import INVITE_HOURS, SESSION_HOURS_MAX, Clock
from awserver.storage.sqlite.accounts import SqliteAccountStore
from awserver.storage.sqlite.logs import SqliteLogStore
from tests.helpers.databases import Fault
from tests.helpers.services import Host, open_host
from tests.helpers.tenants import Tenant


def rows(host: Host, table: str) -> int:
    found = host.database.first_row(f"SELECT count(*) FROM {table}", ())
    assert found is not None
    return int(found[0])


def sweeper(host: Host) -> tuple[Sweeper, Deleter]:
    accounts = SqliteAccountStore(host.database, SqliteLogStore(host.database))
    clock = Clock(host.clock)
    deleter = Deleter(accounts)
    nonces = Nonces(HostSecret(bytes(32)), clock=clock, random=host.random)
    return Sweeper(accounts, deleter=deleter, nonces=nonces, clock=clock), deleter


async def test_nonces_are_forgotten_once_nobody_takes_them(host: Host) -> None:
    """Not while one could be shown again; soon after that."""
    await host.register(Tenant())
    sweeping, _ = sweeper(host)
    for seconds, left in ((0, 1), (65, 1), (60, 0)):
        host.clock.turn(seconds=seconds)
        await sweeping.sweep()
        assert rows(host, "used_nonces") == left


async def test_sessions_and_invitations_are_forgotten_at_their_end(host: Host) -> None:
    """By the hour; those that are good stay."""
    ada = Tenant()
    await host.register(ada)
    await host.service.administration.invite()
    sweeping, _ = sweeper(host)
    host.clock.turn(hours=INVITE_HOURS - 1)
    await sweeping.sweep()
    assert (rows(host, "invites"), rows(host, "sessions")) == (1, 1)
    host.clock.turn(hours=1)
    await sweeping.sweep()
    assert (rows(host, "invites"), rows(host, "sessions")) == (0, 1)
    token = await host.token(ada)
    host.clock.turn(hours=SESSION_HOURS_MAX - INVITE_HOURS + 1)
    await sweeping.sweep()
    assert rows(host, "sessions") == 1
    await host.service.sessions.find(token)


async def test_a_deletion_that_failed_is_gone_on_with(tmp_path: Path) -> None:
    """By the next sweep, without a start."""
    fault = Fault("commit", error=lambda: OSError(28, "no room"), nth=3)
    async with open_host(tmp_path / "h.db", probe=fault) as host:
        ada = Tenant()
        caller = await host.register(ada)
        await host.service.logs.append(caller, ada.client_id(), ada.records(1))
        request = ada.delete_request(await host.nonce("ada"))
        fault.armed = True
        await host.service.accounts.delete(caller, request, address=host.address())
        assert (rows(host, "deletions"), rows(host, "records")) == (1, 1)
        fault.armed = False
        sweeping, deleter = sweeper(host)
        await sweeping.sweep()
        await deleter.start(ada.account_id)
        assert (rows(host, "deletions"), rows(host, "records")) == (0, 0)
