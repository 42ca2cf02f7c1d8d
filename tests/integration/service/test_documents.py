"""The account document on a host: every rule of the chain, and one winner."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from awserver.config import Registration
from awserver.documents import AccountDocument, Erasure, hash_keys_blob
from awserver.errors import (
    DocumentConflictError,
    DocumentInvalidError,
    NotSupportedError,
    ProofRefusedError,
    RegistrationClosedError,
    ServerError,
    SessionInvalidError,
    SignatureInvalidError,
    UsernameTakenError,
)
from awserver.proofs import Action
from awserver.records import Head, RecordHash, Seq
from awserver.service.base import Caller
from awserver.wire import VersionAnswer
from tests.helpers.services import Host, open_host
from tests.helpers.tenants import Key, Tenant


@dataclass
class Ada:
    """A tenant with a session."""

    host: Host
    tenant: Tenant
    caller: Caller

    async def put(self, document: bytes, **how: Any) -> int:
        return await self.host.put(self.tenant, self.caller, document, **how)

    async def refused(
        self, error: type[ServerError], document: bytes, **how: Any
    ) -> None:
        """Check that an edit is refused, and that documents and blob stay."""
        documents = self.host.service.documents
        self.host.clock.turn(minutes=1)
        before = (
            await documents.read(self.caller, after=0),
            await documents.keys_blob(self.caller),
            await self.host.service.sessions.list(self.caller),
        )
        with pytest.raises(error):
            await self.put(document, **how)
        assert before == (
            await documents.read(self.caller, after=0),
            await documents.keys_blob(self.caller),
            await self.host.service.sessions.list(self.caller),
        )


@pytest.fixture
async def ada(host: Host) -> Ada:
    tenant = Tenant()
    return Ada(host, tenant, await host.register(tenant))


@pytest.mark.parametrize("by", ["login", "recovery"])
async def test_the_next_version_is_stored(ada: Ada, by: str) -> None:
    """By the passphrase or the recovery key; with a new blob, if it names one."""
    blob = b"another blob"
    document = ada.tenant.signed(ada.tenant.next(keys_blob_hash=hash_keys_blob(blob)))
    assert await ada.put(document, blob=blob, by=by) == 2
    documents = ada.host.service.documents
    assert await documents.read(ada.caller, after=1) == [document]
    assert await documents.keys_blob(ada.caller) == blob


FORGED = {
    "origin": "https://evil.example",
    "action": Action.LOGIN,
    "username": "bob",
    "nonce": bytes(32),
    "client_nonce": bytes(32),
    "client_id": bytes(16),
    "salt": bytes(16),
    "body": b"",
}


@pytest.mark.parametrize("field", sorted(FORGED))
async def test_an_edit_takes_a_fresh_proof_of_itself(ada: Ada, field: str) -> None:
    """A session is not enough, nor a proof of something else."""
    document = ada.tenant.signed(ada.tenant.next())
    await ada.refused(ProofRefusedError, document, **{field: FORGED[field]})


async def test_a_clients_key_edits_nothing(ada: Ada) -> None:
    """Nor does the key of another account."""
    document = ada.tenant.signed(ada.tenant.next())
    await ada.refused(ProofRefusedError, document, key=ada.tenant.client_key())
    await ada.refused(ProofRefusedError, document, key=Tenant(name="bob").login)


async def test_the_proof_is_by_the_key_that_is_in_force(ada: Ada) -> None:
    """A new passphrase is proven by the old one, once; from then on by itself."""
    tenant = ada.tenant
    new = Key.of("new login")
    document = tenant.signed(tenant.next(login_public=new.public))
    await ada.refused(ProofRefusedError, document, key=new)
    await ada.put(document)
    tenant.documents.append(document)
    ada.caller = await ada.host.login(tenant, key=new)
    await ada.refused(ProofRefusedError, tenant.signed(tenant.next()))
    await ada.put(tenant.signed(tenant.next()), key=new)


# -- the rules of a chain -----------------------------------------------------------


def changed(**changes: Any) -> Callable[[Tenant], AccountDocument]:
    return lambda tenant: tenant.next(**changes)


BROKEN: dict[str, Callable[[Tenant], AccountDocument]] = {
    "prev": changed(prev=bytes(32)),
    "account": changed(account_id=bytes(16)),
    "oldest suite": changed(oldest_suite=0),
    "username": changed(username="bob"),
    "clients gone": lambda tenant: tenant.next(
        clients=tenant.newest.document.clients[:1]
    ),
    "client key": lambda tenant: tenant.next(
        clients=(
            tenant.newest.document.clients[0],
            replace(tenant.entry(5), number=1),
        )
    ),
    "client of the past": lambda tenant: tenant.next(
        clients=(*tenant.newest.document.clients, tenant.entry(2, added=1))
    ),
    "epoch leaps": changed(epoch=2),
    "epoch keeps its keys": changed(epoch=1),
}


@pytest.mark.parametrize("rule", sorted(BROKEN))
async def test_every_rule_of_a_chain_holds(ada: Ada, rule: str) -> None:
    """A faulty client locks nobody out: what others would refuse is not stored."""
    document = BROKEN[rule](ada.tenant)
    signed = document.sign(ada.tenant.ask(), None)
    if document.epoch == 1:
        signed = document.sign(ada.tenant.ask(), ada.tenant.ask())
    await ada.refused(DocumentInvalidError, signed)


async def test_a_document_is_signed_by_its_owner(ada: Ada) -> None:
    """By the key of the version before; whoever has a session has no such key."""
    document = ada.tenant.next()
    await ada.refused(SignatureInvalidError, document.sign(Key.of("thief")))
    await ada.refused(SignatureInvalidError, document.sign(ada.tenant.client_key()))


async def test_a_document_is_read_to_its_last_byte(ada: Ada) -> None:
    """Garbage and truncations are refused as such."""
    document = ada.tenant.signed(ada.tenant.next())
    for wrong in (document[:-1], document + b"\0", b"?", document[:100]):
        await ada.refused(DocumentInvalidError, wrong)


async def test_the_blob_is_the_one_that_is_named(ada: Ada) -> None:
    """A document that names another blob comes with it."""
    named = ada.tenant.next(keys_blob_hash=hash_keys_blob(b"new"))
    document = ada.tenant.signed(named)
    await ada.refused(DocumentInvalidError, document)
    await ada.refused(DocumentInvalidError, document, blob=b"old")
    await ada.refused(
        DocumentInvalidError, ada.tenant.signed(ada.tenant.next()), blob=b"new"
    )
    await ada.put(document, blob=b"new")


async def test_forgetting_is_not_in_this_version(ada: Ada) -> None:
    """A document that erases is refused, and says which."""
    tenant = ada.tenant
    records = tenant.records(3)
    await ada.host.service.logs.append(ada.caller, tenant.client_id(), records)
    head = Head(seq=Seq(2), hash=records[2].hash)
    erased = Erasure(client_id=tenant.client_id(), from_seq=Seq(0), to_seq=Seq(1))
    document = tenant.next(heads=((tenant.client_id(), head),), erased=(erased,))
    await ada.refused(NotSupportedError, tenant.signed(document))


async def test_heads_agree_with_the_logs(ada: Ada) -> None:
    """A head, or an end of a client, that is another record here is refused."""
    tenant = ada.tenant
    records = tenant.records(3)
    await ada.host.service.logs.append(ada.caller, tenant.client_id(), records)
    for seq in (0, 2):
        wrong = Head(seq=Seq(seq), hash=RecordHash(bytes(32)))
        named = tenant.next(heads=((tenant.client_id(), wrong),))
        await ada.refused(DocumentInvalidError, tenant.signed(named))
    other = tenant.records(3, body=b"other")
    ended = tenant.next(clients=tenant.revoked(0, other[1]))
    await ada.refused(DocumentInvalidError, tenant.signed(ended))
    # Of a record that this host does not have it cannot know.
    later = tenant.records(9)[-1]
    ahead = Head(seq=later.header.seq, hash=later.hash)
    await ada.put(tenant.signed(tenant.next(heads=((tenant.client_id(), ahead),))))


# -- compare and swap ------------------------------------------------------------


async def test_a_stale_edit_is_a_conflict(ada: Ada) -> None:
    """It is told which version is next."""
    tenant = ada.tenant
    first = tenant.signed(tenant.next())
    rival = tenant.signed(tenant.next(oldest_suite=1, salt=bytes(16)))
    await ada.put(first)
    with pytest.raises(DocumentConflictError) as caught:
        await ada.put(rival)
    assert (caught.value.expected_version, caught.value.got_version) == (3, 2)
    fresh = replace(ada.caller, version=2)
    tenant.documents.append(first)
    for skipped in (tenant.next(version=4), tenant.next(version=2)):
        with pytest.raises(DocumentConflictError):
            await ada.host.put(tenant, fresh, tenant.signed(skipped))


async def test_of_twenty_edits_at_once_one_is_stored(ada: Ada) -> None:
    """Each with a proof of its own; the others are in conflict."""
    tenant = ada.tenant
    edits = [tenant.signed(tenant.next(salt=bytes([n]) * 16)) for n in range(20)]
    outcomes = await asyncio.gather(
        *(ada.put(one) for one in edits), return_exceptions=True
    )
    assert outcomes.count(2) == 1
    assert sum(isinstance(one, DocumentConflictError) for one in outcomes) == 19
    stored = await ada.host.service.documents.read(ada.caller, after=1)
    assert stored == [edits[outcomes.index(2)]]


# -- sessions that end --------------------------------------------------------------


async def test_a_revoked_clients_sessions_end(host: Host, ada: Ada) -> None:
    """With the document, and those of others go on."""
    tenant = ada.tenant
    theirs = await host.token(tenant, client=1)
    mine = await host.token(tenant)
    document = tenant.signed(tenant.next(clients=tenant.revoked(1)))
    await ada.put(document)
    with pytest.raises(SessionInvalidError):
        await host.service.sessions.find(theirs)
    await host.service.sessions.find(mine)
    tenant.documents.append(document)
    with pytest.raises(ProofRefusedError):
        await host.login(tenant, by="client", client=1)


async def test_with_a_new_epoch_all_sessions_end(host: Host, ada: Ada) -> None:
    """And the old passphrase and recovery key prove nothing any more."""
    tenant = ada.tenant
    tokens = [await host.token(tenant, client=n) for n in (0, 1)]
    blob = b"blob of epoch 1"
    document = tenant.signed(tenant.next_epoch(blob))
    assert await ada.put(document, blob=blob) == 2
    for token in tokens:
        with pytest.raises(SessionInvalidError):
            await host.service.sessions.find(token)
    tenant.documents.append(document)
    for by in ("login", "recovery"):
        with pytest.raises(ProofRefusedError):
            await host.login(tenant, by=by)
    caller = await host.login(tenant, key=Key.of("ada login 1"))
    assert await host.service.documents.keys_blob(caller) == blob


# -- putting documents back -----------------------------------------------------------


async def restore(host: Host, tenant: Tenant, **how: Any) -> VersionAnswer:
    request = tenant.restore_request(await host.nonce("ada"), **how)
    return await host.service.documents.restore(request, address=host.address())


def longer(tenant: Tenant, count: int) -> None:
    for number in range(2, 2 + count):
        clients = (*tenant.newest.document.clients, tenant.entry(number, added=number))
        tenant.sign(tenant.next(clients=clients))


async def test_versions_that_the_host_lost_are_put_back(host: Host, ada: Ada) -> None:
    """By any client that the newest of them names, from wherever they continue."""
    tenant = ada.tenant
    longer(tenant, 4)
    assert await restore(host, tenant, documents=tenant.documents[:3]) == VersionAnswer(
        version=3
    )
    await restore(host, tenant, documents=tenant.documents[3:4], client=3)
    await restore(host, tenant, documents=tenant.documents[1:])
    read = await host.service.documents.read(ada.caller, after=0)
    assert read == tenant.documents
    # Once more is no error, and changes nothing.
    await restore(host, tenant)
    assert await host.service.documents.read(ada.caller, after=0) == tenant.documents


async def test_only_a_client_that_is_named_puts_back(host: Host, ada: Ada) -> None:
    """Not one that was revoked, not a stranger, and not by a proof for another host."""
    tenant = ada.tenant
    longer(tenant, 1)
    tenant.sign(tenant.next(clients=tenant.revoked(1)))
    for how in (
        {"client": 1},
        {"client": 9},
        {"key": tenant.login},
        {"origin": "https://evil.example"},
        {"action": Action.SESSION},
        {"body": b""},
    ):
        with pytest.raises(ProofRefusedError):
            await restore(host, tenant, **how)
    assert await restore(host, tenant) == VersionAnswer(version=3)


async def test_what_does_not_continue_the_chain_is_a_conflict(
    host: Host, ada: Ada
) -> None:
    """A gap, a fork, or fewer than there are; and nothing changes."""
    tenant = ada.tenant
    longer(tenant, 4)
    await restore(host, tenant, documents=tenant.documents[:3])
    fork = Tenant()
    fork.sign(fork.next())
    fork.sign(fork.next())
    fork.sign(fork.next())
    for documents in (
        tenant.documents[4:],
        tenant.documents[:2],
        tenant.documents[1:2],
        fork.documents,
    ):
        with pytest.raises(DocumentConflictError) as caught:
            await restore(host, tenant, documents=documents)
        assert caught.value.expected_version == 4
    stored = await host.service.documents.read(ada.caller, after=0)
    assert stored == tenant.documents[:3]


async def test_what_is_put_back_keeps_every_rule(host: Host, ada: Ada) -> None:
    """A chain that nobody would believe is not stored, the blob neither."""
    tenant = ada.tenant
    longer(tenant, 2)
    broken = tenant.next(prev=bytes(32)).sign(tenant.ask())
    with pytest.raises(DocumentInvalidError):
        await restore(host, tenant, documents=[*tenant.documents, broken])
    unsigned = tenant.next().sign(Key.of("thief"))
    with pytest.raises(SignatureInvalidError):
        await restore(host, tenant, documents=[*tenant.documents, unsigned])
    tenant.blob = b"another"
    with pytest.raises(DocumentInvalidError):
        await restore(host, tenant)
    assert len(await host.service.documents.read(ada.caller, after=0)) == 1


async def test_a_blob_that_the_host_lost_is_put_back(host: Host, ada: Ada) -> None:
    """Also where no document is missing."""

    def lose(tx: Any) -> None:
        tx.execute("DELETE FROM keys_blobs")

    await host.database.write(lose)
    await restore(host, ada.tenant)
    assert await host.service.documents.keys_blob(ada.caller) == ada.tenant.blob


async def test_revocations_that_are_put_back_end_sessions(host: Host, ada: Ada) -> None:
    """As they did when they were made."""
    tenant = ada.tenant
    token = await host.token(tenant, client=1)
    tenant.sign(tenant.next(clients=tenant.revoked(1)))
    await restore(host, tenant)
    with pytest.raises(SessionInvalidError):
        await host.service.sessions.find(token)


async def test_a_host_that_lost_everything_takes_it_back(host: Host) -> None:
    """Where it takes new accounts at all; the owner logs in as before."""
    tenant = Tenant()
    longer(tenant, 2)
    with pytest.raises(DocumentConflictError):
        await restore(host, tenant, documents=tenant.documents[1:])
    assert await restore(host, tenant) == VersionAnswer(version=3)
    caller = await host.login(tenant)
    assert await host.service.documents.read(caller, after=0) == tenant.documents


async def test_a_closed_host_tells_nobody_which_names_it_has(tmp_path: Path) -> None:
    """T13: offering documents under a name gets one answer, taken or not."""
    async with open_host(tmp_path / "h.db") as host:
        await host.register(Tenant())
    stranger = Tenant(name="local")
    stranger.sign(stranger.next(username="ada"))
    for registration, error in (
        (Registration.CLOSED, RegistrationClosedError),
        (Registration.INVITE, RegistrationClosedError),
        (Registration.OPEN, UsernameTakenError),
    ):
        async with open_host(
            tmp_path / "h.db", create=False, registration=registration
        ) as host:
            with pytest.raises(error) as taken:
                await restore(host, stranger)
            if registration is not Registration.OPEN:
                nobody = Tenant(name="nobody")
                request = nobody.restore_request(await host.nonce("nobody"))
                with pytest.raises(error) as unknown:
                    await host.service.documents.restore(
                        request, address=host.address()
                    )
                assert str(taken.value) == str(unknown.value)
