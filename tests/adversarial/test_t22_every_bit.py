"""T22: every bit of a record flipped; every truncation and extension."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awserver.records import BODY_BYTES_MAX
from awvault.crypto.envelope import decode_record
from awvault.errors import (
    ChainError,
    EpochError,
    Error,
    GapError,
    MalformedError,
    SignatureError,
    UnsupportedSuiteError,
    WrongPlaceError,
)
from awvault.protocol.log import VerifiedLog
from tests.helpers.owners import Owner
from tests.helpers.refusals import refusal, state_of

OWNER = Owner()
FIRST, RECORD = OWNER.records(bytes(512), b"\1" * 512)
WHOLE = RECORD.encode()

FIELDS = [
    ("magic", 0, 4, MalformedError),
    ("suite", 4, 5, UnsupportedSuiteError),
    ("account", 5, 21, WrongPlaceError),
    ("client", 21, 37, WrongPlaceError),
    ("epoch", 37, 41, EpochError),
    ("seq", 41, 49, GapError),
    ("prev", 49, 81, ChainError),
    ("salt", 81, 105, SignatureError),
    ("commitment", 105, 137, SignatureError),
    ("body length", 137, 141, MalformedError),
    ("body hash", 141, 173, MalformedError),
    ("signature", 173, 237, SignatureError),
    ("body", 237, len(WHOLE), MalformedError),
]


def log_before() -> VerifiedLog:
    log = OWNER.log()
    log.accept(FIRST)
    return log


def flip(bit: int) -> bytes:
    flipped = bytearray(WHOLE)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def offer(log: VerifiedLog, data: bytes) -> bytes | None:
    return log.accept(decode_record(data))


def test_the_record_itself_is_accepted() -> None:
    """What is flipped below is a good record."""
    assert log_before().accept(decode_record(WHOLE)) == b"\1" * 512


@pytest.mark.parametrize(
    ("begin", "end", "kind"),
    [pytest.param(*field[1:], id=field[0]) for field in FIELDS],
)
def test_every_flipped_bit_is_refused(begin: int, end: int, kind: type[Error]) -> None:
    """Each bit of each field is refused, with the error of that field."""
    log = log_before()
    before = state_of(log)

    for bit in range(begin * 8, end * 8):
        above_seq_max = bit == 49 * 8 - 1
        expected = MalformedError if above_seq_max else kind
        refusal(expected, partial(offer, log, flip(bit)))
        assert state_of(log) == before

    assert log.accept(decode_record(WHOLE)) == b"\1" * 512


def test_every_truncation_is_refused() -> None:
    """A record that lost its end is none."""
    log = log_before()
    before = state_of(log)

    for size in range(len(WHOLE)):
        refusal(MalformedError, partial(offer, log, WHOLE[:size]))

    assert state_of(log) == before


@settings(deadline=None, max_examples=100)
@given(st.binary(min_size=1, max_size=64))
def test_every_extension_is_refused(extension: bytes) -> None:
    """A record with something behind it is none, whatever it is."""
    log = log_before()
    before = state_of(log)

    refusal(MalformedError, lambda: log.accept(decode_record(WHOLE + extension)))

    assert state_of(log) == before


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    """No bytes but a record's raise anything but an error of ours."""
    with pytest.raises(Error):
        log_before().accept(decode_record(data))


def test_a_body_above_the_limit_is_refused_by_its_header() -> None:
    """The length that a header names is bounded before anything is done with it."""
    size = (BODY_BYTES_MAX + 1).to_bytes(4, "little")

    error = refusal(
        MalformedError, lambda: decode_record(WHOLE[:137] + size + WHOLE[141:])
    )

    assert str(BODY_BYTES_MAX) in str(error)
