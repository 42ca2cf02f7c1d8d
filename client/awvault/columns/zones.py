"""Index rows: what a reader must know of a record without opening it.

An index row is a cache, sealed beside its record, and made again from it if
it is missing or does not open.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from awvault.columns.payload import BucketVersion, NextIds, Payload
from awvault.errors import PayloadError


class ZoneMeta(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What one record holds of one bucket. Times in microseconds, both inclusive."""

    bucket_id: int
    start_min: int
    end_max: int
    id_min: int
    id_max: int
    count: int


class IndexRow(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """All that is kept in memory of one record.

    `revisions` names every (event id, revision) above revision 0.
    """

    zones: Sequence[ZoneMeta]
    revisions: Sequence[tuple[int, int]]
    buckets: Sequence[BucketVersion]
    next_ids: NextIds


_DECODER: Final = msgspec.msgpack.Decoder(IndexRow)


def index_row_of(payload: Payload) -> IndexRow:
    """Return the index row of a record that holds `payload`."""
    zones = []
    revisions: list[tuple[int, int]] = []
    for bucket_id, table in payload.zones:
        if not len(table):
            continue
        zones.append(
            ZoneMeta(
                bucket_id=bucket_id,
                start_min=int(table.start.min()),
                end_max=int(table.end().max()),
                id_min=int(table.id.min()),
                id_max=int(table.id.max()),
                count=len(table),
            )
        )
        above = np.flatnonzero(table.revision)
        revisions += zip(
            table.id[above].tolist(), table.revision[above].tolist(), strict=True
        )
    return IndexRow(
        zones=zones,
        revisions=revisions,
        buckets=list(payload.buckets),
        next_ids=payload.next_ids,
    )


def encode_index_row(row: IndexRow) -> bytes:
    """Return an index row as msgpack."""
    return msgspec.msgpack.encode(row)


def decode_index_row(data: bytes) -> IndexRow:
    """Return an index row; raises `PayloadError`."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"index row does not decode: {error}") from None
