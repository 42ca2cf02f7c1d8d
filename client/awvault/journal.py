"""The journal: the sealed tail that is not yet in a record.

A row is one request, or one open event that later heartbeats extend in place.
This module holds the rows of the journal as typed values, says which of them
are closed, and turns a row into bytes and back. `tables` stores those bytes
sealed; `vault` decides when.

Row plaintexts (docs/protocol/journal-and-index.md):

    kind u8 = 1   one bucket version, msgpack
    kind u8 = 2   one event: struct, then its data as JSON text
    kind u8 = 3   many events: a packed payload, as in a record
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import numpy as np

from awvault.columns.compress import pack, unpack
from awvault.columns.payload import (
    COUNTER_BITS,
    BucketVersion,
    NextIds,
    Payload,
    decode_payload,
    encode_payload,
)
from awvault.columns.table import EventTable
from awvault.errors import PayloadError

OPEN_SILENCE_SECONDS: Final = 3600.0
"""An event that nobody has extended for this long is closed."""

ROW_PADDING_BYTES: Final = 64
"""Single rows are padded to a multiple of this, to blur the length of a title."""

_KIND_BUCKET: Final = 1
_KIND_EVENT: Final = 2
_KIND_TABLES: Final = 3

_EVENT: Final = struct.Struct("<BQIQqqqBI")
_NO_IDS: Final = NextIds(next_event=0, next_bucket=0)
_NO_DOCUMENT: Final = (0, b"")


class EventRow(NamedTuple):
    """One version of one event, as the journal and the view see it.

    `start`, `duration` and `stored_at` are microseconds; a duration of -1
    means that the event has no end, a `stored_at` of -1 that none is kept.
    """

    id: int
    revision: int
    bucket_id: int
    start: int
    duration: int
    stored_at: int
    flags: int
    text: bytes

    def __repr__(self) -> str:
        """Leave the data out: a row can end up in a traceback or a log."""
        return (
            f"EventRow(id={self.id}, revision={self.revision},"
            f" bucket_id={self.bucket_id}, text={len(self.text)} bytes)"
        )

    @property
    def end(self) -> int:
        """The end in microseconds; the start, where there is no duration."""
        return self.start + max(self.duration, 0)


def encode_bucket(version: BucketVersion) -> bytes:
    """Return the row plaintext of a bucket version."""
    return _padded(bytes([_KIND_BUCKET]) + _lp(msgspec.msgpack.encode(version)))


def encode_event(row: EventRow) -> bytes:
    """Return the row plaintext of a single event."""
    head = _EVENT.pack(
        _KIND_EVENT,
        row.id,
        row.revision,
        row.bucket_id,
        row.start,
        row.duration,
        row.stored_at,
        row.flags,
        len(row.text),
    )
    return _padded(head + row.text)


def encode_tables(tables: Sequence[tuple[int, EventTable]]) -> bytes:
    """Return the row plaintext of many events, by bucket."""
    payload = Payload(
        seen={}, document=_NO_DOCUMENT, next_ids=_NO_IDS, buckets=[], zones=list(tables)
    )
    return bytes([_KIND_TABLES]) + pack(encode_payload(payload))


def decode_row(
    plaintext: bytes,
) -> BucketVersion | EventRow | list[tuple[int, EventTable]]:
    """Return what a row holds; raises `PayloadError` if it is none of ours."""
    kind = plaintext[0] if plaintext else None
    try:
        if kind == _KIND_BUCKET:
            (length,) = struct.unpack_from("<I", plaintext, 1)
            return msgspec.msgpack.decode(plaintext[5 : 5 + length], type=BucketVersion)
        if kind == _KIND_EVENT:
            (
                _,
                event_id,
                revision,
                bucket_id,
                start,
                duration,
                stored_at,
                flags,
                length,
            ) = _EVENT.unpack_from(plaintext)
            text = plaintext[_EVENT.size : _EVENT.size + length]
            if len(text) != length:
                raise PayloadError(
                    f"journal row holds {len(text)} bytes of data, names {length}"
                )
            return EventRow(
                id=event_id,
                revision=revision,
                bucket_id=bucket_id,
                start=start,
                duration=duration,
                stored_at=stored_at,
                flags=flags,
                text=text,
            )
    except (struct.error, msgspec.MsgspecError) as error:
        raise PayloadError(f"journal row does not decode: {error}") from None
    if kind == _KIND_TABLES:
        return list(decode_payload(unpack(plaintext[1:])).zones)
    raise PayloadError(f"journal row has kind {kind}, known are 1 to 3")


def _lp(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def _padded(plaintext: bytes) -> bytes:
    return plaintext + bytes(-len(plaintext) % ROW_PADDING_BYTES)


@dataclass(slots=True)
class _BucketTail:
    """The journal's events of one bucket."""

    singles: dict[int, EventRow] = field(default_factory=dict)
    bulks: dict[int, EventTable] = field(default_factory=dict)
    table: EventTable | None = None
    """`singles` as columns; None after a change."""


class Journal:
    """What the journal's rows hold, in memory.

    Owned by the event loop's thread. It mirrors the table: whoever changes
    one changes the other, and after a failed write it is loaded again.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.next_jid = 1
        self.events = 0
        self.bytes = 0
        self.bucket_versions: dict[int, BucketVersion] = {}
        self._tails: dict[int, _BucketTail] = {}
        self._written: dict[int, float] = {}
        self._sizes: dict[int, int] = {}
        self._raw_sizes: dict[int, int] = {}
        self._sealing: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._sizes)

    def take_jid(self) -> int:
        """Return the next row number."""
        jid = self.next_jid
        self.next_jid += 1
        return jid

    def put_bucket(self, jid: int, version: BucketVersion, *, size: int) -> None:
        """Hold a bucket version."""
        self.bucket_versions[jid] = version
        self._account(jid, events=0, size=size, raw_size=size)

    def put_event(self, jid: int, row: EventRow, *, size: int, now: float) -> None:
        """Hold a single event, or replace the open one of that row."""
        tail = self._tails.setdefault(row.bucket_id, _BucketTail())
        events = 0 if jid in tail.singles else 1
        tail.singles[jid] = row
        tail.table = None
        self._written[jid] = now
        self._account(jid, events=events, size=size, raw_size=size)

    def put_tables(
        self, jid: int, tables: Iterable[tuple[int, EventTable]], *, size: int
    ) -> None:
        """Hold the events of one request."""
        events = raw_size = 0
        for bucket_id, table in tables:
            self._tails.setdefault(bucket_id, _BucketTail()).bulks[jid] = table
            events += len(table)
            raw_size += table.nbytes
        self._account(jid, events=events, size=size, raw_size=raw_size)

    def _account(self, jid: int, *, events: int, size: int, raw_size: int) -> None:
        self.events += events
        self.bytes += size - self._sizes.get(jid, 0)
        self._sizes[jid] = size
        self._raw_sizes[jid] = raw_size
        self.next_jid = max(self.next_jid, jid + 1)

    def tables(self, bucket_id: int) -> list[EventTable]:
        """Return the bucket's events as columns, in the order of their rows."""
        tail = self._tails.get(bucket_id)
        if tail is None:
            return []
        if tail.table is None and tail.singles:
            tail.table = table_of(tail.singles.values())
        tables = list(tail.bulks.values())
        if tail.table is not None and tail.singles:
            tables.append(tail.table)
        return tables

    def row_of(self, bucket_id: int, row: EventRow) -> int | None:
        """Return the row number that holds this version of an event alone."""
        tail = self._tails.get(bucket_id)
        for jid, held in tail.singles.items() if tail is not None else ():
            if held.id == row.id and held.revision == row.revision:
                return jid
        return None

    def newest_single(self, bucket_id: int) -> tuple[int, int] | None:
        """Return the newest event in a row of its own: the row's number, its id."""
        tail = self._tails.get(bucket_id)
        if tail is None or not tail.singles:
            return None
        jid, row = max(tail.singles.items(), key=lambda i: (i[1].start, i[1].id))
        return jid, row.id

    def replaceable(self, jid: int) -> bool:
        """Say whether a row may still be replaced in place."""
        return jid in self._written and jid not in self._sealing

    def closed(self, open_jids: Iterable[int], now: float) -> frozenset[int]:
        """Return the rows that may be sealed: all but the open events."""
        still_open = {
            jid
            for jid in open_jids
            if now - self._written.get(jid, now) < OPEN_SILENCE_SECONDS
        }
        return frozenset(self._sizes) - still_open

    def first_of(self, jids: frozenset[int], *, raw_bytes_max: int) -> frozenset[int]:
        """Return the oldest of these rows, of that many bytes before compression.

        At least one, if there are any.
        """
        chosen: list[int] = []
        raw_bytes = 0
        for jid in sorted(jids):
            raw_bytes += self._raw_sizes[jid]
            if chosen and raw_bytes > raw_bytes_max:
                break
            chosen.append(jid)
        return frozenset(chosen)

    def oldest_start(self, open_jids: Iterable[int]) -> int | None:
        """Return the earliest start among events that are not open, in us."""
        skip = set(open_jids)
        starts = [
            row.start
            for tail in self._tails.values()
            for jid, row in tail.singles.items()
            if jid not in skip
        ]
        starts += [
            int(table.start.min())
            for tail in self._tails.values()
            for table in tail.bulks.values()
            if len(table)
        ]
        return min(starts, default=None)

    def begin_seal(self, jids: frozenset[int]) -> "Tail":
        """Freeze rows, which from now on nobody replaces, and return them."""
        self._sealing = jids
        zones: list[tuple[int, EventTable]] = []
        for bucket_id, tail in sorted(self._tails.items()):
            tables = [table for jid, table in tail.bulks.items() if jid in jids]
            singles = [row for jid, row in tail.singles.items() if jid in jids]
            if singles:
                tables.append(table_of(singles))
            if tables:
                zones.append((bucket_id, EventTable.concat(tables)))
        versions = [v for jid, v in sorted(self.bucket_versions.items()) if jid in jids]
        return Tail(jids=jids, zones=zones, bucket_versions=versions)

    def end_seal(self, *, sealed: bool) -> None:
        """Drop the frozen rows that a record now holds, or thaw them."""
        jids, self._sealing = self._sealing, frozenset()
        if not sealed:
            return
        for jid in jids:
            self.bytes -= self._sizes.pop(jid)
            del self._raw_sizes[jid]
            self._written.pop(jid, None)
            self.bucket_versions.pop(jid, None)
        for bucket_id in list(self._tails):
            self._drop(bucket_id, jids)

    def _drop(self, bucket_id: int, jids: frozenset[int]) -> None:
        tail = self._tails[bucket_id]
        for jid in jids & tail.singles.keys():
            del tail.singles[jid]
            self.events -= 1
            tail.table = None
        for jid in jids & tail.bulks.keys():
            self.events -= len(tail.bulks.pop(jid))
        if not tail.singles and not tail.bulks:
            del self._tails[bucket_id]

    def outranking(self, writer: int) -> Iterator[tuple[int, int]]:
        """Yield (event id, revision) of every row that an overlay must know.

        Those above revision 0, and those whose id is not of client `writer`, whose
        journal this is.
        """
        for tail in self._tails.values():
            for row in tail.singles.values():
                if row.revision or row.id >> COUNTER_BITS != writer:
                    yield row.id, row.revision
            for table in tail.bulks.values():
                rows = np.flatnonzero(
                    (table.revision != 0) | (table.id >> COUNTER_BITS != writer)
                )
                yield from zip(
                    table.id[rows].tolist(), table.revision[rows].tolist(), strict=True
                )

    def bucket_ids(self) -> Iterator[int]:
        """Yield the number of every bucket that has events here."""
        yield from self._tails

    def ids(self) -> Iterator[int]:
        """Yield every event id that a row names."""
        for tail in self._tails.values():
            yield from (row.id for row in tail.singles.values())
            for table in tail.bulks.values():
                yield from table.id.tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Journal rows on their way into a record."""

    jids: frozenset[int]
    zones: list[tuple[int, EventTable]]
    bucket_versions: list[BucketVersion]


def table_of(rows: Iterable[EventRow]) -> EventTable:
    """Return rows as columns, in the order given."""
    texts: dict[bytes, int] = {}
    columns = [
        (
            row.id,
            row.revision,
            row.start,
            row.duration,
            row.stored_at,
            row.flags,
            texts.setdefault(row.text, len(texts)),
        )
        for row in rows
    ]
    id_, revision, start, duration, stored_at, flags, data = (
        zip(*columns, strict=True) if columns else ((),) * 7
    )
    return EventTable(
        id=np.array(id_, dtype=np.int64),
        revision=np.array(revision, dtype=np.uint32),
        start=np.array(start, dtype=np.int64),
        duration=np.array(duration, dtype=np.int64),
        stored_at=np.array(stored_at, dtype=np.int64),
        flags=np.array(flags, dtype=np.uint8),
        data=np.array(data, dtype=np.uint32),
        texts=list(texts),
    )
