"""Making an account, and deleting one."""

import asyncio
from typing import Final

from awserver.config import Registration
from awserver.documents import LOCAL_USERNAME, NO_KEY
from awserver.errors import (
    DocumentInvalidError,
    InviteInvalidError,
    NotSupportedError,
    RegistrationClosedError,
    UsernameTakenError,
)
from awserver.proofs import Action, body_of_delete, body_of_register
from awserver.records import ClientId
from awserver.service.base import Accounts, Caller, Changes
from awserver.service.chains import (
    check_blob,
    check_kept,
    read_chain,
    require_chain_bytes,
    to_store,
)
from awserver.service.deleting import Deleter
from awserver.service.known import KnownDocument
from awserver.service.parts import Parts
from awserver.service.secrets import hash_invite
from awserver.wire import DeleteRequest, InfoAnswer, RegisterRequest, SessionAnswer

API_VERSION: Final = 1

DELETE_WAIT_SECONDS_MAX: Final = 10
"""How long an answer waits for the rows of a deleted account to go."""


class HostAccounts(Accounts):
    """The accounts of a store."""

    def __init__(self, parts: Parts, *, changes: Changes, deleter: Deleter) -> None:
        """Use what `open_service` made."""
        self._parts = parts
        self._changes = changes
        self._deleter = deleter

    def info(self) -> InfoAnswer:
        """See `Accounts.info`."""
        return InfoAnswer(
            api=API_VERSION, registration=self._parts.settings.registration.value
        )

    async def register(
        self, request: RegisterRequest, *, address: str
    ) -> SessionAnswer:
        """See `Accounts.register`."""
        self._parts.registrations.charge(account=request.username, address=address)
        invite_hash = self._invite_hash(request)
        require_chain_bytes(request.documents)
        # Some 0.2 ms a version, and a hash of everything: not on the event loop.
        chain = await asyncio.to_thread(self._verify, request)
        newest = chain[-1]
        account = newest.signed.document.account_id
        token, session = self._parts.new_session(account, request.client_id)
        await self._parts.accounts.create(
            account,
            username=request.username,
            documents=to_store(chain),
            keys_blob=request.keys_blob,
            nonce=request.nonce,
            session=session,
            invite_hash=invite_hash,
            hour=self._parts.clock.hour(),
        )
        # It may have been here before, with other documents of the same versions.
        self._parts.known.forget(account)
        return SessionAnswer(
            token=token, account_id=account.hex(), version=newest.version
        )

    def _invite_hash(self, request: RegisterRequest) -> bytes | None:
        """Return which invitation is used up; None: none is needed."""
        match self._parts.settings.registration:
            case Registration.CLOSED:
                raise RegistrationClosedError("this host takes no new accounts")
            case Registration.OPEN:
                return None
            case Registration.INVITE:
                if request.invite is None:
                    raise InviteInvalidError
                return hash_invite(request.invite)

    def _verify(self, request: RegisterRequest) -> list[KnownDocument]:
        """Check the proofs, then every document; return them."""
        offered = KnownDocument.read(request.documents[-1])
        document = offered.signed.document
        entry = offered.active_client(ClientId(bytes.fromhex(request.client_id)))
        proofs = request.proofs
        signatures = [
            (None if entry is None else entry.public, proofs.client),
            (document.login_public, proofs.login),
            (document.signing_public, proofs.signing),
        ]
        if document.recovery_login_public != NO_KEY:
            signatures.append((document.recovery_login_public, proofs.recovery or b""))
        self._parts.prover.check_all(
            request,
            username=request.username,
            salt=document.salt,
            action=Action.REGISTER,
            body=body_of_register(request.documents, request.keys_blob, request.invite),
            signatures=signatures,
        )
        if document.username != request.username:
            raise DocumentInvalidError(
                "the newest document has another username than the request"
            )
        if request.username == LOCAL_USERNAME:
            raise UsernameTakenError(
                f'the username "{LOCAL_USERNAME}" means no host: choose another'
            )
        chain = read_chain(None, request.documents)
        check_kept(None, chain)
        check_blob(offered, request.keys_blob)
        return chain

    async def delete(
        self, caller: Caller, request: DeleteRequest, *, address: str
    ) -> None:
        """See `Accounts.delete`."""
        if self._parts.is_local:
            raise NotSupportedError(
                "this is the store of a vault on this machine: to delete it, stop"
                " aw-server and remove its data directory"
            )
        subject = await self._parts.prover.subject_of(caller.account_id, caller.version)
        self._parts.edits.charge(account=caller.account_id, address=address)
        self._parts.prover.check(
            request,
            subject,
            action=Action.DELETE,
            by=request.by,
            signature=request.signature,
            body=body_of_delete(caller.account_id),
        )
        await self._parts.accounts.delete(
            caller.account_id,
            nonce=request.nonce,
            grant=self._parts.grant(caller),
        )
        self._parts.known.forget(caller.account_id)
        self._changes.notify(caller.account_id)
        # Not cancelled with the request: whoever hangs up has deleted it too.
        await asyncio.wait(
            {self._deleter.start(caller.account_id)}, timeout=DELETE_WAIT_SECONDS_MAX
        )
