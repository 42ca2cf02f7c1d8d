"""The API's description and its pages: nothing is missing, and nothing is invented."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from awserver import errors
from awserver.errors import ServerError
from awserver.http import openapi
from awserver.http.application import ENDPOINTS, add_api
from awserver.http.bodies import JsonForm
from awserver.http.calls import Api, Endpoint

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "protocol" / "http-api.md"
ERRORS_PAGE: Final = ROOT / "docs" / "reference" / "errors.md"

# Of errors that a request does not meet, but a start or another program.
NOT_ANSWERED: Final = {
    errors.AccountUnknownError,
    errors.FenceBrokenError,
    errors.MethodNotAllowedError,
    errors.NotFoundError,
    errors.OriginRefusedError,
    errors.SchemaTooNewError,
    errors.StorageForeignError,
}


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


def described() -> Any:
    return json.loads(openapi.describe(ENDPOINTS))


def every_error() -> set[type[ServerError]]:
    """Return every error that has a code."""
    found = {ServerError}
    waiting = [ServerError]
    while waiting:
        below = waiting.pop().__subclasses__()
        found.update(below)
        waiting += below
    return found


def sections() -> dict[str, str]:
    """Return the text under each heading that is a method and a path."""
    text = PAGE.read_text(encoding="utf-8")
    parts = re.split(r"^### ([A-Z]+ /\S+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table_codes(text: str) -> dict[str, str]:
    """Return the status of each code that a section's tables name."""
    found = {}
    for status, codes in re.findall(r"^\| (\d{3}) \| ([^|]+) \|", text, re.MULTILINE):
        for code in re.findall(r"`([a-z-]+)`", codes):
            found[code] = status
    return found


def test_every_route_is_an_endpoint_and_every_endpoint_a_route() -> None:
    """What the application serves is what the table of endpoints says."""
    app = web.Application()
    add_api(app, Api(service=None))

    served = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method not in {"*", "HEAD"}
    }

    assert served == {name_of(endpoint) for endpoint in ENDPOINTS}


def test_the_description_has_every_endpoint() -> None:
    """OpenAPI names each method and path, and no other."""
    found = {
        f"{method.upper()} {path}"
        for path, operations in described()["paths"].items()
        for method in operations
    }

    assert found == {name_of(endpoint) for endpoint in ENDPOINTS}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name_of)
def test_the_description_says_what_is_taken_and_answered(endpoint: Endpoint) -> None:
    """Each operation has its body, its statuses, its codes and its authorization."""
    operation = described()["paths"][endpoint.path][endpoint.method.lower()]

    assert operation["security"] == ([{"token": []}] if endpoint.token else [])
    assert ("requestBody" in operation) == (endpoint.body is not None)
    assert {str(status) for status in endpoint.statuses} <= set(operation["responses"])
    for error in openapi.errors_of(endpoint):
        answer = operation["responses"][str(error.status)]
        assert error.code in answer["description"]
        assert list(answer["content"]) == ["application/problem+json"]


def test_every_reference_of_the_description_leads_somewhere() -> None:
    """Each type that is referred to is described."""
    text = openapi.describe(ENDPOINTS).decode()
    schemas = described()["components"]["schemas"]

    referred = set(re.findall(r'"#/components/schemas/(\w+)"', text))

    assert referred
    assert referred <= set(schemas)
    for endpoint in ENDPOINTS:
        if isinstance(endpoint.body, JsonForm):
            assert endpoint.body.kind.__name__ in schemas
            assert schemas[endpoint.body.kind.__name__]["additionalProperties"] is False


def test_the_page_has_a_heading_for_each_endpoint() -> None:
    """Each method and path is described, and no other."""
    assert set(sections()) == {name_of(endpoint) for endpoint in ENDPOINTS}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name_of)
def test_a_section_has_each_status_and_each_code(endpoint: Endpoint) -> None:
    """Its tables have every code that is its own, with its status, and no other."""
    text = sections()[name_of(endpoint)]

    assert table_codes(text) == {
        error.code: str(error.status) for error in endpoint.errors
    } | own_of_tokens(endpoint, text)
    for status in endpoint.statuses:
        assert re.search(rf"\b{status}\b", text)
    assert ("A token" in text) == endpoint.token
    assert ("No authorization" in text) == (not endpoint.token)
    for parameter in endpoint.parameters:
        assert f"`{parameter.name}" in text
    assert "```\n" in text


def own_of_tokens(endpoint: Endpoint, text: str) -> dict[str, str]:
    """Return what every request with a token may get, where a section repeats it."""
    if not endpoint.token:
        return {}
    return {
        error.code: str(error.status)
        for error in openapi.OF_TOKENS
        if error.code in table_codes(text)
    }


def test_the_page_has_what_every_address_may_answer() -> None:
    """The table at the top has the codes that no section repeats."""
    text = PAGE.read_text(encoding="utf-8").partition("\n### GET ")[0]
    common: set[type[ServerError]] = {
        *openapi.OF_ALL,
        *openapi.OF_TOKENS,
        *openapi.OF_BODIES,
    }

    assert table_codes(text) == {error.code: str(error.status) for error in common}


def test_every_code_is_explained_once() -> None:
    """The page of errors has each code with its status, and no other."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (\d{3}) \|",
        ERRORS_PAGE.read_text(encoding="utf-8"),
        re.MULTILINE,
    )

    assert len(rows) == len(dict(rows))
    assert dict(rows) == {error.code: str(error.status) for error in every_error()}


def test_every_code_stands_for_one_error() -> None:
    """No two errors share a code, so a client can tell them apart."""
    codes = [error.code for error in every_error()]

    assert len(codes) == len(set(codes))


def test_every_error_is_one_of_some_endpoint() -> None:
    """An error that no endpoint names is one that no request meets."""
    named = {error for endpoint in ENDPOINTS for error in openapi.errors_of(endpoint)}

    assert every_error() - named == NOT_ANSWERED
