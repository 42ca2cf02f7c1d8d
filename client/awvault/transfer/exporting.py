"""Write buckets and their events: as JSON lines, or as ActivityWatch's JSON.

A bucket is read page by page, so memory stays flat however much there is. What is
read is the bucket as it was when its first page was.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from awvault.columns.table import PAIR, EventTable
from awvault.columns.timestamps import (
    from_datetime,
    render,
    render_many,
    render_seconds_many,
)
from awvault.errors import BucketNotFoundError
from awvault.events import Bucket
from awvault.service import ExportRequest, seconds
from awvault.transfer import lines
from awvault.view import BucketView

if TYPE_CHECKING:
    from awvault.vault import Vault

PAGE_EVENTS: Final = 8_192
"""Events that are read at once, about: more only where as many overlap."""

PIECE_EVENTS: Final = 1_000
"""Events of ActivityWatch's JSON that are written at once."""

EXACT_DURATION_US_MAX: Final = 10**15 - 1
"""Up to here a float of seconds, written as short as it can be, is exact."""


async def export_lines(
    vault: "Vault", request: ExportRequest
) -> AsyncGenerator[bytes, None]:
    """Yield an export in lines, each without its newline.

    Buckets by id, each one's events oldest first. Raises `BucketNotFoundError`
    before the first line if a bucket that was named is not there.
    """
    await vault.settle()
    found = vault.buckets()
    for bucket_id in request.buckets:
        if bucket_id not in found:
            raise BucketNotFoundError(bucket_id)
    ids = sorted(set(request.buckets)) if request.buckets else sorted(found)
    chosen = {bucket_id: found[bucket_id] for bucket_id in ids}
    write = _activitywatch if request.form == "activitywatch" else _lines
    async for line in write(vault, chosen, request):
        yield line


async def _lines(
    vault: "Vault", chosen: dict[str, Bucket], request: ExportRequest
) -> AsyncIterator[bytes]:
    """Yield JSON lines: our own format."""
    yield lines.encode_header()
    buckets = events = 0
    for bucket_id, bucket in chosen.items():
        view = await _view(vault, bucket_id)
        if view is None:
            continue
        yield lines.encode_bucket(_bucket_line(bucket))
        buckets += 1
        name = msgspec.json.encode(bucket_id)
        async for page in _pages(view, request):
            for line in await asyncio.to_thread(_encode, name, page):
                yield line
            events += len(page)
    yield lines.encode_end(buckets=buckets, events=events)


async def _activitywatch(
    vault: "Vault", chosen: dict[str, Bucket], request: ExportRequest
) -> AsyncIterator[bytes]:
    """Yield the JSON that ActivityWatch's servers write and read.

    A line ends only where JSON allows white space.
    """
    yield b'{"buckets":{'
    separator = b""
    for bucket_id, bucket in chosen.items():
        view = await _view(vault, bucket_id)
        if view is None:
            continue
        yield separator + _activitywatch_bucket(bucket)
        separator = b","
        between = b""
        async for page in _pages(view, request):
            for piece in await asyncio.to_thread(_activitywatch_events, page):
                yield between + piece
                between = b","
        yield b"]}"
    yield b"}}"


async def _view(vault: "Vault", bucket_id: str) -> BucketView | None:
    """Return a bucket as it is now; None: deleted since the export began."""
    await vault.settle()
    try:
        return vault.view(bucket_id)
    except BucketNotFoundError:
        return None


async def _pages(view: BucketView, request: ExportRequest) -> AsyncIterator[EventTable]:
    pages = read_pages(view, start=request.start, end=request.end)
    while (page := await asyncio.to_thread(next, pages, None)) is not None:
        yield page


def read_pages(
    view: BucketView,
    *,
    start: int | None,
    end: int | None,
    rows_max: int = PAGE_EVENTS,
) -> Iterator[EventTable]:
    """Yield the rows that overlap [start, end], whole, oldest first, in pages."""
    if start is not None and end is not None and start > end:
        return
    edges = _edges(view, start, end, rows_max)
    for begin, stop in zip([None, *edges], [*edges, None], strict=True):
        floor = max((at for at in (begin, start) if at is not None), default=None)
        last = None if stop is None else stop - 1
        ceiling = min((at for at in (last, end) if at is not None), default=None)
        table = view.read(start=floor, end=ceiling)
        if begin is not None:
            # What started before is in an earlier page.
            table = table.take(table.start >= begin)
        if len(table):
            yield table.sorted_by_start()


def _edges(
    view: BucketView, start: int | None, end: int | None, rows_max: int
) -> list[int]:
    """Return at which starts a new page begins."""
    zones = view.zones
    if start is not None:
        zones = zones[zones["end_max"] >= start]
    if end is not None:
        zones = zones[zones["start_min"] <= end]
    begins = np.concatenate(
        [
            zones["start_min"],
            np.array([t.start.min() for t in view.tables if len(t)], dtype=np.int64),
        ]
    )
    counts = np.concatenate(
        [
            zones["count"].astype(np.int64),
            np.array([len(t) for t in view.tables if len(t)], dtype=np.int64),
        ]
    )
    edges: list[int] = []
    rows = 0
    for at in np.argsort(begins, kind="stable").tolist():
        begin = int(begins[at])
        if rows >= rows_max and begin > (edges[-1] if edges else int(begins.min())):
            edges.append(begin)
            rows = 0
        rows += int(counts[at])
    return edges


def _activitywatch_bucket(bucket: Bucket) -> bytes:
    """Return a bucket up to where its events begin."""
    # The standard library writes lone surrogates as escapes; msgspec refuses them.
    described = json.dumps(
        {
            "id": bucket.id,
            "created": render(from_datetime(bucket.created)),
            "name": None,
            "type": bucket.type,
            "client": bucket.client,
            "hostname": bucket.hostname,
            "data": bucket.data,
        },
        separators=(",", ":"),
        default=dict,
    )
    return f'{json.dumps(bucket.id)}:{described[:-1]},"events":['.encode("ascii")


def _activitywatch_events(table: EventTable) -> list[bytes]:
    """Return events without their ids, which are this vault's, in pieces."""
    texts = table.texts
    events = [
        b'{"timestamp":"%b","duration":%b,"data":%b}' % (start, duration, texts[data])
        for start, duration, data in zip(
            render_many(table.start),
            render_seconds_many(np.maximum(table.duration, 0)),
            table.data.tolist(),
            strict=True,
        )
    ]
    return [
        b",\n".join(events[at : at + PIECE_EVENTS])
        for at in range(0, len(events), PIECE_EVENTS)
    ]


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
