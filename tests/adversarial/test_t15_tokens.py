"""T15: a token that is stolen, stale or guessed, and a dump of the database.

The adversary has a token that was good, a token of their own, or a copy of all
that the host stores.
"""

import asyncio
import base64
from typing import Final

import pytest

from awserver.wire import SessionsAnswer
from tests.helpers.canaries import Search, bytes_needles
from tests.helpers.hosts import Member, Visitor
from tests.helpers.lying_host import LyingHost
from tests.helpers.randomness import fixed

INVALID: Final = (401, "session-invalid")
DAY_US: Final = 24 * 3600 * 1_000_000
SESSION_DAYS: Final = 30
AT_ONCE_SECONDS_MAX: Final = 10.0
"""Far less than the wait that was asked for."""
ID_BYTES: Final = 16

READING: Final = (
    "/heads",
    "/clients",
    "/usage",
    "/sessions",
    "/keys",
    "/documents?after=0",
    "/changes?entries=0&version=0&wait=0",
    f"/logs/{'00' * 16}?after=-1",
)


def secret_of(mine: Visitor) -> bytes:
    """Return the secret in a token."""
    assert mine.token is not None
    return base64.urlsafe_b64decode(mine.token)[ID_BYTES:]


def with_token(mine: Visitor, token: str) -> Visitor:
    return Visitor(mine.http, mine.url, token)


def made(account: bytes, secret: bytes) -> str:
    return base64.urlsafe_b64encode(account + secret).decode().rstrip("=")


@pytest.mark.parametrize("path", READING)
async def test_nothing_is_read_without_a_token(
    member: Member, mine: Visitor, at: Visitor, path: str
) -> None:
    """Every address that says something of an account asks for its token."""
    assert mine.token is not None
    account, secret = member.account_id, secret_of(mine)
    flipped = bytes([secret[0] ^ 1]) + secret[1:]

    for token in (
        None,
        "",
        "abc",
        "=" * 64,
        "A" * 64,
        made(account, flipped),
        made(account, bytes(32)),
        made(fixed("another account", 16), secret),
        mine.token[:-1],
        mine.token + "A",
        mine.token.swapcase(),
    ):
        refused = await Visitor(at.http, at.url, token).get(path)
        assert refused.code == INVALID, token

    assert (await mine.get(path)).status == 200


async def test_a_token_is_of_one_account(member: Member, mine: Visitor) -> None:
    """With a good token of their own, nobody reads or writes another's."""
    bob = Member("bob", username="bob")
    theirs = await bob.register(Visitor(mine.http, mine.url))
    record = member.record(b"alice's")
    assert (await mine.append(member.client_id(), [record])).status == 201

    mixed = with_token(theirs, made(member.account_id, secret_of(theirs)))
    read = await theirs.get(f"/logs/{member.client_id().hex()}?after=-1")
    appended = await theirs.append(member.client_id(), [record])

    assert (await mixed.get("/heads")).code == INVALID
    assert read.records() == []
    assert appended.code == (400, "malformed-record")
    assert (await theirs.get("/heads")).body != (await mine.get("/heads")).body


async def test_a_dump_of_the_database_holds_no_token(
    member: Member, mine: Visitor, host: LyingHost
) -> None:
    """What is stored of a token is a hash, and a hash opens nothing."""
    secret = secret_of(mine)
    assert mine.token is not None
    await mine.get("/heads")

    await host.stop()
    needles = [*bytes_needles("secret", secret)]
    needles += bytes_needles("token", mine.token.encode())
    search = Search({"token": needles})
    files = search.check_tree(host.directory)
    await host.start()

    assert files >= 1
    assert search.bytes_seen > len(member.documents[0])
    assert (await mine.get("/heads")).status == 200


async def test_nothing_in_the_dump_serves_as_a_token(
    member: Member, mine: Visitor, host: LyingHost
) -> None:
    """Every 32 bytes of what the database says of sessions are tried as one."""
    answer = (await mine.get("/sessions")).as_(SessionsAnswer)
    start = bytes.fromhex(answer.sessions[0].id)
    dump = host.dump()
    at = dump.find(start)
    assert at >= 0, "the hash of the token is in the dump"

    for offset in range(-4, 5):
        stolen = dump[at + offset : at + offset + 32]
        thief = with_token(mine, made(member.account_id, stolen))
        assert (await thief.get("/heads")).code == INVALID


async def test_a_token_ends_when_its_owner_says_so(
    member: Member, mine: Visitor, host: LyingHost, at: Visitor
) -> None:
    """A session that is revoked is over at once, for whoever waits on it too."""
    stolen = await member.log_in(at)
    sessions = (await stolen.get("/sessions")).as_(SessionsAnswer).sessions
    (theirs,) = [one for one in sessions if one.current]
    heads = await mine.get("/heads")
    waiting = asyncio.create_task(
        stolen.get("/changes?entries=0&version=1&wait=50"), name="long poll"
    )
    await host.asked("/api/1/changes")

    ended = await mine.call("DELETE", f"/api/1/sessions/{theirs.id}")

    assert ended.status == 204
    assert [(await stolen.get(path)).code for path in READING] == [INVALID] * 8
    async with asyncio.timeout(AT_ONCE_SECONDS_MAX):
        assert (await waiting).code == INVALID
    assert (await stolen.append(member.client_id(), [member.record(b"x")])).code == (
        INVALID
    )
    assert (await mine.get("/heads")).body == heads.body


async def test_logging_out_ends_the_token(mine: Visitor) -> None:
    """The owner's own token is over once they are out."""
    assert (await mine.call("DELETE", "/api/1/sessions/current")).status == 204

    assert (await mine.get("/heads")).code == INVALID


async def test_a_token_that_nobody_uses_dies(mine: Visitor, host: LyingHost) -> None:
    """After 30 days unused it is over; one that is used goes on."""
    host.late_us = (SESSION_DAYS - 1) * DAY_US
    assert (await mine.get("/heads")).status == 200
    await host.restart()
    host.late_us = (2 * SESSION_DAYS - 3) * DAY_US
    assert (await mine.get("/heads")).status == 200
    await host.restart()

    host.late_us = (3 * SESSION_DAYS) * DAY_US
    assert (await mine.get("/heads")).code == INVALID


async def test_a_revoked_clients_token_dies_with_it(
    member: Member, mine: Visitor, at: Visitor
) -> None:
    """In the transaction that takes a client out, its sessions end."""
    theirs = await member.log_in(at, client=1)
    first, second = member.next().clients
    gone = type(second)(
        number=second.number,
        public=second.public,
        added_version=second.added_version,
        label_epoch=second.label_epoch,
        sealed_label=second.sealed_label,
        revoked=True,
    )
    document = member.sign(member.next(clients=(first, gone)))

    put = await mine.post("/documents", await member.document_request(mine, document))

    assert put.status == 201
    assert (await theirs.get("/heads")).code == INVALID
    assert (await mine.get("/heads")).status == 200
