"""The control listener answers its owner's commands and nobody else."""

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.cli.harness import Machine, find_control


@dataclass
class Listener:
    """The control listener of a running aw-server."""

    port: int
    token: str

    def ask(
        self,
        operation: str = "status",
        *,
        method: str = "POST",
        body: bytes = b"",
        **changed: str | None,
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Ask as our client does; `changed` replaces or removes headers."""
        headers: dict[str, str | None] = {
            "Host": f"127.0.0.1:{self.port}",
            "Authorization": f"Bearer {self.token}",
            "Content-Length": str(len(body)),
        }
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest(
                method, f"/control/1/{operation}", skip_host=True,
                skip_accept_encoding=True,
            )  # fmt: skip
            for name, value in headers.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.read(), response.msg
        finally:
            connection.close()


@pytest.fixture
def listener(machine: Machine) -> Iterator[Listener]:
    with machine.server():
        control = find_control(machine.data_dir)
        yield Listener(control["port"], control["token"])


def lines(answer: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.splitlines()]


def test_the_token_opens_it(listener: Listener) -> None:
    """One result line, and no header that lets a web page read it."""
    status, answer, headers = listener.ask()

    assert status == 200
    assert lines(answer)[-1]["result"]["buckets"] == 0
    assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        pytest.param({"Authorization": None}, 403, id="no-token"),
        pytest.param({"Authorization": "Bearer " + "0" * 64}, 403, id="wrong-token"),
        pytest.param({"Authorization": "Bearer é"}, 403, id="odd-token"),
        pytest.param({"Authorization": "Basic abc"}, 403, id="other-scheme"),
        pytest.param({"Host": "localhost"}, 403, id="other-host"),
        pytest.param({"Host": "evil.example"}, 403, id="rebound-host"),
        pytest.param({"Origin": "https://evil.example"}, 403, id="page"),
        pytest.param({"Sec_Fetch_Site": "same-origin"}, 403, id="browser"),
        pytest.param({"method": "GET"}, 405, id="get"),
        pytest.param({"method": "OPTIONS"}, 405, id="preflight"),
        pytest.param({"operation": "delete"}, 404, id="no-such-operation"),
        pytest.param({"operation": "events", "body": b"{"}, 400, id="not-json"),
        pytest.param({"operation": "events", "body": b"{}"}, 400, id="no-bucket"),
        pytest.param(
            {"operation": "events", "body": b'{"bucket":"a","more":1}'}, 400, id="more"
        ),
        pytest.param(
            {"operation": "add", "body": b" " * (3 * 1024 * 1024)}, 413, id="large"
        ),
    ],
)
def test_everything_else_is_refused(
    listener: Listener, changed: dict[str, Any], status: int
) -> None:
    """Without the token, from a browser, malformed, or too large."""
    assert listener.ask(**changed)[0] == status
    assert listener.ask()[0] == 200


def test_an_error_travels_as_its_sentence_and_exit_status(listener: Listener) -> None:
    """The other side prints it as its own."""
    status, answer, _ = listener.ask("events", body=b'{"bucket":"nowhere"}')

    assert status == 200
    (line,) = lines(answer)
    assert '"nowhere"' in line["error"]["message"]
    assert line["error"]["exit_status"] == 1


def test_it_listens_on_loopback_only(listener: Listener) -> None:
    """Another machine cannot even connect."""
    with socket.socket() as probe:
        # Another address of this machine, where something would listen on all.
        probe.settimeout(5)
        assert probe.connect_ex(("127.0.0.2", listener.port)) != 0


def test_every_start_has_a_new_token(machine: Machine) -> None:
    """What an old control.json says is worth nothing any more."""
    tokens = set()
    for _ in range(2):
        with machine.server() as server:
            tokens.add(find_control(machine.data_dir)["token"])
            assert server.stop() == 0
    assert len(tokens) == 2
