"""T25: records reordered, repeated, or missing from the middle."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awserver.records import SealedRecord, Seq
from awvault.crypto.envelope import seal_record
from awvault.errors import BodyMissingError, ChainError, Error, GapError
from awvault.protocol.document import Erasure
from awvault.protocol.log import VerifiedLog
from tests.helpers.owners import Owner, head_of
from tests.helpers.refusals import refuse_record, state_of

OWNER = Owner()
PLAINTEXTS = [bytes([n]) * 512 for n in range(6)]
RECORDS = OWNER.records(*PLAINTEXTS)


def accept_all(log: VerifiedLog, records: list[SealedRecord]) -> list[bytes | None]:
    """Accept until one is refused, as a reader does."""
    accepted = []
    for record in records:
        try:
            accepted.append(log.accept(record))
        except Error:
            break
    return accepted


@pytest.mark.parametrize(
    ("order", "expected", "got"),
    [
        pytest.param([1, 0, 2], 0, 1, id="swapped"),
        pytest.param([0, 0, 1], 1, 0, id="repeated"),
        pytest.param([0, 2, 3], 1, 2, id="gap"),
        pytest.param([0, 1, 0], 2, 0, id="back"),
    ],
)
def test_nothing_after_the_fault_is_applied(
    order: list[int], expected: int, got: int
) -> None:
    """The fault is named, what stood before it stays, and a retry goes on."""
    log = OWNER.log()
    offered = [RECORDS[n] for n in order]
    good = accept_all(log, offered)

    error = refuse_record(GapError, log, offered[len(good)])

    assert (error.expected, error.got) == (expected, got)
    assert good == PLAINTEXTS[: len(good)]
    assert accept_all(log, RECORDS[len(good) :]) == PLAINTEXTS[len(good) :]
    assert log.head == head_of(RECORDS[-1])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(0, len(RECORDS) - 1), max_size=12))
def test_whatever_the_order_only_a_prefix_is_accepted(order: list[int]) -> None:
    """Any shuffle, with repeats and gaps, yields what was sealed, in order, once."""
    log = OWNER.log()
    accepted = []

    for number in order:
        before = state_of(log)
        try:
            accepted.append(log.accept(RECORDS[number]))
        except GapError:
            assert state_of(log) == before

    assert accepted == PLAINTEXTS[: len(accepted)]
    assert log.next_seq == len(accepted)


def test_a_record_with_another_past_is_refused() -> None:
    """Two histories do not mix: a record names the hash of the one before it."""
    log = OWNER.log()
    log.accept(RECORDS[0])
    other = OWNER.records(b"\xff" * 512, b"\xfe" * 512)[1]

    refuse_record(ChainError, log, other)

    assert log.accept(RECORDS[1]) == PLAINTEXTS[1]


def test_a_first_record_with_a_past_is_refused() -> None:
    """The first record of a log follows nothing."""
    log = OWNER.log()
    record = seal_record(
        OWNER.epoch_key(),
        OWNER.client_keys[0],
        account_id=OWNER.account_id,
        client_id=OWNER.client_id(),
        epoch=0,
        seq=Seq(0),
        prev=RECORDS[0].hash,
        plaintext=bytes(512),
        random=OWNER.random,
    )

    refuse_record(ChainError, log, record)


def test_a_withheld_body_is_a_gap_too() -> None:
    """A record whose body was not sent is not passed over, nor is what follows."""
    log = OWNER.log()
    log.accept(RECORDS[0])

    refuse_record(BodyMissingError, log, RECORDS[1].without_body())
    refuse_record(GapError, log, RECORDS[2])

    assert log.accept(RECORDS[1]) == PLAINTEXTS[1]


def test_only_an_erased_body_may_be_missing() -> None:
    """Where the owner had bodies destroyed, and only there, headers are enough."""
    log = OWNER.log()
    log.erased = [Erasure(client_id=OWNER.client_id(), from_seq=Seq(1), to_seq=Seq(2))]
    log.accept(RECORDS[0])

    assert log.accept(RECORDS[1].without_body()) is None
    assert log.accept(RECORDS[2].without_body()) is None
    refuse_record(BodyMissingError, log, RECORDS[3].without_body())

    assert log.accept(RECORDS[3]) == PLAINTEXTS[3]
