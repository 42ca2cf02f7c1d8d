"""Several clients of one account and their host, on real sockets, in this process.

A client can crash: at a step of its work its files are copied as they are at that
moment, everything after fails, and it is opened again from the copy.
"""

import contextlib
import secrets
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from awserver.config import Registration
from awserver.records import ClientId, Seq
from awserver.service.base import Caller
from awvault.crypto.keys import Passphrase
from awvault.joining import make_vault
from awvault.naming import SYNCED_FROM
from awvault.protocol.account import OpenedAccount, open_keys
from awvault.protocol.edits import (
    AddClient,
    ChangePassphrase,
    ClaimUsername,
    Edit,
    Intent,
    login_key_of,
    new_client_key,
    new_keystore,
    new_recovery_key,
    register_keys_of,
)
from awvault.remote import Remote, RemoteNotes
from awvault.sync.channel import Limits
from awvault.sync.repair import Repaired, Repairer
from awvault.sync.rounds import Round, Syncer, ignore_progress
from awvault.sync.transport import HostClient, Prover
from awvault.testing import CHEAP, COMPOSITION, PASSPHRASE, open_vault
from awvault.vault import Vault, wall_clock_us
from tests.helpers.clients import seal_whole
from tests.helpers.fault_proxy import FaultProxy
from tests.helpers.lying_host import LyingHost
from tests.scenarios.history import Row

USERNAME: Final = "ann"
IMPATIENT: Final = Limits(connect_seconds=4.0, stall_seconds=1.5)


class CrashedError(Exception):
    """The client is dead from here on."""


class Steps:
    """Copies the data directory at one step, and fails from there on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name: str | None = None
        self._left = 0
        self.image: Path | None = None

    def arm(self, name: str, count: int) -> None:
        self._name, self._left = name, count

    def disarm(self) -> None:
        self._name = None

    def __call__(self, name: str) -> None:
        if self.image is not None:
            raise CrashedError
        if name != self._name:
            return
        self._left -= 1
        if self._left > 0:
            return
        image = self._directory.with_name(f"{self._directory.name}-after")
        shutil.copytree(self._directory, image)
        self.image = image
        raise CrashedError


class ProxiedHost(LyingHost):
    """A host that is known by the address of a proxy before it."""

    proxy_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy_port}"


@dataclass
class Client:
    """One client; opened, crashed and opened again."""

    number: int
    directory: Path
    username: str = USERNAME
    passphrase: str = PASSPHRASE
    hours: int = 0
    """How wrong its clock is."""
    proxy_port: int = 0
    buckets: set[str] = field(default_factory=set)
    steps: Steps = field(init=False)
    vault: Vault = field(init=False)
    notes: RemoteNotes = field(init=False)
    host: HostClient = field(init=False)
    syncer: Syncer = field(init=False)

    @property
    def client_id(self) -> ClientId:
        return self.vault.keys.client_id

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy_port}"

    def clock(self) -> int:
        return wall_clock_us() + self.hours * 3_600_000_000

    async def open(self) -> None:
        self.steps = Steps(self.directory)
        composition = replace(
            COMPOSITION, step=self.steps, probe=self.steps, clock=self.clock
        )
        self.vault = await open_vault(
            self.directory, passphrase=self.passphrase, composition=composition
        )
        self.notes = RemoteNotes(
            self.vault.database, self.vault.keys, random=secrets.token_bytes
        )
        if self.notes.load() is None:
            await self.notes.save(
                Remote(url=self.url, insecure=False, username=self.username)
            )
        self.host = HostClient(self.url, limits=IMPATIENT)
        await self.host.__aenter__()
        self.syncer = Syncer(self.vault, self.notes, self.host, clock=self.clock)

    async def close(self) -> None:
        await self.host.__aexit__(None, None, None)
        await self.vault.close()

    async def reopen(self) -> None:
        await self.close()
        await self.open()

    async def crash(self, work: Coroutine[Any, Any, object]) -> bool:
        """Do `work`, which may crash; return whether it did, opened again."""
        with contextlib.suppress(Exception):
            await work
        image = self.steps.image
        if image is None:
            self.steps.disarm()
            return False
        with contextlib.suppress(Exception):
            await self.host.__aexit__(None, None, None)
        with contextlib.suppress(Exception):
            await self.vault.close()
        shutil.rmtree(self.directory)
        image.rename(self.directory)
        await self.open()
        return True

    async def seal(self) -> int:
        return await seal_whole(self.vault)

    async def round(self) -> Round:
        return await self.syncer.round()

    async def repair(self) -> Repaired:
        """What `awvault repair` does."""
        return await Repairer(
            self.vault, self.host, self.username, ignore_progress
        ).repair()

    @property
    def version(self) -> int:
        """Of the newest account document that is known here."""
        return self.vault.replica.account.document.version

    def alarms(self) -> list[str]:
        remote = self.notes.load()
        assert remote is not None
        return [alarm.name for alarm in remote.alarms]

    def shown(self) -> dict[int, Row]:
        """Return every event that is shown, by its id."""
        found: dict[int, Row] = {}
        for name, bucket in self.vault.buckets().items():
            table = self.vault.read(name)
            base = name if bucket.own else name.split(SYNCED_FROM)[0]
            assert bucket.own is (base in self.buckets and name == base), name
            assert self.vault.count(name) == len(table)
            for event_id, start, duration, data in zip(
                table.id.tolist(),
                table.start.tolist(),
                table.duration.tolist(),
                table.data.tolist(),
                strict=True,
            ):
                assert event_id not in found, "an event is shown twice"
                found[event_id] = Row(base, start, duration, table.texts[data])
        return found

    def heads(self) -> dict[ClientId, int]:
        return {c: head.seq for c, head in self.vault.replica.heads().items()}


@dataclass
class Owner:
    """An account, its clients, and what its owner does with a passphrase."""

    root: Path
    proxy_port: int
    username: str = USERNAME
    clients: list[Client] = field(default_factory=list)
    passphrase: str = PASSPHRASE

    async def register(self, *, hours: int = 0) -> Client:
        """Make the first client, with an account of its own, and register it."""
        first = await self._client(0, hours)
        opened = await self.opened(first)
        recovery = new_recovery_key(opened, secrets.token_bytes)
        edit = self.run(
            ClaimUsername(
                username=self.username,
                passphrase=Passphrase(self.passphrase),
                recovery=recovery,
            ),
            opened,
            first,
        )
        store, account_id = first.vault.store, first.vault.keys.account_id
        documents = await store.documents(account_id)
        assert edit.keys_blob is not None
        await first.vault.replica.adopt([edit.document], edit.keys_blob)
        opened = await self.opened(first)
        async with HostClient(first.url, limits=IMPATIENT) as host:
            await host.register(
                await self.prover(host, first),
                documents=[*documents, edit.document],
                keys_blob=edit.keys_blob,
                invite=None,
                keys=register_keys_of(
                    opened, recovery=recovery, client=first.vault.keys.client_key
                ),
            )
        await first.vault.replica.take_secret(Passphrase(self.passphrase))
        return first

    async def join(
        self, through: Client, *, hours: int = 0, label: str = "another"
    ) -> Client:
        """Add a client to the account, and open its vault."""
        opened = await self.opened(through)
        key = new_client_key(opened, secrets.token_bytes)
        await self.edit(AddClient(client=key, label=label), through)
        opened = await self.opened(through)
        store, account_id = through.vault.store, through.vault.keys.account_id
        blob = await store.keys_blob(account_id)
        assert blob is not None
        directory = self._directory(len(self.clients))
        directory.mkdir(mode=0o700)
        await make_vault(
            directory / "vault.db",
            account_id=account_id,
            client_id=key.client_id,
            documents=await store.documents(account_id),
            keys_blob=blob,
            keystore=new_keystore(opened, opened.account, key, secrets.token_bytes),
        )
        return await self._client(len(self.clients), hours)

    def _directory(self, number: int) -> Path:
        return self.root / f"{self.username}-{number}"

    async def _client(self, number: int, hours: int) -> Client:
        client = Client(
            number,
            self._directory(number),
            username=self.username,
            passphrase=self.passphrase,
            hours=hours,
            proxy_port=self.proxy_port,
        )
        await client.open()
        self.clients.append(client)
        return client

    async def edit(self, intent: Intent, client: Client) -> None:
        """Change the account on a client that knows its newest document."""
        opened = await self.opened(client)
        edit = self.run(intent, opened, client)
        key = login_key_of(opened)
        async with HostClient(client.url, limits=IMPATIENT) as host:
            await host.open_session(await self.prover(host, client), key=key)
            await host.put_document(
                await self.prover(host, client),
                document=edit.document,
                keys_blob=edit.keys_blob,
                key=key,
            )
            await host.end_session()
        await client.vault.replica.adopt([edit.document], edit.keys_blob)

    async def change_passphrase(self, through: Client) -> None:
        """Make salt, slot and login key anew; the words stay."""
        await self.edit(
            ChangePassphrase(passphrase=Passphrase(self.passphrase)), through
        )

    async def opened(self, client: Client) -> OpenedAccount:
        blob = await client.vault.store.keys_blob(client.vault.keys.account_id)
        assert blob is not None
        return open_keys(
            Passphrase(self.passphrase),
            client.vault.replica.account,
            blob,
            profile=CHEAP,
        )

    def run(self, intent: Intent, opened: OpenedAccount, client: Client) -> Edit:
        """Make an edit as a client makes it: with the heads that it has verified."""
        return intent.run(
            opened,
            heads=client.vault.replica.heads(),
            profile=CHEAP,
            random=secrets.token_bytes,
        )

    async def prover(self, host: HostClient, client: Client) -> Prover:
        answer = await host.prelogin(self.username)
        return Prover(
            username=self.username,
            client_id=client.client_id,
            salt=client.vault.replica.account.document.salt,
            nonce=answer.nonce,
        )

    async def close(self) -> None:
        """Close every client, whatever state it is in."""
        for client in self.clients:
            with contextlib.suppress(Exception):
                await client.close()


@dataclass
class World(Owner):
    """The account, its host, and the network between."""

    host: ProxiedHost = field(init=False)

    @classmethod
    async def begin(cls, root: Path, proxy: FaultProxy) -> "World":
        """Register an account with one client at a host of its own."""
        world = cls(root, proxy.port)
        world.host = ProxiedHost(root / "host", registration=Registration.OPEN)
        world.host.proxy_port = proxy.port
        await world.host.start()
        proxy.retarget(world.host.port)
        await world.register()
        return world

    async def end(self) -> None:
        await self.close()
        await self.host.stop()

    def client(self, client_id: ClientId) -> Client:
        return next(one for one in self.clients if one.client_id == client_id)

    async def stored(self) -> tuple[dict[ClientId, int], int]:
        """Return up to which seq the host has each log, and which document.

        That is so whatever it says.
        """
        first = self.clients[0]
        caller = Caller(
            account_id=first.vault.keys.account_id,
            client_id=first.client_id,
            token_hash=b"",
            version=0,
        )
        answer = await self.host.service.logs.heads(caller)
        heads = {
            ClientId(bytes.fromhex(head.client_id)): head.seq for head in answer.heads
        }
        return heads, answer.version

    def hash_at(self, client_id: ClientId, seq: int) -> Any:
        """Return the hash of a record, as its own client has it."""
        return self.client(client_id).vault.replica.hash_at(client_id, Seq(seq))
