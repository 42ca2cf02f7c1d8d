from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from awvault.testing import open_vault
from awvault.vault import Vault
from tests.helpers.vaults import bucket


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    """An open vault in `tmp_path / "vault"` that has the bucket `b`."""
    async with await open_vault(tmp_path / "vault") as vault:
        await bucket(vault)
        yield vault
