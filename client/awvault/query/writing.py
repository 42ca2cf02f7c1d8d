"""The results of a query as JSON: keys sorted, events as ActivityWatch shows them."""

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np

from awvault.columns.timestamps import render_many, render_seconds, render_seconds_many
from awvault.query.values import NO_ID, Events, Seconds, Value

CHUNK_ROWS: Final = 1_000
"""Events of one piece."""

_EVENT_BYTES: Final = 100
"""Of an event beside its data, about."""
_VALUE_BYTES: Final = 10

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


def write_value(value: Value) -> Iterator[bytes]:
    """Yield a value as JSON text in pieces; long lists of events in several."""
    if isinstance(value, Events):
        yield from _write_events(value)
    elif isinstance(value, dict):
        opening = b"{"
        for key in sorted(value):
            yield opening + _leaf(key) + b":"
            yield from write_value(value[key])
            opening = b","
        yield b"{}" if opening == b"{" else b"}"
    elif isinstance(value, list):
        opening = b"["
        for item in value:
            yield opening
            yield from write_value(item)
            opening = b","
        yield b"[]" if opening == b"[" else b"]"
    elif isinstance(value, Seconds):
        yield render_seconds(value.us)
    else:
        yield _leaf(value)


def _write_events(events: Events) -> Iterator[bytes]:
    _write_data(events)
    opening = b"["
    for begin in range(0, len(events), CHUNK_ROWS):
        yield opening + _objects(events, slice(begin, begin + CHUNK_ROWS))
        opening = b","
    yield b"[]" if opening == b"[" else b"]"


def _write_data(events: Events) -> None:
    """Have the text of all that the events say."""
    pool = events.pool
    written = pool.written
    for number in pool.used(events.data):
        if number not in written:
            written[number] = _data(pool.value(number))


def size_of(value: Value) -> int:
    """Return how many bytes the text of a value has, about."""
    if isinstance(value, Events):
        _write_data(value)
        counts: list[int] = np.bincount(value.data).tolist()
        written = value.pool.written
        texts = sum(
            count * len(written[number]) for number, count in enumerate(counts) if count
        )
        return texts + _EVENT_BYTES * len(value)
    if isinstance(value, dict):
        return sum(len(key) + size_of(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(map(size_of, value))
    return len(value) if isinstance(value, str) else _VALUE_BYTES


def _objects(events: Events, rows: slice) -> bytes:
    """Return some events as objects with commas between them.

    To join the texts of columns is several times faster than to write each event.
    """
    written = events.pool.written
    numbers = events.data[rows].tolist()
    pieces = [b""] * (_PIECES * len(numbers))
    for at, fixed in enumerate(_FIXED):
        pieces[2 * at :: _PIECES] = [fixed] * len(numbers)
    pieces[1::_PIECES] = [written[number] for number in numbers]
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


def _data(value: Value) -> bytes:
    try:
        return _encode(value)
    except (msgspec.MsgspecError, UnicodeError, OverflowError, TypeError):
        # A lone surrogate, an integer beyond 64 bits, or events inside.
        return b"".join(write_value(value))


def _leaf(value: Value) -> bytes:
    try:
        return _encode(value)
    except (msgspec.MsgspecError, UnicodeError, OverflowError):
        return json.dumps(value).encode("ascii")


def _refuse(value: Any) -> Any:
    raise TypeError(type(value).__name__)


_encode: Final = msgspec.json.Encoder(order="deterministic", enc_hook=_refuse).encode
