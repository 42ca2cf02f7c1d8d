"""The HTTP server of a host, and what aiohttp's defaults leave open.

aiohttp tells its version and Python's; puts the raw bytes of what it cannot parse
into its log and its answer; keeps a silent connection for an hour; has no limit of
connections, and none of the time that a reader may take. Here each has its end.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import web

from awserver.http.calls import Api
from awserver.http.guards import Addresses, Polls, network_of, peer_of
from awserver.http.problems import log_failure, problem_for_status

KEEPALIVE_SECONDS: Final = 75.0
"""A connection that sends no request for this long is closed. Above what reverse
proxies keep theirs for, so that none sends into a closing one."""

HEADER_SECONDS_MAX: Final = 15.0
"""How long a new connection may take to send its first request's headers."""

STALL_SECONDS_MAX: Final = 60.0
"""How long a reader may take to make room for more of an answer."""

REQUEST_LINE_BYTES_MAX: Final = 8 * 1024
"""Also of a single header."""

HEADERS_MAX: Final = 64
LINGER_SECONDS_MAX: Final = 1.0
"""How long what remains of a refused body is read and dropped.

A connection that is closed on a sender loses the answer with it.
"""

SHUTDOWN_SECONDS_MAX: Final = 10.0
"""How long requests in flight may go on when the server stops."""

DRAIN_STEP_SECONDS: Final = 0.02
FORCED_SECONDS: Final = 0.1
"""What a cancelled handler gets to clean up; aiohttp takes 0 for "without end"."""

CONNECTIONS_MAX: Final = 4_096
CONNECTIONS_PER_ADDRESS_MAX: Final = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How many connections are held, and for how long."""

    connections_max: int = CONNECTIONS_MAX
    per_address_max: int = CONNECTIONS_PER_ADDRESS_MAX
    """Not for trusted proxies."""
    keepalive_seconds: float = KEEPALIVE_SECONDS
    header_seconds: float = HEADER_SECONDS_MAX
    stall_seconds: float = STALL_SECONDS_MAX
    shutdown_seconds: float = SHUTDOWN_SECONDS_MAX


@dataclass(slots=True, kw_only=True)
class _Doors:
    """What all connections share."""

    limits: ConnectionLimits
    polls: Polls
    addresses: Addresses
    open: Counter[str] = field(default_factory=Counter)
    """Connections of each address."""
    draining: bool = False


class _Protocol(web.RequestHandler):
    """One connection. Says nothing about a request but that it was wrong."""

    __slots__ = ("_counted", "_doors", "_stalled")

    def __init__(self, doors: _Doors, server: "_Server", **settings: Any) -> None:
        super().__init__(server, **settings)
        self._doors = doors
        self._counted: str | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, if there is room for it."""
        doors = self._doors
        address = peer_of(transport)
        super().connection_made(transport)
        if not doors.addresses.trusts(address):
            self._counted = network_of(address)
            doors.open[self._counted] += 1
            if doors.open[self._counted] > doors.limits.per_address_max:
                self._refuse(transport)
                return
        server = cast("_Server", self._manager)
        if len(server.connections) > doors.limits.connections_max:
            # Whoever only holds a connection open makes room for who asks.
            idle = server.idle(other_than=self)
            if idle is None:
                self._refuse(transport)
                return
            idle.force_close()
        # aiohttp's own timer runs too, and only for the time between requests.
        limit = min(doors.limits.header_seconds, self.keepalive_timeout)
        self._next_keepalive_close_time = self._loop.time() + limit
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
        self._keepalive_handle = self._loop.call_at(
            self._next_keepalive_close_time, self._process_keepalive
        )

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget a connection, and end what waits on it."""
        doors = self._doors
        if self._counted is not None:
            doors.open[self._counted] -= 1
            if not doors.open[self._counted]:
                del doors.open[self._counted]
            self._counted = None
        self._on_flow()
        doors.polls.lost(self)
        super().connection_lost(exc)

    def _refuse(self, transport: asyncio.BaseTransport) -> None:
        log.debug("connection refused: too many")
        self.force_close()
        cast("asyncio.Transport", transport).abort()

    # -- a reader that does not read

    def pause_writing(self) -> None:
        """Give a reader a while to take what is waiting for it."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self._loop.call_later(
                self._doors.limits.stall_seconds, self._stall
            )

    def resume_writing(self) -> None:
        """Go on."""
        self._on_flow()
        super().resume_writing()

    def _on_flow(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _stall(self) -> None:
        self._stalled = None
        if self.transport is not None:
            log.info("connection ended: its reader does not read")
            self.transport.abort()

    # -- answers that aiohttp makes itself

    @property
    def is_idle(self) -> bool:
        """Whether this waits for a request, or for its own end."""
        return (
            self._task_handler is None
            or self._task_handler.done()
            or (self._waiter is not None and not self._waiter.done())
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it holds bytes of the request
    ) -> web.StreamResponse:
        """Answer a request that no handler saw, or whose handler broke."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer was cut short")
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            log.debug("request is not valid HTTP")
        elif exc is not None and not isinstance(exc, ConnectionError):
            log_failure(log, exc)
        answer = problem_for_status(status)
        answer.force_close()
        return answer

    def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send an answer; aiohttp's own, for what it refuses itself, in our form."""
        # The status first: the class of an answer is dear to ask for.
        if resp.status >= 400 and isinstance(resp, web.HTTPException):
            resp = problem_for_status(resp.status)
        if self._doors.draining:
            resp.force_close()
        return super().finish_response(request, resp, start_time)

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ARG002
        """Log the kind of an exception that aiohttp met, without its text."""
        exc = kw.get("exc_info")
        if isinstance(exc, BaseException):
            log_failure(log, exc)
        else:
            log.error("connection failed")

    def log_debug(self, *args: Any, **kw: Any) -> None:
        """Drop aiohttp's remarks, which may carry bytes of the request."""


class _Server(web.Server):
    """Makes one `_Protocol` for each connection."""

    doors: _Doors

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self.doors, self, loop=self._loop, **self._kwargs)

    def idle(self, *, other_than: web.RequestHandler) -> web.RequestHandler | None:
        """Return the oldest connection that no request is answered on."""
        for connection in self._connections:
            if connection is not other_than and _is_idle(connection):
                return connection
        return None

    def _is_idle(self) -> bool:
        return all(_is_idle(connection) for connection in self._connections)

    def pre_shutdown(self) -> None:
        """Close what is idle; let what is not read the rest of its request."""
        self.doors.draining = True
        for connection in self.connections:
            if _is_idle(connection):
                connection.close()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's
        """Wait for requests in flight, and end whatever is left then.

        aiohttp's own way would read no more of a body that is on its way.
        """
        limit = self.doors.limits.shutdown_seconds
        give_up = self._loop.time() + (limit if timeout is None else timeout)
        while self._loop.time() < give_up and not self._is_idle():  # noqa: ASYNC110
            # A connection does not tell when it becomes idle, to save each
            # request the telling.
            await asyncio.sleep(DRAIN_STEP_SECONDS)
        await super().shutdown(FORCED_SECONDS)


def _is_idle(connection: web.RequestHandler) -> bool:
    return not isinstance(connection, _Protocol) or connection.is_idle


class _Runner(web.AppRunner):
    """An `AppRunner` whose connections are `_Protocol`s."""

    __slots__ = ("_doors",)

    def __init__(self, app: web.Application, doors: _Doors, **settings: Any) -> None:
        super().__init__(app, **settings)
        self._doors = doors

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        # aiohttp has no seam for the class of its connections.
        server.__class__ = _Server
        cast("_Server", server).doors = self._doors
        return server


def create_runner(
    app: web.Application, api: Api, *, limits: ConnectionLimits | None = None
) -> web.AppRunner:
    """Return a runner for `app` with every limit set.

    Call `setup()`, then start a `web.TCPSite` or `web.SockSite` on it.
    """
    kept = limits or ConnectionLimits()
    return _Runner(
        app,
        _Doors(limits=kept, polls=api.polls, addresses=api.addresses),
        handle_signals=False,
        access_log=None,
        # A body that says it is compressed is refused; unpacking a bad one before
        # any handler sees it would be a 500, and a good one a bomb.
        auto_decompress=False,
        keepalive_timeout=kept.keepalive_seconds,
        lingering_time=LINGER_SECONDS_MAX,
        max_line_size=REQUEST_LINE_BYTES_MAX,
        max_field_size=REQUEST_LINE_BYTES_MAX,
        max_headers=HEADERS_MAX,
        shutdown_timeout=kept.shutdown_seconds,
    )


async def start_site(
    runner: web.AppRunner, listener: socket.socket, *, backlog: int
) -> None:
    """Take connections from a socket that is bound."""
    await web.SockSite(runner, listener, backlog=backlog).start()
