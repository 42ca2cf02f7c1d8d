"""A TCP proxy on loopback that delays, cuts, drips, resets and refuses.

It stands between a client and a host, passes what they send, and keeps a copy of
both ways for searches. It runs in a thread of its own, so that a test may be
asynchronous or not, and its ends may be other processes.

    with FaultProxy(host_port) as proxy:
        ... use proxy.port in place of host_port ...
        proxy.set(Fault(end=End.RESET, after=1_000, direction="down", in_body=True))
        ...
        proxy.heal()
"""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

LOOPBACK: Final = "127.0.0.1"
PIECE_BYTES: Final = 64 * 1024
WAIT_SECONDS_MAX: Final = 30.0
LOOK_SECONDS: Final = 0.01
_HEADER_END: Final = b"\r\n\r\n"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

Way = Literal["up", "down"]
T = TypeVar("T")


class End(Enum):
    """What happens to a connection once enough bytes have passed."""

    CLOSE = auto()
    """Both sides see an orderly end (FIN)."""
    RESET = auto()
    """Both sides see a reset (RST)."""
    HALF = auto()
    """The receiver sees the end; the other way stays open."""
    STALL = auto()
    """Nothing more arrives, and nothing says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong, for open connections and new ones, from now on."""

    delay_seconds: float = 0
    """Before each piece is passed on, either way."""
    seconds_per_byte: float = 0
    """Bytes are passed one by one, this far apart, in `direction`.

    With `in_body`, from the end of the next HTTP header on."""
    end: End | None = None
    after: int = 0
    """Bytes that still pass in `direction` before the end."""
    in_body: bool = False
    """Bytes count from the end of the next HTTP header on."""
    direction: Way = "down"
    """up: from client to host; down: from host to client."""
    connections: int | None = None
    """How many connections meet their end by it before it is healed; None: all."""


NO_FAULT: Final = Fault()


@dataclass(slots=True)
class _Count:
    """How far one way of a connection is, since the fault was set."""

    fault: Fault = NO_FAULT
    passed: int = 0
    in_body: bool = False
    last: bytes = b""
    ended: bool = False


@dataclass(eq=False, slots=True)
class Connection:
    """One connection, and what its ends have sent."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)
    open: bool = True
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)


class FaultProxy:
    """Passes connections on to a port of this machine, with faults.

    `set` and the other methods return once what they ask for is so. They may be
    called from any thread but the proxy's own.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.connections: list[Connection] = []
        self._fault = NO_FAULT
        self._left: int | None = None
        self._listener: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._changed = threading.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- what a test asks for

    def set(self, fault: Fault) -> None:
        """Let this go wrong from now on, and nothing else."""
        self._run(self._set(fault))

    def heal(self) -> None:
        """Pass everything again. What was cut stays cut."""
        self.set(NO_FAULT)

    def refuse(self) -> None:
        """Refuse new connections; the open ones go on."""
        self._run(self._refuse())

    def accept(self) -> None:
        """Take connections again, at the same port."""
        self._run(self._listen())

    def drop(self) -> None:
        """Reset every open connection."""
        self._run(self._drop())

    def retarget(self, port: int) -> None:
        """Pass new connections on to another port: the host was restarted."""
        self.target_port = port

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, whatever it looks at."""
        end = time.monotonic() + WAIT_SECONDS_MAX
        with self._changed:
            while not condition():
                assert time.monotonic() < end, f"not in time: {self.summary()}"
                self._changed.wait(LOOK_SECONDS)

    # -- what it has seen

    def sent(self, way: Way | None = None) -> bytes:
        """Return all bytes that the ends sent, delivered or not, by connection."""
        parts: list[bytes] = []
        for one in list(self.connections):
            if way != "down":
                parts.append(bytes(one.up))
            if way != "up":
                parts.append(bytes(one.down))
        return b"\n".join(parts)

    def forget(self) -> None:
        """Drop the copies made so far; connections that are open go on."""
        self._run(self._forget())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait as `wait_for`, and let this event loop go on."""
        await asyncio.to_thread(self.wait_for, condition)

    def summary(self) -> str:
        return ", ".join(
            f"{'open' if one.open else 'ended'} {len(one.up)} up {len(one.down)} down"
            for one in self.connections
        )

    # -- in its own thread

    def _run(self, step: Coroutine[Any, Any, T]) -> T:
        done: Future[T] = asyncio.run_coroutine_threadsafe(step, self._loop)
        return done.result(WAIT_SECONDS_MAX)

    async def _set(self, fault: Fault) -> None:
        self._fault = fault
        self._left = fault.connections

    async def _forget(self) -> None:
        self.connections = [one for one in self.connections if one.open]
        for one in self.connections:
            one.up.clear()
            one.down.clear()

    async def _listen(self) -> None:
        await self._stop_listening()
        self._listener = self._bound()
        self._server = await asyncio.start_server(self._take, sock=self._listener)

    async def _refuse(self) -> None:
        await self._stop_listening()
        # Bound and not listening: the port stays ours, and refuses.
        self._listener = self._bound()

    def _bound(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((LOOPBACK, self.port))
        self.port = made.getsockname()[1]
        return made

    async def _stop_listening(self) -> None:
        if self._server is not None:
            # Not wait_closed: from Python 3.12 on it waits for open connections.
            self._server.close()
            self._server = None
            await asyncio.sleep(0)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _drop(self) -> None:
        for one in self.connections:
            self._end(one, End.RESET)

    async def _close(self) -> None:
        await self._stop_listening()
        await self._drop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self.connections:
            for writer in one._writers:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _take(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        one = Connection()
        one._writers.append(writer)
        self.connections.append(one)
        self._tell()
        with contextlib.suppress(OSError):
            await self._pass(one, reader, writer)
        if one.open:
            self._end(one, End.CLOSE)

    async def _pass(
        self,
        one: Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        fault = self._fault
        at_once = fault.direction == "up" and not fault.after and not fault.in_body
        if at_once and fault.end in {End.CLOSE, End.RESET} and self._left != 0:
            # Nothing may pass: it ends before the host hears of it.
            if self._left is not None:
                self._left -= 1
            self._end(one, fault.end)
            return
        try:
            host_reader, host_writer = await asyncio.open_connection(
                LOOPBACK, self.target_port
            )
        except OSError:
            self._end(one, End.RESET)
            return
        one._writers.append(host_writer)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pump(one, "up", reader, host_writer))
            both.create_task(self._pump(one, "down", host_reader, writer))

    async def _pump(
        self,
        one: Connection,
        way: Way,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        copy = one.up if way == "up" else one.down
        count = _Count()
        try:
            while data := await reader.read(PIECE_BYTES):
                copy += data
                self._tell()
                if not one.open:
                    break
                await self._forward(one, way, data, writer, count)
            if one.open:
                writer.write_eof()
        except OSError:
            self._end(one, End.RESET)

    async def _forward(
        self,
        one: Connection,
        way: Way,
        data: bytes,
        writer: asyncio.StreamWriter,
        count: _Count,
    ) -> None:
        """Pass one piece on, as far as the fault lets it."""
        while data and one.open and not count.ended:
            fault = self._fault
            if count.fault is not fault:
                # Bytes count from when the fault was set.
                count.fault, count.passed = fault, 0
                count.in_body, count.last = not fault.in_body, b""
            if fault.delay_seconds:
                await asyncio.sleep(fault.delay_seconds)
            concerned = way == fault.direction
            ends = concerned and fault.end is not None and self._left != 0
            piece = data
            if concerned and not count.in_body:
                piece = _header_part(count, data)
            elif concerned:
                if fault.seconds_per_byte:
                    await asyncio.sleep(fault.seconds_per_byte)
                    piece = data[:1]
                if ends:
                    piece = piece[: fault.after - count.passed]
                count.passed += len(piece)
            writer.write(piece)
            await writer.drain()
            data = data[len(piece) :]
            if ends and count.in_body and count.passed >= fault.after:
                await self._meet_the_end(one, fault, writer, count)

    async def _meet_the_end(
        self,
        one: Connection,
        fault: Fault,
        writer: asyncio.StreamWriter,
        count: _Count,
    ) -> None:
        if self._left is not None:
            self._left -= 1
        # What still comes is swallowed.
        count.ended = True
        if fault.end is End.HALF:
            writer.write_eof()
        elif fault.end is End.STALL:
            # Until the proxy ends; not even an end is passed on.
            await asyncio.Event().wait()
        elif fault.end is not None:
            self._end(one, fault.end)

    def _end(self, one: Connection, how: End) -> None:
        if not one.open:
            return
        one.open = False
        for writer in one._writers:
            if how is End.RESET:
                end = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                writer.transport.abort()
            else:
                writer.close()
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _header_part(count: _Count, data: bytes) -> bytes:
    """Return what of some bytes belongs to a header, and note where it ends."""
    seen = count.last + data
    at = seen.find(_HEADER_END)
    if at < 0:
        count.last = seen[-len(_HEADER_END) + 1 :]
        return data
    count.in_body = True
    return data[: at + len(_HEADER_END) - len(count.last)]
