"""A vault of a program that has no gateway: its host, and a directory of its own.

The program is a client of the account like any other, with a log and a key of its
own. What it stores is on its own disk first; the host has it once `sync` is done.
"""

import contextlib
import logging
from hashlib import blake2b
from pathlib import Path
from typing import Final

import platformdirs

from awserver.origins import origin_of
from awvault.accounts import Connect, connect
from awvault.crypto.keys import Passphrase
from awvault.errors import (
    HostRefusedError,
    IntegrityError,
    InvalidInputError,
    TransportError,
)
from awvault.login import Login
from awvault.moving import Move, this_machine
from awvault.opening import PRODUCT, Composition, has_vault, open_vault
from awvault.passphrases import read_passphrase_file
from awvault.processes import DataDirectory
from awvault.protocol.edits import check_host_username
from awvault.remote import RemoteNotes
from awvault.settings import (
    Overrides,
    make_private_directory,
    prepare_data_dir,
    read_settings,
)
from awvault.sync.alarms import is_integrity
from awvault.sync.channel import host_origin
from awvault.sync.running import SyncRunner
from awvault.sync.schedule import Schedule
from awvault.vault import Vault

log = logging.getLogger(__name__)

APPLICATION: Final = "awvault-library"
"""Directories of programs lie apart from the one of `aw-server`."""

NAME_BYTES: Final = 8


async def open_at_host(
    url: str,
    *,
    username: str,
    passphrase: str | None,
    passphrase_file: str | Path | None,
    data_dir: str | Path | None,
    insecure: bool = False,
    composition: Composition = PRODUCT,
    connect: Connect = connect,
) -> Vault:
    """Return what `Vault.open` returns for the address of a host.

    The first opening logs in, which adds a client to the account; later ones open
    the directory that this made, also while the host does not answer.
    """
    origin = host_origin(url, insecure=insecure)
    check_host_username(username)
    secret = _secret(passphrase, passphrase_file)
    directory = _directory(origin, username, data_dir)
    async with contextlib.AsyncExitStack() as resources:
        resources.enter_context(directory.acquire())
        if not has_vault(directory):
            login = Login(
                url=url,
                insecure=insecure,
                username=username,
                passphrase=secret,
                label=this_machine(),
            )
            move = Move(login, directory, composition=composition, connect=connect)
            await move.run(None)
        vault = await open_vault(directory, secret, composition)
        try:
            await _meet(vault, origin, username, composition, directory)
        except BaseException:
            await vault.close()
            raise
        vault.release_on_close(resources.pop_all())
        return vault


async def _meet(
    vault: Vault,
    origin: str,
    username: str,
    composition: Composition,
    directory: DataDirectory,
) -> None:
    """Exchange records with the host once, and go on by itself."""
    notes = RemoteNotes(vault.database, vault.keys, random=composition.random)
    remote = notes.load()
    known = None if remote is None else (origin_of(remote.url), remote.username)
    if known != (origin, username):
        raise InvalidInputError(
            "data_dir",
            f'"{directory.path}" holds the vault of another account or host than'
            f" {username} at {origin}",
        )
    runner = SyncRunner(vault, notes, schedule=Schedule.LIVE, clock=composition.clock)
    vault.meet_with(lambda: _sync(runner), end=runner.close)
    try:
        await vault.sync()
    except (TransportError, HostRefusedError, IntegrityError) as error:
        # A host that is away, or lies, keeps nobody from recording here: what is on
        # this disk can be read, and the next `sync` says again what is wrong.
        log.warning("nothing was synced", extra={"reason": str(error)})
    runner.start()


async def _sync(runner: SyncRunner) -> None:
    """Make one round; raise what the host was caught at, once all else is done."""
    done = await runner.sync()
    for alarm in done.alarms:
        if is_integrity(alarm):
            raise IntegrityError(f"{alarm.sentence}; {alarm.repair}")
        log.warning("the host needs attention", extra={"alarm": alarm.name})


def _secret(passphrase: str | None, passphrase_file: str | Path | None) -> Passphrase:
    if passphrase is not None:
        return Passphrase(passphrase)
    if passphrase_file is None:
        raise InvalidInputError(
            "passphrase", "give the account's passphrase, or a passphrase_file"
        )
    return read_passphrase_file(Path(passphrase_file))


def _directory(
    origin: str, username: str, data_dir: str | Path | None
) -> DataDirectory:
    """Return the directory that was named, or one of this host and account alone."""
    if data_dir is None:
        name = blake2b(origin.encode(), digest_size=NAME_BYTES).hexdigest()
        root = Path(platformdirs.user_data_dir(APPLICATION))
        path = root / f"{username}-{name}"
        make_private_directory(root)
        make_private_directory(path)
        return DataDirectory(path)
    settings = read_settings(Overrides(data_dir=Path(data_dir)))
    prepare_data_dir(settings)
    return DataDirectory(settings.data_dir)
