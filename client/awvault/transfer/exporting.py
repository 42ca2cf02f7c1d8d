"""Write buckets and their events as JSON lines."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from awvault.columns.table import PAIR, EventTable
from awvault.columns.timestamps import render_many, render_seconds_many
from awvault.errors import BucketNotFoundError
from awvault.events import Bucket
from awvault.service import seconds
from awvault.transfer import lines

if TYPE_CHECKING:
    from awvault.vault import Vault

PAGE_EVENTS: Final = 4_096

EXACT_DURATION_US_MAX: Final = 10**15 - 1
"""Up to here a float of seconds, written as short as it can be, is exact."""
"""Lines that are made in one go, off the event loop's thread."""


async def export_lines(
    vault: "Vault", bucket_ids: Sequence[str]
) -> AsyncGenerator[bytes, None]:
    """Yield the lines of an export, each without its newline.

    Buckets by id, each one's events oldest first. A bucket is read at once, so
    what it shows is one moment of it. Raises `BucketNotFoundError` before the
    first line if one of `bucket_ids` is not there; none named: all.
    """
    await vault.settle()
    found = vault.buckets()
    for bucket_id in bucket_ids:
        if bucket_id not in found:
            raise BucketNotFoundError(bucket_id)
    chosen = sorted(set(bucket_ids)) if bucket_ids else sorted(found)
    yield lines.encode_header()
    buckets = events = 0
    for bucket_id in chosen:
        try:
            table = await vault.read_async(bucket_id, order="oldest")
        except BucketNotFoundError:
            # Hidden since the export began.
            continue
        yield lines.encode_bucket(_bucket_line(found[bucket_id]))
        buckets += 1
        name = msgspec.json.encode(bucket_id)
        for at in range(0, len(table), PAGE_EVENTS):
            page = await asyncio.to_thread(
                _encode, name, table.take(slice(at, at + PAGE_EVENTS))
            )
            for line in page:
                yield line
        events += len(table)
    yield lines.encode_end(buckets=buckets, events=events)


def _bucket_line(bucket: Bucket) -> lines.BucketLine:
    # The standard library writes lone surrogates as escapes; msgspec refuses them.
    data = json.dumps(bucket.data, separators=(",", ":")).encode("ascii")
    return lines.BucketLine(
        id=bucket.id,
        type=bucket.type,
        client=bucket.client,
        hostname=bucket.hostname,
        created=bucket.created,
        data=msgspec.Raw(data),
    )


def _encode(name: bytes, table: EventTable) -> list[bytes]:
    """Return each row's line; columns are rendered as a whole where they can be."""
    if not len(table):
        return []
    texts = table.texts
    return [
        b'{"event":{"bucket":%b,"id":%d,"timestamp":"%bZ","duration":%b,%b"data":%b}}'
        % (name, event_id, start, duration, rare, texts[data])
        for event_id, start, duration, rare, data in zip(
            table.id.tolist(),
            [text.removesuffix(b"+00:00") for text in render_many(table.start)],
            _durations(table),
            _rare_fields(table),
            table.data.tolist(),
            strict=True,
        )
    ]


def _durations(table: EventTable) -> list[bytes]:
    """Return each duration in exact seconds; null where there is none."""
    if int(table.duration.max()) <= EXACT_DURATION_US_MAX:
        rendered = render_seconds_many(table.duration)
    else:
        rendered = [seconds(us).encode("ascii") for us in table.duration.tolist()]
    for at in np.flatnonzero(table.duration < 0).tolist():
        rendered[at] = b"null"
    return rendered


def _rare_fields(table: EventTable) -> list[bytes]:
    """Return the fields that only events of the activity API have."""
    found = [b""] * len(table)
    rare = (table.stored_at >= 0) | (table.flags & PAIR != 0)
    for at in np.flatnonzero(rare).tolist():
        pair = b'"pair":true,' if table.flags[at] & PAIR else b""
        stored_at = int(table.stored_at[at])
        if stored_at >= 0:
            pair += b'"stored_at":"%b",' % lines.timestamp(stored_at).encode("ascii")
        found[at] = pair
    return found


def rows_of(table: EventTable) -> "zip[tuple[int, int, int, int, int, int]]":
    """Yield (id, start, duration, flags, stored_at, index of text) of each row."""
    return zip(
        table.id.tolist(),
        table.start.tolist(),
        table.duration.tolist(),
        table.flags.tolist(),
        table.stored_at.tolist(),
        table.data.tolist(),
        strict=True,
    )
