"""Real processes for tests: `aw-server` and `awvault`, started, killed, started again.

A `Home` is one data directory with its configuration directory. `Root.SHIPPED`
runs the installed commands, with the full Argon2id profile (about a second for
each start); `Root.TESTING` runs the same programs through `awvault.testing`, and
so does `Root.FORKED`, in a few milliseconds.
"""

import atexit
import contextlib
import enum
import functools
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.helpers.spawner import Forked, Spawner

READY_SECONDS_MAX: Final = 60.0
EXIT_SECONDS_MAX: Final = 30.0
COMMAND_SECONDS_MAX: Final = 60.0
READY: Final = b"aw-server is ready on http://"

PASSPHRASE: Final = "correct horse battery staple"
KILL_VARIABLE: Final = "AWVAULT_TESTING_KILL_AT"
CLOCK_VARIABLE: Final = "AWVAULT_TESTING_CLOCK_HOURS"

# What a process gets from the environment of the tests; the rest is the home's.
_KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT")


class Root(enum.Enum):
    """Which composition root the programs start from."""

    SHIPPED = "shipped"
    TESTING = "testing"
    FORKED = "forked"
    """The testing root in a process that is forked and not started: for tests
    that start it hundreds of times."""

    def program(self, name: str) -> list[str]:
        """Return how to start `aw-server` or `awvault`."""
        if self is Root.SHIPPED:
            return [str(Path(sys.executable).with_name(name))]
        return [sys.executable, "-m", "awvault.testing", name]


class ServerDiedError(Exception):
    """The server ended before it was ready."""


@dataclass(slots=True)
class Server:
    """One running `aw-server`."""

    process: subprocess.Popen[bytes] | Forked
    port: int
    stdout: bytes
    """What it printed until it was ready; all of it, once it has ended."""
    stderr_file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stderr(self) -> str:
        return self.stderr_file.read_text(errors="replace")

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone. It may be gone already."""
        self.process.kill()
        self.wait()

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; return the exit status and how long the process took, in s."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.wait(), time.monotonic() - begun

    def wait(self) -> int:
        """Return the exit status, negative for a signal."""
        status = self.process.wait(EXIT_SECONDS_MAX)
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.stdout += self.process.stdout.read()
            self.process.stdout.close()
        return status


@dataclass(slots=True)
class Finished:
    """A command that has ended."""

    status: int
    stdout: bytes
    stderr: bytes


@dataclass(slots=True)
class Home:
    """One vault's directories, and the programs that work on them."""

    directory: Path
    root: Root = Root.TESTING
    data_dir: Path = field(init=False)
    config_dir: Path = field(init=False)
    logs: Path = field(init=False)
    passphrase: str | None = PASSPHRASE
    """Kept in a file in `directory`; None: the programs find their own."""
    log_level: str = "info"
    variables: dict[str, str] = field(default_factory=dict)
    """What else every program here gets in its environment."""
    _servers: list[Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data_dir = self.directory / "data"
        self.config_dir = self.directory / "config"
        self.logs = self.directory / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.temporary.mkdir(exist_ok=True)
        if self.passphrase is not None:
            self.passphrase_file.touch(mode=0o600)
            self.passphrase_file.write_text(self.passphrase)

    @property
    def passphrase_file(self) -> Path:
        return self.directory / "passphrase"

    @property
    def temporary(self) -> Path:
        """Where the programs' temporary files would lie."""
        return self.directory / "temporary"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {k: os.environ[k] for k in _KEPT_VARIABLES if k in os.environ}
        named = {
            "HOME": str(self.directory),
            "TMPDIR": str(self.temporary),
            "AWVAULT_CONFIG_DIR": str(self.config_dir),
            "AWVAULT_DATA_DIR": str(self.data_dir),
            "AWVAULT_LOG_LEVEL": self.log_level,
            "PYTHONUNBUFFERED": "1",
            # Threads of a library that is not used for linear algebra.
            "OPENBLAS_NUM_THREADS": "1",
        }
        if self.passphrase is not None:
            named["AWVAULT_PASSPHRASE_FILE"] = str(self.passphrase_file)
        return kept | named | self.variables | dict(more or {})

    def serve(
        self, *arguments: str, kill_at: str | None = None, file_bytes_max: int = 0
    ) -> Server:
        """Start `aw-server` on a free port and return once it is ready.

        `kill_at` is `step:count`: the process kills itself there (only the
        testing root). `file_bytes_max` limits the size of the files it writes.
        Raises `ServerDiedError`, with the exit status and what it said.
        """
        variables = {} if kill_at is None else {KILL_VARIABLE: kill_at}
        stderr_file = self.logs / f"server-{len(self._servers)}.err"
        environment = self.environment(variables)
        given = ["--port", "0", *arguments]
        with stderr_file.open("wb") as stderr:
            process = (
                self._fork(["aw-server", *given], environment, stderr.fileno())
                if self.root is Root.FORKED
                else subprocess.Popen(
                    [*self.root.program("aw-server"), *given],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=environment,
                    cwd=self.directory,
                )
            )
        server = Server(process, 0, b"", stderr_file)
        self._servers.append(server)
        try:
            if file_bytes_max:
                limit_file_size(process.pid, file_bytes_max)
            line = _ready_line(server)
        except BaseException:
            server.kill()
            raise
        server.port = int(line.rsplit(b":", 1)[1])
        return server

    def _fork(
        self, arguments: list[str], environment: dict[str, str], stderr: int
    ) -> Forked:
        reading, writing = os.pipe()
        with (
            Path(os.devnull).open("rb") as stdin,
            os.fdopen(writing, "wb") as stdout,
        ):
            return spawner().spawn(
                arguments,
                environment=environment,
                directory=self.directory,
                streams=(stdin.fileno(), stdout.fileno(), stderr),
                stdout=os.fdopen(reading, "rb", buffering=0),
            )

    def run(self, *arguments: str, stdin: bytes = b"") -> Finished:
        """Run one `awvault` command to its end."""
        if self.root is Root.FORKED:
            return self._run_forked(arguments, stdin)
        done = subprocess.run(
            [*self.root.program("awvault"), *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment(),
            cwd=self.directory,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def _run_forked(self, arguments: Sequence[str], stdin: bytes) -> Finished:
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(stdin)
            given.seek(0)
            status = (
                spawner()
                .spawn(
                    ["awvault", *arguments],
                    environment=self.environment(),
                    directory=self.directory,
                    streams=(given.fileno(), out.fileno(), err.fileno()),
                )
                .wait(COMMAND_SECONDS_MAX)
            )
            out.seek(0)
            err.seek(0)
            return Finished(status, out.read(), err.read())

    def end(self) -> None:
        """Kill whatever still runs."""
        for server in self._servers:
            server.kill()

    @property
    def servers(self) -> Sequence[Server]:
        """Every server that was started here, the ended ones too."""
        return self._servers


@functools.cache
def spawner() -> Spawner:
    """Return the one spawner of this test process; it ends with it."""
    made = Spawner()
    atexit.register(made.close)
    return made


@contextlib.contextmanager
def home(
    directory: Path,
    *,
    root: Root = Root.TESTING,
    passphrase: str | None = PASSPHRASE,
    log_level: str = "info",
) -> Iterator[Home]:
    """Give a home whose processes end with it."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Home(directory, root=root, passphrase=passphrase, log_level=log_level)
    try:
        yield made
    finally:
        made.end()


def limit_file_size(pid: int, file_bytes_max: int) -> None:
    """Let a process write no file larger than this; -1: as large as it likes."""
    import resource

    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    soft = hard if file_bytes_max < 0 else file_bytes_max
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def _ready_line(server: Server) -> bytes:
    """Return the line that says where the server listens."""
    pipe = server.process.stdout
    assert pipe is not None
    give_up = time.monotonic() + READY_SECONDS_MAX
    while READY not in server.stdout or not server.stdout.endswith(b"\n"):
        left = give_up - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise ServerDiedError(f"not ready within {READY_SECONDS_MAX} s")
        chunk = os.read(pipe.fileno(), 65_536)
        if not chunk:
            status = server.wait()
            raise ServerDiedError(f"exit status {status}: {server.stderr}")
        server.stdout += chunk
    return next(line for line in server.stdout.splitlines() if line.startswith(READY))
