"""`/api/0/query`: ActivityWatch's query language."""

import asyncio
import json
import reprlib
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from awvault.gateway import jsonbodies, wire
from awvault.gateway.answers import json_answer, stream_pieces
from awvault.gateway.reading import read_body
from awvault.gateway.routes import Gateway
from awvault.query import Budget, Period, QueryError, parse_periods, run_query
from awvault.query.errors import ECHO_CHARS_MAX
from awvault.vault import Vault

QUERY_BYTES_MAX: Final = 4 * 1024 * 1024

OFF_LOOP_BYTES_MIN: Final = 16 * 1024
"""Bodies above this are parsed in a thread: a few hundred periods take 10 ms."""

ERRORS_MAX: Final = 20
"""Errors of a body that are told; the web interface shows none."""

INVALID: Final = "Input payload validation failed"


class _Query(msgspec.Struct, gc=False):
    timeperiods: list[str]
    query: list[str]


class _Asked(msgspec.Struct, gc=False):
    text: str
    periods: Sequence[Period]


_QUERY: Final = msgspec.json.Decoder(_Query)

_repr: Final = reprlib.Repr()
_repr.maxlist = _repr.maxdict = 20
_repr.maxstring = _repr.maxlong = _repr.maxother = ECHO_CHARS_MAX


async def query(
    request: web.Request, vault: Vault, gateway: Gateway
) -> web.StreamResponse:
    """Return what a query returns for each period."""
    body = await read_body(
        request,
        bytes_max=QUERY_BYTES_MAX,
        seconds_max=gateway.settings.body_seconds_max,
    )
    if len(body) > OFF_LOOP_BYTES_MIN:
        asked = await asyncio.to_thread(_parse, body)
    else:
        asked = _parse(body)
    if not isinstance(asked, _Asked):
        return _invalid(asked)
    try:
        answer = await run_query(
            vault,
            asked.text,
            asked.periods,
            name=request.query.get("name", ""),
            budget=Budget(wanted=lambda: request.transport is not None),
        )
    except QueryError as error:
        return _json({"type": error.kind, "message": str(error)})
    if answer.rest is None:
        return json_answer(answer.text)
    return await stream_pieces(
        request, answer.pieces(), gateway.guards.cors_headers(request.headers)
    )


def _invalid(errors: dict[str, str]) -> web.Response:
    return _json({"errors": errors, "message": INVALID})


def _json(value: object) -> web.Response:
    return json_answer(json.dumps(value).encode(), status=400)


def _parse(body: bytes) -> _Asked | dict[str, str]:
    """Return what was asked; or what is wrong with each field, by its name.

    Raises `InvalidInputError` for a period that is none, or too many.
    """
    try:
        asked = _QUERY.decode(body)
    except wire.UNREADABLE:
        value = jsonbodies.load(body)
        errors = _errors(value)
        if errors:
            return errors
        asked = msgspec.convert(value, _Query)
    periods = parse_periods(asked.timeperiods, field="timeperiods")
    return _Asked("".join(asked.query), periods)


def _errors(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {"": _not_of_type(value, "object")}
    errors = {}
    for field in ("query", "timeperiods"):
        if field not in value:
            errors[field] = f"'{field}' is a required property"
        elif not isinstance(value[field], list):
            errors[field] = _not_of_type(value[field], "array")
        else:
            for at, item in enumerate(value[field]):
                if not isinstance(item, str):
                    errors[f"{field}.{at}"] = _not_of_type(item, "string")
                if len(errors) >= ERRORS_MAX:
                    return errors
    return errors


def _not_of_type(value: object, kind: str) -> str:
    return f"{_repr.repr(value)[:ECHO_CHARS_MAX]} is not of type '{kind}'"
