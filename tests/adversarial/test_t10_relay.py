"""T10: a proof is for one host, and for one act.

The adversary stands between: the owner talks to them, and they pass on to the
honest host what the owner signs; or they use a signature for something else.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import permutations
from typing import Any, Final

import pytest
from aiohttp import web
from msgspec.structs import replace

from awserver.proofs import (
    Action,
    Transcript,
    body_of_delete,
    body_of_document,
)
from awserver.wire import DeleteRequest, DocumentRequest, SessionRequest
from awvault.crypto.keys import ClientKey, LoginKey
from awvault.errors import HostRefusedError, MalformedAnswerError
from awvault.sync.transport import HostClient, Prover
from tests.helpers.fault_proxy import LOOPBACK, FaultProxy
from tests.helpers.hostile import Hostile, answer, hostile
from tests.helpers.hosts import Member, Visitor, proven
from tests.helpers.lying_host import Handler, Lie, LyingHost

REFUSED: Final = (401, "proof-refused")
REDIRECTS: Final = (301, 302, 303, 307, 308)
BY_PASSPHRASE: Final = (Action.LOGIN, Action.DOCUMENT, Action.DELETE)

Key = LoginKey | ClientKey


@pytest.fixture
def relay(host: LyingHost) -> Iterator[FaultProxy]:
    """Another origin that passes every byte on to the honest host."""
    with FaultProxy(host.port) as proxy:
        yield proxy


async def prover_at(client: HostClient, member: Member) -> Prover:
    told = await client.prelogin(member.username)
    return Prover(
        username=member.username,
        client_id=member.client_id(),
        salt=told.salt,
        nonce=told.nonce,
    )


@pytest.mark.parametrize("by", ["login", "client"])
async def test_a_relayed_login_is_refused(
    member: Member, mine: Visitor, host: LyingHost, relay: FaultProxy, by: str
) -> None:
    """What the owner signs for the relay's address opens nothing at the host."""
    key: Key = member.client_keys[0] if by == "client" else member.passphrase_login()
    async with HostClient(f"http://{LOOPBACK}:{relay.port}") as client:
        with pytest.raises(HostRefusedError) as refused:
            await client.open_session(await prover_at(client, member), key=key)
        assert not client.has_session

    assert refused.value.code == "proof-refused"
    assert b"/api/1/sessions" in relay.sent("up")
    async with HostClient(host.url) as client:
        await client.open_session(await prover_at(client, member), key=key)
        assert client.has_session


async def test_the_name_of_the_host_in_a_header_decides_nothing(
    member: Member, mine: Visitor, at: Visitor
) -> None:
    """A relay that claims to be the host in every header is as foreign."""
    member.origin = "http://relay.example"
    request = await member.session_request(at)

    refused = await at.post(
        "/sessions",
        request,
        Host="relay.example",
        Origin="http://relay.example",
        **{"X-Forwarded-Host": "relay.example", "X-Forwarded-Proto": "http"},
    )

    assert refused.code == REFUSED


# -- a signature for something else


def act(
    member: Member, action: Action
) -> tuple[str, bytes, Callable[[Transcript, bytes], Any]]:
    """Return the path of an act, its body, and what makes its request."""
    match action:
        case Action.DOCUMENT:
            document = member.signed(member.next())
            return (
                "/documents",
                body_of_document(document, None),
                lambda signed, signature: DocumentRequest(
                    document=document,
                    keys_blob=None,
                    by="login",
                    signature=signature,
                    **proven(signed),
                ),
            )
        case Action.DELETE:
            return (
                "/account/delete",
                body_of_delete(member.account_id),
                lambda signed, signature: DeleteRequest(
                    by="login", signature=signature, **proven(signed)
                ),
            )
        case _:
            return (
                "/sessions",
                b"",
                lambda signed, signature: SessionRequest(
                    username=member.username,
                    by="login",
                    signature=signature,
                    **proven(signed),
                ),
            )


@pytest.mark.parametrize(
    ("signed_for", "used_for"), list(permutations(BY_PASSPHRASE, 2))
)
async def test_a_signature_serves_the_act_that_it_is_for(
    member: Member, mine: Visitor, signed_for: Action, used_for: Action
) -> None:
    """A login's signature edits and deletes nothing, and the other way round."""
    path, body, make = act(member, used_for)
    signed = await member.transcript(mine, signed_for, act(member, signed_for)[1])
    signature = member.passphrase_login().prove(signed)
    unsaid = await member.transcript(mine, signed_for, body)

    wrong = await mine.post(path, make(signed, signature))
    body_only = await mine.post(
        path, make(unsaid, member.passphrase_login().prove(unsaid))
    )

    assert wrong.code == body_only.code == REFUSED
    assert len((await mine.get("/documents?after=0")).documents()) == 1


@pytest.mark.parametrize("action", BY_PASSPHRASE)
async def test_its_own_act_is_done(
    member: Member, mine: Visitor, action: Action
) -> None:
    """So the refusals here are for what they are about."""
    path, body, make = act(member, action)
    signed = await member.transcript(mine, action, body)

    done = await mine.post(path, make(signed, member.passphrase_login().prove(signed)))

    assert done.status in {201, 204}


@pytest.mark.parametrize("action", BY_PASSPHRASE)
async def test_a_clients_key_stands_for_no_passphrase(
    member: Member, mine: Visitor, action: Action
) -> None:
    """CK proves sessions of its client; it edits and deletes nothing."""
    path, body, make = act(member, action)
    signed = await member.transcript(mine, action, body)

    refused = await mine.post(path, make(signed, member.client_keys[0].prove(signed)))

    assert refused.code == REFUSED


async def test_a_signature_serves_the_body_that_it_is_for(
    member: Member, mine: Visitor
) -> None:
    """Whoever changes the document on its way has no signature for the other."""
    request = await member.document_request(mine, member.signed(member.next()))
    other = member.signed(member.next(recovery_login_public=bytes(32)))

    refused = await mine.post("/documents", replace(request, document=other))

    assert refused.code == REFUSED
    assert len((await mine.get("/documents?after=0")).documents()) == 1


async def test_a_signature_serves_the_client_that_it_is_for(
    member: Member, mine: Visitor, at: Visitor
) -> None:
    """A session is of the client that asked for it, and of no other."""
    request = await member.session_request(at, by="login")
    other = member.client_id(1).hex()

    refused = await at.post("/sessions", replace(request, client_id=other))

    assert refused.code == REFUSED


# -- sent on to somebody else


class SendOn(Lie):
    """Every answer is a redirect to somebody else."""

    def __init__(self, status: int, url: str) -> None:
        self.status = status
        self.url = url

    async def http(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        location = self.url + request.path_qs
        return web.Response(status=self.status, headers={"Location": location})


@pytest.fixture
async def elsewhere() -> AsyncIterator[Hostile]:
    """Somebody else, who would like to be sent a proof."""
    async with hostile(answer(b"{}")) as server:
        yield server


@pytest.mark.parametrize("status", REDIRECTS)
async def test_nobody_is_sent_on(
    member: Member, mine: Visitor, host: LyingHost, elsewhere: Hostile, status: int
) -> None:
    """A client follows no redirect: nothing reaches the other address."""
    lie = SendOn(status, elsewhere.url)
    async with HostClient(host.url) as client:
        prover = await prover_at(client, member)
        with host.lying(lie):
            with pytest.raises(MalformedAnswerError):
                await client.open_session(prover, key=member.passphrase_login())
            with pytest.raises(MalformedAnswerError):
                await client.prelogin(member.username)
        await client.open_session(
            await prover_at(client, member), key=member.client_keys[0]
        )
        with host.lying(lie), pytest.raises(MalformedAnswerError):
            await client.heads()
        assert (await client.heads()).logs == {}

    assert elsewhere.requests == []
