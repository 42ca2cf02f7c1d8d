"""The wire: frames come apart as they were put together, or not at all."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awserver import wire
from awserver.errors import MalformedRecordError
from awserver.records import RECORD_BYTES_MIN, SealedRecord
from tests.helpers.records import chain


def records() -> list[SealedRecord]:
    log = chain(3)
    return [log[0], log[1].without_body(), log[2]]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_frames_come_whole_from_any_pieces(sizes: list[int]) -> None:
    """Wherever the stream is cut, the same records come out, in order."""
    sent = records()
    data = b"".join(wire.encode_frame(record) for record in sent)
    reader = wire.FrameReader()
    got: list[SealedRecord] = []

    at = 0
    for size in [*sizes, len(data)]:
        got += reader.feed(data[at : at + size])
        at += size
    reader.end()

    assert got == sent


def test_a_stream_that_ends_inside_a_frame_is_refused() -> None:
    """A cut connection is never taken for the end of the records."""
    frame = wire.encode_frame(records()[0])
    for size in (1, 100, RECORD_BYTES_MIN, len(frame) - 1):
        reader = wire.FrameReader()
        assert list(reader.feed(frame[:size])) == []
        with pytest.raises(MalformedRecordError, match="inside a frame"):
            reader.end()


def test_a_frame_is_refused_as_soon_as_it_is_wrong() -> None:
    """Unknown flags and bodies that are too long are not waited for."""
    with pytest.raises(MalformedRecordError, match="flags 2"):
        list(wire.FrameReader().feed(b"\2"))
    frame = bytearray(wire.encode_frame(records()[0])[: 1 + RECORD_BYTES_MIN])
    at = 1 + RECORD_BYTES_MIN - 64 - 32 - 4
    frame[at : at + 4] = (0xFFFFFFFF).to_bytes(4, "little")
    with pytest.raises(MalformedRecordError, match="4294967295 bytes"):
        list(wire.FrameReader().feed(bytes(frame)))


def test_an_altered_body_is_refused() -> None:
    """A frame holds the body that its header names."""
    frame = bytearray(wire.encode_frame(records()[0]))
    frame[-1] ^= 1
    with pytest.raises(MalformedRecordError, match="not the one the header names"):
        list(wire.FrameReader().feed(bytes(frame)))


def test_documents_come_apart_as_they_were_put_together() -> None:
    """The account documents of an answer are whole, or refused."""
    documents = [b"a", b"", b"ccc"]
    data = wire.encode_documents(documents)

    assert wire.decode_documents(data) == documents
    for size in range(1, len(data)):
        if size not in {5, 9}:
            with pytest.raises(MalformedRecordError):
                wire.decode_documents(data[:size])


@pytest.mark.parametrize(
    "text",
    [
        '{"username": "Alice"}',
        '{"username": ""}',
        '{"username": "alice", "more": 1}',
        '{"username": null}',
        '{"username": "a\\n"}',
        "{}",
    ],
)
def test_a_request_of_another_form_is_refused(text: str) -> None:
    """Unknown fields and other values are an error, not a surprise."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=wire.PreloginRequest)
