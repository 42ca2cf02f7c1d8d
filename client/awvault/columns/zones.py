"""What the index knows of a record, so that few records must be opened.

A zone is the rows that one record holds of one bucket. An index row is made
from a record's payload, sealed beside it, and made again if it is lost
(docs/protocol/payload.md, "Index row").
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from awvault.columns.payload import (
    BUCKET_VERSIONS_MAX,
    COUNTER_BITS,
    ROWS_MAX,
    ZONES_MAX,
    BucketVersion,
    Id,
    NextIds,
    Payload,
    Revision,
    TimeUs,
)
from awvault.columns.table import TOMBSTONE, EventTable
from awvault.errors import PayloadError


class ZoneMeta(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """The extent of one zone; times in microseconds, all bounds inclusive."""

    bucket_id: Id
    start_min: TimeUs
    end_max: TimeUs
    id_min: Id
    id_max: Id
    count: Annotated[int, Meta(ge=1, le=ROWS_MAX)]

    @classmethod
    def of(cls, bucket_id: int, table: EventTable) -> "ZoneMeta":
        """Return the extent of a table that has rows."""
        return cls(
            bucket_id=bucket_id,
            start_min=int(table.start.min()),
            end_max=int(table.end().max()),
            id_min=int(table.id.min()),
            id_max=int(table.id.max()),
            count=len(table),
        )


class IndexRow(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """All that must be known of a record to find its rows.

    `revisions` are the (id, revision) of the rows that are not simply the first
    of an event of their writer: of a later revision, with an id of another
    client's number, or deleted. Any other row counts unless one of these
    outranks it.
    """

    zones: Annotated[list[ZoneMeta], Meta(max_length=ZONES_MAX)]
    revisions: Annotated[list[tuple[Id, Revision]], Meta(max_length=ROWS_MAX)]
    buckets: Annotated[list[BucketVersion], Meta(max_length=BUCKET_VERSIONS_MAX)]
    next_ids: NextIds


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(IndexRow)


def index_row_of(payload: Payload, *, writer: int) -> IndexRow:
    """Return the index row of a record with this payload, of client `writer`."""
    revisions: list[tuple[int, int]] = []
    for _, table in payload.zones:
        listed = table.revision != 0
        listed |= table.id >> COUNTER_BITS != writer
        listed |= table.flags & TOMBSTONE != 0
        if listed.any():
            rows = listed.nonzero()[0]
            revisions += zip(
                table.id[rows].tolist(), table.revision[rows].tolist(), strict=True
            )
    return IndexRow(
        zones=[ZoneMeta.of(*zone) for zone in payload.zones if len(zone[1])],
        revisions=revisions,
        buckets=list(payload.buckets),
        next_ids=payload.next_ids,
    )


def encode_index_row(row: IndexRow) -> bytes:
    """Return an index row as bytes."""
    return _ENCODER.encode(row)


def decode_index_row(data: bytes) -> IndexRow:
    """Return the index row of `encode_index_row`, or raise `PayloadError`."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise PayloadError(f"index row does not decode: {error}") from None
