"""Packed payloads: what stands inside a record, and what must not.

The bytes are put together here by hand, from docs/protocol/payload.md and not by
the product's encoder, which could share a fault with its decoder.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import msgspec

from awvault.columns.compress import unpack
from awvault.columns.payload import (
    BucketVersion,
    Payload,
    decode_payload,
    encode_payload,
)
from awvault.columns.table import EventTable
from awvault.columns.zones import decode_index_row, encode_index_row, index_row_of
from tests.helpers.randomness import fixed
from tests.helpers.tables import rows_of
from tests.vectors.form import Fields, attempt, require_keys, unhex

NAME = "payloads"

COLUMNS: Final = (
    *("id", "start", "duration", "text"),
    *("revision", "stored_at", "flags", "length"),
)

_T0: Final = 1_709_287_280_000_000
_TIME_MIN: Final = -62_135_596_800_000_000
_TIME_MAX: Final = 253_402_300_799_999_999
_ID_MAX: Final = 2**53 - 1
_CLIENT: Final = fixed("payload client", 16)
_HASH: Final = fixed("payload hash")
_ROWS_MAX: Final = 65_536
_BLOCK_BYTES_MAX: Final = 128 * 1024
_MIB: Final = 1024 * 1024
_A: Final = b'{"app":"a"}'
_TEXT_BYTES_MAX: Final = 256 * 1024
_BUCKET: Final[dict[str, Any]] = {
    "bucket_id": 1,
    "revision": 0,
    "name": "aw-watcher-window_caf\u00e9",
    "type": "currentwindow",
    "client": "aw-watcher-window",
    "hostname": "caf\u00e9",
    "created_us": _T0,
    "data": b"{}",
    "hidden": False,
}

Block = bytes | tuple[int, int]
"""Bytes, or one byte and how many times it comes."""


# -- bytes, by hand ----------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """All that a payload's bytes are made of; any of it may be wrong."""

    seen: Any = field(default_factory=dict)
    document: Any = (0, b"")
    next_ids: Any = (9, 2)
    buckets: Any = ()
    zones: Any = ((1, 2, 1),)
    first_id: Any = 7
    first_start: Any = _T0
    columns: tuple[tuple[int, ...], ...] = (
        (0, 2),
        (0, 2_000_000),
        (2_000_001, 3_000_001),
        (0, 1),
        (0, 0),
        (0, 0),
        (0, 0),
        (len(_A),),
    )
    texts: bytes = _A
    planes: tuple[int, ...] | None = None
    version: int = 1
    more: tuple[tuple[str, Any], ...] = ()
    without: str = ""

    def header(self) -> bytes:
        fields = {
            "s": self.seen,
            "d": self.document,
            "n": self.next_ids,
            "b": list(self.buckets),
            "z": list(self.zones),
            "i": self.first_id,
            "t": self.first_start,
            "p": list(self.plane_counts()),
            **dict(self.more),
        }
        fields.pop(self.without, None)
        return msgspec.msgpack.encode(fields)

    def plane_counts(self) -> tuple[int, ...]:
        if self.planes is not None:
            return self.planes
        return tuple(
            max(((value.bit_length() + 7) // 8 for value in column), default=0)
            for column in self.columns
        )

    def encode(self) -> bytes:
        header = self.header()
        columns = [
            bytes((value >> (8 * plane)) & 0xFF for value in column)
            for column, planes in zip(self.columns, self.plane_counts(), strict=True)
            for plane in range(planes)
        ]
        return b"".join(
            [
                bytes([self.version]),
                len(header).to_bytes(4, "little"),
                header,
                *columns,
                self.texts,
            ]
        )

    def column(self, name: str, *values: int) -> "Form":
        """Return the form with another column."""
        at = COLUMNS.index(name)
        columns = (*self.columns[:at], values, *self.columns[at + 1 :])
        return replace(self, columns=columns)


def raw(payload: bytes, *, declared: int | None = None, codec: int = 0) -> bytes:
    """Return a payload packed as it is."""
    size = len(payload) if declared is None else declared
    return bytes([codec]) + size.to_bytes(4, "little") + payload


def frame(*blocks: Block) -> bytes:
    """Return a zstd frame of plain blocks, and of blocks of one repeated byte.

    Nothing in it is compressed by a library, so no version of one changes it.
    """
    # One segment, its length in four bytes.
    head = b"\x28\xb5\x2f\xfd\xa0" + _size(blocks).to_bytes(4, "little")
    pieces: list[tuple[int, int, bytes]] = []
    for block in blocks:
        if isinstance(block, bytes):
            cut = range(0, len(block), _BLOCK_BYTES_MAX)
            plain = [block[at : at + _BLOCK_BYTES_MAX] for at in cut]
            pieces += [(0, len(one), one) for one in plain]
        else:
            value, times = block
            whole, rest = divmod(times, _BLOCK_BYTES_MAX)
            sizes = [_BLOCK_BYTES_MAX] * whole + [rest] * bool(rest)
            pieces += [(1, size, bytes([value])) for size in sizes]
    last = len(pieces) - 1
    return head + b"".join(
        (int(at == last) | kind << 1 | size << 3).to_bytes(3, "little") + content
        for at, (kind, size, content) in enumerate(pieces)
    )


def zstd(*blocks: Block, declared: int | None = None) -> bytes:
    """Return what `frame` makes, packed, with its length declared or another."""
    size = _size(blocks) if declared is None else declared
    return raw(frame(*blocks), codec=1, declared=size)


def _size(blocks: tuple[Block, ...]) -> int:
    return sum(len(one) if isinstance(one, bytes) else one[1] for one in blocks)


# -- vectors -----------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    name: str
    comment: str
    packed: bytes
    good: bool = False
    # Too many rows to list: how many there are is enough.
    counted: bool = False
    # The number of the client whose record it is.
    writer: int = 0


def make() -> dict[str, Fields]:
    vectors: dict[str, Fields] = {}
    for cases in (
        _successes(),
        _packing(),
        _headers(),
        _bucket_versions(),
        _zones(),
        _columns(),
        _values(),
        _texts(),
        _limits(),
    ):
        for case in cases:
            assert case.name not in vectors, case.name
            vectors[case.name] = {
                "expect": "success" if case.good else "payload failure",
                "comment": case.comment,
                "packed": case.packed.hex(),
                **(_described(case) if case.good else {}),
            }
    return vectors


def _good(name: str, comment: str, form: Form, *, writer: int = 0) -> Case:
    return Case(name, comment, raw(form.encode()), good=True, writer=writer)


def _bad(name: str, comment: str, form: Form) -> Case:
    return Case(name, comment, raw(form.encode()))


def _successes() -> Iterator[Case]:
    form = Form()
    yield _good("success", "two events of one bucket with one text", form)
    yield Case(
        "success_zstd",
        "the same as one zstd frame",
        zstd(form.encode()[:40], form.encode()[40:]),
        good=True,
    )
    none = Form(zones=(), columns=((),) * 8, texts=b"", first_id=0, first_start=0)
    yield _good("success_no_rows", "nothing but what a record must name", none)
    yield _good(
        "success_everything",
        "two clients seen, a document, a bucket, rows of two buckets, each flag",
        Form(
            seen={_CLIENT: (41, _HASH), fixed("payload second", 16): (0, _HASH)},
            document=(3, fixed("payload document")),
            next_ids=(2**40, 3),
            buckets=(
                _BUCKET,
                {**_BUCKET, "bucket_id": 2, "revision": 7, "hidden": True},
            ),
            zones=((1, 3, 2), (2**40 + 5, 2, 1)),
            first_id=2**40 + 9,
            columns=(
                (0, 2, 1, 0, 3),
                (0, 3, 2_000_000, 5, 1),
                (1_000_001, 1, 0, 3_600_000_001, 1),
                (0, 0, 1, 0, 1),
                (0, 1, 2**32 - 1, 0, 0),
                (0, 1, 2, 2_000_001, 0),
                (0, 1, 2, 3, 0),
                (11, 11, 2),
            ),
            texts=_A + b'{"app":"b"}' + b"{}",
        ),
        writer=1,
    )
    yield _good(
        "success_anothers_rows",
        "rows under the numbers of two clients, in a record of the second",
        replace(form, first_id=2 * 2**40 - 1),
        writer=2,
    )
    yield _good(
        "success_longest",
        "the first and the last moment that there are, and the highest ids",
        Form(
            zones=((_ID_MAX, 2, 1),),
            first_id=0,
            first_start=_TIME_MIN,
            next_ids=(_ID_MAX, _ID_MAX),
            document=(_ID_MAX, _HASH),
            seen={_CLIENT: (_ID_MAX, _HASH)},
        )
        .column("id", 0, 2 * _ID_MAX)
        .column("start", 0, 0)
        .column("duration", _TIME_MAX - _TIME_MIN + 1, 0)
        .column("revision", 0, 0),
    )
    yield _good(
        "success_backwards",
        "the second event starts before the first one ends, and has the lower id",
        form.column("id", 0, 5).column("start", 0, 2 * 1_000_000 - 1),
    )
    yield _good(
        "success_revisions",
        "two revisions of one event with one start",
        Form()
        .column("id", 0, 0)
        .column("start", 0, 2 * 2_000_000 - 1)
        .column("revision", 0, 1),
    )
    yield _good(
        "success_more_planes",
        "a column with more planes than it needs: the bytes above are zero",
        replace(form, planes=(8, 8, 8, 4, 4, 8, 1, 4)),
    )
    yield Case(
        "success_other_order",
        "the keys of the header in another order",
        raw(_reordered(form)),
        good=True,
    )


def _reordered(form: Form) -> bytes:
    fields = msgspec.msgpack.decode(form.header())
    header = msgspec.msgpack.encode(dict(reversed(fields.items())))
    rest = form.encode()[5 + len(form.header()) :]
    return b"\1" + len(header).to_bytes(4, "little") + header + rest


def _packing() -> Iterator[Case]:
    payload = Form().encode()
    size = len(payload)
    whole = frame(payload)
    for name, comment, packed in [
        ("packed_empty", "no bytes at all", b""),
        ("packed_short", "four bytes: the length is cut", raw(payload)[:4]),
        ("codec_unknown", "codec 2", raw(payload, codec=2)),
        ("raw_longer", "one byte more than declared", raw(payload, declared=size - 1)),
        ("raw_shorter", "one byte less than declared", raw(payload, declared=size + 1)),
        ("raw_declared_huge", "2^32 - 1 declared", raw(payload, declared=2**32 - 1)),
        (
            "zstd_declared_too_long",
            "a frame of 16 MiB and 1 byte, which it declares",
            zstd((0, 16 * _MIB + 1)),
        ),
        (
            "zstd_bomb",
            "a frame of 16 MiB that declares 100 bytes",
            zstd((0, 16 * _MIB), declared=100),
        ),
        (
            "zstd_longer",
            "one byte more than declared",
            zstd(payload, declared=size - 1),
        ),
        ("zstd_shorter", "one less than declared", zstd(payload, declared=size + 1)),
        ("zstd_none", "the bytes are no frame", raw(payload, codec=1)),
        ("zstd_empty", "no frame at all", raw(b"", codec=1, declared=0)),
        ("zstd_cut", "the frame is cut", raw(whole[:-1], codec=1, declared=size)),
        (
            "zstd_followed",
            "one byte after the frame",
            raw(whole + b"\0", codec=1, declared=size),
        ),
        (
            "zstd_two_frames",
            "two frames, which together have the declared length",
            raw(
                frame(payload[:9]) + frame(payload[9:]),
                codec=1,
                declared=size,
            ),
        ),
        (
            "zstd_window",
            "a frame that asks for a window of 32 MiB",
            raw(
                # No single segment; a window of 2^25; no length of the content.
                b"\x28\xb5\x2f\xfd\x00" + bytes([15 << 3]) + whole[9:],
                codec=1,
                declared=size,
            ),
        ),
        (
            "zstd_dictionary",
            "a frame that names a dictionary",
            raw(
                b"\x28\xb5\x2f\xfd\xa1\x07" + whole[5:],
                codec=1,
                declared=size,
            ),
        ),
    ]:
        yield Case(name, comment, packed)


def _headers() -> Iterator[Case]:
    payload = Form().encode()
    size = len(Form().header())
    for name, comment, data in [
        ("empty", "no bytes at all", b""),
        ("short", "four bytes", payload[:4]),
        ("version_zero", "version 0", b"\0" + payload[1:]),
        ("version_newer", "version 2, of a newer client", b"\2" + payload[1:]),
        ("header_cut", "the header ends too early", payload[: size + 4]),
        (
            "header_longer",
            "the header goes on into the columns",
            b"\1" + (size + 1).to_bytes(4, "little") + payload[5:],
        ),
        (
            "header_shorter",
            "the header is cut by its length",
            b"\1" + (size - 1).to_bytes(4, "little") + payload[5:],
        ),
        ("header_length_huge", "a header of 4 GiB", b"\1" + b"\xff" * 4 + payload[5:]),
        ("header_no_map", "the header is an array", b"\1\1\0\0\0\x90"),
        ("extended", "one byte after the texts", payload + b"\0"),
        ("truncated", "the last byte is missing", payload[:-1]),
    ]:
        yield Case(name, comment, raw(data))
    for key in "sdnbzitp":
        yield _bad(f"no_{key}", f"the header lacks {key}", Form(without=key))
    headers: list[tuple[str, str, dict[str, Any]]] = [
        ("unknown_key", "a key x", {"more": (("x", 1),)}),
        ("id_fraction", "the first id is 7.5", {"first_id": 7.5}),
        ("id_text", "the first id is text", {"first_id": "7"}),
        ("id_true", "the first id is true", {"first_id": True}),
        ("id_negative", "the first id is -1", {"first_id": -1}),
        ("client_short", "a client of 15 bytes", {"seen": {_CLIENT[:15]: (1, _HASH)}}),
        ("client_text", "a client that is text", {"seen": {"a" * 16: (1, _HASH)}}),
        ("hash_short", "a hash of 31 bytes", {"seen": {_CLIENT: (1, _HASH[:31])}}),
        ("seq_negative", "a seq of -1", {"seen": {_CLIENT: (-1, _HASH)}}),
        ("seen_three", "three values of a client", {"seen": {_CLIENT: (1, _HASH, 0)}}),
        ("document_short", "a hash of 31 bytes", {"document": (1, _HASH[:31])}),
        ("document_none", "version 1 without a hash", {"document": (1, b"")}),
        ("document_negative", "version -1", {"document": (-1, _HASH)}),
        ("next_ids_three", "three counters", {"next_ids": (9, 2, 1)}),
        ("next_ids_negative", "a counter below 0", {"next_ids": (9, -1)}),
    ]
    for name, comment, changes in headers:
        wrong = replace(Form(), **changes)
        yield _bad(f"header_{name}", f"the header: {comment}", wrong)


def _bucket_versions() -> Iterator[Case]:
    versions: list[tuple[str, str, dict[str, Any]]] = [
        ("unknown_key", "a key x", {"x": 1}),
        ("name_long", "a name of 513 characters", {"name": "n" * 513}),
        ("type_long", "a type of 513 characters", {"type": "n" * 513}),
        ("client_long", "a client of 513 characters", {"client": "n" * 513}),
        ("hostname_long", "a host name of 513 characters", {"hostname": "n" * 513}),
        ("data_text", "data that is text and not bin", {"data": "{}"}),
        ("data_array", "data that is an array", {"data": b"[]"}),
        ("data_empty", "data of no bytes", {"data": b""}),
        ("data_no_json", "data that is no JSON", {"data": b"{a}"}),
        ("hidden_number", "hidden is 1", {"hidden": 1}),
        ("created_early", "made before the year 1", {"created_us": _TIME_MIN - 1}),
        ("created_late", "made after the year 9999", {"created_us": _TIME_MAX + 1}),
        ("id_high", "an id of 2^53", {"bucket_id": 2**53}),
        ("id_negative", "an id of -1", {"bucket_id": -1}),
        ("revision_high", "a revision of 2^32", {"revision": 2**32}),
        ("revision_negative", "a revision of -1", {"revision": -1}),
    ]
    for name, comment, changes in versions:
        yield _bad(
            f"bucket_{name}",
            f"a bucket version: {comment}",
            Form(buckets=({**_BUCKET, **changes},)),
        )
    for key in _BUCKET:
        rest = {name: value for name, value in _BUCKET.items() if name != key}
        yield _bad(
            f"bucket_no_{key}", f"a bucket version lacks {key}", Form(buckets=(rest,))
        )
    yield _good(
        "bucket_words_longest",
        "512 characters of two bytes each",
        Form(
            buckets=(
                {
                    **_BUCKET,
                    "name": "\u00e9" * 512,
                    "created_us": _TIME_MIN,
                    "bucket_id": _ID_MAX,
                    "revision": 2**32 - 1,
                },
            )
        ),
    )


def _zones() -> Iterator[Case]:
    two = (
        Form(zones=((1, 1, 1), (2, 1, 1)), texts=_A + _A)
        .column("text", 0, 0)
        .column("length", len(_A), len(_A))
    )
    yield _good("zones_one_text_each", "two zones with a text of their own", two)
    for name, comment, form in [
        (
            "descending",
            "bucket 2 before bucket 1",
            replace(two, zones=((2, 1, 1), (1, 1, 1))),
        ),
        ("twice", "bucket 1 twice", replace(two, zones=((1, 1, 1), (1, 1, 1)))),
        (
            "id_high",
            "a bucket id of 2^53",
            replace(two, zones=((1, 1, 1), (2**53, 1, 1))),
        ),
        (
            "no_rows",
            "a zone without rows",
            replace(Form(), zones=((1, 2, 1), (2, 0, 0))),
        ),
        (
            "no_texts",
            "a zone without texts",
            replace(Form(), zones=((1, 1, 1), (2, 1, 0))),
        ),
        (
            "more_texts_than_rows",
            "a zone with one row and two texts",
            replace(two, zones=((1, 1, 2),)),
        ),
        (
            "four_values",
            "a zone of four values",
            replace(Form(), zones=((1, 2, 1, 0),)),
        ),
        (
            "text_of_the_zone_before",
            "a row names a text that only the zone before brought",
            Form(
                zones=((1, 1, 1), (2, 2, 1)),
                columns=(
                    (0, 2, 2),
                    (0, 2, 2),
                    (1, 1, 1),
                    (0, 1, 0),
                    *[(0, 0, 0)] * 3,
                    (len(_A), len(_A)),
                ),
                texts=_A + _A,
            ),
        ),
        (
            "rows_named_more",
            "a zone names a row more than the columns hold",
            replace(Form(), zones=((1, 3, 1),)),
        ),
    ]:
        yield _bad(f"zones_{name}", comment, form)


def _columns() -> Iterator[Case]:
    form = Form()
    for column, most in zip(COLUMNS, (8, 8, 8, 4, 4, 8, 1, 4), strict=True):
        at = COLUMNS.index(column)
        counts = form.plane_counts()
        planes = (*counts[:at], most + 1, *counts[at + 1 :])
        yield _bad(
            f"planes_{column}",
            f"the column {column} with {most + 1} planes",
            replace(form, planes=planes),
        )
    for name, comment, planes in [
        ("seven", "seven columns", form.plane_counts()[:7]),
        ("nine", "nine columns", (*form.plane_counts(), 0)),
        ("negative", "a column with -1 planes", (-1, *form.plane_counts()[1:])),
    ]:
        more = (("p", list(planes)),)
        yield _bad(f"planes_{name}", f"planes of {comment}", replace(form, more=more))
    for name, comment, wrong in [
        ("first_id", "the first id is not 0", form.column("id", 2, 2)),
        ("first_start", "the first start is not 0", form.column("start", 2, 2)),
        ("text_first", "the first row names a text", form.column("text", 1, 0)),
        (
            "text_ahead",
            "a row names the text after the next",
            form.column("text", 0, 2),
        ),
        (
            "text_not_brought",
            "a zone brings one text and names two",
            replace(form, zones=((1, 2, 2),), texts=_A + _A).column(
                "length", len(_A), len(_A)
            ),
        ),
        (
            "text_too_many",
            "a zone brings two texts and names one",
            form.column("text", 0, 0),
        ),
        ("length_short", "the lengths are one too few", form.column("length", 10)),
        ("length_long", "the lengths are one too many", form.column("length", 12)),
        (
            "length_wraps",
            "lengths that add up only modulo 2^32",
            replace(form, zones=((1, 2, 2),))
            .column("text", 0, 0)
            .column("length", 2**32 - 1, len(_A) + 1),
        ),
    ]:
        yield _bad(f"column_{name}", f"columns: {comment}", wrong)


def _values() -> Iterator[Case]:
    form = Form()
    late = replace(form, first_start=_TIME_MAX - 1_000_000)
    early = replace(form, first_start=_TIME_MIN)
    for name, comment, wrong in [
        ("id_high", "an id of 2^53", form.column("id", 0, 2 * (2**53 - 7))),
        ("id_negative", "an id of -1", form.column("id", 0, 15)),
        ("id_step_huge", "a step of -2^63", form.column("id", 0, 2**64 - 1)),
        (
            "id_steps_wrap",
            "steps that come back modulo 2^64",
            replace(form, zones=((1, 3, 1),))
            .column("id", 0, 2**63, 2**63)
            .column("start", 0, 0, 0)
            .column("duration", 1, 1, 1)
            .column("text", 0, 1, 1)
            .column("revision", 0, 0, 0)
            .column("stored_at", 0, 0, 0)
            .column("flags", 0, 0, 0),
        ),
        (
            "start_early",
            "a start before the year 1",
            early.column("start", 0, 4_000_001),
        ),
        (
            "start_late",
            "a start after the year 9999",
            late.column("duration", 0, 0).column("start", 0, 2_000_002),
        ),
        ("start_gap_huge", "a gap of 2^63 - 1", form.column("start", 0, 2**64 - 2)),
        (
            "end_late",
            "an end after the year 9999",
            late.column("duration", 0, 1_000_002).column("start", 0, 0),
        ),
        ("duration_huge", "a duration of 2^63", form.column("duration", 1, 2**63 + 1)),
        (
            "stored_before_1970",
            "stored at -1",
            form.column("stored_at", 0, 2 * (_T0 + 4_000_000) + 2),
        ),
        (
            "stored_late",
            "stored after the year 9999",
            form.column("stored_at", 2 * (_TIME_MAX + 1 - _T0) + 1, 0),
        ),
        ("flags_unknown", "flag 4", form.column("flags", 0, 4)),
        (
            "order_start",
            "the second row starts before the first",
            form.column("start", 0, 4_000_001),
        ),
        (
            "order_id",
            "two rows with one start, the higher id first",
            form.column("id", 0, 1).column("start", 0, 3_999_999),
        ),
    ]:
        yield _bad(f"value_{name}", f"rows: {comment}", wrong)


def _texts() -> Iterator[Case]:
    def form(text: bytes) -> Form:
        return replace(Form(), texts=text).column("length", len(text))

    deep = b'{"a":' * 63 + b"{}" + b"}" * 63
    for name, comment, text in [
        ("empty_object", "no keys", b"{}"),
        ("deepest", "64 objects inside each other", deep),
        (
            "deepest_arrays",
            "an object and 63 arrays",
            b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
        ),
        (
            "brackets_in_text",
            "brackets inside of a string",
            b'{"a":"' + b"[" * 99 + b'"}',
        ),
        (
            "escaped_quote",
            "a quote and brackets inside of a string",
            b'{"a":"\\"' + b"{" * 99 + b'"}',
        ),
        ("half_surrogate", "half of a pair, as its escape", b'{"a":"\\ud83d"}'),
        ("four_bytes", "a letter of four bytes", '{"a":"\U0001f98a"}'.encode()),
        ("spaces", "white space that no writer leaves", b'{ "a" :\n1 }'),
        ("key_twice", "a key twice", b'{"a":1,"a":2}'),
        ("integer_long", "an integer of 30 digits", b'{"a":' + b"9" * 30 + b"}"),
        ("escaped_nul", "a NUL, as its escape", b'{"a":"\\u0000"}'),
    ]:
        yield _good(f"text_{name}", f"a text: {comment}", form(text))
    for name, comment, text in [
        ("empty", "no bytes", b""),
        ("array", "an array", b"[]"),
        ("number", "a number", b"12"),
        ("cut", "an object that does not end", b'{"a":1'),
        ("after", "a space after the object", b"{} "),
        ("before", "a space before the object", b" {}"),
        ("two", "two objects", b"{}{}"),
        ("mark", "a byte order mark", b"\xef\xbb\xbf{}"),
        ("no_utf8", "a byte that is no UTF-8", b'{"a":"\xff"}'),
        ("surrogate_utf8", "half of a pair, as bytes", b'{"a":"\xed\xa0\xbd"}'),
        ("overlong", "NUL in two bytes", b'{"a":"\xc0\x80"}'),
        ("nan", "NaN", b'{"a":NaN}'),
        ("infinity", "Infinity", b'{"a":-Infinity}'),
        ("single_quotes", "single quotes", b"{'a':1}"),
        ("comma", "a comma too many", b'{"a":1,}'),
        ("control", "a line end inside of a string", b'{"a":"\n"}'),
        ("too_deep", "65 objects inside each other", b'{"a":' + deep + b"}"),
        (
            "too_deep_arrays",
            "an object and 64 arrays",
            b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
        ),
    ]:
        yield _bad(f"text_{name}", f"a text: {comment}", form(text))


def _limits() -> Iterator[Case]:
    for name, count, good in [
        ("rows_most", _ROWS_MAX, True),
        ("rows_too_many", _ROWS_MAX + 1, False),
    ]:
        # Every row has the one text, and follows the one before at once.
        form = Form(
            zones=((1, count, 1),),
            planes=(1, 0, 0, 1, 0, 0, 0, 1),
            columns=((), (), (), (), (), (), (), (2,)),
            texts=b"{}",
            first_id=1,
        )
        head = form.encode()[:-3]
        yield Case(
            name,
            f"{count} rows, as one zstd frame",
            zstd(head, b"\0", (2, count - 1), b"\0", (1, count - 1), b"\2{}"),
            good=good,
            counted=True,
        )
    yield _bad(
        "rows_too_many_together",
        "two zones of 32768 and 32769 rows",
        Form(zones=((1, 32_768, 1), (2, 32_769, 1))),
    )
    for name, size, good in [
        ("text_longest", _TEXT_BYTES_MAX, True),
        ("text_too_long", _TEXT_BYTES_MAX + 1, False),
    ]:
        long = Form(texts=b"").column("length", size)
        yield Case(
            name,
            f"a text of {size} bytes, as one zstd frame",
            zstd(long.encode(), b'{"a":"', (0x78, size - 8), b'"}'),
            good=good,
            counted=True,
        )
    zones = Form(
        zones=tuple((n, 1, 1) for n in range(4097)),
        planes=(0, 0, 0, 0, 0, 0, 0, 1),
        columns=((), (), (), (), (), (), (), ()),
        texts=b"",
        first_id=1,
    ).encode()
    yield Case(
        "zones_too_many",
        "4097 zones of one row and one text each, as one zstd frame",
        zstd(zones, (2, 4097), b"{}" * 4097),
    )


def check(fields: Fields) -> None:
    numbered = {key for key in fields if key.split()[0] in {"seen", "bucket", "row"}}
    require_keys(
        fields,
        {"packed"},
        {"payload", "document", "next ids", "rows", "writer", "index row", *numbered},
    )

    payload = attempt(fields, partial(_opened, unhex(fields, "packed")))

    if payload is None:
        return
    described = _facts(payload, counted="rows" in fields)
    written = {"expect", "comment", "packed", "payload", "writer", "index row"}
    assert described == {k: v for k, v in fields.items() if k not in written}
    again = encode_payload(payload)
    assert _facts(decode_payload(again), counted="rows" in fields) == described
    if "payload" in fields:
        assert unpack(unhex(fields, "packed")) == unhex(fields, "payload")
    if "index row" in fields:
        row = index_row_of(payload, writer=int(fields["writer"]))
        assert encode_index_row(row) == unhex(fields, "index row")
        assert decode_index_row(unhex(fields, "index row")) == row


def _opened(packed: bytes) -> Payload:
    return decode_payload(unpack(packed))


def _described(case: Case) -> Fields:
    payload = _opened(case.packed)
    facts = _facts(payload, counted=case.counted)
    if case.counted:
        return facts
    return {
        "payload": unpack(case.packed).hex(),
        **facts,
        "writer": str(case.writer),
        "index row": encode_index_row(index_row_of(payload, writer=case.writer)).hex(),
    }


def _facts(payload: Payload, *, counted: bool) -> Fields:
    version, digest = payload.document
    rows = [
        _row(number, table, at)
        for number, table in payload.zones
        for at in range(len(table))
    ]
    return {
        **{
            f"seen {n}": f"{client.hex()} {seq} {digest.hex()}"
            for n, (client, (seq, digest)) in enumerate(
                sorted(payload.seen.items()), start=1
            )
        },
        "document": f"{version} {digest.hex() or 'none'}",
        "next ids": f"{payload.next_ids.next_event} {payload.next_ids.next_bucket}",
        **{
            f"bucket {n}": bucket_line(version)
            for n, version in enumerate(payload.buckets, start=1)
        },
        **(
            {"rows": str(len(rows))}
            if counted
            else {f"row {n}": row for n, row in enumerate(rows, start=1)}
        ),
    }


def _row(bucket_id: int, table: EventTable, at: int) -> str:
    (row,) = rows_of(table.take(slice(at, at + 1)))
    return row_line(
        bucket_id,
        row.id,
        row.revision,
        row.start,
        row.duration,
        row.stored_at,
        row.flags,
        row.text,
    )


def row_line(*values: int | bytes) -> str:
    """Return a row as its vector has it: numbers, then the text in hex."""
    return " ".join(v.hex() if isinstance(v, bytes) else str(v) for v in values)


def bucket_line(version: BucketVersion) -> str:
    """Return a bucket version as its vector has it: numbers, then five in hex."""
    words = (version.name, version.type, version.client, version.hostname)
    return " ".join(
        [
            str(version.bucket_id),
            str(version.revision),
            str(version.created_us),
            str(int(version.hidden)),
            *(word.encode().hex() or "-" for word in words),
            version.data.hex(),
        ]
    )
