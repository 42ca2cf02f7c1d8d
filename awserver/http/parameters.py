"""Numbers and ids in paths and queries, as types."""

import re
from typing import Final

from aiohttp import web

from awserver.errors import InvalidRequestError, NotFoundError
from awserver.records import SEQ_MAX, ClientId

_NUMBER: Final = re.compile(r"-?[0-9]{1,19}")
_CLIENT: Final = re.compile(r"[0-9a-f]{32}")


def number(
    request: web.Request,
    name: str,
    *,
    default: int,
    least: int = 0,
    most: int = SEQ_MAX,
) -> int:
    """Return a whole number of the query; above `most`, `most`.

    Raises `InvalidRequestError` for what is none, or below `least`.
    """
    text = request.query.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or int(text) < least:
        raise InvalidRequestError(
            f"{name} must be a whole number from {least} to {most}"
        )
    return min(int(text), most)


def flag(request: web.Request, name: str, *, default: bool) -> bool:
    """Return a 1 or 0 of the query as True or False."""
    text = request.query.get(name)
    if text is None:
        return default
    if text not in {"0", "1"}:
        raise InvalidRequestError(f"{name} must be 0 or 1")
    return text == "1"


def client_id(request: web.Request) -> ClientId:
    """Return the client that the path names; raises `NotFoundError`."""
    text = request.match_info["client"]
    if not _CLIENT.fullmatch(text):
        raise NotFoundError("a client id is 32 digits and letters from a to f")
    return ClientId(bytes.fromhex(text))
