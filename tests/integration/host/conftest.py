"""What the tests of a host share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers.hosts import Member, RunningHost, Visitor, running_host


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[RunningHost]:
    """Return a host with open registration and no rate limits."""
    async with running_host(tmp_path / "host") as running:
        yield running


@pytest.fixture
def alice() -> Member:
    """Return an owner whom no host knows yet."""
    return Member()


@pytest.fixture
async def session(host: RunningHost, alice: Member) -> Visitor:
    """Return a visitor with a token of alice's."""
    return await alice.register(host.visitor)
