"""`/api/0/buckets/ID/events` and `/heartbeat`."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from aiohttp import web

from awvault.columns import jsontext
from awvault.columns.render import (
    render_dropped,
    render_event,
    render_rows,
    render_table,
)
from awvault.errors import InvalidInputError, LimitError
from awvault.gateway import reading, wire
from awvault.gateway.answers import json_answer, stream_answer
from awvault.gateway.ranges import read_range
from awvault.gateway.reading import (
    BODY_BYTES_MAX,
    HEARTBEAT_BYTES_MAX,
    OFF_LOOP_BYTES_MIN,
    read_body,
)
from awvault.gateway.routes import Gateway
from awvault.gateway.wire import IncomingEvents
from awvault.incoming import NewRows
from awvault.vault import Vault, wall_clock_us
from awvault.view import BucketView

CORRECTIONS_MAX: Final = 1_000
"""Events of one request that may be corrections: each is a commit of its own."""

EVENT_ID_MAX: Final = 2**53 - 1
"""Ids are exact in JavaScript."""

_EVENT_ID: Final = re.compile(r"[0-9]{1,18}")


async def heartbeat(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.Response:
    """Extend the bucket's last event, or store a new one; return the result.

    Of one that a privacy filter drops, an event without id or data is returned.
    """
    pulsetime_us = reading.pulsetime_parameter(request)
    beat = wire.parse_heartbeat(
        await read_body(
            request,
            bytes_max=HEARTBEAT_BYTES_MAX,
            seconds_max=gateway.settings.body_seconds_max,
        )
    )
    bucket_id = request.match_info["bucket_id"]
    text = await vault.filters.one(bucket_id, beat.text)
    if text is None:
        return json_answer(render_dropped(beat.start, beat.duration))
    row = await vault.heartbeat(
        bucket_id,
        start=beat.start,
        duration=beat.duration,
        text=text,
        pulsetime_us=pulsetime_us,
    )
    return json_answer(render_event(row))


async def get_events(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.StreamResponse:
    """Return events newest first, cut to the range that was asked for."""
    bucket_id = request.match_info["bucket_id"]
    limit = reading.limit_parameter(request)
    start = reading.time_parameter(request, "start")
    end = reading.time_parameter(request, "end")
    table = await read_range(
        vault, bucket_id, start=start, end=end, limit=limit, clip=True
    )
    return await stream_answer(
        request, render_table(table), gateway.guards.cors_headers(request.headers)
    )


async def count_events(request: web.Request, vault: Vault, _: Gateway) -> web.Response:
    """Return how many events overlap a range, as a bare number."""
    start = reading.time_parameter(request, "start")
    end = reading.time_parameter(request, "end")
    await vault.settle()
    count = await asyncio.to_thread(
        vault.count, request.match_info["bucket_id"], start=start, end=end
    )
    return json_answer(b"%d" % count)


async def get_event(request: web.Request, vault: Vault, _: Gateway) -> web.Response:
    """Return one event, whole; a 404 with `null` if the bucket has none such."""
    row = None
    event_id = _event_id(request)
    vault.bucket(request.match_info["bucket_id"])
    if event_id is not None:
        row = await vault.event_async(request.match_info["bucket_id"], event_id)
    if row is None:
        return json_answer(b"null", status=404)
    return json_answer(render_event(row))


async def delete_event(request: web.Request, vault: Vault, _: Gateway) -> web.Response:
    """Take one event out of the view; say whether there was one."""
    bucket_id = request.match_info["bucket_id"]
    event_id = _event_id(request)
    vault.bucket(bucket_id)
    deleted = event_id is not None and await vault.delete_event(bucket_id, event_id)
    return json_answer(b'{"success": %d}' % deleted)


async def insert_events(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.StreamResponse:
    """Store one event or an array; return them with their ids.

    An event sent with the id of one in this bucket corrects that one. Any
    other id is not ours to take: the event is new. What a privacy filter drops is
    not among those that are returned; an event that it would correct stays.
    """
    bucket_id = request.match_info["bucket_id"]
    body = await read_body(
        request,
        bytes_max=BODY_BYTES_MAX,
        seconds_max=gateway.settings.body_seconds_max,
    )
    now_us = wall_clock_us()
    if len(body) > OFF_LOOP_BYTES_MIN:
        events = await asyncio.to_thread(wire.parse_events, body, now_us=now_us)
    else:
        events = wire.parse_events(body, now_us=now_us)
    kept = await vault.filters.many(bucket_id, events.texts)
    events = events.only(kept.places, kept.texts)
    if events.ids is None:
        ids = await vault.insert_rows(
            bucket_id,
            NewRows(
                starts=events.starts, durations=events.durations, texts=events.texts
            ),
        )
    else:
        ids = await _insert_or_correct(vault, bucket_id, events, events.ids)
    return await stream_answer(
        request,
        render_rows(ids, events.starts, events.durations, events.texts),
        gateway.guards.cors_headers(request.headers),
    )


async def _insert_or_correct(
    vault: Vault, bucket_id: str, events: IncomingEvents, ids: Sequence[int | None]
) -> list[int]:
    """Store the events that are new, then correct the others, one by one."""
    for at, text in enumerate(events.texts):
        # Nothing may be stored if any of them will be refused.
        try:
            jsontext.compact(text)
        except InvalidInputError as error:
            if len(events.texts) == 1:
                raise
            raise error.within(f"[{at}]") from None
    await vault.settle()
    known = await asyncio.to_thread(_known, vault.view(bucket_id), ids)
    new = [at for at, event_id in enumerate(ids) if event_id not in known]
    inserted = await vault.insert_rows(
        bucket_id,
        NewRows(
            starts=[events.starts[at] for at in new],
            durations=[events.durations[at] for at in new],
            texts=[events.texts[at] for at in new],
        ),
    )
    stored = dict(zip(new, inserted, strict=True))
    for at, event_id in enumerate(ids):
        if at in stored or event_id is None:
            continue
        await vault.correct(
            bucket_id,
            event_id,
            start=events.starts[at],
            duration=events.durations[at],
            text=events.texts[at],
        )
        stored[at] = event_id
    return [stored[at] for at in range(len(ids))]


def _known(view: BucketView, ids: Sequence[int | None]) -> set[int]:
    """Return which of `ids` the bucket has; it reads the disk, so in a thread."""
    asked = np.array(
        sorted({i for i in ids if i is not None and 0 < i <= EVENT_ID_MAX}),
        dtype=np.int64,
    )
    possible = np.zeros(len(asked), dtype=np.bool_)
    for table in view.tables:
        possible |= np.isin(asked, table.id)
    for zone in view.zones:
        first, last = np.searchsorted(asked, (zone["id_min"], zone["id_max"] + 1))
        possible[first:last] = True
    candidates: list[int] = asked[possible].tolist()
    if len(candidates) > CORRECTIONS_MAX:
        raise LimitError(
            "id",
            f"{len(candidates)} events name ids that are in use, at most"
            f" {CORRECTIONS_MAX} are corrected at once: send them in parts",
        )
    return {event_id for event_id in candidates if len(view.event(event_id))}


def _event_id(request: web.Request) -> int | None:
    """Return the id in the path; None if it cannot be one."""
    text = request.match_info["event_id"]
    return int(text) if _EVENT_ID.fullmatch(text) else None
