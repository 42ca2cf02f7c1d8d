"""The least that a sealed and durable endpoint can do: the limit for heartbeats.

aiohttp on uvloop with one route, which encrypts the body once with
XChaCha20-Poly1305 and commits it to SQLite, synchronous=FULL, through one writer
thread. Whatever has come while a commit was under way goes into the next one. It
reads no JSON, merges nothing and keeps nothing in order: what a server does
beyond this is measured as its share of this endpoint's rate.

    python -m benchmarks.bare_endpoint --database FILE

`--echo` starts a server that only answers, without aiohttp: the limit of the
client that measures.
"""

import argparse
import asyncio
import os
import queue
import signal
import threading
from pathlib import Path
from typing import Final, cast

import apsw
import uvloop
from aiohttp import web
from nacl import bindings

Work = tuple[bytes, "asyncio.Future[None]"]

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Writer:
    """A thread that commits what it is given, all that waits in one commit."""

    def __init__(self, database: Path, loop: asyncio.AbstractEventLoop) -> None:
        """Open the database and start the thread."""
        self._loop = loop
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._connection = apsw.Connection(str(database))
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")
        self._connection.execute(
            "CREATE TABLE rows (id INTEGER PRIMARY KEY, sealed BLOB) STRICT"
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    async def write(self, sealed: bytes) -> None:
        """Return once `sealed` is on disk."""
        done = self._loop.create_future()
        self._queue.put((sealed, done))
        await done

    def close(self) -> None:
        """End the thread and close the database."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            taken = [self._queue.get()]
            while not self._queue.empty():
                taken.append(self._queue.get())
            work = [item for item in taken if item is not None]
            failure = self._commit([sealed for sealed, _ in work])
            self._loop.call_soon_threadsafe(_resolve, work, failure)
            if len(work) < len(taken):
                return

    def _commit(self, rows: list[bytes]) -> apsw.Error | None:
        try:
            with self._connection:
                self._connection.executemany(
                    "INSERT INTO rows (sealed) VALUES (?)", ((row,) for row in rows)
                )
        except apsw.Error as error:
            return error
        return None


def _resolve(work: list[Work], failure: apsw.Error | None) -> None:
    for _, done in work:
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)


async def serve_bare(database: Path) -> None:
    """Serve the bare endpoint on a free port until the process is told to end."""
    writer = Writer(database, asyncio.get_running_loop())
    key = os.urandom(32)

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        nonce = os.urandom(24)
        sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            body, None, nonce, key
        )
        await writer.write(nonce + sealed)
        return web.Response(body=b"{}", content_type="application/json")

    app = web.Application()
    app.router.add_post("/api/0/buckets/{bucket}/heartbeat", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await until_stopped(runner.addresses[0][1])
    await runner.cleanup()
    writer.close()


class _Echo(asyncio.Protocol):
    """Answers each piece of data that comes; a small request is one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, _data: bytes) -> None:
        """Answer."""
        self._transport.write(ANSWER)


async def serve_echo() -> None:
    """Serve answers without work on a free port until the process is told to end."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Echo, "127.0.0.1", 0)
    async with server:
        await until_stopped(server.sockets[0].getsockname()[1])


async def until_stopped(port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"ready on http://127.0.0.1:{port}", flush=True)
    await stop.wait()


def main() -> None:
    """Serve what the command line says."""
    parser = argparse.ArgumentParser(prog="benchmarks.bare_endpoint")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--database", type=Path, help="a file that does not exist yet")
    what.add_argument("--echo", action="store_true")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_echo() if arguments.echo else serve_bare(arguments.database))


if __name__ == "__main__":
    main()
