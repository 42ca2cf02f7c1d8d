"""Read ActivityWatch's export: JSON with every bucket and its events.

    {"buckets": {"ID": {"id": …, "type": …, "client": …, "hostname": …,
                        "created": …, "data": {…}, "events": [
        {"timestamp": …, "duration": 12.5, "data": {…}}, …]}, …}}

Both of ActivityWatch's servers write it, with small differences; keys may come
in any order. The `id` of an event is a number of the server that wrote it, and is
left behind: an event is known again by what it says.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from awvault.columns import timestamps
from awvault.columns.jsontext import type_name
from awvault.columns.timestamps import DURATION_US_MAX, TIME_US_MAX
from awvault.errors import InvalidInputError, LimitError
from awvault.transfer.jsonstream import JsonStream, Read, Run
from awvault.transfer.parts import (
    BucketPart,
    EventsPart,
    Part,
    Parts,
    Rows,
    bucket_part,
)

HELD_EVENTS_MAX: Final = 100_000
HELD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Events that may come before the type of their bucket, and their data."""

NAME_SHOWN_CHARS_MAX: Final = 100
"""A name out of a file is repeated up to this length."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_BUCKET_FIELDS: Final = frozenset(
    {"id", "type", "client", "hostname", "created", "data"}
)
_FIELDS: Final = frozenset({"id", "timestamp", "duration", "data"})


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    timestamp: datetime
    duration: float = 0.0
    data: msgspec.Raw = msgspec.Raw(b"{}")
    id: msgspec.Raw | UnsetType = UNSET


_EVENT: Final = msgspec.json.Decoder(_Event)
_EVENTS: Final = msgspec.json.Decoder(list[_Event])
_RAWS: Final = msgspec.json.Decoder(list[msgspec.Raw])


async def activitywatch_parts(read: Read) -> Parts:
    """Yield what an export holds, as it is read.

    Raises `InvalidInputError` saying where it is wrong; what was yielded before
    stands.
    """
    stream = JsonStream(read)
    found = False
    if await stream.peek() != "{":
        raise stream.wrong("expected an export, of ActivityWatch or of awvault")
    async for name in stream.members():
        if name != "buckets":
            await stream.value()
            continue
        found = True
        async for key in stream.members():
            try:
                async for part in _bucket(stream, key):
                    yield part
            except InvalidInputError as error:
                raise error.within(f'buckets["{shown(key)}"]') from None
    await stream.end()
    if not found:
        raise InvalidInputError("buckets", "is missing: not an export of ActivityWatch")


async def _bucket(stream: JsonStream, key: str) -> Parts:
    """Yield a bucket and its events."""
    bucket = _Bucket(key)
    if await stream.peek() != "{":
        raise stream.wrong("expected an object")
    async for name in stream.members():
        if name != "events" or await stream.peek() == "n":
            value = await stream.value()
            if name in _BUCKET_FIELDS:
                bucket.known[name] = value
            continue
        if await stream.peek() != "[":
            raise stream.wrong("events: expected an array")
        async for part in bucket.events(stream):
            yield part
    for part in bucket.rest():
        yield part


class _Bucket:
    """One bucket of an export, as far as it was read."""

    def __init__(self, key: str) -> None:
        self.known: dict[str, bytes] = {}
        """The text of each of its fields but the events."""
        self._key = key
        self._described: BucketPart | None = None
        # Events that came before it was known what bucket they are of.
        self._held: list[EventsPart] = []
        self._index = 0

    async def events(self, stream: JsonStream) -> Parts:
        """Yield the bucket if its type is known, and then its events."""
        if "type" in self.known and self._described is None:
            self._described = _described(self._key, self.known)
            yield self._described
        rows = Rows(self._key if self._described is None else self._described.id)
        async for run in stream.elements():
            await asyncio.to_thread(_put_run, run, self._index, rows)
            self._index += len(run.commas) + 1
            if self._described is None:
                _check_held(rows)
            elif rows.is_full():
                yield rows.take()
        if not rows.starts:
            return
        if self._described is None:
            self._held.append(rows.take())
        else:
            yield rows.take()

    def rest(self) -> Iterator[Part]:
        """Yield what could not be yielded before its end was read."""
        bucket = _described(self._key, self.known)
        if self._described is None:
            yield bucket
        elif bucket.id != self._described.id:
            raise InvalidInputError("id", "comes after the events, and is another name")
        for part in self._held:
            yield replace(part, bucket=bucket.id)


def _check_held(rows: Rows) -> None:
    if len(rows.starts) > HELD_EVENTS_MAX or rows.size > HELD_BYTES_MAX:
        raise LimitError(
            "type",
            "must come before the events where there are more than"
            f" {HELD_EVENTS_MAX} of them",
        )


def _described(key: str, known: dict[str, bytes]) -> BucketPart:
    """Return a bucket by its fields, of which `type` must be there."""
    if "type" not in known:
        raise InvalidInputError("type", "is missing: expected a string")
    created = None
    if _value(known, "created") is not None:
        created = timestamps.parse(_text(known, "created", ""), field="created")
    data = known.get("data", b"{}")
    return bucket_part(
        _text(known, "id", key),
        type=_text(known, "type", ""),
        client=_text(known, "client", ""),
        hostname=_text(known, "hostname", ""),
        created=created,
        data=b"{}" if data == b"null" else data,
    )


def _value(known: dict[str, bytes], name: str) -> object:
    if name not in known:
        return None
    try:
        value: object = json.loads(known[name])
    except (ValueError, RecursionError):
        raise InvalidInputError(name, "is not valid JSON") from None
    return value


def _text(known: dict[str, bytes], name: str, default: str) -> str:
    value = _value(known, name)
    if value is None and name != "type":
        return default
    if not isinstance(value, str):
        raise InvalidInputError(name, f"expected a string, got {type_name(value)}")
    return value


# -- events -------------------------------------------------------------------


def put_events(text: bytes, rows: Rows) -> None:
    """Put the events of a JSON array into `rows`: all of them, or none.

    Raises `InvalidInputError` whose field begins with the place in the array.
    """
    try:
        events = _EVENTS.decode(text)
        starts = [_us_of(event.timestamp) for event in events]
        durations = [round(event.duration * 1e6) for event in events]
    except (*_UNREADABLE, TypeError, ValueError, OverflowError):
        found = [_event(element, at) for at, element in enumerate(_elements(text))]
        starts = [event[0] for event in found]
        durations = [event[1] for event in found]
        texts = [event[2] for event in found]
    else:
        texts = [bytes(event.data) for event in events]
    rows.put_many(starts, durations, texts)


def _put_run(run: Run, index: int, rows: Rows) -> None:
    """Put the events of a run into `rows`, the first of them being number `index`."""
    try:
        put_events(b"[%b]" % run.text, rows)
    except InvalidInputError as error:
        for at, (offset, element) in enumerate(run.elements()):
            try:
                put_events(b"[%b]" % element, Rows(rows.bucket))
            except InvalidInputError as one:
                place = one.field.removeprefix("[0]").removeprefix(".")
                raise type(one)(
                    f"events[{index + at}]" + (f".{place}" if place else ""),
                    f"{one} (byte {offset})",
                ) from None
        raise InvalidInputError(
            f"events[{index}]", f"{error} (byte {run.offset})"
        ) from None


def _elements(text: bytes) -> list[bytes]:
    """Return the text of each element of an array that msgspec did not take."""
    # Raw keeps each element's own text, and checks only that it is JSON. What it
    # will not read, lone surrogates among it, the standard library takes apart.
    try:
        return [bytes(each) for each in _RAWS.decode(text)]
    except _UNREADABLE:
        value = _load(text)
    if not isinstance(value, list):
        raise InvalidInputError("", f"expected an array, got {type_name(value)}")
    return [json.dumps(each).encode("ascii") for each in value]


def _event(element: bytes, at: int) -> tuple[int, int, bytes]:
    """Return start, duration and data of one event."""
    try:
        event = _EVENT.decode(element)
        start = _us_of(event.timestamp)
        return start, round(event.duration * 1e6), bytes(event.data)
    except (*_UNREADABLE, TypeError, ValueError, OverflowError):
        try:
            return _slowly(element)
        except InvalidInputError as error:
            raise error.within(f"[{at}]") from None


def _us_of(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _load(text: bytes) -> object:
    try:
        value: object = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidInputError("", "is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            "", f"not valid JSON, from its character {error.pos} on"
        ) from None
    except RecursionError:
        raise InvalidInputError("", "nested too deeply") from None
    except ValueError:
        raise InvalidInputError("", "a number has too many digits") from None
    return value


def _slowly(element: bytes) -> tuple[int, int, bytes]:
    """Read one event field by field: it has a rare form, or it is wrong."""
    event = _load(element)
    if not isinstance(event, dict):
        raise InvalidInputError("", f"expected an object, got {type_name(event)}")
    for name in event:
        if name not in _FIELDS:
            raise InvalidInputError(
                shown(name), "is not a field of an event: timestamp, duration, data"
            )
    if "timestamp" not in event:
        raise InvalidInputError("timestamp", "is missing: expected a time in ISO 8601")
    timestamp = event["timestamp"]
    if not isinstance(timestamp, str):
        raise InvalidInputError(
            "timestamp", f"expected a time in ISO 8601, got {type_name(timestamp)}"
        )
    start = timestamps.parse(timestamp)
    data = event.get("data", {})
    if not isinstance(data, dict):
        raise InvalidInputError("data", f"expected an object, got {type_name(data)}")
    try:
        text = json.dumps(data, separators=(",", ":")).encode("ascii")
    except RecursionError:
        raise InvalidInputError("data", "nested too deeply") from None
    return start, _duration(event.get("duration", 0), start), text


def _duration(value: Any, start: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(
            "duration", f"expected a number of seconds, got {type_name(value)}"
        )
    # NaN fails the comparisons; an integer of any size compares.
    if not -DURATION_US_MAX / 1e6 <= value <= (TIME_US_MAX - start) / 1e6:
        raise InvalidInputError(
            "duration", "expected a number of seconds that end before the year 10000"
        )
    return -1 if value < 0 else round(value * 1e6)


def shown(name: str) -> str:
    """Return a name out of a file as an error may repeat it."""
    return name[:NAME_SHOWN_CHARS_MAX].encode("ascii", "backslashreplace").decode()
