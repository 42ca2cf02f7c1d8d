"""T50: a host's answers select an input of a key, or anything else they may not.

As in `test_t50_inputs.py`, from a host on a socket: what it adds to an answer, and
whose account it shows.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace

from awserver.service.base import Caller
from awserver.wire import SessionAnswer, SessionRequest
from awvault.errors import Error, IntegrityError, MalformedAnswerError, WrongPlaceError
from tests.adversarial.entering import Door, door
from tests.helpers.hosts import Member
from tests.helpers.lying_host import Handler, Lie


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as made:
        yield made


class Adds(Lie):
    """Adds fields to an honest answer in JSON."""

    def __init__(self, path: str, **more: Any) -> None:
        self._path = f"/api/1{path}"
        self._more = more

    async def http(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if request.path != self._path:
            return response
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        told = {**json.loads(response.body), **self._more}
        return web.Response(
            status=response.status,
            body=json.dumps(told).encode(),
            headers={"Content-Type": "application/json"},
        )


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/prelogin", {"username": "alice2"}),
        ("/prelogin", {"profile": {"memory_kib": 8}}),
        ("/sessions", {"suite": 0}),
        ("/sessions", {"epoch": 7}),
        ("/sessions", {"keys_blob": ""}),
        ("/sessions", {"token": "A" * 63}),
        ("/sessions", {"version": -1}),
        ("/sessions", {"account_id": "AB" * 16}),
    ],
)
async def test_a_field_more_is_refused(
    at: Door, path: str, more: dict[str, Any]
) -> None:
    """An answer has the fields that the protocol names, of the types it names."""
    before = at.what_the_machine_has()

    with at.host.lying(Adds(path, **more)):
        with pytest.raises(MalformedAnswerError):
            await at.enters()
        with pytest.raises(MalformedAnswerError):
            await at.machine.accounts.usage()

    at.nothing_was_made()
    assert at.what_the_machine_has() == before
    await at.enters()
    at.no_secret_left()


class OtherAccount(Lie):
    """Gives the session of an account that is not the owner's."""

    def session(self, request: SessionRequest, honest: SessionAnswer) -> SessionAnswer:
        return replace(honest, account_id="ab" * 16)


async def test_another_account_is_not_entered(at: Door) -> None:
    """The documents begin with the account that certifies itself, or not at all."""
    before = at.what_the_machine_has()

    with at.host.lying(OtherAccount()):
        with pytest.raises(IntegrityError):
            await at.enters()
        with pytest.raises(WrongPlaceError):
            await at.machine.accounts.usage()

    at.nothing_was_made()
    assert at.what_the_machine_has() == before
    await at.enters()
    at.no_secret_left()


class OthersDocuments(Lie):
    """Serves the documents and keys of an account of the host's own."""

    def __init__(self, account: Member) -> None:
        self._account = account

    def session(self, request: SessionRequest, honest: SessionAnswer) -> SessionAnswer:
        return replace(honest, account_id=self._account.account_id.hex())

    def documents(self, caller: Caller, after: int, honest: list[bytes]) -> list[bytes]:
        return self._account.documents[after:]

    def keys_blob(self, caller: Caller, honest: bytes) -> bytes:
        return self._account.keys_blob()


@pytest.mark.parametrize("username", ["alice", "mallory"])
async def test_an_account_of_the_hosts_own_opens_with_no_passphrase_of_ours(
    at: Door, username: str
) -> None:
    """A host that makes an account under this name does not know the passphrase.

    So its slot does not open, and no client is added to it: no event is sealed for
    keys that the host has.
    """
    trap = Member("the host's own", username=username, passphrase="the host's")

    with at.host.lying(OthersDocuments(trap)), pytest.raises(Error):
        await at.enters()

    assert b"POST /api/1/documents" not in at.proxy.sent("up")
    at.nothing_was_made()
    await at.enters()
    at.no_secret_left()
