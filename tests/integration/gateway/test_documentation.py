"""What the documents say of the gateway is what it does."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from awvault.gateway import GatewaySettings, VaultHolder, create_gateway
from tests.integration.gateway.differences import DIFFERENCES
from tests.integration.gateway.running import Api

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = DOCS / "reference/gateway.md"
DIFFERENCES_PAGE = DOCS / "reference/activitywatch-differences.md"
GUIDE = DOCS / "guide/activity-api.md"
METHODS = {"GET", "POST", "PUT", "DELETE"}


async def test_every_route_is_documented() -> None:
    """The table of routes has each route of the gateway, and no other."""
    documented = set()
    row = re.compile(r"^\| ((?:GET|POST|PUT|DELETE) `/.*?) \|", re.MULTILINE)
    for cell in row.findall(REFERENCE.read_text()):
        method = cell.split()[0]
        for shown in re.findall(r"`(/[^`?]*)[^`]*`", cell):
            path = re.sub(r"/(ID|NAME|EVENT|KEY)(?=[/\[]|$)", "/{}", shown)
            documented.add((method, path.removesuffix("[/]")))
            if path.endswith("[/]"):
                documented.add((method, path.replace("[/]", "/")))

    app = create_gateway(VaultHolder(), GatewaySettings())
    served = {
        (route.method, re.sub(r"\{[^}]*\}", "{}", route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None and route.method in METHODS
    }
    assert documented - {("GET", "/")} == served


def test_the_table_of_differences_is_that_of_the_probe() -> None:
    """The page has each row, in the same order and words, and no other."""
    rows = re.findall(r"^\|.*\|$", DIFFERENCES_PAGE.read_text("utf-8"), re.MULTILINE)

    assert rows[2:] == [difference.row() for difference in DIFFERENCES.values()]


async def test_the_guide_can_be_followed(api: Api) -> None:
    """Each command of the guide to the activity API does what it shows."""
    block = re.compile(r"^```\n(curl .*?)^```", re.MULTILINE | re.DOTALL)
    commands = block.findall(GUIDE.read_text())
    assert len(commands) == 3
    for command in commands:
        process = await asyncio.create_subprocess_shell(
            command.replace("localhost:5600", f"localhost:{api.port}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        out, _ = await process.communicate()
        if process.returncode == 127:
            pytest.skip("there is no curl here")
        assert [event["id"] for event in json.loads(out)]
    stored = await api.ok("GET", "/api/0/activity/coffee")
    assert [event["cups"] for event in stored] == [1, 2]
