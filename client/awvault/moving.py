"""Moving the vault of a machine to an account that a host keeps.

What was recorded here belonged to an account of this machine alone. It is sealed
again, as records of the client that the other account has admitted, in a database
beside the old one (`joining`); when that is whole, it takes the place of `vault.db`
in one step. The old database is kept. Wherever this is cut, the data directory has
one vault that opens, the old one or the new one, and running it again goes on with
the same client.
"""

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

from awserver.documents import LOCAL_USERNAME
from awserver.records import AccountId
from awvault import tables
from awvault.accounts import Accounts, Connect, connect
from awvault.crypto.keys import Passphrase
from awvault.errors import (
    Error,
    InvalidInputError,
    VaultDamagedError,
    WrongPassphraseError,
)
from awvault.files import sync_directory
from awvault.joining import (
    Resealed,
    discard,
    joining_path,
    make_vault,
    reseal,
    swap,
)
from awvault.login import Admission, Entrance, Login
from awvault.opening import (
    LABEL_CHARS_MAX,
    PRODUCT,
    Composition,
    has_vault,
    open_vault,
)
from awvault.pending import PENDING_FILE
from awvault.processes import DataDirectory
from awvault.protocol.account import open_keystore
from awvault.remote import Remote, RemoteNotes
from awvault.service import LoggedIn, OnProgress, Progress, ignore_progress
from awvault.unlocked import Unlocked
from awvault.vault import Vault


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
class _Built:
    """A new database that is whole."""

    buckets: int = 0
    events: int = 0
    resealed: Resealed | None = None
    """None: there was nothing to take along."""


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
            _check_is_whole(vault)
            admission = await self._entrance.enter()
            built = await self._build(admission, vault)
            account_id = vault.keys.account_id
        return await self._take_place(admission, built, account_id)

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
        built = await self._build(admission, None)
        return await self._take_place(admission, built, None)

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
        return self._logged_in(vault)

    def _check_is_settled(self, vault: Vault) -> None:
        notes = RemoteNotes(vault.database, vault.keys, random=self._composition.random)
        if notes.load() is not None:
            raise InvalidInputError(
                "url",
                "a registration was not answered yet: run `awvault register` again, it"
                " says what became of it; or `awvault logout`, which forgets it",
            )

    # -- the new database ----------------------------------------------------

    async def _build(self, admission: Admission, old: Vault | None) -> _Built:
        """Make the new client's database, with all that the old one holds.

        What an earlier try has begun is made anew: more may have been recorded.
        """
        path = joining_path(self._directory)
        await asyncio.to_thread(discard, self._directory)
        await make_vault(
            path,
            account_id=admission.account.document.account_id,
            client_id=admission.client_id,
            documents=admission.documents,
            keys_blob=admission.keys_blob,
            keystore=admission.keystore,
            probe=self._composition.probe,
        )
        await self._save_notes(path, admission)
        self._composition.step("login-vault-made")
        built = _Built() if old is None else await self._reseal(admission, old)
        self._composition.step("login-vault-whole")
        return built

    async def _save_notes(self, path: Path, admission: Admission) -> None:
        """Let the new vault know its host from the start."""
        document = admission.account.document
        keystore = open_keystore(
            admission.ring[document.epoch],
            document.account_id,
            admission.client_id,
            admission.keystore,
        )
        keys = Unlocked.of(admission.account, admission.ring, keystore)
        async with tables.opened(path, create=False) as database:
            notes = RemoteNotes(database, keys, random=self._composition.random)
            await notes.save(
                Remote(
                    url=self._login.url,
                    insecure=self._login.insecure,
                    username=self._login.username,
                )
            )

    async def _reseal(self, admission: Admission, old: Vault) -> _Built:
        await old.settle()
        buckets = old.buckets()
        resealed = await reseal(
            old.database,
            old.keys,
            joining_path(self._directory),
            ring=admission.ring,
            random=self._composition.random,
            step=self._composition.step,
            on_records=lambda done, total: self._on_progress(
                Progress(phase="records", done=done, total=total)
            ),
        )
        return _Built(
            buckets=len(buckets),
            events=sum(old.count(bucket_id) for bucket_id in buckets),
            resealed=resealed,
        )

    async def _take_place(
        self, admission: Admission, built: _Built, old: AccountId | None
    ) -> LoggedIn:
        """Let the new database be the vault; `old`: of whom the one before was."""
        kept = await asyncio.to_thread(self._swap, old)
        self._has_taken_place = True
        self._composition.step("login-vault-moved")
        self._entrance.forget()
        document = admission.account.document
        entry = document.client(admission.client_id)
        resealed = built.resealed
        return LoggedIn(
            url=self._login.url,
            username=document.username,
            account_id=document.account_id.hex(),
            client_id=admission.client_id.hex(),
            client_number=0 if entry is None else entry.number,
            clients=len(document.clients),
            buckets_moved=built.buckets,
            events_moved=built.events,
            unreadable_records=0 if resealed is None else resealed.unreadable_records,
            left_rows=0 if resealed is None else resealed.left_rows,
            kept=None if kept is None else str(kept),
            again=False,
        )

    def _swap(self, old: AccountId | None) -> Path | None:
        """Put the new database in its place; return where the old one is kept."""
        directory = self._directory
        try:
            if old is not None:
                return swap(directory, old, step=self._composition.step)
            joining_path(directory).replace(directory.database)
            sync_directory(directory.path)
        except OSError as error:
            raise MoveError(directory.database, error) from error
        return None

    def _logged_in(self, vault: Vault) -> LoggedIn:
        keys = vault.keys
        return LoggedIn(
            url=self._login.url,
            username=keys.account.document.username,
            account_id=keys.account_id.hex(),
            client_id=keys.client_id.hex(),
            client_number=keys.client_number,
            clients=len(keys.clients),
            buckets_moved=0,
            events_moved=0,
            unreadable_records=0,
            left_rows=0,
            kept=None,
            again=True,
        )


def _check_is_whole(vault: Vault) -> None:
    """Raise for a log with a gap, before the account gets a client for it."""
    for reason in vault.facts().stopped_logs:
        error = VaultDamagedError(
            f"the vault here is damaged, and not all of it could come along: {reason}"
        )
        error.hint = (
            "nothing was changed: restore a backup that `awvault verify` finds whole,"
            " or log in with an empty directory (--data-dir), and leave this one alone"
        )
        raise error
