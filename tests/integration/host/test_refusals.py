"""What a host refuses, and with which code."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from awserver.config import Rate, RateLimits, Registration, ServiceSettings
from awserver.records import ClientId, Head
from awserver.wire import encode_frame
from tests.helpers.hosts import (
    Member,
    RunningHost,
    Visitor,
    loose_settings,
    running_host,
)
from tests.helpers.owners import resign


def with_registration(kind: Registration) -> Callable[[str], ServiceSettings]:
    return lambda url: loose_settings(url, registration=kind)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/documents", "GET"),
        ("/keys", "GET"),
        ("/clients", "GET"),
        ("/heads", "GET"),
        ("/usage", "GET"),
        ("/changes", "GET"),
        ("/sessions", "GET"),
        ("/sessions/current", "DELETE"),
        (f"/logs/{'0' * 32}", "GET"),
        (f"/logs/{'0' * 32}", "POST"),
        ("/documents", "POST"),
        ("/account/delete", "POST"),
    ],
)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic YWxpY2U6c2VjcmV0",
        "Bearer " + "A" * 64,
        "Bearer " + "A" * 5000,
        "Bearer A=B",
        "Bearer " + "\u00e9" * 64,
    ],
)
async def test_nothing_is_shown_without_a_token(
    host: RunningHost, path: str, method: str, authorization: str | None
) -> None:
    """Without the token of a session, each of an account's routes is a 401."""
    headers = {} if authorization is None else {"Authorization": authorization}
    body = b"x" if method == "POST" else None

    answer = await host.visitor.call(
        method, f"/api/1{path}", body=body, headers=headers
    )

    assert answer.code == (401, "session-invalid")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_of_one_account_shows_no_other(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """A session sees the account it was made for, whatever client the path names."""
    await session.append(alice.client_id(), alice.records(b"one"))
    bob = Member(name="bob", username="bob")
    theirs = await bob.register(host.visitor)

    assert await theirs.read(alice.client_id()) == []
    refused = await theirs.append(alice.client_id(), alice.records(b"one"))
    assert refused.code == (400, "malformed-record")
    mine = await theirs.append(alice.client_id(), bob.records(b"one"))
    assert mine.code == (400, "malformed-record")


# -- proofs


@pytest.mark.parametrize(
    "changes",
    [
        {"username": "nobody"},
        {"client_id": "0" * 32},
        {"nonce": bytes(32)},
        {"client_nonce": bytes(32)},
        {"signature": bytes(64)},
        {"by": "recovery"},
        {"by": "client"},
    ],
    ids="-".join,
)
async def test_a_proof_that_is_not_right_is_refused_alike(
    host: RunningHost, alice: Member, session: Visitor, changes: dict[str, Any]
) -> None:
    """Whatever is wrong with a proof, the answer is the same, byte for byte."""
    good = await alice.session_request(host.visitor, by="login")
    bad = replace_struct(good, changes)

    refused = await host.visitor.post("/sessions", bad)
    unknown = await host.visitor.post(
        "/sessions", await Member(username="unknown").session_request(host.visitor)
    )

    assert refused.code == (401, "proof-refused")
    assert refused.body == unknown.body
    assert (await host.visitor.post("/sessions", good)).status == 201


def replace_struct(value: Any, changes: dict[str, Any]) -> Any:
    import msgspec

    return msgspec.structs.replace(value, **changes)


async def test_a_proof_serves_once(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """The same proof again begins no session."""
    request = await alice.session_request(host.visitor)

    assert (await host.visitor.post("/sessions", request)).status == 201
    again = await host.visitor.post("/sessions", request)

    assert again.code == (401, "proof-refused")


async def test_a_proof_for_another_host_is_refused(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """What was signed for another origin opens nothing here."""
    elsewhere = replace_origin(alice, "https://other.example")

    answer = await host.visitor.post(
        "/sessions", await elsewhere.session_request(host.visitor)
    )

    assert answer.code == (401, "proof-refused")


def replace_origin(member: Member, origin: str) -> Member:
    return replace(member, origin=origin)


# -- registering


async def test_a_closed_host_takes_nobody(tmp_path: Path, alice: Member) -> None:
    """Where registration is closed, it is refused before the body is read."""
    settings = with_registration(Registration.CLOSED)
    async with running_host(tmp_path / "host", settings=settings) as host:
        request = await alice.register_request(host.visitor)

        assert (await host.visitor.post("/accounts", request)).code == (
            403,
            "registration-closed",
        )
        assert (await host.visitor.post("/accounts", {})).code == (
            403,
            "registration-closed",
        )


async def test_an_invitation_serves_one_account(tmp_path: Path, alice: Member) -> None:
    """With an invitation one person registers, and nobody with none or a used one."""
    settings = with_registration(Registration.INVITE)
    async with running_host(tmp_path / "host", settings=settings) as host:
        code = await host.service.administration.invite()
        bob = Member(name="bob", username="bob")

        without = await host.visitor.post(
            "/accounts", await alice.register_request(host.visitor)
        )
        assert without.status == 403
        wrong = await alice.register_request(host.visitor, invite="wrong")
        assert (await host.visitor.post("/accounts", wrong)).code == (
            403,
            "invite-invalid",
        )
        await alice.register(host.visitor, invite=code)
        used = await bob.register_request(host.visitor, invite=code)
        assert (await host.visitor.post("/accounts", used)).code == (
            403,
            "invite-invalid",
        )


async def test_a_name_and_an_account_are_there_once(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """A second account of the same name, or the same account, is a conflict."""
    other = Member(name="other")
    taken = await host.visitor.post(
        "/accounts", await other.register_request(host.visitor)
    )
    again = await host.visitor.post(
        "/accounts", await alice.register_request(host.visitor)
    )

    assert taken.code == (409, "username-taken")
    assert again.status == 409
    assert again.problem.code in {"account-exists", "username-taken"}


async def test_a_document_that_breaks_a_rule_is_refused(
    host: RunningHost, alice: Member
) -> None:
    """A faulty client cannot register what no client could open."""
    request = await alice.register_request(host.visitor)
    for documents, code in (
        ([b"no document"], "document-invalid"),
        ([alice.documents[0][:-1]], "document-invalid"),
        ([alice.documents[0][:4] + b"\x09" + alice.documents[0][5:]], "suite-unknown"),
    ):
        bad = replace_struct(request, {"documents": documents})
        answer = await host.visitor.post("/accounts", bad)
        assert answer.code == (400, code)


# -- documents


async def test_of_two_edits_one_is_stored(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """An edit that was made from an older version is a conflict, with both numbers."""
    first = alice.signed(alice.next())
    second = alice.signed(alice.next(salt=alice.salt()))
    assert (
        await session.post(
            "/documents", await alice.document_request(host.visitor, first)
        )
    ).status == 201

    late = await session.post(
        "/documents", await alice.document_request(host.visitor, second)
    )

    assert late.code == (409, "document-conflict")
    assert (late.problem.expected_version, late.problem.got_version) == (3, 2)


async def test_a_revoked_client_is_out(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """With its client, sessions end, and its later records are refused."""
    records = alice.records(b"one", b"two", client=1)
    theirs = await alice.log_in(host.visitor, client=1)
    await theirs.append(alice.client_id(1), records[:1])
    final = Head(seq=records[0].header.seq, hash=records[0].hash)
    revoked = replace(alice.entry(1), revoked=True, final=final)
    document = alice.sign(alice.next(clients=(alice.entry(0), revoked)))

    put = await session.post(
        "/documents", await alice.document_request(host.visitor, document)
    )

    assert put.status == 201
    assert (await theirs.get("/usage")).code == (401, "session-invalid")
    late = await session.append(alice.client_id(1), records[1:])
    assert late.code == (403, "client-revoked")
    again = await host.visitor.post(
        "/sessions", await alice.session_request(host.visitor, client=1)
    )
    assert again.code == (401, "proof-refused")


async def test_erasing_is_not_there_yet(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """A document that erases is refused, and says that this version does not."""
    from awserver.documents import Erasure

    records = alice.records(b"one")
    await session.append(alice.client_id(), records)
    head = Head(seq=records[0].header.seq, hash=records[0].hash)
    document = alice.signed(
        alice.next(
            heads=((alice.client_id(), head),),
            erased=(
                Erasure(
                    client_id=alice.client_id(), from_seq=head.seq, to_seq=head.seq
                ),
            ),
        )
    )

    answer = await session.post(
        "/documents", await alice.document_request(host.visitor, document)
    )

    assert answer.code == (400, "not-supported")


# -- records


async def test_records_that_do_not_belong_are_refused(
    alice: Member, session: Visitor
) -> None:
    """Order, chain, signature, client and epoch are checked, each with its code."""
    client = alice.client_id()
    one, two = alice.records(b"one", b"two")
    other = alice.record(b"other", after=None)
    stranger = ClientId(bytes(16))
    await session.append(client, [one])
    key = alice.client_keys[0]

    gap = await session.append(client, [alice.record(b"x", after=two)])
    assert gap.code == (409, "seq-conflict")
    assert (gap.problem.expected_seq, gap.problem.got_seq) == (1, 2)
    assert (await session.append(client, [other])).code == (409, "seq-conflict")
    unchained = resign(key, two, prev=bytes(32))
    assert (await session.append(client, [unchained])).code == (409, "chain-broken")
    later = resign(key, two, epoch=1)
    assert (await session.append(client, [later])).code == (409, "epoch-unknown")
    forged = replace(two, signature=bytes(64))
    assert (await session.append(client, [forged])).code == (403, "signature-invalid")
    unknown = resign(key, one, client_id=stranger)
    assert (await session.append(stranger, [unknown])).code == (403, "client-unknown")
    bare = await session.append(client, [two.without_body()])
    assert bare.code == (400, "malformed-record")

    assert await session.read(client) == [one]
    assert (await session.append(client, [two])).status == 201


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: frame[:-1],
        lambda frame: b"\x02" + frame[1:],
        lambda frame: frame[:1] + b"AWSX" + frame[5:],
        lambda frame: frame[:-1] + bytes([frame[-1] ^ 1]),
        lambda frame: frame + b"\x00",
    ],
    ids=["cut", "flags", "magic", "body", "more"],
)
async def test_what_is_no_frame_is_refused(
    alice: Member, session: Visitor, spoil: Callable[[bytes], bytes]
) -> None:
    """A body that is not whole frames stores none of its records."""
    (one,) = alice.records(b"one")

    answer = await session.call(
        "POST",
        f"/api/1/logs/{alice.client_id().hex()}",
        body=spoil(encode_frame(one)),
    )

    assert answer.code == (400, "malformed-record")
    assert await session.read(alice.client_id()) == []


async def test_an_append_of_nothing_is_refused(alice: Member, session: Visitor) -> None:
    """A body without a record is a mistake, and said to be one."""
    answer = await session.append(alice.client_id(), [])

    assert answer.code == (400, "invalid-request")


async def test_an_account_has_a_quota(tmp_path: Path, alice: Member) -> None:
    """What would exceed the quota is not stored, and nothing else is lost."""
    one, two = alice.records(b"one", b"two")
    room = len(one.encode()) + 10

    def settings(url: str) -> ServiceSettings:
        return loose_settings(url, quota_bytes=room)

    async with running_host(tmp_path / "host", settings=settings) as host:
        session = await alice.register(host.visitor)
        assert (await session.append(alice.client_id(), [one])).status == 201

        answer = await session.append(alice.client_id(), [two])

        assert answer.code == (413, "quota-exceeded")
        assert str(room) in answer.problem.detail
        assert await session.read(alice.client_id()) == [one]


async def test_a_store_that_follows_another_host_takes_nothing(
    tmp_path: Path, alice: Member
) -> None:
    """A read-only store is read, and says where to append."""
    async with running_host(tmp_path / "host") as host:
        session = await alice.register(host.visitor)
        token = session.token
    async with running_host(tmp_path / "host", read_only=True) as host:
        session = replace(host.visitor, token=token)
        assert (await session.get("/heads")).status == 200

        append = await session.append(alice.client_id(), alice.records(b"one"))
        put = await session.post(
            "/documents",
            await alice.document_request(host.visitor, alice.signed(alice.next())),
        )

        assert append.code == (409, "read-only")
        assert put.code == (409, "read-only")


async def test_a_disabled_account_is_not_served(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """Whoever runs the host can stop to serve an account; its owner is told."""
    from awserver.storage.base import Standing

    admin = host.service.administration
    await admin.set_standing(alice.account_id, Standing.DISABLED)

    assert (await session.get("/usage")).code == (403, "account-disabled")
    answer = await host.visitor.post(
        "/sessions", await alice.session_request(host.visitor)
    )
    assert answer.code == (403, "account-disabled")
    await admin.set_standing(alice.account_id, Standing.ACTIVE)
    assert (await session.get("/usage")).status == 200


async def test_too_many_tries_are_told_to_wait(tmp_path: Path) -> None:
    """Beyond a limit the answer says how long to wait."""

    def settings(url: str) -> ServiceSettings:
        few = RateLimits(
            account=Rate(burst=2, per_minute=1), address=None, overall=None
        )
        return loose_settings(url, prelogin=few)

    async with running_host(tmp_path / "host", settings=settings) as host:
        answers = [
            await host.visitor.post("/prelogin", {"username": "alice"})
            for _ in range(3)
        ]

        assert [one.status for one in answers] == [200, 200, 429]
        assert answers[2].problem.code == "rate-limited"
        assert 0 < int(answers[2].headers["Retry-After"]) <= 60
        other = await host.visitor.post("/prelogin", {"username": "bob"})
        assert other.status == 200


async def test_a_session_that_is_not_there_cannot_be_ended(session: Visitor) -> None:
    """An id that is no session's is a 404, whatever it looks like."""
    for session_id in ("0" * 16, "x", "0" * 17, "%2e%2e", "CURRENT"):
        answer = await session.call("DELETE", f"/api/1/sessions/{session_id}")
        assert answer.code == (404, "session-unknown")


# -- JSON


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{",
        b'{"username": 1}',
        b'{"username": "ALICE"}',
        b'{"username": "alice\\n"}',
        b'{"username": "alice", "more": 1}',
        b'{"username": "alice"} x',
        b'{"username": "\xff"}',
        b'{"username": "\\ud800"}',
        b"[" * 60_000,
        b"\x00",
    ],
    ids=range(14),
)
async def test_json_that_is_not_what_it_must_be(host: RunningHost, body: bytes) -> None:
    """Any JSON but the request's own form is a 400, and says why."""
    answer = await host.visitor.call(
        "POST",
        "/api/1/prelogin",
        body=body,
        headers={"Content-Type": "application/json"},
    )

    assert answer.code == (400, "invalid-request")


async def test_numbers_in_a_query_are_numbers(alice: Member, session: Visitor) -> None:
    """A parameter that is no number of its range is a 400; a large one is cut."""
    log = f"/logs/{alice.client_id().hex()}"
    for path in (
        f"{log}?after=x",
        f"{log}?after=-2",
        f"{log}?after=1.0",
        f"{log}?after={'9' * 30}",
        f"{log}?bodies=2",
        f"{log}?max_bytes=-1",
        "/documents?after=-1",
        "/changes?wait=-1",
        "/changes?entries=%C2%B2",
    ):
        assert (await session.get(path)).code == (400, "invalid-request"), path
    assert (await session.get(f"{log}?max_bytes={10**18}")).status == 200
    assert (await session.get(f"/logs/{secrets.token_hex(8)}")).code == (
        404,
        "not-found",
    )
