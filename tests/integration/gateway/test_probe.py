"""The same requests to ActivityWatch's server and to ours; every difference is known.

Over real sockets, in one order, each server keeping what it was sent. What differs
is a row of one table with its reason, and no row is without a difference.
"""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from benchmarks.servers import start_activitywatch
from tests.integration.gateway.differences import DIFFERENCES, named
from tests.integration.gateway.probe_steps import steps
from tests.integration.gateway.probing import Compared, probe
from tests.integration.gateway.running import Api, running

PAGE = Path(__file__).parents[3] / "docs/reference/activitywatch-differences.md"
STEPS_MIN = 400
PROGRAM = """
from aw_server.main import main
from aw_server.rest import CustomJSONEncoder
from flask.json.provider import DefaultJSONProvider

DefaultJSONProvider.default = staticmethod(CustomJSONEncoder().default)
main()
"""
# Theirs, with the encoder that it has: newer releases of Flask do not ask for it, and
# every query with events in its result would be a 500.

pytestmark = pytest.mark.activitywatch


@pytest.fixture(scope="module")
def compared() -> Iterator[list[Compared]]:
    """The answers of both servers to every step."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        home.mkdir()
        theirs = start_activitywatch(home, program=("-c", PROGRAM))
        try:
            yield asyncio.run(_compare(theirs.address[1], Path(directory)))
        finally:
            theirs.stop()


async def _compare(port: int, directory: Path) -> list[Compared]:
    async with (
        # Their server closes each connection after its answer.
        ClientSession(
            cookie_jar=DummyCookieJar(), connector=TCPConnector(force_close=True)
        ) as session,
        running(directory / "vault") as ours,
    ):
        return await probe(Api(session, port), ours, steps())


def test_every_difference_is_known(compared: list[Compared]) -> None:
    """Of status, shape and value; and whoever names a difference has one."""
    assert len(compared) > STEPS_MIN
    unknown = [str(c) for c in compared if c.kinds and named(c) not in DIFFERENCES]
    assert not unknown, "\n".join(["differs, and is not in the table:", *unknown])
    same = [str(c) for c in compared if c.step.differs and not c.kinds]
    assert not same, "\n".join(["is said to differ, and does not:", *same])


def test_every_row_of_the_table_is_met(compared: list[Compared]) -> None:
    """A row that nothing shows would be a claim about a server of long ago."""
    met = {named(c) for c in compared if c.kinds}

    assert met == {name for name, row in DIFFERENCES.items() if row.is_probed}


def test_nothing_that_was_sent_is_a_fault_of_ours(compared: list[Compared]) -> None:
    """Whatever theirs answers, ours answers, and never with a 5xx."""
    faults = [str(c) for c in compared if not 200 <= c.ours.status < 500]

    assert not faults, "\n".join(faults)


def test_the_documented_table_is_this_one() -> None:
    """The page has each row, in the same order and words, and no other."""
    rows = re.findall(r"^\|.*\|$", PAGE.read_text("utf-8"), re.MULTILINE)

    assert rows[2:] == [difference.row() for difference in DIFFERENCES.values()]
