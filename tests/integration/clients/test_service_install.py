"""What runs aw-server at login: the units of systemd, and files for other systems."""

import plistlib
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.helpers.watchers import call
from tests.integration.cli.harness import PASSPHRASE, Dialog, Machine

NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
ODD = 'odd "name" $HOME 100%h'


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose names have what a unit could take for something else."""
    home = tmp_path / ODD
    home.mkdir()
    made = Machine(home)
    made.environment |= {"AWVAULT_SYNC_SCHEDULE": "daily", "AWVAULT_PORT": "5777"}
    return made


def units(machine: Machine) -> Path:
    return machine.home / "config" / "systemd" / "user"


def words(line: str) -> list[str]:
    """Read a line of quoted words as systemd.syntax(7) says."""
    found: list[str] = []
    rest = line.strip()
    while rest:
        assert rest.startswith('"'), rest
        word, at = "", 1
        while rest[at] != '"':
            if rest[at] == "\\":
                at += 1
            word += rest[at]
            at += 1
        found.append(word.replace("%%", "%"))
        rest = rest[at + 1 :].strip()
    return found


def settings_of(unit: str, name: str) -> list[str]:
    lines = [line.partition("=") for line in unit.splitlines()]
    return [value for key, _, value in lines if key == name]


def test_units_are_written_once_and_not_over_others(machine: Machine) -> None:
    """The same again changes nothing; other settings need --replace."""
    done = machine.ok("service", "install")
    socket_unit, service_unit = (
        units(machine) / f"aw-server.{kind}" for kind in ("socket", "service")
    )
    assert done.out.splitlines() == [str(socket_unit), str(service_unit)]
    assert "systemctl --user enable --now aw-server.service" in done.err
    assert settings_of(socket_unit.read_text(), "ListenStream") == ["127.0.0.1:5777"]

    assert machine.ok("service", "install").out == done.out
    machine.environment["AWVAULT_PORT"] = "5778"
    before = socket_unit.read_bytes()
    refused = machine.awvault("service", "install")
    assert refused.status == 1
    assert "exists and says otherwise" in refused.err
    assert "--replace" in refused.err
    assert socket_unit.read_bytes() == before
    machine.ok("service", "install", "--replace")
    assert settings_of(socket_unit.read_text(), "ListenStream") == ["127.0.0.1:5778"]


def test_a_server_on_another_port_is_told_of(machine: Machine) -> None:
    """Its options are not those of the service."""
    machine.ok("init")
    with machine.server() as server:
        told = machine.ok("service", "install").err
    assert f"runs now is at {server.url}" in told
    assert "the service will be at port 5777" in told
    assert "runs now" not in machine.ok("service", "install").err


def test_systemd_finds_nothing_wrong_with_the_units(machine: Machine) -> None:
    """As far as its own checker can tell, where there is one."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    machine.ok("service", "install")

    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", "aw-server.service"],
        cwd=units(machine),
        env=machine.environment
        | {
            "SYSTEMD_UNIT_PATH": f"{units(machine)}:",
            "XDG_RUNTIME_DIR": str(machine.home),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    ours = [line for line in done.stderr.splitlines() if "aw-server" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_unit_starts_what_was_set_and_is_told_when_it_is_ready(
    machine: Machine, tmp_path: Path
) -> None:
    """Started as systemd would: words, environment, socket and where to tell."""
    machine.ok("service", "install")
    unit = (units(machine) / "aw-server.service").read_text()
    (line,) = settings_of(unit, "ExecStart")
    started = [word.replace("$$", "$") for word in words(line)]
    environment = dict(
        word.split("=", 1)
        for value in settings_of(unit, "Environment")
        for word in words(value)
    )
    assert started[1:] == ["--data-dir", str(machine.data_dir)]
    assert environment == {
        "AWVAULT_SYNC_SCHEDULE": "daily",
        "AWVAULT_PORT": "5777",
    }

    listener = socket.create_server(("127.0.0.1", 0))
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(60)
    with (
        listener,
        told,
        subprocess.Popen(
            # The cheap Argon2 profile; otherwise what the unit says.
            [
                *("sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0', "sh"),
                *machine.command("aw-server", *started[1:]),
            ],
            stdin=listener.fileno(),
            stdout=subprocess.PIPE,
            env={
                name: machine.environment[name]
                for name in ("HOME", "PATH", "XDG_CONFIG_HOME")
            }
            | environment
            | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
            text=True,
        ) as process,
    ):
        try:
            assert told.recv(100) == b"READY=1"
            assert process.stdout is not None
            port = listener.getsockname()[1]
            assert process.stdout.readline().endswith(f":{port}\n")
            status, _ = call(port, "POST", "/api/0/activity/test", {"note": "kept"})
            assert status == 200
            process.send_signal(signal.SIGTERM)
            assert told.recv(100) == b"STOPPING=1"
            assert process.wait(30) == 0
        finally:
            process.kill()
    (event,) = machine.ok("events", "activity_test", "--json").json()
    assert event["data"] == {"note": "kept"}


def test_other_systems_get_a_file_to_hand_over(machine: Machine) -> None:
    """Printed, and nothing is written; what a system cannot take is refused."""
    agent = plistlib.loads(
        machine.ok("service", "install", "--print", "launchd").out.encode()
    )
    assert agent["ProgramArguments"][1:] == ["--data-dir", str(machine.data_dir)]
    assert agent["EnvironmentVariables"]["AWVAULT_PORT"] == "5777"

    refused = machine.awvault("service", "install", "--print", "windows")
    assert refused.status == 1
    assert "cannot set AWVAULT_PORT, AWVAULT_SYNC_SCHEDULE" in refused.err
    for name in ("AWVAULT_PORT", "AWVAULT_SYNC_SCHEDULE"):
        del machine.environment[name]
    task = ET.fromstring(machine.ok("service", "install", "--print", "windows").out)  # noqa: S314 - our own
    (arguments,) = task.iter(f"{NAMESPACE}Arguments")
    assert arguments.text == subprocess.list2cmdline(
        ["--data-dir", str(machine.data_dir)]
    )
    shown = machine.ok("service", "install", "--testing", "--print", "systemd").out
    assert "# aw-server-testing.socket" in shown
    assert '"--testing"' in shown
    assert "ListenStream=127.0.0.1:5666" in shown
    assert not units(machine).exists()


def test_a_passphrase_that_is_typed_is_spoken_of(tmp_path: Path) -> None:
    """A service cannot ask for it. One that makes its vault need not."""
    machine = Machine(tmp_path)
    assert "passphrase" not in machine.ok("service", "install").err
    typed = Dialog(machine, "awvault", "init")
    for question in ("New passphrase:", "again:"):
        typed.expect(question)
        typed.type(PASSPHRASE)
    assert typed.end() == 0

    assert "can ask nobody" in machine.ok("service", "install").err
    assert "--passphrase-file" in machine.ok("service", "install").err


def test_a_port_that_is_any_port_is_no_service(machine: Machine) -> None:
    """Watchers could not find it."""
    machine.environment["AWVAULT_PORT"] = "0"
    done = machine.awvault("service", "install")
    assert done.status == 1
    assert "port" in done.err
