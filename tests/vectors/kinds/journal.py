"""What stands inside a row of the journal, once its seal was opened."""

import struct
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import msgspec

from awvault.columns.payload import BucketVersion
from awvault.journal import EventRow, decode_row, encode_bucket, encode_event
from tests.helpers.tables import rows_of
from tests.vectors.form import Fields, attempt, require_keys, unhex
from tests.vectors.kinds.payloads import Form, bucket_line, raw, row_line

NAME = "journal"

_BUCKET: Final = BucketVersion(
    bucket_id=2**40 + 1,
    revision=3,
    name="aw-watcher-window_desk",
    type="currentwindow",
    client="aw-watcher-window",
    hostname="desk",
    created_us=-1,
    data=b'{"a":1}',
    hidden=False,
)
_EVENT: Final = EventRow(
    id=2**40 + 7,
    revision=2,
    bucket_id=2**40 + 1,
    start=-62_135_596_800_000_000,
    duration=-1,
    stored_at=1_709_287_280_000_000,
    flags=2,
    text='{"title":"caf\u00e9"}'.encode(),
)
_NOTHING: Final[dict[str, Any]] = {"next_ids": (0, 0)}


def make() -> dict[str, Fields]:
    vectors = {
        "success": _fields("an event of its own", _event(_EVENT)),
        "success_bucket": _fields("a bucket version", _bucket(_BUCKET)),
        "success_hidden": _fields(
            "a version that hides its bucket",
            _bucket(msgspec.structs.replace(_BUCKET, revision=4, hidden=True)),
        ),
        "success_deleted": _fields(
            "a revision that deletes its event", _event(_EVENT._replace(flags=1))
        ),
        "success_many": _fields(
            "two events of one request", b"\3" + raw(Form(**_NOTHING).encode())
        ),
        "success_unpadded": _fields(
            "a reader asks for no zeros after the text", _event(_EVENT).rstrip(b"\0")
        ),
        "success_after_the_text": _fields(
            "what follows the text is ignored", _event(_EVENT)[:-1] + b"\1"
        ),
    }
    for name, comment, plaintext in _failures():
        vectors[name] = {
            "expect": "payload failure",
            "comment": comment,
            "plaintext": plaintext.hex(),
        }
    return vectors


def check(fields: Fields) -> None:
    rows = {key for key in fields if key.startswith("row ")}
    require_keys(fields, {"plaintext"}, {"bucket 1", *rows})

    row = attempt(fields, partial(decode_row, unhex(fields, "plaintext")))

    if row is None:
        return
    described = _facts(row)
    assert described == {k: fields[k] for k in fields.keys() & {"bucket 1", *rows}}
    if isinstance(row, BucketVersion):
        assert encode_bucket(row) == unhex(fields, "plaintext")
    if isinstance(row, EventRow):
        # Nothing that a reader ignores is said.
        assert decode_row(encode_event(row)) == row


def _facts(row: Any) -> Fields:
    if isinstance(row, BucketVersion):
        return {"bucket 1": bucket_line(row)}
    if isinstance(row, EventRow):
        return {"row 1": _event_line(row)}
    found = [
        row_line(
            number,
            *(one.id, one.revision, one.start, one.duration),
            *(one.stored_at, one.flags, one.text),
        )
        for number, table in row
        for one in rows_of(table)
    ]
    return {f"row {n}": line for n, line in enumerate(found, start=1)}


def _event_line(row: EventRow) -> str:
    return row_line(
        *(row.bucket_id, row.id, row.revision, row.start),
        *(row.duration, row.stored_at, row.flags, row.text),
    )


def _fields(comment: str, plaintext: bytes) -> Fields:
    return {
        "expect": "success",
        "comment": comment,
        "plaintext": plaintext.hex(),
        **_facts(decode_row(plaintext)),
    }


def _event(row: EventRow, *, length: int | None = None) -> bytes:
    """Return a row of kind 2, put together by hand."""
    size = len(row.text) if length is None else length
    plaintext = (
        b"\2"
        + struct.pack("<QIQ", row.id, row.revision, row.bucket_id)
        + struct.pack("<qqq", row.start, row.duration, row.stored_at)
        + bytes([row.flags])
        + size.to_bytes(4, "little")
        + row.text
    )
    return plaintext + bytes(-len(plaintext) % 64)


def _bucket(version: BucketVersion, *, more: int = 0, **changes: Any) -> bytes:
    """Return a row of kind 1; `more` is added to its length."""
    data = msgspec.msgpack.encode({**msgspec.structs.asdict(version), **changes})
    plaintext = b"\1" + (len(data) + more).to_bytes(4, "little") + data
    return plaintext + bytes(-len(plaintext) % 64)


def _failures() -> Iterator[tuple[str, str, bytes]]:
    event, bucket = _event(_EVENT), _bucket(_BUCKET)
    many = b"\3" + raw(Form(**_NOTHING).encode())
    yield "empty", "no bytes at all", b""
    yield "kind_zero", "kind 0", b"\0" + event[1:]
    yield "kind_unknown", "kind 4", b"\4" + event[1:]
    yield "event_alone", "only the kind of an event", b"\2"
    yield "event_cut", "an event cut in its fixed part", event[:49]
    yield "event_cut_text", "an event cut in its text", event[:60]
    yield "event_length_huge", "a text of 4 GiB", _event(_EVENT, length=2**32 - 1)
    yield "bucket_alone", "only the kind of a bucket version", b"\1"
    yield "bucket_cut", "a bucket version cut in its map", bucket[:40]
    yield "bucket_shorter", "its length is one too few", _bucket(_BUCKET, more=-1)
    yield "bucket_longer", "its length is one too many", _bucket(_BUCKET, more=1)
    yield "bucket_unknown_key", "a bucket version with a key x", _bucket(_BUCKET, x=1)
    yield (
        "bucket_name_long",
        "a bucket version with a name of 513 characters",
        _bucket(_BUCKET, name="n" * 513),
    )
    yield "many_cut", "many events, cut", many[:-1]
    yield "many_alone", "only the kind of many events", b"\3"
    yield "many_codec", "many events under an unknown codec", b"\3\2" + many[2:]
