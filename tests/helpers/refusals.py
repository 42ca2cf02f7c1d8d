"""Refusals, to the exact type: a subclass would be another answer."""

from collections.abc import Callable
from typing import TypeVar

import pytest

from awserver.records import Head, SealedRecord
from awvault.protocol.log import VerifiedLog

E = TypeVar("E", bound=Exception)


def refusal(kind: type[E], attempt: Callable[[], object]) -> E:
    """Make the attempt, which must raise exactly `kind`, and return the error."""
    with pytest.raises(kind) as caught:
        attempt()
    assert type(caught.value) is kind, repr(caught.value)
    return caught.value


def state_of(log: VerifiedLog) -> tuple[Head | None, int]:
    """Return all of a log that can move."""
    return log.head, log.epoch


def refuse_record(kind: type[E], log: VerifiedLog, record: SealedRecord) -> E:
    """Offer a record that must be refused with exactly `kind`, moving nothing."""
    before = state_of(log)
    error = refusal(kind, lambda: log.accept(record))
    assert state_of(log) == before
    return error
