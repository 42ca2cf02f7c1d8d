"""From a command line to a `Service`: in this process, or through the holder."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from awvault.cli import options

if TYPE_CHECKING:
    from awvault.control.client import ControlClient
    from awvault.opening import Composition
    from awvault.passphrases import FoundPassphrase
    from awvault.processes import DataDirectory
    from awvault.service import Service, StoreService
    from awvault.settings import Settings

HOLDER_WAIT_SECONDS: Final = 10.0
"""How long a command waits for a holder that is starting, ending or busy."""
RETRY_SECONDS: Final = 0.1

T = TypeVar("T")


def settings_of(ctx: click.Context) -> "Settings":
    """Return the settings in force for this command line."""
    from awvault.settings import Overrides, read_settings

    return read_settings(
        Overrides(
            data_dir=options.chosen(ctx, "data_dir"),
            passphrase_file=options.chosen(ctx, "passphrase_file"),
            testing=bool(options.chosen(ctx, "testing")),
        )
    )


def composition_of(ctx: click.Context) -> "Composition":
    """Return what the composition root chose; no option can."""
    from awvault.opening import PRODUCT, Composition

    found = ctx.find_object(Composition)
    return PRODUCT if found is None else found


def run_with_vault(
    ctx: click.Context,
    work: Callable[["Service"], Awaitable[T]],
    *,
    found: "FoundPassphrase | None" = None,
) -> T:
    """Do `work` with a service that has the vault open; return what it returns.

    `found` opens it, where this process does; None: the passphrase is looked for.
    """
    return _run(
        ctx,
        work,
        lambda settings, directory: _open_vault(ctx, settings, directory, found),
    )


def run_with_store(
    ctx: click.Context, work: Callable[["StoreService"], Awaitable[T]]
) -> T:
    """Do `work` with a service that needs no passphrase."""
    return _run(ctx, work, open_store_here)


def _open_vault(
    ctx: click.Context,
    settings: "Settings",
    directory: "DataDirectory",
    found: "FoundPassphrase | None",
) -> AbstractAsyncContextManager["Service"]:
    from awvault.operations import open_service

    return open_service(
        settings, directory, composition=composition_of(ctx), found=found
    )


def open_store_here(
    _settings: "Settings", directory: "DataDirectory"
) -> AbstractAsyncContextManager["StoreService"]:
    """Open the database of a directory that is held, without a key."""
    from awvault.operations import open_store

    return open_store(directory)


def _run(
    ctx: click.Context,
    work: Callable[[Any], Awaitable[T]],
    open_here: Callable[
        ["Settings", "DataDirectory"], AbstractAsyncContextManager[Any]
    ],
) -> T:
    async def main() -> T:
        settings = settings_of(ctx)
        async with connect(settings, open_here) as service:
            return await work(service)

    return asyncio.run(main())


@contextlib.asynccontextmanager
async def connect(
    settings: "Settings",
    open_here: Callable[
        ["Settings", "DataDirectory"], AbstractAsyncContextManager[Any]
    ],
    *,
    wait_seconds: float = HOLDER_WAIT_SECONDS,
) -> AsyncIterator[Any]:
    """Give a service for the vault in `settings.data_dir`.

    With the lock, what `open_here` gives; without, a client of the process that
    has it. Raises `NoVaultError`, `VaultLockedError` if that process does not
    answer in time, and what `open_here` raises.
    """
    from awvault.errors import VaultLockedError
    from awvault.processes import DataDirectory, NoVaultError

    directory = DataDirectory(settings.data_dir)
    if not directory.has_vault():
        error = NoVaultError(settings.data_dir)
        if not settings.data_dir_is_default:
            error.hint = (
                "check the spelling of the directory; `awvault init` and `aw-server`"
                " make a vault where there is none"
            )
        elif settings.testing:
            error.hint = "`aw-server --testing` makes one"
        raise error
    give_up = time.monotonic() + wait_seconds
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(directory.acquire())
            except VaultLockedError:
                client = await holder_client(
                    directory, seconds=give_up - time.monotonic()
                )
                if client is not None:
                    yield client
                    return
                if time.monotonic() >= give_up:
                    raise
            else:
                async with open_here(settings, directory) as service:
                    yield service
                return
        await asyncio.sleep(RETRY_SECONDS)


async def holder_client(
    directory: "DataDirectory", *, seconds: float
) -> "ControlClient | None":
    """Return a client of the process that has the lock; None: no answer (yet)."""
    from awvault.control.client import ControlClient, HolderUnreachableError

    holder = directory.holder()
    if holder is None or holder.port is None or holder.token is None:
        return None
    client = ControlClient(port=holder.port, token=holder.token)
    try:
        async with asyncio.timeout(max(seconds, RETRY_SECONDS)):
            await client.ping()
    except (HolderUnreachableError, TimeoutError):
        return None
    return client


def exit_with(ctx: click.Context, status: int) -> Any:
    """End the command with an exit status of its own."""
    ctx.exit(status)
