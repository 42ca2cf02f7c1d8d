"""`aw-server host` as whoever runs it knows it: a process, its commands, its end."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from aiohttp import ClientError

from awserver.records import SealedRecord
from awserver.wire import InfoAnswer
from tests.helpers.hosts import HostProcess, Member, Visitor, host_process, visitor
from tests.helpers.waiting import until

KILLS = 3
WRITERS = 4


@pytest.fixture
def process(tmp_path: Path) -> Iterator[HostProcess]:
    """Return a host that runs, with open registration."""
    with host_process(tmp_path) as running:
        yield running


async def test_it_says_once_that_it_is_ready(process: HostProcess) -> None:
    """One line on standard output says where it listens; then it serves there."""
    assert process.stdout == f"aw-server host is ready on {process.url}\n".encode()

    async with visitor(process.url) as at:
        assert (await at.get("/info")).as_(InfoAnswer).registration == "open"

    assert process.terminate()[0] == 0
    assert process.stdout.count(b"\n") == 1


def test_what_it_makes_is_its_owners_alone(process: HostProcess) -> None:
    """Directory and files can be read by the user that the host runs as, alone."""
    assert process.data_dir.stat().st_mode & 0o777 == 0o700
    for path in process.data_dir.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


async def test_a_signal_ends_it_quickly_and_who_waits_is_answered(
    process: HostProcess,
) -> None:
    """SIGTERM answers long polls at once; the exit status is 0."""
    async with visitor(process.url) as at:
        session = await Member().register(at)
        waiting = asyncio.create_task(session.get("/changes?version=1&wait=50"))
        # The host has the request before the signal: this one came behind it.
        await session.get("/usage")

        status, seconds = await asyncio.to_thread(process.terminate)
        answer = await waiting

    assert (status, answer.status) == (0, 200)
    assert seconds < 5
    assert "Traceback" not in process.stderr


async def test_what_was_acknowledged_survives_a_kill(process: HostProcess) -> None:
    """After SIGKILL under load, every record that was answered is there."""
    members = [
        Member(name=f"m{n}", username=f"m{n}", clients=1) for n in range(WRITERS)
    ]
    logs: list[list[SealedRecord]] = [[] for _ in members]
    acknowledged = [0] * len(members)
    sessions: list[Visitor] = []
    async with visitor(process.url) as at:
        sessions = [await member.register(at) for member in members]
    for round_number in range(1, KILLS + 1):
        async with visitor(process.url) as at:
            writers = [
                asyncio.create_task(
                    keep_writing(
                        members, n, logs, acknowledged, replace(at, token=s.token)
                    )
                )
                for n, s in enumerate(sessions)
            ]
            await until(partial(all_reached, acknowledged, 10 * round_number))
            await asyncio.to_thread(process.kill)
            await asyncio.gather(*writers)
        await asyncio.to_thread(process.start)
        async with visitor(process.url) as at:
            for n, member in enumerate(members):
                session = replace(at, token=sessions[n].token)
                found = await session.read(member.client_id())
                # The last one may have been stored and not answered.
                assert found in (
                    logs[n][: acknowledged[n]],
                    logs[n][: acknowledged[n] + 1],
                )
                # The same again is no error: so nothing is lost or doubled.
                again = await session.append(member.client_id(), logs[n][-1:])
                assert again.status in {200, 201}
                acknowledged[n] = len(logs[n])


def all_reached(counts: list[int], least: int) -> bool:
    return min(counts) >= least


async def keep_writing(
    members: list[Member],
    n: int,
    logs: list[list[SealedRecord]],
    acknowledged: list[int],
    session: Visitor,
) -> None:
    """Append one record after the other until the host is gone."""
    member, log = members[n], logs[n]
    with contextlib.suppress(ClientError, ConnectionError):
        while True:
            log.append(member.record(b"x", after=log[-1] if log else None))
            answer = await session.append(member.client_id(), log[-1:])
            assert answer.status == 201
            acknowledged[n] += 1


def test_a_port_that_is_taken_is_said_to_be(
    process: HostProcess, tmp_path: Path
) -> None:
    """A second host on the same port ends with status 1, and says which port."""
    with host_process(tmp_path / "other", start=False) as other:
        done = other.run("host", "--listen", f"127.0.0.1:{process.port}")

    assert (done.returncode, done.stdout) == (1, b"")
    error, hint = done.stderr.decode().splitlines()
    taken = f"port {process.port} on 127.0.0.1 is taken by another program"
    assert error == f"aw-server: error: {taken}"
    assert "--listen" in hint
    assert not other.data_dir.exists()


def test_two_hosts_do_not_share_a_directory(process: HostProcess) -> None:
    """A second host on the same directory ends with status 1."""
    done = process.run("host", "--listen", "127.0.0.1:0")

    assert done.returncode == 1
    assert b"another host serves from" in done.stderr


async def test_an_invitation_is_made_beside_a_running_host(tmp_path: Path) -> None:
    """`admin invite` prints a code that one person can use, while the host runs."""
    with host_process(tmp_path, "--registration", "invite") as process:
        code = process.run("admin", "invite").stdout.decode().strip()
        other = process.json("admin", "invite")["code"]
        assert code != other

        async with visitor(process.url) as at:
            session = await Member().register(at, invite=code)
            assert (await session.get("/usage")).status == 200
            bob = Member(name="bob", username="bob")
            await bob.register(at, invite=other)


async def test_accounts_are_listed_beside_a_running_host(process: HostProcess) -> None:
    """`admin accounts list` says who is there and what they take."""
    alice = Member()
    (record,) = alice.records(b"one")
    async with visitor(process.url) as at:
        session = await alice.register(at)
        await session.append(alice.client_id(), [record])

    listed = process.json("admin", "accounts", "list")
    table = process.run("admin", "accounts", "list").stdout.decode().splitlines()

    assert listed == {
        "accounts": [
            {
                "account": alice.account_id.hex(),
                "username": "alice",
                "clients": 2,
                "entries": 1,
                "stored_bytes": len(record.encode()),
                "quota_bytes": None,
                "standing": "active",
            }
        ]
    }
    assert len(table) == 2
    assert table[1].split()[:4] == [alice.account_id.hex(), "alice", "2", "1"]


async def test_an_account_is_disabled_and_enabled(process: HostProcess) -> None:
    """By its name or its id, beside a running host; what it stored stays."""
    alice = Member()
    (record,) = alice.records(b"one")
    admin = ("admin", "accounts")
    async with visitor(process.url) as at:
        session = await alice.register(at)
        await session.append(alice.client_id(), [record])

        off = process.json(*admin, "disable", "alice")
        refused = await session.get("/usage")
        on = process.json(*admin, "enable", alice.account_id.hex())
        served = await session.get("/usage")

    assert (off["standing"], on["standing"]) == ("disabled", "active")
    assert (refused.status, served.status) == (403, 200)
    assert process.json(*admin, "show", "alice") == {
        "account": alice.account_id.hex(),
        "username": "alice",
        "clients": 2,
        "entries": 1,
        "stored_bytes": len(record.encode()),
        "quota_bytes": None,
        "standing": "active",
        "clients_revoked": 0,
        "document_version": 1,
        "sessions": 1,
    }
    shown = process.run(*admin, "show", "alice").stdout.decode()
    assert "quota_bytes:      default\n" in shown


async def test_an_account_has_a_quota_of_its_own(process: HostProcess) -> None:
    """A number of bytes, or what the host has set for everyone."""
    alice = Member()
    records = alice.records(b"one", b"two")
    quota = ("admin", "accounts", "set-quota", "alice")
    async with visitor(process.url) as at:
        session = await alice.register(at)

        size = len(records[0].encode())
        assert process.json(*quota, str(size))["quota_bytes"] == size
        first = await session.append(alice.client_id(), records[:1])
        more = await session.append(alice.client_id(), records[1:])
        assert process.json(*quota, "default")["quota_bytes"] is None
        again = await session.append(alice.client_id(), records[1:])

    assert (first.status, more.status, again.status) == (201, 413, 201)
    for bad in ("-1", "many", str(2**63)):
        assert process.run(*quota, "--", bad).returncode == 2


async def test_an_account_is_deleted_by_whoever_runs_the_host(
    process: HostProcess,
) -> None:
    """Where nobody can be asked, only with --yes; then it is as if it never was."""
    alice = Member()
    delete = ("admin", "accounts", "delete", "alice")
    async with visitor(process.url) as at:
        session = await alice.register(at)
        await session.append(alice.client_id(), alice.records(b"one"))

        asked = process.run(*delete)
        kept = await session.get("/usage")
        done = process.run(*delete, "--yes")
        gone = await session.get("/usage")
        again = process.run(*delete, "--yes")
        await Member(name="other", username="alice").register(at)

    assert (asked.returncode, kept.status) == (1, 200)
    assert b"--yes" in asked.stderr
    assert (done.returncode, gone.status) == (0, 401)
    assert done.stdout == f"deleted alice ({alice.account_id.hex()})\n".encode()
    assert again.returncode == 1
    assert b'there is no account "alice" on this host' in again.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="it has no terminals to make")
async def test_a_person_types_the_name_of_what_is_deleted(
    process: HostProcess,
) -> None:
    """Another name deletes nothing."""
    alice = Member()
    delete = process.command("admin", "accounts", "delete", "alice")
    async with visitor(process.url) as at:
        session = await alice.register(at)
        wrong = typed(delete, process.environment, "bob")
        kept = await session.get("/usage")
        right = typed(delete, process.environment, "alice")
        gone = await session.get("/usage")

    assert (wrong.returncode, kept.status) == (1, 200)
    assert b"nothing was deleted" in wrong.stderr
    assert (right.returncode, gone.status) == (0, 401), right


def typed(
    command: Sequence[str], environment: Mapping[str, str], text: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command at a terminal at which somebody types one line."""
    person, terminal = os.openpty()
    try:
        os.write(person, f"{text}\n".encode())
        return subprocess.run(
            command,
            stdin=terminal,
            capture_output=True,
            env=environment,
            timeout=60,
            check=False,
        )
    finally:
        os.close(person)
        os.close(terminal)


async def test_a_backup_of_a_running_host_is_a_host(
    process: HostProcess, tmp_path: Path
) -> None:
    """What `admin backup` wrote serves the same accounts, and is its owner's alone."""
    alice = Member()
    records = alice.records(b"one", b"two")
    copy = tmp_path / "backup.db"
    async with visitor(process.url) as at:
        session = await alice.register(at)
        await session.append(alice.client_id(), records[:1])
        done = await asyncio.to_thread(process.run, "admin", "backup", str(copy))
        await session.append(alice.client_id(), records[1:])
    again = process.run("admin", "backup", str(copy))

    assert done.returncode == 0, done
    assert copy.stat().st_mode & 0o777 == 0o600
    assert again.returncode == 1
    assert b"already" in again.stderr
    with host_process(tmp_path / "other", start=False) as other:
        other.data_dir.mkdir()
        copy.rename(other.data_dir / "host.db")
        await asyncio.to_thread(other.start)
        async with visitor(other.url) as at:
            session = replace(at, token=session.token)
            assert await session.read(alice.client_id()) == records[:1]
            # Its client puts back what is missing, as it was signed.
            assert (await session.append(alice.client_id(), records)).status == 201


def test_a_backup_that_fails_leaves_no_file(
    process: HostProcess, tmp_path: Path
) -> None:
    """Where there is no directory, or no host, it says so and writes nothing."""
    missing = tmp_path / "none" / "backup.db"
    with host_process(tmp_path / "other", start=False) as nobody:
        no_host = nobody.run("admin", "backup", str(tmp_path / "backup.db"))
    done = process.run("admin", "backup", str(missing))

    assert (done.returncode, no_host.returncode) == (1, 1)
    assert b"Traceback" not in done.stderr
    assert not missing.parent.exists()
    assert not (tmp_path / "backup.db").exists()


def test_there_is_nothing_to_look_after_where_no_host_is(tmp_path: Path) -> None:
    """`admin` makes no host where there is none."""
    with host_process(tmp_path, start=False) as process:
        done = process.run("admin", "invite")

    assert done.returncode == 1
    assert b"there is no host in" in done.stderr
    assert not process.data_dir.exists()


def test_health_is_an_exit_status(process: HostProcess) -> None:
    """`healthcheck` exits with 0 where a host serves, and with 3 where none answers."""
    good = process.run("healthcheck", "--url", process.url)
    by_settings = process.run("healthcheck", "--listen", f"127.0.0.1:{process.port}")
    process.terminate()
    gone = process.run("healthcheck", "--url", process.url)
    wrong = process.run("healthcheck", "--url", "nonsense")

    assert (good.returncode, good.stdout) == (0, b"ready\n")
    assert by_settings.returncode == 0
    assert gone.returncode == 3
    assert wrong.returncode == 1


def test_settings_are_shown_with_their_source(tmp_path: Path) -> None:
    """`config show` prints what is in force and where it was said."""
    with host_process(tmp_path, start=False, AWSERVER_REGISTRATION="invite") as process:
        shown = process.json("config", "show", "--quota-bytes", "5")
        lines = process.run("config", "show").stdout.decode().splitlines()

    assert shown["registration"] == {
        "value": "invite",
        "source": "AWSERVER_REGISTRATION",
    }
    assert shown["quota_bytes"] == {"value": "5", "source": "--quota-bytes"}
    assert shown["listen"] == {"value": "127.0.0.1:5601", "source": "default"}
    assert "registration = invite  (AWSERVER_REGISTRATION)" in lines


def test_systemd_is_told(tmp_path: Path) -> None:
    """A host says READY when it serves, and STOPPING when it ends."""
    path = tmp_path / "notify"
    with contextlib.closing(
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ) as listening:
        listening.bind(str(path))
        listening.settimeout(30)
        with host_process(tmp_path, NOTIFY_SOCKET=str(path)) as process:
            assert listening.recv(100) == b"READY=1"
            process.terminate()
        assert listening.recv(100) == b"STOPPING=1"


def test_it_logs_json_where_nobody_watches(process: HostProcess) -> None:
    """Each line of its log is a JSON object."""
    process.terminate()

    messages = [json.loads(line)["message"] for line in process.stderr.splitlines()]

    assert messages == ["database made", "stopping"]


def test_a_damaged_database_is_said_to_be(process: HostProcess) -> None:
    """A host does not start over a file that is none of its own, and keeps it."""
    process.terminate()
    database = process.data_dir / "host.db"
    database.write_bytes(b"no database" * 1000)

    done = process.run("host", "--listen", "127.0.0.1:0")

    assert done.returncode == 1
    assert done.stderr.decode().count("aw-server: error: ") == 1
    assert b"Traceback" not in done.stderr
    assert database.read_bytes() == b"no database" * 1000


def test_options_of_localhost_mode_are_not_a_hosts(tmp_path: Path) -> None:
    """An option before the command's name is refused, and not silently ignored."""
    with host_process(tmp_path, start=False) as process:
        done = process.run("--port", "1", "host")

    assert done.returncode == 2
    assert b"--port" in done.stderr
    assert not process.data_dir.exists()
