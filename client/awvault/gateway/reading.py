"""Reading a request: its body within limits, its query parameters as types."""

import asyncio
import math
import re
from typing import Final

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from awvault.columns import timestamps
from awvault.errors import InvalidInputError
from awvault.gateway.refusals import Refusal

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
HEARTBEAT_BYTES_MAX: Final = 1024 * 1024
BUCKET_BYTES_MAX: Final = 1024 * 1024

OFF_LOOP_BYTES_MIN: Final = 1024 * 1024
"""Bodies above this are parsed in a thread, so that heartbeats go on."""

PULSETIME_SECONDS_MAX: Final = 366 * 86_400.0

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")


async def read_body(
    request: web.Request, *, bytes_max: int, seconds_max: float
) -> bytes:
    """Return the JSON body, or raise a `Refusal`: 400, 408, 413 or 415."""
    check_body_headers(request, bytes_max=bytes_max)
    content = request.content
    chunks = []
    size = 0
    try:
        if content.is_eof():  # it came with the headers
            body = content.read_nowait()
            if len(body) > bytes_max:
                raise _too_large(bytes_max)
            return body
        async with asyncio.timeout(seconds_max):
            while chunk := await content.readany():
                size += len(chunk)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                chunks.append(chunk)
                if content.at_eof():
                    break
    except TimeoutError:
        raise Refusal(
            408,
            f"the body did not arrive within {seconds_max:g} seconds",
            close=True,
        ) from None
    except (web.RequestPayloadError, ClientPayloadError, HttpProcessingError):
        raise Refusal(
            400, "the body is not in the encoding its headers say", close=True
        ) from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def check_body_headers(request: web.Request, *, bytes_max: int) -> None:
    """Raise a `Refusal` if the headers already say that the body will not do."""
    headers = request.headers
    content_type = headers.get("Content-Type")
    if content_type != "application/json":
        kind = (content_type or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(
                415,
                'send JSON with the header "Content-Type: application/json"',
                close=True,
            )
    encoding = headers.get("Content-Encoding")
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        raise Refusal(415, "send the body without a Content-Encoding", close=True)
    length = request.content_length
    if length is not None and length > bytes_max:
        raise _too_large(bytes_max)


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(413, f"the body is larger than {bytes_max} bytes", close=True)


def limit_parameter(request: web.Request) -> int | None:
    """Return `limit` from the query; None if there is no limit.

    A negative one means none, as in ActivityWatch.
    """
    text = request.query.get("limit")
    if text is None:
        return None
    if not _INTEGER.fullmatch(text):
        raise InvalidInputError("limit", "expected a whole number")
    limit = int(text)
    return limit if limit >= 0 else None


def time_parameter(request: web.Request, name: str) -> int | None:
    """Return a time from the query in microseconds, None if it is not there."""
    text = request.query.get(name)
    if text is None:
        return None
    if "T" in text:
        # A "+" that was not escaped arrives as a space. Dates with a space in
        # place of the "T" are the only others that have one.
        text = text.strip().replace(" ", "+")
    return timestamps.parse(text, field=name)


def pulsetime_parameter(request: web.Request) -> int:
    """Return the pulsetime in microseconds; it must be there."""
    raw = request.rel_url.raw_query_string
    name, _, value = raw.partition("=")
    if name != "pulsetime" or "&" in value or "%" in value or "+" in value:
        found = request.query.get("pulsetime")
        if found is None:
            raise Refusal(400, "Missing required parameter pulsetime")
        value = found
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= PULSETIME_SECONDS_MAX:
        raise InvalidInputError(
            "pulsetime",
            f"expected a number of seconds from 0 to {PULSETIME_SECONDS_MAX:.0f}",
        )
    return round(seconds * 1_000_000)
