"""One owner's two machines and a host, each a process of its own.

Each machine knows the host by the address of a proxy that is its own, so that its
network can be cut alone. Everything is set up as a person sets it up: with
`awvault register` on the first machine and `awvault login` on the second.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from awvault.naming import SYNCED_FROM
from tests.durability.load import Api, connected
from tests.helpers.fault_proxy import FaultProxy
from tests.helpers.hosts import HostProcess, host_process
from tests.helpers.processes import (
    CLOCK_VARIABLE,
    Finished,
    Home,
    Root,
    Server,
    ServerDiedError,
    home,
)

USERNAME: Final = "ann"
PASSPHRASE: Final = "harbor velvet cactus tunnel orbit mango lantern"
SCHEDULE_VARIABLE: Final = "AWVAULT_SYNC_SCHEDULE"
DONE: Final = 0
UNREACHABLE: Final = 3

BEATS: Final = "beats"
"""A bucket that no books are kept of."""


@dataclass
class Machine:
    """One machine of the owner, with its gateway and its way to the host."""

    role: str
    """What the tests call it."""
    home: Home
    proxy: FaultProxy
    server: Server | None = None
    label: str = ""
    """What the account calls it; the first machine's is its host name."""

    def __post_init__(self) -> None:
        self.label = self.label or self.role

    @property
    def url(self) -> str:
        """The address by which this machine knows the host."""
        return f"http://127.0.0.1:{self.proxy.port}"

    @property
    def gateway(self) -> str:
        assert self.server is not None
        return self.server.url

    async def run(self, *arguments: str, stdin: bytes = b"") -> Finished:
        """Run an `awvault` command to its end."""
        return await asyncio.to_thread(self.home.run, *arguments, stdin=stdin)

    async def good(self, *arguments: str) -> Finished:
        """Run a command that must work."""
        done = await self.run(*arguments)
        assert done.status == DONE, (self.label, arguments, done)
        return done

    async def json(self, *arguments: str) -> Any:
        """Return the JSON that a command prints, which must work."""
        return json.loads((await self.good(*arguments, "--json")).stdout)

    async def start(self, *, kill_at: str | None = None) -> None:
        self.server = await asyncio.to_thread(self.home.serve, kill_at=kill_at)

    async def kill(self) -> None:
        assert self.server is not None
        await asyncio.to_thread(self.server.kill)

    async def stop(self) -> None:
        assert self.server is not None
        status, _ = await asyncio.to_thread(self.server.terminate)
        assert status == DONE, self.server.stderr

    async def sync(self) -> int:
        """Exchange records now; return the exit status, which accuses nobody."""
        done = await self.run("sync", "--json")
        assert done.status in {DONE, UNREACHABLE}, (self.label, done)
        return done.status

    async def login(self, at: "Machine | None" = None) -> Any:
        """Make this machine a client of the account."""
        return await self.json(
            "login",
            self.url,
            "--username",
            USERNAME,
            "--account-passphrase-file",
            str(self.home.passphrase_file),
            "--label",
            self.label,
        )


class Shown(Api):
    """A gateway as it shows one machine's buckets, by the names they have there."""

    def __init__(self, api: Api, suffix: str) -> None:
        super().__init__(api.session, api.url)
        self._suffix = suffix

    async def call(self, method: str, path: str, value: object = None) -> Any:
        if path == "buckets/":
            listed = await super().call(method, path, value)
            return {
                name.removesuffix(self._suffix): bucket
                for name, bucket in listed.items()
                if (name.endswith(self._suffix) if self._suffix else _is_own(name))
                and not name.startswith(BEATS)
            }
        kind, name, rest = path.split("/", 2)
        return await super().call(method, f"{kind}/{name}{self._suffix}/{rest}", value)


def _is_own(name: str) -> bool:
    return SYNCED_FROM not in name


@contextlib.asynccontextmanager
async def shown(machine: Machine, whose: Machine) -> AsyncIterator[Shown]:
    """Give what a machine shows of another, or of itself.

    Both must have buckets of the same names, so that the other's have a suffix.
    """
    suffix = "" if machine is whose else f"{SYNCED_FROM}{whose.label}"
    async with connected(machine.gateway) as api:
        yield Shown(api, suffix)


@dataclass
class Household:
    """A host and two machines."""

    root: Path
    host: HostProcess
    laptop: Machine
    desktop: Machine

    @property
    def machines(self) -> list[Machine]:
        return [self.laptop, self.desktop]

    async def restart_host(self) -> None:
        """Kill the host, and start it again at its port."""
        await asyncio.to_thread(self.host.kill)
        await asyncio.to_thread(self.host.start)

    async def register(self) -> None:
        """Make the account on the laptop, and let the desktop in."""
        await self.laptop.json(
            "register",
            self.laptop.url,
            "--username",
            USERNAME,
            "--recovery-file",
            str(self.root / "recovery"),
        )
        await self.desktop.login()
        await self.learn_labels()

    async def learn_labels(self) -> None:
        """Take over what the account calls its machines."""
        for machine in self.machines:
            for client in await machine.json("clients", "list"):
                if client["own"]:
                    machine.label = client["label"]

    async def settle(self) -> None:
        """Let both exchange everything there is."""
        for _ in range(2):
            for machine in self.machines:
                await machine.good("sync")

    async def events(self, machine: Machine) -> dict[str, list[dict[str, Any]]]:
        """Return everything that a machine shows, by bucket and in order of id."""
        found: dict[str, list[dict[str, Any]]] = {}
        async with connected(machine.gateway) as api:
            for name in await api.call("GET", "buckets/"):
                events = await api.events(name)
                found[name] = sorted(events, key=lambda event: int(event["id"]))
        return found


def by_owner(
    everything: dict[str, list[dict[str, Any]]], machine: Machine, other: Machine
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Name buckets by machine and name, wherever they are shown."""
    suffix = f"{SYNCED_FROM}{other.label}"
    return {
        (other.label, name.removesuffix(suffix))
        if name.endswith(suffix)
        else (machine.label, name): events
        for name, events in everything.items()
    }


@contextlib.asynccontextmanager
async def household(
    root: Path,
    *,
    schedule: str = "live",
    laptop_hours: float = 0,
    desktop_hours: float = 0,
    programs: Root = Root.FORKED,
    registered: bool = True,
) -> AsyncIterator[Household]:
    """Run a host and two gateways, whose clocks are wrong by so many hours."""
    with contextlib.ExitStack() as stack:
        machines = []
        for label, hours in (("laptop", laptop_hours), ("desktop", desktop_hours)):
            proxy = stack.enter_context(FaultProxy(0))
            where = stack.enter_context(
                home(root / label, root=programs, passphrase=PASSPHRASE)
            )
            where.variables[SCHEDULE_VARIABLE] = schedule
            where.variables[CLOCK_VARIABLE] = str(hours)
            machines.append(Machine(label, where, proxy))
        origins = [
            argument for machine in machines for argument in ("--origin", machine.url)
        ]
        host = stack.enter_context(
            host_process(root / "host", "--registration", "open", *origins)
        )
        for machine in machines:
            machine.proxy.retarget(host.port)
            await machine.start()
        laptop, desktop = machines
        made = Household(root, host, laptop, desktop)
        if registered:
            await made.register()
        yield made


__all__ = [
    "BEATS",
    "DONE",
    "UNREACHABLE",
    "USERNAME",
    "Household",
    "Machine",
    "ServerDiedError",
    "by_owner",
    "household",
    "shown",
]
