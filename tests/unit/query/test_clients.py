"""Buckets of several clients of an account, as a query finds them."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from awvault.query import Period, QueryError, run_query
from awvault.vault import Vault
from tests.helpers.clients import account_of, exchange
from tests.helpers.vaults import A, B, insert

NAME = "aw-watcher-window_desk"
PERIOD = Period.parse("1970-01-01/2100-01-01", field="period")


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Sequence[Vault]]:
    """Two clients of an account, each with a bucket of the same name."""
    async with account_of(tmp_path) as (account, first):
        second = await account.join("lap")
        await account.adopt(first)
        for vault, hostname in ((first, "desk"), (second, "lap")):
            await vault.create_bucket(NAME, type="w", hostname=hostname)
        await insert(first, (0, 1, A), name=NAME)
        await insert(second, (10, 2, B), name=NAME)
        await exchange(first, second)
        yield first, second


async def ask(vault: Vault, text: str) -> Any:
    answer = await run_query(vault, text, [PERIOD])
    (result,) = json.loads(answer.text)
    return result


async def test_each_client_finds_its_own_bucket_first(clients: Sequence[Vault]) -> None:
    """What the web interface asks without a host is of the machine it runs on."""
    first, second = clients
    query = 'b = find_bucket("aw-watcher-window_"); RETURN = query_bucket(b);'

    assert [e["data"] for e in await ask(first, query)] == [json.loads(A)]
    assert [e["data"] for e in await ask(second, query)] == [json.loads(B)]


async def test_another_clients_bucket_is_found_by_its_host(
    clients: Sequence[Vault],
) -> None:
    """A host name finds the bucket of that machine, on each of them."""
    query = 'b = find_bucket("aw-watcher-window_", "lap"); RETURN = query_bucket(b);'
    for vault in clients:
        assert [e["duration"] for e in await ask(vault, query)] == [2.0]
    with pytest.raises(QueryError, match="hostname filter set to 'moon'"):
        await ask(clients[0], 'RETURN = find_bucket("window", "moon");')


async def test_settings_are_no_bucket(clients: Sequence[Vault]) -> None:
    """What is kept in a bucket that nobody sees is not found either."""
    first, _ = clients
    await first.preferences.set("theme", b'"dark"')

    assert await ask(first, "RETURN = query_bucket_names();") == [
        NAME,
        f"{NAME}-synced-from-lap",
    ]
