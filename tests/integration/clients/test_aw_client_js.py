"""ActivityWatch's client for JavaScript, as it is on npm, against the gateway."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from awvault.gateway import GatewaySettings
from tests.helpers.programs import node_clients, program
from tests.integration.gateway.running import running

SCRIPT = Path(__file__).parent / "node" / "watch.js"


async def run_script(port: int) -> Any:
    """Run the script under Node.js, and return what it saw."""
    process = await asyncio.create_subprocess_exec(
        program("node", package="nodejs"),
        SCRIPT,
        str(port),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"NODE_PATH": str(node_clients() / "node_modules")},
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@pytest.mark.activitywatch
async def test_the_javascript_client_works(tmp_path: Path) -> None:
    """It makes buckets, sends heartbeats, inserts, replaces, reads, deletes."""
    async with running(tmp_path / "vault", GatewaySettings(testing=True)) as api:
        seen = await run_script(api.port)

    assert seen["info"]["testing"] is True
    assert seen["made"] == {"alreadyExist": False}
    assert seen["madeAgain"] == {"alreadyExist": True}
    bucket = seen["buckets"]["aw-watcher-web-test"]
    assert (bucket["client"], bucket["type"]) == ("aw-client-web", "web.tab.current")
    assert seen["bucket"]["id"] == "aw-watcher-web-test"

    titles = [(e["data"]["title"], e["duration"]) for e in seen["heartbeats"]]
    assert titles == [("two", 0), ("one", 60)]
    assert seen["count"] == 5
    assert [e["data"]["title"] for e in seen["range"]] == ["four", "three"]
    assert seen["replaced"]["data"]["title"] == "six"
    assert seen["countAfter"] == 4
    assert seen["missing"] == 404
    assert seen["query"] == [65]
    assert seen["setting"] == {"name": "dark", "scale": 1.5}
    assert seen["settings"] == {"theme": seen["setting"]}
    assert seen["left"] == ["aw-watcher-web-test"]
