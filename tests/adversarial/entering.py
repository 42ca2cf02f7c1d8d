"""A machine that registers or logs in at a host that can lie, over a proxy.

What the flows of `awvault.accounts` and `awvault.login` are attacked with: every
byte passes a proxy that keeps a copy, and the machine's directory can be looked at.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from awserver.config import Registration
from awvault.crypto.keys import Passphrase, RecoveryKey
from awvault.crypto.passphrase import derive_passphrase_key
from tests.helpers.canaries import Search, bytes_needles, text_needles
from tests.helpers.fault_proxy import LOOPBACK, FaultProxy
from tests.helpers.lying_host import Handler, Lie, LyingHost, lying_host
from tests.helpers.machines import Machine, Network
from tests.helpers.owners import CHEAP, PASSPHRASE

USERNAME: Final = "alice"
WRONG: Final = "zigzag yodel wombat quagmire kazoo"


@dataclass
class Door:
    """A host, its clients' way to it, and a machine that is registered there."""

    host: LyingHost
    network: Network
    machine: Machine
    recovery: RecoveryKey

    @property
    def proxy(self) -> FaultProxy:
        return self.network.proxy

    def what_the_machine_has(self) -> object:
        """Return what no lie may change: pin, salt, keys and what unlocks."""
        standing = self.machine.vault.keys.standing
        return (
            standing.known.pin,
            standing.known.document.salt,
            sorted(standing.ring),
            standing.unlock,
            dict(self.machine.vault.replica.heads()),
        )

    async def enters(self, name: str = "new machine", **how: Any) -> None:
        """Let another machine log in: it works."""
        admission = await self.network.enter(name, **how)
        assert admission.account.document.client(admission.client_id) is not None

    def nothing_was_made(self, name: str = "new machine") -> None:
        """Assert that a login which failed left no client and sent none."""
        assert not (self.network.root / f"{name}.login").exists()
        assert not (self.network.root / name).exists()
        assert b"/api/1/accounts" not in self.proxy.sent("up")

    def no_secret_left(self, *more: bytes) -> None:
        """Assert that no key and no passphrase is in the traffic."""
        keys = self.machine.vault.keys
        salt = keys.standing.known.document.salt
        secrets = {
            "passphrase key": derive_passphrase_key(
                Passphrase(PASSPHRASE), username=USERNAME, salt=salt, profile=CHEAP
            ).reveal(),
            "client seed": keys.client_key.reveal(),
            "recovery key": self.recovery.reveal(),
            **{f"epoch {n}": key.reveal() for n, key in keys.standing.ring.items()},
            **{f"more {n}": one for n, one in enumerate(more)},
        }
        found = {name: list(bytes_needles(name, raw)) for name, raw in secrets.items()}
        for text in (PASSPHRASE, WRONG):
            found[text] = list(text_needles("passphrase", text))
        search = Search(found)
        search.check("the traffic", self.proxy.sent())
        search.check("the host", self.host.dump())
        assert b"/api/1/" in self.proxy.sent("up")


@asynccontextmanager
async def door(
    root: Path, *, registration: Registration = Registration.OPEN
) -> AsyncIterator[Door]:
    """Give a machine that has registered, at a host which is honest so far."""
    with FaultProxy(0) as proxy:
        between = f"http://{LOOPBACK}:{proxy.port}"
        async with lying_host(
            root / "host", also_origins=(between,), registration=registration
        ) as host:
            proxy.retarget(host.port)
            network = Network(host, proxy, root)  # type: ignore[arg-type]
            async with network.machine("first machine") as machine:
                recovery = await machine.register(username=USERNAME)
                proxy.forget()
                yield Door(host, network, machine, recovery)


class Answers(Lie):
    """Answers what is asked at one path with other bytes."""

    def __init__(
        self,
        path: str,
        body: bytes,
        *,
        status: int = 200,
        content_type: str = "application/json",
    ) -> None:
        self._path = f"/api/1{path}"
        self._body = body
        self._status = status
        self._type = content_type

    async def http(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != self._path:
            return await handler(request)
        return web.Response(
            status=self._status, body=self._body, headers={"Content-Type": self._type}
        )
