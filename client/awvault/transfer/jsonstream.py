"""JSON of any length, read piece by piece.

Outside of arrays it is read token by token. The elements of an array come in
runs: the brackets, commas and quotes of a whole chunk are found with NumPy, and
msgspec then decodes hundreds of elements at once. So memory is bounded by one
chunk and one element, and a gigabyte takes seconds.
"""

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from awvault.errors import InvalidInputError, LimitError

VALUE_BYTES_MAX: Final = 2 * 1024 * 1024
"""Bytes of one element or value. An event's data have at most 256 KiB, and escapes
can make six bytes of one."""

READ_BYTES_MIN: Final = 256 * 1024
"""What is gathered before it is looked at; small reads would cost more."""

VALUE_WINDOW_BYTES: Final = 4 * 1024
ELEMENTS_WINDOW_BYTES: Final = 512 * 1024
"""How far is looked ahead at first: for a small value, and for elements."""

Read = Callable[[], Awaitable[bytes]]
"""Returns the next bytes; none at the end."""

_SPACE: Final = b" \t\n\r"
_NO_SPACE: Final = re.compile(rb"[^ \t\n\r]")
_STEP: Final = np.zeros(256, dtype=np.int8)
_STEP[[ord("{"), ord("[")]] = 1
_STEP[[ord("}"), ord("]")]] = -1
_COMMA: Final = ord(",")
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_MARK: Final = np.zeros(256, dtype=np.bool_)
_MARK[[ord(c) for c in "{}[],"]] = True


@dataclass(frozen=True, slots=True)
class Run:
    """Whole elements of an array, with the commas between them."""

    text: bytes
    offset: int
    """Where the first begins in what was read."""
    commas: list[int]
    """Where, in `text`, the commas between them are."""

    def elements(self) -> list[tuple[int, bytes]]:
        """Return each element with where it begins in what was read."""
        found = []
        begin = 0
        for end in [*self.commas, len(self.text)]:
            found.append((self.offset + begin, self.text[begin:end]))
            begin = end + 1
        return found


class JsonStream:
    """Reads one JSON text, from its beginning to its end."""

    def __init__(self, read: Read) -> None:
        """Read from `read`, as it is needed."""
        self._read = read
        self._buffer = b""
        self._at = 0
        # Bytes that were read and are no longer in the buffer.
        self._dropped = 0
        self._ended = False

    @property
    def offset(self) -> int:
        """Where the next byte stands, counted from 0."""
        return self._dropped + self._at

    def wrong(self, message: str) -> InvalidInputError:
        """Return an error about what comes next."""
        return InvalidInputError("", f"byte {self.offset}: {message}")

    async def peek(self) -> str:
        """Return the next character that is no white space; "" at the end."""
        while True:
            found = _NO_SPACE.search(self._buffer, self._at)
            if found is not None:
                self._at = found.start()
                return chr(self._buffer[self._at])
            self._at = len(self._buffer)
            if not await self._fill():
                return ""

    async def expect(self, character: str) -> None:
        """Take one character, which must be this one."""
        found = await self.peek()
        if found != character:
            raise self._unexpected(found, f'expected "{character}"')
        self._at += 1

    async def string(self) -> str:
        """Take a string."""
        found = await self.peek()
        if found != '"':
            raise self._unexpected(found, "expected a name in double quotes")
        begin = self._at
        at = begin + 1
        while True:
            while at < len(self._buffer):
                byte = self._buffer[at]
                if byte == _QUOTE:
                    raw = self._buffer[begin : at + 1]
                    value = self._loaded(raw)
                    self._at = at + 1
                    assert isinstance(value, str)  # noqa: S101 - it is quoted
                    return value
                at += 2 if byte == _BACKSLASH else 1
            if at - begin > VALUE_BYTES_MAX:
                raise self._too_long()
            kept = at - begin
            if not await self._fill():
                raise self.wrong("a string does not end: the file was cut off")
            begin, at = self._at, self._at + kept

    async def members(self) -> AsyncGenerator[str, None]:
        """Take an object; at each name yielded, take its value before going on."""
        await self.expect("{")
        if await self.peek() == "}":
            self._at += 1
            return
        while True:
            name = await self.string()
            await self.expect(":")
            yield name
            found = await self.peek()
            if found == "}":
                self._at += 1
                return
            if found != ",":
                raise self._unexpected(found, 'expected "," or "}"')
            self._at += 1

    async def value(self) -> bytes:
        """Take the value of an object's member, and return its text."""
        await self.peek()
        window = VALUE_WINDOW_BYTES
        while True:
            text = self._ahead(window)
            marks, depths = _marks_of(text)
            commas = (depths == 0) & (_bytes_at(text, marks) == _COMMA)
            ends = marks[(depths < 0) | commas]
            if len(ends):
                self._at += int(ends[0])
                return text[: int(ends[0])].rstrip(_SPACE)
            window = await self._widened(window, len(text))

    async def elements(self) -> AsyncGenerator[Run, None]:
        """Take an array; yield its elements, many at a time."""
        await self.expect("[")
        if await self.peek() == "]":
            self._at += 1
            return
        window = ELEMENTS_WINDOW_BYTES
        while True:
            text = self._ahead(window)
            marks, depths = _marks_of(text)
            closing = np.flatnonzero(depths < 0)
            count = int(closing[0]) if len(closing) else len(marks)
            inside = marks[:count]
            commas = inside[(depths[:count] == 0) & (_bytes_at(text, inside) == _COMMA)]
            if len(closing):
                end = int(marks[count])
                yield Run(text[:end], self.offset, commas.tolist())
                self._at += end
                await self.expect("]")
                return
            if len(commas):
                end = int(commas[-1])
                yield Run(text[:end], self.offset, commas[:-1].tolist())
                self._at += end + 1
                window = ELEMENTS_WINDOW_BYTES
                continue
            window = await self._widened(window, len(text))

    async def end(self) -> None:
        """Refuse anything more than white space."""
        if await self.peek():
            raise self.wrong("expected nothing more")

    # -- the buffer -----------------------------------------------------------

    async def _fill(self) -> bool:
        """Read more; False at the end."""
        if self._ended:
            return False
        pieces = [self._buffer[self._at :]]
        self._dropped += self._at
        self._at = 0
        size = 0
        while size < READ_BYTES_MIN:
            piece = await self._read()
            if not piece:
                self._ended = True
                break
            pieces.append(piece)
            size += len(piece)
        self._buffer = b"".join(pieces)
        return size > 0

    def _ahead(self, window: int) -> bytes:
        """Return what comes next, of what is in the buffer, up to so many bytes."""
        return self._buffer[self._at : self._at + window]

    async def _widened(self, window: int, looked_at: int) -> int:
        """Return a wider window, having read more where that is needed."""
        if looked_at > VALUE_BYTES_MAX:
            raise self._too_long()
        if looked_at < window and not await self._fill():
            raise self.wrong("the file was cut off here")
        return 4 * window

    def _loaded(self, raw: bytes) -> object:
        try:
            value: object = json.loads(raw)
        except (ValueError, RecursionError):
            raise self.wrong("not valid JSON") from None
        return value

    def _unexpected(self, found: str, expected: str) -> InvalidInputError:
        if not found:
            return self.wrong(f"{expected}, and the file was cut off")
        return self.wrong(f"not valid JSON: {expected}")

    def _too_long(self) -> LimitError:
        return LimitError(
            "",
            f"byte {self.offset}: a value here has more than {VALUE_BYTES_MAX} bytes",
        )


def _marks_of(text: bytes) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return brackets and commas outside of strings, and the depth after each."""
    characters = np.frombuffer(text, dtype=np.uint8)
    marks = np.flatnonzero(_MARK[characters])
    # An odd number of quotes before it: inside of a string.
    marks = marks[np.searchsorted(_real_quotes(characters), marks) & 1 == 0]
    return marks, np.cumsum(_STEP[characters[marks]], dtype=np.int64)


def _bytes_at(text: bytes, places: NDArray[np.intp]) -> NDArray[np.uint8]:
    return np.frombuffer(text, dtype=np.uint8)[places]


def _real_quotes(characters: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return where strings begin and end: the quotes that no backslash escapes."""
    quotes = np.flatnonzero(characters == _QUOTE)
    escaped = quotes[(quotes > 0) & (characters[quotes - 1] == _BACKSLASH)]
    if not len(escaped):
        return quotes
    plain = np.flatnonzero(characters != _BACKSLASH)
    # Backslashes right before it: from the last other character on.
    before = np.searchsorted(plain, escaped) - 1
    last = np.where(before >= 0, plain[np.maximum(before, 0)], -1)
    odd = escaped[(escaped - 1 - last) % 2 == 1]
    return np.setdiff1d(quotes, odd, assume_unique=True)
