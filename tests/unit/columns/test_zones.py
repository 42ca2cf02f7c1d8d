"""Index rows: what is known of a record without opening it."""

import msgspec
import pytest

from awvault.columns.payload import BucketVersion, NextIds, Payload
from awvault.columns.table import EventTable
from awvault.columns.zones import (
    ZoneMeta,
    decode_index_row,
    encode_index_row,
    index_row_of,
)
from awvault.errors import PayloadError
from tests.helpers.tables import Row, table

BUCKET = BucketVersion(
    bucket_id=1,
    revision=0,
    name="b",
    type="t",
    client="c",
    hostname="h",
    created_us=0,
    data=b"{}",
    hidden=False,
)
PAYLOAD = Payload(
    seen={},
    document=(0, b""),
    next_ids=NextIds(next_event=10, next_bucket=2),
    buckets=[BUCKET],
    zones=[
        (1, table(Row(5, -10, 100), Row(3, 20, 5, revision=2), Row(4, 30, -1))),
        (2, table(Row(9, 1, 0, revision=1))),
        (3, EventTable.empty()),
    ],
)


def test_an_index_row_says_where_rows_lie() -> None:
    """Extents of zones, revised rows, buckets and next ids; nothing without rows."""
    row = index_row_of(PAYLOAD, writer=0)

    assert row.zones == [
        ZoneMeta(1, -10, 90, 3, 5, 3),
        ZoneMeta(2, 1, 1, 9, 9, 1),
    ]
    assert row.revisions == [(3, 2), (9, 1)]
    assert row.buckets == [BUCKET]
    assert row.next_ids == PAYLOAD.next_ids


def test_an_index_row_comes_back() -> None:
    """Its bytes say all of it."""
    row = index_row_of(PAYLOAD, writer=0)

    assert decode_index_row(encode_index_row(row)) == row


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        [[], [], [], [1, 2], 0],
        [[[1, 2, 3, 4, 5]], [], [], [1, 2]],
        [[[1, 2, 3, 4, 5, 0]], [], [], [1, 2]],
        [[[-1, 2, 3, 4, 5, 1]], [], [], [1, 2]],
        [[], [[1, 2**32]], [], [1, 2]],
        [[], [], [], [-1, 2]],
        [[], [], [{}], [1, 2]],
    ],
)
def test_an_index_row_that_is_none_is_refused(wrong: object) -> None:
    """Anything else is an error of one kind, so that the row is made again."""
    with pytest.raises(PayloadError, match="index row does not decode"):
        decode_index_row(msgspec.msgpack.encode(wrong))
    with pytest.raises(PayloadError):
        decode_index_row(encode_index_row(index_row_of(PAYLOAD, writer=0))[:-1])
