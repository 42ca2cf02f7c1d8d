"""The operations of `awvault` that concern the account and its host."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from awserver.origins import origin_of
from awvault.accounts import Accounts, Arrived, Registration
from awvault.crypto.keys import Passphrase
from awvault.crypto.recovery import read_recovery_words, recovery_words
from awvault.errors import InvalidInputError, WrongPassphraseError
from awvault.naming import client_labels
from awvault.passphrases import (
    FoundPassphrase,
    Source,
    drop_staged,
    holds,
    promote_staged,
    stage_passphrase,
    staged_passphrase,
)
from awvault.service import (
    AccountDeleted,
    ClientRow,
    HostClientView,
    HostSession,
    HostUsage,
    HostView,
    LoggedOut,
    PassphraseRequest,
    PassphraseResult,
    Prepared,
    RecoveryRequest,
    RecoverySet,
    Registered,
    RegisterRequest,
    RemoteInfo,
    SessionRequest,
    SessionRow,
)
from awvault.store_service import DatabaseService, account_view
from awvault.transfer.lines import timestamp
from awvault.vault import Vault

_CHANGED_ELSEWHERE: Final = (
    "if it was changed on another machine, prove the new one: start this on a terminal"
    " and type it, or name a file that holds it with --account-passphrase-file"
)


class AccountService:
    """Answers on one open vault, for who holds its data directory."""

    def __init__(
        self,
        vault: Vault,
        accounts: Accounts,
        found: FoundPassphrase,
        *,
        remote_changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Answer for `vault`, whose passphrase was `found` at this start.

        `remote_changed` is called when the vault has a host, or has none, from now.
        """
        self._vault = vault
        self._accounts = accounts
        self._found = found
        self._remote_changed = remote_changed

    # -- registering ---------------------------------------------------------

    async def prepare_registration(self, request: RegisterRequest) -> Prepared:
        """See `Service.prepare_registration`."""
        registration = _registration(request)
        made = await self._accounts.prepare(registration)
        if not isinstance(made, Arrived):
            return Prepared(recovery_words=" ".join(recovery_words(made)))
        await self._follow_staged()
        with self._file_follows(made.passphrase):
            registered = self._registered(registration, made)
        return Prepared(recovery_words="", registered=registered)

    async def register(self, request: RegisterRequest) -> Registered:
        """See `Service.register`."""
        recovery = read_recovery_words(request.recovery_words)
        registration = _registration(request)
        await self._follow_staged()
        with self._file_follows(registration.passphrase_after):
            made = await self._accounts.register(registration, recovery)
        return self._registered(registration, made)

    def _registered(self, registration: Registration, made: Arrived) -> Registered:
        self._remote_changed()
        document = self._accounts.account.document
        changed = made.passphrase != registration.passphrase
        return Registered(
            url=self._accounts.required_remote().url,
            username=document.username,
            account_id=document.account_id.hex(),
            document_version=document.version,
            recovery=made.recovery.value,
            passphrase_file=self._generated() if changed else None,
            passphrase_outdated=self._outdated() if changed else None,
        )

    # -- the host ------------------------------------------------------------

    async def remote(self) -> RemoteInfo:
        """See `Service.remote`."""
        pending = self._accounts.pending()
        remote = pending or self._accounts.required_remote()
        keys = self._vault.keys
        acknowledged = remote.acknowledged
        return RemoteInfo(
            url=remote.url,
            origin=origin_of(remote.url),
            username=remote.username,
            insecure=remote.insecure,
            account_id=keys.account_id.hex(),
            client_id=keys.client_id.hex(),
            synced=None if remote.synced_us is None else timestamp(remote.synced_us),
            acknowledged_seq=None if acknowledged is None else acknowledged.seq,
            attempt_pending=remote.attempt is not None,
            registration_pending=pending is not None,
            alarms=[alarm.sentence for alarm in remote.alarms],
        )

    async def log_out(self) -> LoggedOut:
        """See `Service.log_out`."""
        remote = self._accounts.pending() or self._accounts.required_remote()
        ended = await self._accounts.log_out()
        self._remote_changed()
        return LoggedOut(url=remote.url, sessions_ended=ended)

    async def delete_account(self, request: PassphraseRequest) -> AccountDeleted:
        """See `Service.delete_account`."""
        remote = self._accounts.required_remote()
        await self._accounts.delete_account(Passphrase(request.passphrase))
        self._remote_changed()
        return AccountDeleted(url=remote.url, username=remote.username)

    async def sessions(self) -> list[SessionRow]:
        """See `Service.sessions`."""
        own = self._vault.keys.client_id.hex()
        labels = {row.client_id: row.label for row in await self.clients()}
        return [
            SessionRow(
                id=session.id,
                client_id=session.client_id,
                client_label=labels.get(session.client_id, ""),
                own=session.client_id == own,
                created=session.created,
                seen=session.seen,
            )
            for session in await self._accounts.sessions()
        ]

    async def end_session(self, request: SessionRequest) -> bool:
        """See `Service.end_session`."""
        await self._accounts.end_session(request.id)
        return True

    async def clients(self) -> list[ClientRow]:
        """See `Service.clients`."""
        keys = self._vault.keys
        labels = client_labels(keys.standing)
        stored = (await DatabaseService(self._vault.database).usage()).clients
        usage = {log.client_id: log for log in stored}
        rows = []
        for entry in keys.account.document.clients:
            client_id = entry.client_id.hex()
            log = usage.get(client_id)
            rows.append(
                ClientRow(
                    client_id=client_id,
                    number=entry.number,
                    label=labels[entry.number],
                    own=entry.client_id == keys.client_id,
                    added_version=entry.added_version,
                    revoked=entry.revoked,
                    records=0 if log is None else log.records,
                    stored_bytes=0 if log is None else log.stored_bytes,
                )
            )
        return rows

    async def hosted_view(self) -> HostView:
        """See `Service.hosted_view`."""
        remote = self._accounts.remote()
        if remote is None:
            return await DatabaseService(self._vault.database).host_view()
        there = await self._accounts.stored_there()
        account = account_view(
            self._vault.keys.account_id,
            documents=there.documents,
            keys_blob=there.keys_blob,
            entries=there.usage.entries,
            stored_bytes=there.usage.stored_bytes,
            clients=[
                HostClientView(
                    client_id=client_id.hex(),
                    records=log.entries,
                    stored_bytes=log.stored_bytes,
                    head_seq=log.head.seq,
                    head_hash=log.head.hash.hex(),
                    sizes=None,
                )
                for client_id, log in sorted(there.heads.logs.items())
            ],
        )
        return HostView(
            accounts=[account],
            host=remote.url,
            quota_bytes=there.usage.quota_bytes,
            sessions=[
                HostSession(
                    id=session.id,
                    client_id=session.client_id,
                    created=session.created,
                    seen=session.seen,
                )
                for session in there.sessions
            ],
        )

    async def host_usage(self) -> HostUsage:
        """See `Service.host_usage`."""
        answer = await self._accounts.usage()
        return HostUsage(
            url=self._accounts.required_remote().url,
            entries=answer.entries,
            stored_bytes=answer.stored_bytes,
            quota_bytes=answer.quota_bytes,
        )

    # -- secrets -------------------------------------------------------------

    async def prepare_recovery(self, request: RecoveryRequest) -> Prepared:
        """See `Service.prepare_recovery`."""
        passphrase = Passphrase(request.passphrase)
        recovery = await self._accounts.prepare_recovery_key(passphrase)
        return Prepared(recovery_words=" ".join(recovery_words(recovery)))

    async def set_recovery(self, request: RecoveryRequest) -> RecoverySet:
        """See `Service.set_recovery`."""
        await self._accounts.set_recovery_key(
            Passphrase(request.passphrase), read_recovery_words(request.recovery_words)
        )
        return RecoverySet(document_version=self._accounts.account.document.version)

    async def change_passphrase(self, request: PassphraseRequest) -> PassphraseResult:
        """See `Service.change_passphrase`."""
        if request.new_passphrase is None:
            raise InvalidInputError("new_passphrase", "there is no new passphrase")
        new = Passphrase(request.new_passphrase)
        await self._follow_staged()
        with self._file_follows(new):
            await self._accounts.change_passphrase(Passphrase(request.passphrase), new)
        return self._passphrase_result(changed=True)

    async def check_passphrase(self, request: PassphraseRequest) -> PassphraseResult:
        """See `Service.check_passphrase`."""
        passphrase = Passphrase(request.passphrase)
        path = self._generated_path
        was_in_file = path is not None and holds(path, passphrase)
        if await self._follow_staged() and was_in_file:
            # What it held is outdated, and what takes its place is proved.
            changed = True
        else:
            try:
                with self._file_follows(passphrase):
                    changed = await self._accounts.check_passphrase(passphrase)
            except WrongPassphraseError as error:
                raise WrongPassphraseError(hint=_CHANGED_ELSEWHERE) from error
        return replace(
            self._passphrase_result(changed=changed),
            recovery_changed=await self._accounts.take_note_of_recovery(),
        )

    def _passphrase_result(self, *, changed: bool) -> PassphraseResult:
        return PassphraseResult(
            document_version=self._accounts.account.document.version,
            changed=changed,
            passphrase_file=self._generated() if changed else None,
            passphrase_outdated=self._outdated() if changed else None,
        )

    @property
    def _generated_path(self) -> Path | None:
        """The generated file that the passphrase is in; None: it is elsewhere."""
        found = self._found
        return found.path if found.source is Source.GENERATED_FILE else None

    def _generated(self) -> str | None:
        """Return the generated file, which changes with the passphrase."""
        path = self._generated_path
        return None if path is None else str(path)

    def _outdated(self) -> str | None:
        """Return where the old passphrase stays, until its owner changes it."""
        match self._found.source:
            case Source.FILE:
                return str(self._found.path)
            case Source.KEYRING:
                return "the keyring"
            case _:
                return None

    async def _follow_staged(self) -> bool:
        """Let a generated file follow a change whose end was not seen here.

        What is staged beside it takes its place if it opens the account, and is
        dropped if it does not and never will. Until that can be told it stays.
        Return whether it has taken its place.
        """
        path = self._generated_path
        staged = None if path is None else staged_passphrase(path)
        if path is None or staged is None:
            return False
        await self._accounts.settle()
        try:
            await self._accounts.check_passphrase(staged)
        except WrongPassphraseError:
            if self._accounts.is_settled:
                drop_staged(path)
            return False
        promote_staged(path)
        return True

    @contextlib.contextmanager
    def _file_follows(self, passphrase: Passphrase) -> Iterator[None]:
        """Let a generated file hold `passphrase` once what is done here has worked.

        If it cannot be told whether it did, both are kept, and a start tries both.
        Raises `StagedPassphraseError` before anything is done if another change is
        not settled.
        """
        path = self._generated_path
        if path is None or holds(path, passphrase):
            yield
            return
        is_new = stage_passphrase(path, passphrase)
        try:
            yield
        except WrongPassphraseError:
            # Nothing was sent, or another version has taken its place.
            if is_new:
                drop_staged(path)
            raise
        except BaseException:
            if is_new and self._accounts.is_settled:
                drop_staged(path)
            raise
        promote_staged(path)


def _registration(request: RegisterRequest) -> Registration:
    new = request.new_passphrase
    return Registration(
        url=request.url,
        insecure=request.insecure,
        username=request.username,
        passphrase=Passphrase(request.passphrase),
        new_passphrase=None if new is None else Passphrase(new),
        invite=request.invite,
    )
