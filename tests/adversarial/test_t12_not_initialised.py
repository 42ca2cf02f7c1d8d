"""T12: "not initialised", 404, or empty slots, where an account should be.

A login makes no account: no key of one is made, nothing is registered or uploaded,
whatever a host says that it lacks.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from awserver.service.base import Caller
from awvault.errors import Error, IntegrityError
from tests.adversarial.entering import Door, door
from tests.helpers.lying_host import Handler, Lie

PATHS: Final = ("/prelogin", "/sessions", "/documents", "/keys")
SAYINGS: Final = (
    (404, "account-unknown", "there is no such account: register it"),
    (404, "not-initialised", "the account is not initialised yet"),
    (410, "gone", "the account was deleted"),
    (200, "", ""),
    (204, "", ""),
)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as made:
        yield made


class Lacks(Lie):
    """Has nothing at a path."""

    def __init__(self, path: str, status: int, code: str, detail: str) -> None:
        self._path = f"/api/1{path}"
        self._status = status
        self._problem = {
            "title": "t",
            "status": status,
            "code": code,
            "detail": detail,
        }

    async def http(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != self._path:
            return await handler(request)
        if self._status < 300:
            kind = "application/octet-stream"
            if self._path.endswith(("prelogin", "sessions")):
                kind = "application/json"
            return web.Response(status=self._status, headers={"Content-Type": kind})
        return web.Response(
            status=self._status,
            body=json.dumps(self._problem).encode(),
            headers={"Content-Type": "application/problem+json"},
        )


@pytest.mark.parametrize("saying", SAYINGS, ids=lambda s: f"{s[0]}-{s[1] or 'empty'}")
@pytest.mark.parametrize("path", PATHS)
async def test_a_login_is_an_error_and_makes_nothing(
    at: Door, path: str, saying: tuple[int, str, str]
) -> None:
    """Nothing of an account is made, registered or put; the machine is as it was."""
    before = at.what_the_machine_has()

    with at.host.lying(Lacks(path, *saying)), pytest.raises(Error):
        await at.enters()

    up = at.proxy.sent("up")
    for never in (b"POST /api/1/accounts", b"POST /api/1/documents", b"/api/1/logs"):
        assert never not in up, never
    at.nothing_was_made()
    assert at.what_the_machine_has() == before
    await at.enters()
    at.no_secret_left()


class Empty(Lie):
    """Has an account without documents, or without keys."""

    def __init__(self, *, documents: bool, blob: bytes | None) -> None:
        self._documents = documents
        self._blob = blob

    def documents(self, caller: Caller, after: int, honest: list[bytes]) -> list[bytes]:
        return honest if self._documents else []

    def keys_blob(self, caller: Caller, honest: bytes) -> bytes:
        return honest if self._blob is None else self._blob


@pytest.mark.parametrize(
    "lie",
    [
        Empty(documents=False, blob=None),
        Empty(documents=True, blob=b""),
        Empty(documents=True, blob=b"AWSK\x01" + bytes(12)),
    ],
    ids=["no-documents", "no-blob", "empty-slots"],
)
async def test_empty_slots_are_no_invitation(at: Door, lie: Lie) -> None:
    """An account without its keys is not what its owner signed."""
    with at.host.lying(lie), pytest.raises(IntegrityError):
        await at.enters()

    assert b"POST /api/1/documents" not in at.proxy.sent("up")
    at.nothing_was_made()
    await at.enters()
    at.no_secret_left()
