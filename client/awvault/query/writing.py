"""The results of a query as JSON: keys sorted, events as ActivityWatch shows them."""

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from awvault.columns.timestamps import render_many, render_seconds, render_seconds_many
from awvault.query.values import NO_ID, Events, Seconds, Value

CHUNK_ROWS: Final = 1_000
"""Events of one piece."""

_EVENT: Final = b'{"data":%b,"duration":%b,"id":%b,"timestamp":"%b"}'


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
    pool = events.pool
    written = pool.written
    for number in pool.used(events.data):
        if number not in written:
            written[number] = _data(pool.value(number))
    opening = b"["
    for begin in range(0, len(events), CHUNK_ROWS):
        rows = slice(begin, begin + CHUNK_ROWS)
        objects = [
            _EVENT
            % (data, duration, b"null" if number == NO_ID else b"%d" % number, at)
            for data, duration, number, at in zip(
                [written[number] for number in events.data[rows].tolist()],
                render_seconds_many(events.duration[rows]),
                events.id[rows].tolist(),
                render_many(events.start[rows]),
                strict=True,
            )
        ]
        yield opening + b",".join(objects)
        opening = b","
    yield b"[]" if opening == b"[" else b"]"


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
