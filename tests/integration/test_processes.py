"""One process per data directory, and who it is."""

import json
import multiprocessing
import os
import signal
import socket
import stat
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from awvault.errors import VaultLockedError
from awvault.ports import (
    PortBusyError,
    bind_socket,
    find_holder,
    is_listening,
    start_listening,
)
from awvault.processes import ControlToken, DataDirectory, DirectoryUnusableError

SPAWN = multiprocessing.get_context("spawn")


def hold(path: Path, channel: Connection) -> None:
    """Hold a directory until told to go on, as another process."""
    with DataDirectory(path).acquire():
        channel.send(os.getpid())
        channel.recv()
    channel.send("released")


def test_the_lock_is_for_one(tmp_path: Path) -> None:
    """The second is refused, with the pid and start time of the first."""
    directory = DataDirectory(tmp_path)
    here, there = SPAWN.Pipe()
    other = SPAWN.Process(target=hold, args=(tmp_path, there))
    other.start()
    pid = here.recv()

    with pytest.raises(VaultLockedError) as caught, directory.acquire():
        pytest.fail("two processes hold one directory")

    assert caught.value.pid == pid
    assert caught.value.started is not None
    assert str(pid) in str(caught.value)
    here.send("go on")
    assert here.recv() == "released"
    other.join()
    with directory.acquire():
        holder = directory.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
    assert directory.holder() is None


def test_sigkill_frees_the_lock(tmp_path: Path) -> None:
    """What the dead one left in control.json is replaced."""
    directory = DataDirectory(tmp_path)
    here, there = SPAWN.Pipe()
    other = SPAWN.Process(target=hold, args=(tmp_path, there))
    other.start()
    pid = here.recv()
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    stale = directory.holder()
    assert stale is not None
    assert stale.pid == pid

    with directory.acquire():
        now = directory.holder()

    assert now is not None
    assert now.pid == os.getpid()


def test_the_files_are_for_their_owner(tmp_path: Path) -> None:
    """control.json holds a token, and nobody else may read it."""
    directory = DataDirectory(tmp_path)
    token = ControlToken.generate()
    before = os.umask(0)
    try:
        with directory.acquire() as held:
            held.publish(port=1234, token=token)
            for file in (directory.lock_file, directory.control_file):
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
            holder = directory.holder()
    finally:
        os.umask(before)
    assert holder is not None
    assert holder.port == 1234
    assert holder.token is not None
    assert holder.token.reveal() == token.reveal()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"pid":1}',
        b'{"pid":1,"started":"2026-01-01T00:00:00Z","port":1,"token":"short"}',
        b'{"pid":1,"started":"2026-01-01T00:00:00Z","further":1}',
        b" " * 5000,
    ],
)
def test_a_control_file_that_is_none_counts_as_none(
    tmp_path: Path, content: bytes
) -> None:
    """Half a file, another version's, or somebody's joke is not believed."""
    directory = DataDirectory(tmp_path)
    directory.control_file.write_bytes(content)

    assert directory.holder() is None
    with directory.acquire():
        assert json.loads(directory.control_file.read_bytes())["pid"] == os.getpid()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_control_file_that_others_could_have_written_counts_as_none(
    tmp_path: Path,
) -> None:
    """What is sent to the holder is plaintext: nobody else says where it goes."""
    directory = DataDirectory(tmp_path)
    with directory.acquire():
        assert directory.holder() is not None
        directory.control_file.chmod(0o622)
        assert directory.holder() is None
        directory.control_file.chmod(0o600)

        aside = directory.control_file.rename(tmp_path / "aside")
        directory.control_file.symlink_to(aside)
        assert directory.holder() is None


def test_a_leftover_of_a_killed_writer_is_no_obstacle(tmp_path: Path) -> None:
    """The file written aside is made anew."""
    directory = DataDirectory(tmp_path)
    (tmp_path / "control.json.new").write_text("left behind")

    with directory.acquire():
        assert directory.holder() is not None

    assert sorted(p.name for p in tmp_path.iterdir()) == ["vault.lock"]


def test_a_directory_that_is_not_there_cannot_be_held(tmp_path: Path) -> None:
    """The error names the file; nothing is made."""
    directory = DataDirectory(tmp_path / "missing")

    with pytest.raises(DirectoryUnusableError, match=r"vault\.lock"):
        directory.acquire().__enter__()

    assert not (tmp_path / "missing").exists()


def test_a_token_does_not_print() -> None:
    """Neither the token nor what holds it shows its digits."""
    token = ControlToken.generate()

    assert token.reveal() not in repr(token)
    assert token.matches(token.reveal())
    for other in ("", "é" * 64, token.reveal()[:-1], ControlToken.generate().reveal()):
        assert not token.matches(other)


def test_a_bound_port_is_taken_and_not_yet_listened_on() -> None:
    """Nobody connects before `start_listening`, and nobody else binds."""
    listener = bind_socket("127.0.0.1", 0)
    with listener:
        port = listener.getsockname()[1]
        assert not is_listening("127.0.0.1", port)
        start_listening(listener, "127.0.0.1", port)
        assert is_listening("127.0.0.1", port)
        with pytest.raises(PortBusyError) as caught:
            bind_socket("127.0.0.1", port)
    assert caught.value.holder.pid == os.getpid()
    assert str(port) in str(caught.value)


def test_the_holder_of_a_port_is_described_in_printing_characters() -> None:
    """What a foreign server answers goes to a terminal: it is cut and cleaned."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        body = json.dumps({"version": "v1\x1b[2J" + "x" * 100}).encode()
        child = os.fork()
        if child == 0:
            for _ in range(1):
                connection, _ = server.accept()
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
                connection.close()
            os._exit(0)
        holder = find_holder("127.0.0.1", port)
        os.waitpid(child, 0)

    assert holder.api_version is not None
    assert holder.api_version.startswith("v12J")
    assert len(holder.api_version) == 40


def test_a_server_that_is_silent_is_not_waited_for_long() -> None:
    """It is named by its pid all the same."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        holder = find_holder("127.0.0.1", server.getsockname()[1])

    assert (holder.pid, holder.api_version) == (os.getpid(), None)
