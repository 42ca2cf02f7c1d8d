"""A gateway that runs: real sockets, a real vault, and a small client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, DummyCookieJar, web
from multidict import CIMultiDictProxy
from yarl import URL

from awvault.gateway import (
    GatewaySettings,
    VaultHolder,
    create_gateway,
    create_runner,
)
from awvault.testing import open_vault


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)

    @property
    def message(self) -> str:
        value = self.json()
        assert list(value) == ["message"]
        assert isinstance(value["message"], str)
        return value["message"]


@dataclass(frozen=True, slots=True)
class Api:
    """Talks to one running gateway."""

    session: ClientSession
    port: int

    async def call(
        self,
        method: str,
        path: str,
        value: Any = None,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send `value` as JSON, or `body` as it is. `path` is sent as it is."""
        if value is not None:
            body = json.dumps(value).encode()
        sent = {"Content-Type": "application/json"} if body is not None else {}
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.session.request(
            method,
            url,
            # As bytes, aiohttp warns of a large one.
            data=None if body is None else BytesIO(body),
            headers=sent | (headers or {}),
            allow_redirects=False,
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, headers=headers)

    async def post(self, path: str, value: Any, **headers: str) -> Answer:
        return await self.call("POST", path, value, headers=headers)

    async def delete(self, path: str) -> Answer:
        return await self.call("DELETE", path)

    async def ok(self, method: str, path: str, value: Any = None) -> Any:
        """Return the JSON of an answer that must be a 200."""
        answer = await self.call(method, path, value)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json()

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, and return all that comes back until the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def serving(holder: VaultHolder, settings: GatewaySettings) -> AsyncIterator[Api]:
    runner = create_runner(create_gateway(holder, settings))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with ClientSession(cookie_jar=DummyCookieJar()) as session:
            yield Api(session, port)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(
    directory: Path, settings: GatewaySettings | None = None
) -> AsyncIterator[Api]:
    """Serve the vault in `directory`, which is made if there is none."""
    async with (
        await open_vault(directory) as vault,
        serving(VaultHolder(vault), settings or GatewaySettings()) as api,
    ):
        yield api


BUCKET = {"type": "currentwindow", "client": "aw-watcher-window", "hostname": "box"}


async def make_bucket(api: Api, bucket_id: str = "window") -> str:
    """Make a bucket and return its path."""
    path = f"/api/0/buckets/{bucket_id}"
    assert (await api.post(path, BUCKET)).status == 200
    return path


def event(
    timestamp: str = "2024-03-01T10:00:00+00:00",
    duration: float = 0.0,
    **data: Any,
) -> dict[str, Any]:
    return {"timestamp": timestamp, "duration": duration, "data": data}


def without_ids(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.items() if k != "id"} for e in events]
