"""Making accounts: who may, what is checked, and that a proof serves once."""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import structs

from awserver.config import Registration
from awserver.documents import CHAIN_BYTES_MAX, Erasure, SignedDocument
from awserver.errors import (
    AccountDisabledError,
    AccountExistsError,
    DocumentConflictError,
    DocumentInvalidError,
    InviteInvalidError,
    LimitExceededError,
    NotSupportedError,
    ProofRefusedError,
    RegistrationClosedError,
    ServerError,
    SignatureInvalidError,
    UsernameTakenError,
)
from awserver.proofs import Action
from awserver.records import Head, RecordHash, Seq
from awserver.service.base import Caller
from awserver.storage.base import Standing
from tests.helpers.services import ADDRESS, Host, open_host
from tests.helpers.tenants import OTHER_ORIGIN, Tenant

FORGED: Final = {
    "origin": "https://evil.example",
    "action": Action.LOGIN,
    "username": "bob",
    "nonce": bytes(32),
    "client_nonce": bytes(32),
    "client_id": bytes(16),
    "salt": bytes(16),
    "body": b"",
}


async def names(host: Host) -> list[str]:
    return [one.username for one in await host.service.administration.accounts()]


async def refused(
    host: Host, tenant: Tenant, error: type[ServerError], **changes: Any
) -> None:
    """Check that a registration is refused, and leaves nothing behind."""
    before = await names(host)
    host.clock.turn(minutes=1)  # the limits of a minute are another test's
    with pytest.raises(error):
        await host.register(tenant, **changes)
    assert await names(host) == before


async def test_an_account_is_made_with_its_documents(host: Host) -> None:
    """The answer's token opens a session; documents and blob come back as sent."""
    ada = Tenant()
    ada.sign(ada.next(clients=(*ada.newest.document.clients, ada.entry(2, added=2))))
    caller = await host.register(ada)
    assert caller == Caller(
        account_id=ada.account_id,
        client_id=ada.client_id(),
        token_hash=caller.token_hash,
        version=2,
    )
    documents = host.service.documents
    assert await documents.read(caller, after=0) == ada.documents
    assert await documents.read(caller, after=1) == ada.documents[1:]
    assert await documents.read(caller, after=2) == []
    assert await documents.keys_blob(caller) == ada.blob


async def test_an_account_without_a_recovery_key_proves_none(host: Host) -> None:
    """Three proofs are enough, where the document names three keys."""
    await host.register(Tenant(recovery=False))


async def test_a_local_account_takes_its_name_with_it(host: Host) -> None:
    """Versions before the newest have the name `local`; the newest may not."""
    local = Tenant(name="local")
    await refused(host, local, UsernameTakenError)
    local.sign(local.next(username="ada"))
    caller = await host.register(local)
    assert caller.version == 2
    assert await names(host) == ["ada"]


@pytest.mark.parametrize("wrong", ["login", "client", "signing", "recovery"])
async def test_every_key_must_sign(host: Host, wrong: str) -> None:
    """One proof by another key, and the account is not made."""
    await refused(host, Tenant(), ProofRefusedError, wrong=wrong)


async def test_a_recovery_key_that_is_named_must_sign(host: Host) -> None:
    """To leave its proof out is no way around it."""
    ada = Tenant()
    request = ada.register_request(await host.nonce("ada"))
    proofs = structs.replace(request.proofs, recovery=None)
    without = structs.replace(request, proofs=proofs)
    with pytest.raises(ProofRefusedError):
        await host.service.accounts.register(without, address=ADDRESS)


@pytest.mark.parametrize("field", sorted(FORGED))
async def test_a_proof_is_bound_to_everything(host: Host, field: str) -> None:
    """One field of the transcript is another, and the proof is refused."""
    await refused(host, Tenant(), ProofRefusedError, **{field: FORGED[field]})


async def test_any_origin_of_the_host_will_do(host: Host) -> None:
    """A person may have typed either."""
    await host.register(Tenant(), origin=OTHER_ORIGIN)


async def test_a_nonce_must_be_fresh_and_for_this_name(host: Host) -> None:
    """Too old, of another name, altered, or invented: refused alike."""
    ada = Tenant()
    old = await host.nonce("ada")
    host.clock.turn(seconds=61)
    fresh = await host.nonce("ada")
    for nonce in (
        old,
        await host.nonce("bob"),
        fresh[:-1] + bytes([fresh[-1] ^ 1]),
        (2**32 - 1).to_bytes(4, "big") + fresh[4:],
        bytes(32),
    ):
        with pytest.raises(ProofRefusedError):
            await host.service.accounts.register(
                ada.register_request(nonce), address=host.address()
            )
    host.clock.turn(seconds=60)
    await host.service.accounts.register(
        ada.register_request(fresh), address=host.address()
    )


async def test_of_twenty_registrations_with_one_nonce_one_is_made(host: Host) -> None:
    """Whatever the others are told, there is one account and one session."""
    ada = Tenant()
    request = ada.register_request(await host.nonce("ada"))
    outcomes = await asyncio.gather(
        *(
            host.service.accounts.register(request, address=f"203.0.{n}.1")
            for n in range(5)
        ),
        return_exceptions=True,
    )
    assert sum(not isinstance(one, BaseException) for one in outcomes) == 1
    assert await names(host) == ["ada"]


# -- who may ------------------------------------------------------------------


async def test_a_closed_host_takes_nobody(tmp_path: Path) -> None:
    """And says so before it looks at anything."""
    async with open_host(tmp_path / "h.db", registration=Registration.CLOSED) as host:
        assert host.service.accounts.info().registration == "closed"
        await refused(host, Tenant(), RegistrationClosedError)
        await refused(host, Tenant(), RegistrationClosedError, wrong="login")


async def test_an_invitation_makes_one_account(tmp_path: Path) -> None:
    """Within seven days; a wrong proof does not use it up."""
    async with open_host(tmp_path / "h.db", registration=Registration.INVITE) as host:
        ada, bob = Tenant(), Tenant(name="bob")
        invite = await host.service.administration.invite()
        other = await host.service.administration.invite()
        await refused(host, ada, InviteInvalidError)
        await refused(host, ada, InviteInvalidError, invite="nonsense")
        await refused(host, ada, ProofRefusedError, invite=invite, wrong="login")
        await host.register(ada, invite=invite)
        await refused(host, bob, InviteInvalidError, invite=invite)
        host.clock.turn(hours=7 * 24)
        await refused(host, bob, InviteInvalidError, invite=other)
        await host.register(bob, invite=await host.service.administration.invite())
        assert sorted(await names(host)) == ["ada", "bob"]


async def test_names_and_accounts_are_made_once(host: Host) -> None:
    """Another account of that name, and the same account by another, are refused."""
    ada = Tenant()
    await host.register(ada)
    await refused(host, ada, AccountExistsError)
    other = Tenant(name="local")
    other.sign(other.next(username="ada"))
    await refused(host, other, UsernameTakenError)


# -- what is offered ----------------------------------------------------------


async def test_the_whole_chain_is_checked(host: Host) -> None:
    """From version 1, each signed by the key before, byte for byte."""
    ada = Tenant()
    ada.sign(ada.next())
    ada.sign(ada.next())
    whole = list(ada.documents)
    cut = whole[0][:-1] + bytes([whole[0][-1] ^ 1])
    flipped = whole[0][:-8] + bytes([whole[0][-8] ^ 1]) + whole[0][-7:]
    cases: list[tuple[list[bytes], type[ServerError]]] = [
        (whole[1:], DocumentConflictError),
        ([whole[0], whole[2]], DocumentInvalidError),
        ([whole[0], whole[0], *whole[1:]], DocumentInvalidError),
        ([cut, *whole[1:]], DocumentInvalidError),
        ([flipped, *whole[1:]], SignatureInvalidError),
        ([Tenant(name="bob").documents[0], *whole[1:]], DocumentInvalidError),
    ]
    for documents, error in cases:
        await refused(host, ada, error, documents=documents)
    await host.register(ada)


async def test_the_blob_must_be_the_one_the_document_names(host: Host) -> None:
    """Else nobody could open what is stored."""
    ada = Tenant()
    ada.blob = b"another"
    await refused(host, ada, DocumentInvalidError)


async def test_what_the_documents_erase_is_not_taken(host: Host) -> None:
    """Forgetting is not in this version."""
    ada = Tenant()
    at = Head(seq=Seq(5), hash=RecordHash(bytes(32)))
    ada.sign(
        ada.next(
            heads=((ada.client_id(), at),),
            erased=(
                Erasure(client_id=ada.client_id(), from_seq=Seq(1), to_seq=Seq(2)),
            ),
        )
    )
    await refused(host, ada, NotSupportedError)


async def test_offered_documents_have_a_limit(host: Host) -> None:
    """All together; it is told before they are read."""
    ada = Tenant()
    size = CHAIN_BYTES_MAX // 4
    await refused(host, ada, LimitExceededError, documents=[bytes(size + 1)] * 4)


# -- whoever runs the host ----------------------------------------------------


async def test_a_disabled_account_is_served_again_once_enabled(host: Host) -> None:
    """Meanwhile no token of it is good, and no proof makes one."""
    ada = Tenant()
    await host.register(ada)
    token = await host.token(ada)
    await host.service.administration.set_standing(ada.account_id, Standing.DISABLED)
    with pytest.raises(AccountDisabledError):
        await host.service.sessions.find(token)
    with pytest.raises(AccountDisabledError):
        await host.login(ada)
    with pytest.raises(ProofRefusedError):
        await host.login(ada, key=ada.ask())
    await host.service.administration.set_standing(ada.account_id, Standing.ACTIVE)
    await host.service.sessions.find(token)


async def test_a_local_store_serves_the_account_that_is_there(tmp_path: Path) -> None:
    """Under the name in its newest document; nobody registers or deletes there."""
    local = Tenant(name="local")
    path = tmp_path / "vault.db"
    async with open_host(path) as host:

        def work(tx: Any) -> None:
            tx.execute(
                "INSERT INTO documents VALUES (?, 1, ?, ?)",
                (
                    local.account_id,
                    SignedDocument.decode(local.documents[0]).hash,
                    local.documents[0],
                ),
            )
            tx.execute(
                "INSERT INTO keys_blobs VALUES (?, ?)", (local.account_id, local.blob)
            )

        await host.database.write(work)
    async with open_host(
        path, create=False, is_local=True, registration=Registration.CLOSED
    ) as host:
        caller = await host.login(local, by="client")
        assert await host.service.documents.read(caller, after=0) == local.documents
        await refused(host, Tenant(), RegistrationClosedError)
        with pytest.raises(NotSupportedError):
            await host.service.accounts.delete(
                caller,
                local.delete_request(await host.nonce("local")),
                address=ADDRESS,
            )
