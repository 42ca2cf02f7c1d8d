"""Programs that a machine may lack: a test that needs one is skipped, and says so.

Where `DEMAND_PROGRAMS` is set, as `.ci/run` sets it, the test fails instead.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

DEMAND_VARIABLE = "DEMAND_PROGRAMS"


def program(name: str, *, package: str) -> Path:
    """Return where a program is; skip the test if it is nowhere."""
    found = shutil.which(name)
    if found is None:
        lacking(f"{name} is not installed: apt-get install {package}")
    return Path(found)


def lacking(reason: str) -> NoReturn:
    """Skip this test, or fail it where everything must be there."""
    if os.environ.get(DEMAND_VARIABLE):
        pytest.fail(reason)
    pytest.skip(reason)


def node_clients() -> Path:
    """Return the folder with ActivityWatch's client for JavaScript."""
    root = Path(__file__).parents[2]
    folder = Path(os.environ.get("ACTIVITYWATCH_NODE") or root / ".node-clients")
    if not (folder / "node_modules" / "aw-client").is_dir():
        lacking("ActivityWatch's client for JavaScript is missing: make env-node")
    return folder
