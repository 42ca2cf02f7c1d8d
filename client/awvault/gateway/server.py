"""The HTTP server under the gateway, and what its defaults leave open.

aiohttp's own server puts the raw bytes of a request that it cannot parse into
its log and into its answer, and the text of exceptions into its log. Both may
hold titles and addresses, so here neither does.
"""

import asyncio
import logging
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.web_log import AccessLogger

from awvault.gateway.answers import error_answer, log_failure

KEEPALIVE_SECONDS: Final = 75.0
"""A connection that sends nothing for this long is closed."""

REQUEST_LINE_BYTES_MAX: Final = 16 * 1024
"""Also of a single header. Bucket ids and queries fit many times over."""

LINGER_SECONDS_MAX: Final = 1.0
"""How long what remains of a refused body is read and dropped.

A connection that is closed on a sender loses the answer with it.
"""

SHUTDOWN_SECONDS_MAX: Final = 3.0
"""How long requests in flight may go on when the server stops."""

FIRST_REQUEST_SECONDS_MAX: Final = 1.0
"""How long a connection that has asked nothing yet is waited for at a stop.

Whoever has just connected has its request on the way, and would lose it.
"""

CANCEL_SECONDS_MAX: Final = 0.5
"""How long what is cut off at a stop may take to end."""

DRAIN_STEP_SECONDS: Final = 0.01

log = logging.getLogger(__name__)


class _Protocol(web.RequestHandler):
    """One connection. Says nothing about a request but that it was wrong."""

    __slots__ = ("_is_draining",)

    def __init__(self, manager: web.Server, **kwargs: Any) -> None:
        """Belong to `manager`."""
        super().__init__(manager, **kwargs)
        self._is_draining = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; where the server is stopping already, answer one request."""
        super().connection_made(transport)
        if isinstance(self._manager, _Server) and self._manager.is_draining:
            self._is_draining = True

    @property
    def is_awaited(self) -> bool:
        """Say whether its first request has not come yet."""
        return self._request_count == 0

    def drain(self) -> None:
        """Answer what was asked, and close then.

        aiohttp's own `close` drops what comes in from then on: the body of a
        request whose headers are here, and the first request of a connection.
        """
        self._is_draining = True
        is_idle = self._waiter is not None and not self._messages
        if is_idle and not self.is_awaited:
            self.force_close()

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
            log.info("request is not valid HTTP")
            answer = error_answer(status, "the request is not valid HTTP")
        else:
            if exc is not None and not isinstance(exc, ConnectionError):
                log_failure(log, exc)
            answer = error_answer(500, "internal error: see the log")
        answer.force_close()
        return answer

    def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send an answer; aiohttp's own, for what has no route, in our form."""
        if self._is_draining:
            resp.force_close()
        # The status first: the class of an answer is dear to ask for.
        if resp.status >= 400 and isinstance(resp, web.HTTPException):
            resp = error_answer(resp.status, "there is nothing at this address: see /")
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

    is_draining: bool = False

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)

    def pre_shutdown(self) -> None:
        """Close idle connections; let the others end by themselves."""
        self.is_draining = True
        for connection in self.connections:
            if isinstance(connection, _Protocol):
                connection.drain()

    async def drained(self) -> None:
        """Return when every request is answered, or the time for that is over."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        # Twice nothing: a connection that was just accepted comes a step later.
        calm = 0
        while calm < 2 and (waited := loop.time() - begun) < SHUTDOWN_SECONDS_MAX:
            if waited >= FIRST_REQUEST_SECONDS_MAX:
                for connection in self.connections:
                    if isinstance(connection, _Protocol) and connection.is_awaited:
                        connection.force_close()
            calm = 0 if self.connections else calm + 1
            await asyncio.sleep(DRAIN_STEP_SECONDS)


class _Runner(web.AppRunner):
    """An `AppRunner` whose connections are `_Protocol`s."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        # aiohttp has no seam for the class of its connections. The subclass
        # adds no state to an instance, so one may change into it.
        server.__class__ = _Server
        return server

    async def shutdown(self) -> None:
        """Let the application end, after the requests in flight."""
        if isinstance(self.server, _Server):
            await self.server.drained()
        await super().shutdown()


def create_runner(
    app: web.Application,
    *,
    keepalive_seconds: float = KEEPALIVE_SECONDS,
    handler_cancellation: bool = False,
) -> web.AppRunner:
    """Return a runner for `app` with every limit set.

    Call `setup()`, then start a `web.TCPSite` or `web.SockSite` on it. With
    `handler_cancellation`, a handler ends when nobody waits for its answer.
    """
    return _Runner(
        app,
        handle_signals=False,
        access_log=None,
        access_log_class=AccessLogger,
        # A body that says it is compressed is refused; unpacking a bad one
        # before any handler sees it would be a 500.
        auto_decompress=False,
        keepalive_timeout=keepalive_seconds,
        handler_cancellation=handler_cancellation,
        lingering_time=LINGER_SECONDS_MAX,
        max_line_size=REQUEST_LINE_BYTES_MAX,
        max_field_size=REQUEST_LINE_BYTES_MAX,
        shutdown_timeout=CANCEL_SECONDS_MAX,
    )
