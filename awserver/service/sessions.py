"""From a proof to a session, and from a token to whose it is."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Final

from awserver.errors import (
    AccountDisabledError,
    AccountUnknownError,
    DocumentConflictError,
    ProofRefusedError,
    ServerError,
    SessionInvalidError,
    SessionUnknownError,
)
from awserver.proofs import Action
from awserver.service.base import Caller, Changes, Sessions
from awserver.service.limits import Limiter
from awserver.service.parts import Parts
from awserver.service.proving import due_time, wait_until
from awserver.service.secrets import read_token
from awserver.service.times import SESSION_HOURS_MAX
from awserver.storage.base import Grant, Standing
from awserver.wire import (
    SESSION_ID_BYTES,
    PreloginAnswer,
    PreloginRequest,
    SessionAnswer,
    SessionInfo,
    SessionRequest,
    SessionsAnswer,
)

log = logging.getLogger(__name__)

CURRENT: Final = "current"
"""In place of the id of the session that asks."""

TRIES_MAX: Final = 3
"""How often a document may change between a proof and its session."""

_HOUR_SECONDS: Final = 3600


class HostSessions(Sessions):
    """The sessions of a store."""

    def __init__(self, parts: Parts, *, changes: Changes) -> None:
        """Use what `open_service` made."""
        self._parts = parts
        self._changes = changes
        self._prelogins = Limiter(parts.settings.prelogin, parts.clock)
        self._requests = Limiter(parts.settings.requests, parts.clock)
        self._touching: set[asyncio.Task[None]] = set()

    async def prelogin(
        self, request: PreloginRequest, *, address: str
    ) -> PreloginAnswer:
        """See `Sessions.prelogin`."""
        self._prelogins.charge(account=request.username, address=address)
        due = due_time()
        subject = await self._parts.prover.subject(request.username)
        answer = PreloginAnswer(
            salt=subject.salt, nonce=self._parts.prover.nonce(request.username)
        )
        await wait_until(due)
        return answer

    async def create(self, request: SessionRequest, *, address: str) -> SessionAnswer:
        """See `Sessions.create`."""
        # A client's key cannot be guessed, so tries with it lock nobody out.
        guessed = None if request.by == "client" else request.username
        self._parts.proofs.charge(account=guessed, address=address)
        due = due_time()
        try:
            answer = await self._create_at_last(request)
        except ProofRefusedError:
            await wait_until(due)
            raise
        if guessed is not None:
            self._parts.proofs.forgive(guessed)
        return answer

    async def _create_at_last(self, request: SessionRequest) -> SessionAnswer:
        for _ in range(TRIES_MAX):
            try:
                return await self._create(request)
            except DocumentConflictError:
                continue  # look again at who may
        raise ProofRefusedError

    async def _create(self, request: SessionRequest) -> SessionAnswer:
        subject = await self._parts.prover.subject(request.username)
        self._parts.prover.check(
            request,
            subject,
            action=Action.SESSION if request.by == "client" else Action.LOGIN,
            by=request.by,
            signature=request.signature,
        )
        if subject.found is None:
            raise ProofRefusedError
        account = subject.found.account_id
        token, session = self._parts.new_session(account, request.client_id)
        try:
            await self._parts.accounts.add_session(
                account,
                session,
                nonce=request.nonce,
                version=subject.found.version,
                seen_hour_min=self._parts.clock.seen_hour_min(),
            )
        except AccountUnknownError:
            raise ProofRefusedError from None
        return SessionAnswer(
            token=token, account_id=account.hex(), version=subject.found.version
        )

    async def find(self, token: str) -> Caller:
        """See `Sessions.find`."""
        account, token_hash = read_token(token)
        access = self._parts.accounts.access(account, token_hash)
        hour = self._parts.clock.hour()
        if access is None or access.session.seen_hour < hour - SESSION_HOURS_MAX:
            raise SessionInvalidError
        if access.standing is not Standing.ACTIVE:
            raise AccountDisabledError
        self._requests.charge(account=account)
        caller = Caller(
            account_id=account,
            client_id=access.session.client_id,
            token_hash=token_hash,
            version=access.version,
        )
        if access.session.seen_hour < hour:
            self._touch(caller)
        return caller

    def _touch(self, caller: Caller) -> None:
        """Note, once an hour and beside the request, that the session is used."""
        task = asyncio.create_task(self._note_use(self._parts.grant(caller)))
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)

    async def _note_use(self, grant: Grant) -> None:
        try:
            await self._parts.accounts.touch(grant)
        except ServerError as error:
            log.warning("a session's use was not noted", extra={"code": error.code})

    async def close(self) -> None:
        """Wait for what is noted beside requests."""
        await asyncio.gather(*self._touching)

    async def list(self, caller: Caller) -> SessionsAnswer:
        """See `Sessions.list`."""
        return SessionsAnswer(
            sessions=[
                SessionInfo(
                    id=one.token_hash[:SESSION_ID_BYTES].hex(),
                    client_id=one.client_id.hex(),
                    created=_text(one.created_hour),
                    seen=_text(one.seen_hour),
                    current=one.token_hash == caller.token_hash,
                )
                for one in await self._parts.accounts.sessions(caller.account_id)
                if one.seen_hour >= self._parts.clock.seen_hour_min()
            ]
        )

    async def end(self, caller: Caller, session_id: str) -> None:
        """See `Sessions.end`."""
        id_ = caller.token_hash if session_id == CURRENT else _read_id(session_id)
        if not await self._parts.accounts.end_session(caller.account_id, id_):
            raise SessionUnknownError(f'there is no session "{session_id}"')
        self._changes.notify(caller.account_id)


def _read_id(text: str) -> bytes:
    try:
        id_ = bytes.fromhex(text)
    except ValueError:
        id_ = b""
    if len(id_) != SESSION_ID_BYTES:
        raise SessionUnknownError(
            f"a session has an id of {2 * SESSION_ID_BYTES} hexadecimal digits"
        )
    return id_


def _text(hour: int) -> str:
    return datetime.fromtimestamp(hour * _HOUR_SECONDS, UTC).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
