"""T40: hostile input, to a host and from one.

Bodies that are huge, slow, endless or packed; paths that climb; numbers that are
none; words that move a cursor. Each is refused, in bounds, and named.
"""

import asyncio
import gzip
import json
import resource
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from msgspec.structs import replace

from awserver.http.server import ConnectionLimits
from awserver.records import SEQ_MAX, ClientId, SealedRecord
from awserver.service.base import Caller
from awserver.storage.base import APPEND_BYTES_MAX
from awserver.wire import JSON_BYTES_MAX, HeadsAnswer
from awvault.errors import HostRefusedError, MalformedAnswerError, TransportError
from awvault.sync.alarms import Name
from awvault.sync.channel import Limits
from awvault.sync.transport import HostClient
from tests.helpers.fault_proxy import LOOPBACK, Fault, FaultProxy
from tests.helpers.hosts import Member, Visitor, raw
from tests.helpers.lying_host import Handler, Lie, LyingHost, lying_host

MIB: Final = 1024 * 1024
IMPATIENT: Final = Limits(connect_seconds=1.0, stall_seconds=0.2, rate_bytes_min=10_000)
PAGES_MAX: Final = 16
"""Of documents, asked for in one round by who is told no truth."""
JSON: Final = {"Content-Type": "application/json"}


def memory_bytes() -> int:
    """Return the most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# -- what a host is sent


async def test_a_declared_body_that_is_too_large_is_not_read(
    mine: Visitor, host: LyingHost
) -> None:
    """The header is reason enough: the answer comes before any of the body."""
    head = (
        f"POST /api/1/logs/{'00' * 16} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {mine.token}\r\n"
        "Content-Type: application/octet-stream\r\n"
        f"Content-Length: {10**15}\r\n\r\n"
    )

    answered = await raw(host.port, head.encode())

    assert answered.startswith(b"HTTP/1.1 413 ")


async def test_a_body_without_an_end_is_cut_off(mine: Visitor) -> None:
    """Chunk after chunk of a body whose length nobody said: no more than the limit."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100 * JSON_BYTES_MAX:
            sent += 4096
            yield b" " * 4096

    answer = await mine.call("POST", "/api/1/prelogin", body=endless(), headers=JSON)

    assert answer.code == (413, "limit-exceeded")
    assert sent < 100 * JSON_BYTES_MAX


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br", "gzip, gzip"])
async def test_a_packed_body_is_refused(at: Visitor, coding: str) -> None:
    """Nothing is unpacked, so no bomb can be."""
    before = memory_bytes()

    answer = await at.call(
        "POST",
        "/api/1/prelogin",
        body=gzip.compress(b"{}") if coding == "gzip" else zlib.compress(b"{}"),
        headers={**JSON, "Content-Encoding": coding},
    )

    assert answer.code == (415, "media-type-unknown")
    assert memory_bytes() - before < 32 * MIB


async def test_headers_that_drip_are_cut_off(tmp_path: Path) -> None:
    """Who takes for ever to ask holds no connection for ever."""
    async with lying_host(
        tmp_path, connection_limits=ConnectionLimits(header_seconds=0.3)
    ) as host:
        with FaultProxy(host.port) as proxy:
            proxy.set(Fault(seconds_per_byte=0.05, direction="up"))
            answered = await raw(
                proxy.port,
                b"GET /api/1/info HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            )

    assert not answered.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "path",
    [
        "/api/1/logs/../../../../etc/passwd",
        "/api/1/logs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/api/1/logs/..%5c..%5cwindows",
        "/api/1/../host.db",
        "/../host.db",
        "//host.db",
        "/api/1/logs/" + "0" * 31,
        "/api/1/logs/" + "0" * 33,
        "/api/1/logs/" + "G" * 32,
        "/api/1/logs/" + "A" * 32,
        "/api/1/logs/%00",
        "/api/1/sessions/..",
    ],
)
async def test_a_path_names_nothing_outside(
    mine: Visitor, host: LyingHost, path: str
) -> None:
    """An id is hexadecimal digits, and no request names a file."""
    before = sorted(p.name for p in host.directory.rglob("*"))

    answers = [await mine.call(method, path) for method in ("GET", "DELETE")]

    for answer in answers:
        assert answer.status in {400, 404, 405}, answer
        assert b"root:" not in answer.body
        assert b"SQLite format" not in answer.body
    assert sorted(p.name for p in host.directory.rglob("*")) == before


@pytest.mark.parametrize(
    "query",
    [
        "after=NaN",
        "after=-2",
        "after=1e3",
        "after=%E0%A5%A7",
        "max_bytes=-1",
        "max_bytes=99999999999999999999",
        "bodies=2",
        "after=1_0",
        "after=%2B1",
    ],
)
async def test_a_number_is_digits_in_its_range(mine: Visitor, query: str) -> None:
    """A parameter that is no number, or out of range, is named and refused."""
    answer = await mine.get(f"/logs/{'00' * 16}?{query}")

    assert answer.code == (400, "invalid-request"), answer


@pytest.mark.parametrize(
    "body",
    [
        b'{"username": NaN}',
        b'{"username": 1e999}',
        b'{"username": "\xff"}',
        b'{"username": "\\ud800"}',
        b"[" * 30_000,
        b'{"username":' * 5_000,
        b'{"username": "ann", "memory_kib": 8}',
        b'{"username": "ann\\u001b[2J"}',
        b'{"username": "ANN"}',
        b'{"username": ""}',
        b'{"username": "' + b"a" * 33 + b'"}',
        b'{"username": "ann"} {}',
        b"",
        b"null",
    ],
)
async def test_json_that_is_not_as_it_must_be_is_refused(
    at: Visitor, body: bytes
) -> None:
    """Other types, fields or texts get a 400, which repeats nothing of them."""
    answer = await at.call("POST", "/api/1/prelogin", body=body, headers=JSON)

    assert answer.code == (400, "invalid-request"), answer
    assert b"\x1b" not in answer.body
    assert len(answer.body) < 1000


async def test_an_append_of_more_than_fits_is_refused(
    member: Member, mine: Visitor
) -> None:
    """Frames without end are counted as they come, and nothing of them is kept."""
    record = member.record(b"x" * 100_000)
    frames = b"\x01" + record.encode()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 2 * APPEND_BYTES_MAX:
            sent += len(frames)
            yield frames

    answer = await mine.call(
        "POST", f"/api/1/logs/{member.client_id().hex()}", body=endless()
    )

    assert answer.status in {409, 413}
    assert sent < 2 * APPEND_BYTES_MAX
    assert await mine.read(member.client_id()) == []


# -- what a host sends


class Says(Lie):
    """Whatever is asked, the answer is this."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def http(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        return self.response


class Endless(Lie):
    """The answer never ends."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.sent = 0

    async def http(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": self.kind})
        await response.prepare(request)
        while self.sent < 256 * MIB:
            await response.write(bytes(MIB))
            self.sent += MIB
        return response


@pytest.fixture
async def client(host: LyingHost) -> AsyncIterator[HostClient]:
    async with HostClient(host.url, limits=IMPATIENT) as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("application/json", lambda client: client.prelogin("ann")),
        ("application/json", lambda client: client.heads()),
        ("application/json", lambda client: client.sessions()),
        ("application/octet-stream", lambda client: client.keys_blob()),
        ("application/octet-stream", lambda client: client.documents(after=0)),
    ],
    ids=["prelogin", "heads", "sessions", "keys", "documents"],
)
async def test_an_endless_answer_is_cut_off(
    host: LyingHost, client: HostClient, kind: str, call: Any
) -> None:
    """However much a host sends, no more is taken than the answer may have."""
    lie = Endless(kind)
    before = memory_bytes()

    with host.lying(lie), pytest.raises(MalformedAnswerError):
        await call(client)

    assert lie.sent < 128 * MIB
    assert memory_bytes() - before < 160 * MIB
    assert (await client.info()).api == 1


class Pages(Lie):
    """Documents, or records of a log, go on for ever: a page again after the last."""

    def __init__(self, client: ClientId | None) -> None:
        self.client = client
        self.pages = 0
        self.document: list[bytes] = []
        self.record: list[SealedRecord] = []

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        heads = [
            replace(head, seq=SEQ_MAX)
            if self.client is not None and head.client_id == self.client.hex()
            else head
            for head in honest.heads
        ]
        return replace(honest, heads=heads)

    def documents(self, caller: Caller, after: int, honest: list[bytes]) -> list[bytes]:
        if self.client is not None:
            return honest
        self.pages += 1
        self.document = honest[-1:] or self.document
        return honest or self.document

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        if client != self.client:
            return honest
        self.pages += 1
        self.record = honest[-1:] or self.record
        return honest or self.record


async def test_documents_without_an_end_are_not_asked_for(tmp_path: Path) -> None:
    """Each page is verified before the next is asked for; some tries, then an alarm."""
    from tests.adversarial.scenes import scene

    async with scene(tmp_path) as act:
        await act.join("third")

        lie = Pages(None)
        await act.caught(act.two, lie, Name.DOCUMENTS_INVALID, client=None)

        # Two rounds, in each of which an edit may have come in between.
        assert lie.pages <= 2 * PAGES_MAX


async def test_records_without_an_end_are_not_asked_for(tmp_path: Path) -> None:
    """The same of a log that goes on for ever: what was true of it is kept."""
    from tests.adversarial.scenes import scene

    async with scene(tmp_path) as act:
        await act.store(act.one)
        await act.one.seal_and_sync()
        client = act.one.client_id
        true = act.one.vault.replica.heads()[client]
        lie = Pages(client)

        with act.host.lying(lie):
            done = await act.two.sync()

        assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
            (Name.LOG_INVALID, client.hex())
        ]
        assert lie.pages == 2
        assert act.two.vault.replica.heads()[client] == true
        await act.goes_on()


GOOD: Final = b'{"api":1,"registration":"open"}'


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(GOOD)),
        ("gzip", gzip.compress(bytes(8 * MIB))),
        ("deflate", zlib.compress(GOOD)),
        ("zstd", b"\0" * 100),
    ],
    ids=["gzip", "gzip-bomb", "deflate", "zstd"],
)
async def test_a_packed_answer_is_refused_unread(
    host: LyingHost, client: HostClient, coding: str, body: bytes
) -> None:
    """A bomb is not unpacked, because nothing is."""
    before = memory_bytes()
    lie = Says(
        web.Response(
            body=body,
            headers={"Content-Encoding": coding, "Content-Type": "application/json"},
        )
    )

    with host.lying(lie), pytest.raises(MalformedAnswerError):
        await client.info()

    assert memory_bytes() - before < 32 * MIB


async def test_an_answer_that_drips_is_cut_off(host: LyingHost) -> None:
    """A byte now and then does not hold a client for ever."""
    with FaultProxy(host.port) as proxy:
        proxy.set(Fault(seconds_per_byte=0.05, in_body=True))
        async with HostClient(
            f"http://{LOOPBACK}:{proxy.port}", limits=IMPATIENT
        ) as client:
            with pytest.raises(TransportError):
                await client.info()
            proxy.heal()
            assert (await client.info()).api == 1


@pytest.mark.parametrize(
    "detail",
    ["\x1b[2J\x1b[H owned", "\r\nfake: prompt", "\u202egnp.exe", "x" * 100_000],
    ids=["escape", "newline", "backwards", "long"],
)
async def test_a_hosts_words_print_as_words(
    host: LyingHost, client: HostClient, detail: str
) -> None:
    """What a host says is cut, and nothing in it moves a cursor."""
    problem = {"title": "t", "status": 400, "code": "x", "detail": detail[:10_000]}
    lie = Says(
        web.Response(
            status=400,
            body=json.dumps(problem).encode(),
            headers={"Content-Type": "application/problem+json"},
        )
    )

    with host.lying(lie), pytest.raises((HostRefusedError, TransportError)) as info:
        await client.prelogin("ann")

    assert str(info.value).isprintable()
    assert len(str(info.value)) < 2_000


@pytest.fixture(autouse=True)
def no_growth() -> Iterator[None]:
    """Whatever happens in here, this process stays of a size."""
    yield
    assert memory_bytes() < 2048 * MIB


async def test_many_slow_clients_do_not_stop_the_others(
    host: LyingHost, at: Visitor
) -> None:
    """Connections that say nothing leave room for those that ask."""
    idle = [await asyncio.open_connection(LOOPBACK, host.port) for _ in range(50)]

    answer = await at.get("/info")

    assert answer.status == 200
    for _, writer in idle:
        writer.close()
