"""Ask the process that holds the data directory.

A small HTTP client on plain sockets: one request for each connection, both ways
in chunks, so that an export or import of any size takes little memory here.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, TypeVar

import msgspec

from awvault.control import wire
from awvault.errors import Error
from awvault.processes import ControlToken
from awvault.service import (
    AccountDeleted,
    AddRequest,
    AddResult,
    BucketInfo,
    ClientRow,
    DeletedBucket,
    DoctorResult,
    EventsRequest,
    ExportRequest,
    FiltersInfo,
    FiltersRequest,
    FilterTestRequest,
    FilterTestResult,
    HostUsage,
    HostView,
    ImportResult,
    LendRequest,
    LoggedOut,
    OnProgress,
    OperationFailedError,
    PassphraseRequest,
    PassphraseResult,
    Prepared,
    QueryRequest,
    RecoveryRequest,
    RecoverySet,
    Registered,
    RegisterRequest,
    RemoteInfo,
    RepairResult,
    SessionRequest,
    SessionRow,
    Status,
    SyncResult,
    Undeleted,
    UndeleteRequest,
    UsageResult,
    VerifyRequest,
    VerifyResult,
    ignore_progress,
)

CONNECT_SECONDS: Final = 5.0
HEAD_BYTES_MAX: Final = 16 * 1024
REFUSAL_BYTES_MAX: Final = 4096
UPLOAD_BYTES: Final = 64 * 1024

T = TypeVar("T")


class HolderUnreachableError(Error):
    """The process that holds the vault does not answer as it should."""


class ControlClient:
    """A `Service` that another process of this user performs."""

    def __init__(self, *, port: int, token: ControlToken) -> None:
        """Ask at `port` of 127.0.0.1, with the token of control.json."""
        self._port = port
        self._token = token

    async def ping(self) -> None:
        """Return once the other side has answered with its token accepted."""
        await self._result("ping", bool)

    async def status(self) -> Status:
        """See `Service.status`."""
        return await self._result("status", Status)

    async def buckets(self) -> list[BucketInfo]:
        """See `Service.buckets`."""
        return await self._result("buckets", list[BucketInfo])

    async def deleted_buckets(self) -> list[DeletedBucket]:
        """See `Service.deleted_buckets`."""
        return await self._result("deleted-buckets", list[DeletedBucket])

    async def undelete(self, request: UndeleteRequest) -> Undeleted:
        """See `Service.undelete`."""
        return await self._result("undelete", Undeleted, msgspec.json.encode(request))

    def events(self, request: EventsRequest) -> AsyncGenerator[bytes, None]:
        """See `Service.events`."""
        return self._items("events", msgspec.json.encode(request))

    def query(self, request: QueryRequest) -> AsyncGenerator[bytes, None]:
        """See `Service.query`."""
        return self._items("query", msgspec.json.encode(request))

    async def add(self, request: AddRequest) -> AddResult:
        """See `Service.add`."""
        return await self._result("add", AddResult, msgspec.json.encode(request))

    async def filters(self) -> FiltersInfo:
        """See `Service.filters`."""
        return await self._result("filters", FiltersInfo)

    async def set_filters(self, request: FiltersRequest) -> FiltersInfo:
        """See `Service.set_filters`."""
        return await self._result(
            "set-filters", FiltersInfo, msgspec.json.encode(request)
        )

    async def try_filters(self, request: FilterTestRequest) -> FilterTestResult:
        """See `Service.try_filters`."""
        return await self._result(
            "try-filters", FilterTestResult, msgspec.json.encode(request)
        )

    def export_lines(self, request: ExportRequest) -> AsyncGenerator[bytes, None]:
        """See `Service.export_lines`."""
        return self._items("export", msgspec.json.encode(request))

    async def import_parts(
        self, parts: AsyncIterator[bytes], on_progress: OnProgress
    ) -> ImportResult:
        """See `Service.import_parts`."""
        return await self._result(
            "import", ImportResult, parts, on_progress=on_progress
        )

    async def verify(
        self, request: VerifyRequest, on_progress: OnProgress
    ) -> VerifyResult:
        """See `Service.verify`."""
        return await self._result(
            "verify",
            VerifyResult,
            msgspec.json.encode(request),
            on_progress=on_progress,
        )

    async def sync(self, on_progress: OnProgress) -> SyncResult:
        """See `Service.sync`."""
        return await self._result("sync", SyncResult, on_progress=on_progress)

    async def repair(self, on_progress: OnProgress) -> RepairResult:
        """See `Service.repair`."""
        return await self._result("repair", RepairResult, on_progress=on_progress)

    async def usage(self) -> UsageResult:
        """See `Service.usage`."""
        return await self._result("usage", UsageResult)

    async def host_view(self) -> HostView:
        """See `Service.host_view`."""
        return await self._result("host-view", HostView)

    async def doctor(self) -> DoctorResult:
        """See `Service.doctor`."""
        return await self._result("doctor", DoctorResult)

    @contextlib.asynccontextmanager
    async def lend(self, request: LendRequest) -> AsyncIterator[None]:
        """Have the vault's files to oneself while the context lasts.

        The other side closes the vault, lets requests of watchers wait, and opens it
        again when the context ends, or this process does.
        """
        body = msgspec.json.encode(request)
        async with contextlib.aclosing(self._ask("lend", body)) as answer:
            async for line in answer:
                if _reply(line).progress is not None:
                    break
            else:
                raise _cut_off()
            yield

    async def prepare_registration(self, request: RegisterRequest) -> Prepared:
        """See `Service.prepare_registration`."""
        body = msgspec.json.encode(request)
        return await self._result("prepare-registration", Prepared, body)

    async def register(self, request: RegisterRequest) -> Registered:
        """See `Service.register`."""
        return await self._result("register", Registered, msgspec.json.encode(request))

    async def prepare_recovery(self, request: RecoveryRequest) -> Prepared:
        """See `Service.prepare_recovery`."""
        body = msgspec.json.encode(request)
        return await self._result("prepare-recovery", Prepared, body)

    async def set_recovery(self, request: RecoveryRequest) -> RecoverySet:
        """See `Service.set_recovery`."""
        body = msgspec.json.encode(request)
        return await self._result("set-recovery", RecoverySet, body)

    async def remote(self) -> RemoteInfo:
        """See `Service.remote`."""
        return await self._result("remote", RemoteInfo)

    async def log_out(self) -> LoggedOut:
        """See `Service.log_out`."""
        return await self._result("log-out", LoggedOut)

    async def delete_account(self, request: PassphraseRequest) -> AccountDeleted:
        """See `Service.delete_account`."""
        body = msgspec.json.encode(request)
        return await self._result("delete-account", AccountDeleted, body)

    async def hosted_view(self) -> HostView:
        """See `Service.hosted_view`."""
        return await self._result("hosted-view", HostView)

    async def sessions(self) -> list[SessionRow]:
        """See `Service.sessions`."""
        return await self._result("sessions", list[SessionRow])

    async def end_session(self, request: SessionRequest) -> bool:
        """See `Service.end_session`."""
        return await self._result("end-session", bool, msgspec.json.encode(request))

    async def clients(self) -> list[ClientRow]:
        """See `Service.clients`."""
        return await self._result("clients", list[ClientRow])

    async def host_usage(self) -> HostUsage:
        """See `Service.host_usage`."""
        return await self._result("host-usage", HostUsage)

    async def change_passphrase(self, request: PassphraseRequest) -> PassphraseResult:
        """See `Service.change_passphrase`."""
        body = msgspec.json.encode(request)
        return await self._result("change-passphrase", PassphraseResult, body)

    async def check_passphrase(self, request: PassphraseRequest) -> PassphraseResult:
        """See `Service.check_passphrase`."""
        body = msgspec.json.encode(request)
        return await self._result("check-passphrase", PassphraseResult, body)

    async def _result(
        self,
        operation: str,
        kind: type[T],
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        on_progress: OnProgress = ignore_progress,
    ) -> T:
        async with contextlib.aclosing(self._ask(operation, body)) as answer:
            async for line in answer:
                reply = _reply(line)
                if reply.progress is not None:
                    on_progress(reply.progress)
                if reply.result:
                    return msgspec.json.decode(reply.result, type=kind)
        raise _cut_off()

    async def _items(self, operation: str, body: bytes) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(self._ask(operation, body)) as answer:
            async for line in answer:
                item = wire.item_of(line)
                if item is not None:
                    yield item
                elif _reply(line).result:
                    return
        raise _cut_off()

    async def _ask(
        self, operation: str, body: bytes | AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Send one request and yield the lines of its answer."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self._port, limit=HEAD_BYTES_MAX
                )
        except (OSError, TimeoutError) as error:
            raise HolderUnreachableError(
                f"no answer on 127.0.0.1 port {self._port}"
            ) from error
        sending = asyncio.create_task(self._send(writer, operation, body))
        try:
            async for line in _answer_lines(reader):
                yield line
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise _cut_off() from None
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sending
            writer.close()

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        operation: str,
        body: bytes | AsyncIterator[bytes],
    ) -> None:
        """Write the request while the answer is being read: it may come early."""
        framing = (
            f"Content-Length: {len(body)}"
            if isinstance(body, bytes)
            else "Transfer-Encoding: chunked"
        )
        head = (
            f"POST {wire.PATH}{operation} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{self._port}\r\n"
            f"Authorization: Bearer {self._token.reveal()}\r\n"
            f"{framing}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode("ascii"))
        if isinstance(body, bytes):
            writer.write(body)
            await writer.drain()
            return
        async for part in _in_parts(body):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _cut_off() -> HolderUnreachableError:
    return HolderUnreachableError("the process that holds the vault stopped answering")


def _reply(line: bytes) -> wire.Reply:
    try:
        reply = msgspec.json.decode(line, type=wire.Reply)
    except ValueError:
        raise _cut_off() from None
    if reply.error is not None:
        raise OperationFailedError(reply.error)
    return reply


async def _in_parts(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    held: list[bytes] = []
    size = 0
    async for line in lines:
        held.append(line + b"\n")
        size += len(line) + 1
        if size >= UPLOAD_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


async def _answer_lines(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        refusal = await reader.read(REFUSAL_BYTES_MAX)
        raise HolderUnreachableError(
            "the process that holds the vault refused the request"
            f" ({_printable(b' '.join(status))}: {_printable(refusal)}):"
            " is it another version of this program?"
        )
    rest = b""
    async for chunk in _chunks(reader):
        parts = (rest + chunk).split(b"\n")
        rest = parts.pop()
        if len(rest) > wire.LINE_BYTES_MAX:
            raise _cut_off()
        for part in parts:
            yield part


async def _chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of an HTTP/1.1 body."""
    while True:
        line = await reader.readuntil(b"\r\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise _cut_off() from None
        if size == 0:
            return
        while size:
            part = await reader.read(min(size, UPLOAD_BYTES))
            if not part:
                raise _cut_off()
            size -= len(part)
            yield part
        await reader.readexactly(2)


def _printable(raw: bytes) -> str:
    text = raw.decode("ascii", "replace")
    return "".join(c for c in text if c.isprintable())[:200]
