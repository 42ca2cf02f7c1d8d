"""Moving the vault of a machine to an account that a host keeps.

What was recorded here belonged to an account of this machine alone. Its events are
sealed again, as records of the client that the other account has admitted, in a
database of its own beside the old one; when that is whole, it takes the place of
`vault.db` in one step. The old database is kept. Wherever this is cut, the data
directory has one vault that opens, the old one or the new one, and running it again
goes on with the same client.
"""

import asyncio
import contextlib
import errno
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from awserver.documents import LOCAL_USERNAME
from awvault.accounts import Accounts, Connect, connect
from awvault.columns.timestamps import from_datetime
from awvault.crypto.keys import Passphrase
from awvault.errors import Error, InvalidInputError, WrongPassphraseError
from awvault.files import sync_directory
from awvault.incoming import NewRows
from awvault.joining import make_vault
from awvault.login import Admission, Entrance, Login
from awvault.opening import (
    LABEL_CHARS_MAX,
    PRODUCT,
    Composition,
    has_vault,
    open_vault,
)
from awvault.processes import DataDirectory
from awvault.remote import Remote, RemoteNotes
from awvault.service import LoggedIn, OnProgress, Progress, ignore_progress
from awvault.settings import make_private_directory
from awvault.vault import Vault

PENDING_FILE: Final = "login.json"
"""The client of a login that is under way; sealed, but for its names."""

STAGING_DIRECTORY: Final = "login"
"""Where the new database is made, before it takes its place."""

KEPT_DIRECTORY: Final = "before-login-"
"""Where the old database is kept, with the first digits of its client's id."""

PAGE_EVENTS: Final = 8_192


class MoveError(Error):
    """A file could not be made or moved."""

    def __init__(self, path: Path, error: OSError) -> None:
        """Say which, and why."""
        super().__init__(f'cannot move "{path}": {error.strerror or error}')
        self.hint = "nothing is lost: log in again, it goes on where it was"


def this_machine() -> str:
    """Return what this machine calls itself."""
    return socket.gethostname()[:LABEL_CHARS_MAX]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Joined:
    """A new database that is whole."""

    events: int
    buckets: int


class Move:
    """One login, on a data directory that the caller has to itself."""

    def __init__(
        self,
        login: Login,
        directory: DataDirectory,
        *,
        composition: Composition = PRODUCT,
        connect: Connect = connect,
        on_progress: OnProgress = ignore_progress,
    ) -> None:
        """Log in with the vault in `directory`, or make one there.

        Raises `InvalidInputError` for an address or a username that is none.
        """
        self._login = login
        self._directory = directory
        self._composition = composition
        self._connect = connect
        self._on_progress = on_progress
        self._has_taken_place = False
        self._entrance = Entrance(
            login,
            directory.path / PENDING_FILE,
            profile=composition.profile,
            random=composition.random,
            step=composition.step,
            connect=connect,
        )

    @property
    def has_taken_place(self) -> bool:
        """Whether the vault is the account's now, whatever happened after."""
        return self._has_taken_place

    async def run(self, passphrase: Passphrase | None) -> LoggedIn:
        """Log in; `passphrase` opens the vault that is here, if there is one.

        Raises as
        `Entrance.enter`, `WrongPassphraseError` for the vault that is here, and
        `MoveError`.
        """
        if not has_vault(self._directory):
            return await self._begin()
        async with await self._open_old(passphrase) as vault:
            if vault.replica.account.document.username != LOCAL_USERNAME:
                return await self._go_back(vault)
            self._check_is_settled(vault)
            admission = await self._entrance.enter()
            joined = await self._build(admission, vault)
            client_id = vault.keys.client_id
        kept = self._directory.path / f"{KEPT_DIRECTORY}{client_id.hex()[:8]}"
        await asyncio.to_thread(_keep, self._directory.database, kept)
        self._composition.step("login-old-kept")
        return await self._take_place(admission, joined, kept)

    async def _open_old(self, passphrase: Passphrase | None) -> Vault:
        """Open the vault that is here; an earlier login may have moved it already."""
        given = self._login.passphrase
        if passphrase is not None:
            try:
                return await open_vault(self._directory, passphrase, self._composition)
            except WrongPassphraseError:
                with contextlib.suppress(WrongPassphraseError):
                    return await open_vault(self._directory, given, self._composition)
                raise
        return await open_vault(self._directory, given, self._composition)

    async def _begin(self) -> LoggedIn:
        """Log in where there is no vault."""
        admission = await self._entrance.enter()
        joined = await self._build(admission, None)
        return await self._take_place(admission, joined, None)

    async def _go_back(self, vault: Vault) -> LoggedIn:
        """Log in again with a vault of the account: its client is one already."""
        accounts = Accounts(
            vault,
            profile=self._composition.profile,
            random=self._composition.random,
            step=self._composition.step,
            connect=self._connect,
        )
        await accounts.log_in_again(
            url=self._login.url,
            insecure=self._login.insecure,
            username=self._login.username,
            passphrase=self._login.passphrase,
        )
        self._entrance.forget()
        return self._logged_in(vault, _Joined(events=0, buckets=0), None)

    def _check_is_settled(self, vault: Vault) -> None:
        notes = RemoteNotes(vault.database, vault.keys, random=self._composition.random)
        if notes.load() is not None:
            raise InvalidInputError(
                "url",
                "a registration was not answered yet: run `awvault register` again, it"
                " says what became of it; or `awvault logout`, which forgets it",
            )

    # -- the new database ----------------------------------------------------

    @property
    def _staging(self) -> DataDirectory:
        return DataDirectory(self._directory.path / STAGING_DIRECTORY)

    async def _build(self, admission: Admission, old: Vault | None) -> _Joined:
        """Make the new client's database, with the events of the old one."""
        staging = self._staging
        await asyncio.to_thread(_make_empty, staging.path)
        await make_vault(
            staging.database,
            account_id=admission.account.document.account_id,
            client_id=admission.client_id,
            documents=admission.documents,
            keys_blob=admission.keys_blob,
            keystore=admission.keystore,
            probe=self._composition.probe,
        )
        self._composition.step("login-vault-made")
        async with self._opened(staging) as new:
            joined = _Joined(events=0, buckets=0)
            if old is not None:
                joined = await self._copy(old, new)
            notes = RemoteNotes(new.database, new.keys, random=self._composition.random)
            await notes.save(
                Remote(
                    url=self._login.url,
                    insecure=self._login.insecure,
                    username=self._login.username,
                )
            )
        self._composition.step("login-vault-whole")
        return joined

    @contextlib.asynccontextmanager
    async def _opened(self, directory: DataDirectory) -> AsyncIterator[Vault]:
        async with await open_vault(
            directory, self._login.passphrase, self._composition
        ) as vault:
            yield vault

    async def _copy(self, old: Vault, new: Vault) -> _Joined:
        """Insert what the old vault shows into the new one."""
        await old.settle()
        buckets = old.buckets()
        total = sum(old.count(bucket_id) for bucket_id in buckets)
        done = 0
        for bucket_id, bucket in buckets.items():
            await new.create_bucket(
                bucket_id,
                type=bucket.type,
                client=bucket.client,
                hostname=bucket.hostname,
                # The standard library writes lone surrogates as escapes.
                data=json.dumps(bucket.data).encode("ascii"),
                created_us=from_datetime(bucket.created),
            )
            table = await old.read_async(bucket_id, order="oldest")
            for at in range(0, len(table), PAGE_EVENTS):
                page = table.take(slice(at, at + PAGE_EVENTS))
                await new.insert_rows(
                    bucket_id,
                    NewRows(
                        starts=page.start.tolist(),
                        durations=page.duration.tolist(),
                        texts=[page.texts[text] for text in page.data],
                        flags=page.flags.tolist(),
                        stored_at=page.stored_at.tolist(),
                    ),
                )
                done += len(page)
                self._on_progress(Progress(phase="events", done=done, total=total))
        return _Joined(events=done, buckets=len(buckets))

    async def _take_place(
        self, admission: Admission, joined: _Joined, kept: Path | None
    ) -> LoggedIn:
        """Let the new database be the vault."""
        await asyncio.to_thread(_take_place, self._staging, self._directory)
        self._has_taken_place = True
        self._composition.step("login-vault-moved")
        self._entrance.forget()
        document = admission.account.document
        entry = document.client(admission.client_id)
        return LoggedIn(
            url=self._login.url,
            username=document.username,
            account_id=document.account_id.hex(),
            client_id=admission.client_id.hex(),
            client_number=0 if entry is None else entry.number,
            clients=len(document.clients),
            buckets_moved=joined.buckets,
            events_moved=joined.events,
            kept=None if kept is None else str(kept),
            again=False,
        )

    def _logged_in(self, vault: Vault, joined: _Joined, kept: Path | None) -> LoggedIn:
        keys = vault.keys
        return LoggedIn(
            url=self._login.url,
            username=keys.account.document.username,
            account_id=keys.account_id.hex(),
            client_id=keys.client_id.hex(),
            client_number=keys.client_number,
            clients=len(keys.clients),
            buckets_moved=joined.buckets,
            events_moved=joined.events,
            kept=None if kept is None else str(kept),
            again=True,
        )


def _make_empty(path: Path) -> None:
    """Make a private directory without files: what a login that was cut left goes."""
    try:
        shutil.rmtree(path, ignore_errors=False)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise MoveError(path, error) from error
    make_private_directory(path)


def _keep(database: Path, directory: Path) -> None:
    """Keep a closed database under another name too, until its own is taken."""
    kept = directory / database.name
    try:
        _check_closed(database)
        make_private_directory(directory)
        kept.unlink(missing_ok=True)
        try:
            os.link(database, kept)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EXDEV}:
                raise
            # A file system without links: a copy is as good, and takes longer.
            shutil.copy2(database, kept)
            with kept.open("rb+") as file:
                os.fsync(file.fileno())
        sync_directory(directory)
        sync_directory(directory.parent)
    except OSError as error:
        raise MoveError(database, error) from error


def _take_place(staging: DataDirectory, directory: DataDirectory) -> None:
    """Move a closed database to its place, in one step."""
    try:
        _check_closed(staging.database)
        staging.database.replace(directory.database)
        sync_directory(directory.path)
        shutil.rmtree(staging.path, ignore_errors=True)
    except OSError as error:
        raise MoveError(directory.database, error) from error


def _check_closed(database: Path) -> None:
    """Raise unless everything is in the file: a write-ahead log belongs to one name.

    Left beside another database of that name, it would be taken for that one's.
    """
    for suffix in ("-wal", "-shm"):
        beside = database.with_name(database.name + suffix)
        if suffix == "-wal" and beside.exists() and beside.stat().st_size:
            raise OSError(errno.EBUSY, "another program reads it", str(database))
        beside.unlink(missing_ok=True)
