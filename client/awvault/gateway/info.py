"""`/`, `/api/0/info` and `/api/0/log`: what this is."""

import msgspec
from aiohttp import web

from awvault.gateway.answers import json_answer
from awvault.gateway.routes import Gateway
from awvault.vault import Vault

HOME = """\
aw-server: your events, sealed on this disk, in plain text on this page's port.

ActivityWatch's API is at /api/0/. To see your buckets: /api/0/buckets/
To see the events of one activity type: /api/0/activity/NAME
"""


async def get_log(_: web.Request, __: Vault, ___: Gateway) -> web.Response:
    """Return an array without entries: log lines go to standard error alone."""
    return json_answer(b"[]")


async def get_info(_: web.Request, vault: Vault, gateway: Gateway) -> web.Response:
    """Say which server this is."""
    settings = gateway.settings
    return json_answer(
        msgspec.json.encode(
            {
                "hostname": settings.hostname,
                "version": f"v{settings.version}",
                "testing": settings.testing,
                "device_id": vault.device_id,
            }
        )
    )
