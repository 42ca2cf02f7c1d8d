"""What a client believes of a host that lies, and what it does about it.

A lie about one log stops that log alone, moves no pin, is an alarm that says what
to do, and is over once the host is honest again.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from awserver.records import ClientId, SealedRecord, Seq
from awserver.service.base import Caller
from awserver.wire import (
    AppendAnswer,
    HeadInfo,
    HeadsAnswer,
    SessionAnswer,
    SessionRequest,
)
from awvault.errors import HostRefusedError, TransportError
from awvault.incoming import NewRows
from awvault.protocol.edits import AddClient, new_client_key
from awvault.sync.alarms import Name
from tests.helpers.clients import seal_whole
from tests.helpers.lying_host import Lie
from tests.helpers.syncing import Member, lied_to
from tests.helpers.vaults import A, read, us


class Shorter(Lie):
    """Names an older head of one log, and gives no more of it."""

    def __init__(self, client_id: ClientId, *, records: int, hash_: str) -> None:
        self._id = client_id
        self._records = records
        self._hash = hash_

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        kept = []
        for head in honest.heads:
            if head.client_id != self._id.hex():
                kept.append(head)
            elif self._records:
                kept.append(
                    replace(
                        head,
                        seq=self._records - 1,
                        hash=self._hash,
                        entries=self._records,
                    )
                )
        return replace(honest, heads=kept)

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        if client != self._id:
            return honest
        return [record for record in honest if record.header.seq < self._records]


class Altered(Lie):
    """Gives other records of one log than it has."""

    def __init__(self, client_id: ClientId) -> None:
        self._id = client_id

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        return self.alter(honest) if client == self._id else honest

    def alter(self, honest: list[SealedRecord]) -> list[SealedRecord]:
        raise NotImplementedError


class Forged(Altered):
    """Changes a bit of each signature."""

    def alter(self, honest: list[SealedRecord]) -> list[SealedRecord]:
        return [
            SealedRecord(
                header=record.header,
                header_bytes=record.header_bytes,
                signature=bytes([record.signature[0] ^ 1]) + record.signature[1:],
                body=record.body,
            )
            for record in honest
        ]


class Nothing(Altered):
    """Names a head, and gives no record."""

    def alter(self, honest: list[SealedRecord]) -> list[SealedRecord]:
        return []


class Missing(Altered):
    """Leaves out every other record."""

    def alter(self, honest: list[SealedRecord]) -> list[SealedRecord]:
        return honest[::2]


async def starts(member: Member, name: str = "window") -> list[float]:
    return [event.start for event in read(member.vault, name)]


async def test_a_log_that_became_shorter_is_an_alarm(tmp_path: Path) -> None:
    """Named with both numbers; the other logs go on; it ends with the lie."""
    async with lied_to(tmp_path) as (host, met, one, two):
        three = await met.join("third")
        await one.record(1)
        await one.record(2)
        await two.sync()
        pinned = two.vault.replica.heads()
        first = two.vault.replica.hash_at(one.client_id, Seq(0))
        assert first is not None

        with host.lying(Shorter(one.client_id, records=1, hash_=first.hex())):
            await three.record(3, name="afk")
            done = await two.sync()

            assert two.alarms() == {Name.LOG_ROLLED_BACK: one.client_id.hex()}
            assert [alarm.name for alarm in done.alarms] == [Name.LOG_ROLLED_BACK]
            sentence = two.alarm(Name.LOG_ROLLED_BACK).sentence
            assert "verified up to 2 before, now offered 1" in sentence
            assert "awvault repair" in two.alarm(Name.LOG_ROLLED_BACK).repair
            assert two.vault.replica.heads()[one.client_id] == pinned[one.client_id]
            assert await starts(two, "afk") == [3]
            assert await starts(two) == [1, 2]

        await two.sync()
        assert two.alarms() == {}
        assert [i.name for i in two.remote.incidents] == [Name.LOG_ROLLED_BACK] * 2


async def test_a_log_that_is_gone_is_an_alarm(tmp_path: Path) -> None:
    """Also where nothing of it is left."""
    async with lied_to(tmp_path) as (host, _, one, two):
        await one.record(1)
        await two.sync()
        with host.lying(Shorter(one.client_id, records=0, hash_="")):
            await two.sync()
            assert two.alarms() == {Name.LOG_ROLLED_BACK: one.client_id.hex()}
            assert await starts(two) == [1]


async def test_another_record_at_the_head_is_a_fork(tmp_path: Path) -> None:
    """Two hashes at one place."""
    async with lied_to(tmp_path) as (host, _, one, two):
        await one.record(1)
        await two.sync()
        records = len(await two.vault.replica.read(one.client_id, start=Seq(0)))
        with host.lying(Shorter(one.client_id, records=records, hash_="0" * 64)):
            await two.sync()
            assert two.alarms() == {Name.LOG_FORKED: one.client_id.hex()}


@pytest.mark.parametrize(
    ("lie", "name"),
    [
        (Forged, Name.LOG_INVALID),
        (Missing, Name.LOG_INVALID),
        (Nothing, Name.LOG_WITHHELD),
    ],
)
async def test_records_that_are_wrong_stop_their_log(
    tmp_path: Path, lie: type[Altered], name: Name
) -> None:
    """What came before stays, what comes after waits; other logs go on."""
    async with lied_to(tmp_path) as (host, met, one, two):
        three = await met.join("third")
        await one.record(1)
        await two.sync()
        for start in (2, 3, 4):
            await one.record(start)
        await three.record(5, name="afk")
        with host.lying(lie(one.client_id)):
            await two.sync()
            assert two.alarms() == {name: one.client_id.hex()}
            assert (await starts(two))[:1] == [1]
            assert len(await starts(two)) < 4
            assert await starts(two, "afk") == [5]
        await two.sync()
        assert two.alarms() == {}
        assert await starts(two) == [1, 2, 3, 4]


async def test_what_a_client_has_seen_exposes_what_is_withheld(tmp_path: Path) -> None:
    """A log that is hidden from one client is in what another has seen."""
    async with lied_to(tmp_path) as (host, met, one, two):
        three = await met.join("third")
        await one.record(1)
        with host.lying(Shorter(one.client_id, records=0, hash_="")):
            await two.sync()
            assert two.alarms() == {}  # nothing tells yet

        await three.sync()
        with host.lying(Shorter(one.client_id, records=0, hash_="")):
            await seal_whole(three.vault)
        await three.record(9, name="afk")
        with host.lying(Shorter(one.client_id, records=0, hash_="")):
            await two.sync()
            assert two.alarms() == {Name.LOG_WITHHELD: one.client_id.hex()}
            assert await starts(two, "afk") == [9]
        await two.sync()
        assert two.alarms() == {}
        assert await starts(two) == [1]


async def test_honest_clients_that_work_at_once_never_alarm(tmp_path: Path) -> None:
    """However their uploads and downloads mix."""
    async with lied_to(tmp_path) as (_, met, one, two):
        three = await met.join("third")
        members = (one, two, three)
        for round_number in range(4):
            for member in members:
                await member.record(round_number, name=f"b{member.client_id.hex()[:4]}")
            for member in members[:: 1 if round_number % 2 else -1]:
                assert (await member.sync()).alarms == []
        for member in members:
            await member.sync()
        views = [
            {name.split("-")[0]: read(m.vault, name) for name in m.vault.buckets()}
            for m in members
        ]
        assert views[0] == views[1] == views[2]
        assert len(views[0]) == 3


async def test_the_own_log_is_uploaded_again(tmp_path: Path) -> None:
    """A host that lost what it acknowledged gets it back, and it is not forgotten."""
    async with lied_to(tmp_path) as (host, _, one, two):
        await one.record(1)
        await host.save("backup")
        await one.record(2)
        await host.put_back("backup")

        done = await one.sync()
        assert one.alarms() == {Name.OWN_LOG_SHORTENED: one.client_id.hex()}
        assert done.pushed > 0
        await one.sync()
        assert one.alarms() == {}
        assert Name.OWN_LOG_SHORTENED in {i.name for i in one.remote.incidents}
        await two.sync()
        assert await starts(two) == [1, 2]


async def test_a_copy_of_this_client_stops_its_uploads(tmp_path: Path) -> None:
    """Records that this client's key signed and this client does not have."""
    async with lied_to(tmp_path) as (_, met, one, two):
        await one.record(1)
        await two.sync()
        path = met.account.root / "copy"
        path.mkdir(mode=0o700)
        page = one.vault.database.path.read_bytes()
        wal = one.vault.database.path.with_name("vault.db-wal").read_bytes()
        (path / "vault.db").write_bytes(page)
        (path / "vault.db-wal").write_bytes(wal)
        copy = await met.member(await met.account.open(path))

        await one.record(2)
        await copy.vault.insert_rows("window", _rows(3))
        await seal_whole(copy.vault)
        done = await copy.sync()
        assert copy.alarms() == {Name.OWN_LOG_ELSEWHERE: one.client_id.hex()}
        assert done.pushed == 0
        assert "awvault login" in copy.alarm(Name.OWN_LOG_ELSEWHERE).repair
        # The other way: the copy was quicker.
        await one.record(4)
        await two.sync()
        assert two.alarms() == {}
        assert await starts(two) == [1, 2, 4]


async def test_a_head_of_the_own_log_that_nobody_signed_is_told_apart(
    tmp_path: Path,
) -> None:
    """A host that invents records of this client has none to show."""
    async with lied_to(tmp_path) as (host, _, one, _):
        await one.record(1)

        class Invents(Lie):
            def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
                return replace(
                    honest,
                    heads=[
                        replace(head, seq=head.seq + 1, hash="0" * 64)
                        for head in honest.heads
                    ],
                )

        with host.lying(Invents()):
            await one.sync()
            assert one.alarms() == {Name.LOG_WITHHELD: one.client_id.hex()}
        await one.record(2)
        assert one.alarms() == {}


async def test_an_acknowledgement_that_is_no_truth_is_an_alarm(tmp_path: Path) -> None:
    """A 201 for records that the host did not keep."""
    async with lied_to(tmp_path) as (host, _, one, two):
        await one.record(1)

        class Forgets(Lie):
            async def append(
                self, client: ClientId, records: Sequence[SealedRecord], append: object
            ) -> AppendAnswer:
                last = records[-1]
                return AppendAnswer(
                    head=HeadInfo(seq=last.header.seq, hash=last.hash.hex()),
                    new=len(records),
                )

        await one.vault.insert_rows("window", _rows(2))
        with host.lying(Forgets()):
            await one.seal_and_sync()
            assert one.alarms() == {Name.OWN_LOG_SHORTENED: one.client_id.hex()}
        await one.sync()
        await one.sync()
        assert one.alarms() == {}
        await two.sync()
        assert await starts(two) == [1, 2]


async def test_documents_that_were_rolled_back_are_an_alarm(tmp_path: Path) -> None:
    """The version that is pinned must still be there; logs go on."""
    async with lied_to(tmp_path) as (host, met, one, two):
        await host.save("backup")
        three = await met.join("third")
        await one.sync()
        await host.put_back("backup")
        pinned = one.vault.keys.pin

        await two.vault.create_bucket("afk", type="test")
        await two.vault.insert_rows("afk", _rows(1))
        await two.seal_and_sync()
        await one.sync()
        assert one.alarms() == {Name.DOCUMENTS_ROLLED_BACK: None}
        assert "verified up to 4" in one.alarm(Name.DOCUMENTS_ROLLED_BACK).sentence
        assert one.vault.keys.pin == pinned
        assert await starts(one, "afk") == [1]
        with pytest.raises(HostRefusedError):
            await three.sync()
        assert three.alarms() == {Name.CLIENT_REFUSED: three.client_id.hex()}


async def test_two_documents_of_one_version_are_a_fork(tmp_path: Path) -> None:
    """A host that shows two clients two documents which the owner both signed."""
    async with lied_to(tmp_path) as (host, met, one, two):
        account = met.account
        before = tuple(account.documents)
        other = account.edit(
            AddClient(client=new_client_key(account.opened, account.random), label="x")
        ).document
        account.documents = list(before)
        account.reopen()
        await met.join("third")
        await one.sync()
        pinned = one.vault.keys.pin

        class Forks(Lie):
            def documents(
                self, caller: Caller, after: int, honest: list[bytes]
            ) -> list[bytes]:
                kept = len(before) - after
                return honest if kept < 0 else [*honest[:kept], other]

        with host.lying(Forks()):
            await one.sync()
            assert one.alarms() == {Name.DOCUMENTS_FORKED: None}
            assert one.vault.keys.pin == pinned
            # Whoever saw the other one is told by what this client has seen.
            await two.sync()
            assert two.vault.keys.pin != pinned
        await one.record(1)
        assert one.alarms() == {}
        await two.sync()
        assert Name.DOCUMENTS_FORKED in two.alarms()


async def test_a_document_nobody_signed_is_not_believed(tmp_path: Path) -> None:
    """Another byte in it, and the pin stays."""
    async with lied_to(tmp_path) as (host, met, one, _):
        pinned = one.vault.keys.pin
        await met.join("third")

        class Alters(Lie):
            def documents(
                self, caller: Caller, after: int, honest: list[bytes]
            ) -> list[bytes]:
                if len(honest) < 2:
                    return honest
                return [*honest[:-1], honest[-1][:-1] + bytes([honest[-1][-1] ^ 1])]

        with host.lying(Alters()):
            await one.sync()
            assert one.alarms() == {Name.DOCUMENTS_INVALID: None}
            assert one.vault.keys.pin == pinned
        await one.sync()
        assert one.alarms() == {}
        assert one.vault.keys.pin != pinned


async def test_a_document_that_is_withheld_is_exposed(tmp_path: Path) -> None:
    """What another client has seen names a later version."""
    async with lied_to(tmp_path) as (host, met, one, two):
        await met.join("third")
        await two.sync()
        await two.record(1)
        versions = len(met.account.documents) - 1

        class Withholds(Lie):
            def documents(
                self, caller: Caller, after: int, honest: list[bytes]
            ) -> list[bytes]:
                return honest[: max(versions - after, 0)]

            def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
                return replace(honest, version=versions)

        with host.lying(Withholds()):
            await one.sync()
            assert one.alarms() == {Name.DOCUMENTS_WITHHELD: None}
        await one.sync()
        assert one.alarms() == {}


async def test_a_session_of_another_account_is_not_used(tmp_path: Path) -> None:
    """Nothing is uploaded into it."""
    async with lied_to(tmp_path) as (host, _, one, _):

        class Swaps(Lie):
            def session(
                self, request: SessionRequest, honest: SessionAnswer
            ) -> SessionAnswer:
                return replace(honest, account_id="0" * 32)

        one.host.forget_session()
        host.requests.clear()
        with host.lying(Swaps()), pytest.raises(HostRefusedError, match="account"):
            await one.sync()
        assert one.alarms() == {Name.WRONG_ACCOUNT: None}
        assert {path for _, path in host.requests} == {
            "/api/1/prelogin",
            "/api/1/sessions",
        }
        await one.record(1)
        assert one.alarms() == {}


async def test_an_outage_ends_no_alarm_and_loses_nothing(tmp_path: Path) -> None:
    """A round that was cut looked at nothing, and the next goes on."""
    async with lied_to(tmp_path) as (host, _, one, two):
        await one.record(1)
        await two.sync()
        with host.lying(Shorter(one.client_id, records=0, hash_="")):
            await two.sync()
        since = two.alarm(Name.LOG_ROLLED_BACK).since_us
        await host.stop()
        with pytest.raises(TransportError):
            await two.sync()
        assert two.alarm(Name.LOG_ROLLED_BACK).since_us == since
        await host.start()
        await two.sync()
        assert two.alarms() == {}


def _rows(start: float) -> NewRows:
    return NewRows(starts=[us(start)], durations=[1_000_000], texts=[A])
