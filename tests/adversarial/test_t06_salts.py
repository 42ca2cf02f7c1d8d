"""T06: a salt that is empty, huge or no bytes at all, and an answer without end."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from awvault.errors import MalformedAnswerError
from tests.adversarial.entering import Answers, Door, door
from tests.helpers.lying_host import Handler, Lie
from tests.helpers.randomness import fixed

MIB: Final = 1024 * 1024


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as made:
        yield made


def text_of(size: int) -> str:
    return b64encode(bytes(size)).decode()


async def refused(at: Door, lie: Lie) -> None:
    """Assert that a login and an open machine refuse, and that nothing moved."""
    before = at.what_the_machine_has()

    with at.host.lying(lie):
        with pytest.raises(MalformedAnswerError):
            await at.enters()
        with pytest.raises(MalformedAnswerError):
            await at.machine.accounts.usage()

    assert b"/api/1/sessions" not in at.proxy.sent("up")
    at.nothing_was_made()
    assert at.what_the_machine_has() == before
    await at.enters()
    at.no_secret_left()


@pytest.mark.parametrize(
    "salt",
    [
        text_of(0),
        text_of(15),
        text_of(17),
        text_of(8 * 1024),
        "not base64!",
        None,
        16,
        [0] * 16,
        {"bytes": 16},
        True,
    ],
    ids=["none", "15", "17", "8k", "words", "null", "number", "list", "map", "true"],
)
async def test_a_salt_has_sixteen_bytes(at: Door, salt: Any) -> None:
    """Anything else is no answer, and no passphrase is used for it."""
    answer = {"salt": salt, "nonce": b64encode(fixed("nonce")).decode()}

    await refused(at, Answers("/prelogin", json.dumps(answer).encode()))


class Endless(Lie):
    """An answer to prelogin that never ends."""

    def __init__(self, start: bytes) -> None:
        self._start = start
        self.sent = 0

    async def http(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != "/api/1/prelogin":
            return await handler(request)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(self._start)
        while self.sent < 64 * MIB:
            await response.write(b"A" * 65_536)
            self.sent += 65_536
        return response


@pytest.mark.parametrize("start", [b"", b'{"salt":"', b"[[[["])
async def test_an_answer_without_an_end_is_cut_off(at: Door, start: bytes) -> None:
    """No more of it is taken than a good answer may have."""
    lie = Endless(start)

    await refused(at, lie)

    assert lie.sent < 32 * MIB
