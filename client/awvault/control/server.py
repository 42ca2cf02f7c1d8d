"""The listener through which other processes of this user reach the vault.

It takes requests on a port of its own on 127.0.0.1, and only with the token that
control.json holds (0600): whoever can read that file can read the vault's files
and this process's user's data anyway. A web page cannot: it does not know the
token, cannot send the header without a preflight, and gets none answered.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, TypeVar

import msgspec
from aiohttp import StreamReader, web

from awvault.control import wire
from awvault.crypto.keys import Passphrase
from awvault.errors import Error
from awvault.gateway.answers import log_failure
from awvault.gateway.server import create_runner
from awvault.processes import ControlToken, HeldDirectory
from awvault.service import (
    AddRequest,
    EventsRequest,
    ExportRequest,
    Failure,
    FiltersRequest,
    FilterTestRequest,
    LendRequest,
    OnProgress,
    PassphraseRequest,
    Progress,
    QueryRequest,
    RecoveryRequest,
    RegisterRequest,
    Service,
    SessionRequest,
    UndeleteRequest,
    VerifyRequest,
    describe,
)

log = logging.getLogger(__name__)

PROGRESS_PAUSE_SECONDS: Final = 0.1
WRITE_BYTES: Final = 64 * 1024
"""Items are sent together until there are this many bytes."""
UPLOAD_LINE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A part of an import has 1 MiB of data, and what came with the last of it."""
KEEPALIVE_SECONDS: Final = 1.0
BACKLOG: Final = 32

T = TypeVar("T")


Lend = Callable[[Passphrase], AbstractAsyncContextManager[None]]
"""Closes the vault while its context lasts; the passphrase may open it after that."""


class VaultLentError(Error):
    """The vault is closed, because a command works on its files."""

    hint = "try again in a moment"

    def __init__(self) -> None:
        super().__init__("another command is moving the vault to another account")


class ControlServer:
    """Answers for a `Service`, for as long as it is started."""

    def __init__(self, held: HeldDirectory, *, lend: Lend | None = None) -> None:
        """Answer for `service`; `held` says where, once this has started.

        With `lend`, a command may have the vault's files to itself.
        """
        self._service: Service | None = None
        self._opened = asyncio.Event()
        self._is_lent = False
        self._held = held
        self._lend = lend
        self._token = ControlToken.generate()
        self._port = 0
        self._runner: web.AppRunner | None = None

    def serve(self, service: Service) -> None:
        """Answer for the service of a vault that is open now."""
        self._service = service
        self._opened.set()

    def lent(self) -> None:
        """Refuse requests: a command has the vault's files."""
        self._service = None
        self._is_lent = True
        self._opened.clear()

    def given_back(self) -> None:
        """Let requests wait for the vault, which is being opened."""
        self._is_lent = False

    async def start(self) -> int:
        """Listen on a free port, write control.json, and return the port."""
        app = web.Application(client_max_size=wire.REQUEST_BYTES_MAX)
        app.router.add_route("*", wire.PATH + "{operation}", self._handle)
        runner = create_runner(
            app, keepalive_seconds=KEEPALIVE_SECONDS, handler_cancellation=True
        )
        await runner.setup()
        self._runner = runner
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.bind(("127.0.0.1", 0))
            listener.listen(BACKLOG)
            listener.setblocking(False)  # noqa: FBT003 - its only argument
            await web.SockSite(runner, listener).start()
        except BaseException:
            listener.close()
            await self.close()
            raise
        self._port = int(listener.getsockname()[1])
        self._held.publish(port=self._port, token=self._token)
        return self._port

    async def close(self) -> None:
        """Take no more requests, and end those that are under way."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            self._held.announce()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            answer = await self._prepare(request)
        except (ValueError, RecursionError) as error:
            return web.json_response({"message": str(error)}, status=400)
        if answer is None:
            return web.json_response({"message": "no such operation"}, status=404)
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/x-ndjson",
                "Cache-Control": "no-store",
            }
        )
        response.force_close()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            # Whoever asked is gone; there is nobody left to tell.
            await _Answering(response).run(answer)
        return response

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer to a request that is not from our own client."""
        if request.method != "POST":
            return web.json_response({"message": "use POST"}, status=405)
        if request.headers.get("Host") != f"127.0.0.1:{self._port}":
            return web.json_response({"message": "wrong host"}, status=403)
        if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
            return web.json_response({"message": "not for web pages"}, status=403)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self._token.matches(token):
            return web.json_response({"message": "wrong token"}, status=403)
        return None

    async def _prepare(self, request: web.Request) -> "_Answer | None":
        """Return what answers the request; None: there is no such operation."""
        operation = request.match_info["operation"]
        if operation == "lend" and self._lend is not None:
            asked = msgspec.json.decode(await request.read(), type=LendRequest)
            return _Call(partial(_lend_vault, self._lend, asked))
        if self._is_lent:
            return _Call(_refuse)
        if self._service is None:
            await self._opened.wait()
        service = self._service
        if service is None:
            return _Call(_refuse)
        if operation == "import":
            upload = _upload_lines(request.content)
            return _Call(lambda show: service.import_parts(upload, show))
        prepare = _OPERATIONS.get(operation)
        return None if prepare is None else prepare(service, await request.read())


class _Call:
    """An operation that has one result, and perhaps progress before."""

    def __init__(self, work: Callable[[OnProgress], Awaitable[object]]) -> None:
        self.work = work


_Answer = _Call | AsyncIterator[bytes]


async def _pong() -> bool:
    return True


async def _refuse(_show: OnProgress) -> bool:
    raise VaultLentError


async def _lend_vault(lend: Lend, request: LendRequest, show: OnProgress) -> bool:
    """Close the vault until whoever asked hangs up."""
    async with lend(Passphrase(request.passphrase)):
        show(Progress(phase="lent", done=1))
        await asyncio.Event().wait()
    return True


# Every operation but `import`, whose request is a stream.
_OPERATIONS: Final[Mapping[str, Callable[[Service, bytes], _Answer]]] = {
    "ping": lambda _service, _: _Call(lambda _: _pong()),
    "status": lambda service, _: _Call(lambda _: service.status()),
    "buckets": lambda service, _: _Call(lambda _: service.buckets()),
    "deleted-buckets": lambda service, _: _Call(lambda _: service.deleted_buckets()),
    "undelete": lambda service, body: _with_request(
        service.undelete, UndeleteRequest, body
    ),
    "events": lambda service, body: service.events(
        msgspec.json.decode(body, type=EventsRequest)
    ),
    "query": lambda service, body: service.query(
        msgspec.json.decode(body, type=QueryRequest)
    ),
    "add": lambda service, body: _with_request(service.add, AddRequest, body),
    "filters": lambda service, _: _Call(lambda _: service.filters()),
    "set-filters": lambda service, body: _with_request(
        service.set_filters, FiltersRequest, body
    ),
    "try-filters": lambda service, body: _with_request(
        service.try_filters, FilterTestRequest, body
    ),
    "export": lambda service, body: service.export_lines(
        msgspec.json.decode(body, type=ExportRequest)
    ),
    "verify": lambda service, body: _verify(
        service, msgspec.json.decode(body, type=VerifyRequest)
    ),
    "sync": lambda service, _: _Call(service.sync),
    "repair": lambda service, _: _Call(service.repair),
    "usage": lambda service, _: _Call(lambda _: service.usage()),
    "host-view": lambda service, _: _Call(lambda _: service.host_view()),
    "doctor": lambda service, _: _Call(lambda _: service.doctor()),
    "prepare-registration": lambda service, body: _with_request(
        service.prepare_registration, RegisterRequest, body
    ),
    "register": lambda service, body: _with_request(
        service.register, RegisterRequest, body
    ),
    "prepare-recovery": lambda service, body: _with_request(
        service.prepare_recovery, RecoveryRequest, body
    ),
    "set-recovery": lambda service, body: _with_request(
        service.set_recovery, RecoveryRequest, body
    ),
    "remote": lambda service, _: _Call(lambda _: service.remote()),
    "log-out": lambda service, _: _Call(lambda _: service.log_out()),
    "delete-account": lambda service, body: _with_request(
        service.delete_account, PassphraseRequest, body
    ),
    "hosted-view": lambda service, _: _Call(lambda _: service.hosted_view()),
    "sessions": lambda service, _: _Call(lambda _: service.sessions()),
    "end-session": lambda service, body: _with_request(
        service.end_session, SessionRequest, body
    ),
    "clients": lambda service, _: _Call(lambda _: service.clients()),
    "host-usage": lambda service, _: _Call(lambda _: service.host_usage()),
    "change-passphrase": lambda service, body: _with_request(
        service.change_passphrase, PassphraseRequest, body
    ),
    "check-passphrase": lambda service, body: _with_request(
        service.check_passphrase, PassphraseRequest, body
    ),
}


def _with_request(
    operation: Callable[[T], Awaitable[object]], kind: type[T], body: bytes
) -> _Answer:
    request = msgspec.json.decode(body, type=kind)
    return _Call(lambda _: operation(request))


def _verify(service: Service, request: VerifyRequest) -> _Answer:
    return _Call(lambda show: service.verify(request, show))


class _Answering:
    """Writes one answer."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response
        self._progress: Progress | None = None

    async def run(self, answer: _Answer) -> None:
        """Do the work and write what comes of it, an error included."""
        try:
            last = (
                await self._call(answer)
                if isinstance(answer, _Call)
                else await self._stream(answer)
            )
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - every failure is told
            failure = describe(error)
            if failure is None:
                # The detail is for the log of the process that holds the vault.
                log_failure(log, error)
                failure = Failure(message="internal error, see the log of aw-server")
            last = wire.Reply(error=failure)
        await self._response.write(wire.reply_line(last))
        await self._response.write_eof()

    async def _call(self, call: _Call) -> wire.Reply:
        task = asyncio.ensure_future(call.work(self._note))
        try:
            while not task.done():
                await asyncio.wait([task], timeout=PROGRESS_PAUSE_SECONDS)
                if self._progress is not None:
                    reply = wire.Reply(progress=self._progress)
                    self._progress = None
                    await self._response.write(wire.reply_line(reply))
        finally:
            # Also when whoever asked is gone: nobody wants the result.
            task.cancel()
            await asyncio.wait([task])
        return wire.Reply(result=msgspec.Raw(msgspec.json.encode(task.result())))

    def _note(self, progress: Progress) -> None:
        self._progress = progress

    async def _stream(self, items: AsyncIterator[bytes]) -> wire.Reply:
        held: list[bytes] = []
        size = 0
        async for item in items:
            held.append(wire.item_line(item))
            size += len(held[-1])
            if size >= WRITE_BYTES:
                await self._response.write(b"".join(held))
                held, size = [], 0
        await self._response.write(b"".join(held))
        return wire.Reply(result=msgspec.Raw(b"null"))


async def _upload_lines(content: StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of an upload, each without its newline."""
    held: list[bytes] = []
    size = 0
    async for chunk in content.iter_any():
        first, *others = chunk.split(b"\n")
        held.append(first)
        size += len(first)
        for other in others:
            yield b"".join(held)
            held, size = [other], len(other)
        if size > UPLOAD_LINE_BYTES_MAX:
            raise ValueError("a line is too long")
    if size:
        yield b"".join(held)
