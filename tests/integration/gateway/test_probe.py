"""The same requests to ActivityWatch's server and to ours; every difference is known.

Over real sockets, in one order, each server keeping what it was sent. What differs
is a row of one table with its reason, and no row is without a difference.
"""

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from benchmarks.servers import start_activitywatch
from tests.integration.gateway.differences import DIFFERENCES, named
from tests.integration.gateway.probe_steps import steps
from tests.integration.gateway.probing import Compared, probe
from tests.integration.gateway.running import Api, running

STEPS_MIN = 600
PROGRAM = """
from aw_server.main import main
from aw_server.rest import CustomJSONEncoder
from flask.json.provider import DefaultJSONProvider

DefaultJSONProvider.default = staticmethod(CustomJSONEncoder().default)
main()
"""
# Theirs, with the encoder that it has: newer releases of Flask do not ask for it, and
# every query with events in its result would be a 500.


@pytest.mark.activitywatch
def test_every_difference_is_known(tmp_path: Path) -> None:
    """Of status, shape and value; and no row of the table is without a difference."""
    home = tmp_path / "home"
    home.mkdir()
    theirs = start_activitywatch(home, program=("-c", PROGRAM))
    try:
        compared = asyncio.run(_compare(theirs.address[1], tmp_path))
    finally:
        theirs.stop()

    assert len(compared) > STEPS_MIN
    faults = [str(c) for c in compared if not 200 <= c.ours.status < 500]
    assert not faults, "\n".join(["is a fault of ours:", *faults])
    unknown = [str(c) for c in compared if c.kinds and named(c) not in DIFFERENCES]
    assert not unknown, "\n".join(["differs, and is not in the table:", *unknown])
    same = [str(c) for c in compared if c.step.differs and not c.kinds]
    assert not same, "\n".join(["is said to differ, and does not:", *same])
    met = {named(c) for c in compared if c.kinds}
    assert met == {name for name, row in DIFFERENCES.items() if row.is_probed}


async def _compare(port: int, directory: Path) -> list[Compared]:
    async with (
        # Their server closes each connection after its answer.
        ClientSession(
            cookie_jar=DummyCookieJar(), connector=TCPConnector(force_close=True)
        ) as session,
        running(directory / "vault") as ours,
    ):
        return await probe(Api(session, port), ours, steps())
