"""What every source of an import becomes: buckets, and rows of events.

A reader (`lines`, `activitywatch`, `databases`, `servers`) turns its source into
parts, checked, and says of what is wrong where in the source it stands. The
importer puts parts into the vault and need not know where they came from. As
JSON lines they also travel to the process that holds the vault.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from awvault.columns import jsontext
from awvault.columns.timestamps import TIME_US_MAX, TIME_US_MIN
from awvault.errors import InvalidInputError
from awvault.incoming import check_bucket_texts, check_span, compact_bucket_data

PART_EVENTS_MAX: Final = 4_096
PART_TEXT_BYTES_MAX: Final = 1024 * 1024
"""A part that has so much goes on its way: whichever comes first."""


class BucketPart(
    msgspec.Struct, frozen=True, tag="bucket", tag_field="part", kw_only=True
):
    """One bucket; its events follow. One that is here already stays as it is."""

    id: str
    type: str
    client: str = ""
    hostname: str = ""
    # Microseconds since 1970, UTC. None: not said.
    created: int | None = None
    # A compact JSON object, as text.
    data: str = "{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsPart:
    """Rows of one bucket, one list per column, as in `NewRows`."""

    bucket: str
    starts: list[int]
    durations: list[int]
    texts: list[bytes]
    """Compact JSON objects."""
    flags: list[int] | None = None
    """None: of no event is there anything to say."""
    stored_at: list[int] | None = None
    adjusted: int = 0
    """Of these rows, how many had a negative duration, which is 0 here."""


class _EventsLine(msgspec.Struct, frozen=True, tag="events", tag_field="part"):
    bucket: str
    starts: list[int]
    durations: list[int]
    # One to a line, as one string: JSON inside of JSON would have to be read twice,
    # and msgspec reads no lone surrogates.
    texts: str
    flags: list[int] | None
    stored_at: list[int] | None
    adjusted: int


Part = BucketPart | EventsPart
Parts = AsyncGenerator[Part, None]

_LINE: Final = msgspec.json.Decoder(BucketPart | _EventsLine)


def encode_part(part: Part) -> bytes:
    """Return a part as one line of JSON, without its newline."""
    if isinstance(part, BucketPart):
        return msgspec.json.encode(part)
    return msgspec.json.encode(
        _EventsLine(
            part.bucket,
            part.starts,
            part.durations,
            b"\n".join(part.texts).decode("utf-8"),
            part.flags,
            part.stored_at,
            part.adjusted,
        )
    )


def decode_part(line: bytes) -> Part:
    """Return the part of a line; ValueError: it is none."""
    found = _LINE.decode(line)
    if isinstance(found, BucketPart):
        return found
    return EventsPart(
        bucket=found.bucket,
        starts=found.starts,
        durations=found.durations,
        texts=found.texts.encode("utf-8").split(b"\n"),
        flags=found.flags,
        stored_at=found.stored_at,
        adjusted=found.adjusted,
    )


def bucket_part(
    bucket_id: str,
    *,
    type: str,  # noqa: A002 - the field's name
    client: str,
    hostname: str,
    created: int | None,
    data: bytes,
) -> BucketPart:
    """Return a bucket, or raise `InvalidInputError` naming the field."""
    check_bucket_texts(bucket_id, type, client, hostname)
    if created is not None and not TIME_US_MIN <= created <= TIME_US_MAX:
        raise InvalidInputError("created", "must lie in the years 1 to 9999")
    return BucketPart(
        id=bucket_id,
        type=type,
        client=client,
        hostname=hostname,
        created=created,
        data=compact_bucket_data(data).decode("utf-8"),
    )


@dataclass(slots=True)
class Rows:
    """Rows of one bucket that are being gathered into a part."""

    bucket: str
    starts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    flags: list[int] | None = None
    stored_at: list[int] | None = None
    size: int = 0
    adjusted: int = 0

    def put_many(
        self,
        starts: Sequence[int],
        durations: Sequence[int],
        texts: Sequence[bytes],
    ) -> None:
        """Take rows; `texts` as they were sent.

        A negative duration becomes 0 and is counted: ActivityWatch keeps such
        events, and its queries take them for none. Raises `InvalidInputError` whose
        field begins with the place of the row that is wrong, and takes none then.
        """
        if not starts:
            return
        adjusted = 0
        if min(durations) < 0:
            adjusted = sum(duration < 0 for duration in durations)
            durations = [max(duration, 0) for duration in durations]
        if min(starts) < TIME_US_MIN or max(starts) + max(durations) > TIME_US_MAX:
            for at, (start, duration) in enumerate(zip(starts, durations, strict=True)):
                check_span(start, duration, place=f"[{at}].")
        compact = jsontext.compact_many(texts)
        self.starts += starts
        self.durations += durations
        self.texts += compact
        self.size += sum(map(len, compact))
        self.adjusted += adjusted

    def put_exactly(
        self, start: int, duration: int, text: bytes, *, flags: int, stored_at: int
    ) -> None:
        """Take one row of our own export; a duration of -1 means none."""
        check_span(start, duration)
        compact = jsontext.compact(text)
        if self.flags is None or self.stored_at is None:
            self.flags, self.stored_at = [], []
        self.starts.append(start)
        self.durations.append(duration)
        self.texts.append(compact)
        self.flags.append(flags)
        self.stored_at.append(stored_at)
        self.size += len(compact)

    def is_full(self) -> bool:
        """Tell whether it should go on its way now."""
        return len(self.starts) >= PART_EVENTS_MAX or self.size >= PART_TEXT_BYTES_MAX

    def take(self) -> EventsPart:
        """Return what was gathered, and begin anew."""
        part = EventsPart(
            bucket=self.bucket,
            starts=self.starts,
            durations=self.durations,
            texts=self.texts,
            flags=self.flags,
            stored_at=self.stored_at,
            adjusted=self.adjusted,
        )
        self.starts, self.durations, self.texts = [], [], []
        self.flags = self.stored_at = None
        self.size = self.adjusted = 0
        return part
