"""A verified log: what moves it, and what it says of copies of itself."""

from dataclasses import replace

import pytest

from awserver.records import Head, RecordHash, Seq
from awvault.errors import (
    BodyMissingError,
    ChainError,
    GapError,
    MalformedError,
    RevokedError,
    RollbackError,
    SignatureError,
)
from awvault.protocol.document import Erasure
from awvault.protocol.log import VerifiedLog
from tests.helpers.owners import Owner, head_of, resign
from tests.helpers.randomness import fixed
from tests.helpers.refusals import refusal, refuse_record

OWNER = Owner()
PLAINTEXTS = [bytes([n]) * 512 for n in range(4)]
RECORDS = OWNER.records(*PLAINTEXTS, epochs=[0, 0, 1, 1])


def full() -> VerifiedLog:
    log = OWNER.log(epoch=1)
    assert [log.accept(record) for record in RECORDS] == PLAINTEXTS
    return log


def test_a_log_of_two_epochs_is_read() -> None:
    """Each record opens with the key of its epoch; head and epoch follow."""
    log = full()

    assert (log.head, log.epoch, log.next_seq) == (head_of(RECORDS[3]), 1, 4)


def test_an_empty_log_agrees_with_every_copy() -> None:
    """Who has verified nothing has nothing to hold against a copy."""
    log = OWNER.log()

    log.check_head(None)
    log.check_head(head_of(RECORDS[3]))

    assert log.head is None


def test_a_copy_that_is_as_long_or_longer_is_in_order() -> None:
    """Longer copies are for `accept` to judge."""
    log = full()

    log.check_head(log.head)
    log.check_head(Head(seq=Seq(9), hash=RecordHash(fixed("later"))))


def test_a_shorter_copy_is_a_rollback() -> None:
    """The error names how much was verified, and how much is offered."""
    log = full()

    error = refusal(RollbackError, lambda: log.check_head(head_of(RECORDS[1])))
    assert (error.verified, error.offered) == (4, 2)
    error = refusal(RollbackError, lambda: log.check_head(None))
    assert (error.verified, error.offered) == (4, 0)
    assert log.head == head_of(RECORDS[3])


def test_a_copy_with_another_head_is_another_log() -> None:
    """Two hashes at one seq."""
    other = Head(seq=Seq(3), hash=RecordHash(fixed("other")))

    refusal(ChainError, lambda: full().check_head(other))


def test_a_header_alone_moves_the_log_where_that_is_asked_for() -> None:
    """Having reported a missing body, a reader goes on by the header."""
    log = OWNER.log(epoch=1)
    without = RECORDS[0].without_body()
    refuse_record(BodyMissingError, log, without)

    log.accept_header(without)

    assert log.head == head_of(RECORDS[0])
    assert log.accept(RECORDS[1]) == PLAINTEXTS[1]


def test_a_header_that_is_wrong_moves_nothing() -> None:
    """The rules of the header hold without a body too."""
    log = OWNER.log(epoch=1)
    forged = resign(OWNER.client_keys[1], RECORDS[0])

    refusal(SignatureError, lambda: log.accept_header(forged))
    refusal(GapError, lambda: log.accept_header(RECORDS[1]))

    assert (log.head, log.epoch) == (None, 0)


def test_the_account_document_says_what_a_log_is() -> None:
    """End, erasures and known heads come from the document."""
    owner = Owner()
    records = owner.records(*PLAINTEXTS)
    client_id = owner.client_id()
    clients = tuple(
        replace(client, revoked=True, final=head_of(records[2]))
        if client.client_id == client_id
        else client
        for client in owner.verified().document.clients
    )
    erased = Erasure(client_id=client_id, from_seq=Seq(1), to_seq=Seq(1))
    owner.sign(
        owner.next(
            clients=clients, heads=((client_id, head_of(records[1])),), erased=(erased,)
        )
    )
    log = owner.log()

    assert log.accept(records[0]) == PLAINTEXTS[0]
    assert log.accept(records[1].without_body()) is None
    assert log.accept(records[2]) == PLAINTEXTS[2]
    refuse_record(RevokedError, log, records[3])


def test_a_record_that_the_owner_did_not_see_there_is_refused() -> None:
    """At a seq that the document names, only the record that it names will do."""
    owner = Owner()
    mine, theirs = owner.records(PLAINTEXTS[0]), owner.records(PLAINTEXTS[1])
    owner.sign(owner.next(heads=((owner.client_id(), head_of(mine[0])),)))
    log = owner.log()

    refuse_record(ChainError, log, theirs[0])

    assert log.accept(mine[0]) == PLAINTEXTS[0]


def test_logs_do_not_share_their_state() -> None:
    """A failure of one log leaves another as it is."""
    one, two = OWNER.log(epoch=1), OWNER.log(client=1, epoch=1)
    one.accept(RECORDS[0])

    with pytest.raises(GapError):
        one.accept(RECORDS[0])

    assert two.head is None
    assert two.accept(OWNER.record(PLAINTEXTS[0], client=1)) == PLAINTEXTS[0]


def test_a_value_of_the_record_type_proves_nothing_of_its_parts() -> None:
    """A record put together by hand is judged by its bytes."""
    log = OWNER.log(epoch=1)

    refuse_record(MalformedError, log, replace(RECORDS[0], header_bytes=b""))
    refuse_record(MalformedError, log, replace(RECORDS[0], body=b"other"))
