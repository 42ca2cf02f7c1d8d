"""A host, a visitor who sends it whatever, and an account that it knows.

What they need is imported where it is used: most mutants meet no host, and each
is a process of its own.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.helpers.hosts import Member, Visitor
    from tests.helpers.lying_host import LyingHost


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator["LyingHost"]:
    """A host that is honest until a test gives it a lie."""
    from tests.helpers.lying_host import lying_host

    async with lying_host(tmp_path / "host") as running:
        yield running


@pytest.fixture
async def at(host: "LyingHost") -> AsyncIterator["Visitor"]:
    """Somebody without a session."""
    from tests.helpers.hosts import visitor

    async with visitor(host.url) as stranger:
        yield stranger


@pytest.fixture
def member() -> "Member":
    """The owner of an account, every key in hand; `mine` makes the host know it."""
    from tests.helpers.hosts import Member

    return Member("alice")


@pytest.fixture
async def mine(member: "Member", at: "Visitor") -> "Visitor":
    """The owner with a session: the account is at the host."""
    return await member.register(at)
