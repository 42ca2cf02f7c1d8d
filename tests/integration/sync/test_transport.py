"""What a host may answer, and what becomes of all else. Real sockets."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from awserver.proofs import Action, Transcript
from awserver.records import SealedRecord
from awserver.wire import PreloginAnswer, encode_frame
from awvault.crypto.keys import ClientKey
from awvault.errors import (
    CertificateError,
    HostBusyError,
    HostRefusedError,
    InvalidInputError,
    MalformedAnswerError,
    MalformedError,
    TransportError,
    UnsupportedSuiteError,
)
from awvault.sync.channel import Limits, SessionToken, host_origin
from awvault.sync.transport import HostClient, Prover
from tests.helpers.hostile import (
    BINARY,
    PROBLEM,
    Hostile,
    Speak,
    answer,
    endless,
    hostile,
    self_signed,
    silence,
    stream,
)
from tests.helpers.records import CLIENT, chain

Call = Callable[[HostClient], Awaitable[Any]]

IMPATIENT: Final = Limits(connect_seconds=1.0, stall_seconds=0.2, rate_bytes_min=10_000)
TOKEN: Final = "t" * 64
SESSION: Final = json.dumps(
    {"token": TOKEN, "account_id": "a" * 32, "version": 3}
).encode()
PRELOGIN: Final = b'{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","nonce":"%s"}' % (
    b"A" * 43 + b"="
)


def client(host: Hostile, limits: Limits = IMPATIENT) -> HostClient:
    return HostClient(host.url, limits=limits)


async def prelogin(host: HostClient) -> PreloginAnswer:
    return await host.prelogin("ann")


async def read_log(host: HostClient) -> list[SealedRecord]:
    return [record async for record in host.read_log(CLIENT, after=-1, bytes_max=4096)]


def prover() -> Prover:
    return Prover(username="ann", client_id=CLIENT, salt=b"s" * 16, nonce=b"n" * 32)


async def begin(host: HostClient) -> None:
    await host.open_session(prover(), key=ClientKey(bytes(32)))


async def raised(speak: Speak, call: Call) -> Exception:
    """Return what a call raises, which must not take long."""
    begun = time.monotonic()
    async with hostile(speak) as server, client(server) as host:
        with pytest.raises((TransportError, MalformedError, HostRefusedError)) as info:
            await call(host)
    assert time.monotonic() - begun < 5
    return info.value


@pytest.mark.parametrize(
    "call",
    [
        prelogin,
        lambda host: host.info(),
        lambda host: host.heads(),
        lambda host: host.documents(after=0),
        lambda host: host.keys_blob(),
        read_log,
    ],
)
async def test_an_answer_without_end_is_cut_off(call: Call) -> None:
    """However fast a host sends, no more is taken than the answer may have."""
    for content_type in ("application/json", BINARY):
        error = await raised(stream(endless(), content_type=content_type), call)
        assert isinstance(error, MalformedAnswerError | MalformedError)


async def test_a_declared_length_is_refused_before_a_byte_of_it() -> None:
    """A huge Content-Length is reason enough."""
    error = await raised(stream(endless(), declared=10**15), prelogin)

    assert type(error) is MalformedAnswerError
    assert "more than 16384 bytes" in str(error)


@pytest.mark.parametrize(
    "speak",
    [silence, stream(endless(b" ", pause=0.02)), stream(endless(b"", pause=0.02))],
    ids=["silent", "dripping", "head-only"],
)
async def test_who_sends_too_slowly_is_cut_off(speak: Speak) -> None:
    """Silence, and a byte now and then, do not hold a client for ever."""
    error = await raised(speak, prelogin)

    assert type(error) is TransportError
    assert "slowly" in str(error)


async def test_the_time_of_the_reader_is_not_the_hosts() -> None:
    """Who reads records slowly does not blame the host for it."""
    records = chain(3)
    body = b"".join(encode_frame(record) for record in records)
    async with (
        hostile(answer(body, content_type=BINARY)) as server,
        client(server) as host,
    ):
        got = []
        async for record in host.read_log(CLIENT, after=-1):
            await asyncio.sleep(IMPATIENT.stall_seconds)
            got.append(record)

    assert got == records


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
async def test_a_redirect_is_never_followed(status: str) -> None:
    """Not to another host, and not to the same: nothing is sent there."""
    async with hostile(answer(SESSION, status="201 Created")) as other:
        elsewhere = answer(
            b"", status=f"{status} Elsewhere", headers={"Location": other.url}
        )
        for call in (prelogin, begin, read_log):
            error = await raised(elsewhere, call)
            assert type(error) is MalformedAnswerError
            assert "never followed" in str(error)
        assert other.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"NaN",
        b'{"salt":NaN}',
        b"[" * 15_000,
        b'{"salt":"\xff"}',
        PRELOGIN[:-1],
        PRELOGIN + b"{}",
        PRELOGIN[:-1] + b',"profile":{"m":1}}',
        PRELOGIN[:-1] + b',"iterations":1}',
        b'{"salt":"","nonce":"' + b"A" * 43 + b'="}',
        b'{"salt":"AAAAAAAAAAAAAAAAAAAAAA==","nonce":""}',
        b'{"salt":16,"nonce":32}',
        b'{"salt":"' + b"A" * 9000 + b'","nonce":"' + b"A" * 43 + b'="}',
    ],
)
async def test_an_answer_in_another_form_is_refused(body: bytes) -> None:
    """Other types, lengths, fields or texts than the protocol's are no answer."""
    error = await raised(answer(body), prelogin)

    assert type(error) is MalformedAnswerError


async def test_the_answer_in_its_form_is_taken() -> None:
    """So the cases above fail for what they are about."""
    async with hostile(answer(PRELOGIN)) as server, client(server) as host:
        assert (await host.prelogin("ann")).salt == bytes(16)


async def test_a_page_of_the_network_is_no_host() -> None:
    """A captive portal's page is told apart from a host that says no."""
    page = answer(b"<html>log in here", content_type="text/html")
    error = await raised(page, prelogin)
    assert type(error) is MalformedAnswerError
    assert "is no host" in str(error)

    missing = answer(b"<html>", content_type="text/html", status="404 Not Found")
    error = await raised(missing, prelogin)
    assert type(error) is MalformedAnswerError
    assert "right address" in str(error)


async def test_a_packed_answer_is_refused() -> None:
    """Nothing is unpacked, so no bomb can be."""
    packed = answer(PRELOGIN, headers={"Content-Encoding": "gzip"})

    error = await raised(packed, prelogin)

    assert type(error) is MalformedAnswerError
    assert "packed" in str(error)


async def test_an_answer_that_breaks_off_is_no_answer() -> None:
    """Fewer bytes than were declared, or none at all."""

    async def half() -> AsyncIterator[bytes]:
        yield PRELOGIN

    error = await raised(stream(half(), declared=len(PRELOGIN) + 1), prelogin)
    assert type(error) is TransportError

    async def close(writer: asyncio.StreamWriter) -> None:
        writer.close()

    assert type(await raised(close, prelogin)) is TransportError


async def test_records_that_break_off_are_no_end() -> None:
    """A stream that ends inside a frame is an error; what came whole was given."""
    records = chain(2)
    body = b"".join(encode_frame(record) for record in records)[:-1]
    got: list[SealedRecord] = []

    async def read(host: HostClient) -> None:
        async for record in host.read_log(CLIENT, after=-1):
            got.append(record)  # noqa: PERF401 - what came before the error

    error = await raised(answer(body, content_type=BINARY), read)

    assert type(error) is MalformedError
    assert "inside a frame" in str(error)
    assert got == records[:1]


async def test_records_of_a_newer_program_are_told_apart() -> None:
    """Another suite is no lie of the host: this program is to be updated."""
    frame = bytearray(encode_frame(chain(1)[0]))
    frame[5] = 2
    newer = answer(bytes(frame), content_type=BINARY)
    async with hostile(newer) as server, client(server) as host:
        with pytest.raises(UnsupportedSuiteError, match="suite is 2"):
            await read_log(host)


async def test_two_heads_of_one_log_are_refused() -> None:
    """A host says one thing of a log."""
    head = {
        "client_id": "c" * 32,
        "seq": 1,
        "hash": "0" * 64,
        "entries": 2,
        "stored_bytes": 600,
    }
    body = json.dumps({"heads": [head, head], "version": 1, "entries": 2}).encode()

    error = await raised(answer(body), lambda host: host.heads())

    assert type(error) is MalformedAnswerError


async def test_a_refusal_has_the_hosts_code_and_words_that_print() -> None:
    """The code is the host's; its words are cut, and cannot move a cursor."""
    problem = {
        "type": "about:blank",
        "title": "x",
        "status": 409,
        "code": "seq-conflict",
        "detail": "\x1b[2J" + "d" * 5000,
        "expected_seq": 7,
        "more": [1],
    }
    error = await raised(
        answer(
            json.dumps(problem).encode(), status="409 Conflict", content_type=PROBLEM
        ),
        lambda host: host.append(CLIENT, chain(1)),
    )

    assert isinstance(error, HostRefusedError)
    assert (error.code, error.expected_seq) == ("seq-conflict", 7)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 400


async def test_a_host_that_cannot_now_is_told_apart() -> None:
    """429 and 5xx ask to come again later, and no host asks for a year."""
    body = json.dumps(
        {"title": "x", "status": 429, "code": "rate-limited", "detail": "later"}
    ).encode()
    error = await raised(
        answer(
            body,
            status="429 Later",
            content_type=PROBLEM,
            headers={"Retry-After": "99999999"},
        ),
        prelogin,
    )
    assert isinstance(error, HostBusyError)
    assert (error.code, error.retry_seconds) == ("rate-limited", 3600)

    error = await raised(answer(b"bad gateway", status="502 Bad"), prelogin)
    assert isinstance(error, HostBusyError)
    assert (error.code, error.retry_seconds) == ("", None)


async def test_a_token_in_another_form_is_refused() -> None:
    """A token is put into a header, so it has the one form that tokens have."""
    for token in ("", "short", "t" * 65, "t" * 63 + "\n", "t" * 60 + "\r\nX:"):
        body = json.dumps({"token": token, "account_id": "a" * 32, "version": 1})
        error = await raised(answer(body.encode(), status="201 Created"), begin)
        assert type(error) is MalformedAnswerError


async def test_a_session_is_proven_for_this_host_and_this_action() -> None:
    """What is signed names the origin that was typed, and the token does not print."""
    key = ClientKey(bytes(32))
    async with (
        hostile(answer(SESSION, status="201 Created")) as server,
        client(server) as host,
    ):
        session = await host.open_session(prover(), key=key)
        sent = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
        with pytest.raises(MalformedAnswerError):
            await host.usage()  # the server answers as before: another type
        assert f"Authorization: Bearer {TOKEN}".encode() in server.requests[1]

        host.forget_session()
        with pytest.raises(MalformedAnswerError):
            await host.usage()
        assert b"Authorization" not in server.requests[2]

    assert session.version == 3
    assert b"Authorization" not in server.requests[0]
    transcript = Transcript(
        origin=server.url,
        action=Action.SESSION,
        username="ann",
        nonce=b"n" * 32,
        client_nonce=_bytes(sent["client_nonce"]),
        client_id=CLIENT,
        salt=b"s" * 16,
        body=b"",
    )
    transcript.verify(key.public, _bytes(sent["signature"]))
    assert TOKEN not in repr(SessionToken(TOKEN))


async def test_a_request_says_nothing_of_the_program() -> None:
    """No version, no language, no cookie: the headers are few."""
    async with (
        hostile(answer(PRELOGIN, headers={"Set-Cookie": "a=b"})) as server,
        client(server) as host,
    ):
        await host.prelogin("ann")
        await host.prelogin("ann")

    for request in server.requests:
        head = request.partition(b"\r\n\r\n")[0].decode()
        names = {line.partition(":")[0] for line in head.split("\r\n")[1:]}
        assert names == {"Host", "Accept-Encoding", "Content-Type", "Content-Length"}


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Example.org/", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://127.0.0.1:5700", "http://127.0.0.1:5700"),
        ("http://[::1]:5700", "http://[::1]:5700"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_an_address_has_one_form(url: str, origin: str) -> None:
    """Whatever way it was typed."""
    assert host_origin(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "http://10.0.0.1",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "https://example.org/path",
        "https://example.org/?a",
        "https://ann:secret@example.org",
        "ftp://example.org",
        "example.org",
        "",
    ],
)
def test_another_address_is_refused(url: str) -> None:
    """Without encryption to another machine, and whatever is no host's address."""
    with pytest.raises(InvalidInputError):
        host_origin(url)


def test_plain_http_needs_a_word() -> None:
    """It is possible for who says so."""
    assert host_origin("http://10.0.0.1", insecure=True) == "http://10.0.0.1"


async def test_an_unknown_certificate_is_refused_and_named(tmp_path: Path) -> None:
    """No flag of this client turns that off; another root can be trusted."""
    certificate, key = self_signed(tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate, key)
    async with hostile(answer(PRELOGIN), trust=served) as server:
        for insecure in (False, True):
            async with HostClient(server.url, insecure=insecure) as host:
                with pytest.raises(CertificateError, match="self-signed certificate"):
                    await host.prelogin("ann")
        assert server.requests == []

        trust = ssl.create_default_context(cafile=certificate)
        async with HostClient(server.url, trust=trust) as host:
            assert (await host.prelogin("ann")).nonce == bytes(32)


async def test_nobody_there_is_named() -> None:
    """An address where nothing listens."""
    async with hostile(silence) as server:
        pass
    async with client(server) as host:
        with pytest.raises(TransportError, match="reached: Connection refused"):
            await host.info()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
