"""A restart under traffic: what was answered is there, and little is refused."""

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.processes import Home, Root, home
from tests.helpers.watchers import (
    ANSWER_SECONDS_MAX,
    BUCKET,
    heartbeat,
    make_bucket,
    stored,
    traffic,
)

RESTARTS = 3


def test_what_was_answered_before_a_restart_is_there_after_it(tmp_path: Path) -> None:
    """SIGTERM under traffic: no error is answered, and nothing answered is lost."""
    with home(tmp_path, root=Root.FORKED) as there:
        server = there.serve()
        make_bucket(server.port)
        with traffic(server.port) as sent:
            for _ in range(RESTARTS):
                sent.wait_for(50)
                status, _ = server.terminate()
                assert status == 0, server.stderr
                server = there.serve("--port", str(server.port))
            sent.wait_for(50)

        assert sent.errors == []
        assert sent.answered <= stored(server.port)
        # Whoever did not connect in time is refused, as by any server that is down.
        assert len(sent.answered) >= 200


class Manager:
    """What systemd does for a socket unit: it listens, and hands the socket over."""

    def __init__(self, there: Home) -> None:
        self.there = there
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(512)
        self.port: int = self.listener.getsockname()[1]

    @contextmanager
    def running(
        self, *arguments: str, root: Root = Root.TESTING
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run `aw-server` with the socket as descriptor 3, as sd_listen_fds(3) says."""
        # The shell knows the pid that the program will have.
        script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        with subprocess.Popen(
            ["sh", "-c", script, "sh", *root.program("aw-server"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.there.environment(),
            pass_fds=(3,),
            preexec_fn=lambda: os.dup2(self.listener.fileno(), 3),  # noqa: PLW1509 - it must be in the child
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def wait_until_ready(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    if not line:
        assert process.stderr is not None
        raise AssertionError(process.stderr.read().decode())
    return line


def end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    return process.wait(ANSWER_SECONDS_MAX)


def test_with_a_socket_of_the_service_manager_no_connection_is_refused(
    tmp_path: Path,
) -> None:
    """Through restarts under traffic, every heartbeat is answered and stored."""
    with home(tmp_path) as there:
        manager = Manager(there)
        with manager.listener:
            with manager.running() as process:
                ready = wait_until_ready(process)
                assert ready.endswith(f"http://127.0.0.1:{manager.port}\n")
                make_bucket(manager.port)
                assert end(process) == 0
            with traffic(manager.port) as sent:
                for _ in range(RESTARTS):
                    # Between two runs connections wait in the kernel.
                    with manager.running() as process:
                        sent.wait_for(50)
                        assert end(process) == 0
                sent.stop()
                # The last ones wait too, for a run that comes later.
                with manager.running() as process:
                    wait_until_ready(process)
                    sent.join()
                    there_now = stored(manager.port)

        assert sent.refused == []
        assert sent.errors == []
        assert sent.answered == there_now


def test_a_socket_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    """The gateway shows plain text: what systemd is told may not change that."""
    with home(tmp_path) as there:
        manager = Manager(there)
        manager.listener.close()
        manager.listener = socket.create_server(("0.0.0.0", 0))  # noqa: S104 - what is refused
        with manager.listener, manager.running() as process:
            out, err = process.communicate(timeout=ANSWER_SECONDS_MAX)

        assert (process.returncode, out) == (1, b"")
        assert b"listens on 0.0.0.0, and not on a loopback address" in err
        assert b"hint: a unit of type .socket" in err


def test_while_it_unlocks_it_takes_heartbeats_and_answers_them_at_a_stop(
    tmp_path: Path,
) -> None:
    """With the Argon2id profile that people have, which takes a second or more."""
    with home(tmp_path, root=Root.SHIPPED) as there:
        manager = Manager(there)
        # The first start makes the vault; what connects meanwhile is held.
        with manager.listener, manager.running(root=Root.SHIPPED) as process:
            make_bucket(manager.port)
            assert end(process) == 0
        port = manager.port

        with subprocess.Popen(
            [*Root.SHIPPED.program("aw-server"), "--port", str(port)],
            stdout=subprocess.PIPE,
            env=there.environment(),
        ) as process:
            try:
                assert process.stdout is not None
                wait_for_listener(port)
                # Argon2 has begun; the clock of a busy machine must not decide.
                process.send_signal(signal.SIGSTOP)
                assert not select.select([process.stdout], [], [], 0)[0], "too late"
                answers: list[tuple[int, bytes]] = []
                sending = threading.Thread(
                    target=lambda: answers.append(heartbeat(port, 7))
                )
                sending.start()
                wait_for_connection(port)
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)
                status = process.wait(ANSWER_SECONDS_MAX)
                sending.join()
            finally:
                process.kill()

        assert status == 0
        assert [answer[0] for answer in answers] == [200]
        kept = there.run("events", BUCKET, "--json").stdout
        assert b'"n":7' in kept.replace(b" ", b"")


def wait_for_listener(port: int) -> None:
    """Return once somebody can connect."""
    give_up = time.monotonic() + ANSWER_SECONDS_MAX
    while time.monotonic() < give_up:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            time.sleep(0.005)
        else:
            return
    raise AssertionError("nobody listens")


def wait_for_connection(port: int) -> None:
    """Return once a connection to the port is established."""
    give_up = time.monotonic() + ANSWER_SECONDS_MAX
    wanted = f":{port:04X} 01"
    while time.monotonic() < give_up:
        lines = Path("/proc/net/tcp").read_text().splitlines()
        if any(wanted in " ".join(line.split()[2:4]) for line in lines[1:]):
            return
        time.sleep(0.005)
    raise AssertionError("nobody connected")
