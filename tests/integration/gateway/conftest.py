from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.gateway.running import Api, running


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running(tmp_path / "vault") as api:
        yield api
