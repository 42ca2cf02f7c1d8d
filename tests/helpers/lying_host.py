"""The product's own host on a real socket, with one lie switched on at a time.

It is honest until a test sets `host.lie`, and honest again once that is `HONEST`.
A lie is a `Lie` with one method of another mind: it gets what the honest host
answers and gives what is sent in its place. Nothing of the product is patched: a
lie stands at the seam of `awserver.service.base`, or around the HTTP handler.
"""

import asyncio
import contextlib
import secrets
import shutil
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from awserver.app import create_host
from awserver.config import RateLimits, Registration
from awserver.http.application import create_application
from awserver.http.server import ConnectionLimits, create_runner, start_site
from awserver.records import AccountId, ClientId, SealedRecord, Seq
from awserver.service.base import Caller, Changes, Documents, Logs, Service, Sessions
from awserver.service.host import open_service
from awserver.storage.base import READ_BYTES_MAX
from awserver.storage.sqlite import logs as log_store
from awserver.storage.sqlite.database import Database
from awserver.wire import (
    AppendAnswer,
    ChangesAnswer,
    ClientsAnswer,
    DocumentRequest,
    HeadsAnswer,
    PreloginAnswer,
    PreloginRequest,
    RestoreRequest,
    SessionAnswer,
    SessionRequest,
    SessionsAnswer,
    UsageAnswer,
    VersionAnswer,
)
from tests.helpers.hosts import loose_settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 128
WAIT_SECONDS_MAX: Final = 30.0
ACCEPT_TURNS: Final = 3
LOOK_SECONDS: Final = 0.005


class Lie:
    """What a host answers in place of the truth: here, the truth."""

    def prelogin(
        self, request: PreloginRequest, honest: PreloginAnswer
    ) -> PreloginAnswer:
        return honest

    def session(self, request: SessionRequest, honest: SessionAnswer) -> SessionAnswer:
        return honest

    def documents(self, caller: Caller, after: int, honest: list[bytes]) -> list[bytes]:
        return honest

    def keys_blob(self, caller: Caller, honest: bytes) -> bytes:
        return honest

    async def put_document(
        self, put: Callable[[], Awaitable[VersionAnswer]]
    ) -> VersionAnswer:
        return await put()

    async def append(
        self,
        client: ClientId,
        records: Sequence[SealedRecord],
        append: Callable[[], Awaitable[AppendAnswer]],
    ) -> AppendAnswer:
        return await append()

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        return honest

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        """Answer a read; `honest` begins at the seq that was asked for."""
        return honest

    def changes(self, caller: Caller, honest: ChangesAnswer) -> ChangesAnswer:
        return honest

    async def http(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request in whatever form."""
        return await handler(request)


HONEST: Final = Lie()


async def _stop_accepting(listener: socket.socket) -> None:
    """Take no more connections, and let those that were taken get their transports.

    asyncio forgets a connection that it accepted in the turn in which its server is
    closed, without closing it (CPython issue 109564).
    """
    asyncio.get_running_loop().remove_reader(listener)
    for _ in range(ACCEPT_TURNS):
        await asyncio.sleep(0)


class LyingHost:
    """One host, its database, and the lie that it tells now."""

    def __init__(
        self,
        directory: Path,
        *,
        registration: Registration = Registration.OPEN,
        also_origins: tuple[str, ...] = (),
        trusted_proxies: tuple[str, ...] = (),
        connection_limits: ConnectionLimits | None = None,
        **limits: RateLimits,
    ) -> None:
        """Make a host that keeps its database in `directory`; `start` runs it.

        `also_origins` are addresses that lead here, through a proxy say. `limits`
        are those of `ServiceSettings`; there are no others.
        """
        self.directory = directory
        self.registration = registration
        self.also_origins = also_origins
        self.trusted_proxies = trusted_proxies
        self.connection_limits = connection_limits
        self.limits: dict[str, Any] = dict(limits)
        self.lie = HONEST
        self.port = 0
        self.late_us = 0
        """How far the host's clock is ahead."""
        self.probe: Callable[[str], None] = lambda _step: None
        """Called at each step of a write, in the writer's thread."""
        self.requests: list[tuple[str, str]] = []
        """Method and path of each request so far."""
        self.service: Service
        self._stack: contextlib.AsyncExitStack | None = None

    @property
    def database(self) -> Path:
        return self.directory / "host.db"

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @contextlib.contextmanager
    def lying(self, lie: Lie) -> Iterator[None]:
        """Lie in here, and be honest again after."""
        self.lie = lie
        try:
            yield
        finally:
            self.lie = HONEST

    async def start(self) -> None:
        """Serve, at the port of the last time."""
        assert self._stack is None
        self.directory.mkdir(exist_ok=True)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, self.port))
        self.port = listener.getsockname()[1]
        listener.listen(BACKLOG)
        listener.setblocking(False)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(listener.close)
            database = Database.open(
                self.database,
                create=not self.database.exists(),
                probe=self._pass,
            )
            stack.push_async_callback(database.close)
            log_store.migrate(database)
            honest = await stack.enter_async_context(
                open_service(
                    database,
                    replace(
                        loose_settings(self.url),
                        origins=(self.url, *self.also_origins),
                        registration=self.registration,
                        **self.limits,
                    ),
                    clock_us=lambda: time.time_ns() // 1_000 + self.late_us,
                    random=secrets.token_bytes,
                )
            )
            self.service = honest
            api = create_host(
                self._lying_service(honest),
                database,
                trusted_proxies=self.trusted_proxies,
            )
            app = create_application(api)
            app.middlewares.append(self._middleware())
            runner = create_runner(app, api, limits=self.connection_limits)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await start_site(runner, listener, backlog=BACKLOG)
            stack.push_async_callback(_stop_accepting, listener)
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """End all connections and close the database."""
        if self._stack is not None:
            stack, self._stack = self._stack, None
            await stack.aclose()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def save(self, name: str) -> None:
        """Keep a copy of the whole database, as a backup does."""
        await self.stop()
        kept = self.directory / name
        kept.mkdir()
        for path in self.directory.glob(f"{self.database.name}*"):
            shutil.copy(path, kept / path.name)
        await self.start()

    def dump(self) -> bytes:
        """Return every byte of the database, and of what lies beside it."""
        paths = sorted(self.directory.glob(f"{self.database.name}*"))
        return b"\n".join(path.read_bytes() for path in paths)

    async def put_back(self, name: str) -> None:
        """Serve the copy: the host was restored, or rolls everything back."""
        await self.stop()
        for path in self.directory.glob(f"{self.database.name}*"):
            path.unlink()
        for path in (self.directory / name).iterdir():
            shutil.copy(path, self.directory / path.name)
        await self.start()

    def _pass(self, step: str) -> None:
        self.probe(step)

    async def asked(self, start: str, *, times: int = 1) -> None:
        """Wait until requests for paths that begin so have come."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while sum(path.startswith(start) for _, path in self.requests) < times:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)

    def _lying_service(self, honest: Service) -> Service:
        return replace(
            honest,
            sessions=_Sessions(self, honest.sessions),
            documents=_Documents(self, honest.documents),
            logs=_Logs(self, honest.logs),
            changes=_Changes(self, honest.changes),
        )

    def _middleware(self) -> Middleware:
        @web.middleware
        async def lie(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.requests.append((request.method, request.path_qs))
            return await self.lie.http(request, handler)

        return lie


@contextlib.asynccontextmanager
async def lying_host(directory: Path, **settings: Any) -> AsyncIterator[LyingHost]:
    """Run a host that is honest until its `lie` is set; see `LyingHost`."""
    host = LyingHost(directory, **settings)
    await host.start()
    try:
        yield host
    finally:
        await host.stop()


# -- the seams ---------------------------------------------------------------


class _Sessions:
    def __init__(self, host: LyingHost, honest: Sessions) -> None:
        self._host = host
        self._honest = honest

    async def prelogin(
        self, request: PreloginRequest, *, address: str
    ) -> PreloginAnswer:
        honest = await self._honest.prelogin(request, address=address)
        return self._host.lie.prelogin(request, honest)

    async def create(self, request: SessionRequest, *, address: str) -> SessionAnswer:
        honest = await self._honest.create(request, address=address)
        return self._host.lie.session(request, honest)

    async def find(self, token: str) -> Caller:
        return await self._honest.find(token)

    async def list(self, caller: Caller) -> SessionsAnswer:
        return await self._honest.list(caller)

    async def end(self, caller: Caller, session_id: str) -> None:
        await self._honest.end(caller, session_id)


class _Documents:
    def __init__(self, host: LyingHost, honest: Documents) -> None:
        self._host = host
        self._honest = honest

    async def read(self, caller: Caller, *, after: int) -> list[bytes]:
        honest = await self._honest.read(caller, after=after)
        return self._host.lie.documents(caller, after, honest)

    async def keys_blob(self, caller: Caller) -> bytes:
        return self._host.lie.keys_blob(caller, await self._honest.keys_blob(caller))

    async def put(
        self, caller: Caller, request: DocumentRequest, *, address: str
    ) -> VersionAnswer:
        return await self._host.lie.put_document(
            lambda: self._honest.put(caller, request, address=address)
        )

    async def restore(self, request: RestoreRequest, *, address: str) -> VersionAnswer:
        return await self._honest.restore(request, address=address)


class _Logs:
    def __init__(self, host: LyingHost, honest: Logs) -> None:
        self._host = host
        self._honest = honest

    async def append(
        self, caller: Caller, client: ClientId, records: Sequence[SealedRecord]
    ) -> AppendAnswer:
        return await self._host.lie.append(
            client, records, lambda: self._honest.append(caller, client, records)
        )

    async def read(
        self,
        caller: Caller,
        client: ClientId,
        *,
        start: Seq,
        bytes_max: int = READ_BYTES_MAX,
        bodies: bool = True,
    ) -> list[SealedRecord]:
        honest = await self._honest.read(
            caller, client, start=start, bytes_max=bytes_max, bodies=bodies
        )
        return self._host.lie.records(caller, client, honest)

    async def pages(
        self,
        caller: Caller,
        client: ClientId,
        *,
        start: Seq,
        bytes_max: int,
        bodies: bool = True,
    ) -> AsyncIterator[list[SealedRecord]]:
        pages = self._honest.pages(
            caller, client, start=start, bytes_max=bytes_max, bodies=bodies
        )
        honest = [record async for page in pages for record in page]
        told = self._host.lie.records(caller, client, honest)
        if told:
            yield told

    async def heads(self, caller: Caller) -> HeadsAnswer:
        return self._host.lie.heads(caller, await self._honest.heads(caller))

    async def clients(self, caller: Caller) -> ClientsAnswer:
        return await self._honest.clients(caller)

    async def usage(self, caller: Caller) -> UsageAnswer:
        return await self._honest.usage(caller)


class _Changes:
    def __init__(self, host: LyingHost, honest: Changes) -> None:
        self._host = host
        self._honest = honest

    async def wait(
        self, caller: Caller, *, entries: int, version: int, seconds: float
    ) -> ChangesAnswer:
        honest = await self._honest.wait(
            caller, entries=entries, version=version, seconds=seconds
        )
        return self._host.lie.changes(caller, honest)

    def notify(self, account: AccountId) -> None:
        self._honest.notify(account)
