"""docs/protocol/payload.md, and the row plaintexts of journal-and-index.md."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgpack
import zstandard

from tests.independent_reader.primitives import (
    NewerPayloadError,
    PayloadError,
    uint,
)

MIB: Final = 1024 * 1024
PAYLOAD_BYTES_MAX: Final = 16 * MIB
HEADER_BYTES_MAX: Final = 8 * MIB
ROWS_MAX: Final = 65_536
ZONES_MAX: Final = 4_096
BUCKET_VERSIONS_MAX: Final = 8_192
SEEN_MAX: Final = 8_192
TEXT_BYTES_MAX: Final = 256 * 1024
DEPTH_MAX: Final = 64
ID_MAX: Final = 2**53 - 1
REVISION_MAX: Final = 2**32 - 1
TIME_MIN: Final = -62135596800000000
TIME_MAX: Final = 253402300799999999

DELETED: Final = 1
PLANES_MAX: Final = (8, 8, 8, 4, 4, 8, 1, 4)
BUCKET_KEYS: Final = {
    "bucket_id": int,
    "revision": int,
    "name": str,
    "type": str,
    "client": str,
    "hostname": str,
    "created_us": int,
    "data": bytes,
    "hidden": bool,
}


class Row(NamedTuple):
    """One revision of one event; times in microseconds, as payload.md has them."""

    bucket_id: int
    id: int
    revision: int
    start: int
    duration: int
    stored_at: int
    flags: int
    text: bytes

    @property
    def end(self) -> int:
        return self.start + max(self.duration, 0)


class Bucket(NamedTuple):
    """One version of a bucket."""

    bucket_id: int
    revision: int
    name: str
    type: str
    client: str
    hostname: str
    created_us: int
    data: bytes
    hidden: bool


@dataclass(frozen=True)
class Payload:
    seen: dict[bytes, tuple[int, bytes]]
    document: tuple[int, bytes]
    next_ids: tuple[int, int]
    buckets: list[Bucket]
    rows: list[Row]


def need(condition: bool, problem: str) -> None:
    if not condition:
        raise PayloadError(problem)


def unpacked(packed: bytes) -> bytes:
    """Return the payload of codec || raw_bytes || data."""
    need(len(packed) >= 5, "a packed payload has at least 5 bytes")
    codec, raw_bytes, data = packed[0], uint(packed[1:5]), packed[5:]
    need(raw_bytes <= PAYLOAD_BYTES_MAX, "a payload is too long")
    if codec == 1:
        decompressor = zstandard.ZstdDecompressor(max_window_size=16 * MIB)
        try:
            # First no more than is declared, then whether the frame ends there.
            with decompressor.stream_reader(io.BytesIO(data)) as stream:
                raw = stream.read(raw_bytes + 1)
            need(len(raw) == raw_bytes, "a frame has another length than declared")
            frame = decompressor.decompressobj()
            frame.decompress(data)
        except zstandard.ZstdError:
            raise PayloadError("a payload is no zstd frame") from None
        need(frame.eof and not frame.unused_data, "a frame does not end at its end")
        data = raw
    else:
        need(codec == 0, "a payload has an unknown codec")
    need(len(data) == raw_bytes, "a payload has another length than declared")
    return data


def decoded(data: bytes) -> Payload:
    """Return what a payload says."""
    need(len(data) >= 5, "a payload has at least 5 bytes")
    if data[0] != 1:
        raise NewerPayloadError("a payload has another version")
    header_end = 5 + uint(data[1:5])
    need(header_end <= min(len(data), 5 + HEADER_BYTES_MAX), "a header is too long")
    header = from_msgpack(data[5:header_end])
    need(isinstance(header, dict) and set(header) == set("sdnbzitp"), "a header is not")
    _check_header(header)
    zones, planes = header["z"], header["p"]
    need(
        len(zones) <= ZONES_MAX
        and len(header["b"]) <= BUCKET_VERSIONS_MAX
        and len(header["s"]) <= SEEN_MAX,
        "a list is too long",
    )
    bucket_ids = [bucket_id for bucket_id, _, _ in zones]
    need(bucket_ids == sorted(set(bucket_ids)), "zones are not in order")
    need(all(1 <= texts <= rows for _, rows, texts in zones), "a zone is empty")
    need(
        len(planes) == 8
        and all(0 <= p <= limit for p, limit in zip(planes, PLANES_MAX, strict=True)),
        "a column has too many planes",
    )
    row_count = sum(rows for _, rows, _ in zones)
    text_count = sum(texts for _, _, texts in zones)
    need(row_count <= ROWS_MAX, "there are too many rows")
    columns, at = [], header_end
    for column in range(8):
        count = text_count if column == 7 else row_count
        size = planes[column] * count
        need(at + size <= len(data), "a column ends too early")
        columns.append(_column(data[at : at + size], count))
        at += size
    need(sum(columns[7]) == len(data) - at, "the texts have another length")
    texts = []
    for length in columns[7]:
        need(length <= TEXT_BYTES_MAX, "a text is too long")
        texts.append(checked_object(data[at : at + length]))
        at += length
    number, version_hash = header["d"]
    need(
        len(version_hash) == 32 or (number, version_hash) == (0, b""),
        "the document has no hash",
    )
    return Payload(
        seen={client: (seq, hash_) for client, (seq, hash_) in header["s"].items()},
        document=(number, version_hash),
        next_ids=(header["n"][0], header["n"][1]),
        buckets=[bucket_of(item) for item in header["b"]],
        rows=list(_rows(header, columns, texts)),
    )


def _check_header(header: dict[str, Any]) -> None:
    """Refuse a header whose values are of other kinds, or out of range."""
    seen, document = header["s"], header["d"]
    lists = (header["b"], header["z"], header["p"], header["n"], document)
    need(
        isinstance(seen, dict) and all(isinstance(one, list) for one in lists),
        "a header has a value of another kind",
    )
    need(
        all(_is_octets(client, 16) for client in seen)
        and all(isinstance(one, list) and len(one) == 2 for one in seen.values())
        and all(_is_count(seq) and _is_octets(h, 32) for seq, h in seen.values()),
        "what was seen is not in its form",
    )
    need(
        len(document) == 2
        and _is_count(document[0])
        and isinstance(document[1], bytes)
        and len(header["n"]) == 2
        and all(map(_is_count, header["n"]))
        and all(isinstance(one, list) and len(one) == 3 for one in header["z"])
        and all(_is_count(number) for one in header["z"] for number in one)
        and all(map(_is_count, header["p"]))
        and _is_count(header["i"])
        and type(header["t"]) is int,
        "a header has a value out of range",
    )


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= ID_MAX


def _is_octets(value: object, size: int) -> bool:
    return isinstance(value, bytes) and len(value) == size


def from_msgpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, msgpack.UnpackException):
        raise PayloadError("this is no msgpack") from None


def bucket_of(item: Any) -> Bucket:
    """Return a bucket version from its map."""
    need(
        isinstance(item, dict)
        and set(item) == set(BUCKET_KEYS)
        and all(type(item[key]) is kind for key, kind in BUCKET_KEYS.items()),
        "a bucket version is not in its form",
    )
    bucket = Bucket(**item)
    need(
        all(len(text) <= 512 for text in (bucket.name, bucket.type, bucket.client))
        and len(bucket.hostname) <= 512
        and 0 <= bucket.bucket_id <= ID_MAX
        and 0 <= bucket.revision <= REVISION_MAX
        and TIME_MIN <= bucket.created_us <= TIME_MAX,
        "a bucket version is out of range",
    )
    checked_object(bucket.data)
    return bucket


def checked_object(text: bytes) -> bytes:
    """Return `text` if it is a JSON object that is not too deep."""
    need(text[:1] == b"{" and text[-1:] == b"}", "a text is no object")
    try:
        value = json.loads(text.decode("utf-8"), parse_constant=_no_json)
    except (ValueError, RecursionError):
        raise PayloadError("a text is no JSON") from None
    need(isinstance(value, dict) and _depth(value) <= DEPTH_MAX, "a text is too deep")
    return text


def _no_json(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity, which Python takes


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _column(planes: bytes, count: int) -> list[int]:
    """Return values whose lowest bytes come first, then their second, ..."""
    return [uint(planes[row::count]) for row in range(count)] if count else []


def _unzigzag(code: int) -> int:
    return -(code + 1) // 2 if code % 2 else code // 2


def _rows(
    header: dict[str, Any], columns: list[list[int]], texts: list[bytes]
) -> Iterator[Row]:
    id_, end, row, text_base = header["i"], header["t"], 0, 0
    for bucket_id, count, text_count in header["z"]:
        brought = 0
        before = (TIME_MIN - 1, 0)
        for _ in range(count):
            codes = [column[row] for column in columns[:7]]
            need(row > 0 or codes[:2] == [0, 0], "the first row is in the header")
            id_ += _unzigzag(codes[0])
            start = end + _unzigzag(codes[1])
            if codes[3] == 0:
                brought += 1
                text = brought
            else:
                text = codes[3]
            need(text <= min(brought, text_count), "a text comes before it is there")
            made = Row(
                bucket_id=bucket_id,
                id=id_,
                revision=codes[4],
                start=start,
                duration=codes[2] - 1,
                stored_at=start + _unzigzag(codes[5] - 1) if codes[5] else -1,
                flags=codes[6],
                text=texts[text_base + text - 1],
            )
            need(
                0 <= made.id <= ID_MAX
                and TIME_MIN <= made.start <= made.end <= TIME_MAX
                and (codes[5] == 0 or 0 <= made.stored_at <= TIME_MAX)
                and made.flags <= 3,
                "a row is out of range",
            )
            need(before <= (start, id_), "rows are not in order")
            before = (start, id_)
            end = made.end
            row += 1
            yield made
        need(brought == text_count, "a zone brings another number of texts")
        text_base += text_count


# -- rows of the journal -----------------------------------------------------


def journal_row(plaintext: bytes) -> Bucket | list[Row]:
    """Return a bucket version, or events."""
    need(len(plaintext) > 0, "a row of the journal is empty")
    if plaintext[0] == 1:
        end = 5 + uint(plaintext[1:5])
        need(end <= len(plaintext), "a row of the journal ends too early")
        return bucket_of(from_msgpack(plaintext[5:end]))
    if plaintext[0] == 2:
        need(len(plaintext) >= 50, "a row of the journal ends too early")
        signed = [
            int.from_bytes(plaintext[at : at + 8], "little", signed=True)
            for at in (21, 29, 37)
        ]
        end = 50 + uint(plaintext[46:50])
        need(end <= len(plaintext), "a row of the journal ends too early")
        return [
            Row(
                bucket_id=uint(plaintext[13:21]),
                id=uint(plaintext[1:9]),
                revision=uint(plaintext[9:13]),
                start=signed[0],
                duration=signed[1],
                stored_at=signed[2],
                flags=plaintext[45],
                text=checked_object(plaintext[50:end]),
            )
        ]
    need(plaintext[0] == 3, "a row of the journal has an unknown kind")
    return decoded(unpacked(plaintext[1:])).rows


def index_row_of(payload: Payload, writer: int) -> list[Any]:
    """Return what a record's index row says, as payload.md has it."""
    zones = []
    for bucket_id in sorted({row.bucket_id for row in payload.rows}):
        own = [row for row in payload.rows if row.bucket_id == bucket_id]
        zones.append(
            [
                bucket_id,
                min(row.start for row in own),
                max(row.end for row in own),
                min(row.id for row in own),
                max(row.id for row in own),
                len(own),
            ]
        )
    return [
        zones,
        [
            [row.id, row.revision]
            for row in payload.rows
            if row.revision or row.id >> 40 != writer or row.flags & DELETED
        ],
        [bucket._asdict() for bucket in payload.buckets],
        list(payload.next_ids),
    ]
