"""A host's service over a real database, with a clock that tests turn."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

from awserver.config import Registration, ServiceSettings
from awserver.service.base import Caller, Service
from awserver.service.host import open_service
from awserver.storage.sqlite import logs
from awserver.storage.sqlite.database import Database, Probe
from awserver.wire import PreloginRequest
from tests.helpers.randomness import Seeded
from tests.helpers.tenants import ORIGIN, OTHER_ORIGIN, Tenant

ADDRESS: Final = "192.0.2.1"
HOUR_US: Final = 3600 * 1_000_000
MINUTE_US: Final = 60 * 1_000_000
SECOND_US: Final = 1_000_000
START_US: Final = 500_000 * HOUR_US

_opened: Final = count()

SETTINGS: Final = ServiceSettings(
    origins=(ORIGIN, OTHER_ORIGIN), registration=Registration.OPEN
)


@dataclass(slots=True)
class TurnedClock:
    """Time that stands still until it is turned."""

    now_us: int = START_US

    def __call__(self) -> int:
        return self.now_us

    def turn(self, *, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        self.now_us += int(hours * HOUR_US + minutes * MINUTE_US + seconds * SECOND_US)


@dataclass(kw_only=True)
class Host:
    """The service, and what tests do with it again and again."""

    service: Service
    database: Database
    clock: TurnedClock
    addresses: int = 0
    random: Seeded = field(default_factory=lambda: Seeded("host"))

    async def nonce(self, username: str, *, address: str | None = None) -> bytes:
        answer = await self.service.sessions.prelogin(
            PreloginRequest(username=username), address=address or self.address()
        )
        return answer.nonce

    def address(self) -> str:
        """Return an address that has asked for nothing yet."""
        self.addresses += 1
        return f"198.51.{self.addresses // 250}.{self.addresses % 250}"

    async def register(self, tenant: Tenant, **changes: Any) -> Caller:
        """Register, and return the caller of the first session."""
        nonce = await self.nonce(tenant.newest.document.username)
        answer = await self.service.accounts.register(
            tenant.register_request(nonce, **changes), address=self.address()
        )
        return await self.service.sessions.find(answer.token)

    async def login(self, tenant: Tenant, **changes: Any) -> Caller:
        return await self.service.sessions.find(await self.token(tenant, **changes))

    async def token(self, tenant: Tenant, **changes: Any) -> str:
        nonce = await self.nonce(tenant.newest.document.username)
        answer = await self.service.sessions.create(
            tenant.session_request(nonce, **changes), address=self.address()
        )
        return answer.token

    async def put(
        self, tenant: Tenant, caller: Caller, document: bytes, **changes: Any
    ) -> int:
        """Send the next document with a fresh proof; return its version."""
        nonce = await self.nonce(tenant.newest.document.username)
        answer = await self.service.documents.put(
            caller,
            tenant.document_request(nonce, document, **changes),
            address=self.address(),
        )
        return answer.version


@asynccontextmanager
async def open_host(
    path: Path,
    *,
    create: bool = True,
    clock: TurnedClock | None = None,
    probe: Probe | None = None,
    is_local: bool = False,
    is_read_only: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> AsyncIterator[Host]:
    """Open a host over the database in `path`."""
    database = Database.open(path, create=create, probe=probe)
    try:
        logs.migrate(database)
        turned = clock or TurnedClock()
        random = Seeded(f"{path} {next(_opened)}")
        async with open_service(
            database,
            replace(SETTINGS, **settings),
            clock_us=turned,
            random=random,
            is_local=is_local,
            is_read_only=is_read_only,
        ) as service:
            yield Host(service=service, database=database, clock=turned)
    finally:
        await database.close()
