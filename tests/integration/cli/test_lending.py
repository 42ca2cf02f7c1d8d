"""A command has the vault's files to itself while aw-server runs, and nobody waits
in vain."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.error import HTTPError

import pytest

from awvault.control.client import ControlClient
from awvault.crypto.keys import Passphrase
from awvault.opening import open_vault
from awvault.passphrases import read_passphrase_file
from awvault.processes import ControlToken, DataDirectory
from awvault.service import LendRequest, OperationFailedError
from awvault.testing import COMPOSITION
from awvault.vault import Vault
from tests.integration.cli.harness import Machine, Server, find_control

HEARTBEAT = "/api/0/buckets/b/heartbeat?pulsetime=60"
UNUSED = "the vault opens with what opened it before"
WAIT_SECONDS = 0.5
"""How long a request is watched that must not be answered yet."""


def control(machine: Machine) -> ControlClient:
    found = find_control(machine.data_dir)
    return ControlClient(port=found["port"], token=ControlToken(found["token"]))


@contextlib.asynccontextmanager
async def lent(machine: Machine, passphrase: str = UNUSED) -> AsyncIterator[None]:
    async with control(machine).lend(LendRequest(passphrase=passphrase)):
        yield


async def open_here(machine: Machine) -> Vault:
    """Open the vault in this process, without its lock: the server has lent it."""
    (file,) = machine.generated_files
    return await open_vault(
        DataDirectory(machine.data_dir), read_passphrase_file(file), COMPOSITION
    )


def make_bucket(server: Server) -> None:
    server.request("/api/0/buckets/b", {"type": "t", "client": "c", "hostname": "h"})


def beat(server: Server, second: int) -> Any:
    event = {
        "timestamp": f"2026-11-24T10:00:{second:02}Z",
        "duration": 0,
        "data": {"n": second},
    }
    return server.request(HEARTBEAT, event)


async def settled(machine: Machine) -> int:
    """Return how many events there are, once commands are answered again."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OperationFailedError):
                return (await control(machine).status()).events
            await asyncio.sleep(0.05)


async def test_watchers_wait_and_lose_nothing(machine: Machine) -> None:
    """A heartbeat that comes meanwhile is answered after, by the vault of then."""
    with machine.server() as server:
        make_bucket(server)
        beat(server, 1)
        async with lent(machine):
            waiting = asyncio.create_task(asyncio.to_thread(beat, server, 3))
            async with await open_here(machine) as vault:
                assert vault.count("b") == 1
                await vault.create_bucket("other", type="t")
            await asyncio.wait({waiting}, timeout=WAIT_SECONDS)
            assert not waiting.done()

        assert (await waiting)["data"] == {"n": 3}
        assert await settled(machine) == 2
        buckets = [bucket.id for bucket in await control(machine).buckets()]
        assert buckets == ["b", "other"]


async def test_other_commands_are_told(machine: Machine) -> None:
    """They fail with a reason, at once; after the loan they work."""
    with machine.server() as server:
        make_bucket(server)
        async with lent(machine):
            done = await asyncio.to_thread(machine.awvault, "buckets")
            assert done.status == 1
            assert "moving the vault" in done.err
            assert "try again" in done.err
            with pytest.raises(OperationFailedError, match="moving the vault"):
                async with lent(machine):
                    pass

        await settled(machine)
        buckets = json.loads(machine.ok("buckets", "--json").out)
        assert [bucket["id"] for bucket in buckets] == ["b"]


async def test_a_command_that_dies_gives_the_vault_back(machine: Machine) -> None:
    """The connection ends with the process, and that is the end of the loan."""
    with machine.server() as server:
        make_bucket(server)
        with contextlib.suppress(RuntimeError):
            async with lent(machine):
                raise RuntimeError

        await asyncio.to_thread(beat, server, 5)
        assert await settled(machine) == 1


async def test_the_vault_may_have_another_passphrase_then(machine: Machine) -> None:
    """The one that the command named opens it, although the file has the old one."""
    with machine.server() as server:
        make_bucket(server)
        async with lent(machine, "a passphrase of another account"):
            for part in machine.data_dir.glob("vault.db*"):
                part.rename(part.with_name("moved" + part.name))
            vault = await open_vault(
                DataDirectory(machine.data_dir),
                Passphrase("a passphrase of another account"),
                COMPOSITION,
            )
            await vault.close()

        assert await settled(machine) == 0
        assert await control(machine).buckets() == []


async def test_a_signal_ends_the_server_while_the_vault_is_lent(
    machine: Machine,
) -> None:
    """Nobody is waited for: requests are refused, the loan is cut off."""
    with machine.server() as server:
        make_bucket(server)
        async with lent(machine):
            waiting = asyncio.create_task(asyncio.to_thread(beat, server, 3))
            await asyncio.wait({waiting}, timeout=WAIT_SECONDS)

            assert await asyncio.to_thread(server.stop) == 0

            with pytest.raises(HTTPError, match="503") as refused:
                await waiting
            refused.value.close()


def test_the_requests_that_hold_a_secret_do_not_print() -> None:
    """Neither a log nor a traceback shows the passphrase."""
    assert "secret" not in repr(LendRequest(passphrase="secret"))
