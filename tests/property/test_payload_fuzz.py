"""Whatever bytes they get, readers of payloads return or raise `PayloadError`."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from awvault.columns.compress import pack, unpack
from awvault.columns.payload import PAYLOAD_VERSION, decode_payload, encode_payload
from awvault.columns.zones import decode_index_row, encode_index_row, index_row_of
from awvault.errors import PayloadError
from tests.helpers.activity_data import activity
from tests.helpers.tables import payload

WHOLE = payload(*[(n, bucket.table) for n, bucket in enumerate(activity(60))])
VALID = encode_payload(WHOLE)
HEADER_BYTES = 5 + int.from_bytes(VALID[1:5], "little")

EDITS = st.lists(
    st.tuples(st.integers(0, HEADER_BYTES + 600), st.binary(max_size=9)),
    min_size=1,
    max_size=4,
)


def read(data: bytes) -> None:
    """Read a payload; it may be refused, and what is accepted can be written."""
    try:
        decoded = decode_payload(data)
    except PayloadError:
        return
    encode_payload(decoded)


@given(st.binary(max_size=400))
@example(b"")
def test_random_bytes(data: bytes) -> None:
    """Random bytes, also where the version is right."""
    read(data)
    read(bytes([PAYLOAD_VERSION]) + data)
    read(VALID[:HEADER_BYTES] + data)
    for unread in (data, b"\0" + data, b"\1" + data):
        try:
            unpack(unread)
        except PayloadError:
            continue


@given(EDITS)
@settings(max_examples=400)
def test_valid_bytes_with_changes(edits: list[tuple[int, bytes]]) -> None:
    """Bytes overwritten here and there, mostly in the header and the columns."""
    data = bytearray(VALID)
    for at, octets in edits:
        data[at : at + len(octets)] = octets
    read(bytes(data))


@given(st.integers(0, len(VALID)), st.binary(max_size=20))
def test_valid_bytes_cut_or_longer(at: int, more: bytes) -> None:
    """A payload ends where it should."""
    read(VALID[:at] + more)
    read(VALID + more)


@given(EDITS)
def test_packed_bytes_with_changes(edits: list[tuple[int, bytes]]) -> None:
    """Changes within a zstd frame."""
    data = bytearray(pack(VALID))
    for at, octets in edits:
        data[at : at + len(octets)] = octets
    try:
        payload_bytes = unpack(bytes(data))
    except PayloadError:
        return
    read(payload_bytes)


@given(EDITS, st.binary(max_size=100))
def test_index_rows(edits: list[tuple[int, bytes]], other: bytes) -> None:
    """Index rows are read as strictly."""
    data = bytearray(encode_index_row(index_row_of(WHOLE, writer=0)))
    for at, octets in edits:
        data[at % len(data) : at % len(data) + len(octets)] = octets
    for unread in (bytes(data), other):
        try:
            decode_index_row(unread)
        except PayloadError:
            continue
