"""What becomes of connections when the gateway stops."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from awvault.gateway import (
    GatewaySettings,
    VaultHolder,
    create_gateway,
    create_runner,
)
from awvault.testing import open_vault
from tests.helpers.waiting import until

BODY = json.dumps({"note": "kept"}).encode()
HEADERS = (
    b"POST /api/0/activity/test HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
) % len(BODY)


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> bytes:
        """Return everything until the other side closes."""
        async with asyncio.timeout(10):
            answer = await self.reader.read()
        self.writer.close()
        await self.writer.wait_closed()
        return answer


@dataclass
class Stopping:
    """A gateway that a test tells to stop."""

    runner: web.AppRunner
    stopping: asyncio.Task[None] | None = None

    async def connect(self, count: int) -> Connection:
        """Connect; return when the gateway has accepted it as its `count`-th."""
        connection = Connection(
            *await asyncio.open_connection("127.0.0.1", self.runner.addresses[0][1])
        )
        server = self.runner.server
        assert server is not None
        await until(lambda: len(server.connections) == count)
        return connection

    async def begin(self) -> None:
        """Begin to stop; return when the gateway no longer listens."""
        self.stopping = asyncio.create_task(self.runner.cleanup())
        await until(lambda: not self.runner.sites)
        await asyncio.sleep(0)


@asynccontextmanager
async def gateway(directory: Path) -> AsyncIterator[Stopping]:
    async with await open_vault(directory) as vault:
        runner = create_runner(create_gateway(VaultHolder(vault), GatewaySettings()))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        running = Stopping(runner)
        try:
            yield running
        finally:
            await (running.stopping or runner.cleanup())


async def test_what_is_on_its_way_at_a_stop_is_answered(tmp_path: Path) -> None:
    """A request whose body is missing, and one that has not begun; both then close."""
    async with gateway(tmp_path) as running:
        half = await running.connect(1)
        half.writer.write(HEADERS)
        await half.writer.drain()
        silent = await running.connect(2)

        await running.begin()
        half.writer.write(BODY)
        silent.writer.write(HEADERS + BODY)

        for connection in (half, silent):
            answer = await connection.answer()
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nConnection: close\r\n" in answer
            assert b'"note":"kept"' in answer


async def test_connections_that_ask_nothing_do_not_keep_it_from_stopping(
    tmp_path: Path,
) -> None:
    """One that was answered before ends at once, one that is silent a second later."""
    async with gateway(tmp_path) as running:
        idle = await running.connect(1)
        idle.writer.write(HEADERS + BODY)
        await idle.reader.readuntil(b"}]")
        silent = await running.connect(2)

        await running.begin()
        assert await idle.answer() == b""
        assert running.stopping is not None
        assert not running.stopping.done()
        assert await silent.answer() == b""
        async with asyncio.timeout(5):
            await running.stopping
