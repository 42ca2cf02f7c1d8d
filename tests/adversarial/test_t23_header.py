"""T23: header fields changed, by a host, and by a thief of the client's key."""

from dataclasses import replace
from typing import Any

import pytest

from awserver.records import RecordHash, SealedRecord, Seq
from awvault.crypto.keys import ClientKey
from awvault.errors import (
    ChainError,
    EpochError,
    Error,
    GapError,
    MalformedError,
    SealError,
    SignatureError,
    WrongPlaceError,
)
from awvault.protocol.log import VerifiedLog
from tests.helpers.owners import Owner, head_of, resign
from tests.helpers.randomness import fixed
from tests.helpers.refusals import refuse_record

OWNER = Owner()
FIRST, RECORD = OWNER.records(bytes(512), b"\1" * 512)
KEY = OWNER.client_keys[0]


def log_before() -> VerifiedLog:
    log = OWNER.log(epoch=1)
    log.accept(FIRST)
    return log


def unsigned(**changes: Any) -> SealedRecord:
    """Return the record with another header, and the signature it had."""
    header = replace(RECORD.header, **changes)
    return replace(RECORD, header=header, header_bytes=header.encode())


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"account_id": fixed("other", 16)}, WrongPlaceError),
        ({"client_id": OWNER.client_id(1)}, WrongPlaceError),
        ({"seq": Seq(2)}, GapError),
        ({"seq": Seq(0)}, GapError),
        ({"prev": RecordHash(fixed("other"))}, ChainError),
        ({"epoch": 1}, SignatureError),
        ({"epoch": 2}, EpochError),
        ({"salt": fixed("other", 24)}, SignatureError),
        ({"commitment": fixed("other")}, SignatureError),
        ({"body_bytes": 1}, SignatureError),
        ({"body_hash": fixed("other")}, SignatureError),
    ],
    ids=str,
)
def test_a_field_changed_by_the_host_is_refused(
    changes: dict[str, Any], kind: type[Error]
) -> None:
    """Who cannot sign changes no field of a header."""
    log = log_before()

    refuse_record(kind, log, unsigned(**changes))

    assert log.accept(RECORD) == b"\1" * 512


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"epoch": 1}, SealError),
        ({"salt": fixed("other", 24)}, SealError),
        ({"commitment": fixed("other")}, SealError),
        ({"body_bytes": 1}, MalformedError),
        ({"body_hash": fixed("other")}, MalformedError),
    ],
    ids=str,
)
def test_a_field_changed_and_signed_again_is_refused(
    changes: dict[str, Any], kind: type[Error]
) -> None:
    """A thief of the client's key, without the epoch's, changes no field either."""
    log = log_before()

    refuse_record(kind, log, resign(KEY, RECORD, **changes))

    assert log.accept(RECORD) == b"\1" * 512


def test_a_place_changed_and_signed_again_is_refused() -> None:
    """Moved to where it would be next, and signed for it, a record does not open."""
    log = log_before()
    log.accept(RECORD)
    head = log.head
    assert head is not None

    moved = resign(KEY, RECORD, seq=Seq(2), prev=head.hash)

    refuse_record(SealError, log, moved)


def test_a_body_changed_and_signed_again_is_refused() -> None:
    """The seal, not the signature alone, holds the body."""
    log = log_before()
    body = RECORD.body
    assert body is not None

    forged = resign(KEY, RECORD, body=bytes([body[0] ^ 1]) + body[1:])

    refuse_record(SealError, log, forged)


def test_a_header_signed_by_another_key_is_refused() -> None:
    """The client's key is the one that the account document names."""
    log = log_before()

    refuse_record(SignatureError, log, resign(ClientKey(fixed("thief")), RECORD))


def test_a_parsed_header_that_was_not_signed_is_refused() -> None:
    """What is judged is what was signed, though the parsed value says otherwise."""
    log = log_before()
    forged = replace(RECORD, header=replace(RECORD.header, epoch=1))

    refuse_record(MalformedError, log, forged)


def test_what_is_shown_of_a_record_is_what_was_signed() -> None:
    """Position, hash and epoch come from bytes that were authenticated."""
    log = log_before()

    log.accept(RECORD)

    assert log.head == head_of(RECORD)
    assert log.epoch == 0
