"""What an owner does with the account and its host, on a vault that is open.

Each change of the account document is an intent (`protocol.edits`) that is run on
the newest version, stored as an attempt before it is sent, and believed here only
once the host has it. Where no answer comes, the host is asked what it has: that
says whether the attempt counts. So whatever is cut at whatever place, the vault
opens with the old passphrase or with the new one.

Nothing here believes what a host says: documents and keys blob are verified by
`Replica.adopt`, and whoever proves a secret does so against what was verified.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from msgspec.structs import replace

from awserver.documents import LOCAL_USERNAME
from awserver.wire import SessionInfo, UsageAnswer
from awvault.crypto.keys import Passphrase, Random, RecoveryKey
from awvault.crypto.passphrase import STANDARD, Profile
from awvault.errors import (
    KEEP_BOTH,
    AccountDisputedError,
    DocumentError,
    EditConflictError,
    EditRefusedError,
    Error,
    HostBusyError,
    HostRefusedError,
    IntegrityError,
    InvalidInputError,
    LoggedOutError,
    NewSecretNeededError,
    NoAnswerError,
    NoRemoteError,
    TransportError,
    VaultDamagedError,
    WrongPassphraseError,
    WrongPlaceError,
)
from awvault.protocol.account import (
    OpenedAccount,
    VerifiedAccount,
    open_keys,
    verify_documents,
)
from awvault.protocol.edits import (
    ChangePassphrase,
    ClaimUsername,
    Edit,
    Intent,
    SetRecoveryKey,
    check_host_username,
    login_key_of,
    new_recovery_key,
    register_keys_of,
)
from awvault.remote import Attempt, Remote, RemoteNotes
from awvault.strength import require_strong
from awvault.sync.alarms import Alarms, Name, recovery_key_of
from awvault.sync.channel import host_origin
from awvault.sync.transport import HostClient, HostHeads, Prover
from awvault.vault import Clock, Vault, wall_clock_us

EDIT_TRIES_MAX: Final = 5
"""How often an edit is made again because another client was faster."""

BLOB_TRIES_MAX: Final = 3
"""How often documents and blob are fetched that changed in between."""

Connect = Callable[[str, bool], HostClient]
"""From an address as a person typed it, and whether plain http is good enough."""

Step = Callable[[str], None]

# What a host says to a registration whose earlier try it had taken.
_TAKEN: Final = {"username-taken", "account-exists"}


# While the host was caught at one of these, nothing of the account is changed.
_DISPUTES: Final = {Name.DOCUMENTS_FORKED, Name.DOCUMENTS_ROLLED_BACK}


def connect(url: str, insecure: bool) -> HostClient:  # noqa: FBT001 - see Connect
    """Return the host at an address."""
    return HostClient(url, insecure=insecure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a person wants registered, and where."""

    url: str
    insecure: bool
    username: str
    passphrase: Passphrase
    """The one that opens the vault now."""
    new_passphrase: Passphrase | None = None
    """Another one for the account; None: it stays."""
    invite: str | None = None

    @property
    def passphrase_after(self) -> Passphrase:
        """The passphrase of the account once it is registered."""
        return self.new_passphrase or self.passphrase


class RecoveryKeyOf(StrEnum):
    """Which recovery key opens the account, once a host has it."""

    THIS = "this try"
    EARLIER = "an earlier try"
    """It had arrived after all."""
    BEFORE = "before"
    """The account had one already, and keeps it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A registration that a host has taken."""

    passphrase: Passphrase
    """The one that opens the account now."""
    recovery: RecoveryKeyOf


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredThere:
    """What a host gives out of an account. Not believed, but for the documents."""

    documents: list[bytes]
    """Every version."""
    keys_blob: bytes
    heads: HostHeads
    usage: UsageAnswer
    sessions: list[SessionInfo]
    """But for the one that asked."""


class Accounts:
    """The account of one open vault, and the host that keeps it."""

    def __init__(
        self,
        vault: Vault,
        *,
        profile: Profile = STANDARD,
        random: Random = secrets.token_bytes,
        step: Step = lambda _: None,
        connect: Connect = connect,
        clock: Clock = wall_clock_us,
    ) -> None:
        """Work for `vault`. `step` is called with a name at each step."""
        self._vault = vault
        self._profile = profile
        self._random = random
        self._step = step
        self._connect = connect
        self._clock = clock
        self._notes = RemoteNotes(vault.database, vault.keys, random=random)
        self._editing = asyncio.Lock()

    # -- what is known -------------------------------------------------------

    @property
    def account(self) -> VerifiedAccount:
        """The account as it is believed."""
        return self._vault.replica.account

    @property
    def has_new_secret(self) -> bool:
        """Whether the account has a passphrase that was not proved here yet."""
        standing = self._vault.keys.standing
        return standing.passphrase_changed or standing.awaiting is not None

    @property
    def has_attempt(self) -> bool:
        """Whether a change was sent and not answered."""
        remote = self._notes.load()
        return remote is not None and remote.attempt is not None

    @property
    def is_settled(self) -> bool:
        """Whether no change is in the air that nobody here knows of.

        Who has left the host does not know what it took before.
        """
        if self.has_attempt:
            return False
        return self.account.document.username == LOCAL_USERNAME or (
            self._notes.load() is not None
        )

    def remote(self) -> Remote | None:
        """Return what is known of the host; None: the vault has none (yet)."""
        return None if self.pending() else self._notes.load()

    def pending(self) -> Remote | None:
        """Return the host of a registration that was sent and not answered."""
        if self.account.document.username != LOCAL_USERNAME:
            return None
        return self._notes.load()

    def required_remote(self) -> Remote:
        """Return what is known of the host, or raise `NoRemoteError`."""
        remote = self.remote()
        if remote is None:
            raise NoRemoteError
        return remote

    # -- registering ---------------------------------------------------------

    async def prepare(self, registration: Registration) -> RecoveryKey | Arrived:
        """Check all that can be checked, and make the recovery key.

        Nothing is stored, and nothing sent that registers. Where there is no new key
        to write down, the vault is registered when this returns: an earlier try had
        arrived after all, or the account has left another host and keeps its name.

        Raises `InvalidInputError` for an address or a username that is none,
        `WeakPassphraseError`, `WrongPassphraseError`, `HostRefusedError` and
        `TransportError`.
        """
        async with self._editing:
            await self._check(registration)
            if self.account.document.username != LOCAL_USERNAME:
                return await self._settle_at(registration)
            pending = self.pending()
            if pending is not None and await self._has_arrived(pending):
                return await self._end_registration(registration, RecoveryKeyOf.EARLIER)
            opened = await self._open(registration.passphrase)
            async with self._connect(registration.url, registration.insecure) as host:
                await _check_takes(host, registration)
            return new_recovery_key(opened, self._random)

    async def register(
        self, registration: Registration, recovery: RecoveryKey
    ) -> Arrived:
        """Make the account known to a host, with this recovery key.

        The local account stays what it is, and takes the name. Raises as `prepare`,
        and `NoAnswerError` where nobody can tell whether the host took it:
        `prepare` will, once the host answers.
        """
        async with self._editing:
            await self._check(registration)
            if self.account.document.username != LOCAL_USERNAME:
                return await self._settle_at(registration)
            edit = await self._register(registration, recovery)
            return await self._end_registration(
                registration,
                RecoveryKeyOf.THIS if self._counts(edit) else RecoveryKeyOf.EARLIER,
            )

    async def _check(self, registration: Registration) -> None:
        origin = host_origin(registration.url, insecure=registration.insecure)
        check_host_username(registration.username)
        username = self.account.document.username
        if username != LOCAL_USERNAME:
            remote = self._notes.load()
            if remote is not None:
                raise InvalidInputError(
                    "url",
                    f'the account is registered already, as "{username}" at'
                    f" {remote.url}",
                )
            if registration.username != username:
                raise InvalidInputError(
                    "username",
                    f'the account is "{username}", and a username never changes',
                )
        await asyncio.to_thread(
            require_strong,
            registration.passphrase_after,
            known=[registration.username, origin],
        )

    async def _register(
        self, registration: Registration, recovery: RecoveryKey
    ) -> Edit:
        passphrase = registration.passphrase_after
        edit = await self._run(
            ClaimUsername(
                username=registration.username, passphrase=passphrase, recovery=recovery
            ),
            await self._open(registration.passphrase),
        )
        # What is offered is opened first: no fault here locks its owner out.
        keys_blob = edit.keys_blob or b""
        offered = await asyncio.to_thread(
            open_keys, passphrase, edit.account, keys_blob, profile=self._profile
        )
        keys = register_keys_of(
            offered, recovery=recovery, client=self._vault.keys.client_key
        )
        documents = await self._vault.store.documents(self._vault.keys.account_id)
        remote = Remote(
            url=registration.url,
            insecure=registration.insecure,
            username=registration.username,
            attempt=Attempt(document=edit.document, keys_blob=keys_blob),
        )
        async with self._connect(remote.url, remote.insecure) as host:
            nonce = (await host.prelogin(remote.username)).nonce
            await self._notes.save(remote)
            self._step("register-attempt-stored")
            try:
                await host.register(
                    self._prover(remote, edit.account, nonce),
                    documents=[*documents, edit.document],
                    keys_blob=keys_blob,
                    invite=registration.invite,
                    keys=keys,
                )
            except (HostRefusedError, TransportError) as error:
                if not await self._arrived_in_spite_of(error, remote):
                    raise
            else:
                self._step("register-answered")
                await self._adopt(edit)
                await _quietly(host.end_session())
        self._step("register-adopted")
        return edit

    async def _arrived_in_spite_of(self, error: Error, remote: Remote) -> bool:
        """Tell whether a host has the account, though it did not say so.

        One that says no is asked too: it could have taken the registration first.
        """
        is_taken = getattr(error, "code", "") in _TAKEN
        try:
            return await self._has_arrived(remote)
        except (TransportError, HostRefusedError, IntegrityError) as unknown:
            # Nor does what is none of ours say that it has the account.
            if was_refused(error) and not is_taken:
                await self._notes.forget()
                return False
            if not isinstance(unknown, TransportError):
                raise
            raise NoAnswerError(
                f"{remote.url} did not answer: whether it took the registration is not"
                " known yet",
                hint="run `awvault register` again when it can be reached; the vault"
                " opens with the old passphrase until then",
            ) from error

    async def _has_arrived(self, pending: Remote) -> bool:
        """Ask a host whether it knows this client; if so, believe its documents.

        If not, forget that anything was sent: its nonce was good for a minute.
        """
        if await self._is_known_at(pending):
            return True
        await self._notes.forget()
        return False

    async def _settle_at(self, registration: Registration) -> Arrived:
        """Take an account that has left its host to another, as it is.

        Every version of its document goes there, proven by this client. What other
        clients recorded follows from wherever it is.
        """
        if registration.new_passphrase is not None:
            raise InvalidInputError(
                "new_passphrase",
                "the account keeps its passphrase here: change it afterwards",
            )
        opened = await self._open(registration.passphrase)
        document = self.account.document
        remote = Remote(
            url=registration.url,
            insecure=registration.insecure,
            username=document.username,
        )
        if not await self._is_known_at(remote):
            keys_blob = opened.blob.encode()
            documents = await self._vault.store.documents(document.account_id)
            async with self._connect(remote.url, remote.insecure) as host:
                nonce = (await host.prelogin(remote.username)).nonce
                await host.restore_documents(
                    self._prover(remote, self.account, nonce),
                    documents=documents,
                    keys_blob=keys_blob,
                    key=self._vault.keys.client_key,
                )
        await self._notes.save(remote)
        await self._tell_recovery()
        self._step("registered")
        return Arrived(
            passphrase=registration.passphrase, recovery=RecoveryKeyOf.BEFORE
        )

    async def _is_known_at(self, remote: Remote) -> bool:
        """Tell whether a host has this client's account, and believe what is later."""
        try:
            async with self._session(remote) as host:
                await self._fetch(host)
        except HostRefusedError as error:
            if error.code != "proof-refused":
                raise
            return False
        return True

    async def _end_registration(
        self, registration: Registration, recovery: RecoveryKeyOf
    ) -> Arrived:
        """Let the account's passphrase unlock here, whichever try brought it."""
        await self._notes.update(_without_attempt)
        await self._tell_recovery()
        passphrase = registration.passphrase_after
        try:
            await self._vault.replica.take_secret(passphrase)
        except WrongPassphraseError:
            # An earlier try had arrived, with another passphrase.
            passphrase = registration.passphrase
            await self._vault.replica.take_secret(passphrase)
        self._step("registered")
        return Arrived(passphrase=passphrase, recovery=recovery)

    async def log_in_again(
        self, *, url: str, insecure: bool, username: str, passphrase: Passphrase
    ) -> None:
        """Go back to a host that keeps this account, as the client that this one is.

        Raises `InvalidInputError` if the vault is of another account, and as
        `check_passphrase`.
        """
        async with self._editing:
            document = self.account.document
            if document.username != username:
                raise InvalidInputError(
                    "username",
                    f'the vault is of the account "{document.username}": for another'
                    " one, name another directory with --data-dir",
                )
            before = self._notes.load()
            told = recovery_key_of(self.account)
            remote = (
                Remote(
                    url=url, insecure=insecure, username=username, recovery_told=told
                )
                if before is None
                else replace(before, url=url, insecure=insecure)
            )
            async with self._session(remote) as host:
                await self._fetch(host)
            await self._vault.replica.take_secret(passphrase)
            await self._notes.save(remote)
            await self._note_versions()
            await self._note_recovery()

    # -- secrets -------------------------------------------------------------

    async def change_passphrase(self, passphrase: Passphrase, new: Passphrase) -> None:
        """Let another passphrase open the account, here and at its host.

        Raises `WeakPassphraseError` for a new one that a host could guess,
        `WrongPassphraseError`, `LoggedOutError` once the vault has left the host that
        keeps the account, `HostRefusedError`, `TransportError`, and `NoAnswerError`
        where nobody can tell whether the host took it: the vault opens with the old
        one until it is known.
        """
        async with self._editing:
            remote = self._notes.load()
            if remote is not None:
                await asyncio.to_thread(
                    require_strong, new, known=[remote.username, remote.url]
                )
            await self._edit(ChangePassphrase(passphrase=new), passphrase)
            await self._vault.replica.take_secret(new)
            self._step("edit-secret-taken")

    async def prepare_recovery_key(self, passphrase: Passphrase) -> RecoveryKey:
        """Make a new recovery key; it opens nothing until `set_recovery_key`.

        Raises `NoRemoteError` (only at a host can it be used), and
        `WrongPassphraseError`.
        """
        self.required_remote()
        return new_recovery_key(await self._open(passphrase), self._random)

    async def set_recovery_key(
        self, passphrase: Passphrase, recovery: RecoveryKey
    ) -> None:
        """Let another recovery key open the account; raises as `change_passphrase`."""
        async with self._editing:
            self.required_remote()
            await self._edit(SetRecoveryKey(recovery=recovery), passphrase)
            # The blob is another one, and what unlocks here is the newest again.
            await self._vault.replica.take_secret(passphrase)
            await self._tell_recovery()

    async def check_passphrase(self, passphrase: Passphrase) -> bool:
        """Prove a passphrase; if another client has changed it, it unlocks from now.

        Return whether it was new here. Raises `WrongPassphraseError`.
        """
        async with self._editing:
            was_new = self.has_new_secret
            try:
                await self._vault.replica.take_secret(passphrase)
            except WrongPassphraseError:
                # It may have been changed a moment ago, and not be known here yet.
                if not await self._found_later_versions():
                    raise
                was_new = True
                await self._vault.replica.take_secret(passphrase)
            return was_new

    async def take_note_of_recovery(self) -> bool:
        """Take the recovery words that count for those that the owner knows.

        Return whether they were others than the owner was told of here.
        """
        remote = self.remote()
        if remote is None:
            return False
        told = remote.recovery_told
        await self._tell_recovery()
        return told is not None and told != recovery_key_of(self._newest)

    async def settle(self) -> bool:
        """Ask the host what became of a change that was not answered.

        Return whether nothing is in the air any more. Raises `IntegrityError` where
        what the host serves is not what an owner signed.
        """
        async with self._editing:
            if self.has_attempt:
                await self._found_later_versions()
            return self.is_settled

    async def _found_later_versions(self) -> bool:
        """Fetch documents, if there is a host that answers; tell if there were any."""
        remote = self.remote()
        if remote is None:
            return False
        before = self._vault.keys.standing.known.pin
        try:
            async with self._session(remote) as host:
                await self._fetch(host)
        except (NewSecretNeededError, HostRefusedError, TransportError):
            pass
        await self._note_recovery()
        return self._vault.keys.standing.known.pin != before

    # -- sessions and the host's own numbers -----------------------------------

    async def log_out(self) -> bool:
        """Forget the host, and end this client's sessions there.

        The vault stays as it is and can be used without a host. Return False if
        the host did not answer: the sessions end by themselves. A registration that
        was not answered is forgotten too. Raises `NoRemoteError`.
        """
        remote = self.pending() or self.required_remote()
        ended = True
        try:
            async with self._session(remote) as host:
                mine = self._vault.keys.client_id.hex()
                for session in await host.sessions():
                    if session.client_id == mine and not session.current:
                        await host.end_session(session.id)
        except (TransportError, HostRefusedError):
            ended = False
        await self._notes.forget()
        return ended

    async def delete_account(self, passphrase: Passphrase) -> None:
        """Have the host delete the account and all it stored; then forget the host.

        The vault stays as it is. Nothing proves that a host did as it says. Raises
        `WrongPassphraseError` before anything is sent, `HostRefusedError`,
        `TransportError`, and `NoAnswerError` where nobody can tell what became of it.
        """
        async with self._editing:
            remote = self.required_remote()
            async with self._session(remote) as host:
                await self._fetch(host)
                opened = await self._open(passphrase)
                nonce = (await host.prelogin(remote.username)).nonce
                try:
                    await host.delete_account(
                        self._prover(remote, opened.account, nonce),
                        self._vault.keys.account_id,
                        key=login_key_of(opened),
                    )
                except TransportError as error:
                    if isinstance(error, HostBusyError):
                        raise
                    if await self._is_still_there(remote, error):
                        raise
            self._step("account-deleted")
            await self._notes.forget()

    async def _is_still_there(self, remote: Remote, error: TransportError) -> bool:
        """Ask a host that did not answer a deletion whether it has the account."""
        try:
            return await self._is_known_at(remote)
        except TransportError:
            raise NoAnswerError(
                f"{remote.url} did not answer: whether it deleted the account is not"
                " known yet",
                hint="run the same again when it can be reached; if it then refuses the"
                " proof, the account is gone, and `awvault logout` forgets the host",
            ) from error

    async def stored_there(self) -> StoredThere:
        """Return what the host gives out of the account, as it is there now.

        The documents are verified, for a host could go on with them for ever; all
        else is what the host says. Raises as `usage`, and an `IntegrityError`.
        """
        account_id = self._vault.keys.account_id
        async with self._session(self.required_remote()) as host:
            documents = await host.documents(after=0)
            first = await asyncio.to_thread(verify_documents, account_id, documents)
            return StoredThere(
                documents=documents + await later_documents(host, first),
                keys_blob=await host.keys_blob(),
                heads=await host.heads(),
                usage=await host.usage(),
                sessions=[one for one in await host.sessions() if not one.current],
            )

    async def sessions(self) -> list[SessionInfo]:
        """Return the account's sessions, but for the one that asks."""
        async with self._session(self.required_remote()) as host:
            return [found for found in await host.sessions() if not found.current]

    async def end_session(self, session_id: str) -> None:
        """End a session by its id; raises `HostRefusedError` if there is none."""
        async with self._session(self.required_remote()) as host:
            await host.end_session(session_id)

    async def usage(self) -> UsageAnswer:
        """Return what the host says that the account takes there."""
        async with self._session(self.required_remote()) as host:
            return await host.usage()

    # -- how -----------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _session(self, remote: Remote) -> AsyncIterator[HostClient]:
        """Give the host with a session of this client; it ends with the context."""
        async with self._connect(remote.url, remote.insecure) as host:
            answer = await host.prelogin(remote.username)
            prover = Prover(
                username=remote.username,
                client_id=self._vault.keys.client_id,
                # Only its hash is signed, so a false one helps nobody.
                salt=answer.salt,
                nonce=answer.nonce,
            )
            session = await host.open_session(prover, key=self._vault.keys.client_key)
            if session.account_id != self._vault.keys.account_id:
                raise WrongPlaceError("the host gave a session of another account")
            try:
                yield host
            finally:
                await _quietly(host.end_session())

    async def _edit(self, intent: Intent, secret: Passphrase) -> Edit:
        """Run an intent until it counts; the vault knows its version then."""
        if self.pending() is not None:
            raise InvalidInputError(
                "account",
                "a registration was not answered yet: run `awvault register` again, it"
                " says what became of it",
            )
        remote = self.remote()
        if remote is None:
            username = self.account.document.username
            if username != LOCAL_USERNAME:
                raise LoggedOutError(username)
            edit = await self._run(intent, await self._open(secret))
            await self._adopt(edit)
            return edit
        for alarm in remote.alarms:
            if alarm.name in _DISPUTES:
                raise AccountDisputedError(alarm.name)
        async with self._session(remote) as host:
            for _ in range(EDIT_TRIES_MAX):
                await self._fetch(host)
                await self._note_recovery()
                opened = await self._open(secret)
                edit = await self._run(intent, opened)
                if await self._put(host, remote, opened, edit):
                    self._step("edit-adopted")
                    return edit
        raise EditConflictError(tries=EDIT_TRIES_MAX)

    async def _put(
        self, host: HostClient, remote: Remote, opened: OpenedAccount, edit: Edit
    ) -> bool:
        """Send an edit; return False if another client was faster."""
        attempt = Attempt(document=edit.document, keys_blob=edit.keys_blob)
        nonce = (await host.prelogin(remote.username)).nonce
        told = recovery_key_of(opened.account)
        await self._notes.update(
            lambda notes: replace(
                notes, attempt=attempt, recovery_told=notes.recovery_told or told
            )
        )
        self._step("edit-attempt-stored")
        try:
            await host.put_document(
                self._prover(remote, opened.account, nonce),
                document=edit.document,
                keys_blob=edit.keys_blob,
                key=login_key_of(opened),
            )
        except (HostRefusedError, TransportError) as error:
            return await self._counts_in_spite_of(error, host, remote, edit)
        self._step("edit-answered")
        await self._adopt(edit)
        await self._notes.update(_without_attempt)
        return True

    async def _counts_in_spite_of(
        self, error: Error, host: HostClient, remote: Remote, edit: Edit
    ) -> bool:
        """Ask a host that did not answer an edit, or refused it, what it has now.

        Return False if another client's version stands there. If nothing does, the
        edit stays in the air: raises `error`, and `EditRefusedError` for a refusal.
        Raises `NoAnswerError` if the host still does not answer.
        """
        try:
            await self._fetch(host)
        except (HostRefusedError, TransportError):
            if isinstance(error, HostRefusedError):
                raise EditRefusedError(error) from error
            raise NoAnswerError(
                f"{remote.url} did not answer: whether it took the change is not known"
                " yet",
                hint="the vault opens with the old passphrase until it is known;"
                f" {KEEP_BOTH}",
            ) from error
        newest, made = self.account.document.version, edit.pin[0]
        if newest < made:
            if isinstance(error, HostRefusedError):
                raise EditRefusedError(error) from error
            raise error
        await self._note_versions()
        return self._counts(edit)

    async def _fetch(self, host: HostClient) -> None:
        """Believe what the host has of later versions, once it is verified."""
        replica = self._vault.replica
        for tries_left in reversed(range(BLOB_TRIES_MAX)):
            known = self._vault.keys.standing.known
            documents = await later_documents(host, known)
            if not documents:
                return
            try:
                await replica.adopt(documents, await host.keys_blob())
            except DocumentError:
                # Another edit may have come between documents and blob.
                if not tries_left:
                    raise
            else:
                return
            finally:
                await self._note_versions()

    async def _note_versions(self) -> None:
        """Note what the versions that are known now say of a change in the air."""
        version = self._newest.document.version
        await self._notes.update(lambda notes: notes.settled_by(version))

    @property
    def _newest(self) -> VerifiedAccount:
        """The newest chain of documents that was verified, believed yet or not."""
        return self._vault.keys.standing.known

    async def _note_recovery(self) -> None:
        """Raise an alarm if other recovery words count than the owner was told of."""
        now_us, newest = self._clock(), self._newest

        def noted(remote: Remote) -> Remote:
            found = Alarms()
            found.add_recovery(remote, newest)
            known = {alarm.key for alarm in remote.alarms}
            new = [alarm for alarm in found.all() if alarm.key not in known]
            if not new:
                return remote
            return remote.with_alarms([*remote.alarms, *new], now_us=now_us)

        await self._notes.update(noted)

    async def _tell_recovery(self) -> None:
        """Note that the owner knows of the recovery words that count."""
        now_us, told = self._clock(), recovery_key_of(self._newest)

        def noted(remote: Remote) -> Remote:
            others = [a for a in remote.alarms if a.name != Name.RECOVERY_CHANGED]
            return replace(
                remote.with_alarms(others, now_us=now_us), recovery_told=told
            )

        await self._notes.update(noted)

    async def _adopt(self, edit: Edit) -> None:
        await self._vault.replica.adopt([edit.document], edit.keys_blob)

    def _counts(self, edit: Edit) -> bool:
        """Whether an edit is a version of the account as it is believed now."""
        version, made = edit.pin
        hashes = self.account.hashes
        return version <= len(hashes) and hashes[version - 1] == made

    async def _open(self, secret: Passphrase) -> OpenedAccount:
        """Open the newest version. Raises `WrongPassphraseError`."""
        keys_blob = await self._vault.store.keys_blob(self._vault.keys.account_id)
        if keys_blob is None:
            raise VaultDamagedError("the database holds no keys blob")
        return await asyncio.to_thread(
            open_keys, secret, self.account, keys_blob, profile=self._profile
        )

    async def _run(self, intent: Intent, opened: OpenedAccount) -> Edit:
        heads = self._vault.replica.heads()
        # Others hold the host to what the document names: what it has, and no more.
        remote, own = self._notes.load(), self._vault.keys.client_id
        heads.pop(own, None)
        if remote is not None and remote.acknowledged is not None:
            heads[own] = remote.acknowledged.head
        return await asyncio.to_thread(
            intent.run,
            opened,
            heads=heads,
            profile=self._profile,
            random=self._random,
        )

    def _prover(self, remote: Remote, account: VerifiedAccount, nonce: bytes) -> Prover:
        return Prover(
            username=remote.username,
            client_id=self._vault.keys.client_id,
            salt=account.document.salt,
            nonce=nonce,
        )


async def later_documents(host: HostClient, known: VerifiedAccount) -> list[bytes]:
    """Return what a host has after the versions that are known, verified.

    Each page is verified before the next is asked for, so a host cannot go on for
    ever: it would need the owner's signatures.
    """
    documents: list[bytes] = []
    while True:
        page = await host.documents(after=known.document.version)
        if not page:
            return documents
        known = await asyncio.to_thread(known.extended_by, page)
        documents += page


async def _check_takes(host: HostClient, registration: Registration) -> None:
    """Raise `HostRefusedError` if a host would not take a registration anyway."""
    match (await host.info()).registration:
        case "closed":
            raise HostRefusedError(
                f"{host.origin} takes no new accounts", code="registration-closed"
            )
        case "invite" if registration.invite is None:
            raise HostRefusedError(
                f"{host.origin} takes new accounts by invitation only: name the file"
                " that holds yours with --invite-file",
                code="invite-invalid",
            )


def was_refused(error: Error) -> bool:
    """Whether a host has said no, so that nothing was stored."""
    if isinstance(error, HostBusyError):
        return error.code == "rate-limited"
    return isinstance(error, HostRefusedError)


def _without_attempt(remote: Remote) -> Remote:
    return replace(remote, attempt=None)


async def _quietly(work: Coroutine[Any, Any, object]) -> None:
    """Do what is only polite: whether the host hears it changes nothing here."""
    with contextlib.suppress(TransportError, HostRefusedError):
        await work
