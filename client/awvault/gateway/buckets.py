"""`/api/0/buckets`: list, get, create, change, delete by hiding."""

import json
from typing import Final

import msgspec
from aiohttp import web

from awvault.columns import timestamps
from awvault.events import Bucket
from awvault.gateway import wire
from awvault.gateway.answers import empty_answer, json_answer
from awvault.gateway.reading import BUCKET_BYTES_MAX, read_body
from awvault.gateway.refusals import Refusal
from awvault.gateway.routes import Gateway
from awvault.vault import Vault

LOCAL_HOSTNAME: Final = "!local"
"""A watcher that sends this as its hostname leaves the name to the server."""

DELETE_REFUSED: Final = (
    "Deleting buckets is only permitted if aw-server is running in testing mode"
    " or if ?force=1"
)

HIDDEN: Final = (
    "the bucket is hidden, and its events with it; their sealed records stay:"
    " `awvault buckets --deleted` lists it, `awvault undelete` brings it back"
)


async def list_buckets(_: web.Request, vault: Vault, __: Gateway) -> web.Response:
    """Return every visible bucket by its id, with the end of its newest event."""
    await vault.settle()
    found = {}
    for bucket_id, bucket in vault.buckets().items():
        described = _described(bucket)
        updated = vault.last_updated(bucket_id)
        if updated is not None:
            described["last_updated"] = timestamps.render(updated)
        found[bucket_id] = described
    return json_answer(_text(found))


async def get_bucket(request: web.Request, vault: Vault, _: Gateway) -> web.Response:
    """Return one bucket."""
    await vault.settle()
    bucket = vault.bucket(request.match_info["bucket_id"])
    return json_answer(_text(_described(bucket)))


async def create_bucket(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.Response:
    """Make a bucket; a 304 says that it was there already, and is as it was."""
    body = wire.parse_bucket(
        await read_body(
            request,
            bytes_max=BUCKET_BYTES_MAX,
            seconds_max=gateway.settings.body_seconds_max,
        )
    )
    hostname, data = body.hostname, b"{}" if body.data is None else bytes(body.data)
    if hostname == LOCAL_HOSTNAME:
        hostname = gateway.settings.hostname
        data = msgspec.json.encode({"device_id": vault.device_id})
    created = await vault.create_bucket(
        request.match_info["bucket_id"],
        type=body.type,
        client=body.client,
        hostname=hostname,
        data=data,
        created_us=(
            None
            if body.created is None
            else wire.start_of(body.created, field="created")
        ),
    )
    return json_answer(b"{}") if created else empty_answer(304)


async def update_bucket(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.Response:
    """Say something else of a bucket: a new version of what is said of it."""
    body = wire.parse_bucket_change(
        await read_body(
            request,
            bytes_max=BUCKET_BYTES_MAX,
            seconds_max=gateway.settings.body_seconds_max,
        )
    )
    hostname = body.hostname
    await vault.update_bucket(
        request.match_info["bucket_id"],
        type=body.type,
        client=body.client,
        hostname=gateway.settings.hostname if hostname == LOCAL_HOSTNAME else hostname,
        data=None if body.data is None else bytes(body.data),
    )
    return json_answer(b"{}")


async def delete_bucket(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.Response:
    """Take a bucket out of sight, and say that this is what was done."""
    if not gateway.settings.testing and request.query.get("force") != "1":
        raise Refusal(401, DELETE_REFUSED)
    await vault.hide_bucket(request.match_info["bucket_id"])
    return json_answer(msgspec.json.encode({"message": HIDDEN}))


def _text(value: object) -> bytes:
    # The standard library writes what msgspec does not: half a surrogate pair.
    return json.dumps(value, separators=(",", ":"), default=dict).encode()


def _described(bucket: Bucket) -> dict[str, object]:
    return {
        "id": bucket.id,
        "created": timestamps.render(timestamps.from_datetime(bucket.created)),
        "name": None,
        "type": bucket.type,
        "client": bucket.client,
        "hostname": bucket.hostname,
        "data": bucket.data,
    }
