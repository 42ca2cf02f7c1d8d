"""Padding: few sizes, little waste, and never above a record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awserver.records import BODY_BYTES_MAX
from awvault.crypto.committing import TAG_BYTES
from awvault.crypto.padding import (
    CONTENT_BYTES_MAX,
    FLOOR_LOCAL_BYTES,
    FLOOR_REMOTE_BYTES,
    pad,
    padded_bytes,
    unpad,
)
from awvault.errors import LimitError, PayloadError

FLOORS = st.sampled_from([FLOOR_LOCAL_BYTES, FLOOR_REMOTE_BYTES])
SIZES = st.integers(1, CONTENT_BYTES_MAX + 4)


@given(st.binary(max_size=6000), FLOORS)
def test_what_was_padded_comes_back(content: bytes, floor: int) -> None:
    """Whatever the content, zeros at its end included."""
    padded = pad(content, floor=floor)

    assert unpad(padded) == content
    assert len(padded) == padded_bytes(len(content) + 4, floor=floor)


@given(SIZES, FLOORS)
def test_a_size_is_a_bucket(size: int, floor: int) -> None:
    """A padded size is large enough, is its own bucket, and adds at most 12 %."""
    padded = padded_bytes(size, floor=floor)

    assert max(size, floor) <= padded
    assert padded <= max(floor, size * 1.12)
    assert padded_bytes(padded, floor=floor) == padded
    assert padded + TAG_BYTES <= BODY_BYTES_MAX


@given(SIZES, SIZES, FLOORS)
def test_sizes_keep_their_order(one: int, two: int, floor: int) -> None:
    """A larger content never gets a smaller bucket."""
    small, large = sorted((one, two))

    assert padded_bytes(small, floor=floor) <= padded_bytes(large, floor=floor)


def test_there_are_few_sizes() -> None:
    """All that fits in a record has one of some 240 sizes."""
    sizes = set()
    size = 1
    while size <= CONTENT_BYTES_MAX + 4:
        padded = padded_bytes(size, floor=FLOOR_LOCAL_BYTES)
        sizes.add(padded)
        size = padded + 1

    assert len(sizes) < 250


def test_the_largest_content_fits_a_record() -> None:
    """The largest content is padded to the limit, one byte more is refused."""
    content = bytes(CONTENT_BYTES_MAX)

    assert len(pad(content, floor=FLOOR_LOCAL_BYTES)) + TAG_BYTES == BODY_BYTES_MAX
    with pytest.raises(LimitError) as caught:
        pad(content + b"\0", floor=FLOOR_LOCAL_BYTES)
    assert str(CONTENT_BYTES_MAX) in str(caught.value)


@given(st.binary(max_size=100))
def test_any_bytes_are_content_or_a_payload_error(data: bytes) -> None:
    """Nothing else is raised, whatever a faulty client sealed."""
    try:
        content = unpad(data)
    except PayloadError:
        return
    assert data[4 : 4 + len(content)] == content
    assert not any(data[4 + len(content) :])
