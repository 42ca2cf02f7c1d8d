"""Waiting for news: it ends with the news, with the client, and with the host."""

import asyncio
import contextlib
from pathlib import Path

from awserver.wire import ChangesAnswer
from tests.helpers.hosts import Member, RunningHost, Visitor, running_host
from tests.helpers.waiting import until


async def test_an_append_wakes_who_waits(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """Who waits for entries is told of a record as soon as it is stored."""
    waiting = asyncio.create_task(session.get("/changes?version=1&wait=50"))
    await until(lambda: len(host.api.polls) == 1)

    await session.append(alice.client_id(), alice.records(b"one"))

    async with asyncio.timeout(5):
        answer = await waiting
    assert answer.as_(ChangesAnswer) == ChangesAnswer(entries=1, version=1)
    assert len(host.api.polls) == 0


async def test_what_is_known_is_waited_for_and_no_longer(session: Visitor) -> None:
    """Without a change the answer comes when the time is up, with what is."""
    for query in ("?version=1&wait=1", "?version=1", "?wait=50", "?entries=7&wait=50"):
        async with asyncio.timeout(10):
            answer = await session.get(f"/changes{query}")
        assert answer.as_(ChangesAnswer) == ChangesAnswer(entries=0, version=1)


async def test_who_is_gone_waits_no_more(host: RunningHost, session: Visitor) -> None:
    """A connection that ends takes its wait with it."""
    request = (
        "GET /api/1/changes?version=1&wait=50 HTTP/1.1\r\nHost: h\r\n"
        f"Authorization: Bearer {session.token}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", host.port)
    writer.write(request.encode())
    await until(lambda: len(host.api.polls) == 1)

    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()

    await until(lambda: len(host.api.polls) == 0)
    assert (await session.get("/usage")).status == 200


async def test_a_host_that_stops_answers_who_waits(
    tmp_path: Path, alice: Member
) -> None:
    """Long polls are answered at once when the host stops, with what is."""
    async with running_host(tmp_path / "host") as host:
        session = await alice.register(host.visitor)
        waits = [
            asyncio.create_task(session.get("/changes?version=1&wait=50"))
            for _ in range(5)
        ]
        await until(lambda: len(host.api.polls) == 5)
        async with asyncio.timeout(5):
            await host.runner.cleanup()
            answers = await asyncio.gather(*waits)

    for answer in answers:
        assert answer.as_(ChangesAnswer) == ChangesAnswer(entries=0, version=1)
        assert answer.headers["Connection"] == "close"


async def test_a_request_in_flight_is_finished_when_the_host_stops(
    tmp_path: Path, alice: Member
) -> None:
    """The rest of a body that is on its way is read, and the record is stored."""
    from awserver.wire import encode_frame

    (record,) = alice.records(bytes(300_000))
    frame = encode_frame(record)
    async with running_host(tmp_path / "host") as host:
        session = await alice.register(host.visitor)
        reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
        writer.write(
            f"POST /api/1/logs/{alice.client_id().hex()} HTTP/1.1\r\nHost: h\r\n"
            f"Authorization: Bearer {session.token}\r\n"
            "Content-Type: application/octet-stream\r\n"
            f"Content-Length: {len(frame)}\r\n\r\n".encode()
            + frame[:1000]
        )
        await writer.drain()
        await until(lambda: bool(host.api.room._own))
        stopping = asyncio.create_task(host.runner.cleanup())
        await until(lambda: host.api.polls.stopping)
        assert (await raw_status(host)) is None

        writer.write(frame[1000:])
        async with asyncio.timeout(5):
            answer = await reader.read()
            await stopping
        writer.close()
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert b"Connection: close" in answer
    async with running_host(tmp_path / "host") as host:
        session = await alice.log_in(host.visitor)
        assert await session.read(alice.client_id()) == [record]


async def raw_status(host: RunningHost) -> int | None:
    """Return the status of a new connection's request; None: it is refused."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", host.port)
    except ConnectionError:
        return None
    writer.close()
    return 0
