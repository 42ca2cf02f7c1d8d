"""`/api/0/activity/NAME`: the API of the first README.

The events of one activity type are those of the bucket `activity_NAME`.
Records are immutable: there is no route that changes or deletes one.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np
from aiohttp import web

from awvault.columns import jsontext
from awvault.columns.table import EventTable
from awvault.errors import BucketNotFoundError, InvalidInputError
from awvault.gateway import activitybodies, reading
from awvault.gateway.activitybodies import IncomingActivities
from awvault.gateway.answers import stream_answer
from awvault.gateway.ranges import read_range
from awvault.gateway.routes import Gateway
from awvault.incoming import NewRows
from awvault.state import ACTIVITY_PREFIX
from awvault.vault import Vault, wall_clock_us

IMMUTABLE: Final = "records are immutable: POST stores a new one, GET returns them all"
CLIENT: Final = "aw-server"


async def get_activities(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.StreamResponse:
    """Return the events of a type, oldest first; `limit` keeps the newest."""
    name = request.match_info["name"]
    limit = reading.limit_parameter(request)
    start = reading.time_parameter(request, "start")
    end = reading.time_parameter(request, "end")
    try:
        table = await read_range(
            vault,
            ACTIVITY_PREFIX + name,
            start=start,
            end=end,
            limit=limit,
            order="oldest",
        )
    except BucketNotFoundError:
        table = EventTable.empty()
    return await stream_answer(
        request,
        activitybodies.render_activities(table, kind=name),
        gateway.guards.cors_headers(request.headers),
    )


async def post_activities(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.StreamResponse:
    """Store one event or an array of them, all or none; return them as stored."""
    name = request.match_info["name"]
    bucket_id = ACTIVITY_PREFIX + name
    body = await reading.read_body(
        request,
        bytes_max=reading.BODY_BYTES_MAX,
        seconds_max=gateway.settings.body_seconds_max,
    )
    now_us = wall_clock_us()
    if len(body) > reading.OFF_LOOP_BYTES_MIN:
        parsed = await asyncio.to_thread(
            activitybodies.parse_activities, body, now_us=now_us
        )
    else:
        parsed = activitybodies.parse_activities(body, now_us=now_us)
    kept = await vault.filters.many(bucket_id, parsed.texts, kind=name)
    parsed = parsed.only(kept.places, kept.texts)
    table = EventTable.empty()
    if parsed.texts:
        rows = NewRows(
            starts=parsed.starts,
            durations=parsed.durations,
            texts=parsed.texts,
            flags=parsed.flags,
        )
        try:
            ids = await vault.insert_rows(bucket_id, rows)
        except BucketNotFoundError:
            # A bucket is made for events that can be stored, and for no others.
            _check_texts(parsed)
            await vault.create_bucket(
                bucket_id, type=name, client=CLIENT, hostname=gateway.settings.hostname
            )
            ids = await vault.insert_rows(bucket_id, rows)
        # One request is stored at one time.
        first = await vault.event_async(bucket_id, ids[0])
        stored_at = now_us if first is None else first.stored_at
        table = _table(parsed, ids, stored_at)
    return await stream_answer(
        request,
        activitybodies.render_activities(table, kind=name),
        gateway.guards.cors_headers(request.headers),
    )


def _check_texts(parsed: IncomingActivities) -> None:
    for at, text in enumerate(parsed.texts):
        try:
            jsontext.compact(text)
        except InvalidInputError as error:
            if len(parsed.texts) == 1:
                raise
            raise error.within(f"[{at}]") from None


def _table(
    parsed: IncomingActivities, ids: Sequence[int], stored_at: int
) -> EventTable:
    """Return what was just stored, in the order sent."""
    count = len(ids)
    return EventTable(
        id=np.array(ids, dtype=np.int64),
        revision=np.zeros(count, dtype=np.uint32),
        start=np.array(parsed.starts, dtype=np.int64),
        duration=np.array(parsed.durations, dtype=np.int64),
        stored_at=np.full(count, stored_at, dtype=np.int64),
        flags=np.array(parsed.flags, dtype=np.uint8),
        data=np.arange(count, dtype=np.uint32),
        texts=parsed.texts,
    )
