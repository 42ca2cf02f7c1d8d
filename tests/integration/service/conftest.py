from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers.services import Host, open_host


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with open_host(tmp_path / "host.db") as opened:
        yield opened
