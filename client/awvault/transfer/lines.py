"""Our own export format: JSON lines, one bucket or event each.

    {"format":"awvault-lines","version":1}
    {"bucket":{"id":…,"type":…,"client":…,"hostname":…,"created":…,"data":{…}}}
    {"event":{"bucket":…,"id":…,"timestamp":…,"duration":12.5,"data":{…}}}
    {"end":{"buckets":1,"events":1}}

The last line tells a whole file from one that was cut off. A bucket comes before
its events. `duration` is in seconds, exact to the microsecond, or null for an
event without an end; `pair` is true where start and end were sent as a pair;
`stored_at` is there where the event has one. The `id` is the event's number in
the vault that wrote the file; an import gives its own.
docs/reference/cli.md, "The export format", has the last word.
"""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from awvault.columns.table import PAIR
from awvault.errors import InvalidInputError
from awvault.service import counted, microseconds, seconds
from awvault.transfer.jsonstream import Read
from awvault.transfer.parts import BucketPart, Part, Parts, Rows, bucket_part

FORMAT: Final = "awvault-lines"
VERSION: Final = 1
LINE_BYTES_MAX: Final = 1024 * 1024
"""The data of one event is at most 256 KiB; escapes can lengthen it."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: str
    version: int


class BucketLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One bucket, without its events."""

    id: str
    type: str
    client: str = ""
    hostname: str = ""
    created: datetime | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")

    def part(self) -> BucketPart:
        """Return the bucket, checked."""
        return bucket_part(
            self.id,
            type=self.type,
            client=self.client,
            hostname=self.hostname,
            created=(
                None
                if self.created is None
                else to_microseconds(self.created, field="created")
            ),
            data=bytes(self.data),
        )


class EventLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One event."""

    bucket: str
    timestamp: datetime
    data: msgspec.Raw
    id: int | None = None
    duration: Decimal | None = None
    pair: bool = False
    stored_at: datetime | None = None

    def start_us(self) -> int:
        """Return the start in microseconds since 1970, UTC."""
        return to_microseconds(self.timestamp, field="timestamp")

    def stored_us(self) -> int:
        """Return when it was stored, in microseconds since 1970, UTC; -1: not said."""
        if self.stored_at is None:
            return -1
        return to_microseconds(self.stored_at, field="stored_at")

    def duration_us(self) -> int:
        """Return the duration in microseconds; -1: none."""
        if self.duration is None:
            return -1
        try:
            duration = microseconds(self.duration)
        except ValueError as error:
            raise InvalidInputError("duration", str(error)) from None
        if duration < 0:
            raise InvalidInputError("duration", "must not be negative")
        return duration


class EndLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The last line: how many lines came before it."""

    buckets: int
    events: int


Line = Header | BucketLine | EventLine | EndLine


class _Tagged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Any line but the header: exactly one of these."""

    bucket: BucketLine | None = None
    event: EventLine | None = None
    end: EndLine | None = None


_TAGGED: Final = msgspec.json.Decoder(_Tagged)
_HEADER: Final = msgspec.json.Decoder(Header)


async def lines_parts(read: Read) -> Parts:
    """Yield what an export holds, as it is read.

    Raises `InvalidInputError`, naming the line, for the first that is wrong; what
    was yielded before stands.
    """
    reader = _Reader()
    number = 0
    wrong: InvalidInputError | None = None
    async for line in split_lines(read):
        number += 1
        if number > 1 and not line:
            continue
        try:
            parts = reader.take(line, first=number == 1)
        except InvalidInputError as error:
            wrong = InvalidInputError("line", f"line {number}: {error}")
            # What came before the wrong line goes in.
            parts = reader.rest()
        for part in parts:
            yield part
        if wrong is not None:
            raise wrong
    if number == 0:
        raise InvalidInputError("file", "the file is empty")
    for part in reader.rest():
        yield part
    reader.check_end()


async def split_lines(read: Read) -> AsyncIterator[bytes]:
    """Yield lines without their newlines; one that is too long is cut."""
    rest = b""
    while chunk := await read():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r")
        if len(rest) > LINE_BYTES_MAX:
            yield rest
            return
    if rest:
        yield rest


class _Reader:
    """Puts the lines of an export together, one after the other."""

    def __init__(self) -> None:
        self._rows = Rows("")
        self._buckets = 0
        self._events = 0
        self._ended = False

    def take(self, raw: bytes, *, first: bool) -> Sequence[Part]:
        """Take one line; return the parts that are ready."""
        if first:
            decode_header(raw)
            return ()
        if self._ended:
            raise InvalidInputError("line", "comes after the end line")
        line = decode_line(raw)
        if isinstance(line, EventLine):
            return self._take_event(line)
        if isinstance(line, BucketLine):
            self._buckets += 1
            bucket = line.part()
            return *self.rest(), bucket
        if (line.buckets, line.events) != (self._buckets, self._events):
            raise InvalidInputError(
                "end",
                f"the end line counts {counted(line.buckets, 'bucket')} and"
                f" {counted(line.events, 'event')}, the file has"
                f" {self._buckets} and {self._events}",
            )
        self._ended = True
        return ()

    def _take_event(self, line: EventLine) -> Sequence[Part]:
        ready: Sequence[Part] = ()
        if line.bucket != self._rows.bucket or self._rows.is_full():
            ready = self.rest()
            self._rows = Rows(line.bucket)
        self._rows.put_exactly(
            line.start_us(),
            line.duration_us(),
            bytes(line.data),
            flags=PAIR if line.pair else 0,
            stored_at=line.stored_us(),
        )
        self._events += 1
        return ready

    def rest(self) -> Sequence[Part]:
        """Return what was gathered so far."""
        return (self._rows.take(),) if self._rows.starts else ()

    def check_end(self) -> None:
        """Refuse a file that is not whole."""
        if not self._ended:
            raise InvalidInputError(
                "end",
                "the file ends without its end line: it was cut off;"
                f" here now: {counted(self._events, 'event')} of it",
            )


def encode_header() -> bytes:
    """Return the first line."""
    return msgspec.json.encode(Header(FORMAT, VERSION))


def encode_bucket(line: BucketLine) -> bytes:
    """Return a bucket's line."""
    return b'{"bucket":%s}' % msgspec.json.encode(line)


def event_fields(
    *,
    event_id: int,
    start: int,
    duration: int,
    pair: bool,
    stored_at: int,
    text: bytes,
) -> bytes:
    """Return the fields of an event as the inside of a JSON object.

    Times in microseconds; a duration or stored_at of -1 means none.
    """
    return b'"id":%d,"timestamp":"%s","duration":%s,%s%s"data":%s' % (
        event_id,
        timestamp(start).encode("ascii"),
        b"null" if duration < 0 else seconds(duration).encode("ascii"),
        b'"pair":true,' if pair else b"",
        b""
        if stored_at < 0
        else b'"stored_at":"%s",' % timestamp(stored_at).encode("ascii"),
        text,
    )


def encode_end(*, buckets: int, events: int) -> bytes:
    """Return the last line."""
    return b'{"end":%s}' % msgspec.json.encode(EndLine(buckets=buckets, events=events))


def decode_header(line: bytes) -> None:
    """Raise `InvalidInputError` unless `line` is the first line of an export."""
    try:
        header = _HEADER.decode(line)
    except ValueError:
        raise InvalidInputError(
            "header", "the first line is not that of an awvault export"
        ) from None
    if header.format != FORMAT:
        raise InvalidInputError(
            "format", f'the file is "{header.format[:40]}", not "{FORMAT}"'
        )
    if header.version != VERSION:
        raise InvalidInputError(
            "version",
            f"the file has version {header.version}, this program reads {VERSION}",
        )


def decode_line(line: bytes) -> BucketLine | EventLine | EndLine:
    """Return what a line after the first holds, or raise `InvalidInputError`."""
    if len(line) > LINE_BYTES_MAX:
        raise InvalidInputError(
            "line", f"has {len(line)} bytes, at most {LINE_BYTES_MAX} are read"
        )
    try:
        tagged = _decode(line)
    except (ValueError, RecursionError) as error:
        # A message of msgspec names the field, and no value.
        raise InvalidInputError("line", str(error)) from None
    found = [x for x in (tagged.bucket, tagged.event, tagged.end) if x is not None]
    if len(found) != 1:
        raise InvalidInputError("line", "must hold one of bucket, event, end")
    return found[0]


def _decode(line: bytes) -> _Tagged:
    try:
        return _TAGGED.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # A lone surrogate, "\\ud83d", is valid in JSON text, and titles have
        # them. msgspec refuses it; the standard library keeps it. Only the data
        # of an event may hold one, so only that goes the other way.
        plain = json.loads(line)
        event = plain.get("event") if isinstance(plain, dict) else None
        if not isinstance(event, dict) or "data" not in event:
            raise
        text = json.dumps(event["data"], separators=(",", ":"), allow_nan=False)
        rest = _TAGGED.decode(json.dumps(plain | {"event": event | {"data": {}}}))
        if rest.event is None:
            raise
        data = msgspec.Raw(text.encode("ascii"))
        return _Tagged(event=msgspec.structs.replace(rest.event, data=data))


def to_microseconds(value: datetime, *, field: str) -> int:
    """Return an aware time as microseconds since 1970, UTC."""
    if value.tzinfo is None:
        raise InvalidInputError(field, "must name its offset from UTC")
    return (value - _EPOCH) // _MICROSECOND


def timestamp(value: int) -> str:
    """Return microseconds since 1970 as RFC 3339, UTC."""
    moment = _EPOCH + timedelta(microseconds=value)
    return moment.isoformat().replace("+00:00", "Z")
