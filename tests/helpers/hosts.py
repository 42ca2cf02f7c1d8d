"""Hosts that run, and honest owners who keep their accounts there.

`running_host` serves in this process, on a free port, over a database of its own;
`HostProcess` is the installed `aw-server host`. A `Member` has every key of an
account in hand and proves what an honest client proves; `Visitor` sends whatever it
is told to.
"""

import asyncio
import contextlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from multidict import CIMultiDictProxy
from yarl import URL

from awserver.app import create_host, open_database, wall_clock_us
from awserver.config import RateLimits, Registration, ServiceSettings
from awserver.documents import AccountDocument
from awserver.http.application import create_application
from awserver.http.calls import Api
from awserver.http.server import ConnectionLimits, create_runner
from awserver.proofs import (
    Action,
    Transcript,
    body_of_delete,
    body_of_document,
    body_of_register,
    body_of_restore,
)
from awserver.records import ClientId, SealedRecord
from awserver.service.base import Service
from awserver.service.host import open_service
from awserver.settings import HostSettings, Overrides, read_settings
from awserver.storage.sqlite.database import Database
from awserver.wire import (
    API_PATH,
    BINARY_TYPE,
    DeleteRequest,
    DocumentRequest,
    FrameReader,
    PreloginAnswer,
    PreloginRequest,
    Problem,
    RegisterProofs,
    RegisterRequest,
    RestoreRequest,
    SessionAnswer,
    SessionRequest,
    decode_documents,
    encode_frame,
)
from awvault.crypto.keys import (
    LoginKey,
    Passphrase,
    RecoveryKey,
    derive_login_key,
    derive_recovery_login_key,
)
from awvault.crypto.passphrase import derive_passphrase_key
from tests.helpers.owners import CHEAP, Owner
from tests.helpers.randomness import fixed

READY: Final = b"aw-server host is ready on http://"
READY_SECONDS_MAX: Final = 60.0
EXIT_SECONDS_MAX: Final = 30.0
ANSWER_SECONDS_MAX: Final = 60.0

UNLIMITED: Final = RateLimits(account=None, address=None, overall=None)

T = TypeVar("T")


# -- talking -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def as_(self, kind: type[T]) -> T:
        """Return the JSON as a type of the wire."""
        assert self.headers["Content-Type"] == "application/json", self
        return msgspec.json.decode(self.body, type=kind)

    @property
    def problem(self) -> Problem:
        assert self.headers["Content-Type"] == "application/problem+json", self
        found = msgspec.json.decode(self.body, type=Problem)
        assert found.status == self.status
        return found

    @property
    def code(self) -> tuple[int, str]:
        """The status and the code of a refusal."""
        return self.status, self.problem.code

    def records(self) -> list[SealedRecord]:
        assert self.headers["Content-Type"] == BINARY_TYPE, self
        reader = FrameReader()
        found = list(reader.feed(self.body))
        reader.end()
        return found

    def documents(self) -> list[bytes]:
        assert self.headers["Content-Type"] == BINARY_TYPE, self
        return decode_documents(self.body)


@dataclass(slots=True)
class Visitor:
    """Talks to one host, with a token or without."""

    http: ClientSession
    url: str
    token: str | None = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        value: Any = None,
        body: bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send `value` as JSON, or `body` as records. `path` is sent as it is."""
        sent: dict[str, str] = {}
        data: Any = body
        if value is not None:
            data, sent["Content-Type"] = msgspec.json.encode(value), "application/json"
        elif body is not None:
            sent["Content-Type"] = BINARY_TYPE
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        async with self.http.request(
            method,
            URL(self.url + path, encoded=True),
            # As bytes, aiohttp warns of a large one.
            data=BytesIO(data) if isinstance(data, bytes) else data,
            headers=sent | dict(headers or {}),
            allow_redirects=False,
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **headers: str) -> Answer:
        """GET under /api/1."""
        return await self.call("GET", API_PATH + path, headers=headers)

    async def post(self, path: str, value: Any, **headers: str) -> Answer:
        """POST JSON under /api/1."""
        return await self.call("POST", API_PATH + path, value=value, headers=headers)

    async def append(self, client: ClientId, records: Sequence[SealedRecord]) -> Answer:
        return await self.call(
            "POST",
            f"{API_PATH}/logs/{client.hex()}",
            body=b"".join(encode_frame(record) for record in records),
        )

    async def read(
        self, client: ClientId, *, after: int = -1, query: str = ""
    ) -> list[SealedRecord]:
        answer = await self.get(f"/logs/{client.hex()}?after={after}{query}")
        assert answer.status == 200, answer
        return answer.records()


@contextlib.asynccontextmanager
async def visitor(url: str) -> AsyncIterator[Visitor]:
    """Give a client of the host at `url`."""
    async with ClientSession(
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=ANSWER_SECONDS_MAX),
        connector=TCPConnector(limit=0),
        auto_decompress=False,
    ) as http:
        yield Visitor(http, url)


async def raw(port: int, request: bytes, *, seconds: float = 10.0) -> bytes:
    """Send bytes, and return all that comes back until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(seconds):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


# -- owners --------------------------------------------------------------------


@dataclass
class Member(Owner):
    """An owner whose account is kept on a host, with keys that prove it."""

    username: str = "alice"
    origin: str = ""
    """Of the host, as this owner typed it."""

    def passphrase_login(self, epoch: int = 0) -> LoginKey:
        return derive_login_key(
            derive_passphrase_key(
                Passphrase(self.passphrase),
                username=self.username,
                salt=self.salt(epoch),
                profile=CHEAP,
            )
        )

    def recovery_login(self, epoch: int = 0) -> LoginKey:
        return derive_recovery_login_key(
            RecoveryKey(fixed(f"{self.name} recovery {epoch}"))
        )

    def first(self) -> AccountDocument:
        return replace(
            super().first(),
            login_public=self.passphrase_login().public,
            recovery_login_public=self.recovery_login().public,
        )

    def next_epoch(self, **changes: Any) -> AccountDocument:
        rotated = super().next_epoch()
        epoch = rotated.epoch
        return replace(
            rotated,
            login_public=self.passphrase_login(epoch).public,
            recovery_login_public=self.recovery_login(epoch).public,
            **changes,
        )

    async def transcript(
        self,
        at: Visitor,
        action: Action,
        body: bytes = b"",
        *,
        client: int = 0,
        epoch: int = 0,
        **changes: Any,
    ) -> Transcript:
        """Return what to sign, with a fresh nonce of the host."""
        answer = await at.post("/prelogin", PreloginRequest(username=self.username))
        assert answer.status == 200, answer
        made = Transcript(
            origin=self.origin or at.url,
            action=action,
            username=self.username,
            nonce=answer.as_(PreloginAnswer).nonce,
            client_nonce=secrets.token_bytes(32),
            client_id=self.client_id(client),
            salt=self.salt(epoch),
            body=body,
        )
        return replace(made, **changes)

    async def register_request(
        self, at: Visitor, *, invite: str | None = None
    ) -> RegisterRequest:
        blob = self.keys_blob()
        signed = await self.transcript(
            at, Action.REGISTER, body_of_register(self.documents, blob, invite)
        )
        return RegisterRequest(
            username=self.username,
            documents=self.documents,
            keys_blob=blob,
            invite=invite,
            proofs=RegisterProofs(
                login=self.passphrase_login().prove(signed),
                recovery=self.recovery_login().prove(signed),
                client=self.client_keys[0].prove(signed),
                signing=self.ask().prove(signed),
            ),
            **proven(signed),
        )

    async def register(self, at: Visitor, *, invite: str | None = None) -> Visitor:
        """Make the account; return a visitor with its token."""
        answer = await at.post(
            "/accounts", await self.register_request(at, invite=invite)
        )
        assert answer.status == 201, answer
        return replace(at, token=answer.as_(SessionAnswer).token)

    async def session_request(
        self, at: Visitor, *, by: str = "client", client: int = 0, epoch: int = 0
    ) -> SessionRequest:
        action = Action.SESSION if by == "client" else Action.LOGIN
        signed = await self.transcript(at, action, client=client, epoch=epoch)
        return SessionRequest(
            username=self.username,
            by=by,
            signature=self._prove(by, signed, client=client, epoch=epoch),
            **proven(signed),
        )

    async def log_in(self, at: Visitor, **how: Any) -> Visitor:
        """Begin a session; return a visitor with its token."""
        answer = await at.post("/sessions", await self.session_request(at, **how))
        assert answer.status == 201, answer
        return replace(at, token=answer.as_(SessionAnswer).token)

    async def document_request(
        self,
        at: Visitor,
        document: bytes,
        *,
        keys_blob: bytes | None = None,
        by: str = "login",
        epoch: int = 0,
    ) -> DocumentRequest:
        """Prove an edit with the keys of `epoch`, which is the one in force."""
        signed = await self.transcript(
            at, Action.DOCUMENT, body_of_document(document, keys_blob), epoch=epoch
        )
        return DocumentRequest(
            document=document,
            keys_blob=keys_blob,
            by=by,
            signature=self._prove(by, signed, client=0, epoch=epoch),
            **proven(signed),
        )

    async def restore_request(
        self, at: Visitor, documents: Sequence[bytes] | None = None
    ) -> RestoreRequest:
        offered = list(self.documents if documents is None else documents)
        signed = await self.transcript(
            at, Action.RESTORE, body_of_restore(offered, self.keys_blob())
        )
        return RestoreRequest(
            username=self.username,
            documents=offered,
            keys_blob=self.keys_blob(),
            signature=self.client_keys[0].prove(signed),
            **proven(signed),
        )

    async def delete_request(self, at: Visitor, *, by: str = "login") -> DeleteRequest:
        signed = await self.transcript(
            at, Action.DELETE, body_of_delete(self.account_id)
        )
        return DeleteRequest(
            by=by,
            signature=self._prove(by, signed, client=0, epoch=0),
            **proven(signed),
        )

    def _prove(self, by: str, signed: Transcript, *, client: int, epoch: int) -> bytes:
        if by == "client":
            return self.client_keys[client].prove(signed)
        key = self.passphrase_login if by == "login" else self.recovery_login
        return key(epoch).prove(signed)


def proven(signed: Transcript) -> dict[str, Any]:
    """Return the parts of a transcript that travel."""
    return {
        "client_id": signed.client_id.hex(),
        "nonce": signed.nonce,
        "client_nonce": signed.client_nonce,
    }


# -- a host in this process ----------------------------------------------------


@dataclass(slots=True)
class RunningHost:
    """A host on a free port of this machine."""

    visitor: Visitor
    port: int
    api: Api
    service: Service
    database: Database
    runner: web.AppRunner

    @property
    def url(self) -> str:
        return self.visitor.url


def loose_settings(
    url: str,
    *,
    registration: Registration = Registration.OPEN,
    quota_bytes: int | None = None,
    **limits: RateLimits,
) -> ServiceSettings:
    """Return settings without rate limits, but those that are given."""
    kinds = ("prelogin", "proofs", "registrations", "requests")
    return ServiceSettings(
        origins=(url,),
        registration=registration,
        quota_bytes=quota_bytes,
        **{kind: limits.get(kind, UNLIMITED) for kind in kinds},
    )


@contextlib.asynccontextmanager
async def running_host(
    data_dir: Path,
    *,
    settings: Callable[[str], ServiceSettings] = loose_settings,
    limits: ConnectionLimits | None = None,
    trusted_proxies: tuple[str, ...] = (),
    read_only: bool = False,
    clock_us: Callable[[], int] = wall_clock_us,
) -> AsyncIterator[RunningHost]:
    """Serve a host from `data_dir`, which is made if there is none.

    `settings` makes what the service gets of the host's address. Registration is
    open, and there are no rate limits, unless it says so.
    """
    where = _place(data_dir)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(_listener()))
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        database = await asyncio.to_thread(open_database, where, create=True)
        stack.push_async_callback(database.close)
        service = await stack.enter_async_context(
            open_service(
                database,
                settings(url),
                clock_us=clock_us,
                random=secrets.token_bytes,
                is_read_only=lambda: read_only,
            )
        )
        api = create_host(service, database, trusted_proxies=trusted_proxies)
        runner = create_runner(create_application(api), api, limits=limits)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listener).start()
        talking = await stack.enter_async_context(visitor(url))
        yield RunningHost(talking, port, api, service, database, runner)


def _place(data_dir: Path) -> HostSettings:
    data_dir.mkdir(parents=True, exist_ok=True)
    # The configuration of whoever runs the tests is no part of them.
    nothing = Path(os.devnull)
    return read_settings(Overrides(data_dir=data_dir, config=nothing), environment={})


def _listener() -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0), backlog=512)
    made.setblocking(False)
    return made


# -- a host in a process of its own --------------------------------------------


@dataclass(slots=True)
class HostProcess:
    """The installed `aw-server host`, from one data directory, again and again."""

    data_dir: Path
    environment: dict[str, str]
    stderr_file: Path
    port: int = 0
    stdout: bytes = b""
    process: "subprocess.Popen[bytes] | None" = None
    arguments: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stderr(self) -> str:
        return self.stderr_file.read_text(errors="replace")

    def command(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("aw-server")), *arguments]

    def start(self, *arguments: str) -> "HostProcess":
        """Start it, on the port it had before, and return once it is ready."""
        self.arguments = list(arguments) or self.arguments
        with self.stderr_file.open("ab") as stderr:
            self.process = subprocess.Popen(
                self.command(
                    "host", "--listen", f"127.0.0.1:{self.port}", *self.arguments
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self.environment,
                cwd=self.data_dir.parent,
            )
        self.stdout = b""
        try:
            line = self._ready_line()
        except BaseException:
            self.kill()
            raise
        self.port = int(line.rsplit(b":", 1)[1])
        return self

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        """Run another `aw-server` command on the same directory."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            env=self.environment,
            cwd=self.data_dir.parent,
            timeout=EXIT_SECONDS_MAX,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """Return the JSON that a command prints."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. It may be gone already."""
        if self.process is not None:
            self.process.kill()
            self._wait()

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; return the exit status and how long it took, in s."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self._wait(), time.monotonic() - begun

    def _wait(self) -> int:
        assert self.process is not None
        status = self.process.wait(EXIT_SECONDS_MAX)
        pipe = self.process.stdout
        if pipe is not None and not pipe.closed:
            self.stdout += pipe.read()
            pipe.close()
        return status

    def _ready_line(self) -> bytes:
        assert self.process is not None
        pipe = self.process.stdout
        assert pipe is not None
        give_up = time.monotonic() + READY_SECONDS_MAX
        while not self.stdout.endswith(b"\n"):
            left = give_up - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise AssertionError(f"not ready within {READY_SECONDS_MAX} s")
            chunk = os.read(pipe.fileno(), 65_536)
            if not chunk:
                raise AssertionError(f"exit status {self._wait()}: {self.stderr}")
            self.stdout += chunk
        assert self.stdout.startswith(READY)
        return self.stdout.splitlines()[0]


@contextlib.contextmanager
def host_process(
    directory: Path, *arguments: str, start: bool = True, **variables: str
) -> Iterator[HostProcess]:
    """Give a host's process, whose data lies in `directory`/data; it ends with it."""
    directory.mkdir(parents=True, exist_ok=True)
    kept = {k: os.environ[k] for k in ("PATH", "LANG", "LC_ALL") if k in os.environ}
    data_dir = directory / "data"
    made = HostProcess(
        data_dir=data_dir,
        environment={
            **kept,
            "HOME": str(directory),
            "AWSERVER_DATA_DIR": str(data_dir),
            "PYTHONUNBUFFERED": "1",
            **variables,
        },
        stderr_file=directory / "host.err",
        arguments=["--registration", "open"],
    )
    if arguments:
        made.arguments = list(arguments)
    try:
        yield made.start() if start else made
    finally:
        made.kill()
