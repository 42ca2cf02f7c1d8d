"""Localhost mode: gateway, host API, control listener and vault in one process.

The order of a start is part of the product: take the port (a busy one ends the
program, naming who has it), find the passphrase, listen, and only then derive
keys, in a thread. From the moment it listens, watchers' requests are held, not
refused: ActivityWatch's client drops an event for ever on the first error.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from aiohttp import web

from awserver.app import LocalHost
from awserver.storage.sqlite.database import Database
from awvault import tables
from awvault.control.server import ControlServer
from awvault.gateway import checks_for, create_gateway
from awvault.gateway.holder import VaultHolder
from awvault.gateway.server import create_runner
from awvault.gateway.settings import GatewaySettings
from awvault.opening import PRODUCT, Composition, Serve, has_vault, open_found
from awvault.operations import VaultService
from awvault.passphrases import (
    FoundPassphrase,
    Terminal,
    describe_making,
    find_passphrase,
)
from awvault.ports import bind_socket, start_listening
from awvault.processes import DataDirectory, HeldDirectory
from awvault.settings import Settings, prepare_data_dir
from awvault.terminals import find_terminal
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
    listener = bind_socket(settings.host, settings.port)
    with contextlib.closing(listener):
        prepare_data_dir(settings)
        directory = DataDirectory(settings.data_dir)
        with directory.acquire() as held:
            terminal = find_terminal()
            found = find_passphrase(
                settings, vault_exists=has_vault(directory), terminal=terminal
            )
            start_listening(listener, settings.host, settings.port)
            sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
            server = _Localhost(settings, held, found, terminal, composition)
            try:
                with asyncio.Runner(loop_factory=_loop_factory()) as runner:
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


def _has_remote(database: Database) -> bool:
    """Say whether the vault's store follows a remote host."""
    with database.reading() as tx:
        return tables.remote_row(tx) is not None


class _PromptInterruptedError(Exception):
    """A signal came while a person was asked: a KeyboardInterrupt, inside a task."""


class _Localhost:
    """One run of localhost mode."""

    def __init__(
        self,
        settings: Settings,
        held: HeldDirectory,
        found: FoundPassphrase,
        terminal: Terminal | None,
        composition: Composition,
    ) -> None:
        self._settings = settings
        self._held = held
        self._found = found
        self._terminal = terminal
        self._composition = composition
        self._stop = asyncio.Event()

    async def run(self, listener: Any) -> int:
        """Serve until a signal comes."""
        loop = asyncio.get_running_loop()
        for signal_number in STOP_SIGNALS:
            _on_signal(loop, signal_number, self._stop.set)
        holder = VaultHolder()
        async with contextlib.AsyncExitStack() as stack:
            # What is entered first ends last: the vault outlives its users.
            vault_stack = await stack.enter_async_context(contextlib.AsyncExitStack())
            gateway_settings = GatewaySettings(
                data_dir=str(self._settings.data_dir),
                listen_host=self._settings.host,
                testing=self._settings.testing,
            )
            host_api = LocalHost(checks_for(gateway_settings))
            gateway = create_runner(
                create_gateway(holder, gateway_settings, add_others=host_api.add_routes)
            )
            await gateway.setup()
            stack.push_async_callback(gateway.cleanup)
            await web.SockSite(gateway, listener).start()
            host, port = listener.getsockname()[:2]

            def serve(database: Database) -> AbstractAsyncContextManager[None]:
                return host_api.serving(
                    database,
                    address=host,
                    port=port,
                    is_read_only=lambda: _has_remote(database),
                )

            vault = await self._unless_stopped(self._open_vault(serve), holder)
            if vault is None:
                return 0
            vault_stack.push_async_callback(vault.close)
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            control = ControlServer(
                VaultService(vault, self._settings, self._found, server_url=url),
                self._held,
            )
            await control.start()
            stack.push_async_callback(control.close)
            holder.set(vault)
            sys.stdout.write(f"aw-server is ready on {url}\n")
            sys.stdout.flush()
            await self._stop.wait()
            log.info("stopping")
        return 0

    async def _open_vault(self, serve: Serve) -> Vault:
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

    async def _unless_stopped(
        self, opening: Coroutine[Any, Any, Vault], holder: VaultHolder
    ) -> Vault | None:
        """Return the open vault, or None if a signal came first."""
        task = asyncio.create_task(opening)
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done() and not task.done():
                # Argon2 cannot be interrupted; it ends within a second or two.
                vault = await task
                await vault.close()
                holder.fail(RuntimeError("the server is stopping"))
                return None
            return await task
        except Exception as error:
            holder.fail(error)
            raise
        finally:
            stopped.cancel()
