"""Whoever sends too much, too slowly or without end is sent away, and nobody else."""

import asyncio
import contextlib
import gzip
import socket
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, web

from awserver.http import bodies
from awserver.http.bodies import BinaryForm, Room
from awserver.http.server import ConnectionLimits
from awserver.records import SealedRecord
from awserver.storage.base import APPEND_BYTES_MAX, APPEND_RECORDS_MAX
from awserver.wire import DOCUMENTS_JSON_BYTES_MAX, JSON_BYTES_MAX, encode_frame
from tests.helpers.hosts import Member, RunningHost, Visitor, raw, running_host
from tests.helpers.waiting import until

MIB = 1024 * 1024


def head(
    session: Visitor,
    path: str,
    *lines: str,
    method: str = "POST",
    kind: str = "application/octet-stream",
) -> bytes:
    """Return the head of a request with the session's token."""
    fields = [
        f"{method} /api/1{path} HTTP/1.1",
        "Host: host",
        f"Content-Type: {kind}",
        *([f"Authorization: Bearer {session.token}"] if session.token else []),
        *lines,
    ]
    return "\r\n".join(fields).encode() + b"\r\n\r\n"


def log_of(member: Member) -> str:
    return f"/logs/{member.client_id().hex()}"


def has_connections(server: web.Server, count: int) -> bool:
    return len(server.connections) == count


# -- size


async def test_a_body_that_says_it_is_too_large_is_not_read(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """A 413 comes before a byte of the body is sent."""
    for path, kind, size in (
        (log_of(alice), "application/octet-stream", APPEND_BYTES_MAX + MIB),
        ("/documents", "application/json", DOCUMENTS_JSON_BYTES_MAX + 1),
        ("/prelogin", "application/json", JSON_BYTES_MAX + 1),
        ("/sessions", "application/json", 10**15),
    ):
        answer = await raw(
            host.port, head(session, path, f"Content-Length: {size}", kind=kind)
        )
        assert answer.startswith(b"HTTP/1.1 413 "), path
        assert b'"limit-exceeded"' in answer


async def test_a_body_that_grows_too_large_is_not_kept(
    host: RunningHost, session: Visitor
) -> None:
    """A body of no declared length is a 413 once it passes the limit."""
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"

    answer = await raw(
        host.port,
        head(
            session,
            "/prelogin",
            "Transfer-Encoding: chunked",
            kind="application/json",
        )
        + chunk * 3,
    )

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_one_record_too_many_is_refused(alice: Member, session: Visitor) -> None:
    """An append of more records than the limit stores none of them."""
    records = alice.records(*[b"x"] * (APPEND_RECORDS_MAX + 1))

    answer = await session.append(alice.client_id(), records)

    assert answer.code == (413, "limit-exceeded")
    assert (await session.append(alice.client_id(), records[:-1])).status == 201
    assert len(await session.read(alice.client_id())) == APPEND_RECORDS_MAX


async def test_an_append_of_many_megabytes_is_in_memory_once(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """A large append is taken apart as it comes, and read back page by page."""
    import tracemalloc

    large = alice.records(*[bytes(MIB - 1024)] * 24)
    total = sum(len(record.encode()) for record in large)
    assert total > 16 * MIB

    async def sent() -> AsyncIterator[bytes]:
        for record in large:
            yield encode_frame(record)

    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        answer = await session.call("POST", f"/api/1{log_of(alice)}", body=sent())
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()

    assert answer.status == 201
    assert peak < 1.6 * total
    found: list[SealedRecord] = []
    while page := await session.read(alice.client_id(), after=len(found) - 1):
        found += page
    assert found == large


# -- encodings


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x", "gzip, identity"])
async def test_a_compressed_body_is_refused(
    host: RunningHost, alice: Member, session: Visitor, encoding: str
) -> None:
    """A body that says it is compressed is a 415, whether it is or not."""
    for path in (log_of(alice), "/prelogin"):
        kind = "application/json" if path == "/prelogin" else "application/octet-stream"
        for body in (gzip.compress(bytes(10 * MIB)), b"not compressed"):
            answer = await session.call(
                "POST",
                f"/api/1{path}",
                body=body,
                headers={"Content-Encoding": encoding, "Content-Type": kind},
            )
            assert answer.code == (415, "media-type-unknown")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""]
)
async def test_a_body_of_another_type_is_refused(host: RunningHost, kind: str) -> None:
    """A body has to say that it is JSON, which a page's form cannot."""
    answer = await host.visitor.call(
        "POST",
        "/api/1/prelogin",
        body=b'{"username": "alice"}',
        headers={"Content-Type": kind},
    )

    assert answer.code == (415, "media-type-unknown")


async def test_json_may_say_its_character_set(host: RunningHost) -> None:
    """Parameters and capitals of a content type make no difference."""
    answer = await host.visitor.call(
        "POST",
        "/api/1/prelogin",
        body=b'{"username": "alice"}',
        headers={"Content-Type": "Application/JSON; charset=utf-8"},
    )

    assert answer.status == 200


# -- time


async def test_a_body_that_drips_is_cut_off(
    host: RunningHost,
    alice: Member,
    session: Visitor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A byte now and then is a 408 in the end, and the connection with it."""
    monkeypatch.setattr(bodies, "SECONDS_MIN", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    writer.write(head(session, log_of(alice), "Content-Length: 500"))

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"\x01")
                await writer.drain()
                await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(10):
            # A byte that comes after the end resets the connection, so what was
            # answered is read before its end is waited for.
            answer = await reader.readuntil(b'"body-timeout"')
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
    finally:
        dripping.cancel()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_comes_steadily_may_take_long(
    alice: Member, session: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each few kilobytes buy a second, so a slow line can send a large record."""
    monkeypatch.setattr(bodies, "SECONDS_MIN", 0.2)
    (record,) = alice.records(bytes(300_000))
    frame = encode_frame(record)

    async def slowly() -> AsyncIterator[bytes]:
        for at in range(0, len(frame), 30_000):
            yield frame[at : at + 30_000]
            await asyncio.sleep(0.05)

    begun = time.monotonic()
    answer = await session.call("POST", f"/api/1{log_of(alice)}", body=slowly())

    assert answer.status == 201
    assert time.monotonic() - begun > 0.2


async def test_a_connection_without_a_request_ends(tmp_path: Path) -> None:
    """Who connects and sends no headers, or half of them, is sent away."""
    limits = ConnectionLimits(header_seconds=0.2)
    async with running_host(tmp_path / "host", limits=limits) as host:
        for sent in (b"", b"GET /api/1/info HTTP/1.1\r\nHost: h\r\nX-A: "):
            begun = time.monotonic()
            assert await raw(host.port, sent) == b""
            assert time.monotonic() - begun < 5


async def test_a_kept_connection_ends_when_it_is_not_used(tmp_path: Path) -> None:
    """After an answer a connection is kept for a while, and not for ever."""
    limits = ConnectionLimits(keepalive_seconds=0.3)
    async with running_host(tmp_path / "host", limits=limits) as host:
        request = b"GET /api/1/info HTTP/1.1\r\nHost: h\r\n\r\n"
        answer = await raw(host.port, request * 2)

        assert answer.count(b"HTTP/1.1 200 ") == 2


async def test_a_reader_that_does_not_read_is_cut_off(
    tmp_path: Path, alice: Member
) -> None:
    """Who asks for megabytes and takes none of them holds no memory for long."""
    limits = ConnectionLimits(stall_seconds=0.2)
    async with running_host(tmp_path / "host", limits=limits) as host:
        session = await alice.register(host.visitor)
        records = alice.records(*[bytes(MIB - 1024)] * 12)
        assert (await session.append(alice.client_id(), records)).status == 201

        lazy = socket.socket()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(lazy, ("127.0.0.1", host.port))
        with contextlib.closing(lazy):
            await loop.sock_sendall(lazy, head(session, log_of(alice), method="GET"))
            server = host.runner.server
            assert server is not None
            await until(lambda: len(server.connections) == 2)
            await until(lambda: len(server.connections) == 1)


# -- headers


async def test_headers_have_a_size(host: RunningHost) -> None:
    """A request line or a header that is too long, or too many of them, is a 400."""
    for request in (
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n"
        + b"".join(b"X-%d: 1\r\n" % n for n in range(500))
        + b"\r\n",
    ):
        answer = await raw(host.port, request)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
        assert b'"invalid-request"' in answer
        assert b"xxxx" not in answer


async def test_a_body_is_asked_for_only_if_it_is_wanted(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """`Expect: 100-continue` is met after the headers were found good."""
    (record,) = alice.records(b"one")
    frame = encode_frame(record)
    length = f"Content-Length: {len(frame)}"
    expect = "Expect: 100-continue"
    close = "Connection: close"
    nobody = Visitor(session.http, session.url)

    good = await raw(
        host.port, head(session, log_of(alice), length, expect, close) + frame
    )
    assert good.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 ")
    for refused, status in (
        (head(nobody, log_of(alice), length, expect, close), b"401"),
        (head(session, log_of(alice), f"Content-Length: {10**12}", expect), b"413"),
        (head(session, log_of(alice), length, expect, kind="text/plain"), b"415"),
        (head(session, log_of(alice), length, "Expect: sixpence"), b"400"),
    ):
        answer = await raw(host.port, refused)
        assert answer.startswith(b"HTTP/1.1 " + status), answer
        assert b"100 Continue" not in answer


# -- how many


async def test_one_address_has_so_many_connections(tmp_path: Path) -> None:
    """Beyond its share an address gets no further connection; the others go on."""
    limits = ConnectionLimits(per_address_max=3)
    async with running_host(tmp_path / "host", limits=limits) as host:
        kept = [await asyncio.open_connection("127.0.0.1", host.port) for _ in range(3)]
        server = host.runner.server
        assert server is not None
        await until(lambda: len(server.connections) == 3)

        with pytest.raises(ClientConnectionError):
            await host.visitor.get("/info")

        kept[0][1].write(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await kept[0][0].readline()).startswith(b"HTTP/1.1 200 ")
        for _, writer in kept:
            writer.close()
        await until(lambda: not server.connections)
        assert (await host.visitor.get("/info")).status == 200


async def test_idle_connections_make_room(tmp_path: Path) -> None:
    """Where all places are taken, who asks gets the place of who does not."""
    limits = ConnectionLimits(connections_max=3)
    async with running_host(tmp_path / "host", limits=limits) as host:
        server = host.runner.server
        assert server is not None
        kept = []
        for count in range(1, 4):
            kept.append(await asyncio.open_connection("127.0.0.1", host.port))
            await until(partial(has_connections, server, count))

        assert (await host.visitor.get("/info")).status == 200

        # The oldest was ended.
        assert await kept[0][0].read() == b""
        for _, writer in kept:
            writer.close()


async def test_a_trusted_proxy_may_have_more_connections(tmp_path: Path) -> None:
    """A proxy carries many clients, so its address is not counted as one."""
    limits = ConnectionLimits(per_address_max=1)
    async with running_host(
        tmp_path / "host", limits=limits, trusted_proxies=("127.0.0.1",)
    ) as host:
        _, writer = await asyncio.open_connection("127.0.0.1", host.port)
        try:
            assert (await host.visitor.get("/info")).status == 200
        finally:
            writer.close()


async def test_large_bodies_share_the_room(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """Where the room is taken, a large body is told to come again, a small one not."""
    host.api.room = Room(bytes_max=2 * MIB, own_bytes_max=MIB)
    large = alice.records(bytes(400_000), bytes(400_000))
    (small,) = Member(name="small").records(b"x")
    _, writer = await asyncio.open_connection("127.0.0.1", host.port)
    writer.write(head(session, log_of(alice), f"Content-Length: {MIB}"))
    await writer.drain()
    await until(lambda: bool(host.api.room._own))

    busy = await session.append(alice.client_id(), large)
    fits = await session.append(alice.client_id(), [small])

    assert busy.code == (503, "host-busy")
    assert int(busy.headers["Retry-After"]) > 0
    assert fits.status == 400
    writer.close()
    await until(lambda: not host.api.room._own)
    assert (await session.append(alice.client_id(), large)).status == 201


async def test_who_waits_for_room_gets_it_in_turn() -> None:
    """Waiting is in order, ends with a refusal, and gives back what was not got."""
    room = Room(bytes_max=10, own_bytes_max=8)
    await room.take("a", 8)
    second = asyncio.create_task(room.take("b", 5))
    third = asyncio.create_task(room.take("c", 1))
    gone = asyncio.create_task(room.take("d", 1))
    await asyncio.sleep(0)
    assert not second.done()
    assert not third.done()  # it would fit, and is behind one that does not

    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    room.give_back("a", 8)
    await asyncio.gather(second, third)

    assert room._own == {"b": 5, "c": 1}
    room.give_back("b", 5)
    room.give_back("c", 1)
    await room.take("a", 8)
    await room.take("b", 2)


async def test_a_body_form_counts_what_comes() -> None:
    """The limit of a body is beside its type, and named in the refusal."""
    assert "larger than 5 bytes" in str(BinaryForm(bytes_max=5).too_large())


async def test_reading_is_endless_for_nobody(alice: Member, session: Visitor) -> None:
    """A page has an end, whatever the client asks for, and the next one follows it."""
    records = alice.records(*[bytes(MIB - 1024)] * 18)
    for at in range(0, 18, 6):
        await session.append(alice.client_id(), records[at : at + 6])

    page = await session.read(alice.client_id(), query=f"&max_bytes={10**18}")
    rest = await session.read(alice.client_id(), after=len(page) - 1)

    assert 0 < len(page) < 18
    assert page + rest == records
