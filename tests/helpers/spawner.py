"""Starts the testing root in a few milliseconds, by forking what has imported it.

Most of a start is Python importing modules. Hundreds of kills would spend their
time there, so one process imports everything, once, and forks for each start.
The fork then is a process like any other: it has its own memory, runs
`awvault.testing.main`, and dies alone.
"""

import array
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NoReturn

MESSAGE_BYTES_MAX: Final = 64 * 1024
STREAMS: Final = 3
"""Standard input, output and error travel with a request."""

POLL_SECONDS: Final = 0.005

IMPORTED: Final = (
    "uvloop",
    "awserver.cli",
    "awvault.cli.checking",
    "awvault.cli.output",
    "awvault.cli.program",
    "awvault.localhost",
    "awvault.operations",
    "awvault.testing",
)


class Forked:
    """One forked process, with what tests use of `subprocess.Popen`."""

    def __init__(self, spawner: "Spawner", pid: int, stdout: IO[bytes] | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._spawner = spawner

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._spawner.status(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        give_up = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if give_up is not None and time.monotonic() > give_up:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(POLL_SECONDS)
        return status

    def send_signal(self, number: int) -> None:
        # Until its status was asked for, the number belongs to it, dead or not.
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Spawner:
    """The process that has imported everything, and forks when it is asked to."""

    def __init__(self) -> None:
        # One question at a time, whichever threads ask.
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )

    def close(self) -> None:
        """End it; what it forked goes on."""
        self._socket.close()
        self._process.wait()

    def spawn(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        streams: tuple[int, int, int],
        stdout: IO[bytes] | None = None,
    ) -> Forked:
        """Start the testing root with `arguments`."""
        request = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "directory": str(directory),
        }
        packed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))]
        with self._lock:
            self._socket.sendmsg([json.dumps(request).encode()], packed)
            pid = int(self._answer())
        return Forked(self, pid, stdout)

    def status(self, pid: int) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        with self._lock:
            self._socket.send(json.dumps({"pid": pid}).encode())
            answer: int | None = self._answer()
        return answer

    def _answer(self) -> Any:
        received = self._socket.recv(MESSAGE_BYTES_MAX)
        assert received, "the spawner has ended"
        return json.loads(received)


def serve(channel: socket.socket) -> None:
    """Fork and report until the other side is gone."""
    while True:
        message, passed, _, _ = socket.recv_fds(channel, MESSAGE_BYTES_MAX, STREAMS)
        if not message:
            return
        request = json.loads(message)
        if "pid" in request:
            pid, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                channel.close()
                _become(request, passed)
            for descriptor in passed:
                os.close(descriptor)
        channel.send(json.dumps(answer).encode())


def _become(request: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    """Be the program that was asked for, from here to its end."""
    from awvault.testing import main

    status = 1
    try:
        for target, descriptor in enumerate(streams):
            os.dup2(descriptor, target)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["directory"])
        status = main(request["arguments"])
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    # Some of it is imported by a start only when it is needed: so not above.
    for name in IMPORTED:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
