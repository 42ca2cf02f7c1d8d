"""What travels between client and host in binary: frames of records, documents."""

from collections.abc import Iterator
from typing import Final

from awserver.errors import MalformedRecordError
from awserver.records import ZERO_HASH, AccountId, SealedRecord, Seq
from awserver.wire import (
    FrameReader,
    decode_documents,
    encode_documents,
    encode_frame,
)
from awvault import errors
from awvault.crypto.envelope import seal_record
from awvault.crypto.keys import ClientKey, EpochKey
from tests.helpers.randomness import fixed
from tests.vectors.form import Fields, attempt, require_keys, unhex
from tests.vectors.kinds.seals import flip

NAME = "frames"

_DOCUMENT_BYTES_MAX: Final = 4 * 1024 * 1024


def _sealed(plaintext: bytes, after: SealedRecord | None) -> SealedRecord:
    return seal_record(
        EpochKey(fixed("frame epoch")),
        _CLIENT,
        account_id=AccountId(fixed("frame account", 16)),
        client_id=_CLIENT.client_id,
        epoch=0,
        seq=Seq(0 if after is None else after.header.seq + 1),
        prev=ZERO_HASH if after is None else after.hash,
        plaintext=plaintext,
        random=lambda _: fixed("frame random"),
    )


_CLIENT: Final = ClientKey(fixed("frame client"))
_FIRST: Final = _sealed(b"first", None)
_SECOND: Final = _sealed(b"second", _FIRST)


def _frame(record: SealedRecord, *, body: bool = True) -> bytes:
    """Return a frame, put together by hand."""
    flags = b"\1" if body else b"\0"
    rest = (record.body or b"") if body else b""
    return flags + record.header_bytes + record.signature + rest


def _joined(*documents: bytes) -> bytes:
    return b"".join(len(one).to_bytes(4, "little") + one for one in documents)


def make() -> dict[str, Fields]:
    first, second = _frame(_FIRST), _frame(_SECOND)
    bare = _frame(_FIRST, body=False)
    vectors = {
        "success": _frames("two records with their bodies", first + second),
        "success_without_bodies": _frames(
            "two records of which the bodies were not asked for",
            bare + _frame(_SECOND, body=False),
        ),
        "success_mixed": _frames(
            "a record whose body was destroyed, and one with its body", bare + second
        ),
        "success_none": _frames("no record", b""),
        "documents": _documents("two account documents", _joined(b"first", b"second")),
        "documents_none": _documents("no account document", b""),
    }
    for name, comment, data in _failures(first, bare):
        key = "documents" if name.startswith("documents") else "frames"
        vectors[name] = {"expect": "malformed", "comment": comment, key: data.hex()}
    return vectors


def _failures(first: bytes, bare: bytes) -> Iterator[tuple[str, str, bytes]]:
    yield "flags_unknown", "flags 2", b"\2" + first[1:]
    yield "flags_both", "flags 3", b"\3" + first[1:]
    yield "flags_alone", "only the flags", first[:1]
    yield "cut_header", "cut in the header", first[:100]
    yield "cut_signature", "cut in the signature", first[:237]
    yield "cut_body", "the last byte is missing", first[:-1]
    yield "cut_second", "the second frame is cut", first + bare[:-1]
    yield "body_missing", "the flags name a body that is not there", b"\1" + bare[1:]
    yield "body_unannounced", "a body that the flags do not name", b"\0" + first[1:]
    yield "magic", "the magic is altered", flip(first, 1)
    yield (
        "body_too_long",
        "the header names a body of 1 MiB and 1 byte",
        first[:138] + (2**20 + 1).to_bytes(4, "little") + first[142:],
    )
    yield (
        "body_other",
        "another body than the header names",
        flip(first, len(first) - 1),
    )
    yield "documents_cut", "the last byte is missing", _joined(b"first", b"second")[:-1]
    yield (
        "documents_cut_length",
        "the second length is cut",
        _joined(b"first") + b"\1\0",
    )
    yield (
        "documents_too_long",
        "a document of 4 MiB and 1 byte is named",
        (_DOCUMENT_BYTES_MAX + 1).to_bytes(4, "little") + b"first",
    )


def check(fields: Fields) -> None:
    if "documents" in fields:
        numbered = {key for key in fields if key.startswith("document ")}
        require_keys(fields, {"documents"}, numbered)
        data = unhex(fields, "documents")
        listed = attempt(fields, lambda: _read_documents(data))
        if listed is not None:
            assert _listed(listed) == {key: fields[key] for key in numbered}
            assert encode_documents(listed) == data
        return
    numbered = {key for key in fields if key.startswith("record ")}
    require_keys(fields, {"frames"}, numbered)
    data = unhex(fields, "frames")
    records = attempt(fields, lambda: _read_frames([data]))
    if records is not None:
        assert _facts(records) == {key: fields[key] for key in numbered}
        assert b"".join(map(encode_frame, records)) == data
        # A stream may be cut anywhere on its way.
        bytewise = [data[at : at + 1] for at in range(len(data))]
        assert _read_frames(bytewise) == records


def _read_frames(pieces: list[bytes]) -> list[SealedRecord]:
    reader = FrameReader()
    try:
        records = [record for piece in pieces for record in reader.feed(piece)]
        reader.end()
    except MalformedRecordError as error:
        raise errors.MalformedError(str(error)) from None
    return records


def _read_documents(data: bytes) -> list[bytes]:
    try:
        return decode_documents(data)
    except MalformedRecordError as error:
        raise errors.MalformedError(str(error)) from None


def _facts(records: list[SealedRecord]) -> Fields:
    """Return a line for each record: its seq, its hash, and its body or none."""
    return {
        f"record {n}": f"{record.header.seq} {record.hash.hex()} "
        + ("absent" if record.body is None else record.body.hex())
        for n, record in enumerate(records, start=1)
    }


def _listed(documents: list[bytes]) -> Fields:
    return {f"document {n}": one.hex() for n, one in enumerate(documents, start=1)}


def _frames(comment: str, data: bytes) -> Fields:
    return {
        "expect": "success",
        "comment": comment,
        "frames": data.hex(),
        **_facts(_read_frames([data])),
    }


def _documents(comment: str, data: bytes) -> Fields:
    return {
        "expect": "success",
        "comment": comment,
        "documents": data.hex(),
        **_listed(_read_documents(data)),
    }
