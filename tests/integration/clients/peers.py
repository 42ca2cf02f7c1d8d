"""ActivityWatch's own programs, as they are on the package index."""

import contextlib
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
START_SECONDS_MAX = 60.0


def peer_python() -> Path:
    """Return the Python that has ActivityWatch's server and client."""
    python = Path(
        os.environ.get("ACTIVITYWATCH_PYTHON")
        or ROOT / ".venv-activitywatch/bin/python"
    )
    assert python.exists(), "make env-activitywatch makes this environment"
    return python


def peer_environment(home: Path) -> dict[str, str]:
    """Return an environment whose directories are all below `home`."""
    home.mkdir(exist_ok=True)
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PATH": os.environ["PATH"],
    }


@dataclass(frozen=True)
class ActivityWatchServer:
    port: int
    static: Path
    """The files that it serves at /."""


@contextlib.contextmanager
def activitywatch_server(home: Path) -> Iterator[ActivityWatchServer]:
    """Run ActivityWatch's server on a port of its own, with an empty store."""
    python = peer_python()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--storage", "memory"]
    with (
        (home / "activitywatch.log").open("wb") as log,
        subprocess.Popen(
            [python, "-m", "aw_server", *arguments],
            stdout=log,
            stderr=log,
            env=peer_environment(home / "activitywatch"),
        ) as process,
    ):
        try:
            give_up = time.monotonic() + START_SECONDS_MAX
            while not _answers(port):
                assert process.poll() is None, (home / "activitywatch.log").read_text()
                assert time.monotonic() < give_up
                time.sleep(0.05)
            (static,) = python.parents[1].glob("lib/*/site-packages/aw_server/static")
            yield ActivityWatchServer(port, static)
        finally:
            process.kill()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/0/info", timeout=5):
            return True
    except OSError:
        return False
