"""`/api/0/export`, `/buckets/ID/export` and `/import`: everything, in and out.

All three stream: what is exported is read page by page, and what is imported is
parsed as it arrives, so neither is ever held whole, in memory or on a disk.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeVar
from urllib.parse import quote

from aiohttp import BodyPartReader, ClientPayloadError, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from awvault.errors import InvalidInputError
from awvault.gateway.answers import COMMON_HEADERS, json_answer, log_failure
from awvault.gateway.reading import check_body_headers
from awvault.gateway.refusals import Refusal
from awvault.gateway.routes import Gateway
from awvault.service import ExportRequest, counted, ignore_progress
from awvault.transfer.exporting import export_lines
from awvault.transfer.importing import Importer
from awvault.transfer.sources import file_parts
from awvault.vault import Vault

IMPORT_BYTES_MAX: Final = 1000 * 1024 * 1024
"""Of one request, as in ActivityWatch's Rust server."""

IMPORT_FILES_MAX: Final = 100
"""Files of one form."""

PIECE_BYTES: Final = 64 * 1024
PIECE_BYTES_MIN: Final = 256 * 1024
"""Lines of an export are sent together until there are this many bytes."""

T = TypeVar("T")

log = logging.getLogger(__name__)

_FORM: Final = "multipart/form-data"
_PLAIN_NAME: Final = re.compile(r"[0-9A-Za-z._-]{1,200}")


async def export_all(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.StreamResponse:
    """Send every bucket with its events, in ActivityWatch's JSON."""
    asked = ExportRequest(form="activitywatch")
    return await _send(request, vault, gateway, asked, "aw-buckets-export.json")


async def export_bucket(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.StreamResponse:
    """Send one bucket with its events, in ActivityWatch's JSON."""
    bucket_id = request.match_info["bucket_id"]
    asked = ExportRequest(form="activitywatch", buckets=[bucket_id])
    name = f"aw-bucket-export_{bucket_id}.json"
    return await _send(request, vault, gateway, asked, name)


async def _send(
    request: web.Request,
    vault: Vault,
    gateway: Gateway,
    asked: ExportRequest,
    name: str,
) -> web.StreamResponse:
    async with contextlib.aclosing(export_lines(vault, asked)) as lines:
        # What is wrong with the request shows before the answer begins.
        first = await anext(lines)
        response = web.StreamResponse(
            headers={
                **COMMON_HEADERS,
                "Content-Type": "application/json",
                "Content-Disposition": _attachment(name),
            }
        )
        response.headers.update(gateway.guards.cors_headers(request.headers))
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            await _write(response, first, lines)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is told
            # It is too late for an answer; an end that is cut off says that all is
            # not there.
            log_failure(log, error)
            raise ConnectionError("the export was cut short") from None
    return response


async def _write(
    response: web.StreamResponse, first: bytes, lines: AsyncGenerator[bytes, None]
) -> None:
    held = [first]
    size = len(first)
    async for line in lines:
        held.append(line)
        size += len(line)
        if size >= PIECE_BYTES_MIN:
            await response.write(b"\n".join([*held, b""]))
            held, size = [], 0
    await response.write(b"\n".join([*held, b""]))
    await response.write_eof()


def _attachment(name: str) -> str:
    """Return a Content-Disposition that names a file; any name (RFC 6266)."""
    if _PLAIN_NAME.fullmatch(name):
        return f"attachment; filename={name}"
    plain = re.sub(r"[^0-9A-Za-z._-]", "_", name)[:200]
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    return f"attachment; filename={plain}; filename*=UTF-8''{encoded}"


def check_import_headers(request: web.Request) -> None:
    """Raise a `Refusal` if the headers of an import say that it will not do."""
    if request.content_type == _FORM:
        length = request.content_length
        if length is not None and length > IMPORT_BYTES_MAX:
            raise _too_large()
        return
    check_body_headers(request, bytes_max=IMPORT_BYTES_MAX)


async def import_files(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.Response:
    """Take an export of ActivityWatch or of `awvault`, as JSON or as a form's files.

    What comes before an error is here, and the answer says how much it is; sent
    once more, nothing of it is added twice.
    """
    check_import_headers(request)
    importer = Importer(vault, ignore_progress)
    body = _Body(gateway.settings.body_seconds_max)
    try:
        if request.content_type == _FORM:
            async for read in _files(request, body):
                await importer.run(file_parts(read))
        else:
            await importer.run(file_parts(lambda: body.read(request.content.readany)))
    except InvalidInputError as error:
        added = importer.result()
        raise Refusal(
            400,
            f"{error.field}: {error}".removeprefix(": ")
            + f"; what came before is here now: {counted(added.events_added, 'event')}"
            f" and {counted(added.buckets_created, 'bucket')} added",
            close=True,
        ) from None
    return json_answer(b"null")


class _Body:
    """Reads a body within its limits: so many bytes, and no long pause."""

    def __init__(self, pause_seconds_max: float) -> None:
        self._pause = pause_seconds_max
        self._size = 0

    async def read(self, source: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the next bytes of `source`; none at its end."""
        piece = await self.step(source())
        self._size += len(piece)
        if self._size > IMPORT_BYTES_MAX:
            raise _too_large()
        return piece

    async def step(self, reading: Awaitable[T]) -> T:
        """Return what `reading` gives, or raise a `Refusal`."""
        try:
            async with asyncio.timeout(self._pause):
                return await reading
        except TimeoutError:
            raise Refusal(
                408,
                f"nothing more of the body came for {self._pause:g} seconds; what"
                " came before is here now",
                close=True,
            ) from None
        except (
            web.RequestPayloadError,
            ClientPayloadError,
            HttpProcessingError,
            ValueError,
        ):
            raise Refusal(
                400, "the body is not in the encoding its headers say", close=True
            ) from None


async def _files(
    request: web.Request, body: _Body
) -> AsyncGenerator[Callable[[], Awaitable[bytes]], None]:
    """Yield what reads each file of a form, whatever its field is called."""
    try:
        form = await request.multipart()
    except (ValueError, AssertionError):
        raise Refusal(400, "the form has no boundary", close=True) from None
    count = 0
    while (part := await body.step(form.next())) is not None:
        if isinstance(part, MultipartReader):
            raise Refusal(400, "a form within a form is not read", close=True)
        count += 1
        if count > IMPORT_FILES_MAX:
            raise Refusal(400, f"more than {IMPORT_FILES_MAX} files", close=True)
        encoding = part.headers.get("Content-Transfer-Encoding", "binary").lower()
        if encoding not in {"7bit", "8bit", "binary"}:
            raise Refusal(415, "send files without an encoding", close=True)
        yield _reading(part, body)
    if not count:
        raise Refusal(400, "the form holds no file", close=True)


def _reading(part: BodyPartReader, body: _Body) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        return await body.read(lambda: part.read_chunk(PIECE_BYTES))

    return read


def _too_large() -> Refusal:
    return Refusal(413, f"the body is larger than {IMPORT_BYTES_MAX} bytes", close=True)
