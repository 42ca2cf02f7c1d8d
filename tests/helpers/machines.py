"""Machines of one owner, a real host, and a network between them that can break."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from awserver.config import Registration as Takes
from awvault.accounts import Accounts, Connect, RecoveryKeyOf, Registration
from awvault.crypto.keys import Passphrase, RecoveryKey
from awvault.login import Admission, Entrance, Login
from awvault.moving import Move
from awvault.processes import DataDirectory
from awvault.sync.channel import Limits
from awvault.sync.transport import HostClient
from awvault.testing import CHEAP, COMPOSITION, PASSPHRASE, open_vault
from awvault.vault import Vault
from tests.helpers.fault_proxy import FaultProxy
from tests.helpers.hosts import RunningHost, loose_settings, running_host

NEW_PASSPHRASE: Final = "another horse, another battery, another staple"
IMPATIENT: Final = Limits(connect_seconds=5.0, stall_seconds=5.0)
"""What a test waits for that cuts connections."""


class KilledError(Exception):
    """The process ended here: nothing after this was done."""


@dataclass
class Steps:
    """Does something when a flow passes a step; notes what it has passed."""

    passed: list[str] = field(default_factory=list)
    at: dict[str, Callable[[], None]] = field(default_factory=dict)

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if name in self.at:
            self.at.pop(name)()

    def kill_at(self, name: str) -> None:
        def kill() -> None:
            raise KilledError(name)

        self.at[name] = kill


@dataclass
class Network:
    """A host, and the address by which its clients know it: a proxy's."""

    host: RunningHost
    proxy: FaultProxy
    root: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    def connect(self, url: str, insecure: bool) -> HostClient:
        return HostClient(url, insecure=insecure, limits=IMPATIENT)

    @contextlib.asynccontextmanager
    async def machine(
        self,
        name: str,
        passphrase: str = PASSPHRASE,
        *,
        connect: Connect | None = None,
    ) -> AsyncIterator["Machine"]:
        """Open the vault of a machine; it is made if there is none."""
        async with await open_vault(self.root / name, passphrase=passphrase) as vault:
            steps = Steps()
            accounts = Accounts(
                vault, profile=CHEAP, step=steps, connect=connect or self.connect
            )
            yield Machine(self, vault, accounts, steps)

    def wanted(self, username: str = "alice", **more: Any) -> Registration:
        made = Registration(
            url=self.url,
            insecure=False,
            username=username,
            passphrase=Passphrase(PASSPHRASE),
        )
        return replace(made, **more)

    def entrance(
        self,
        name: str,
        *,
        username: str = "alice",
        passphrase: str = PASSPHRASE,
        steps: Callable[[str], None] = lambda _: None,
    ) -> Entrance:
        """Return the login of another machine."""
        return Entrance(
            Login(
                url=self.url,
                insecure=False,
                username=username,
                passphrase=Passphrase(passphrase),
                label=name,
            ),
            self.root / f"{name}.login",
            profile=CHEAP,
            step=steps,
            connect=self.connect,
        )

    async def enter(self, name: str, **how: Any) -> Admission:
        return await self.entrance(name, **how).enter()

    def move(
        self,
        name: str,
        *,
        username: str = "alice",
        passphrase: str = PASSPHRASE,
        steps: Callable[[str], None] = lambda _: None,
    ) -> Move:
        """Return the login of a machine, with the vault that it has."""
        directory = self.root / name
        directory.mkdir(mode=0o700, exist_ok=True)
        return Move(
            Login(
                url=self.url,
                insecure=False,
                username=username,
                passphrase=Passphrase(passphrase),
                label=name,
            ),
            DataDirectory(directory),
            composition=replace(COMPOSITION, step=steps),
            connect=self.connect,
        )

    async def stored_documents(self) -> int:
        """How many account documents the host has, of all accounts."""
        with self.host.database.reading() as tx:
            ((count,),) = tx.execute("SELECT count(*) FROM documents").fetchall()
        assert isinstance(count, int)
        return count


@dataclass
class Machine:
    """One installation, with a vault that is open."""

    network: Network
    vault: Vault
    accounts: Accounts
    steps: Steps

    async def register(self, **more: Any) -> RecoveryKey:
        """Register, as a person does who writes down the words."""
        wanted = self.network.wanted(**more)
        recovery = await self.accounts.prepare(wanted)
        assert isinstance(recovery, RecoveryKey)
        arrived = await self.accounts.register(wanted, recovery)
        assert arrived.recovery is RecoveryKeyOf.THIS
        return recovery

    @property
    def username(self) -> str:
        return self.accounts.account.document.username


@contextlib.asynccontextmanager
async def network(root: Path, *, takes: Takes = Takes.OPEN) -> AsyncIterator[Network]:
    """Give a host behind a proxy."""
    with FaultProxy(0) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with running_host(
            root / "host",
            settings=lambda own: replace(
                loose_settings(own, registration=takes), origins=(url, own)
            ),
        ) as host:
            proxy.retarget(host.port)
            yield Network(host, proxy, root)
