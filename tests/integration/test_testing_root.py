"""What `python -m awvault.testing` can do that the product cannot."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.helpers.processes import CLOCK_VARIABLE, Home, Root, home


def created(where: Home) -> datetime:
    """Make a bucket, and return when the vault says that was."""
    assert where.run("add", "b", "{}", "--type", "t").status == 0
    (bucket,) = json.loads(where.run("buckets", "--json").stdout)
    return datetime.fromisoformat(bucket["created"])


@pytest.mark.parametrize("hours", [-30, 0, 48.5])
def test_a_clock_that_is_wrong(tmp_path: Path, hours: float) -> None:
    """The vault believes the clock that the variable sets."""
    with home(tmp_path, root=Root.FORKED) as where:
        where.variables[CLOCK_VARIABLE] = str(hours)
        assert where.run("init").status == 0
        wrong_by = created(where) - datetime.now(UTC)
        assert abs(wrong_by - timedelta(hours=hours)) < timedelta(minutes=1)


def test_the_product_knows_no_such_clock(tmp_path: Path) -> None:
    """To the installed command the variable is a mistake, and it says so."""
    with home(tmp_path, root=Root.SHIPPED) as where:
        where.variables[CLOCK_VARIABLE] = "1"
        done = where.run("status")
        assert done.status != 0
        assert CLOCK_VARIABLE.encode() in done.stderr
