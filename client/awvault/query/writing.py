"""The results of a query as JSON: keys sorted, events as ActivityWatch shows them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from awvault.columns.timestamps import render_many, render_seconds, render_seconds_many
from awvault.query.budget import Budget
from awvault.query.errors import QueryInterpretError
from awvault.query.values import NO_ID, Events, Pool, Seconds, Value, counted

CHUNK_ROWS: Final = 1_000
"""Events of one piece."""

BLOCK_BYTES: Final = 256 * 1024
"""Of what is sent at once, at least."""

KEPT_BYTES_MAX: Final = 4_096
"""Data whose text is longer is written each time that it is needed."""

KEPT_ALL_BYTES_MAX: Final = 64 * 1024 * 1024

WRITTEN_DEPTH_MAX: Final = 100
"""Lists, dicts and events inside each other."""

_EVENT_BYTES: Final = 100
"""Of an event beside its data, about."""
_VALUE_BYTES: Final = 10
_KEY_BYTES: Final = 4

# For a lone surrogate, an integer beyond 64 bits, or events inside.
_NOT_ENCODED: Final = (msgspec.MsgspecError, UnicodeError, OverflowError, TypeError)

_HOLE: Final = b"\x00"
"""Stands where text is put in later; JSON holds none."""

_END: Final = b'"}'
_FIXED: Final = (
    b'"},{"data":',
    b',"duration":',
    b',"id":',
    b',"timestamp":"',
)
"""What stands before each column of an event; the first ends the event before it."""
_PIECES: Final = 2 * len(_FIXED)
_NO_ID: Final = b"%d" % NO_ID


class Writer:
    """Writes the values of one query, which share a pool, piece by piece.

    What is small is kept as text once it is written, for events often say the same.
    The rest is written each time, so that little is in memory at once.
    """

    def __init__(self, budget: Budget) -> None:
        """Keep to a query's budget."""
        self._budget = budget
        self._texts: dict[int, bytes] = {}
        self._kept_bytes = 0
        self._sizes: dict[int, tuple[int, int]] = {}
        """Of data, by its number in the pool: bytes as text, about, and depth."""

    def size(self, value: Value, *, bytes_max: int) -> int:
        """Return how many bytes the text of a value has, about.

        Raises `QueryInterpretError` for more than `bytes_max`, or for what is nested
        more deeply than can be written.
        """
        return self._measured(value, bytes_max)[0]

    def _measured(self, value: Value, bytes_max: int) -> tuple[int, int]:
        """Return the size, and how many lists and dicts lie inside each other."""
        size = depth = 0
        if isinstance(value, Events):
            size = _EVENT_BYTES * len(value)
            for number, count in counted(value.data):
                each, below = self._data_measured(value.pool, number, bytes_max)
                size += count * each
                depth = max(depth, below)
                _check_size(size, bytes_max)
        elif isinstance(value, dict | list):
            if isinstance(value, dict):
                size = sum(len(key) + _KEY_BYTES for key in value)
            for item in value.values() if isinstance(value, dict) else value:
                each, below = self._measured(item, bytes_max)
                size += each
                depth = max(depth, below)
                _check_size(size, bytes_max)
            depth += 1
        else:
            size = len(value) if isinstance(value, str) else _VALUE_BYTES
        if depth > WRITTEN_DEPTH_MAX:
            raise QueryInterpretError(
                "the query makes lists inside of lists too deeply"
            )
        return size, depth

    def _data_measured(
        self, pool: Pool, number: int, bytes_max: int
    ) -> tuple[int, int]:
        measured = self._sizes.get(number)
        if measured is not None:
            return measured
        self._budget.check()
        value = pool.value(number)
        text = b""
        try:
            text = _encode(value)
            measured = len(text), 1
        except _NOT_ENCODED:
            measured = self._measured(value, bytes_max)
            if measured[0] <= KEPT_BYTES_MAX:
                text = b"".join(self.pieces(value))
        if text and len(text) <= min(
            KEPT_BYTES_MAX, KEPT_ALL_BYTES_MAX - self._kept_bytes
        ):
            self._kept_bytes += len(text)
            self._texts[number] = text
        self._sizes[number] = measured
        return measured

    def pieces(self, value: Value) -> Iterator[bytes]:
        """Yield a value as JSON text: keys sorted, long lists in pieces."""
        if isinstance(value, Events):
            yield from self._events(value)
        elif isinstance(value, dict):
            opening = b"{"
            for key in sorted(value):
                yield opening + _leaf(key) + b":"
                yield from self.pieces(value[key])
                opening = b","
            yield b"{}" if opening == b"{" else b"}"
        elif isinstance(value, list):
            opening = b"["
            for item in value:
                yield opening
                yield from self.pieces(item)
                opening = b","
            yield b"[]" if opening == b"[" else b"]"
        elif isinstance(value, Seconds):
            yield render_seconds(value.us)
        else:
            yield _leaf(value)

    def _events(self, events: Events) -> Iterator[bytes]:
        texts = self._texts
        opening = b"["
        for begin in range(0, len(events), CHUNK_ROWS):
            rows = slice(begin, begin + CHUNK_ROWS)
            numbers: list[int] = events.data[rows].tolist()
            try:
                known = [texts[number] for number in numbers]
            except KeyError:
                yield opening
                yield from self._one_by_one(events, rows, numbers)
            else:
                yield opening + _objects(events, rows, known)
            opening = b","
        yield b"[]" if opening == b"[" else b"]"

    def _one_by_one(
        self, events: Events, rows: slice, numbers: Sequence[int]
    ) -> Iterator[bytes]:
        """Yield events of which some say more than is kept as text."""
        objects = _objects(events, rows, [_HOLE] * len(numbers)).split(_HOLE)
        for before, number in zip(objects, numbers, strict=False):
            yield before
            text = self._texts.get(number)
            if text is None:
                yield from self._data(events.pool.value(number))
            else:
                yield text
        yield objects[-1]

    def _data(self, value: Value) -> Iterator[bytes]:
        try:
            yield _encode(value)
        except _NOT_ENCODED:
            yield from self.pieces(value)


def _check_size(size: int, bytes_max: int) -> None:
    if size > bytes_max:
        raise QueryInterpretError(
            f"the answer would have more than {bytes_max} bytes, which are not sent:"
            " ask for a shorter period, or for less"
        )


def blocks(pieces: Iterable[bytes], budget: Budget) -> Iterator[bytes]:
    """Yield pieces of text in larger ones; the time between them does not count."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        budget.check()
        held.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES:
            block = b"".join(held)
            held, size = [], 0
            with budget.paused():
                yield block
    if held:
        yield b"".join(held)


def _objects(events: Events, rows: slice, data: Sequence[bytes]) -> bytes:
    """Return some events, with these texts of data, as objects with commas between.

    To join the texts of columns is several times faster than to write each event.
    """
    pieces = [b""] * (_PIECES * len(data))
    for at, fixed in enumerate(_FIXED):
        pieces[2 * at :: _PIECES] = [fixed] * len(data)
    pieces[1::_PIECES] = data
    pieces[3::_PIECES] = render_seconds_many(events.duration[rows])
    pieces[5::_PIECES] = _ids(events, rows)
    pieces[7::_PIECES] = render_many(events.start[rows])
    return b"".join(pieces)[len(_END) + 1 :] + _END


def _ids(events: Events, rows: slice) -> list[bytes]:
    ids = events.id[rows]
    texts = msgspec.json.encode(ids.tolist())[1:-1].split(b",")
    if (ids == NO_ID).any():
        return [b"null" if text == _NO_ID else text for text in texts]
    return texts


def _leaf(value: Value) -> bytes:
    try:
        return _encode(value)
    except (msgspec.MsgspecError, UnicodeError, OverflowError):
        return json.dumps(value).encode("ascii")


def _refuse(value: Any) -> Any:
    raise TypeError(type(value).__name__)


_encode: Final = msgspec.json.Encoder(order="deterministic", enc_hook=_refuse).encode
