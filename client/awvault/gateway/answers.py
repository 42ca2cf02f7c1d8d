"""What the gateway answers: JSON, and every error as `{"message": ...}`."""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterable, Iterable, Mapping
from pathlib import PurePath
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from awserver.errors import ServerError, StorageFullError
from awvault.errors import BucketNotFoundError, Error, InvalidInputError
from awvault.filtering import FiltersUnknownError
from awvault.gateway.holder import VaultUnavailableError
from awvault.gateway.refusals import Refusal

STREAM_BYTES_MIN: Final = 256 * 1024
"""Answers up to about this size are sent whole, with their length."""

STORE_FAILED: Final = (
    "the store failed, and this was not stored or read:"
    " see the output of aw-server, and run awvault verify"
)

# Plain text about a person must not stay in a browser's cache, be taken for a
# script, or be embedded by another page.
COMMON_HEADERS: Final = {
    "Server": "aw-server",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_BARE: Final = CIMultiDict(COMMON_HEADERS)
_JSON: Final = CIMultiDict({"Content-Type": "application/json", **COMMON_HEADERS})
_TEXT: Final = CIMultiDict(
    {"Content-Type": "text/plain; charset=utf-8", **COMMON_HEADERS}
)

log = logging.getLogger(__name__)


def json_answer(body: bytes, *, status: int = 200) -> web.Response:
    """Answer with JSON text."""
    return web.Response(body=body, status=status, headers=_JSON)


def text_answer(text: str) -> web.Response:
    """Answer with a page of plain text."""
    return web.Response(body=text.encode(), headers=_TEXT)


def empty_answer(status: int) -> web.Response:
    """Answer with a status and no body."""
    return web.Response(status=status, headers=_BARE)


def error_answer(status: int, message: str) -> web.Response:
    """Answer with an error. JSON can escape whatever `message` holds."""
    return json_answer(json.dumps({"message": message}).encode(), status=status)


async def stream_answer(
    request: web.Request, chunks: Iterable[bytes], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with JSON text in pieces, the loop being free between them.

    A small answer is sent whole. `headers` are added to the usual ones.
    """
    iterator = iter(chunks)
    first: list[bytes] = []
    size = 0
    for chunk in iterator:
        first.append(chunk)
        size += len(chunk)
        if size > STREAM_BYTES_MIN:
            break
    else:
        return json_answer(b"".join(first))
    response = web.StreamResponse(headers=_JSON)
    response.headers.update(headers)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    await response.write(b"".join(first))
    for chunk in iterator:
        # write() waits only for a slow reader; others must get a turn anyway.
        await response.write(chunk)
        await asyncio.sleep(0)
    await response.write_eof()
    return response


async def stream_pieces(
    request: web.Request, pieces: AsyncIterable[bytes], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with a long JSON text, as its pieces come.

    Where one cannot be made, the connection is cut: whoever reads sees that the
    answer is not whole.
    """
    response = web.StreamResponse(headers=_JSON)
    response.headers.update(headers)
    await response.prepare(request)
    try:
        async for piece in pieces:
            await response.write(piece)
    except Error as error:
        log_failure(log, error)
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


def answer_for(error: Exception, *, data_dir: str) -> web.Response:
    """Return the answer to an error that a handler raised.

    What the sender did wrong is a 4xx that names the field, trouble with the
    disk a 5xx that says what to do. Anything else is a fault of this program.
    """
    match error:
        case Refusal():
            answer = error_answer(error.status, error.message)
            answer.headers.update(error.headers)
            if error.close:
                answer.force_close()
            return answer
        case InvalidInputError():
            return error_answer(400, _said(error))
        case BucketNotFoundError():
            return error_answer(404, str(error))
        case StorageFullError():
            where = f' that holds "{data_dir}"' if data_dir else ""
            return error_answer(
                507,
                f"no room to store this: free space on the disk{where};"
                " nothing already stored is lost",
            )
        case FiltersUnknownError() | VaultUnavailableError():
            todo = getattr(error, "hint", "see the output of aw-server")
            return error_answer(503, f"{error}: {todo}")
        case ServerError() | Error():
            status, message = 503, STORE_FAILED
        case _:
            status, message = 500, "internal error: see the output of aw-server"
    log_failure(log, error)
    return error_answer(status, message)


def _said(error: InvalidInputError) -> str:
    """Return the message, beginning with the name of the field."""
    said = str(error)
    if not error.field or said.startswith(error.field):
        return said
    return f"{error.field}: {said}"


def log_failure(logger: logging.Logger, error: BaseException) -> None:
    """Log what kind of error it was and where, without its text.

    The text of an exception may hold the value it is about.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(
        f"{PurePath(f.filename).name}:{f.lineno}" for f in reversed(frames[-8:])
    )
    logger.error("request failed: %s at %s", type(error).__name__, where or "unknown")
