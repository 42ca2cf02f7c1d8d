"""T35: an older protocol or suite, or the mark of the oldest one rolled back.

There is one suite and no negotiation: anything else is refused, without fallback.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from awserver.records import SealedRecord
from awvault.errors import MalformedAnswerError, TransportError
from awvault.sync.alarms import Name
from tests.adversarial.scenes import Records, Scene, scene
from tests.helpers.lying_host import Handler, Lie

Alter = Callable[[list[SealedRecord]], list[SealedRecord]]


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        await made.store(made.one)
        await made.one.seal_and_sync()
        yield made


def of_suite(suite: int) -> Alter:
    def alter(honest: list[SealedRecord]) -> list[SealedRecord]:
        data = bytearray(honest[0].header_bytes)
        data[4] = suite
        return [replace(honest[0], header_bytes=bytes(data))]

    return alter


@pytest.mark.parametrize("suite", [0, 2, 255])
async def test_a_record_of_another_suite_is_not_read(act: Scene, suite: int) -> None:
    """Not the older, and not the newer: the log waits, and nothing is guessed."""
    await act.caught(
        act.two,
        Records(act.one.client_id, of_suite(suite)),
        Name.UPDATE_NEEDED,
        client=act.one.client_id,
    )


class OlderApi(Lie):
    """Says that it only speaks an older protocol."""

    def __init__(self, status: int) -> None:
        self._status = status

    async def http(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/api/1/"):
            return web.Response(
                status=self._status,
                headers={"Upgrade": "aw/0", "Location": "/api/0/"},
            )
        return await handler(request)


@pytest.mark.parametrize("status", [404, 410, 426, 505])
async def test_a_client_speaks_no_older_protocol(act: Scene, status: int) -> None:
    """It asks nowhere else, and says that this is no host."""
    before = act.state(act.two)
    asked = len(act.host.requests)

    with act.host.lying(OlderApi(status)), pytest.raises(TransportError) as refused:
        await act.two.sync()

    if status < 500:
        assert isinstance(refused.value, MalformedAnswerError)
    paths = {path.split("?")[0] for _, path in act.host.requests[asked:]}
    assert all(path.startswith("/api/1/") for path in paths)
    assert act.state(act.two) == before
    await act.goes_on()
