"""How `awvault login` gets the data directory to itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from awvault.cli.context import (
    HOLDER_WAIT_SECONDS,
    composition_of,
    holder_client,
    run_with_vault,
    settings_of,
)

if TYPE_CHECKING:
    from awvault.login import Login
    from awvault.passphrases import FoundPassphrase
    from awvault.processes import DataDirectory
    from awvault.service import LoggedIn, Service
    from awvault.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginDone:
    """What a login did, and what else a person must be told."""

    logged_in: "LoggedIn"
    notes: list[str]


def log_in(ctx: click.Context, login: "Login") -> LoginDone:
    """Log in with the vault of this command line, or make it."""
    from awvault.processes import DataDirectory
    from awvault.settings import prepare_data_dir

    settings = settings_of(ctx)
    prepare_data_dir(settings)
    directory = DataDirectory(settings.data_dir)
    found = _known_here(settings, directory)
    done = asyncio.run(_log_in(ctx, login, directory, found))
    return LoginDone(
        logged_in=done.logged_in, notes=[*done.notes, *_fetched(ctx, login)]
    )


def _fetched(ctx: click.Context, login: "Login") -> list[str]:
    """Fetch what the other clients have recorded; return what stood in the way."""
    from awvault.cli.output import progress_shown
    from awvault.errors import HostRefusedError, TransportError
    from awvault.passphrases import FoundPassphrase, Source
    from awvault.service import OperationFailedError

    async def work(service: "Service") -> None:
        with progress_shown("sync") as show:
            await service.sync(show)

    # A prompt: the one that was typed, or read for the account, opens the vault now.
    found = FoundPassphrase(passphrase=login.passphrase, source=Source.PROMPT)
    try:
        run_with_vault(ctx, work, found=found)
    except (TransportError, HostRefusedError, OperationFailedError) as error:
        return [f"what others recorded comes later: {error}"]
    return []


def _known_here(
    settings: "Settings", directory: "DataDirectory"
) -> "FoundPassphrase | None":
    """Return what opens the vault that is here; None: there is no vault."""
    from awvault.opening import has_vault
    from awvault.passphrases import find_passphrase
    from awvault.terminals import find_terminal

    if not has_vault(directory):
        return None
    return find_passphrase(settings, vault_exists=True, terminal=find_terminal())


async def _log_in(
    ctx: click.Context,
    login: "Login",
    directory: "DataDirectory",
    found: "FoundPassphrase | None",
) -> LoginDone:
    from awvault.cli.output import progress_shown
    from awvault.moving import Move
    from awvault.passphrases import (
        Source,
        drop_staged,
        holds,
        promote_staged,
        stage_passphrase,
    )

    generated = None
    if found is not None and found.source is Source.GENERATED_FILE:
        # One that has the account's passphrase already is right as it is.
        has_it = found.path is not None and holds(found.path, login.passphrase)
        generated = None if has_it else found.path
    async with _to_oneself(directory, login):
        is_new = generated is not None and stage_passphrase(generated, login.passphrase)
        with progress_shown("log in") as show:
            move = Move(
                login,
                directory,
                composition=composition_of(ctx),
                on_progress=show,
            )
            try:
                done = await move.run(None if found is None else found.passphrase)
            except BaseException:
                if generated is not None and is_new and not move.has_taken_place:
                    drop_staged(generated)
                raise
        if generated is not None:
            promote_staged(generated)
    return LoginDone(logged_in=done, notes=_notes(found))


def _notes(found: "FoundPassphrase | None") -> list[str]:
    from awvault.passphrases import Source

    match None if found is None else found.source:
        case Source.GENERATED_FILE:
            assert found is not None  # noqa: S101 - its source says so
            return [f"{found.path} holds the account's passphrase from now on"]
        case Source.FILE | Source.KEYRING:
            assert found is not None  # noqa: S101 - its source says so
            where = "the keyring" if found.path is None else str(found.path)
            return [f"{where} still has the passphrase of before: change it now"]
        case _:
            return []


@contextlib.asynccontextmanager
async def _to_oneself(
    directory: "DataDirectory", login: "Login"
) -> AsyncIterator[None]:
    """Hold the directory, or borrow it from the process that does."""
    from awvault.errors import VaultLockedError
    from awvault.passphrases import text_of
    from awvault.service import LendRequest

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(directory.acquire())
        except VaultLockedError:
            client = await holder_client(directory, seconds=HOLDER_WAIT_SECONDS)
            if client is None:
                raise
        else:
            yield
            return
    async with client.lend(LendRequest(passphrase=text_of(login.passphrase))):
        yield
