"""Appending and reading: who may, and that what is refused stores nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from awserver.errors import (
    ChainBrokenError,
    ClientRevokedError,
    ClientUnknownError,
    EpochUnknownError,
    InvalidRequestError,
    MalformedRecordError,
    QuotaExceededError,
    SeqConflictError,
    ServerError,
    SessionInvalidError,
    SignatureInvalidError,
    StoreReadOnlyError,
)
from awserver.records import ClientId, SealedRecord, Seq
from awserver.service.base import Caller
from awserver.service.logs import INLINE_RECORDS_MAX
from awserver.wire import AppendAnswer, ClientHead, ClientInfo, HeadInfo, HeadsAnswer
from tests.helpers.services import Host, open_host
from tests.helpers.tenants import Key, Tenant

MANY: Final = INLINE_RECORDS_MAX + 3


@dataclass
class Ada:
    """A tenant with a session."""

    host: Host
    tenant: Tenant
    caller: Caller

    async def append(
        self, records: list[SealedRecord], *, client: int = 0
    ) -> AppendAnswer:
        return await self.host.service.logs.append(
            self.caller, self.tenant.client_id(client), records
        )

    async def log(self, client: int = 0) -> list[SealedRecord]:
        return await self.host.service.logs.read(
            self.caller, self.tenant.client_id(client), start=Seq(0)
        )

    async def refused(
        self,
        error: type[ServerError],
        records: list[SealedRecord],
        *,
        client: int = 0,
        caller: Caller | None = None,
    ) -> None:
        """Check that an append is refused, and that nothing is stored or charged."""
        logs = self.host.service.logs
        before = await logs.heads(self.caller), await logs.usage(self.caller)
        with pytest.raises(error):
            await logs.append(
                caller or self.caller, self.tenant.client_id(client), records
            )
        assert (await logs.heads(self.caller), await logs.usage(self.caller)) == before


@pytest.fixture
async def ada(host: Host) -> Ada:
    tenant = Tenant()
    return Ada(host, tenant, await host.register(tenant))


@pytest.mark.parametrize("count", [1, INLINE_RECORDS_MAX, MANY])
async def test_what_is_appended_is_read(ada: Ada, count: int) -> None:
    """Byte for byte; once more it is done already."""
    records = ada.tenant.records(count)
    head = HeadInfo(seq=count - 1, hash=records[-1].hash.hex())
    assert await ada.append(records) == AppendAnswer(head=head, new=count)
    assert await ada.append(records) == AppendAnswer(head=head, new=0)
    assert await ada.log() == records


async def test_any_session_appends_what_a_client_signed(ada: Ada) -> None:
    """That is repair: another client has the records that the host lost."""
    records = ada.tenant.records(3, client=1)
    await ada.append(records, client=1)
    assert await ada.log(1) == records


# -- T33: a stolen token without the client's key ---------------------------------


@pytest.mark.parametrize("count", [1, MANY])
async def test_t33_a_token_alone_appends_nothing(ada: Ada, count: int) -> None:
    """Records by a key of the thief's are refused, wherever the bad one stands."""
    thief = Key.of("thief")
    good = ada.tenant.records(count)
    await ada.refused(SignatureInvalidError, ada.tenant.records(count, key=thief))
    await ada.refused(
        SignatureInvalidError,
        [*good, *ada.tenant.records(1, after=good[-1], key=thief)],
    )
    await ada.refused(
        SignatureInvalidError, ada.tenant.records(count, key=ada.tenant.client_key(1))
    )
    await ada.refused(
        SignatureInvalidError, [replace(one, signature=bytes(64)) for one in good]
    )
    await ada.append(good)


async def test_t33_records_of_another_account_or_log_are_refused(
    host: Host, ada: Ada
) -> None:
    """Though their own client signed them."""
    bob = Tenant(name="bob")
    theirs = await host.register(bob)
    await ada.refused(MalformedRecordError, bob.records(1))
    await ada.refused(MalformedRecordError, ada.tenant.records(1, client=1))
    await ada.refused(
        MalformedRecordError,
        [ada.tenant.record(), ada.tenant.record(client=1)],
    )
    await ada.refused(MalformedRecordError, ada.tenant.records(1), caller=theirs)
    await ada.refused(InvalidRequestError, [])


async def test_t33_a_gap_is_refused(ada: Ada) -> None:
    """And charged nothing, nor is a chain that does not follow."""
    records = ada.tenant.records(4)
    await ada.refused(SeqConflictError, records[1:])
    await ada.append(records[:2])
    await ada.refused(SeqConflictError, records[3:])
    other = ada.tenant.records(3, body=b"other")
    await ada.refused(ChainBrokenError, other[2:])
    await ada.refused(SeqConflictError, other[:2])
    await ada.append(records)


async def test_t33_fifty_appends_at_one_seq_store_one(ada: Ada) -> None:
    """At once, each well signed: one is stored and charged."""
    rivals = [ada.tenant.record(body=b"rival %2d" % n) for n in range(50)]
    outcomes = await asyncio.gather(
        *(ada.append([one]) for one in rivals), return_exceptions=True
    )
    won = [n for n, one in enumerate(outcomes) if isinstance(one, AppendAnswer)]
    assert sum(isinstance(one, SeqConflictError) for one in outcomes) == 49
    assert await ada.log() == [rivals[won[0]]]
    usage = await ada.host.service.logs.usage(ada.caller)
    assert (usage.entries, usage.stored_bytes) == (1, len(rivals[0].encode()))


async def test_a_body_must_be_there(ada: Ada) -> None:
    """Nothing is erased in this version, so no body may be missing."""
    (record,) = ada.tenant.records(1)
    await ada.refused(MalformedRecordError, [replace(record, body=None)])


# -- what the account document says ------------------------------------------------


async def test_a_client_that_is_not_named_has_no_log(ada: Ada) -> None:
    """Until a document names it."""
    tenant = ada.tenant
    await ada.refused(ClientUnknownError, tenant.records(1, client=2), client=2)
    added = (*tenant.newest.document.clients, tenant.entry(2, added=2))
    await ada.host.put(tenant, ada.caller, tenant.sign(tenant.next(clients=added)))
    ada.caller = await ada.host.login(tenant)
    await ada.append(tenant.records(1, client=2), client=2)


async def test_a_revoked_client_has_records_up_to_its_end(ada: Ada) -> None:
    """Those may be put back; another at the end, and any beyond, may not."""
    tenant = ada.tenant
    records = tenant.records(4, client=1)
    revoked = tenant.revoked(1, records[1])
    await ada.host.put(tenant, ada.caller, tenant.sign(tenant.next(clients=revoked)))
    ada.caller = await ada.host.login(tenant)
    await ada.refused(ClientRevokedError, records[:3], client=1)
    await ada.refused(ClientRevokedError, records[2:], client=1)
    other = tenant.records(1, client=1, after=records[0], body=b"other")
    await ada.refused(ChainBrokenError, [records[0], *other], client=1)
    await ada.append(records[:2], client=1)
    assert await ada.log(1) == records[:2]


async def test_a_client_revoked_without_an_end_has_no_records(ada: Ada) -> None:
    """Not even the first."""
    tenant = ada.tenant
    await ada.host.put(
        tenant, ada.caller, tenant.sign(tenant.next(clients=tenant.revoked(1)))
    )
    ada.caller = await ada.host.login(tenant)
    await ada.refused(ClientRevokedError, tenant.records(1, client=1), client=1)


async def test_an_epoch_must_be_named(ada: Ada) -> None:
    """A record of a later one waits for the document that begins it."""
    tenant = ada.tenant
    records = tenant.records(1, epoch=1)
    await ada.refused(EpochUnknownError, records)
    blob = b"blob of epoch 1"
    document = tenant.signed(tenant.next_epoch(blob))
    await ada.host.put(tenant, ada.caller, document, blob=blob)
    tenant.documents.append(document)
    ada.caller = await ada.host.login(tenant, by="client")
    await ada.append(records)


async def test_a_document_that_changes_under_an_append_counts(
    host: Host, ada: Ada
) -> None:
    """Whoever was let in under an older one is judged by the newest."""
    tenant, stale = ada.tenant, await host.login(ada.tenant)
    records = tenant.records(2, client=1)
    await ada.append(records[:1], client=1)
    revoked = tenant.revoked(1, records[0])
    await host.put(tenant, ada.caller, tenant.sign(tenant.next(clients=revoked)))
    assert stale.version == 1
    await ada.refused(ClientRevokedError, records[1:], client=1, caller=stale)
    await host.service.logs.append(stale, tenant.client_id(), tenant.records(1))


async def test_a_session_that_ended_since_appends_nothing(host: Host, ada: Ada) -> None:
    """It lived when the request came in, and did not when it was to be stored."""
    other = await host.login(ada.tenant)
    await host.service.sessions.end(other, "current")
    await ada.refused(SessionInvalidError, ada.tenant.records(1), caller=other)


# -- quota, read-only --------------------------------------------------------------


async def test_a_quota_is_held_to(tmp_path: Path) -> None:
    """The host's for everyone, or an account's own."""
    size = len(Tenant().record().encode())
    async with open_host(tmp_path / "h.db", quota_bytes=2 * size) as host:
        tenant = Tenant()
        ada = Ada(host, tenant, await host.register(tenant))
        records = tenant.records(5)
        await ada.append(records[:2])
        await ada.refused(QuotaExceededError, records[2:3])
        await ada.append(records[:2])
        administration = host.service.administration
        await administration.set_quota(tenant.account_id, 4 * size)
        assert (await host.service.logs.usage(ada.caller)).quota_bytes == 4 * size
        await ada.append(records[2:4])
        await ada.refused(QuotaExceededError, records[4:])
        await administration.set_quota(tenant.account_id, None)
        assert (await host.service.logs.usage(ada.caller)).quota_bytes == 2 * size


async def test_a_store_that_follows_another_host_takes_nothing(tmp_path: Path) -> None:
    """While it does; reading goes on."""
    follows = [False]
    async with open_host(tmp_path / "h.db", is_read_only=lambda: follows[0]) as host:
        tenant = Tenant()
        ada = Ada(host, tenant, await host.register(tenant))
        await ada.append(tenant.records(1))
        follows[0] = True
        await ada.refused(StoreReadOnlyError, tenant.records(2))
        document = tenant.signed(tenant.next())
        with pytest.raises(StoreReadOnlyError):
            await host.put(tenant, ada.caller, document)
        assert len(await ada.log()) == 1
        follows[0] = False
        await ada.append(tenant.records(2))
        assert await host.put(tenant, ada.caller, document) == 2


# -- reading -----------------------------------------------------------------------


async def test_heads_and_clients_tell_what_is_stored(ada: Ada) -> None:
    """Of each log that has records; and of each client that is named."""
    tenant, logs = ada.tenant, ada.host.service.logs
    records = tenant.records(3, client=1, body=bytes(700))
    await ada.append(records, client=1)
    taken = sum(len(one.encode()) for one in records)
    assert await logs.heads(ada.caller) == HeadsAnswer(
        heads=[
            ClientHead(
                client_id=tenant.client_id(1).hex(),
                seq=2,
                hash=records[-1].hash.hex(),
                entries=3,
                stored_bytes=taken,
            )
        ],
        version=1,
        entries=3,
    )
    clients = (await logs.clients(ada.caller)).clients
    assert clients == [
        ClientInfo(
            client_id=tenant.client_id(0).hex(),
            number=0,
            entries=0,
            stored_bytes=0,
            head_seq=None,
            revoked=False,
        ),
        ClientInfo(
            client_id=tenant.client_id(1).hex(),
            number=1,
            entries=3,
            stored_bytes=taken,
            head_seq=2,
            revoked=False,
        ),
    ]


async def pages_of(
    pages: AsyncIterator[list[SealedRecord]],
) -> list[list[SealedRecord]]:
    return [page async for page in pages]


@pytest.mark.parametrize(
    ("bytes_max", "count"), [(0, 1), (1, 1), (1_300, 1), (2_600, 2), (10**9, 7)]
)
async def test_a_stream_ends_where_it_is_asked_to(
    ada: Ada, bytes_max: int, count: int
) -> None:
    """One record at least, and no more than the bytes that were asked for."""
    records = ada.tenant.records(7, body=bytes(1_000))
    await ada.append(records)
    got = await pages_of(
        ada.host.service.logs.pages(
            ada.caller, ada.tenant.client_id(), start=Seq(0), bytes_max=bytes_max
        )
    )
    assert [one for page in got for one in page] == records[:count]


async def test_a_stream_comes_in_small_pages(ada: Ada) -> None:
    """Each of a megabyte; none is empty; bodies may be left out."""
    records = ada.tenant.records(6, body=bytes(400_000))
    await ada.append(records)

    async def stream(start: int, **how: Any) -> list[list[SealedRecord]]:
        return await pages_of(
            ada.host.service.logs.pages(
                ada.caller,
                ada.tenant.client_id(),
                start=Seq(start),
                bytes_max=10**9,
                **how,
            )
        )

    assert [len(page) for page in await stream(0)] == [2, 2, 2]
    assert [len(page) for page in await stream(1)] == [2, 2, 1]
    (bare,) = await stream(0, bodies=False)
    assert [one.header for one in bare] == [one.header for one in records]
    assert all(one.body is None for one in bare)
    assert await stream(6) == []


async def test_accounts_are_apart(host: Host, ada: Ada) -> None:
    """Nobody reads another's log, by whatever client id."""
    await ada.append(ada.tenant.records(2))
    bob = Tenant(name="bob")
    theirs = await host.register(bob)
    logs = host.service.logs
    assert await logs.read(theirs, ada.tenant.client_id(), start=Seq(0)) == []
    assert await logs.read(ada.caller, ClientId(bytes(16)), start=Seq(0)) == []
    assert (await logs.heads(theirs)).heads == []
