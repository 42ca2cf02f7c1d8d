"""How aw-server starts, where its passphrase comes from, and how it ends."""

import json
import os
import re
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from tests.integration.cli.harness import (
    DEADLINE_SECONDS,
    PASSPHRASE,
    Dialog,
    Machine,
    find_control,
)


def write_passphrase(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_first_start_without_a_terminal_generates_a_passphrase(
    machine: Machine,
) -> None:
    """It says where the file is and what it protects, never what it holds."""
    with machine.server() as server:
        assert server.request("/api/0/info")["testing"] is False

    (file,) = machine.generated_files
    words = file.read_text().split()
    assert len(words) == 6
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    log = machine.log()
    assert str(file) in log
    assert "not this machine" in log
    assert " ".join(words) not in log
    assert words[0] + " " + words[1] not in log


def test_the_second_start_finds_the_generated_passphrase(machine: Machine) -> None:
    """It opens the same vault, and generates nothing more."""
    with machine.server() as server:
        server.request("/api/0/activity/test", {"note": "first"})
        assert server.stop() == 0
    (before,) = machine.generated_files

    with machine.server() as server:
        (event,) = server.request("/api/0/activity/test")

    assert event["note"] == "first"
    assert machine.generated_files == [before]


def test_the_shipped_command_starts_and_is_found_by_awvault(tmp_path: Path) -> None:
    """The installed commands, with the real Argon2 profile."""
    machine = Machine(tmp_path, shipped=True)
    with machine.server() as server:
        server.request("/api/0/activity/test", {"note": "kept"})
        status = machine.ok("status", "--json").json()
        assert status["server"]["url"] == server.url
        assert server.stop() == 0
    (event,) = machine.ok("events", "activity_test", "--json").json()
    assert event["data"] == {"note": "kept"}


def test_a_passphrase_is_asked_for_twice_on_a_terminal(machine: Machine) -> None:
    """The prompts do not echo, and say that nobody can reset it."""
    first = Dialog(machine, "aw-server", "--port", "0")
    first.expect("Nobody can reset it")
    first.expect("New passphrase:")
    first.type(PASSPHRASE)
    first.expect("again:")
    first.type("something else")
    first.expect("differ")
    first.expect("New passphrase:")
    first.type(PASSPHRASE)
    first.expect("again:")
    first.type(PASSPHRASE)
    first.expect("aw-server is ready on")
    assert first.stop() == 0
    assert PASSPHRASE not in first.shown
    assert machine.generated_files == []

    second = Dialog(machine, "aw-server", "--port", "0")
    second.expect("Passphrase of the vault in")
    second.type(PASSPHRASE)
    second.expect("aw-server is ready on")
    assert second.stop() == 0


@pytest.mark.parametrize(
    "command", [("aw-server", "--port", "0"), ("awvault", "status")]
)
def test_a_mistyped_passphrase_is_asked_for_again(
    machine: Machine, command: tuple[str, ...]
) -> None:
    """Three times in all; an empty answer does not count."""
    file = write_passphrase(machine.home / "file", PASSPHRASE)
    machine.ok("init", "--passphrase-file", file)
    dialog = Dialog(machine, *command)
    for answer in ("", "wrong", "", "wrong again", PASSPHRASE):
        dialog.expect("Passphrase of the vault in")
        dialog.type(answer)
    if command[0] == "aw-server":
        dialog.expect("aw-server is ready on")
        assert dialog.stop() == 0
    else:
        assert dialog.end() == 0

    hopeless = Dialog(machine, *command)
    for answer in ("one", "two", "three"):
        hopeless.expect("Passphrase of the vault in")
        hopeless.type(answer)
    assert hopeless.end() == 1
    assert f"{command[0]}: error: this passphrase does not open" in hopeless.shown
    assert "hint: try again" in hopeless.shown


@pytest.mark.parametrize(
    "command", [("aw-server", "--port", "0"), ("awvault", "status")]
)
@pytest.mark.parametrize("wrong", [(), ("wrong",)], ids=["first", "second"])
def test_ctrl_c_ends_a_question(
    machine: Machine, command: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    """Once is enough, also where the question comes again."""
    file = write_passphrase(machine.home / "file", PASSPHRASE)
    machine.ok("init", "--passphrase-file", file)
    dialog = Dialog(machine, *command)
    for answer in wrong:
        dialog.expect("Passphrase of the vault in")
        dialog.type(answer)
    dialog.expect("Passphrase of the vault in")
    dialog.press(b"\x03")
    assert dialog.end() == 130
    assert "Traceback" not in dialog.shown
    assert "exception" not in dialog.shown


def test_a_weak_passphrase_is_taken_with_a_word(machine: Machine) -> None:
    """One sentence with a better one, on the terminal; a long one gets none."""
    weak = Dialog(machine, "awvault", "init")
    weak.expect("New passphrase:")
    weak.type("elevenchars")
    weak.expect("easy to guess")
    weak.expect("again:")
    weak.type("elevenchars")
    assert weak.end() == 0
    strong = Dialog(machine, "awvault", "init", "--data-dir", machine.home / "other")
    strong.expect("New passphrase:")
    strong.type("twelve chars")
    strong.expect("\r\n")
    strong.expect("again:")
    strong.type("twelve chars")
    assert strong.end() == 0
    assert "easy" not in strong.shown


def test_a_new_vault_is_never_made_in_silence(machine: Machine) -> None:
    """Also where a passphrase file says that there was one before."""
    with machine.server():
        pass
    assert f"a new vault is made in {machine.data_dir}" in machine.log()
    for name in ("vault.db", "vault.db-wal", "vault.db-shm"):
        (machine.data_dir / name).unlink(missing_ok=True)
    (machine.data_dir / "vault.db").touch()

    done = machine.awvault("status")
    assert (done.status, done.out) == (1, "")
    assert "there is no vault" in done.err
    (machine.home / "server.log").write_text("")
    with machine.server():
        pass

    assert f"a new vault is made in {machine.data_dir}" in machine.log()
    assert "which was there before" in machine.log()


def test_ctrl_c_at_the_prompt_leaves_nothing_behind(machine: Machine) -> None:
    """No vault is made of a question that was not answered."""
    dialog = Dialog(machine, "aw-server", "--port", "0")
    dialog.expect("New passphrase:")
    dialog.press(b"\x03")
    assert dialog.end() == 130
    assert "Traceback" not in dialog.shown
    assert not (machine.data_dir / "vault.db").exists()


def test_a_wrong_passphrase_is_called_wrong(machine: Machine) -> None:
    """Not damaged, not tampered with; and nothing is generated instead."""
    right = write_passphrase(machine.home / "right", PASSPHRASE + "\n")
    wrong = write_passphrase(machine.home / "wrong", PASSPHRASE + "?\n")
    with machine.server("--passphrase-file", right):
        pass

    done = machine.run("aw-server", "--port", "0", "--passphrase-file", wrong)

    assert (done.status, done.out) == (1, "")
    assert f'aw-server: error: the passphrase in "{wrong}" does not open' in done.err
    assert "damage" not in done.err


def test_only_one_newline_is_taken_off_a_passphrase(machine: Machine) -> None:
    """A file written by `echo` and one without its newline mean the same."""
    file = write_passphrase(machine.home / "file", f"{PASSPHRASE}\n")
    machine.ok("init", "--passphrase-file", file)
    for content, status in (
        (PASSPHRASE, 0),
        (f"{PASSPHRASE}\r\n", 0),
        (f"{PASSPHRASE}\n\n", 1),
        (f"{PASSPHRASE} \n", 1),
    ):
        write_passphrase(file, content)
        assert machine.awvault("status", "--passphrase-file", file).status == status


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        pytest.param(b"", 0o600, "is empty", id="empty"),
        pytest.param(b"\n", 0o600, "is empty", id="only-a-newline"),
        pytest.param(b"x" * 1025, 0o600, "longer than 1024 bytes", id="long"),
        pytest.param(b"\xff\xfe", 0o600, "not UTF-8", id="not-utf-8"),
        pytest.param(b"secret", 0o640, "open to other users", id="group"),
        pytest.param(b"secret", 0o604, "open to other users", id="others"),
    ],
)
def test_a_bad_passphrase_file_is_refused(
    machine: Machine, content: bytes, mode: int, says: str
) -> None:
    """The error says what is wrong, and no vault is made."""
    file = machine.home / "file"
    file.write_bytes(content)
    file.chmod(mode)

    done = machine.run("aw-server", "--port", "0", "--passphrase-file", file)

    assert done.status == 1
    assert says in done.err
    assert "secret" not in done.err
    assert not (machine.data_dir / "vault.db").exists()


def test_a_vault_whose_passphrase_nobody_knows_is_not_opened(machine: Machine) -> None:
    """The generated file is gone, and nobody can be asked: say what to do."""
    machine.ok("init")
    (file,) = machine.generated_files
    file.unlink()

    done = machine.run("aw-server", "--port", "0")

    assert done.status == 1
    assert f'there is no "{file}"' in done.err
    assert "AWVAULT_PASSPHRASE_FILE" in done.err
    assert "nobody can be asked" in done.err
    assert "--passphrase-file" in done.err
    assert machine.generated_files == []


def test_the_order_of_the_sources_of_a_passphrase(machine: Machine) -> None:
    """Option, then environment, then the generated file."""
    machine.ok("init")
    wrong = write_passphrase(machine.home / "wrong", "wrong")
    right = write_passphrase(
        machine.home / "right", machine.generated_files[0].read_text()
    )

    assert machine.ok("status", "--json").json()["passphrase_source"] == (
        "generated file"
    )
    machine.environment["AWVAULT_PASSPHRASE_FILE"] = str(wrong)
    assert machine.awvault("status").status == 1
    done = machine.ok("status", "--json", "--passphrase-file", right)
    assert done.json()["passphrase_source"] == "file"


def test_a_busy_port_names_its_holder(machine: Machine) -> None:
    """Exit 1, with the program, its pid and what to do; nothing is made."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        done = machine.run("aw-server", "--port", str(port))

    assert (done.status, done.out) == (1, "")
    assert f"port {port} on 127.0.0.1 is taken by" in done.err
    assert f"(pid {os.getpid()})" in done.err
    assert "aw-server: hint:" in done.err
    assert not machine.data_dir.exists()


def test_a_port_held_by_this_program_says_so(machine: Machine, tmp_path: Path) -> None:
    """It is not taken for ActivityWatch's server, whose API it answers."""
    with machine.server() as server:
        port = server.url.rpartition(":")[2]
        done = machine.run(
            "aw-server", "--port", port, "--data-dir", tmp_path / "another"
        )

    assert done.status == 1
    assert "an aw-server of this program already listens there" in done.err
    assert "ActivityWatch" not in done.err
    assert "awvault status" in done.err


def test_a_port_held_by_activitywatch_says_so(machine: Machine) -> None:
    """A server that answers as ActivityWatch's does is recognised by that."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        def answer() -> None:
            # First whoever asks whether something listens, then the question.
            while True:
                connection, _ = other.accept()
                with connection:
                    if connection.recv(4096):
                        connection.sendall(
                            b"HTTP/1.0 200 OK\r\nServer: Werkzeug\r\n\r\n"
                            b'{"version": "v0.13.2"}'
                        )
                        return

        answering = threading.Thread(target=answer)
        answering.start()
        done = machine.run("aw-server", "--port", str(port))
        answering.join()

    assert done.status == 1
    assert "answers as an ActivityWatch server v0.13.2" in done.err
    assert "stop that server first" in done.err


def test_a_data_directory_that_looks_mistyped_is_refused(machine: Machine) -> None:
    """Its parent is missing, so it is not made."""
    done = machine.run(
        "aw-server", "--port", "0", "--data-dir", machine.home / "typo" / "vault"
    )

    assert done.status == 1
    assert "does not exist" in done.err
    assert not (machine.home / "typo").exists()


def test_only_loopback_addresses_are_listened_on(machine: Machine) -> None:
    """The gateway shows plain text, so it is for this machine alone."""
    done = machine.run("aw-server", "--host", "0.0.0.0", "--port", "0")  # noqa: S104

    assert done.status == 1
    assert "loopback" in done.err


def test_testing_has_a_directory_and_a_port_of_its_own(machine: Machine) -> None:
    """And the file of the real server does not send it elsewhere."""
    del machine.environment["AWVAULT_DATA_DIR"]
    machine.config_dir.mkdir(parents=True)
    (machine.config_dir / "config.toml").write_text(
        f'data_dir = "{machine.home / "real"}"\nport = 1\n'
    )
    with machine.server("--testing") as server:
        assert server.request("/api/0/info")["testing"] is True
        status = machine.ok("status", "--testing", "--json").json()

    assert status["data_dir"] == str(machine.home / "data" / "awvault-testing")
    assert not (machine.home / "real").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_time_and_loses_nothing(
    machine: Machine, number: int
) -> None:
    """Exit 0 within five seconds; lock and control file are free again."""
    with machine.server() as server:
        server.request("/api/0/activity/test", {"note": "kept"})
        began = time.monotonic()
        server.signal(number)
        assert server.process.wait(DEADLINE_SECONDS) == 0
        assert time.monotonic() - began < 5
    assert not (machine.data_dir / "control.json").exists()
    (event,) = machine.ok("events", "activity_test", "--json").json()
    assert event["data"] == {"note": "kept"}


def test_after_sigkill_the_stale_control_file_does_no_harm(machine: Machine) -> None:
    """Commands take the lock themselves, and the server starts again."""
    with machine.server() as server:
        server.request("/api/0/activity/test", {"note": "kept"})
        stale = find_control(machine.data_dir)
        server.signal(signal.SIGKILL)
        server.process.wait(DEADLINE_SECONDS)
    assert find_control(machine.data_dir) == stale

    assert machine.ok("status", "--json").json()["server"] is None
    with machine.server():
        assert find_control(machine.data_dir)["pid"] != stale["pid"]
        (event,) = machine.ok("events", "activity_test", "--json").json()
    assert event["data"] == {"note": "kept"}


def test_the_ready_line_is_all_that_standard_output_gets(machine: Machine) -> None:
    """And standard error is JSON, line by line, where no person watches."""
    process = machine.start("--port", "0", "--log-level", "debug")
    assert process.stdout is not None
    with process.stdout as out:
        line = out.readline()
        process.terminate()
        rest = out.read()
    assert process.wait(DEADLINE_SECONDS) == 0
    assert re.fullmatch(r"aw-server is ready on http://127\.0\.0\.1:\d+\n", line)
    assert rest == ""
    for logged in machine.log().splitlines():
        assert logged.startswith("aw-server: ") or json.loads(logged)["message"]
