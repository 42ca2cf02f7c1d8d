"""ActivityWatch's own server: it has the port, and it serves the same files."""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from awvault.gateway import GatewaySettings
from tests.integration.cli.harness import Machine
from tests.integration.clients.peers import ActivityWatchServer, activitywatch_server
from tests.integration.gateway.running import running

pytestmark = pytest.mark.activitywatch


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActivityWatchServer]:
    with activitywatch_server(tmp_path_factory.mktemp("other")) as server:
        yield server


def test_the_port_of_activitywatchs_server_is_not_taken(
    other: ActivityWatchServer, tmp_path: Path
) -> None:
    """It says what has the port and what to do, exits with 1, and makes nothing."""
    machine = Machine(tmp_path)
    done = machine.run("aw-server", "--port", str(other.port))

    assert (done.status, done.out) == (1, "")
    first, second = done.err.splitlines()
    assert first.startswith(
        f"aw-server: error: port {other.port} on 127.0.0.1 is taken by "
    )
    assert ", which answers as an ActivityWatch server v" in first
    assert second == (
        "aw-server: hint: stop that server first: watchers can talk to only one of them"
    )
    assert not machine.data_dir.exists()


async def test_the_files_of_its_interface_are_served_as_it_serves_them(
    other: ActivityWatchServer, tmp_path: Path
) -> None:
    """Byte for byte, and of the same types; `/` is the page."""
    paths = ["/", "/js/missing.js", "/pages/"] + [
        f"/{urllib.parse.quote(str(file.relative_to(other.static)))}"
        for file in sorted(other.static.rglob("*"))
        if file.is_file()
    ]
    assert len(paths) > 10
    async with running(
        tmp_path / "vault", GatewaySettings(webui=other.static.resolve())
    ) as api:
        for path in paths:
            status, headers, body = fetch(other.port, path)
            answer = await api.get(path)
            assert answer.status == status, path
            if status == 200:
                # What its system has no type for, it calls bytes.
                theirs = headers.get_content_type()
                ours = answer.headers["Content-Type"].partition(";")[0]
                assert theirs in {ours, "application/octet-stream"}
                assert answer.body.strip() == body.strip()


def fetch(port: int, path: str) -> tuple[int, Message, bytes]:
    url = f"http://127.0.0.1:{port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, b""
