"""Clients of one account that meet at a real host, all in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from awserver.records import ClientId
from awvault.crypto.keys import ClientKey, Passphrase
from awvault.opening import Composition
from awvault.protocol.edits import (
    ClaimUsername,
    login_key_of,
    new_recovery_key,
    register_keys_of,
)
from awvault.remote import Alarm, Remote, RemoteNotes
from awvault.sync.channel import Limits
from awvault.sync.rounds import Round, Syncer
from awvault.sync.transport import HostClient, Prover
from awvault.testing import COMPOSITION, PASSPHRASE
from awvault.vault import Vault
from tests.helpers.clients import Account, account_of, seal_whole
from tests.helpers.fault_proxy import FaultProxy
from tests.helpers.hosts import loose_settings, running_host
from tests.helpers.lying_host import LyingHost, lying_host
from tests.helpers.randomness import Seeded
from tests.helpers.vaults import A, bucket, insert

USERNAME: Final = "ann"
WAIT_SECONDS_MAX: Final = 20.0
IMPATIENT: Final = Limits(connect_seconds=2.0, stall_seconds=2.0)


class Ticks:
    """A clock that shows another microsecond each time it is looked at."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now


async def until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds, which must not take long."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - whatever it looks at has no event
            await asyncio.sleep(0.01)


def notes_of(vault: Vault) -> RemoteNotes:
    """Return the notes of a vault on its host."""
    return RemoteNotes(vault.database, vault.keys, random=Seeded("notes"))


@dataclass
class Member:
    """One client: its vault, its notes, and its way to the host."""

    vault: Vault
    notes: RemoteNotes
    host: HostClient
    syncer: Syncer

    @property
    def client_id(self) -> ClientId:
        return self.vault.keys.client_id

    @property
    def remote(self) -> Remote:
        found = self.notes.load()
        assert found is not None
        return found

    def alarms(self) -> dict[str, str | None]:
        """Return the names of the alarms there are, with whose log each is about."""
        return {alarm.name: alarm.client_id for alarm in self.remote.alarms}

    def alarm(self, name: str) -> Alarm:
        (found,) = (alarm for alarm in self.remote.alarms if alarm.name == name)
        return found

    async def sync(self) -> Round:
        """Make one round with what is sealed."""
        return await self.syncer.round()

    async def record(self, *starts: float, name: str = "window") -> None:
        """Store an event at each of these seconds, seal them, and make one round."""
        if name not in self.vault.buckets():
            await bucket(self.vault, name)
        await insert(self.vault, *((start, 1, A) for start in starts), name=name)
        assert (await self.seal_and_sync()).alarms == []

    async def seal_and_sync(self) -> Round:
        """Seal everything, also what is open, and make one round."""
        await seal_whole(self.vault)
        return await self.sync()


@dataclass
class Meeting:
    """An account on a host, its owner, and its clients."""

    account: Account
    url: str
    stack: AsyncExitStack
    limits: Limits

    async def member(self, vault: Vault) -> Member:
        """Give a vault that is open its way to the host."""
        notes = notes_of(vault)
        known = notes.load()
        if known is None:
            await notes.save(Remote(url=self.url, insecure=False, username=USERNAME))
        host = await self.stack.enter_async_context(
            HostClient(self.url, limits=self.limits)
        )
        syncer = Syncer(vault, notes, host, clock=Ticks())
        return Member(vault, notes, host, syncer)

    async def join(self, label: str) -> Member:
        """Add a client to the account, on the host too, and open its vault."""
        vault = await self.account.join(label)
        await self.put_document()
        return await self.member(vault)

    async def prove(self, key: ClientKey | None = None) -> tuple[HostClient, Prover]:
        """Return the host, and what one proof of the owner needs."""
        document = self.account.opened.account.document
        host = await self.stack.enter_async_context(
            HostClient(self.url, limits=self.limits)
        )
        answer = await host.prelogin(USERNAME)
        first = next(iter(self.account.opened.account.clients))
        return host, Prover(
            username=USERNAME,
            client_id=first if key is None else key.client_id,
            salt=document.salt,
            nonce=answer.nonce,
        )

    async def put_document(self) -> None:
        """Upload the newest version of the account document."""
        key = login_key_of(self.account.opened)
        host, prover = await self.prove()
        await host.open_session(prover, key=key)
        _, prover = await self.prove()
        await host.put_document(
            prover,
            document=self.account.documents[-1],
            keys_blob=self.account.keys_blob,
            key=key,
        )


@asynccontextmanager
async def meeting(
    root: Path,
    url: str,
    *,
    composition: Composition = COMPOSITION,
    limits: Limits = IMPATIENT,
) -> AsyncIterator[tuple[Meeting, Member]]:
    """Register an account at a host; give it, and its first client."""
    await asyncio.to_thread(root.mkdir, parents=True, exist_ok=True)
    async with (
        account_of(root, composition=composition) as (account, vault),
        contextlib.AsyncExitStack() as stack,
    ):
        recovery = new_recovery_key(account.opened, account.random)
        account.edit(
            ClaimUsername(
                username=USERNAME, passphrase=Passphrase(PASSPHRASE), recovery=recovery
            )
        )
        await account.adopt(vault)
        made = Meeting(account=account, url=url, stack=stack, limits=limits)
        talking, prover = await made.prove()
        await talking.register(
            prover,
            documents=account.documents,
            keys_blob=account.keys_blob,
            invite=None,
            keys=register_keys_of(
                account.opened, recovery=recovery, client=vault.keys.client_key
            ),
        )
        yield made, await made.member(vault)


@asynccontextmanager
async def two_clients(root: Path) -> AsyncIterator[tuple[Meeting, Member, Member]]:
    """Give an account with two clients at a host of its own."""
    async with (
        running_host(root / "host") as host,
        meeting(root / "clients", host.url) as (met, one),
    ):
        two = await met.join("second")
        await one.sync()
        yield met, one, two


@asynccontextmanager
async def lied_to(
    root: Path,
) -> AsyncIterator[tuple[LyingHost, Meeting, Member, Member]]:
    """Give the same, at a host that a test can make lie."""
    async with (
        lying_host(root / "host") as host,
        meeting(root / "clients", host.url) as (met, one),
    ):
        two = await met.join("second")
        await one.sync()
        yield host, met, one, two


@asynccontextmanager
async def cut_off(
    root: Path, limits: Limits = IMPATIENT
) -> AsyncIterator[tuple[FaultProxy, Member, Member]]:
    """Give the same, with a network between them and the host that can fail."""
    with FaultProxy(0) as proxy:
        between = f"http://127.0.0.1:{proxy.port}"
        async with (
            running_host(
                root / "host",
                settings=lambda url: replace(
                    loose_settings(url), origins=(url, between)
                ),
            ) as host,
        ):
            proxy.retarget(host.port)
            async with meeting(root / "clients", between, limits=limits) as (met, one):
                two = await met.join("second")
                await one.sync()
                yield proxy, one, two
