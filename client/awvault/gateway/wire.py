"""Bodies of the ActivityWatch API: bytes to rows, and nothing else knows them.

Each body is read twice at most. Once by msgspec, straight into typed objects,
the data of an event left as the bytes that were sent. If that fails, once more
by `jsonbodies`, field by field: either a form that msgspec does not know (other
ISO 8601 times, lone surrogates) is taken after all, or the error names the
element and the field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from awvault.columns import timestamps
from awvault.columns.jsontext import type_name
from awvault.columns.timestamps import TIME_US_MAX, TIME_US_MIN
from awvault.errors import InvalidInputError, LimitError
from awvault.gateway import jsonbodies
from awvault.gateway.jsonbodies import BODY

EVENTS_MAX: Final = 100_000
"""Events in one request."""

COUNTED_BYTES_MIN: Final = 1024 * 1024
"""Bodies above this are counted before they are taken apart, to bound memory."""

OBJECTS_MAX: Final = 4 * EVENTS_MAX
"""JSON objects in such a body: an event and, mostly, its data."""

FIELD_ECHO_CHARS_MAX: Final = 100
"""A field that is not known is repeated up to this length."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_DATA: Final = msgspec.Raw(b"{}")
_EVENT_KEYS: Final = frozenset({"id", "timestamp", "duration", "data"})
# What msgspec raises for a body that is not of the type asked for, or not JSON.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    timestamp: datetime | UnsetType = UNSET
    duration: float = 0.0
    data: msgspec.Raw = _NO_DATA
    id: int | None = None


class _Heartbeat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    timestamp: datetime
    duration: float = 0.0
    data: msgspec.Raw = _NO_DATA
    id: int | None = None


class BucketBody(msgspec.Struct):
    """What may be said of a new bucket. Other keys are ignored."""

    type: str
    client: str
    hostname: str
    created: str | None = None
    data: msgspec.Raw | None = None


class BucketChange(msgspec.Struct):
    """What may be said anew of a bucket. Other keys are ignored."""

    type: str | None = None
    client: str | None = None
    hostname: str | None = None
    data: msgspec.Raw | None = None


_EVENTS: Final = msgspec.json.Decoder(_Event | list[_Event])
_HEARTBEAT: Final = msgspec.json.Decoder(_Heartbeat)
_BUCKET: Final = msgspec.json.Decoder(BucketBody)
_CHANGE: Final = msgspec.json.Decoder(BucketChange)


@dataclass(slots=True)
class IncomingEvents:
    """Events of one request as columns; times in microseconds."""

    starts: list[int]
    durations: list[int]
    texts: list[bytes]
    ids: list[int | None] | None
    """None: no event named an id."""

    def only(self, places: Sequence[int], texts: Sequence[bytes]) -> "IncomingEvents":
        """Return the events at `places`, with `texts` for their data."""
        if len(places) == len(self.starts):
            return IncomingEvents(self.starts, self.durations, list(texts), self.ids)
        return IncomingEvents(
            [self.starts[at] for at in places],
            [self.durations[at] for at in places],
            list(texts),
            None if self.ids is None else [self.ids[at] for at in places],
        )


@dataclass(frozen=True, slots=True)
class IncomingHeartbeat:
    """One heartbeat; times in microseconds."""

    start: int
    duration: int
    text: bytes


def parse_events(body: bytes, *, now_us: int) -> IncomingEvents:
    """Return the events of a body; `now_us` is the time of those without one."""
    check_count(body)
    try:
        decoded = _EVENTS.decode(body)
    except UNREADABLE:
        return _parse_events_slowly(body, now_us=now_us)
    events: Sequence[_Event] = decoded if isinstance(decoded, list) else (decoded,)
    if not events:
        return IncomingEvents([], [], [], None)
    check_events_max(len(events))
    try:
        starts = [
            now_us if event.timestamp is UNSET else _us_of(event.timestamp)
            for event in events
        ]
        durations = [round(event.duration * 1e6) for event in events]
    except (TypeError, OverflowError):
        # A time without an offset cannot be subtracted; the slow way knows it.
        return _parse_events_slowly(body, now_us=now_us)
    texts = [bytes(event.data) for event in events]
    if (
        min(durations) < 0
        or min(starts) < TIME_US_MIN
        or max(starts) + max(durations) > TIME_US_MAX
        or not all([text.startswith(b"{") for text in texts])  # noqa: C419 - faster
    ):
        return _parse_events_slowly(body, now_us=now_us)
    ids = [event.id for event in events]
    return IncomingEvents(
        starts, durations, texts, None if ids.count(None) == len(ids) else ids
    )


def parse_heartbeat(body: bytes) -> IncomingHeartbeat:
    """Return the heartbeat of a body."""
    try:
        beat = _HEARTBEAT.decode(body)
        start = _us_of(beat.timestamp)
        duration = round(beat.duration * 1e6)
    except (*UNREADABLE, TypeError, OverflowError):
        return _parse_heartbeat_slowly(body)
    text = bytes(beat.data)
    if (
        duration < 0
        or start < TIME_US_MIN
        or start + duration > TIME_US_MAX
        or not text.startswith(b"{")
    ):
        return _parse_heartbeat_slowly(body)
    return IncomingHeartbeat(start, duration, text)


def parse_bucket(body: bytes) -> BucketBody:
    """Return what a body says of a new bucket."""
    try:
        return _BUCKET.decode(body)
    except UNREADABLE:
        value = jsonbodies.load(body)
    if not isinstance(value, dict):
        raise InvalidInputError(BODY, f"expected an object, got {type_name(value)}")
    for key in ("type", "client", "hostname"):
        if key not in value:
            raise InvalidInputError(key, "is missing: expected a string")
        _string(value, key)
    created = value.get("created")
    if created is not None and not isinstance(created, str):
        raise InvalidInputError("created", f"expected a time, got {type_name(created)}")
    data = value.get("data")
    return BucketBody(
        type=value["type"],
        client=value["client"],
        hostname=value["hostname"],
        created=created,
        data=None if data is None else msgspec.Raw(jsonbodies.dump(data, field="data")),
    )


def parse_bucket_change(body: bytes) -> BucketChange:
    """Return what a body says anew of a bucket; what it leaves out is None."""
    try:
        return _CHANGE.decode(body)
    except UNREADABLE:
        value = jsonbodies.load(body)
    if not isinstance(value, dict):
        raise InvalidInputError(BODY, f"expected an object, got {type_name(value)}")
    given = {
        key: _string(value, key)
        for key in ("type", "client", "hostname")
        if value.get(key) is not None
    }
    data = value.get("data")
    return BucketChange(
        **given,
        data=None if data is None else msgspec.Raw(jsonbodies.dump(data, field="data")),
    )


def check_count(body: bytes) -> None:
    """Refuse a body whose parts would take far more memory than its bytes."""
    if len(body) > COUNTED_BYTES_MIN:
        objects = body.count(b"{")
        if objects > OBJECTS_MAX:
            raise LimitError(
                BODY,
                f"holds {objects} objects, at most {OBJECTS_MAX} are taken at once:"
                " send them in parts",
            )


def check_events_max(count: int) -> None:
    """Refuse more events than one request may bring."""
    if count > EVENTS_MAX:
        raise LimitError(
            BODY,
            f"holds {count} events, at most {EVENTS_MAX} are taken at once:"
            " send them in parts",
        )


def objects_of(value: object) -> tuple[list[dict[str, object]], Sequence[str]]:
    """Return the objects of a body, and for each what its fields' names begin with."""
    if isinstance(value, dict):
        return [value], ("",)
    if not isinstance(value, list):
        raise InvalidInputError(
            BODY, f"expected an object or an array of objects, got {type_name(value)}"
        )
    check_events_max(len(value))
    for at, item in enumerate(value):
        if not isinstance(item, dict):
            raise InvalidInputError(
                f"[{at}]", f"expected an object, got {type_name(item)}"
            )
    return value, [f"[{at}]." for at in range(len(value))]


def shown(key: str) -> str:
    """Return the name of a field as an error may repeat it."""
    return key[:FIELD_ECHO_CHARS_MAX].encode("ascii", "backslashreplace").decode()


def start_of(value: object, *, field: str) -> int:
    """Return a time in microseconds, in any form of ISO 8601."""
    if not isinstance(value, str):
        raise InvalidInputError(
            field, f"expected a time in ISO 8601, got {type_name(value)}"
        )
    return timestamps.parse(value, field=field)


def duration_of(value: object, *, start: int, field: str) -> int:
    """Return a duration in microseconds of an event that starts at `start`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(
            field, f"expected a number of seconds, got {type_name(value)}"
        )
    # NaN fails both comparisons, so it is refused; integers of any size compare.
    if not value >= 0:
        raise InvalidInputError(field, "expected a number of seconds from 0 upwards")
    if not value <= (TIME_US_MAX - start) / 1e6:
        raise InvalidInputError(field, "the event must end before the year 10000")
    return min(round(value * 1e6), TIME_US_MAX - start)


def _string(value: dict[str, object], key: str) -> str:
    found = value[key]
    if not isinstance(found, str):
        raise InvalidInputError(key, f"expected a string, got {type_name(found)}")
    return found


def _us_of(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _parse_events_slowly(body: bytes, *, now_us: int) -> IncomingEvents:
    items, places = objects_of(jsonbodies.load(body))
    parsed = IncomingEvents([], [], [], [])
    ids: list[int | None] = []
    for item, place in zip(items, places, strict=True):
        start, duration, text, event_id = _fields(item, place, now_us=now_us)
        parsed.starts.append(start)
        parsed.durations.append(duration)
        parsed.texts.append(text)
        ids.append(event_id)
    parsed.ids = ids if any(i is not None for i in ids) else None
    return parsed


def _parse_heartbeat_slowly(body: bytes) -> IncomingHeartbeat:
    value = jsonbodies.load(body)
    if not isinstance(value, dict):
        raise InvalidInputError(BODY, f"expected an object, got {type_name(value)}")
    if "timestamp" not in value:
        raise InvalidInputError("timestamp", "is missing: expected a time in ISO 8601")
    start, duration, text, _ = _fields(value, "", now_us=0)
    return IncomingHeartbeat(start, duration, text)


def _fields(
    item: dict[str, object], place: str, *, now_us: int
) -> tuple[int, int, bytes, int | None]:
    for key in item:
        if key not in _EVENT_KEYS:
            raise InvalidInputError(
                f"{place}{shown(key)}", "is not a field: id, timestamp, duration, data"
            )
    start = now_us
    if "timestamp" in item:
        start = start_of(item["timestamp"], field=f"{place}timestamp")
    duration = duration_of(
        item.get("duration", 0), start=start, field=f"{place}duration"
    )
    data = item.get("data", {})
    if not isinstance(data, dict):
        raise InvalidInputError(
            f"{place}data", f"expected an object, got {type_name(data)}"
        )
    event_id = item.get("id")
    if event_id is not None and (
        isinstance(event_id, bool) or not isinstance(event_id, int)
    ):
        raise InvalidInputError(
            f"{place}id", f"expected an integer, got {type_name(event_id)}"
        )
    text = jsonbodies.dump(data, field=f"{place}data")
    return start, duration, text, event_id
