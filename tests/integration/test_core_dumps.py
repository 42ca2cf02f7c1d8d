"""A crash writes nothing of the vault to a disk."""

import sys
from pathlib import Path

import pytest

from tests.helpers.processes import home


@pytest.mark.skipif(sys.platform != "linux", reason="limits are read from /proc")
def test_the_server_forbids_core_dumps_of_itself(tmp_path: Path) -> None:
    """Its limit for core files is 0, whatever the shell that started it allows."""
    with home(tmp_path) as where:
        server = where.serve()
        limits = Path(f"/proc/{server.process.pid}/limits").read_text("ascii")
    (line,) = [row for row in limits.splitlines() if row.startswith("Max core file")]
    assert line.split()[-3:-1] == ["0", "0"]
