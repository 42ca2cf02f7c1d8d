"""T24: a record moved to another account, client, seq, kind or epoch."""

import pytest

from awserver.records import ZERO_HASH, Seq
from awvault.crypto import labels
from awvault.crypto.committing import Sealed, open_parts
from awvault.crypto.envelope import seal_record
from awvault.errors import EpochError, GapError, SealError, WrongPlaceError
from tests.helpers.owners import Owner, head_of, resign
from tests.helpers.refusals import refusal, refuse_record

OWNER, OTHER = Owner("owner"), Owner("other")


def test_a_record_of_another_account_is_refused() -> None:
    """A record stays in its account, even if one client key served two."""
    log = OWNER.log()
    record = seal_record(
        OTHER.epoch_key(),
        OWNER.client_keys[0],
        account_id=OTHER.account_id,
        client_id=OWNER.client_id(),
        epoch=0,
        seq=Seq(0),
        prev=ZERO_HASH,
        plaintext=bytes(512),
        random=OTHER.random,
    )

    refuse_record(WrongPlaceError, log, record)
    refuse_record(WrongPlaceError, log, OTHER.record(bytes(512)))

    assert log.accept(OWNER.record(bytes(512))) == bytes(512)


def test_a_record_of_another_client_is_refused() -> None:
    """Two clients of one account do not write each other's log."""
    log = OWNER.log(client=0)

    refuse_record(WrongPlaceError, log, OWNER.record(bytes(512), client=1))


@pytest.mark.parametrize("seq", [1, 2])
def test_a_record_at_another_seq_is_refused(seq: int) -> None:
    """A record is accepted at its own seq only."""
    log = OWNER.log()

    error = refuse_record(GapError, log, OWNER.records(*[bytes(512)] * 3)[seq])

    assert (error.expected, error.got) == (0, seq)


def test_a_record_moved_to_another_account_by_its_client_is_refused() -> None:
    """A key that serves two accounts moves nothing: the seal names the account."""
    key = OWNER.client_keys[0]
    record = OTHER.record(bytes(512))
    log = OWNER.log()

    refuse_record(
        SealError,
        log,
        resign(key, record, account_id=OWNER.account_id, client_id=OWNER.client_id()),
    )


def test_a_record_moved_to_another_client_is_refused() -> None:
    """A client that signs another's sealed body as its own is refused."""
    record = OWNER.record(bytes(512), client=0)
    log = OWNER.log(client=1)

    forged = resign(OWNER.client_keys[1], record, client_id=OWNER.client_id(1))

    refuse_record(SealError, log, forged)


def test_a_record_moved_along_its_log_is_refused() -> None:
    """A body signed again at a later seq does not open there."""
    first = OWNER.record(bytes(512))
    log = OWNER.log()
    log.accept(first)

    forged = resign(OWNER.client_keys[0], first, seq=Seq(1), prev=head_of(first).hash)

    refuse_record(SealError, log, forged)


def test_a_record_moved_to_another_epoch_is_refused() -> None:
    """A body of an old epoch does not open under the new one."""
    record = OWNER.record(bytes(512))
    log = OWNER.log(epoch=1)

    refuse_record(SealError, log, resign(OWNER.client_keys[0], record, epoch=1))


def test_a_record_of_an_epoch_left_behind_is_refused() -> None:
    """Once a log is at an epoch, the older one, which a thief may know, is over."""
    first, second = OWNER.records(bytes(512), bytes(512), epochs=[1, 0])
    log = OWNER.log(epoch=1)
    log.accept(first)

    refuse_record(EpochError, log, second)


def test_a_record_of_an_unnamed_epoch_is_refused() -> None:
    """An epoch that no account document names does not exist."""
    log = OWNER.log(epoch=0)

    refuse_record(EpochError, log, OWNER.record(bytes(512), epoch=1))


@pytest.mark.parametrize(
    "label",
    [labels.KEYSTORE, labels.CLIENT_LABEL, labels.RING, labels.SLOT_PASSPHRASE],
    ids=bytes.decode,
)
def test_a_record_is_taken_for_nothing_else(label: labels.Label) -> None:
    """A seal of one kind does not open as another, under the same key."""
    record = OWNER.record(bytes(512))
    assert record.body is not None
    sealed = Sealed(
        salt=record.header.salt,
        commitment=record.header.commitment,
        ciphertext=record.body,
    )
    h0 = record.header.h0()
    key = OWNER.epoch_key().reveal()

    refusal(SealError, lambda: open_parts(key, label, h0, sealed))
    assert open_parts(key, labels.RECORD_SEAL, h0, sealed) == bytes(512)


def test_a_client_that_the_document_does_not_name_has_no_log() -> None:
    """A record signed by a key nobody admitted finds no log to be in."""
    stranger = Owner("stranger")

    error = refusal(
        WrongPlaceError,
        lambda: type(OWNER.log()).of(
            OWNER.verified(), stranger.client_id(), OWNER.ring()
        ),
    )

    assert stranger.client_id().hex()[:8] in str(error)
