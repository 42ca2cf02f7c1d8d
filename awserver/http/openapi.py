"""The description of this API (OpenAPI 3.1), made from its endpoints and types."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from awserver import errors
from awserver.errors import ServerError
from awserver.http.answers import json_text_answer
from awserver.http.bodies import BodyForm, JsonForm
from awserver.http.calls import Call, Endpoint
from awserver.wire import API_PATH, PROBLEM_TYPE, Problem

PATH: Final = f"{API_PATH}/openapi.json"

OF_ALL: Final = (
    errors.InvalidRequestError,
    errors.StorageBusyError,
    errors.StorageCorruptError,
    errors.StorageError,
    errors.StorageFullError,
    ServerError,
)
"""What every address under /api/1 may answer."""

OF_TOKENS: Final = (
    errors.AccountDisabledError,
    errors.RateLimitedError,
    errors.SessionInvalidError,
)
OF_BODIES: Final = (
    errors.BodyTimeoutError,
    errors.HostBusyError,
    errors.LimitExceededError,
    errors.MediaTypeError,
)

_PATH_PARAMETERS: Final = {
    "client": "the id of a client, 32 hex digits",
    "id": "the id of a session, or `current`",
}


async def get_openapi(call: Call) -> web.StreamResponse:
    """Answer the description."""
    return json_text_answer(call.api.description)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path=PATH,
        summary="This description.",
        handler=get_openapi,
        answer="application/json",
    ),
)


def errors_of(endpoint: Endpoint) -> list[type[ServerError]]:
    """Return every error that an endpoint may answer, by status and code."""
    found: set[type[ServerError]] = {*OF_ALL, *endpoint.errors}
    if endpoint.token:
        found.update(OF_TOKENS)
    if endpoint.body is not None:
        found.update(OF_BODIES)
    return sorted(found, key=lambda error: (error.status, error.code))


def describe(endpoints: Iterable[Endpoint]) -> bytes:
    """Return the description of these endpoints, as JSON."""
    kept = list(endpoints)
    schemas, components = msgspec.json.schema_components(
        _types(kept), ref_template="#/components/schemas/{name}"
    )
    refs = dict(zip(_types(kept), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in kept:
        operations = paths.setdefault(endpoint.path, {})
        operations[endpoint.method.lower()] = _operation(endpoint, refs)
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "openapi": "3.1.0",
                "info": {"title": "A host of sealed records", "version": "1"},
                "paths": paths,
                "components": {
                    "schemas": components,
                    "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
                },
            }
        ),
        indent=1,
    )


def _types(endpoints: Sequence[Endpoint]) -> list[type[msgspec.Struct]]:
    found: dict[type[msgspec.Struct], None] = {Problem: None}
    for endpoint in endpoints:
        if isinstance(endpoint.body, JsonForm):
            found[endpoint.body.kind] = None
        if isinstance(endpoint.answer, type):
            found[endpoint.answer] = None
    return list(found)


def _operation(endpoint: Endpoint, refs: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, refs),
        "security": [{"token": []}] if endpoint.token else [],
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {
                endpoint.body.media_type: {"schema": _body(endpoint.body, refs)}
            },
        }
    return operation


def _body(form: BodyForm, refs: dict[Any, Any]) -> Any:
    if isinstance(form, JsonForm):
        return refs[form.kind]
    return {"type": "string", "format": "binary", "maxLength": form.bytes_max}


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    found = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": about,
            "schema": {"type": "string"},
        }
        for name, about in _PATH_PARAMETERS.items()
        if f"{{{name}}}" in endpoint.path
    ]
    return found + [
        {
            "name": parameter.name,
            "in": "query",
            "required": False,
            "description": parameter.about,
            "schema": {
                "type": "integer",
                "minimum": parameter.least,
                "maximum": parameter.most,
                "default": parameter.default,
            },
        }
        for parameter in endpoint.parameters
    ]


def _responses(endpoint: Endpoint, refs: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in endpoint.statuses:
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if isinstance(endpoint.answer, str):
            kind = endpoint.answer
            binary = {"type": "string", "format": "binary"}
            answer["content"] = {kind: {"schema": binary if "octet" in kind else {}}}
        elif endpoint.answer is not None:
            answer["content"] = {"application/json": {"schema": refs[endpoint.answer]}}
        found[str(status)] = answer
    codes: dict[int, list[str]] = {}
    for error in errors_of(endpoint):
        codes.setdefault(error.status, []).append(error.code)
    for status, names in codes.items():
        found[str(status)] = {
            "description": "code: " + ", ".join(sorted(set(names))),
            "content": {PROBLEM_TYPE: {"schema": refs[Problem]}},
        }
    return found
