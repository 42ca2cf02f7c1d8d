"""Machines to run the commands on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.harness import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that never saw the program."""
    return Machine(tmp_path)


@pytest.fixture(params=["in process", "through aw-server"])
def vault(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Machine]:
    """A machine with a vault; once with aw-server running, once without."""
    assert machine.run("awvault", "init").status == 0
    if request.param == "in process":
        yield machine
        return
    with machine.server():
        yield machine
