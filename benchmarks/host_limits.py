"""What a host could do if it did less: the limits that its appends are held against.

    python -m benchmarks.host_limits --no-storage DATABASE
    python -m benchmarks.host_limits --echo

`--no-storage` is the whole host, its HTTP server, sessions, signatures and rules,
but what it would read or write it has in memory. `--echo` is aiohttp with one route,
which answers what it was sent. Raw inserts run in the process that measures.
"""

import argparse
import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import apsw
import uvloop
from aiohttp import web

from awserver.app import create_host, open_host, service_settings
from awserver.http.application import create_application
from awserver.http.server import create_runner, start_site
from awserver.records import AccountId, Head, SealedRecord
from awserver.service.logs import HostLogs
from awserver.service.sessions import HostSessions
from awserver.settings import Overrides, read_settings
from awserver.storage.base import Access, Appended, Grant
from awserver.storage.sqlite.accounts import SqliteAccountStore
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from benchmarks.bare_endpoint import until_stopped

BACKLOG: Final = 1024
ECHO_BYTES_MAX: Final = 64 * 1024 * 1024


class NoStorage(SqliteAccountStore):
    """Says of every append that it is done. What was read once is in memory."""

    def __init__(self, database: Database) -> None:
        """Read what is missing from `database`."""
        super().__init__(database, SqliteLogStore(database))
        self._known: dict[tuple[AccountId, bytes], Access | None] = {}

    def access(self, account: AccountId, token_hash: bytes) -> Access | None:
        """Return a session."""
        key = (account, token_hash)
        if key not in self._known:
            self._known[key] = super().access(account, token_hash)
        return self._known[key]

    async def append(
        self,
        grant: Grant,  # noqa: ARG002
        records: Sequence[SealedRecord],
        *,
        version: int,  # noqa: ARG002
        quota_bytes: int | None,  # noqa: ARG002
    ) -> Appended:
        """Return at once."""
        last = records[-1]
        head = Head(seq=last.header.seq, hash=last.hash)
        return Appended(new=len(records), heads={last.header.client_id: head})


async def serve_without_storage(data_dir: Path) -> None:
    """Serve a host that keeps nothing, until the process is told to end."""
    settings = read_settings(Overrides(data_dir=data_dir, listen="127.0.0.1:0"))
    async with open_host(
        settings, service_settings(settings, settings.listen), create=False
    ) as (service, database):
        assert isinstance(service.logs, HostLogs)
        parts = replace(service.logs._parts, accounts=NoStorage(database))  # noqa: SLF001
        emptied = replace(
            service,
            logs=HostLogs(parts, changes=service.changes),
            sessions=HostSessions(parts, changes=service.changes),
        )
        api = create_host(emptied, database)
        runner = create_runner(create_application(api), api)
        await runner.setup()
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
            await start_site(runner, listener, backlog=BACKLOG)
            await until_stopped(listener.getsockname()[1])
        await runner.cleanup()


async def serve_echo() -> None:
    """Answer each POST with its body, until the process is told to end."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application(client_max_size=ECHO_BYTES_MAX)
    app.router.add_post("/api/1/logs/{client}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG).start()
    await until_stopped(runner.addresses[0][1])
    await runner.cleanup()


def raw_inserts(
    path: Path, records: Sequence[SealedRecord], *, per_commit: int
) -> float:
    """Insert records into a table without rules; return the seconds it took."""
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS records (client_id BLOB, seq INTEGER,"
            " header BLOB, signature BLOB, body BLOB, PRIMARY KEY (client_id, seq))"
            " STRICT"
        )
        rows = [
            (r.header.client_id, r.header.seq, r.header_bytes, r.signature, r.body)
            for r in records
        ]
        began = time.perf_counter()
        for at in range(0, len(rows), per_commit):
            with connection:
                connection.executemany(
                    "INSERT INTO records VALUES (?, ?, ?, ?, ?)",
                    rows[at : at + per_commit],
                )
        return time.perf_counter() - began


def main() -> None:
    """Serve what the command line says."""
    parser = argparse.ArgumentParser(prog="benchmarks.host_limits")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--no-storage", type=Path, metavar="DIRECTORY")
    what.add_argument("--echo", action="store_true")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            serve_echo()
            if arguments.echo
            else serve_without_storage(arguments.no_storage)
        )


if __name__ == "__main__":
    main()
