"""Many events on their way through a host to a new client.

    python -m benchmarks.sync [--events N] [--quick] [--json FILE]

A client with a long history uploads it to `aw-server host`. New clients, each a
process of its own, sync for the first time: all records are downloaded, verified
(signatures, chain and seal), indexed and stored. In the same process and the same
run the same records are downloaded, opened and unpacked alone. Then one day comes
after, and everybody syncs again.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from awvault.crypto.keys import Passphrase
from awvault.incoming import NewRows
from awvault.joining import make_vault
from awvault.protocol.account import OpenedAccount, open_keys, verify_documents
from awvault.protocol.edits import (
    AddClient,
    ClaimUsername,
    Edit,
    new_client_key,
    new_keystore,
    new_recovery_key,
    register_keys_of,
)
from awvault.remote import Remote, RemoteNotes
from awvault.sync.rounds import Round, Syncer
from awvault.sync.transport import HostClient, Prover
from awvault.testing import CHEAP, COMPOSITION, PASSPHRASE, open_vault
from awvault.vault import Vault
from benchmarks import servers
from benchmarks.gateway import directories
from benchmarks.report import Report, publish
from benchmarks.vault import as_rows
from benchmarks.workload import EVENTS_PER_DAY, make_events

OURS: Final = "ours"
ALONE: Final = "download, open and unpack"
DOWNLOAD: Final = "download"
BUCKET: Final = "benchmark-window"
USERNAME: Final = "benchmark"
MINUTE_EVENTS: Final = 6
"""Events of one active minute: a record each, as `live` uploads them."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    events: int = 1_000_000
    minutes: int = 5_000
    """Records of one minute each, in an account of their own."""
    clients: int = 5


USUAL: Final = Sizes()
QUICK: Final = Sizes(events=200_000, minutes=1_000, clients=3)


class Owner:
    """The client that has the history, and the account's secrets at hand."""

    def __init__(self, vault: Vault, opened: OpenedAccount, blob: bytes) -> None:
        """Begin with an account of one client."""
        self._opened = opened
        self._documents: list[bytes] = []
        self._blob = blob
        self.vault = vault

    @classmethod
    async def of(cls, vault: Vault) -> "Owner":
        """Return the owner of a vault that was just made."""
        account_id = vault.keys.account_id
        blob = await vault.store.keys_blob(account_id)
        assert blob is not None
        opened = open_keys(
            Passphrase(PASSPHRASE), vault.replica.account, blob, profile=CHEAP
        )
        owner = cls(vault, opened, blob)
        owner._documents = await vault.store.documents(account_id)
        return owner

    async def register(
        self, host: HostClient, url: str, directories: Sequence[Path]
    ) -> Syncer:
        """Bring the account to a host, with one more client for each directory."""
        random = COMPOSITION.random
        recovery = new_recovery_key(self._opened, random)
        passphrase = Passphrase(PASSPHRASE)
        self._take(
            ClaimUsername(
                username=USERNAME, passphrase=passphrase, recovery=recovery
            ).run(self._opened, heads={}, profile=CHEAP, random=random)
        )
        keys = []
        for number, _ in enumerate(directories):
            keys.append(new_client_key(self._opened, random))
            intent = AddClient(client=keys[-1], label=f"client {number}")
            self._take(intent.run(self._opened, heads={}, profile=CHEAP, random=random))
        await self.vault.replica.adopt(self._documents, self._blob)
        answer = await host.prelogin(USERNAME)
        document = self._opened.account.document
        await host.register(
            Prover(
                username=USERNAME,
                client_id=self.vault.keys.client_id,
                salt=document.salt,
                nonce=answer.nonce,
            ),
            documents=self._documents,
            keys_blob=self._blob,
            invite=None,
            keys=register_keys_of(
                self._opened, recovery=recovery, client=self.vault.keys.client_key
            ),
        )
        for directory, key in zip(directories, keys, strict=True):
            directory.mkdir(mode=0o700)
            await make_vault(
                directory / "vault.db",
                account_id=document.account_id,
                client_id=key.client_id,
                documents=self._documents,
                keys_blob=self._blob,
                keystore=new_keystore(self._opened, self._opened.account, key, random),
            )
        notes = RemoteNotes(self.vault.database, self.vault.keys, random=random)
        await notes.save(Remote(url=url, insecure=False, username=USERNAME))
        return Syncer(self.vault, notes, host, clock=COMPOSITION.clock)

    def _take(self, edit: Edit) -> None:
        self._documents.append(edit.document)
        self._blob = edit.keys_blob or self._blob
        self._opened = open_keys(
            Passphrase(PASSPHRASE),
            verify_documents(self.vault.keys.account_id, self._documents),
            self._blob,
            profile=CHEAP,
        )


class Client:
    """A process that syncs; see `benchmarks.sync_client`."""

    def __init__(self, directory: Path, url: str) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.sync_client"),
                *(str(directory), url, USERNAME),
            ],
            cwd=servers.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def answer(self) -> dict[str, Any]:
        """Return what it says next."""
        assert self._process.stdout is not None
        line = await asyncio.to_thread(self._process.stdout.readline)
        assert line, "the client has ended"
        answer = json.loads(line)
        assert isinstance(answer, dict)
        assert answer["sync"]["alarms"] == []
        return answer

    async def again(self) -> dict[str, Any]:
        """Let it sync once more."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return await self.answer()

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        servers.end(self._process)


class Run:
    """One history, from its owner to every client."""

    def __init__(self, report: Report, name: str, clients: int) -> None:
        """Call the rows by `name`."""
        self._report = report
        self._name = name
        self._clients = clients

    async def measure(self, batches: Sequence[NewRows], *, sealed_each: bool) -> None:
        """Fill a vault, and let everybody sync; `sealed_each`: a record a batch."""
        names = ["host", "owner", "clients"]
        with directories(names) as homes:
            server = servers.start_host(homes["host"], "--registration", "open")
            url = f"http://{server.address[0]}:{server.address[1]}"
            try:
                async with AsyncExitStack() as stack:
                    vault = await stack.enter_async_context(
                        await open_vault(homes["owner"] / "vault")
                    )
                    await vault.create_bucket(BUCKET, type="currentwindow")
                    for rows in batches:
                        await vault.insert_rows(BUCKET, rows)
                        if sealed_each:
                            await vault.seal_now()
                    await vault.seal_now()
                    host = await stack.enter_async_context(HostClient(url))
                    owner = await Owner.of(vault)
                    paths = [homes["clients"] / str(at) for at in range(self._clients)]
                    syncer = await owner.register(host, url, paths)
                    await self._sync_all(vault, url, syncer, paths)
                    found = server.memory()
                    if found is not None:
                        self._less("the host's memory, peak", "MB", found.peak)
            finally:
                server.stop()

    async def _sync_all(
        self, vault: Vault, url: str, syncer: Syncer, paths: Sequence[Path]
    ) -> None:
        made = await self._owner_round("upload", syncer)
        self._report.notes.append(
            f"{self._name}: {made.pushed:,} records of {vault.count(BUCKET):,} events."
        )
        clients = []
        try:
            for path in paths:
                clients.append(Client(path, url))
                self._note_first(await clients[-1].answer(), made.pushed)
            await vault.insert_rows(BUCKET, _one_day())
            await vault.seal_now()
            made = await self._owner_round("upload of one more day", syncer)
            for client in clients:
                answer = (await client.again())["sync"]
                assert answer["records"] == made.pushed
                self._less("sync of one more day", "ms", 1000 * answer["seconds"])
        finally:
            for client in clients:
                client.end()

    async def _owner_round(self, what: str, syncer: Syncer) -> Round:
        began = time.perf_counter()
        made = await syncer.round()
        self._less(what, "ms", 1000 * (time.perf_counter() - began))
        assert not made.alarms
        assert made.pushed
        return made

    def _note_first(self, answer: dict[str, Any], records: int) -> None:
        synced, name = answer["sync"], "first sync"
        assert synced["records"] == answer["opened"]["records"] == records
        for found, program in (
            (synced, OURS),
            (answer["opened"], ALONE),
            (answer["download"], DOWNLOAD),
        ):
            self._less(name, "ms", 1000 * found["seconds"], program)
            cpu_ms = 1000 * found["cpu_seconds"]
            self._less(f"{name}, the client's time", "ms", cpu_ms, program)
        if synced["memory_before"] is not None:
            self._less("memory before the first sync", "MB", synced["memory_before"])
            self._less("memory in the first sync, peak", "MB", synced["memory_peak"])

    def _less(self, what: str, unit: str, value: float, program: str = OURS) -> None:
        self._report.less(f"{self._name}: {what}", unit, program, value)


def _one_day() -> NewRows:
    (rows,) = as_rows(make_events(EVENTS_PER_DAY, seed=7), EVENTS_PER_DAY)
    return rows


def measure(sizes: Sizes) -> Report:
    """Measure a history that was sealed at its leisure, and one sealed by minutes."""
    report = Report("Sync")
    run = Run(report, f"{sizes.events:,} events", sizes.clients)
    asyncio.run(run.measure(as_rows(make_events(sizes.events)), sealed_each=False))
    minutes = as_rows(make_events(MINUTE_EVENTS * sizes.minutes), MINUTE_EVENTS)
    run = Run(report, f"{sizes.minutes:,} minutes", sizes.clients)
    asyncio.run(run.measure(minutes, sealed_each=True))
    report.notes.append(
        f"{ALONE}: the same records from the same host by the same client, opened and"
        " unpacked, and dropped; `download`: not even opened."
    )
    report.notes.append("Argon2id is the cheap one of the tests, and not measured.")
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(prog="benchmarks.sync")
    parser.add_argument("--events", type=int, metavar="N")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else USUAL
    if given.events is not None:
        sizes = Sizes(given.events, sizes.minutes, sizes.clients)
    publish(measure(sizes), given.json)


if __name__ == "__main__":
    main()
