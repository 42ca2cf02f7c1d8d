"""A host, a visitor who sends it whatever, and an account that it knows."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers.hosts import Member, Visitor, visitor
from tests.helpers.lying_host import LyingHost, lying_host


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LyingHost]:
    """A host that is honest until a test gives it a lie."""
    async with lying_host(tmp_path / "host") as running:
        yield running


@pytest.fixture
async def at(host: LyingHost) -> AsyncIterator[Visitor]:
    """Somebody without a session."""
    async with visitor(host.url) as stranger:
        yield stranger


@pytest.fixture
def member() -> Member:
    """The owner of an account, every key in hand; `mine` makes the host know it."""
    return Member("alice")


@pytest.fixture
async def mine(member: Member, at: Visitor) -> Visitor:
    """The owner with a session: the account is at the host."""
    return await member.register(at)
