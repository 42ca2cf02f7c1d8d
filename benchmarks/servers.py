"""Starting what is measured, each in a directory of its own, and ending it again.

Only processes started here are ended. Nothing listens beyond loopback.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import apsw

from benchmarks.client import Address, fetch, get

ROOT: Final = Path(__file__).resolve().parent.parent
BIN: Final = Path(sys.executable).parent
START_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 20.0
POLL_SECONDS: Final = 0.02

PASSPHRASE: Final = "only for measuring, protects nothing"  # noqa: S105


class StartError(Exception):
    """A server could not be started; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of one process, in MB of 1,000,000 bytes."""

    now: float
    peak: float


@dataclass(slots=True)
class Server:
    """One server, of which only the address is known."""

    name: str
    address: Address

    def memory(self) -> Memory | None:
        """Return the memory of the process; None: it cannot be known."""
        return None

    def stop(self) -> None:
        """End the process, if it was started here."""


@dataclass(slots=True)
class StartedServer(Server):
    """A server that runs as a process of ours."""

    home: Path
    process: subprocess.Popen[str]
    ready_seconds: float = field(default=0.0)

    def memory(self) -> Memory | None:
        """Return the memory of the process; None where /proc does not tell."""
        return process_memory(self.process.pid)

    def stop(self) -> None:
        """End the process, and wait for it."""
        end(self.process)


def process_memory(pid: int) -> Memory | None:
    """Return resident memory and its peak; None where /proc does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)

    def megabytes(key: str) -> float:
        return int(fields[key].split()[0]) * 1024 / 1e6

    return Memory(now=megabytes("VmRSS"), peak=megabytes("VmHWM"))


def own_memory() -> Memory | None:
    """Return the memory of this process."""
    return process_memory(os.getpid())


def reset_own_peak() -> None:
    """Let the peak of this process begin anew, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def process_seconds(pid: int) -> float:
    """Return what a process has had of the processors; 0 where /proc does not tell."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return 0.0
    # The name, in parentheses, may hold anything; user and system time follow it.
    fields = line.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def end(process: subprocess.Popen[Any]) -> None:
    """End a process, by force if it does not go."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


# -- aw-server ---------------------------------------------------------------


def start_ours(home: Path) -> StartedServer:
    """Start this project's `aw-server` with a vault in `home`."""
    passphrase_file(home)
    return _start_and_read_url(
        "ours",
        [
            str(BIN / "aw-server"),
            *("--port", "0", "--log-level", "warning"),
            *our_options(home),
        ],
        home,
    )


def passphrase_file(home: Path) -> Path:
    """Return the file with the passphrase of the vault in `home`; make it first."""
    path = home / "passphrase"
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(PASSPHRASE + "\n")
    return path


def data_dir(home: Path) -> Path:
    """Return where our server keeps its vault."""
    return home / "vault"


def our_options(home: Path) -> list[str]:
    """Return the options that name the vault in `home`."""
    return [
        *("--data-dir", str(data_dir(home))),
        *("--passphrase-file", str(home / "passphrase")),
    ]


def awvault(home: Path, *arguments: str, **how: Any) -> subprocess.Popen[bytes]:
    """Start one `awvault` command for the vault in `home`."""
    return subprocess.Popen(
        [str(BIN / "awvault"), *arguments, *our_options(home)],
        env=_environment(home),
        cwd=ROOT,
        **how,
    )


def awvault_json(home: Path, *arguments: str) -> Any:
    """Return what one `awvault` command prints with `--json`."""
    with awvault(home, *arguments, "--json", stdout=subprocess.PIPE) as process:
        output, _ = process.communicate(timeout=600)
    if process.returncode != 0:
        raise StartError(f"awvault {arguments[0]} ended with {process.returncode}")
    return json.loads(output)


def sealed_bytes(home: Path) -> tuple[int, int]:
    """Return the bytes of all records, and how many events they hold.

    The server must have ended. The bytes are headers, signatures and bodies.
    """
    status = awvault_json(home, "status")
    (path,) = data_dir(home).glob("*.db")
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        ((size,),) = connection.execute(
            "SELECT (SELECT total(length(header) + length(signature)) FROM records)"
            " + (SELECT total(length(body)) FROM bodies)"
        )
    finally:
        connection.close()
    assert isinstance(size, float)
    return int(size), status["events"] - status["journal_events"]


# -- ActivityWatch's server --------------------------------------------------


def activitywatch_python() -> Path | None:
    """Return the Python that has ActivityWatch's server; None: it is not installed."""
    path = Path(
        os.environ.get("ACTIVITYWATCH_PYTHON")
        or ROOT / ".venv-activitywatch" / "bin" / "python"
    )
    return path if path.exists() else None


def start_activitywatch(
    home: Path, *, program: Sequence[str] = ("-m", "aw_server")
) -> StartedServer:
    """Start ActivityWatch's `aw-server` as a user would: not in its testing mode.

    Testing mode runs Flask's debugger and prints JSON with indentation, so it
    is slower. `program` is what Python is told to run.
    """
    python = activitywatch_python()
    if python is None:
        raise StartError("ActivityWatch's server is missing: make env-activitywatch")
    port = free_port()
    process, log = _start(
        [str(python), *program, "--host", "127.0.0.1", "--port", str(port)],
        home,
    )
    server = StartedServer("activitywatch", ("127.0.0.1", port), home, process)
    began = time.perf_counter()
    while True:
        try:
            fetch(server.address, get(server.address, "/api/0/info"))
        except ConnectionError:
            if process.poll() is not None or _late(began):
                server.stop()
                raise StartError(_tail(log)) from None
            time.sleep(POLL_SECONDS)
        else:
            server.ready_seconds = time.perf_counter() - began
            return server


def activitywatch_database(home: Path) -> Path:
    """Return the one database file of an ActivityWatch server that has ended.

    What is still in its write-ahead log is moved into the file first.
    """
    (path,) = (home / ".local/share/activitywatch/aw-server").glob("*.db")
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


# -- a host ------------------------------------------------------------------


def host_database(home: Path) -> Path:
    """Return where a host in `home` has its database; make the directory first."""
    directory = home / "host"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory / "host.db"


def start_host(home: Path, *options: str) -> StartedServer:
    """Start `aw-server host` over the database in `home`, which may be there.

    This machine counts as its proxy, so that no limit of one address applies.
    """
    return _start_and_read_url(
        "ours",
        [
            *(str(BIN / "aw-server"), "host", "--listen", "127.0.0.1:0"),
            *("--data-dir", str(host_database(home).parent)),
            *("--trusted-proxy", "127.0.0.1", "--log-level", "warning"),
            *options,
        ],
        home,
    )


def start_host_without_storage(home: Path) -> StartedServer:
    """Start the same over that database, but let it keep nothing."""
    return _start_and_read_url(
        "no storage",
        [
            *(sys.executable, "-m", "benchmarks.host_limits"),
            *("--no-storage", str(host_database(home).parent)),
        ],
        home,
    )


def start_aiohttp_echo(home: Path) -> StartedServer:
    """Start the server that answers what it is sent."""
    return _start_and_read_url(
        "aiohttp echo",
        [sys.executable, "-m", "benchmarks.host_limits", "--echo"],
        home,
    )


# -- limits ------------------------------------------------------------------


def start_bare(home: Path) -> StartedServer:
    """Start the bare endpoint: one encryption and one durable commit."""
    return _start_and_read_url(
        "bare endpoint",
        [
            *(sys.executable, "-m", "benchmarks.bare_endpoint"),
            *("--database", str(home / "bare.db")),
        ],
        home,
    )


def start_echo(home: Path) -> StartedServer:
    """Start the server that only answers: the limit of the client."""
    return _start_and_read_url(
        "no work",
        [sys.executable, "-m", "benchmarks.bare_endpoint", "--echo"],
        home,
    )


# -- a reader ----------------------------------------------------------------


@contextlib.contextmanager
def asking(server: Server, request: bytes) -> Iterator[None]:
    """Let a process of its own send the server a request again and again."""
    host, port = server.address
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.client", host, str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(request)
        process.stdin.close()
        yield
        assert process.poll() is None, "the reader has ended"
    finally:
        end(process)


# -- processes ---------------------------------------------------------------


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert isinstance(port, int)
        return port


def _environment(home: Path) -> dict[str, str]:
    """Return an environment in which every program keeps its files in `home`."""
    kept = {k: os.environ[k] for k in ("PATH", "LANG", "TZ") if k in os.environ}
    return kept | {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "XDG_STATE_HOME": str(home / ".local/state"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_CACHE_HOME": str(home / ".cache"),
    }


def _start(
    command: Sequence[str], home: Path, **how: Any
) -> tuple[subprocess.Popen[str], Path]:
    log = home / "log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            env=_environment(home),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stderr=file,
            text=True,
            **({"stdout": file} | how),
        )
    return process, log


def _start_and_read_url(name: str, command: Sequence[str], home: Path) -> StartedServer:
    """Start a program that prints `... ready on URL` when it is ready."""
    began = time.perf_counter()
    process, log = _start(command, home, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    ready_seconds = time.perf_counter() - began
    if " ready on http://" not in f" {line}":
        end(process)
        raise StartError(f"{name} did not start: {line}{_tail(log)}")
    url = urlsplit(line.split()[-1])
    assert url.hostname is not None
    assert url.port is not None
    return StartedServer(
        name, (url.hostname, url.port), home, process, ready_seconds=ready_seconds
    )


def _late(began: float) -> bool:
    return time.perf_counter() - began > START_SECONDS_MAX


def _tail(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-2000:]
