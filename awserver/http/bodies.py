"""Reading bodies: counted, with a deadline, a rate and a share of the memory.

aiohttp bounds neither the size of a body that is streamed nor the time it takes,
and unpacks compressed ones before anybody counts them. Here nothing is unpacked
(the runner says `auto_decompress=False`), and whoever sends slower than a modem,
or more than there is room for, is sent away.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, Generic, TypeVar

import msgspec
from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from awserver.errors import (
    BodyTimeoutError,
    HostBusyError,
    InvalidRequestError,
    LimitExceededError,
    MediaTypeError,
)
from awserver.wire import BINARY_TYPE, JSON_BYTES_MAX

T = TypeVar("T")

SECONDS_MIN: Final = 10.0
"""How long a body may take, however small it is."""

BYTES_PER_SECOND_MIN: Final = 4096
"""For each so many bytes that have come, a body may take a second longer."""

SECONDS_MAX: Final = 3600.0
"""How long a body may take, however large it is."""

SMALL_BYTES_MAX: Final = 64 * 1024
"""Bodies up to this are not counted against the room: connections are limited."""

SHARED_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of all large bodies that are being read or worked on, for callers with a token."""

SHARED_BYTES_OPEN_MAX: Final = 96 * 1024 * 1024
"""The same, for everyone else."""

OWN_BYTES_MAX: Final = 80 * 1024 * 1024
"""The part of the room that one account, or one address, may take."""

ROOM_WAIT_SECONDS_MAX: Final = 10.0
"""How long a request waits for others to make room."""

ROOM_RETRY_SECONDS: Final = 2

OFF_LOOP_BYTES_MIN: Final = 1024 * 1024
"""JSON above this is parsed in a thread, so that others' requests go on."""


class BodyForm:
    """What a body must be, as far as its headers tell."""

    def __init__(self, media_type: str, *, bytes_max: int) -> None:
        """Take a type and a size."""
        self.media_type = media_type
        self.bytes_max = bytes_max

    def check_headers(self, request: web.Request) -> None:
        """Raise if the headers already say that the body will not do."""
        headers = request.headers
        given = headers.get("Content-Type")
        if given != self.media_type:
            kind = (given or "").partition(";")[0].strip().lower()
            if kind != self.media_type:
                raise MediaTypeError(
                    f'send the body with the header "Content-Type: {self.media_type}"'
                )
        encoding = headers.get("Content-Encoding")
        if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
            raise MediaTypeError("send the body without a Content-Encoding")
        length = request.content_length
        if length is not None and length > self.bytes_max:
            raise self.too_large()

    def too_large(self) -> LimitExceededError:
        """Return the error of a body that is too large."""
        return LimitExceededError(
            f"the body is larger than {self.bytes_max} bytes, the most that is"
            " taken here"
        )

    def arrived(self, request: web.Request) -> bytes | None:
        """Return the body if all of it came with the headers; most small ones do."""
        content = request.content
        if not content.is_eof() or content.exception() is not None:
            return None
        data = content.read_nowait()
        if len(data) > self.bytes_max:
            raise self.too_large()
        return data

    async def chunks(self, request: web.Request) -> AsyncIterator[bytes]:
        """Yield the body as it comes, within every limit."""
        content = request.content
        size = 0
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            while True:
                allowed = min(SECONDS_MIN + size / BYTES_PER_SECOND_MIN, SECONDS_MAX)
                async with asyncio.timeout_at(begun + allowed):
                    chunk = await content.readany()
                if not chunk:
                    return
                size += len(chunk)
                if size > self.bytes_max:
                    raise self.too_large()
                yield chunk
        except TimeoutError:
            raise BodyTimeoutError(
                f"{size} bytes of the body came in {loop.time() - begun:.0f} s:"
                f" send at least {BYTES_PER_SECOND_MIN} bytes a second"
            ) from None
        except (web.RequestPayloadError, ClientPayloadError, HttpProcessingError):
            raise InvalidRequestError(
                "the body is not in the encoding its headers say"
            ) from None

    async def whole(self, request: web.Request) -> bytes:
        """Return the body in one piece. Its headers have been looked at."""
        data = self.arrived(request)
        if data is not None:
            return data
        found = [chunk async for chunk in self.chunks(request)]
        return found[0] if len(found) == 1 else b"".join(found)


class JsonForm(BodyForm, Generic[T]):
    """A body in JSON, and the type it must have."""

    def __init__(self, kind: type[T], *, bytes_max: int = JSON_BYTES_MAX) -> None:
        """Take a type of `awserver.wire`."""
        super().__init__("application/json", bytes_max=bytes_max)
        self.kind = kind
        self._decoder = msgspec.json.Decoder(kind)

    async def read(self, request: web.Request) -> T:
        """Return the value; raises `InvalidRequestError` for any other JSON."""
        data = await self.whole(request)
        try:
            if len(data) >= OFF_LOOP_BYTES_MIN:
                return await asyncio.to_thread(self._decoder.decode, data)
            return self._decoder.decode(data)
        except (ValueError, RecursionError) as error:
            # msgspec's errors are ValueErrors; they name fields and no values.
            raise InvalidRequestError(
                f"the JSON is not what it must be: {error}"
            ) from None


class BinaryForm(BodyForm):
    """A body of bytes."""

    def __init__(self, *, bytes_max: int) -> None:
        """Take a size."""
        super().__init__(BINARY_TYPE, bytes_max=bytes_max)


class Room:
    """Memory for large bodies. Who finds no room waits, in order, and not for long."""

    def __init__(self, *, bytes_max: int, own_bytes_max: int = OWN_BYTES_MAX) -> None:
        """Begin empty."""
        self._left = bytes_max
        self._own_max = own_bytes_max
        self._own: dict[object, int] = {}
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, owner: object, size: int) -> None:
        """Take room for `size` bytes, to be given back; raises `HostBusyError`."""
        own = self._own.get(owner, 0)
        if own + size > self._own_max:
            raise HostBusyError(retry_seconds=ROOM_RETRY_SECONDS)
        self._own[owner] = own + size
        if not self._waiting and size <= self._left:
            self._left -= size
            return
        place = (size, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        try:
            async with asyncio.timeout(ROOM_WAIT_SECONDS_MAX):
                await place[1]
        except BaseException as error:
            if place[1].done() and not place[1].cancelled():
                self.give_back(owner, size)
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(place)
                self._forget(owner, size)
                self._serve()
            if isinstance(error, TimeoutError):
                raise HostBusyError(retry_seconds=ROOM_RETRY_SECONDS) from None
            raise

    def give_back(self, owner: object, size: int) -> None:
        """Let others have what was taken."""
        self._left += size
        self._forget(owner, size)
        self._serve()

    def _forget(self, owner: object, size: int) -> None:
        left = self._own[owner] - size
        if left:
            self._own[owner] = left
        else:
            del self._own[owner]

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._left:
            size, place = self._waiting.popleft()
            # One that gave up gives its own share back by itself.
            if not place.done():
                self._left -= size
                place.set_result(None)
