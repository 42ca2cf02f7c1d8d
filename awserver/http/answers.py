"""What the host answers: JSON, bytes, or nothing."""

from typing import Final

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from awserver.wire import BINARY_TYPE

SERVER_NAME: Final = "aw-server"
"""Without it, aiohttp tells its version and Python's."""

# Ciphertext and account data must not stay in a cache, be taken for a page, or be
# embedded by one.
_COMMON: Final = {
    "Server": SERVER_NAME,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_BARE: Final = CIMultiDict(_COMMON)
_JSON: Final = CIMultiDict({"Content-Type": "application/json", **_COMMON})
_BINARY: Final = CIMultiDict({"Content-Type": BINARY_TYPE, **_COMMON})
_TEXT: Final = CIMultiDict({"Content-Type": "text/plain; charset=utf-8", **_COMMON})

_encode: Final = msgspec.json.Encoder().encode


def json_answer(value: msgspec.Struct, *, status: int = 200) -> web.Response:
    """Answer with a type of `awserver.wire`."""
    return web.Response(body=_encode(value), status=status, headers=_JSON)


def json_text_answer(text: bytes) -> web.Response:
    """Answer with JSON that is text already."""
    return web.Response(body=text, headers=_JSON)


def binary_answer(body: bytes) -> web.Response:
    """Answer with bytes."""
    return web.Response(body=body, headers=_BINARY)


def text_answer(text: str) -> web.Response:
    """Answer with a line for a person."""
    return web.Response(body=text.encode(), headers=_TEXT)


def empty_answer(status: int = 204) -> web.Response:
    """Answer with a status and no body."""
    return web.Response(status=status, headers=_BARE)


def binary_stream() -> web.StreamResponse:
    """Return the beginning of an answer whose bytes come piece by piece."""
    return web.StreamResponse(headers=_BINARY)


def problem_response(body: msgspec.Struct, *, status: int) -> web.Response:
    """Answer with an error; `problems` makes its body."""
    headers = _BARE.copy()
    headers["Content-Type"] = "application/problem+json"
    return web.Response(body=_encode(body), status=status, headers=headers)
