"""One command on one client makes a host well that lost something, byte for byte."""

from pathlib import Path

import apsw
import pytest

from awserver.config import Registration
from awserver.records import ClientId, SealedRecord
from awserver.service.base import Caller
from awvault.errors import HostRefusedError
from awvault.protocol.edits import AddClient, new_client_key
from awvault.sync.alarms import Name
from awvault.sync.repair import HostChecked, Repairer
from awvault.sync.rounds import ignore_progress
from tests.helpers.lying_host import Lie, LyingHost
from tests.helpers.syncing import USERNAME, Member, lied_to
from tests.helpers.vaults import read


def repairer(member: Member) -> Repairer:
    return Repairer(member.vault, member.host, USERNAME, ignore_progress)


async def check(member: Member, *, bodies: bool = True) -> HostChecked:
    return await repairer(member).check(bodies=bodies)


async def held(host: LyingHost) -> dict[str, list[tuple[object, ...]]]:
    """Return all records, bodies and documents that the host has, in order."""
    await host.stop()
    database = apsw.Connection(str(host.database), flags=apsw.SQLITE_OPEN_READONLY)
    found = {
        table: list(database.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3"))
        for table, columns in {
            "records": "account_id, client_id, seq, header, signature",
            "bodies": "account_id, client_id, seq, body",
            "documents": "account_id, version, document",
            "keys_blobs": "account_id, blob, 1",
        }.items()
    }
    database.close()
    await host.start()
    return found


async def test_a_host_that_was_restored_is_made_well_by_one_client(
    tmp_path: Path,
) -> None:
    """Every log, every document and the blob are as before; all alarms end."""
    async with lied_to(tmp_path) as (host, met, one, two):
        await one.record(1)
        await host.save("backup")
        await one.record(2)
        await two.record(3, name="afk")
        three = await met.join("third")
        await three.record(4, name="web")
        for member in (one, two, three):
            await member.sync()
        before = await held(host)
        await host.put_back("backup")
        assert (await held(host)) != before
        for member in (one, two):
            await member.sync()
        assert Name.DOCUMENTS_ROLLED_BACK in one.alarms()
        assert Name.LOG_ROLLED_BACK in one.alarms()

        done = await repairer(one).repair()
        assert done.conflicts == []
        assert (done.documents, done.logs >= 1) == (1, True)
        assert await held(host) == before
        for member in (one, two, three):
            await member.sync()
            await member.sync()
            assert member.alarms() == {}
        again = await repairer(two).repair()
        assert (again.documents, again.records, again.conflicts) == (0, 0, [])
        assert await held(host) == before


async def test_a_host_that_lost_the_account_gets_it_back(tmp_path: Path) -> None:
    """From a client that did not make it, where the host takes new accounts."""
    async with lied_to(tmp_path) as (host, _, one, two):
        await one.record(1)
        await two.record(2, name="afk")
        await one.sync()
        before = await held(host)
        await host.stop()
        for file in host.directory.glob("host.db*"):
            file.unlink()
        await host.start()
        with pytest.raises(HostRefusedError):
            await one.sync()
        assert one.alarms() == {Name.CLIENT_REFUSED: one.client_id.hex()}

        done = await repairer(two).repair()
        assert done.conflicts == []
        assert await held(host) == before
        for member in (one, two):
            await member.sync()
            await member.sync()
            assert member.alarms() == {}


async def test_a_host_that_takes_no_accounts_says_so(tmp_path: Path) -> None:
    """A lost account needs whoever runs the host; nothing here changes."""
    async with lied_to(tmp_path) as (host, _, one, _):
        await one.record(1)
        await host.stop()
        for file in host.directory.glob("host.db*"):
            file.unlink()
        host.registration = Registration.CLOSED
        await host.start()
        with pytest.raises(HostRefusedError) as refused:
            await repairer(one).repair()
        assert refused.value.code == "registration-closed"


async def test_another_history_on_the_host_is_left_as_it_is(tmp_path: Path) -> None:
    """Two documents of one version: nothing is overwritten, and it is named."""
    async with lied_to(tmp_path) as (host, met, one, _):
        await host.save("backup")
        account = met.account
        before = tuple(account.documents)
        await met.join("third")
        await one.sync()
        await host.put_back("backup")
        account.documents = list(before)
        account.reopen()
        account.edit(
            AddClient(client=new_client_key(account.opened, account.random), label="x")
        )
        await met.put_document()
        stored = await held(host)

        one.host.forget_session()
        await one.sync()
        assert Name.DOCUMENTS_FORKED in one.alarms()
        with pytest.raises(Exception, match="two of account document version"):
            await repairer(one).repair()
        assert await held(host) == stored


@pytest.mark.parametrize("bodies", [True, False])
async def test_a_host_that_is_well_has_no_findings(
    tmp_path: Path, bodies: bool
) -> None:
    """All of it is looked at: documents, records, and bodies if they are asked for."""
    async with lied_to(tmp_path) as (host, met, one, two):
        await one.record(1)
        await two.record(2, name="afk")
        done = await check(one, bodies=bodies)
        stored = await held(host)

        assert done.findings == []
        assert done.documents == len(stored["documents"]) == len(met.account.documents)
        assert done.records == len(stored["records"])
        assert done.bodies == (len(stored["bodies"]) if bodies else 0)


@pytest.mark.parametrize("bodies", [True, False])
async def test_what_is_wrong_on_a_host_is_found(tmp_path: Path, bodies: bool) -> None:
    """Each log that lacks records or has others, and none of the rest."""

    class Alters(Lie):
        def __init__(self, client_id: ClientId, kind: str) -> None:
            self._id = client_id
            self._kind = kind

        def records(
            self, caller: Caller, client: ClientId, honest: list[SealedRecord]
        ) -> list[SealedRecord]:
            if client != self._id or not honest:
                return honest
            if self._kind == "short":
                return honest[:-1]
            if self._kind == "gap":
                return honest[1:]
            last = honest[-1]
            forged = SealedRecord(
                header=last.header,
                header_bytes=last.header_bytes,
                signature=last.signature[:-1] + bytes([last.signature[-1] ^ 1]),
                body=last.body,
            )
            return [*honest[:-1], forged]

    async with lied_to(tmp_path) as (host, _, one, two):
        for start in (1, 2, 3):
            await two.record(start, name="afk")
        await one.sync()
        for kind, problem in (
            ("short", "the host offers it up to"),
            ("gap", "is next, got"),
            ("forged", "signature"),
        ):
            with host.lying(Alters(two.client_id, kind)):
                done = await check(one, bodies=bodies)
            (finding,) = done.findings
            assert two.client_id.hex()[:8] in finding.where
            assert problem in finding.problem
        await host.save("backup")
        await two.record(4, name="afk")
        await one.sync()
        await host.put_back("backup")
        (finding,) = (await check(one, bodies=bodies)).findings
        assert "verified up to" in finding.problem


async def test_repair_needs_nothing_but_this_client(tmp_path: Path) -> None:
    """Also of a log whose client is gone for good."""
    async with lied_to(tmp_path) as (host, met, one, two):
        await two.record(1)
        await one.sync()
        await two.vault.close()
        await host.stop()
        for file in host.directory.glob("host.db*"):
            file.unlink()
        await host.start()
        await repairer(one).repair()
        third = await met.join("third")
        await third.sync()
        assert [event.start for event in read(third.vault, "window")] == [1]
