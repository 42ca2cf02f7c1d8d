"""T13: a host does not tell which usernames it knows.

The adversary asks for names that exist and names that do not, and compares. That
the times agree too, `python -m tests.adversarial.timing` measures: a clock in a
test is no proof, and fails for other reasons.
"""

import time
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from awserver.config import Registration
from awserver.wire import PreloginAnswer, PreloginRequest
from tests.helpers.hosts import Answer, Member, Visitor, visitor
from tests.helpers.lying_host import LyingHost, lying_host
from tests.helpers.randomness import fixed

EVEN_SECONDS: Final = 0.02
NOBODY: Final = ("nobody", "alice1", "a", "z" * 32, "local")


def form(answer: Answer) -> tuple[object, ...]:
    """Return all of an answer but what is random in it."""
    headers = sorted((name, value) for name, value in answer.headers.items())
    return answer.status, [h for h in headers if h[0] != "Date"], len(answer.body)


def whole(answer: Answer) -> tuple[object, ...]:
    return (*form(answer), answer.body)


async def prelogin(at: Visitor, username: str) -> Answer:
    return await at.post("/prelogin", PreloginRequest(username=username))


async def test_prelogin_answers_in_one_form(
    member: Member, mine: Visitor, at: Visitor
) -> None:
    """Status, headers and length are the same, and all of it looks random."""
    known = await prelogin(at, member.username)
    for username in NOBODY:
        unknown = await prelogin(at, username)

        assert form(unknown) == form(known), username
        assert unknown.as_(PreloginAnswer).salt != known.as_(PreloginAnswer).salt


async def test_answers_come_at_an_even_time(
    member: Member, mine: Visitor, host: LyingHost, at: Visitor
) -> None:
    """Not sooner for a name that nobody has, nor for a document that is in memory."""
    await host.restart()
    nobody = Member("nobody", username="nobody")
    for who in (member, nobody, member):
        begun = time.monotonic()
        await prelogin(at, who.username)
        assert time.monotonic() - begun >= EVEN_SECONDS
        request = replace(await who.session_request(at), signature=bytes(64))
        begun = time.monotonic()
        assert (await at.post("/sessions", request)).status == 401
        assert time.monotonic() - begun >= EVEN_SECONDS


async def test_a_decoy_is_as_stable_as_a_salt(
    member: Member, mine: Visitor, host: LyingHost, at: Visitor, tmp_path: Path
) -> None:
    """Asked again, after a restart too, a name has the salt that it had."""
    names = (member.username, *NOBODY)
    before = [(await prelogin(at, name)).as_(PreloginAnswer) for name in names]

    await host.restart()
    after = [(await prelogin(at, name)).as_(PreloginAnswer) for name in names]

    assert [one.salt for one in before] == [one.salt for one in after]
    assert len({one.salt for one in before}) == len(names)
    assert len({one.nonce for one in before + after}) == 2 * len(names)
    async with lying_host(tmp_path / "other") as other:
        there = Visitor(at.http, other.url)
        elsewhere = (await prelogin(there, NOBODY[0])).as_(PreloginAnswer)
    # Nobody computes it who does not have the host's secret.
    assert elsewhere.salt != before[1].salt


async def refused_sessions(
    member: Member, at: Visitor, *, username: str | None = None
) -> list[Answer]:
    """Return what each wrong proof gets, of a name that is known or another."""
    shown = member.username if username is None else username
    who = member if username is None else Member(username, username=shown)
    found = []
    for by in ("login", "recovery", "client"):
        request = await who.session_request(at, by=by)
        tried = [
            replace(request, signature=fixed("signature", 64)),
            replace(request, nonce=fixed("nonce")),
            replace(request, client_nonce=fixed("client nonce")),
            replace(request, client_id="ab" * 16),
        ]
        if username is not None:
            tried.append(request)
        found += [await at.post("/sessions", one) for one in tried]
    return found


async def test_every_refused_proof_is_answered_alike(
    member: Member, mine: Visitor, at: Visitor
) -> None:
    """Whatever is wrong, and whether the name exists: one answer, byte for byte."""
    known = await refused_sessions(member, at)
    unknown = await refused_sessions(member, at, username="nobody")
    stale = await member.session_request(at)
    assert (await at.post("/sessions", stale)).status == 201
    known.append(await at.post("/sessions", stale))

    assert len({str(whole(answer)) for answer in known + unknown}) == 1
    assert known[0].code == (401, "proof-refused")


async def test_a_revoked_client_is_answered_as_a_stranger(
    member: Member, mine: Visitor, at: Visitor
) -> None:
    """A key that was taken out of the account is as unknown as any."""
    first, second = member.next().clients
    revoked = type(second)(
        number=second.number,
        public=second.public,
        added_version=second.added_version,
        label_epoch=second.label_epoch,
        sealed_label=second.sealed_label,
        revoked=True,
    )
    document = member.sign(member.next(clients=(first, revoked)))
    put = await mine.post("/documents", await member.document_request(mine, document))
    assert put.status == 201

    refused = await at.post("/sessions", await member.session_request(at, client=1))
    stranger = await refused_sessions(member, at, username="nobody")

    assert whole(refused) == whole(stranger[0])


@pytest.mark.parametrize(
    ("registration", "invite", "code"),
    [
        (Registration.CLOSED, None, (403, "registration-closed")),
        (Registration.CLOSED, "abc", (403, "registration-closed")),
        (Registration.INVITE, None, (403, "invite-invalid")),
        (Registration.INVITE, "abc", (403, "invite-invalid")),
    ],
)
async def test_registration_tells_no_names(
    tmp_path: Path, registration: Registration, invite: str | None, code: Any
) -> None:
    """Who may not register is told so, whether or not the name is taken."""
    host = LyingHost(tmp_path / "host")
    await host.start()
    async with visitor(host.url) as at:
        await Member("alice").register(at)
        host.registration = registration
        await host.restart()

        answers = [
            await at.post(
                "/accounts",
                await Member(name, username=name).register_request(at, invite=invite),
            )
            for name in ("alice", "nobody")
        ]
        restores = [
            await at.post(
                "/documents/restore",
                await Member(f"other {name}", username=name).restore_request(at),
            )
            for name in ("alice", "nobody")
        ]
    await host.stop()

    assert [answer.code for answer in answers] == [code, code]
    assert whole(answers[0]) == whole(answers[1])
    assert whole(restores[0]) == whole(restores[1])
    assert restores[0].status == 403
