"""However the pages of several clients come in, the view is the same."""

import asyncio
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from awserver.records import ClientId, SealedRecord, Seq
from awvault.testing import open_vault
from tests.helpers.clients import account_of, exchange, pull, seal_whole
from tests.helpers.vaults import A, B, Contents, bucket, contents, correct, insert

EXAMPLES = 40


@dataclass(frozen=True, repr=False)
class Recorded:
    """The logs of three clients, and a reader that has none of them yet."""

    logs: dict[ClientId, list[SealedRecord]]
    reader: Path
    expected: Contents = field(default_factory=dict)
    """What is shown where one log comes after the other."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    root = tmp_path_factory.mktemp("interleaving")
    found = asyncio.run(_record(root))
    shutil.copytree(found.reader, root / "in order")
    shown, _ = asyncio.run(_shown(found, root / "in order", []))
    return replace(found, expected=shown)


async def _record(root: Path) -> Recorded:
    """Let three clients correct, delete and hide what the others made."""
    async with account_of(root) as (account, first):
        second = await account.join("lap")
        third = await account.join("lap")
        reader = await account.add("reader")
        vaults = (first, second, third)
        await account.adopt(*vaults)
        for vault in vaults:
            await bucket(vault)
            await insert(vault, (0, 1, A), (1, 1, B), (2, -1, A))
            await seal_whole(vault)
        await bucket(second, "alone")
        numbers = await insert(second, (5, 1, A), (6, 1, B), name="alone")
        await bucket(third, "hidden")
        await exchange(*vaults)
        for vault in vaults:
            label = float(len(vault.buckets()) + vault.keys.client_number)
            await correct(vault, numbers[0], label, 1, A, name="alone")
            await seal_whole(vault)
        await first.delete_event("alone", numbers[1])
        await second.hide_bucket("hidden")
        await insert(third, (9, 1, A), (10, 1, A), name="alone")
        await seal_whole(first)
        await pull(third, first)
        await correct(third, numbers[1], 20, 1, B, name="alone")
        await exchange(*vaults)
        return Recorded(
            logs={
                vault.keys.client_id: await vault.store.read(
                    vault.keys.account_id, vault.keys.client_id, start=Seq(0)
                )
                for vault in vaults
            },
            reader=reader,
        )


async def _shown(
    recorded: Recorded, path: Path, turns: list[tuple[int, int]]
) -> tuple[Contents, Contents]:
    """Accept pages in this order, then the rest; return what is shown, and again."""
    clients = sorted(recorded.logs)
    left = {client: list(log) for client, log in recorded.logs.items()}
    rest = [(turn, 1_000) for turn in range(len(clients))]
    async with await open_vault(path) as vault:
        for turn, size in [*turns, *rest]:
            client = clients[turn]
            page, left[client] = left[client][:size], left[client][size:]
            await vault.replica.accept(client, page)
        assert not any(left.values())
        vault.replica.check_mentions(vault.replica.heads())
        before = contents(vault)
    async with await open_vault(path) as vault:
        return before, contents(vault)


@given(
    turns=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=0, max_size=20
    )
)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # Each example takes a while, and they are short: a smaller one says no more.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_order_of_arrival_does_not_matter(
    recorded: Recorded, tmp_path: Path, turns: list[tuple[int, int]]
) -> None:
    """Any interleaving of the pages of three clients gives the same view."""
    path = tmp_path / "reader"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(recorded.reader, path)

    shown, shown_again = asyncio.run(_shown(recorded, path, turns))

    assert shown == recorded.expected
    assert shown_again == recorded.expected
    assert len(shown) == 4
