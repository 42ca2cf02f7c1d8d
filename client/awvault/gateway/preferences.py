"""`/api/0/settings`: what ActivityWatch's web interface keeps on its server."""

import json
from typing import Final

from aiohttp import web

from awvault.errors import InvalidInputError, LimitError
from awvault.gateway import jsonbodies
from awvault.gateway.answers import json_answer
from awvault.gateway.reading import read_body
from awvault.gateway.refusals import Refusal
from awvault.gateway.routes import Gateway
from awvault.preferences import VALUE
from awvault.vault import Vault

PREFERENCE_BYTES_MAX: Final = 1024 * 1024
"""Bytes of a body; spaces and escapes are not kept."""


async def get_preferences(_: web.Request, vault: Vault, __: Gateway) -> web.Response:
    """Return all settings, as an object."""
    await vault.preferences.load()
    members = b",".join(
        b"%b:%b" % (json.dumps(key).encode(), value)
        for key, value in vault.preferences.all().items()
    )
    return json_answer(b"{%b}" % members)


async def get_preference(
    request: web.Request, vault: Vault, _: Gateway
) -> web.Response:
    """Return the value of a setting; null if it has none."""
    await vault.preferences.load()
    value = vault.preferences.get(request.match_info["key"])
    return json_answer(b"null" if value is None else value)


async def set_preference(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.Response:
    """Give a setting a value, and return it; null takes the value away."""
    body = await read_body(
        request,
        bytes_max=PREFERENCE_BYTES_MAX,
        seconds_max=gateway.settings.body_seconds_max,
    )
    key = request.match_info["key"]
    if body.strip() == b"null":
        await vault.preferences.delete(key)
        return json_answer(b"null")
    try:
        return json_answer(await vault.preferences.set(key, body))
    except LimitError as error:
        if error.field != VALUE:
            raise
        raise Refusal(413, f"value: {error}") from None
    except InvalidInputError:
        jsonbodies.load(body)  # says on which line it breaks
        raise


async def delete_preference(
    request: web.Request, vault: Vault, _: Gateway
) -> web.Response:
    """Take the value of a setting away; it need not have one."""
    await vault.preferences.delete(request.match_info["key"])
    return json_answer(b"{}")


async def refuse_no_key(_: web.Request, __: Vault, ___: Gateway) -> web.Response:
    """Refuse a value without a key."""
    raise InvalidInputError("key", "name the setting in the address: /settings/KEY")
