"""Localhost mode: gateway, host API, control listener and vault in one process.

The order of a start is part of the product: take the port (a busy one ends the
program, naming who has it), find the passphrase, listen, and only then derive
keys, in a thread. From the moment it listens, watchers' requests are held, not
refused: ActivityWatch's client drops an event for ever on the first error.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from awserver.app import LocalHost
from awserver.storage.sqlite.database import Database
from awvault import tables
from awvault.activation import notify, passed_socket
from awvault.apikeys import read_api_key
from awvault.control.server import ControlServer, VaultLentError
from awvault.crypto.keys import Passphrase
from awvault.errors import WrongPassphraseError
from awvault.gateway import checks_for, create_gateway
from awvault.gateway.holder import VaultHolder
from awvault.gateway.server import create_runner
from awvault.gateway.settings import GatewaySettings
from awvault.noticing import Noticer
from awvault.opening import (
    PRODUCT,
    Composition,
    Serve,
    has_vault,
    open_found,
    open_vault,
)
from awvault.operations import VaultService
from awvault.passphrases import (
    FoundPassphrase,
    Source,
    Terminal,
    describe_making,
    find_passphrase,
)
from awvault.ports import BACKLOG, bind_socket, start_listening
from awvault.processes import DataDirectory, HeldDirectory
from awvault.settings import Settings, check_webui, prepare_data_dir
from awvault.terminals import find_terminal
from awvault.transfer.formats import check_form
from awvault.transfer.scheduled import Plan, export_by_plan
from awvault.vault import Vault

log = logging.getLogger(__name__)

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

SWITCH_INTERVAL_SECONDS: Final = 0.0005
"""How long a thread that computes may keep the others waiting.

Python's default is ten times as long: beside a long read, every heartbeat would
pay it several times over.
"""


def serve(settings: Settings, composition: Composition = PRODUCT) -> int:
    """Run localhost mode until a signal ends it; return the exit status.

    Raises `awvault.errors.Error` if it cannot start: the port is taken, the
    passphrase is wrong, another process has the data directory.
    """
    forbid_core_dumps()
    check_webui(settings)
    if settings.export_to is not None:
        check_form(settings.export_format)
    passed = passed_socket(os.environ)
    if passed is not None:
        # Whoever listens in our place has chosen where.
        host, port = passed.getsockname()[:2]
        settings = replace(settings, host=host, port=port)
    listener = passed or bind_socket(settings.host, settings.port)
    with contextlib.closing(listener):
        key_file = settings.api_key_file
        api_key = None if key_file is None else read_api_key(key_file)
        prepare_data_dir(settings)
        directory = DataDirectory(settings.data_dir)
        with directory.acquire() as held:
            terminal = find_terminal()
            found = find_passphrase(
                settings, vault_exists=has_vault(directory), terminal=terminal
            )
            sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
            gateway_settings = GatewaySettings(
                data_dir=str(settings.data_dir),
                listen_host=settings.host,
                testing=settings.testing,
                cors_origins=settings.cors_origins,
                api_key=api_key,
                webui=settings.webui,
                webui_pages=dict(settings.webui_pages),
            )
            server = _Localhost(
                settings, gateway_settings, held, found, terminal, composition
            )
            try:
                # A question that Ctrl-C ends leaves uvloop waiting for ever.
                may_ask = found.source is Source.PROMPT
                factory = None if may_ask else _loop_factory()
                with asyncio.Runner(loop_factory=factory) as runner:
                    return runner.run(server.run(listener))
            except _PromptInterruptedError:
                raise KeyboardInterrupt from None


def _on_signal(
    loop: asyncio.AbstractEventLoop, number: int, callback: Callable[[], object]
) -> None:
    """Call `callback` in the loop when a signal comes."""
    try:
        loop.add_signal_handler(number, callback)
    except NotImplementedError:
        # Windows' loops cannot. Python's own handler wakes them all the same.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))


def forbid_core_dumps() -> None:
    """Keep a crash from writing keys and events to a disk, where the system can."""
    try:
        import resource
    except ImportError:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _has_remote(database: Database) -> bool:
    """Say whether the vault's store follows a remote host."""
    with database.reading() as tx:
        return tables.remote_row(tx) is not None


class _PromptInterruptedError(Exception):
    """A signal came while a person was asked: a KeyboardInterrupt, inside a task."""


class _Loan:
    """A command has the vault's files to itself, from one event to the other."""

    def __init__(self, passphrase: Passphrase) -> None:
        """Remember what may open the vault after that."""
        self.passphrase = passphrase
        self.has_begun = asyncio.Event()
        self.is_over = asyncio.Event()


class _Localhost:
    """One run of localhost mode."""

    def __init__(
        self,
        settings: Settings,
        gateway_settings: GatewaySettings,
        held: HeldDirectory,
        found: FoundPassphrase,
        terminal: Terminal | None,
        composition: Composition,
    ) -> None:
        self._settings = settings
        self._gateway_settings = gateway_settings
        self._held = held
        self._found = found
        self._terminal = terminal
        self._composition = composition
        self._url = ""
        self._is_ready = False
        self._passphrase: Passphrase | None = None
        self._stop = asyncio.Event()
        self._loan: _Loan | None = None
        self._noticer = Noticer()
        self._wake = asyncio.Event()
        """Set where there is a signal, or a loan."""

    async def run(self, listener: Any) -> int:
        """Serve until a signal comes."""
        loop = asyncio.get_running_loop()
        for signal_number in STOP_SIGNALS:
            _on_signal(loop, signal_number, self._ask_to_stop)
        # Not before signals are seen to: one of them would cut off who has connected.
        # A socket that was handed over listens already; this changes its backlog.
        start_listening(listener, self._settings.host, self._settings.port)
        holder = VaultHolder()
        async with contextlib.AsyncExitStack() as users:
            gateway_settings = self._gateway_settings
            host_api = LocalHost(checks_for(gateway_settings))
            gateway = create_runner(
                create_gateway(holder, gateway_settings, add_others=host_api.add_routes)
            )
            await gateway.setup()
            users.push_async_callback(gateway.cleanup)
            await web.SockSite(gateway, listener, backlog=BACKLOG).start()
            host, port = listener.getsockname()[:2]
            self._url = (
                f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            )

            def serve(database: Database) -> AbstractAsyncContextManager[None]:
                return host_api.serving(
                    database,
                    address=host,
                    port=port,
                    is_read_only=lambda: _has_remote(database),
                    on_change=self._noticer.wake,
                )

            control = ControlServer(self._held, lend=self._lend)
            users.push_async_callback(control.close)
            while not self._stop.is_set():
                await self._work(holder, control, serve, users)
        return 0

    def _ask_to_stop(self) -> None:
        notify("STOPPING=1", os.environ)
        self._stop.set()
        self._wake.set()

    async def _work(
        self,
        holder: VaultHolder,
        control: ControlServer,
        serve: Serve,
        users: contextlib.AsyncExitStack,
    ) -> None:
        """Open the vault and serve it, until a signal comes or a loan is over."""
        vault = await self._opened(self._open_vault(serve), holder)
        async with contextlib.AsyncExitStack() as opened:
            opened.push_async_callback(vault.close)
            noticing = asyncio.create_task(self._noticer.run(vault))
            opened.push_async_callback(_ended, noticing)
            service = VaultService(
                vault,
                self._settings,
                self._found,
                composition=self._composition,
                server_url=self._url,
                key_refusals=self._gateway_settings.key_refusals,
            )
            opened.push_async_callback(service.close)
            control.serve(service)
            if not self._is_ready:
                await control.start()
            holder.set(vault)
            if not self._stop.is_set():
                service.start_sync()
                opened.push_async_callback(_ended, self._start_exports(service))
                self._tell_once()
            await self._wake.wait()
            loan = self._loan
            if loan is None or self._stop.is_set():
                log.info("stopping")
                # The vault outlives its users.
                await users.aclose()
                return
            control.lent()
            await holder.take_back()
        await self._wait_for_end(loan, holder)
        control.given_back()

    def _start_exports(self, service: VaultService) -> asyncio.Task[None]:
        """Export by the settings from now on, where they say so."""
        settings = self._settings
        if settings.export_to is None:
            return asyncio.create_task(asyncio.sleep(0))
        plan = Plan(
            to=settings.export_to,
            every=settings.export_every,
            keep=settings.export_keep,
            form=settings.export_format,
        )
        return asyncio.create_task(export_by_plan(plan, service))

    def _tell_once(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            sys.stdout.write(f"aw-server is ready on {self._url}\n")
            sys.stdout.flush()
            notify("READY=1", os.environ)

    @contextlib.asynccontextmanager
    async def _lend(self, passphrase: Passphrase) -> AsyncIterator[None]:
        """Keep the vault closed while the context lasts."""
        if self._loan is not None:
            raise VaultLentError
        loan = self._loan = _Loan(passphrase)
        self._wake.set()
        try:
            await loan.has_begun.wait()
            yield
        finally:
            loan.is_over.set()

    async def _wait_for_end(self, loan: _Loan, holder: VaultHolder) -> None:
        """Let a command have the vault's files, until it is done or a signal comes."""
        log.info("the vault is lent to a command")
        loan.has_begun.set()
        over = asyncio.create_task(loan.is_over.wait())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({over, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (over, stopped):
            task.cancel()
        if self._stop.is_set():
            holder.fail(RuntimeError("the server is stopping"))
            return
        self._wake.clear()
        self._loan = None
        self._passphrase = loan.passphrase

    async def _open_vault(self, serve: Serve) -> Vault:
        if self._passphrase is not None:
            # After a loan: of the account that the vault was moved to, or not.
            with contextlib.suppress(WrongPassphraseError):
                return await open_vault(
                    self._held.directory,
                    self._passphrase,
                    self._composition,
                    serve=serve,
                )
        try:
            return await open_found(
                self._settings,
                self._held.directory,
                self._found,
                terminal=self._terminal,
                composition=self._composition,
                on_make=self._tell_of_new_vault,
                serve=serve,
            )
        except KeyboardInterrupt:
            raise _PromptInterruptedError from None

    def _tell_of_new_vault(self) -> None:
        for line in describe_making(self._settings, self._found):
            sys.stderr.write(f"aw-server: {line}\n")

    async def _opened(
        self, opening: Coroutine[Any, Any, Vault], holder: VaultHolder
    ) -> Vault:
        """Return the open vault; refuse what waits for it if it does not open.

        A signal does not cut this short: Argon2 cannot be interrupted, it ends
        within a second or two, and then what has waited is still answered.
        """
        try:
            return await opening
        except Exception as error:
            holder.fail(error)
            raise
