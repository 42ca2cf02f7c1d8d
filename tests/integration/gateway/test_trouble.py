"""When the vault is not there yet, or its disk is in trouble."""

import asyncio
import logging
from pathlib import Path
from typing import Any, Never, cast

import pytest

from awserver.errors import StorageCorruptError, StorageError, StorageFullError
from awvault.errors import IntegrityError
from awvault.gateway import GatewaySettings, VaultHolder
from awvault.testing import open_vault
from awvault.vault import Vault
from tests.integration.gateway.running import BUCKET, event, serving


class FailingVault:
    """A vault in which every operation fails in the same way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Never:
            raise self._error

        async def fail_later(*_: Any, **__: Any) -> Never:
            fail()

        synchronous = {"bucket", "buckets", "read", "event", "count", "last_updated"}
        return fail if name in synchronous else fail_later


CALLS = [
    ("GET", "/api/0/buckets/", None),
    ("POST", "/api/0/buckets/b", BUCKET),
    ("DELETE", "/api/0/buckets/b?force=1", None),
    ("POST", "/api/0/buckets/b/events", event(a=1)),
    ("GET", "/api/0/buckets/b/events", None),
    ("GET", "/api/0/buckets/b/events?limit=1", None),
    ("GET", "/api/0/buckets/b/events/count", None),
    ("GET", "/api/0/buckets/b/events/1", None),
    ("DELETE", "/api/0/buckets/b/events/1", None),
    ("POST", "/api/0/buckets/b/heartbeat?pulsetime=1", event(a=1)),
    ("GET", "/api/0/activity/a", None),
    ("POST", "/api/0/activity/a", {"note": "x"}),
]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (StorageFullError("canary"), 507, 'free space on the disk that holds "/data"'),
        (StorageError("canary"), 503, "aw-server"),
        (StorageCorruptError("canary"), 503, "awvault verify"),
        (IntegrityError("canary"), 503, "awvault verify"),
        (ZeroDivisionError("canary"), 500, "internal error"),
    ],
)
async def test_trouble_is_said_clearly(
    error: Exception, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing disk is a 5xx that says what to do, and no text of the error."""
    holder = VaultHolder(cast(Vault, FailingVault(error)))
    async with serving(holder, GatewaySettings(data_dir="/data")) as api:
        for method, path, value in CALLS:
            answer = await api.call(method, path, value)
            assert (answer.status, method, path) == (status, method, path)
            assert said in answer.message
            assert "canary" not in answer.message
    assert "canary" not in caplog.text
    if status != 507:
        assert type(error).__name__ in caplog.text


async def test_requests_wait_for_the_vault(tmp_path: Path) -> None:
    """A request that comes before the vault is unlocked is held, then answered."""
    holder = VaultHolder()
    async with serving(holder, GatewaySettings()) as api:
        waiting = [
            asyncio.create_task(api.call(method, path, value))
            for method, path, value in (
                ("GET", "/api/0/info", None),
                ("POST", "/api/0/activity/a", {"note": "early"}),
            )
        ]
        # What needs no vault is answered meanwhile.
        assert (await api.get("/")).status == 200
        assert (await api.get("/nothing")).status == 404
        assert not any(task.done() for task in waiting)
        async with await open_vault(tmp_path / "vault") as vault:
            holder.set(vault)
            answers = await asyncio.gather(*waiting)
            assert [answer.status for answer in answers] == [200, 200]
            assert (await api.ok("GET", "/api/0/activity/a"))[0]["note"] == "early"


async def test_a_vault_that_does_not_open_is_a_503(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requests that wait for a vault that cannot be opened are told so."""
    holder = VaultHolder()
    with caplog.at_level(logging.DEBUG):
        async with serving(holder, GatewaySettings()) as api:
            waiting = asyncio.create_task(api.get("/api/0/info"))
            await api.get("/")
            holder.fail(ValueError("canary"))
            for answer in (await waiting, await api.get("/api/0/info")):
                assert answer.status == 503
                assert "could not be opened" in answer.message
    assert "canary" not in caplog.text
