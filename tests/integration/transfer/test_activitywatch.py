"""ActivityWatch's own server and its own database, both ways."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from awvault.service import ignore_progress
from awvault.testing import open_vault
from awvault.transfer import servers
from awvault.transfer.importing import Importer
from awvault.transfer.servers import ActivityWatchServer
from tests.helpers.processes import Root, home
from tests.helpers.waiting import until

PYTHON = Path(
    os.environ.get("ACTIVITYWATCH_PYTHON")
    or Path(__file__).parents[3] / ".venv-activitywatch/bin/python"
)

pytestmark = [
    pytest.mark.activitywatch,
    pytest.mark.skipif(not PYTHON.exists(), reason="make env-activitywatch"),
]

# Of one bucket: overlaps, equal starts, a night, and more than fits on a page.
START = 1_709_287_200


def given_events() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"timestamp": time(at * 7), "duration": 3.25, "data": {"n": at % 50}}
        for at in range(400)
    ]
    found += [
        {"timestamp": time(1_400), "duration": 1.0, "data": {"same": at}}
        for at in range(30)
    ]
    # Long before what it overlaps: no range of a day finds it.
    found.append({"timestamp": time(-200_000), "duration": 250_000.0, "data": {}})
    return found


def time(second: int) -> str:
    return datetime.fromtimestamp(START + second, UTC).isoformat()


@contextlib.contextmanager
def activitywatch(directory: Path) -> Iterator[str]:
    """Run ActivityWatch's server with a home of its own; give its address."""
    directory.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "aw_server", "--host", "127.0.0.1", "--port", str(port)],
            env={"HOME": str(directory), "PATH": os.environ["PATH"]},
            stdout=log,
            stderr=log,
        )
    try:
        asyncio.run(until(lambda: answers(process, url)))
        yield url
    finally:
        process.terminate()
        process.wait(20)


def answers(process: subprocess.Popen[bytes], url: str) -> bool:
    assert process.poll() is None, "ActivityWatch's server ended"
    with contextlib.suppress(OSError):
        return bool(call(url, "/api/0/info"))
    return False


def call(url: str, path: str, body: object = None) -> Any:
    request = urllib.request.Request(  # noqa: S310 - our own loopback address
        url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read())


def events_of(exported: Any) -> list[Any]:
    (bucket,) = exported["buckets"].values()
    return sorted(bucket["events"], key=json.dumps)


async def read_into(directory: Path, url: str) -> int:
    async with await open_vault(directory) as vault:
        importer = Importer(vault, ignore_progress)
        result = await importer.run(ActivityWatchServer(url).parts())
        assert result.events_extended == result.events_present == 0
        total = sum(event["duration"] for event in given_events())
        (bucket,) = vault.buckets()
        assert vault.read(bucket).duration.sum() == round(total * 1e6)
    return result.events_added


def test_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By file, by address and from the database: the same events, once each."""
    bucket = "aw-watcher-window_bö x"
    given = {
        "id": bucket,
        "type": "currentwindow",
        "client": "c",
        "hostname": "h",
        "created": time(0),
        "events": given_events(),
    }
    theirs = tmp_path / "theirs"
    with (
        home(tmp_path / "ours", root=Root.FORKED) as ours,
        activitywatch(theirs) as url,
    ):
        assert ours.run("init").status == 0
        call(url, "/api/0/import", {"buckets": {bucket: given}})
        exported = call(url, "/api/0/export")
        file = tmp_path / "export.json"
        file.write_text(json.dumps(exported))
        # Pages of 20: many, and more events at one moment than fit on one.
        with monkeypatch.context() as small:
            small.setattr(servers, "PAGE_EVENTS", 20)
            paged = asyncio.run(read_into(tmp_path / "paged", url))

        first = ours.run("import", url, "--json")
        by_file = ours.run("import", str(file), "--json")
        again = ours.run("import", url, "--json")
        (database,) = theirs.glob(".local/share/activitywatch/aw-server/*.db")
        by_database = ours.run("import", str(database), "--json")

        count = len(given_events())
        assert paged == count
        assert first.status == 0, first.stderr
        assert json.loads(first.stdout)["events_added"] == count
        for done in (by_file, again, by_database):
            assert done.status == 0, done.stderr
            result = json.loads(done.stdout)
            assert (result["events_added"], result["events_present"]) == (0, count)
            assert result["events_extended"] == 0

        out = ours.run("export", "--format", "activitywatch")
    assert events_of(json.loads(out.stdout)) == events_of(exported)

    with activitywatch(tmp_path / "others") as url:
        call(url, "/api/0/import", json.loads(out.stdout))
        assert events_of(call(url, "/api/0/export")) == events_of(exported)
        described = call(url, "/api/0/buckets/")[bucket]
    assert described["type"] == "currentwindow"


def test_another_vault_is_a_source_and_this_very_one_is_not(tmp_path: Path) -> None:
    """Its own address is refused; a key that is asked for must be given."""
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("k" * 20)
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("w" * 20)
    with (
        home(tmp_path / "one", root=Root.FORKED) as one,
        home(tmp_path / "two", root=Root.FORKED) as two,
    ):
        one.variables["AWVAULT_API_KEY_FILE"] = str(key)
        server = one.serve()
        assert one.run("add", "notes", '{"a":1}', "--type", "t").status == 0
        itself = one.run("import", server.url, "--api-key-file", str(key))
        assert two.run("init").status == 0
        refused = two.run("import", server.url)
        mistaken = two.run("import", server.url, "--api-key-file", str(wrong))
        other = two.run("import", server.url, "--api-key-file", str(key), "--json")

    assert itself.status == 1
    assert b"this very vault: what it has is here; name another" in itself.stderr
    assert (refused.status, mistaken.status) == (1, 1)
    assert b"asks for a key" in refused.stderr
    assert b"this is not it" in mistaken.stderr
    assert json.loads(other.stdout)["events_added"] == 1
