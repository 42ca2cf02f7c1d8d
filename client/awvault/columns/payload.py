"""Payload bytes: what a record says before it is compressed and sealed.

The layout is specified byte by byte in docs/protocol/payload.md. Columns are
coded so that most of their bytes are zero or repeat, and stored as byte planes
(all first bytes, then all second bytes, ...), which zstd compresses well.
Encoding and decoding are vectorised: no step takes time per row in Python.

`decode_payload` is total: whatever bytes it gets, it returns a payload within
the limits below or raises `PayloadError`, in memory bounded by those limits.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from awvault.columns import jsontext
from awvault.columns.compress import RAW_BYTES_MAX
from awvault.columns.jsontext import EVENT_DATA_BYTES_MAX
from awvault.columns.table import PAIR, TOMBSTONE, EventTable
from awvault.columns.timestamps import DURATION_US_MAX, TIME_US_MAX, TIME_US_MIN
from awvault.errors import PayloadError

PAYLOAD_VERSION: Final = 1

ROWS_MAX: Final = 65_536
"""Rows of one record."""

ZONES_MAX: Final = 4_096
"""Buckets that have rows in one record."""

BUCKET_VERSIONS_MAX: Final = 8_192
"""Versions of buckets in one record."""

CLIENTS_MAX: Final = 8_192
"""Clients of one account, so entries of `seen`."""

HEADER_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of the header: bucket versions take nearly all of it."""

ID_MAX: Final = 2**53 - 1
"""Ids are exact in JavaScript."""

COUNTER_BITS: Final = 40
"""An id is the number of the client that gave it * 2^40 + that client's counter."""

COUNTER_MASK: Final = (1 << COUNTER_BITS) - 1

REVISION_MAX: Final = 2**32 - 1

_FLAGS_ALL: Final = TOMBSTONE | PAIR
_LENGTH: Final = struct.Struct("<BI")
_HASH_BYTES: Final = 32

Id = Annotated[int, Meta(ge=0, le=ID_MAX)]
Revision = Annotated[int, Meta(ge=0, le=REVISION_MAX)]
TimeUs = Annotated[int, Meta(ge=TIME_US_MIN, le=TIME_US_MAX)]
_Hash = Annotated[bytes, Meta(min_length=_HASH_BYTES, max_length=_HASH_BYTES)]
_ClientKey = Annotated[bytes, Meta(min_length=16, max_length=16)]
_Count = Annotated[int, Meta(ge=0, le=ID_MAX)]
_Seen = dict[_ClientKey, tuple[_Count, _Hash]]
_Words = Annotated[str, Meta(max_length=512)]

U64 = NDArray[np.uint64]


class NextIds(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The counters that the client's next event and next bucket get."""

    next_event: _Count
    next_bucket: _Count


class BucketVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of what is said of a bucket; the highest revision counts.

    `data` is compact JSON text. A hidden bucket is one that was deleted.
    """

    bucket_id: Id
    revision: Revision
    name: _Words
    type: _Words
    client: _Words
    hostname: _Words
    created_us: TimeUs
    data: Annotated[bytes, Meta(max_length=EVENT_DATA_BYTES_MAX)]
    hidden: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What one record says.

    `seen` is {client id: (seq, hash)} and `document` the (version, hash) of the
    account document, as the writer knew them; (0, b"") is none. `zones` are
    (bucket number, rows), by ascending number, the rows by (start, id).
    """

    seen: Mapping[bytes, tuple[int, bytes]]
    document: tuple[int, bytes]
    next_ids: NextIds
    buckets: Sequence[BucketVersion]
    zones: Sequence[tuple[int, EventTable]]


class _Zone(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    bucket_id: Id
    rows: Annotated[int, Meta(ge=1, le=ROWS_MAX)]
    texts: Annotated[int, Meta(ge=1, le=ROWS_MAX)]


class _Planes(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Byte planes of each column, in the order in which they are stored."""

    id: Annotated[int, Meta(ge=0, le=8)]
    start: Annotated[int, Meta(ge=0, le=8)]
    duration: Annotated[int, Meta(ge=0, le=8)]
    data: Annotated[int, Meta(ge=0, le=4)]
    revision: Annotated[int, Meta(ge=0, le=4)]
    stored_at: Annotated[int, Meta(ge=0, le=8)]
    flags: Annotated[int, Meta(ge=0, le=1)]
    length: Annotated[int, Meta(ge=0, le=4)]


class _Header(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={
        "seen": "s",
        "document": "d",
        "next_ids": "n",
        "buckets": "b",
        "zones": "z",
        "first_id": "i",
        "first_start": "t",
        "planes": "p",
    },
):
    seen: Annotated[_Seen, Meta(max_length=CLIENTS_MAX)]
    document: tuple[_Count, bytes]
    next_ids: NextIds
    buckets: Annotated[list[BucketVersion], Meta(max_length=BUCKET_VERSIONS_MAX)]
    zones: Annotated[list[_Zone], Meta(max_length=ZONES_MAX)]
    first_id: Id
    first_start: TimeUs
    planes: _Planes


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Header)


def encode_payload(payload: Payload) -> bytes:
    """Return a payload as bytes.

    Rows are sorted, texts that no row has are left out. Raises `PayloadError`
    for more than `decode_payload` would take.
    """
    zones = _by_bucket(payload.zones)
    tables = [table for _, table in zones]
    whole = EventTable.concat(tables)
    if len(whole) > ROWS_MAX:
        raise PayloadError(f"payload has {len(whole)} rows, at most {ROWS_MAX} fit")
    _check_values(whole)
    named = [_number_texts(table) for table in tables]
    texts = [text for _, texts in named for text in texts]
    _check_texts(texts)
    columns = [
        _zigzag(np.diff(whole.id, prepend=whole.id[:1])),
        _zigzag(_gaps(whole)),
        (whole.duration + 1).view(np.uint64),
        _joined([codes for codes, _ in named]),
        whole.revision.astype(np.uint64),
        _code_stored_at(whole),
        whole.flags.astype(np.uint64),
        np.fromiter(map(len, texts), dtype=np.uint64, count=len(texts)),
    ]
    planes = [_plane_count(column) for column in columns]
    header = _ENCODER.encode(
        _Header(
            seen=dict(sorted(payload.seen.items())),
            document=payload.document,
            next_ids=payload.next_ids,
            buckets=list(payload.buckets),
            zones=[
                _Zone(bucket_id=number, rows=len(table), texts=len(own))
                for (number, table), (_, own) in zip(zones, named, strict=True)
            ],
            first_id=int(whole.id[0]) if len(whole) else 0,
            first_start=int(whole.start[0]) if len(whole) else 0,
            planes=_Planes(*planes),
        )
    )
    _decode_header(header)  # refuses what no reader would take
    encoded = b"".join(
        [
            _LENGTH.pack(PAYLOAD_VERSION, len(header)),
            header,
            *map(_to_planes, columns, planes),
            *texts,
        ]
    )
    if len(encoded) > RAW_BYTES_MAX:
        raise PayloadError(
            f"payload has {len(encoded)} bytes, at most {RAW_BYTES_MAX} are sealed"
        )
    return encoded


def decode_payload(data: bytes) -> Payload:
    """Return what `encode_payload` was given; raises nothing but `PayloadError`."""
    header, rest = _split(data)
    zones = header.zones
    rows = sum(zone.rows for zone in zones)
    text_count = sum(zone.texts for zone in zones)
    if rows > ROWS_MAX:
        raise PayloadError(f"payload has {rows} rows, at most {ROWS_MAX} fit")
    numbers = [zone.bucket_id for zone in zones]
    if any(one >= other for one, other in pairwise(numbers)):
        raise PayloadError("payload has zones that are not by ascending bucket")
    if any(zone.texts > zone.rows for zone in zones):
        raise PayloadError("payload has more texts than rows in a zone")
    counts = [rows] * 7 + [text_count]
    sizes = [
        count * planes
        for count, planes in zip(
            counts, msgspec.structs.astuple(header.planes), strict=True
        )
    ]
    offsets = list(accumulate(sizes, initial=0))
    if offsets[-1] > len(rest):
        raise PayloadError(
            f"payload has {len(rest)} bytes of columns, {offsets[-1]} are named"
        )
    columns = [
        _from_planes(rest[at:end], count)
        for (at, end), count in zip(pairwise(offsets), counts, strict=True)
    ]
    texts = _split_texts(bytes(rest[offsets[-1] :]), columns[7])
    whole = _decode_rows(header, columns)
    _check_values(whole)
    return Payload(
        seen=header.seen,
        document=header.document,
        next_ids=header.next_ids,
        buckets=header.buckets,
        zones=_cut(zones, whole, texts),
    )


# -- encoding ----------------------------------------------------------------


def _by_bucket(zones: Sequence[tuple[int, EventTable]]) -> list[tuple[int, EventTable]]:
    """Return the zones by ascending bucket, each once, with sorted rows."""
    tables: dict[int, list[EventTable]] = {}
    for number, table in zones:
        if len(table):
            tables.setdefault(number, []).append(table)
    return [
        (number, EventTable.concat(own).sorted_by_start())
        for number, own in sorted(tables.items())
    ]


def _number_texts(table: EventTable) -> tuple[U64, list[bytes]]:
    """Return a zone's data codes, and its texts by first appearance, each once.

    The code is 0 where a row brings the next new text, else the text's number
    in the zone + 1.
    """
    rows = len(table)
    # Of several assignments to one place NumPy keeps the last: here, the first row.
    first_rows = np.full(len(table.texts), rows, dtype=np.int64)
    backwards = np.arange(rows - 1, -1, -1)
    first_rows[table.data[::-1]] = backwards
    used = np.flatnonzero(first_rows < rows)
    used = used[np.argsort(first_rows[used])]
    numbers: dict[bytes, int] = {}
    texts = table.texts
    renumbered = np.zeros(len(texts), dtype=np.uint64)
    renumbered[used] = [
        numbers.setdefault(texts[old], len(numbers)) for old in used.tolist()
    ]
    codes = renumbered[table.data] + np.uint64(1)
    brings = first_rows[used]
    if len(numbers) < len(used):
        # The table had a text twice: only the first of its rows brings it.
        brings = brings[np.unique(renumbered[used], return_index=True)[1]]
    codes[brings] = 0
    return codes, list(numbers)


def _gaps(table: EventTable) -> NDArray[np.int64]:
    """Return what passed from the end of the row before to each row's start."""
    gaps = np.zeros(len(table), dtype=np.int64)
    gaps[1:] = table.start[1:] - table.end()[:-1]
    return gaps


def _code_stored_at(table: EventTable) -> U64:
    codes = _zigzag(table.stored_at - table.start) + np.uint64(1)
    codes[table.stored_at < 0] = 0
    return codes


def _zigzag(values: NDArray[np.int64]) -> U64:
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def _joined(parts: list[U64]) -> U64:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)


def _plane_count(column: U64) -> int:
    return (int(column.max()).bit_length() + 7) // 8 if len(column) else 0


def _to_planes(column: U64, planes: int) -> bytes:
    octets = column.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)
    return octets[:, :planes].T.tobytes()


# -- decoding ----------------------------------------------------------------


def _split(data: bytes) -> tuple[_Header, memoryview]:
    if len(data) > RAW_BYTES_MAX:
        raise PayloadError(
            f"payload has {len(data)} bytes, at most {RAW_BYTES_MAX} are opened"
        )
    if len(data) < _LENGTH.size:
        raise PayloadError(f"payload has {len(data)} bytes, too few")
    version, length = _LENGTH.unpack_from(data)
    if version != PAYLOAD_VERSION:
        raise PayloadError(
            f"payload has version {version}, this program reads {PAYLOAD_VERSION}:"
            " a newer client wrote it"
        )
    view = memoryview(data)
    encoded = view[_LENGTH.size : _LENGTH.size + length]
    if len(encoded) != length:
        raise PayloadError(
            f"payload header names {length} bytes, {len(encoded)} are there"
        )
    return _decode_header(encoded), view[_LENGTH.size + length :]


def _decode_header(encoded: bytes | memoryview) -> _Header:
    if len(encoded) > HEADER_BYTES_MAX:
        raise PayloadError(
            f"payload header has {len(encoded)} bytes, at most {HEADER_BYTES_MAX} fit"
        )
    try:
        header = _DECODER.decode(encoded)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise PayloadError(f"payload header does not decode: {error}") from None
    if header.document != (0, b"") and len(header.document[1]) != _HASH_BYTES:
        raise PayloadError(
            f"payload names a document hash of {len(header.document[1])} bytes,"
            f" it has {_HASH_BYTES}"
        )
    if not jsontext.are_objects([version.data for version in header.buckets]):
        raise PayloadError("payload has bucket data that is no JSON object")
    return header


def _from_planes(planes: memoryview, count: int) -> U64:
    if not planes:
        return np.zeros(count, dtype=np.uint64)
    octets = np.zeros((count, 8), dtype=np.uint8)
    found = np.frombuffer(planes, dtype=np.uint8).reshape(-1, count)
    octets[:, : len(found)] = found.T
    return octets.view("<u8").ravel().astype(np.uint64, copy=False)


def _unzigzag(codes: U64) -> NDArray[np.int64]:
    signs = (codes & np.uint64(1)).view(np.int64)
    return (codes >> np.uint64(1)).view(np.int64) ^ -signs


def _decode_rows(header: _Header, columns: list[U64]) -> EventTable:
    """Return all rows as one table, whose data are numbers within each zone.

    Sums are made modulo 2^64. No step is longer than the limits checked here,
    so a sum that left its range cannot come back without a value outside of
    it, which `_check_values` refuses.
    """
    if any(column[:1].any() for column in columns[:2]):
        raise PayloadError("payload has a first row that is not where it says")
    _refuse_beyond(columns[0], ID_MAX, "id steps")
    ids = np.int64(header.first_id) + _unzigzag(columns[0]).cumsum()
    _refuse_beyond(columns[1], DURATION_US_MAX, "gaps")
    gaps = _unzigzag(columns[1])
    if len(columns[2]) and int(columns[2].max()) > DURATION_US_MAX + 1:
        raise PayloadError("payload has a duration beyond the years 1 to 9999")
    durations = columns[2].view(np.int64) - 1
    lengths = np.maximum(durations, 0)
    gaps[1:] += lengths[:-1]
    starts = np.int64(header.first_start) + gaps.cumsum()
    stored_at = _decode_stored_at(columns[5], starts)
    return EventTable(
        id=ids,
        revision=columns[4].astype(np.uint32),
        start=starts,
        duration=durations,
        stored_at=stored_at,
        flags=columns[6].astype(np.uint8),
        data=_decode_data(header.zones, columns[3]),
        texts=(),
    )


def _decode_stored_at(codes: U64, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    if not codes.any():
        return np.full(len(codes), -1, dtype=np.int64)
    offsets = np.maximum(codes, np.uint64(1)) - np.uint64(1)
    _refuse_beyond(offsets, DURATION_US_MAX, "stored_at offsets")
    stored_at = np.where(codes == 0, np.int64(-1), starts + _unzigzag(offsets))
    if (stored_at[codes != 0] < 0).any():
        raise PayloadError("payload has a stored_at before 1970")
    return stored_at


def _decode_data(zones: Sequence[_Zone], codes: U64) -> NDArray[np.uint32]:
    new = codes == 0
    brought = new.cumsum()
    rows = [zone.rows for zone in zones]
    texts_before = list(accumulate((zone.texts for zone in zones), initial=0))
    # As every zone brings as many texts as it names, this is so of their sums.
    ends = np.array(list(accumulate(rows)), dtype=np.int64) - 1
    if not np.array_equal(brought[ends], texts_before[1:]):
        raise PayloadError("payload has a zone that brings other texts than it names")
    known = brought - np.repeat(texts_before[:-1], rows)
    if (codes > known.view(np.uint64)).any():
        raise PayloadError("payload has a row that names a text before it came")
    data: NDArray[np.int64] = np.where(new, known, codes.view(np.int64)) - 1
    return data.astype(np.uint32)


def _split_texts(joined: bytes, lengths: U64) -> list[bytes]:
    # Before they are added up: no sum of so many, so short, overflows.
    if len(lengths):
        _check_text_length(int(lengths.max()))
    ends: list[int] = lengths.cumsum().tolist()
    if (ends[-1] if ends else 0) != len(joined):
        raise PayloadError(
            f"payload has {len(joined)} bytes of texts, {ends[-1] if ends else 0}"
            " are named"
        )
    texts = [joined[at:end] for at, end in pairwise([0, *ends])]
    _check_texts(texts)
    return texts


def _cut(
    zones: Sequence[_Zone], whole: EventTable, texts: list[bytes]
) -> list[tuple[int, EventTable]]:
    """Return the zones as tables of their own, which keep nothing else alive."""
    if len(zones) == 1:
        table = replace(whole, texts=texts)
        _check_order(table)
        return [(zones[0].bucket_id, table)]
    cut = []
    row = text = 0
    for zone in zones:
        rows = slice(row, row + zone.rows)
        table = EventTable(
            id=whole.id[rows].copy(),
            revision=whole.revision[rows].copy(),
            start=whole.start[rows].copy(),
            duration=whole.duration[rows].copy(),
            stored_at=whole.stored_at[rows].copy(),
            flags=whole.flags[rows].copy(),
            data=whole.data[rows].copy(),
            texts=texts[text : text + zone.texts],
        )
        _check_order(table)
        cut.append((zone.bucket_id, table))
        row += zone.rows
        text += zone.texts
    return cut


# -- checks, just before writing and just after reading ----------------------


def _check_values(table: EventTable) -> None:
    """Refuse rows that no vault holds."""
    if not len(table):
        return
    if int(table.id.min()) < 0 or int(table.id.max()) > ID_MAX:
        raise PayloadError(f"payload has an id outside 0 to {ID_MAX}")
    start_min, start_max = int(table.start.min()), int(table.start.max())
    if start_min < TIME_US_MIN or start_max > TIME_US_MAX:
        raise PayloadError("payload has a start outside the years 1 to 9999")
    if int(table.duration.min()) < -1 or int(table.duration.max()) > DURATION_US_MAX:
        raise PayloadError("payload has a duration outside the years 1 to 9999")
    if int(table.end().max()) > TIME_US_MAX:
        raise PayloadError("payload has an end after the year 9999")
    if int(table.stored_at.min()) < -1 or int(table.stored_at.max()) > TIME_US_MAX:
        raise PayloadError("payload has a stored_at outside the years 1970 to 9999")
    if int(table.flags.max()) > _FLAGS_ALL:
        raise PayloadError(f"payload has flags other than {_FLAGS_ALL}")


def _check_order(table: EventTable) -> None:
    steps = table.start[1:] - table.start[:-1]
    ties = steps == 0
    if (steps < 0).any() or (
        ties.any() and (table.id[1:][ties] < table.id[:-1][ties]).any()
    ):
        raise PayloadError("payload has rows that are not by (start, id)")


def _check_text_length(length: int) -> None:
    if length > EVENT_DATA_BYTES_MAX:
        raise PayloadError(
            f"payload has a text of {length} bytes, at most {EVENT_DATA_BYTES_MAX}"
            " are kept"
        )


def _check_texts(texts: Sequence[bytes]) -> None:
    _check_text_length(max(map(len, texts), default=0))
    if not jsontext.are_objects(texts):
        raise PayloadError("payload has data that is no JSON object")


def _refuse_beyond(codes: U64, limit: int, what: str) -> None:
    """Refuse zigzag codes of numbers further from zero than `limit`."""
    if len(codes) and int(codes.max()) > 2 * limit:
        raise PayloadError(f"payload has {what} beyond {limit}")
