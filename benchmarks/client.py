"""A lean HTTP client, so that it is the server that is measured.

One thread drives all connections with epoll. `run_load` gives each request a
connection of its own, as each request of ActivityWatch's client has; `run_kept`
keeps one for each client, as clients of a host do. The benchmarks also measure this
client against a server that does nothing, which gives its limit.
"""

import contextlib
import gc
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

RECEIVE_BYTES: Final = 1 << 18
TIMEOUT_SECONDS: Final = 60.0

Address = tuple[str, int]


class AnswerError(Exception):
    """The server did not answer as it should have."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load: how long it took and how long each request took."""

    seconds: float
    latencies: list[float]
    """Seconds from before the connect to the last byte of the answer."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency in ms that `share` of the requests did not exceed."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def get(address: Address, path: str, *, headers: str = "") -> bytes:
    """Return a GET request for `path`; each line of `headers` ends in CR LF."""
    return b"GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: */*\r\n%s\r\n" % (
        path.encode("ascii"),
        address[0].encode("ascii"),
        address[1],
        headers.encode("ascii"),
    )


def post(
    address: Address,
    path: str,
    body: bytes,
    *,
    media_type: str = "application/json",
    headers: str = "",
) -> bytes:
    """Return a POST request; each line of `headers` ends in CR LF."""
    return (
        b"POST %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: */*\r\n%s"
        b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
        % (
            path.encode("ascii"),
            address[0].encode("ascii"),
            address[1],
            headers.encode("ascii"),
            media_type.encode("ascii"),
            len(body),
            body,
        )
    )


class _Exchange:
    """One request under way on a connection of its own."""

    __slots__ = ("_chunks", "_missing", "began", "socket")

    def __init__(self, address: Address, request: bytes) -> None:
        self._chunks: list[bytes] = []
        # Bytes of the body still to come; None: its end shows otherwise.
        self._missing: int | None = None
        self.began = time.perf_counter()
        self.socket = socket.create_connection(address, TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take what has come; say whether the answer is whole."""
        data = self.socket.recv(RECEIVE_BYTES)
        first = not self._chunks
        self._chunks.append(data)
        if first:
            return self._begin(data)
        if not data:
            return self._ended()
        if self._missing is None:
            return self._chunked_end()
        self._missing -= len(data)
        return self._missing <= 0

    def _begin(self, data: bytes) -> bool:
        head, separator, body = data.partition(b"\r\n\r\n")
        if not separator:
            raise AnswerError(f"no whole header in the first {len(data)} bytes")
        fields = head.lower()
        at = fields.find(b"\r\ncontent-length:")
        if at >= 0:
            value = fields[at + 17 :].partition(b"\r\n")[0]
            self._missing = int(value) - len(body)
            return self._missing <= 0
        return self._chunked_end()

    def _chunked_end(self) -> bool:
        return self._is_chunked() and b"".join(self._chunks[-2:]).endswith(
            b"\r\n0\r\n\r\n"
        )

    def _is_chunked(self) -> bool:
        head = self._chunks[0].partition(b"\r\n\r\n")[0]
        return b"transfer-encoding: chunked" in head.lower()

    def _ended(self) -> bool:
        if self._missing is not None or self._is_chunked():
            raise AnswerError("the connection ended before the answer did")
        return True

    def check(self) -> None:
        """Raise `AnswerError` unless the status is 200."""
        if not self._chunks[0].startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise AnswerError(repr(self._chunks[0][:400]))

    def body(self) -> bytes:
        """Return the body of a whole answer."""
        body = b"".join(self._chunks).partition(b"\r\n\r\n")[2]
        if not self._is_chunked():
            return body
        found = []
        while body:
            size, _, body = body.partition(b"\r\n")
            count = int(size, 16)
            found.append(body[:count])
            body = body[count + 2 :]
        return b"".join(found)


def fetch(address: Address, request: bytes) -> tuple[float, bytes]:
    """Send one request; return its seconds and the body of the answer."""
    with _NoCollection():
        exchange = _Exchange(address, request)
        with exchange.socket:
            while not exchange.receive():
                pass
        seconds = time.perf_counter() - exchange.began
    exchange.check()
    return seconds, exchange.body()


def run_load(
    address: Address, clients: Sequence[Iterable[bytes]], *, seconds: float = 1e9
) -> Load:
    """Let each client send its requests one after the other; all clients at once.

    Ends when every request has been answered, or with the answers to what is
    under way after `seconds`. Raises `AnswerError` for any status but 200.
    """
    connections = _Connections(address, clients)
    with _NoCollection(), contextlib.closing(connections):
        return connections.run(seconds)


class _Connections:
    """The connections of all clients, at most one of each open at a time."""

    def __init__(self, address: Address, clients: Sequence[Iterable[bytes]]) -> None:
        self._address = address
        self._waiting = [deque(requests) for requests in clients]
        self._open: dict[int, tuple[_Exchange, int]] = {}
        self._epoll = select.epoll()

    def run(self, seconds: float) -> Load:
        latencies: list[float] = []
        began = time.perf_counter()
        end = began + seconds
        for client in range(len(self._waiting)):
            self._begin(client)
        while self._open:
            ready = self._epoll.poll(TIMEOUT_SECONDS)
            if not ready:
                raise AnswerError(f"no answer within {TIMEOUT_SECONDS} s")
            for number, _ in ready:
                exchange, client = self._open[number]
                if not exchange.receive():
                    continue
                now = time.perf_counter()
                latencies.append(now - exchange.began)
                self._end(number)
                exchange.check()
                if now < end:
                    self._begin(client)
        return Load(time.perf_counter() - began, latencies)

    def _begin(self, client: int) -> None:
        if self._waiting[client]:
            exchange = _Exchange(self._address, self._waiting[client].popleft())
            number = exchange.socket.fileno()
            self._open[number] = (exchange, client)
            self._epoll.register(number, select.EPOLLIN)

    def _end(self, number: int) -> None:
        exchange, _ = self._open.pop(number)
        self._epoll.unregister(number)
        exchange.socket.close()

    def close(self) -> None:
        """Close what is open still."""
        for exchange, _ in self._open.values():
            exchange.socket.close()
        self._epoll.close()


def run_kept(
    address: Address, clients: Sequence[Sequence[bytes]], *, status: int = 200
) -> Load:
    """Let each client send its requests over one connection, one after the other.

    All connections are open before the first request is sent. Ends when every
    request has been answered. Raises `AnswerError` for any other status, and for an
    answer without a length.
    """
    with contextlib.ExitStack() as stack:
        kept = {}
        epoll = stack.enter_context(contextlib.closing(select.epoll()))
        for requests in clients:
            connection = stack.enter_context(
                socket.create_connection(address, TIMEOUT_SECONDS)
            )
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            epoll.register(connection.fileno(), select.EPOLLIN)
            kept[connection.fileno()] = _Kept(connection, requests, status)
        stack.enter_context(_NoCollection())
        began = time.perf_counter()
        left = sum(one.send() for one in kept.values())
        while left:
            ready = epoll.poll(TIMEOUT_SECONDS)
            if not ready:
                raise AnswerError(f"no answer within {TIMEOUT_SECONDS} s")
            for number, _ in ready:
                if kept[number].receive() and not kept[number].send():
                    left -= 1
        seconds = time.perf_counter() - began
    return Load(seconds, [value for one in kept.values() for value in one.latencies])


class _Kept:
    """One client and its connection."""

    __slots__ = ("_began", "_held", "_requests", "_socket", "_start", "latencies")

    def __init__(
        self, connection: socket.socket, requests: Sequence[bytes], status: int
    ) -> None:
        self._socket = connection
        self._requests = iter(requests)
        self._start = b"HTTP/1.1 %d " % status
        self._held = b""
        self._began = 0.0
        self.latencies: list[float] = []

    def send(self) -> bool:
        """Send the next request; say whether there was one."""
        request = next(self._requests, None)
        if request is None:
            return False
        self._held = b""
        self._began = time.perf_counter()
        self._socket.sendall(request)
        return True

    def receive(self) -> bool:
        """Take what has come; say whether the answer is whole."""
        data = self._socket.recv(RECEIVE_BYTES)
        if not data:
            raise AnswerError(f"the connection ended after {self._held[:400]!r}")
        self._held += data
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._held[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0 or not self._held.startswith(self._start):
            raise AnswerError(repr(self._held[:400]))
        length = int(head[at + 17 :].partition(b"\r\n")[0])
        if len(self._held) < end + 4 + length:
            return False
        self.latencies.append(time.perf_counter() - self._began)
        return True


def main() -> None:
    """Send one request again and again until this process is ended: a busy reader."""
    host, port = sys.argv[1:]
    request = sys.stdin.buffer.read()
    while True:
        fetch((host, int(port)), request)


class _NoCollection:
    """No garbage collection while something is measured."""

    def __enter__(self) -> Self:
        gc.collect()
        gc.disable()
        return self

    def __exit__(self, *_: object) -> None:
        gc.enable()


if __name__ == "__main__":
    main()
