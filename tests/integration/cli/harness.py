"""Runs the two commands as a person or a service manager would."""

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

PASSPHRASE: Final = "plum tundra violin"
DEADLINE_SECONDS: Final = 30.0


def find_control(directory: Path) -> dict[str, Any]:
    """Return what control.json of a data directory says."""
    found = json.loads((directory / "control.json").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Server:
    """An aw-server that said that it is ready."""

    process: subprocess.Popen[str]
    url: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def request(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - our own server
            self.url + path,
            data=data,
            headers={"Content-Type": "application/json", **self.headers},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return json.loads(response.read())

    def delete(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, method="DELETE")  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return json.loads(response.read())

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE_SECONDS)


class Machine:
    """A home directory of its own, and the commands that run in it.

    Nobody can be asked here: the commands have no terminal. `shipped` runs the
    installed commands; otherwise they run with the cheap Argon2 profile.
    """

    def __init__(self, home: Path, *, shipped: bool = False) -> None:
        self.home = home
        self.data_dir = home / "vault"
        self.shipped = shipped
        self.environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "AWVAULT_DATA_DIR": str(self.data_dir),
            "PYTHONWARNINGS": "error",
        }

    @property
    def config_dir(self) -> Path:
        return self.home / "config" / "awvault"

    @property
    def generated_files(self) -> list[Path]:
        return sorted(self.config_dir.glob("passphrase-*"))

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        given = [str(argument) for argument in arguments]
        if self.shipped:
            return [str(Path(sys.executable).parent / program), *given]
        return [sys.executable, "-m", "awvault.testing", program, *given]

    def run(
        self,
        program: str,
        *arguments: str | Path,
        stdin: str | bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        done = subprocess.run(
            self.command(program, *arguments),
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=self.environment | dict(environment or {}),
            start_new_session=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        return Done(
            done.returncode,
            done.stdout.decode("utf-8", "replace"),
            done.stderr.decode("utf-8", "replace"),
        )

    def awvault(self, *arguments: str | Path, stdin: str | bytes = b"") -> Done:
        return self.run("awvault", *arguments, stdin=stdin)

    def ok(self, *arguments: str | Path, stdin: str | bytes = b"") -> Done:
        """Run `awvault`, and insist that it works."""
        done = self.awvault(*arguments, stdin=stdin)
        assert done.status == 0, done.err
        return done

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start aw-server and return at once."""
        with (self.home / "server.log").open("a") as log:
            return subprocess.Popen(
                self.command("aw-server", *arguments),
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                text=True,
            )

    def log(self) -> str:
        return (self.home / "server.log").read_text("utf-8")

    @contextlib.contextmanager
    def server(self, *arguments: str | Path) -> Iterator[Server]:
        """Run aw-server on a free port for as long as the context lasts."""
        process = self.start("--port", "0", *arguments)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("aw-server is ready on http://"), self.log()
            yield Server(process, line.split()[4])
        finally:
            # A stopped process does not take SIGTERM.
            process.kill()
            process.wait(DEADLINE_SECONDS)
            if process.stdout is not None:
                process.stdout.close()


class Dialog:
    """A command on a terminal, and the person in front of it."""

    def __init__(self, machine: Machine, program: str, *arguments: str | Path) -> None:
        self._master, slave = pty.openpty()

        def take_terminal() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            machine.command(program, *arguments),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=machine.environment | {"TERM": "dumb"},
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509 - it must be in the child
        )
        os.close(slave)
        self.shown = ""

    def expect(self, text: str) -> None:
        """Wait until `text` is shown, after whatever was expected before."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if not self._read():
                assert text in self.shown, self.shown
        _, _, self.shown = self.shown.partition(text)

    def type(self, line: str) -> None:
        os.write(self._master, line.encode() + b"\n")

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def end(self) -> int:
        """Return the exit status, and keep all that is left in `shown`."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline and self._read():
            pass
        status = self.process.wait(DEADLINE_SECONDS)
        os.close(self._master)
        return status

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 0.2)
        if not ready:
            return self.process.poll() is None
        try:
            part = os.read(self._master, 4096)
        except OSError:  # the other end is closed
            return False
        self.shown += part.decode("utf-8", "replace")
        return bool(part)
