"""The fault proxy does to a connection what it was asked for, and no more."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.helpers.fault_proxy import LOOPBACK, End, Fault, FaultProxy

HEADER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
BODY = b"b0dy00"
ANSWER = HEADER + BODY

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Host:
    """Answers each line with the same answer; notes what came, and how it ended."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.ended: list[str] = []
        self.slowly = False
        self.tasks: list[asyncio.Task[None]] = []

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.append(task)
        try:
            while line := await reader.readline():
                self.got += line
                for piece in _pieces(ANSWER) if self.slowly else [ANSWER]:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)
            self.ended.append("end")
            writer.write(b"bye")
            writer.close()
            await writer.wait_closed()
        except OSError:
            self.ended.append("reset")
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _pieces(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.fixture
async def host() -> AsyncIterator[tuple[Host, int]]:
    # The proxy is set up after the host, so it ends before: connections are over.
    made = Host()
    server = await asyncio.start_server(made.serve, LOOPBACK, 0)
    yield made, server.sockets[0].getsockname()[1]
    server.close()
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


@pytest.fixture
def proxy(host: tuple[Host, int]) -> Iterator[FaultProxy]:
    with FaultProxy(host[1]) as made:
        yield made


async def connected(proxy: FaultProxy) -> Ends:
    return await asyncio.open_connection(LOOPBACK, proxy.port)


async def gone(proxy: FaultProxy) -> None:
    """Connect, and read what does not come."""
    reader, writer = await connected(proxy)
    try:
        await reader.readexactly(1)
    finally:
        writer.close()


async def asked(ends: Ends, line: bytes = b"hello\n") -> bytes:
    """Send a line; return all of an answer, or what came of it."""
    ends[1].write(line)
    return await read(ends)


async def read(ends: Ends, size: int = len(ANSWER)) -> bytes:
    try:
        return await ends[0].readexactly(size)
    except asyncio.IncompleteReadError as error:
        return error.partial


async def test_without_a_fault_everything_passes(
    host: tuple[Host, int], proxy: FaultProxy
) -> None:
    """Both ways pass unchanged, the ends of each too, and are kept for searches."""
    ends = await connected(proxy)

    first = await asked(ends)
    ends[1].write_eof()
    rest = await ends[0].read()

    assert (first, rest) == (ANSWER, b"bye")
    assert host[0].got == b"hello\n"
    assert proxy.sent("up") == b"hello\n"
    assert proxy.sent("down") == ANSWER + b"bye"
    assert b"hello" in proxy.sent()
    assert BODY in proxy.sent()
    ends[1].close()


@pytest.mark.parametrize("after", [0, 1, len(HEADER), len(ANSWER) - 1])
async def test_it_cuts_after_some_bytes(proxy: FaultProxy, after: int) -> None:
    """Exactly as many bytes arrive as were asked for, then an orderly end."""
    proxy.set(Fault(end=End.CLOSE, after=after))
    ends = await connected(proxy)

    came = await asked(ends)

    assert came == ANSWER[:after]
    assert ends[0].at_eof()
    ends[1].close()


@pytest.mark.parametrize("after", [0, 3])
async def test_it_cuts_in_the_body(proxy: FaultProxy, after: int) -> None:
    """Bytes can count from the end of the header on, also of a later answer."""
    ends = await connected(proxy)
    before = await asked(ends)
    proxy.set(Fault(end=End.CLOSE, after=after, in_body=True))

    came = await asked(ends)

    assert before == ANSWER
    assert came == HEADER + BODY[:after]
    ends[1].close()


async def test_the_end_of_a_header_may_come_in_pieces(
    host: tuple[Host, int], proxy: FaultProxy
) -> None:
    """Where a header comes byte by byte, its end is found all the same."""
    host[0].slowly = True
    proxy.set(Fault(end=End.CLOSE, after=2, in_body=True))
    ends = await connected(proxy)

    assert await asked(ends) == HEADER + BODY[:2]
    ends[1].close()


async def test_it_cuts_what_the_client_sends(
    host: tuple[Host, int], proxy: FaultProxy
) -> None:
    """Upwards too: the host gets the first bytes alone."""
    proxy.set(Fault(end=End.CLOSE, after=6, direction="up"))
    ends = await connected(proxy)

    came = await asked(ends, b"hello\nworld\n")

    assert bytes(host[0].got) in {b"", b"hello\n"}  # the end may overtake it
    assert b"world" not in host[0].got
    assert came in {b"", ANSWER}
    assert b"world" in proxy.sent("up")
    ends[1].close()


async def test_it_resets(host: tuple[Host, int], proxy: FaultProxy) -> None:
    """A reset is one for both sides."""
    proxy.set(Fault(end=End.RESET, after=3))
    ends = await connected(proxy)

    with pytest.raises(ConnectionResetError):
        await asked(ends)
    await proxy.until(lambda: bool(host[0].ended))

    assert host[0].ended == ["reset"]
    ends[1].close()


async def test_it_ends_one_way_alone(host: tuple[Host, int], proxy: FaultProxy) -> None:
    """Half closed, the client sees the end and the host still gets what it sends."""
    proxy.set(Fault(end=End.HALF, after=5))
    ends = await connected(proxy)

    came = await asked(ends)
    ends[1].write(b"still\n")
    await proxy.until(lambda: b"still" in proxy.sent("up"))
    await proxy.until(lambda: proxy.sent("down").count(BODY) == 2)

    assert came == ANSWER[:5]
    assert host[0].got == b"hello\nstill\n"
    ends[1].close()


async def test_it_stalls(host: tuple[Host, int], proxy: FaultProxy) -> None:
    """Nothing more arrives, and no end: a reader waits until the proxy is gone."""
    proxy.set(Fault(end=End.STALL, after=5))
    ends = await connected(proxy)

    ends[1].write(b"hello\n")
    came = await ends[0].readexactly(5)
    reading = asyncio.ensure_future(ends[0].read(1))
    await proxy.until(lambda: BODY in proxy.sent("down"))

    assert came == ANSWER[:5]
    assert not reading.done()
    proxy.drop()
    with pytest.raises(ConnectionResetError):
        await reading
    ends[1].close()


async def test_it_meets_as_many_as_it_should(proxy: FaultProxy) -> None:
    """A fault may concern the next connections alone; the rest pass."""
    proxy.set(Fault(end=End.CLOSE, after=4, connections=2))

    came = []
    for _ in range(4):
        ends = await connected(proxy)
        came.append(await asked(ends))
        ends[1].close()

    assert came == [ANSWER[:4], ANSWER[:4], ANSWER, ANSWER]


async def test_a_healed_proxy_passes_again(proxy: FaultProxy) -> None:
    """What was cut stays cut; what comes after passes."""
    proxy.set(Fault(end=End.CLOSE))
    cut = await connected(proxy)
    assert await asked(cut) == b""

    proxy.heal()
    ends = await connected(proxy)

    assert await asked(ends) == ANSWER
    assert cut[0].at_eof()
    cut[1].close()
    ends[1].close()


async def test_it_drips(proxy: FaultProxy) -> None:
    """One byte at a time, no faster than asked for, in one direction."""
    proxy.set(Fault(seconds_per_byte=0.002))
    ends = await connected(proxy)
    start = time.monotonic()

    came = await asked(ends)

    assert came == ANSWER
    assert time.monotonic() - start >= 0.002 * len(ANSWER)
    ends[1].close()


async def test_it_drips_from_the_body_on(proxy: FaultProxy) -> None:
    """The header may pass at once, and only what follows it drip."""
    proxy.set(Fault(seconds_per_byte=0.05, in_body=True))
    ends = await connected(proxy)
    ends[1].write(b"hello\n")
    start = time.monotonic()

    header = await read(ends, len(HEADER))
    between = time.monotonic()
    body = await read(ends, len(BODY))

    assert header + body == ANSWER
    assert time.monotonic() - between >= 0.05 * (len(BODY) - 1)
    assert between - start < 0.05 * len(HEADER)
    ends[1].close()


async def test_it_delays(proxy: FaultProxy) -> None:
    """Each piece waits on its way, up and down."""
    proxy.set(Fault(delay_seconds=0.02))
    ends = await connected(proxy)
    start = time.monotonic()

    came = await asked(ends)

    assert came == ANSWER
    assert time.monotonic() - start >= 0.04
    ends[1].close()


async def test_it_refuses_and_accepts_again(
    host: tuple[Host, int], proxy: FaultProxy
) -> None:
    """Refused connections are refused by the system; the port stays the same."""
    port = proxy.port
    before = await connected(proxy)
    assert await asked(before) == ANSWER

    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connected(proxy)
    still = await asked(before)
    proxy.accept()
    after = await connected(proxy)

    assert still == ANSWER
    assert await asked(after) == ANSWER
    assert proxy.port == port
    before[1].close()
    after[1].close()


async def test_it_drops_what_is_open(proxy: FaultProxy) -> None:
    """Every open connection is reset at once, as when a cable is pulled."""
    ends = await connected(proxy)
    assert await asked(ends) == ANSWER

    proxy.drop()

    with pytest.raises(ConnectionResetError):
        await ends[0].readexactly(1)
    assert not proxy.connections[0].open
    ends[1].close()


async def test_a_host_that_is_gone_resets(proxy: FaultProxy) -> None:
    """Without a host behind it, a connection is reset; a new host may be named."""
    target = proxy.target_port
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        proxy.retarget(free.getsockname()[1])
        # The reset may come before the connection is known to be made.
        with pytest.raises(ConnectionResetError):
            await gone(proxy)

    proxy.retarget(target)
    again = await connected(proxy)

    assert await asked(again) == ANSWER
    again[1].close()


async def test_what_it_has_seen_can_be_forgotten(proxy: FaultProxy) -> None:
    """A search can begin at any moment: what came before is dropped."""
    ends = await connected(proxy)
    await asked(ends, b"before\n")
    proxy.forget()

    await asked(ends, b"after\n")

    assert proxy.sent("up") == b"after\n"
    ends[1].close()
