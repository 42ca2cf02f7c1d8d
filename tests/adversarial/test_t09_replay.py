"""T09: a proof is worth one success, at one host, within a minute.

The adversary has recorded a request that proves a key, and sends it again: at
once, later, many times over, after a restart, to another host.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from awserver.proofs import Action
from awserver.wire import SessionAnswer, SessionRequest, SessionsAnswer
from tests.helpers.hosts import Answer, Member, Visitor, proven
from tests.helpers.lying_host import LyingHost, lying_host
from tests.helpers.randomness import fixed

REFUSED: Final = (401, "proof-refused")
AT_ONCE: Final = 20
NONCE_SECONDS: Final = 60
SECOND_US: Final = 1_000_000

Recorded = Callable[[], Awaitable[Answer]]


async def edit(member: Member, mine: Visitor) -> Recorded:
    """Return what sends one recorded edit of the account document."""
    document = member.signed(member.next())
    request = await member.document_request(mine, document)
    return lambda: mine.post("/documents", request)


async def deletion(member: Member, mine: Visitor) -> Recorded:
    """Return what sends one recorded end of the account."""
    request = await member.delete_request(mine)
    return lambda: mine.post("/account/delete", request)


async def count_sessions(mine: Visitor) -> int:
    answer = await mine.get("/sessions")
    return len(answer.as_(SessionsAnswer).sessions)


@pytest.mark.parametrize("by", ["login", "recovery", "client"])
async def test_a_second_time_is_refused(
    member: Member, mine: Visitor, at: Visitor, by: str
) -> None:
    """A request that was taken once is never taken again, and makes nothing."""
    request = await member.session_request(at, by=by)

    first = await at.post("/sessions", request)
    second = await at.post("/sessions", request)

    assert first.status == 201
    assert second.code == REFUSED
    # That of registering, and one.
    assert await count_sessions(mine) == 2


async def test_twenty_at_once_are_one_success(
    member: Member, mine: Visitor, at: Visitor
) -> None:
    """However close together they come, one is taken."""
    request = await member.session_request(at)

    answers = await asyncio.gather(
        *(at.post("/sessions", request) for _ in range(AT_ONCE))
    )

    assert Counter(answer.status for answer in answers) == {201: 1, 401: AT_ONCE - 1}
    refused = [answer for answer in answers if answer.status == 401]
    assert {answer.code for answer in refused} == {REFUSED}
    assert await count_sessions(mine) == 2


async def test_late_is_refused(
    member: Member, mine: Visitor, host: LyingHost, at: Visitor
) -> None:
    """A proof that was held back for a minute is worth nothing."""
    request = await member.session_request(at)

    host.late_us = (NONCE_SECONDS + 1) * SECOND_US
    late = await at.post("/sessions", request)
    fresh = await at.post("/sessions", await member.session_request(at))

    assert late.code == REFUSED
    assert fresh.status == 201


async def test_a_restart_forgets_no_proof(
    member: Member, mine: Visitor, host: LyingHost, at: Visitor
) -> None:
    """What was used is on disk, so a host that was restarted refuses it too."""
    request = await member.session_request(at)
    unused = await member.session_request(at)
    assert (await at.post("/sessions", request)).status == 201

    await host.restart()
    again = await at.post("/sessions", request)
    first_time = await at.post("/sessions", unused)

    assert again.code == REFUSED
    assert first_time.status == 201


async def test_another_host_refuses(
    member: Member, mine: Visitor, at: Visitor, tmp_path: Path
) -> None:
    """A proof for one host opens nothing at another that knows the account."""
    request = await member.session_request(at)
    async with lying_host(tmp_path / "other") as other:
        there = Visitor(at.http, other.url)
        await member.register(there)

        assert (await there.post("/sessions", request)).code == REFUSED
    assert (await at.post("/sessions", request)).status == 201


async def test_a_nonce_of_another_name_is_refused(
    member: Member, mine: Visitor, at: Visitor
) -> None:
    """A nonce that was given for one name proves nothing under another."""
    bob = Member("bob", username="bob")
    await bob.register(at)
    given = await member.transcript(at, Action.SESSION)
    signed = await bob.transcript(at, Action.SESSION, nonce=given.nonce)
    request = SessionRequest(
        username="bob",
        by="client",
        signature=bob.client_keys[0].prove(signed),
        **proven(signed),
    )

    assert (await at.post("/sessions", request)).code == REFUSED


async def test_a_nonce_of_ones_own_making_is_refused(
    member: Member, mine: Visitor, at: Visitor
) -> None:
    """Nonces are the host's: nobody else makes one, or moves one in time."""
    good = await member.transcript(at, Action.SESSION)
    flipped = [
        bytes(octet ^ (place == at_) for place, octet in enumerate(good.nonce))
        for at_ in range(len(good.nonce))
    ]
    for nonce in (*flipped, fixed("a nonce"), bytes(32)):
        signed = await member.transcript(at, Action.SESSION, nonce=nonce)
        request = SessionRequest(
            username=member.username,
            by="client",
            signature=member.client_keys[0].prove(signed),
            **proven(signed),
        )

        assert (await at.post("/sessions", request)).code == REFUSED, nonce.hex()


async def test_an_edit_is_made_once(member: Member, mine: Visitor) -> None:
    """A recorded edit does nothing the second time, though the token is good."""
    send = await edit(member, mine)

    first, second = await send(), await send()

    assert first.status == 201
    assert second.code == (409, "document-conflict")
    assert len((await mine.get("/documents?after=0")).documents()) == 2


async def test_a_deletion_does_not_reach_another_account(
    member: Member, mine: Visitor, at: Visitor
) -> None:
    """The name is free again; what deleted it once deletes nobody else's."""
    send = await deletion(member, mine)
    assert (await send()).status == 204
    again = Member("another alice", username=member.username)
    theirs = await again.register(at)

    replayed = await theirs.post(
        "/account/delete", replace(await again.delete_request(at), signature=bytes(64))
    )
    recorded = await send()

    assert replayed.code == REFUSED
    assert recorded.code == (401, "session-invalid")
    assert (await theirs.get("/heads")).status == 200


async def test_a_deleted_account_is_not_made_again(member: Member, at: Visitor) -> None:
    """The recorded registration does not bring back what its owner deleted."""
    request = await member.register_request(at)
    first = await at.post("/accounts", request)
    mine = Visitor(at.http, at.url, first.as_(SessionAnswer).token)

    gone = await mine.post("/account/delete", await member.delete_request(mine))
    again = await at.post("/accounts", request)

    assert (first.status, gone.status) == (201, 204)
    assert again.code == REFUSED
