"""Reading a range of a bucket: at once if it is small, in a thread if not.

A hop to a thread and back costs more than reading a day does; a year would
hold up every heartbeat.
"""

import asyncio
from functools import partial
from typing import Final

from awvault.columns.table import EventTable
from awvault.vault import Vault
from awvault.view import BucketView, Order, read_view

AT_ONCE_ROWS_MAX: Final = 8_192
"""Rows that are looked at on the event loop: a few milliseconds at worst."""

AT_ONCE_LIMIT_MAX: Final = 1_000
"""A limit up to which only the newest rows are looked at."""


async def read_range(
    vault: Vault,
    bucket_id: str,
    *,
    start: int | None,
    end: int | None,
    limit: int | None,
    order: Order = "newest",
    clip: bool = False,
) -> EventTable:
    """Return what `Vault.read` returns; raises `BucketNotFoundError`."""
    await vault.settle()
    view = vault.view(bucket_id)
    read = partial(
        read_view, view, start=start, end=end, limit=limit, order=order, clip=clip
    )
    few = limit is not None and limit <= AT_ONCE_LIMIT_MAX
    if few or _rows_at_most(view, start, end) <= AT_ONCE_ROWS_MAX:
        return read()
    return await asyncio.to_thread(read)


def _rows_at_most(view: BucketView, start: int | None, end: int | None) -> int:
    zones = view.zones
    if start is not None:
        zones = zones[zones["end_max"] >= start]
    if end is not None:
        zones = zones[zones["start_min"] <= end]
    return int(zones["count"].sum()) + sum(map(len, view.tables))
