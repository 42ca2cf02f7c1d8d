"""A client of the account, in a process of its own, so that its memory is its own.

    python -m benchmarks.sync_client DIRECTORY URL USERNAME

Opens the vault in DIRECTORY, which holds no records of other clients yet, and prints
one line of JSON: first what comes of reading every log of the host, opening and
unpacking each record and keeping none; then the first sync. For each line on
standard input it syncs once more, and prints a line again.

Argon2id is the cheap one of the tests: an unlock with the real one takes 256 MiB,
which would hide what a sync takes.
"""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import uvloop

from awserver.storage.base import READ_BYTES_MAX
from awvault.columns.compress import unpack
from awvault.crypto.envelope import open_record
from awvault.crypto.padding import unpad
from awvault.remote import Remote, RemoteNotes
from awvault.sync.rounds import Syncer, open_session
from awvault.sync.transport import HostClient
from awvault.testing import COMPOSITION, open_vault
from awvault.vault import Vault
from benchmarks.servers import own_memory, reset_own_peak

WARM_UPS: Final = 1
"""Readings before the one that counts, so that nobody meets a cold cache."""


async def download(
    vault: Vault, host: HostClient, *, is_opened: bool
) -> dict[str, Any]:
    """Read every other client's log; open and unpack each record, and drop it."""
    ring = vault.keys.ring
    began, began_cpu = time.perf_counter(), time.process_time()
    count = size = 0
    for client_id, log in (await host.heads()).logs.items():
        after = -1
        while client_id != vault.keys.client_id and after < log.head.seq:
            async for record in host.read_log(
                client_id, after=after, bytes_max=READ_BYTES_MAX
            ):
                after = record.header.seq
                count += 1
                size += len(record.encode())
                if is_opened:
                    unpack(unpad(open_record(ring[record.header.epoch], record)))
    return {
        "records": count,
        "bytes": size,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - began_cpu,
    }


async def sync(syncer: Syncer) -> dict[str, Any]:
    """Make one round."""
    gc.collect()
    reset_own_peak()
    before = own_memory()
    began, began_cpu = time.perf_counter(), time.process_time()
    made = await syncer.round()
    seconds = time.perf_counter() - began
    cpu_seconds = time.process_time() - began_cpu
    after = own_memory()
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "records": made.pulled.records,
        "events": made.pulled.events,
        "alarms": [alarm.name for alarm in made.alarms],
        "memory_before": None if before is None else before.now,
        "memory_peak": None if after is None else after.peak,
    }


async def run(directory: Path, url: str, username: str) -> None:
    """Do what the module says."""
    async with await open_vault(directory) as vault, HostClient(url) as host:
        notes = RemoteNotes(vault.database, vault.keys, random=COMPOSITION.random)
        await notes.save(Remote(url=url, insecure=False, username=username))
        await open_session(host, vault.keys, username)
        for _ in range(WARM_UPS):
            await download(vault, host, is_opened=False)
        answer = {
            "download": await download(vault, host, is_opened=False),
            "opened": await download(vault, host, is_opened=True),
        }
        syncer = Syncer(vault, notes, host, clock=COMPOSITION.clock)
        _answer(answer | {"sync": await sync(syncer)})
        while await asyncio.to_thread(sys.stdin.readline):
            _answer({"sync": await sync(syncer)})


def _answer(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def main() -> None:
    """Run the client of the command line."""
    directory, url, username = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(Path(directory), url, username))


if __name__ == "__main__":
    main()
