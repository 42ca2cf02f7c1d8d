"""The host, put together: settings, database, service, HTTP.

`aw-server host` runs `serve`. The gateway of localhost mode has a `LocalHost`
instead, which serves the same routes over the vault's own database.
"""

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from awserver.config import ServiceSettings
from awserver.documents import AccountDocument, SignedDocument
from awserver.errors import NoAccountError, StartError
from awserver.http.application import Application, add_api, create_application
from awserver.http.calls import Api, Check
from awserver.http.guards import Addresses
from awserver.http.server import ConnectionLimits, create_runner, start_site
from awserver.records import AccountId
from awserver.service.base import Service
from awserver.service.host import open_service
from awserver.settings import HostSettings, Listen, prepare_data_dir
from awserver.storage.base import Account, Standing
from awserver.storage.sqlite import logs as log_store
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore

BACKLOG: Final = 1_024
STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

log = logging.getLogger(__name__)


def create_host(
    service: Service, database: Database, *, trusted_proxies: tuple[str, ...] = ()
) -> Api:
    """Return what the routes of /api/1 need to serve `service`."""

    async def ready() -> None:
        # To begin a reading is to ask the database something.
        with database.reading():
            pass

    return Api(service=service, addresses=Addresses(trusted_proxies), ready=ready)


def wall_clock_us() -> int:
    """Return microseconds since 1970."""
    return time.time_ns() // 1_000


def open_database(settings: HostSettings, *, create: bool) -> Database:
    """Open the host's database, and bring it to this program's version.

    With `create`, it is made where there is none. Raises `StorageError`.
    """
    path = settings.database
    missing = not path.exists() or path.stat().st_size == 0
    # An empty file is what a start leaves that was killed in its first moment.
    database = Database.open(path, create=create and not path.exists())
    try:
        if missing:
            log.info("database made", extra={"path": str(path)})
        log_store.migrate(database)
        database.check_schema({log_store.COMPONENT: log_store.migrations()})
    except BaseException:
        asyncio.run(database.close())
        raise
    return database


@contextlib.asynccontextmanager
async def open_host(
    settings: HostSettings,
    service_settings: ServiceSettings,
    *,
    create: bool = True,
) -> AsyncIterator[tuple[Service, Database]]:
    """Give the service of a host in this process; all of it ends with the context."""
    database = await asyncio.to_thread(open_database, settings, create=create)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        service = await stack.enter_async_context(
            open_service(
                database,
                service_settings,
                clock_us=wall_clock_us,
                random=secrets.token_bytes,
            )
        )
        yield service, database


class LocalHost:
    """/api/1 of localhost mode: the routes at once, a service when there is one.

    Until then, requests are told to try again in a second. Nobody can register.
    """

    def __init__(self, check: Check) -> None:
        """Let `check` look at every request first; it raises a `ServerError`."""
        self._api = Api(service=None, check=check)

    def add_routes(self, app: Application) -> None:
        """Add the routes; before one that takes every address."""
        add_api(app, self._api)

    @contextlib.asynccontextmanager
    async def serving(
        self,
        database: Database,
        *,
        address: str,
        port: int,
        is_read_only: Callable[[], bool],
        on_change: Callable[[AccountId], None],
    ) -> AsyncIterator[None]:
        """Serve the account of a vault's database, which holds one.

        `on_change` is called after what came through these routes was stored.
        """
        async with open_service(
            database,
            ServiceSettings(origins=_origins_of(Listen(address=address, port=port))),
            clock_us=wall_clock_us,
            random=secrets.token_bytes,
            is_local=True,
            is_read_only=is_read_only,
            on_change=on_change,
        ) as service:
            self._api.service = service
            try:
                yield
            finally:
                self._api.service = None


def service_settings(settings: HostSettings, listen: Listen) -> ServiceSettings:
    """Return what the service needs of the settings, once the port is known."""
    return ServiceSettings(
        origins=settings.origins or _origins_of(listen),
        registration=settings.registration,
        quota_bytes=settings.quota_bytes,
    )


def _origins_of(listen: Listen) -> tuple[str, ...]:
    """Return the names that this machine has for a loopback address."""
    address = f"[{listen.address}]" if ":" in listen.address else listen.address
    port = "" if listen.port == 80 else f":{listen.port}"
    return tuple(
        dict.fromkeys(
            f"http://{name}{port}"
            for name in (address, "127.0.0.1", "localhost", "[::1]")
        )
    )


def serve(settings: HostSettings) -> int:
    """Run a host until a signal ends it; return the exit status.

    Raises `StartError`, `SettingsError` or `StorageError` if it cannot start.
    """
    with contextlib.closing(_bind(settings.listen)) as listener:
        prepare_data_dir(settings)
        with (
            _held(settings),
            asyncio.Runner(loop_factory=_loop_factory()) as runner,
        ):
            return runner.run(_run(settings, listener))


async def _run(settings: HostSettings, listener: socket.socket) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        _on_signal(loop, number, stop.set)
    address, port = listener.getsockname()[:2]
    listen = Listen(address=address, port=port)
    async with open_host(settings, service_settings(settings, listen)) as opened:
        service, database = opened
        api = create_host(service, database, trusted_proxies=settings.trusted_proxies)
        runner = create_runner(
            create_application(api),
            api,
            limits=ConnectionLimits(
                connections_max=settings.connections_max,
                per_address_max=settings.connections_per_address_max,
            ),
        )
        await runner.setup()
        try:
            await start_site(runner, listener, backlog=BACKLOG)
            sys.stdout.write(f"aw-server host is ready on http://{listen}\n")
            sys.stdout.flush()
            notify("READY=1")
            await stop.wait()
            log.info("stopping")
            notify("STOPPING=1")
        finally:
            await runner.cleanup()
    return 0


async def make_invite(settings: HostSettings) -> str:
    """Return a new invitation. Works beside a running host."""
    async with _administered(settings) as (service, _):
        return await service.administration.invite()


async def make_backup(settings: HostSettings, target: Path) -> None:
    """Write a copy of a host's database to a new file. Works beside a running host."""
    async with _administered(settings) as (_, database):
        try:
            await database.copy_to(target)
        except FileExistsError:
            raise StartError(
                f'there is a file "{target}" already',
                hint="name a new one: a backup replaces none",
            ) from None


Described = dict[str, str | int | None]
"""An account as `aw-server admin accounts` prints it."""


async def list_accounts(settings: HostSettings) -> list[Described]:
    """Return every account, as `aw-server admin accounts list` prints them."""
    found: list[Described] = []
    async with _administered(settings) as (service, database):
        after = None
        while page := await service.administration.accounts(after=after):
            for account in page:
                newest = await _newest(database, account)
                found.append(_described(account, newest))
            after = page[-1].account_id
    return found


async def show_account(settings: HostSettings, name: str) -> Described:
    """Return what the host knows of one account. Raises `NoAccountError`."""
    async with _administered(settings) as (service, database):
        account = await _account(service, name)
        newest = await _newest(database, account)
        return _described(account, newest) | {
            "clients_revoked": sum(one.revoked for one in newest.clients),
            "document_version": newest.version,
            "sessions": await service.administration.sessions(account.account_id),
        }


async def set_standing(
    settings: HostSettings, name: str, standing: Standing
) -> Described:
    """Serve an account, or do not; return it. Raises `NoAccountError`."""
    async with _administered(settings) as (service, database):
        account = await _account(service, name)
        await service.administration.set_standing(account.account_id, standing)
        return await _described_now(service, database, name)


async def set_quota(
    settings: HostSettings, name: str, quota_bytes: int | None
) -> Described:
    """Set what an account may store; None: as the host has it set for everyone.

    Return the account. Raises `NoAccountError`.
    """
    async with _administered(settings) as (service, database):
        account = await _account(service, name)
        await service.administration.set_quota(account.account_id, quota_bytes)
        return await _described_now(service, database, name)


async def delete_account(settings: HostSettings, account_id: str) -> None:
    """Delete an account, and every record it stored. Raises `NoAccountError`."""
    async with _administered(settings) as (service, _):
        account = await _account(service, account_id)
        await service.administration.delete(account.account_id)


async def _account(service: Service, name: str) -> Account:
    account = await service.administration.account(name)
    if account is None:
        raise NoAccountError(name)
    return account


async def _newest(database: Database, account: Account) -> AccountDocument:
    documents = await SqliteLogStore(database).documents(account.account_id)
    return SignedDocument.decode(documents[-1]).document


async def _described_now(service: Service, database: Database, name: str) -> Described:
    account = await _account(service, name)
    return _described(account, await _newest(database, account))


def _described(account: Account, newest: AccountDocument) -> Described:
    return {
        "account": account.account_id.hex(),
        "username": account.username,
        "clients": sum(not one.revoked for one in newest.clients),
        "entries": account.usage.entries,
        "stored_bytes": account.usage.stored_bytes,
        "quota_bytes": account.quota_bytes,
        "standing": account.standing.name.lower(),
    }


@contextlib.asynccontextmanager
async def _administered(
    settings: HostSettings,
) -> AsyncIterator[tuple[Service, Database]]:
    """Give the service of a host that is there; raises `StartError` if none is."""
    if not settings.database.exists():
        raise StartError(
            f'there is no host in "{settings.data_dir}"',
            hint="`aw-server host` makes one; --data-dir says where it lies",
        )
    async with open_host(
        settings, service_settings(settings, settings.listen), create=False
    ) as opened:
        yield opened


def notify(state: str) -> None:
    """Tell systemd how we are, where it asked to be told (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending,
    ):
        sending.connect(address)
        sending.sendall(state.encode())


def _bind(listen: Listen) -> socket.socket:
    """Return a socket that has the address to itself; raises `StartError`."""
    family = socket.AF_INET6 if ":" in listen.address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            # There, SO_REUSEADDR lets two programs share a port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Start again at once after a stop, whatever connections linger.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listen.address, listen.port))
        # Another program that bound the port too and listens is found here.
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - its only argument
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {listen.port} on {listen.address} is taken by another program",
                hint="stop it, or choose another port with --listen",
            ) from error
        raise StartError(
            f"cannot listen on {listen}: {error.strerror or error}"
        ) from error
    return listener


@contextlib.contextmanager
def _held(settings: HostSettings) -> Iterator[None]:
    """Keep a second host out of the data directory; raises `StartError`.

    `aw-server admin` does not need it: SQLite lets it write beside the host.
    """
    lock = FileLock(settings.lock_file, mode=0o600)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise StartError(
            f'another host serves from "{settings.data_dir}"',
            hint="stop it, or name another directory with --data-dir",
        ) from None
    except OSError as error:
        raise StartError(
            f'cannot lock "{settings.lock_file}": {error.strerror or error}'
        ) from error
    try:
        yield
    finally:
        lock.release()


def _on_signal(
    loop: asyncio.AbstractEventLoop, number: int, callback: Callable[[], object]
) -> None:
    """Call `callback` in the loop when a signal comes."""
    try:
        loop.add_signal_handler(number, callback)
    except NotImplementedError:
        # Windows' loops cannot. Python's own handler wakes them all the same.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
