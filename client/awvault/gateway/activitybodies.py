"""The JSON of the activity API: fields as they were sent, and the server's own.

An event is kept as a start, a duration and its data. Its data are the fields
that were sent, without those that the server answers itself: `id`, `type`,
`stored_at`, and `timestamp` and `duration` where they say when it happened.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Final

import msgspec
import numpy as np

from awvault.columns.jsontext import type_name
from awvault.columns.render import CHUNK_ROWS
from awvault.columns.table import PAIR, EventTable
from awvault.columns.timestamps import render_many, render_seconds_many
from awvault.errors import InvalidInputError
from awvault.gateway import jsonbodies, wire

NO_DURATION: Final = -1
"""What a row has in place of a duration when the event has no end."""

_SERVERS: Final = ("id", "type", "timestamp", "stored_at")

_Fields = dict[str, msgspec.Raw]

_BODY: Final = msgspec.json.Decoder(
    dict[str, msgspec.Raw] | list[dict[str, msgspec.Raw]]
)
_VALUE: Final = msgspec.json.Decoder()


@dataclass(slots=True)
class IncomingActivities:
    """Events of one request as columns; times in microseconds."""

    starts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)

    def only(
        self, places: Sequence[int], texts: Sequence[bytes]
    ) -> "IncomingActivities":
        """Return the events at `places`, with `texts` for their data."""
        return IncomingActivities(
            starts=[self.starts[at] for at in places],
            durations=[self.durations[at] for at in places],
            flags=[self.flags[at] for at in places],
            texts=list(texts),
        )


def parse_activities(body: bytes, *, now_us: int) -> IncomingActivities:
    """Return the events of a body; `now_us` is the time of those without one."""
    wire.check_count(body)
    parsed = IncomingActivities()
    for place, fields in _objects(body):
        start, duration, flags = now_us, NO_DURATION, 0
        timestamp = fields.pop("timestamp", None)
        if timestamp is not None:
            start, duration, flags = _when(_value(timestamp), name=f"{place}timestamp")
        if "duration" in fields and not flags & PAIR:
            duration = wire.duration_of(
                _value(fields.pop("duration")), start=start, field=f"{place}duration"
            )
        for key in _SERVERS:
            fields.pop(key, None)
        parsed.starts.append(start)
        parsed.durations.append(duration)
        parsed.flags.append(flags)
        parsed.texts.append(b"{%b}" % _members(fields))
    return parsed


def render_activities(table: EventTable, *, kind: str) -> Iterator[bytes]:
    """Yield the JSON array of a table's events in pieces, in the table's order."""
    middle = b'"type":%b,"timestamp":' % encode_basestring_ascii(kind).encode()
    heads: dict[tuple[int, bool], bytes] = {}
    opening = b"["
    for begin in range(0, len(table), CHUNK_ROWS):
        part = table.take(slice(begin, begin + CHUNK_ROWS))
        rows = []
        for event_id, start, end, duration, seconds, stored_at, flags, data in zip(
            part.id.tolist(),
            render_many(part.start),
            render_many(part.end()),
            part.duration.tolist(),
            render_seconds_many(np.maximum(part.duration, 0)),
            render_many(part.stored_at),
            part.flags.tolist(),
            part.data.tolist(),
            strict=True,
        ):
            pair = bool(flags & PAIR)
            spans = duration >= 0 and not pair
            head = heads.get((data, spans))
            if head is None:
                head = heads[data, spans] = _head(part.texts[data], spans=spans)
            if pair:
                when = b'["%b","%b"]' % (start, end)
            elif spans:
                when = b'"%b","duration":%b' % (start, seconds)
            else:
                when = b'"%b"' % start
            rows.append(
                b'{%b"id":%d,%b%b,"stored_at":"%b"}'
                % (head, event_id, middle, when, stored_at)
            )
        yield opening + b",".join(rows)
        opening = b","
    yield b"[]" if opening == b"[" else b"]"


def _objects(body: bytes) -> Iterable[tuple[str, _Fields]]:
    """Return each object's fields, with what the names of its fields begin with."""
    try:
        decoded = _BODY.decode(body)
    except wire.UNREADABLE:
        items, places = wire.objects_of(jsonbodies.load(body))
        return [
            (
                place,
                {
                    key: msgspec.Raw(
                        jsonbodies.dump(value, field=place + wire.shown(key))
                    )
                    for key, value in item.items()
                },
            )
            for item, place in zip(items, places, strict=True)
        ]
    if isinstance(decoded, dict):
        return [("", decoded)]
    wire.check_events_max(len(decoded))
    return [(f"[{at}].", fields) for at, fields in enumerate(decoded)]


def _value(raw: msgspec.Raw) -> object:
    try:
        return _VALUE.decode(raw)
    except wire.UNREADABLE:
        return jsonbodies.load(bytes(raw))


def _when(value: object, *, name: str) -> tuple[int, int, int]:
    """Return start, duration and flags of one time, or of a pair."""
    if isinstance(value, str):
        return wire.start_of(value, field=name), NO_DURATION, 0
    if not isinstance(value, list):
        raise InvalidInputError(
            name, f"expected a time or a pair of start and end, got {type_name(value)}"
        )
    if len(value) != 2:
        raise InvalidInputError(
            name,
            f"expected a time or a pair of start and end, got {len(value)} times",
        )
    start = wire.start_of(value[0], field=f"{name}[0]")
    end = wire.start_of(value[1], field=f"{name}[1]")
    if end < start:
        raise InvalidInputError(name, "the end is before the start")
    return start, end - start, PAIR


def _members(fields: _Fields) -> bytes:
    return b",".join(
        b"%b:%b" % (encode_basestring_ascii(key).encode(), bytes(value))
        for key, value in fields.items()
    )


def _head(text: bytes, *, spans: bool) -> bytes:
    """Return the members of a JSON object, ready for more to follow.

    Those that the server answers itself are left out: an event may have come
    by another way, with data of these names.
    """
    taken = (*_SERVERS, "duration") if spans else _SERVERS
    if any(b'"%b"' % key.encode() in text for key in taken):
        ((_, fields),) = _objects(text)
        members = _members({k: v for k, v in fields.items() if k not in taken})
    else:
        members = text[1:-1]
    return members + b"," if members else b""
