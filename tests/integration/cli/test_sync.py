"""Sync, status, verify and repair, as a person meets them; the host is a process."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from awvault.testing import PASSPHRASE
from tests.helpers.hosts import HostProcess, host_process
from tests.helpers.syncing import meeting
from tests.helpers.watchers import make_bucket, traffic
from tests.integration.cli.harness import DEADLINE_SECONDS, Machine


class Both:
    """Two machines of one owner, and the host between them."""

    def __init__(self, root: Path, host: HostProcess) -> None:
        self.host = host
        self.root = root

        async def prepare() -> list[Path]:
            async with meeting(root / "clients", host.url) as (met, one):
                two = await met.join("laptop")
                await one.sync()
                return [m.vault.database.path.parent for m in (one, two)]

        directories = asyncio.run(prepare())
        self.one, self.two = (
            self._machine(name, directory)
            for name, directory in zip(("one", "two"), directories, strict=True)
        )

    def _machine(self, name: str, directory: Path) -> Machine:
        home = self.root / name
        home.mkdir()
        made = Machine(home)
        secret = home / "passphrase"
        secret.touch(mode=0o600)
        secret.write_text(PASSPHRASE)
        made.data_dir = directory
        made.environment |= {
            "AWVAULT_DATA_DIR": str(directory),
            "AWVAULT_PASSPHRASE_FILE": str(secret),
        }
        return made

    def add(self, machine: Machine, text: str) -> None:
        """Store two events: the second closes the first."""
        for _ in range(2):
            machine.ok(
                *("add", "window", f'{{"app":"{text}"}}', "--type", "currentwindow")
            )

    def shown(self, machine: Machine) -> str:
        return machine.ok("events", "window", "--json").out

    @contextmanager
    def lost(self) -> Iterator[None]:
        """Let the host lose everything that is stored in the context."""
        self.host.terminate()
        kept = self.root / "kept"
        shutil.copytree(self.host.data_dir, kept)
        self.host.start()
        yield
        self.host.terminate()
        shutil.rmtree(self.host.data_dir)
        shutil.copytree(kept, self.host.data_dir)
        self.host.start()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    with host_process(tmp_path / "host") as host:
        yield Both(tmp_path, host)


def test_what_one_machine_records_the_other_shows(both: Both) -> None:
    """One command on each; status says how it stands."""
    both.add(both.one, "editor")
    sent = both.one.ok("sync", "--json").json()
    assert sent["pushed_records"] == 2  # a slot: web tabs apart, idle or not
    got = both.two.ok("sync")
    assert "records received: 2" in got.out
    # It has recorded nothing, and says why it sends something all the same.
    assert "records sent:     2 (two each time, idle or not, so that" in got.out
    assert "editor" in both.shown(both.two)

    status = both.two.ok("status", "--json").json()
    assert status["remote"]["state"] == "synced"
    assert status["remote"]["schedule"] == "steady"
    assert status["remote"]["pending_records"] == 0
    assert [c["label"] for c in status["clients"]][1] == "laptop"
    first = status["clients"][0]
    assert (first["own"], first["records"], first["silent"]) == (False, 2, False)
    assert first["last_seen"] is not None
    text = both.two.ok("status").out
    assert "in sync" in text
    assert "laptop" in text


def test_a_host_that_is_away_is_exit_3(both: Both) -> None:
    """And nothing is lost: the next time it is there, it works."""
    both.add(both.one, "editor")
    both.host.terminate()
    away = both.one.awvault("sync")
    assert away.status == 3
    assert "cannot be reached" in away.err
    both.host.start()
    both.one.ok("sync")
    both.two.ok("sync")
    assert "editor" in both.shown(both.two)


def test_a_host_that_was_restored_is_exit_4_until_repair(both: Both) -> None:
    """The alarm says what to do, and doing it ends it."""
    with both.lost():
        both.add(both.one, "editor")
        both.one.ok("sync")
        both.two.ok("sync")

    caught = both.two.awvault("sync")
    assert caught.status == 4
    assert "log-rolled-back" in caught.out
    assert "awvault repair" in caught.out
    assert both.two.ok("status", "--json").json()["remote"]["state"] == "alarm"
    found = both.two.awvault("verify")
    assert found.status == 4
    assert "host: log of client" in found.out
    both.two.ok("verify", "--no-host")
    # Whatever a host does is no reason to refuse a watcher.
    with both.two.server() as server:
        make_bucket(server.port)
        with traffic(server.port) as sent:
            sent.wait_for(20)
    assert (sent.refused, sent.errors) == ([], [])

    repaired = both.two.ok("repair", "--json").json()
    assert repaired["records"] == 2
    assert repaired["conflicts"] == []
    both.one.ok("sync")
    checked = both.two.ok("verify", "--full", "--json").json()
    assert checked["host"]["findings"] == []
    assert checked["host"]["bodies"] == checked["host"]["records"] > 0


def test_verify_says_that_the_host_could_not_be_asked(both: Both) -> None:
    """What is here was checked all the same."""
    both.host.terminate()
    done = both.one.awvault("verify")
    assert done.status == 3
    assert "not checked" in done.out
    assert "account documents" in done.out


def test_a_live_server_shows_others_events_in_seconds(both: Both) -> None:
    """Through the gateway that watchers use, by long poll; and `sync` asks it."""
    both.two.environment["AWVAULT_SYNC_SCHEDULE"] = "live"
    both.add(both.one, "first")
    both.one.ok("sync")
    with both.two.server() as server:
        _wait_until(lambda: "first" in _events(server.request))
        both.add(both.one, "second")
        both.one.ok("sync")
        _wait_until(lambda: "second" in _events(server.request))
        status = both.two.ok("status", "--json").json()
        assert status["server"] is not None
        assert status["remote"]["state"] == "synced"
        both.add(both.two, "third")
        assert both.two.ok("sync", "--json").json()["alarms"] == []
    both.one.ok("sync")
    everything = both.one.ok("export").out
    assert "third" in everything


def test_a_server_outlives_its_host(both: Both) -> None:
    """Watchers are answered while the host is away, and it comes back by itself."""
    both.two.environment["AWVAULT_SYNC_SCHEDULE"] = "live"
    with both.two.server() as server:
        both.host.terminate()
        both.two.ok("add", "afk", '{"status":"afk"}', "--type", "afkstatus")
        _wait_until(lambda: _state(both.two) == "unreachable")
        make_bucket(server.port)
        with traffic(server.port) as sent:
            sent.wait_for(20)
        assert (sent.refused, sent.errors) == ([], [])
        assert "afk" in server.request("/api/0/buckets/")
        both.host.start()
        both.add(both.one, "editor")
        both.one.ok("sync")
        _wait_until(lambda: "editor" in _events(server.request))
        assert server.stop() == 0


def test_without_a_host_there_is_nothing_to_sync(tmp_path: Path) -> None:
    """It says how to get one."""
    machine = Machine(tmp_path)
    machine.ok("init")
    for command in ("sync", "repair"):
        done = machine.awvault(command)
        assert done.status == 1
        assert "no remote host" in done.err
        assert "awvault register" in done.err
    assert machine.ok("status", "--json").json()["remote"] is None
    assert machine.ok("verify", "--json").json()["host"] is None


def _state(machine: Machine) -> str:
    state = machine.ok("status", "--json").json()["remote"]["state"]
    assert isinstance(state, str)
    return state


def _events(request: Callable[[str], Any]) -> str:
    buckets = request("/api/0/buckets/")
    return str([request(f"/api/0/buckets/{name}/events") for name in buckets])


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)
