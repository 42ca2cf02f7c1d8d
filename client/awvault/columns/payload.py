"""What a record holds, as bytes.

    payload = version u8 || LP(header) || columns || texts

The header is a msgpack map; the columns are byte planes: a column of n values
needing p bytes each is stored as n lowest bytes, then n second bytes, up to p.
Planes that are zero throughout at the top are left out. Values are delta-coded
so that most planes are zero, which zstd then makes nothing of.
docs/protocol/payload.md has every byte.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from awvault.columns.compress import RAW_BYTES_MAX
from awvault.columns.table import PAIR, TOMBSTONE, EventTable
from awvault.columns.timestamps import TIME_US_MAX, TIME_US_MIN
from awvault.errors import PayloadError

VERSION: Final = 1
ROWS_MAX: Final = 65_536
"""Events of one record."""

ZONES_MAX: Final = 4_096
"""Buckets that one record has events of."""

BUCKET_VERSIONS_MAX: Final = 8_192
SEEN_MAX: Final = 8_192
TEXT_BYTES_MAX: Final = 256 * 1024
"""Data of one event, as compact JSON."""

HEADER_BYTES_MAX: Final = 8 * 1024 * 1024
ID_MAX: Final = 2**53 - 1
"""Ids are exact in JavaScript."""

_PLANES_MAX: Final = 8
_FLAGS: Final = TOMBSTONE | PAIR

_U64 = NDArray[np.uint64]
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Id = Annotated[int, msgspec.Meta(ge=0, le=ID_MAX)]


class BucketVersion(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One version of a bucket; the highest revision is the one that counts.

    `created_us` is microseconds since 1970, UTC; `data` a compact JSON object.
    """

    bucket_id: _Id
    revision: _Natural
    name: str
    type: str
    client: str
    hostname: str
    created_us: int
    data: bytes
    hidden: bool


class NextIds(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The counters of the writing client: no id at or above them was given yet."""

    next_event: _Natural
    next_bucket: _Natural


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a record holds.

    `seen` is the newest (seq, hash) of other clients' logs that the writer had
    verified, by client id; `document` the (version, hash) of the account
    document; `zones` the events, by bucket, each bucket once.
    """

    seen: Mapping[bytes, tuple[int, bytes]]
    document: tuple[int, bytes]
    next_ids: NextIds
    buckets: Sequence[BucketVersion] = field(default_factory=list)
    zones: Sequence[tuple[int, EventTable]] = field(default_factory=list)


class _Zone(msgspec.Struct, frozen=True, array_like=True):
    bucket_id: _Id
    rows: Annotated[int, msgspec.Meta(ge=1, le=ROWS_MAX)]
    first_id: _Id
    first_start: int


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seen: Annotated[
        list[tuple[bytes, _Natural, bytes]], msgspec.Meta(max_length=SEEN_MAX)
    ]
    document: tuple[_Natural, bytes]
    next: NextIds
    buckets: Annotated[
        list[BucketVersion], msgspec.Meta(max_length=BUCKET_VERSIONS_MAX)
    ]
    zones: Annotated[list[_Zone], msgspec.Meta(max_length=ZONES_MAX)]
    texts: Annotated[int, msgspec.Meta(ge=0, le=ROWS_MAX)]
    planes: tuple[int, int, int, int, int, int, int, int]


_HEADER_DECODER: Final = msgspec.msgpack.Decoder(_Header)


def encode_payload(payload: Payload) -> bytes:
    """Return a payload's bytes. Rows are sorted and texts shared on the way."""
    zones = sorted(
        ((b, t.sorted_by_start()) for b, t in payload.zones if len(t)),
        key=lambda zone: zone[0],
    )
    table = EventTable.concat([zone for _, zone in zones]).compacted()
    rows = np.array([len(zone) for _, zone in zones], dtype=np.int64)
    firsts = np.concatenate([[0], np.cumsum(rows)[:-1]]).astype(np.int64)
    if len(table) > ROWS_MAX:
        raise PayloadError(f"payload has {len(table)} events, at most {ROWS_MAX} fit")
    columns = (
        [
            _zigzag(_deltas(table.id, firsts)),
            table.revision.astype(np.uint64),
            _zigzag(_gaps(table, firsts)),
            (table.duration + 1).astype(np.uint64),
            _zigzag(np.diff(table.stored_at, prepend=-1)),
            table.flags.astype(np.uint64),
            table.data.astype(np.uint64),
        ]
        if len(table)
        else [np.empty(0, np.uint64)] * 7
    )
    columns.append(np.array([len(text) for text in table.texts], dtype=np.uint64))
    planes = [_plane_count(column) for column in columns]
    header = msgspec.msgpack.encode(
        _Header(
            seen=[(c, seq, h) for c, (seq, h) in sorted(payload.seen.items())],
            document=payload.document,
            next=payload.next_ids,
            buckets=list(payload.buckets),
            zones=[
                _Zone(bucket, len(zone), int(zone.id[0]), int(zone.start[0]))
                for bucket, zone in zones
            ],
            texts=len(table.texts),
            planes=tuple(planes),  # type: ignore[arg-type]
        )
    )
    parts = [bytes([VERSION]), len(header).to_bytes(4, "little"), header]
    parts += [_to_planes(c, p) for c, p in zip(columns, planes, strict=True)]
    parts += table.texts
    return b"".join(parts)


def decode_payload(data: bytes) -> Payload:
    """Return what a payload's bytes say.

    Total: raises `PayloadError`, and nothing else, for anything that a right
    encoder does not write, and needs memory in proportion to `data`.
    """
    if len(data) > RAW_BYTES_MAX:
        raise PayloadError(f"payload has {len(data)} bytes, at most {RAW_BYTES_MAX}")
    header, at = _decode_header(data)
    rows = sum(zone.rows for zone in header.zones)
    if rows > ROWS_MAX:
        raise PayloadError(f"payload has {rows} events, at most {ROWS_MAX} are read")
    if header.texts > rows:
        raise PayloadError(f"payload has {header.texts} texts for {rows} events")
    columns = []
    for planes, count in zip(header.planes, [rows] * 7 + [header.texts], strict=True):
        column, at = _from_planes(data, at, planes=planes, count=count)
        columns.append(column)
    texts = _texts(data, at, columns.pop())
    table = _table(header, columns, texts)
    zones = []
    first = 0
    for zone in header.zones:
        part = table.take(slice(first, first + zone.rows))
        zones.append((zone.bucket_id, part))
        first += zone.rows
    return Payload(
        seen={client: (seq, seen_hash) for client, seq, seen_hash in header.seen},
        document=header.document,
        next_ids=header.next,
        buckets=header.buckets,
        zones=zones,
    )


def _decode_header(data: bytes) -> tuple[_Header, int]:
    if len(data) < 5:
        raise PayloadError(f"payload has {len(data)} bytes, too few for a header")
    if data[0] != VERSION:
        raise PayloadError(f"payload version is {data[0]}, this client knows {VERSION}")
    length = int.from_bytes(data[1:5], "little")
    if length > HEADER_BYTES_MAX or 5 + length > len(data):
        raise PayloadError(f"payload header names {length} bytes of {len(data) - 5}")
    try:
        header = _HEADER_DECODER.decode(data[5 : 5 + length])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"payload header does not decode: {error}") from None
    buckets = [zone.bucket_id for zone in header.zones]
    if any(a >= b for a, b in zip(buckets, buckets[1:], strict=False)):
        raise PayloadError("payload zones are not in the order of their buckets")
    for zone in header.zones:
        if not TIME_US_MIN <= zone.first_start <= TIME_US_MAX:
            raise PayloadError(f"zone of bucket {zone.bucket_id} begins at no time")
    for version in header.buckets:
        if not TIME_US_MIN <= version.created_us <= TIME_US_MAX:
            raise PayloadError(f"bucket {version.bucket_id} was created at no time")
    return header, 5 + length


def _table(
    header: _Header, columns: Sequence[_U64], texts: Sequence[bytes]
) -> EventTable:
    """Undo the delta coding, and check that what comes out is events."""
    id_, revision, gap, duration, stored_at, flags, data = columns
    rows = np.array([zone.rows for zone in header.zones], dtype=np.int64)
    firsts = np.concatenate([[0], np.cumsum(rows)])[:-1].astype(np.int64)
    if not len(id_):
        return EventTable.empty()
    durations = duration.astype(np.int64) - 1
    lasting = np.maximum(durations, 0)
    before = np.concatenate([[0], lasting[:-1]])
    # A gap begins where the row before it ends, and a zone begins where its
    # header says: sums may wrap around on nonsense, and are checked below.
    steps = _unzigzag(gap) + before
    steps[firsts] = [zone.first_start for zone in header.zones]
    id_steps = _unzigzag(id_)
    id_steps[firsts] = [zone.first_id for zone in header.zones]
    start = _cumulative(steps, firsts, rows)
    ids = _cumulative(id_steps, firsts, rows)
    stored = np.cumsum(_unzigzag(stored_at)) - 1
    same_zone = np.ones(len(ids), dtype=np.bool_)
    same_zone[firsts] = False
    ordered = (np.diff(start, prepend=start[0]) > 0) | (
        (np.diff(start, prepend=start[0]) == 0) & (np.diff(ids, prepend=0) > 0)
    )
    right = (
        ((ids >= 0) & (ids <= ID_MAX)).all()
        and (revision <= np.uint64(2**32 - 1)).all()
        and ((start >= TIME_US_MIN) & (start <= TIME_US_MAX)).all()
        and ((durations >= -1) & (durations <= TIME_US_MAX - TIME_US_MIN)).all()
        and (start + lasting <= TIME_US_MAX).all()
        and ((stored >= -1) & (stored <= TIME_US_MAX)).all()
        and (flags <= np.uint64(_FLAGS)).all()
        and (data < np.uint64(max(len(texts), 1))).all()
        and len(texts) > 0
        and (ordered | ~same_zone).all()
    )
    if not right:
        raise PayloadError("payload columns hold values that no event has")
    return EventTable(
        id=ids,
        revision=revision.astype(np.uint32),
        start=start,
        duration=durations,
        stored_at=stored,
        flags=flags.astype(np.uint8),
        data=data.astype(np.uint32),
        texts=texts,
    )


def _texts(data: bytes, at: int, lengths: _U64) -> list[bytes]:
    if len(lengths) and int(lengths.max()) > TEXT_BYTES_MAX:
        raise PayloadError(f"payload has a text above {TEXT_BYTES_MAX} bytes")
    ends = at + np.cumsum(lengths.astype(np.int64))
    end = int(ends[-1]) if len(ends) else at
    if end != len(data):
        raise PayloadError(f"payload has {len(data)} bytes, its texts end at {end}")
    bounds = [at, *ends.tolist()]
    return [data[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


# -- number coding -----------------------------------------------------------


def _zigzag(values: NDArray[np.int64]) -> _U64:
    """Map 0, -1, 1, -2 ... to 0, 1, 2, 3 ..., so that small stays small."""
    return ((values << 1) ^ (values >> 63)).astype(np.uint64)


def _unzigzag(values: _U64) -> NDArray[np.int64]:
    half = (values >> np.uint64(1)).astype(np.int64)
    return half ^ -(values & np.uint64(1)).astype(np.int64)


def _deltas(values: NDArray[np.int64], firsts: NDArray[np.int64]) -> NDArray[np.int64]:
    deltas = np.diff(values, prepend=0)
    deltas[firsts] = 0
    return deltas


def _gaps(table: EventTable, firsts: NDArray[np.int64]) -> NDArray[np.int64]:
    gaps = table.start - np.concatenate([[0], table.end()[:-1]])
    gaps[firsts] = 0
    return gaps


def _cumulative(
    steps: NDArray[np.int64], firsts: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return running sums that begin anew with each zone."""
    total = np.cumsum(steps)
    before = total[firsts] - steps[firsts]
    return total - np.repeat(before, rows)


def _plane_count(column: _U64) -> int:
    if not len(column):
        return 0
    return (int(column.max()).bit_length() + 7) // 8


def _to_planes(column: _U64, planes: int) -> bytes:
    values = column.astype("<u8", copy=False).view(np.uint8).reshape(-1, _PLANES_MAX)
    return values[:, :planes].T.tobytes()


def _from_planes(data: bytes, at: int, *, planes: int, count: int) -> tuple[_U64, int]:
    if not 0 <= planes <= _PLANES_MAX:
        raise PayloadError(f"payload column has {planes} planes, at most 8 are read")
    end = at + planes * count
    if end > len(data):
        raise PayloadError(f"payload has {len(data)} bytes, its columns end at {end}")
    values = np.zeros((count, _PLANES_MAX), dtype=np.uint8)
    stored = np.frombuffer(data, np.uint8, planes * count, at).reshape(planes, count)
    values[:, :planes] = stored.T
    return values.view("<u8").reshape(count).astype(np.uint64, copy=False), end
