"""A host, as one object with a method for each of its requests.

The one seam between a vault and the network. Whatever a host answers becomes a
typed value or a typed error; nothing here believes it. Records come as they
are: `awvault.replica` verifies them.
"""

import re
import secrets
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Self, TypeVar

import msgspec

from awserver.documents import DOCUMENT_BYTES_MAX, KEYS_BLOB_BYTES_MAX
from awserver.errors import MalformedRecordError
from awserver.records import (
    BODY_BYTES_MAX,
    RECORD_BYTES_MIN,
    AccountId,
    ClientId,
    Head,
    RecordHash,
    SealedRecord,
    Seq,
)
from awserver.storage.base import READ_BYTES_MAX
from awserver.wire import (
    API_PATH,
    BINARY_TYPE,
    CHANGES_WAIT_SECONDS_MAX,
    DOCUMENTS_MAX,
    AppendAnswer,
    ChangesAnswer,
    ClientInfo,
    ClientsAnswer,
    FrameReader,
    HeadsAnswer,
    InfoAnswer,
    PreloginAnswer,
    PreloginRequest,
    SessionAnswer,
    SessionInfo,
    SessionsAnswer,
    UsageAnswer,
    VersionAnswer,
    decode_documents,
    encode_frame,
)
from awvault.crypto.hedge import Random
from awvault.crypto.keys import ClientKey, LoginKey
from awvault.errors import (
    MalformedAnswerError,
    MalformedError,
    UnsupportedSuiteError,
)
from awvault.protocol.proving import (
    Challenge,
    RegisterKeys,
    delete_request,
    document_request,
    register_request,
    restore_request,
    session_request,
)
from awvault.sync.channel import (
    LIMITS,
    Channel,
    Limits,
    SessionToken,
    host_origin,
    shown,
)

JSON_TYPE: Final = "application/json"

SMALL_ANSWER_BYTES_MAX: Final = 16 * 1024
"""Of an answer that says a few numbers."""

LIST_ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of an answer that says something of each client, or of each session."""

DOCUMENTS_ANSWER_BYTES_MAX: Final = (
    READ_BYTES_MAX + DOCUMENT_BYTES_MAX + 4 * DOCUMENTS_MAX
)
"""Of a page of documents: as many as a page holds, and one that is too much."""

_FRAME_BYTES_MAX: Final = 1 + RECORD_BYTES_MIN + BODY_BYTES_MAX
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{64}", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prover:
    """Who proves something, with a nonce that serves one proof."""

    username: str
    client_id: ClientId
    salt: bytes
    """Of the account document that is in force, or of the newest that is offered."""
    nonce: bytes
    """The host's, not older than a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a host says of the account when it gives a session. Not believed yet."""

    account_id: AccountId
    version: int
    """Of the newest account document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLog:
    """What a host says of one log."""

    head: Head
    entries: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostHeads:
    """What a host says of all logs that have records. Not believed yet."""

    logs: Mapping[ClientId, HostLog]
    version: int
    """Of the newest account document."""
    entries: int

    def head(self, client_id: ClientId) -> Head | None:
        """Return the head of a log; None: the host has no record of it."""
        log = self.logs.get(client_id)
        return None if log is None else log.head


class HostClient:
    """One host. An async context manager; its session lives as long as it does.

    Every method raises `HostRefusedError` with the host's code if the host says
    no, and `TransportError`, or one of its kinds, if it does not answer, or not in
    the protocol's form, or more than it may, or too slowly.
    """

    def __init__(
        self,
        url: str,
        *,
        insecure: bool = False,
        limits: Limits = LIMITS,
        trust: ssl.SSLContext | None = None,
        random: Random = secrets.token_bytes,
    ) -> None:
        """Talk to the host at `url`, as a person typed it; see `host_origin`."""
        self._channel = Channel(
            host_origin(url, insecure=insecure), limits=limits, trust=trust
        )
        self._random = random

    async def __aenter__(self) -> Self:
        """Return the host."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections, and forget the session's token."""
        await self._channel.close()

    @property
    def origin(self) -> str:
        """The origin that every proof is bound to."""
        return self._channel.origin

    @property
    def has_session(self) -> bool:
        """Whether there is a token; the host may have ended its session."""
        return self._channel.token is not None

    def forget_session(self) -> None:
        """Forget the token, as after a `session-invalid`."""
        self._channel.token = None

    # -- before a session ----------------------------------------------------

    async def info(self) -> InfoAnswer:
        """Return what the host says of itself."""
        return await self._get("/info", InfoAnswer, authorised=False)

    async def prelogin(self, username: str) -> PreloginAnswer:
        """Return the salt of a passphrase, and a nonce for one proof."""
        return await self._post(
            "/prelogin",
            PreloginRequest(username=username),
            PreloginAnswer,
            expect=HTTPStatus.OK,
            authorised=False,
        )

    async def register(
        self,
        prover: Prover,
        *,
        documents: Sequence[bytes],
        keys_blob: bytes,
        invite: str | None,
        keys: RegisterKeys,
    ) -> Session:
        """Make an account of documents that this owner signed; begin a session."""
        request = register_request(
            self._challenge(prover),
            keys,
            documents=documents,
            keys_blob=keys_blob,
            invite=invite,
        )
        return await self._begin("/accounts", request)

    async def open_session(
        self, prover: Prover, *, key: LoginKey | ClientKey
    ) -> Session:
        """Begin a session, proven by what a person knows or by a client's key."""
        request = session_request(self._challenge(prover), key)
        return await self._begin("/sessions", request)

    # -- the account ---------------------------------------------------------

    async def sessions(self) -> list[SessionInfo]:
        """Return every session of the account."""
        answer = await self._get("/sessions", SessionsAnswer, LIST_ANSWER_BYTES_MAX)
        return answer.sessions

    async def end_session(self, session_id: str = "current") -> None:
        """End a session; "current" is this one."""
        await self._done("DELETE", f"/sessions/{session_id}")
        if session_id == "current":
            self.forget_session()

    async def documents(self, *, after: int) -> list[bytes]:
        """Return a page of account documents, from version `after` + 1 on.

        Empty: there are no later ones. Verify a page before asking for the next,
        for a host could go on for ever.
        """
        data = await self._binary(
            f"/documents?after={after}", DOCUMENTS_ANSWER_BYTES_MAX
        )
        try:
            return decode_documents(data)
        except MalformedRecordError as error:
            raise MalformedAnswerError(str(error)) from None

    async def keys_blob(self) -> bytes:
        """Return the newest keys blob."""
        return await self._binary("/keys", KEYS_BLOB_BYTES_MAX)

    async def put_document(
        self,
        prover: Prover,
        *,
        document: bytes,
        keys_blob: bytes | None,
        key: LoginKey,
    ) -> int:
        """Store the next version, proven by what a person knows."""
        request = document_request(
            self._challenge(prover), key, document=document, keys_blob=keys_blob
        )
        answer = await self._post("/documents", request, VersionAnswer)
        return answer.version

    async def restore_documents(
        self,
        prover: Prover,
        *,
        documents: Sequence[bytes],
        keys_blob: bytes,
        key: ClientKey,
    ) -> int:
        """Put documents back that the host lost, proven by the client's key."""
        request = restore_request(
            self._challenge(prover), key, documents=documents, keys_blob=keys_blob
        )
        answer = await self._post(
            "/documents/restore", request, VersionAnswer, authorised=False
        )
        return answer.version

    async def delete_account(
        self, prover: Prover, account_id: AccountId, *, key: LoginKey
    ) -> None:
        """Delete the account and all it stored, proven by what a person knows."""
        request = delete_request(self._challenge(prover), key, account_id=account_id)
        await self._done("POST", "/account/delete", msgspec.json.encode(request))
        self.forget_session()

    async def clients(self) -> list[ClientInfo]:
        """Return every client of the account, by number."""
        answer = await self._get("/clients", ClientsAnswer, LIST_ANSWER_BYTES_MAX)
        return answer.clients

    async def usage(self) -> UsageAnswer:
        """Return what the account has stored, and may store."""
        return await self._get("/usage", UsageAnswer)

    # -- logs ----------------------------------------------------------------

    async def append(
        self, client_id: ClientId, records: Sequence[SealedRecord]
    ) -> AppendAnswer:
        """Append records of one log; those that are there already count as done."""
        body = b"".join(encode_frame(record) for record in records)
        path = f"{API_PATH}/logs/{client_id.hex()}"
        # 201: some were new. 200: none was.
        async with self._channel.exchange(
            "POST",
            path,
            expect=(HTTPStatus.OK, HTTPStatus.CREATED),
            body=body,
            body_type=BINARY_TYPE,
        ) as answer:
            data = await answer.read(SMALL_ANSWER_BYTES_MAX)
            return _decode(answer.content_type, data, AppendAnswer)

    async def heads(self) -> HostHeads:
        """Return what the host says of every log."""
        answer = await self._get("/heads", HeadsAnswer, LIST_ANSWER_BYTES_MAX)
        logs = {
            ClientId(bytes.fromhex(head.client_id)): HostLog(
                head=Head(seq=Seq(head.seq), hash=RecordHash(bytes.fromhex(head.hash))),
                entries=head.entries,
                stored_bytes=head.stored_bytes,
            )
            for head in answer.heads
        }
        if len(logs) != len(answer.heads):
            raise MalformedAnswerError("the host names two heads of one log")
        return HostHeads(logs=logs, version=answer.version, entries=answer.entries)

    async def read_log(
        self,
        client_id: ClientId,
        *,
        after: int,
        bytes_max: int = READ_BYTES_MAX,
        bodies: bool = True,
    ) -> AsyncGenerator[SealedRecord, None]:
        """Yield a page of records with a seq above `after`, as they come.

        -1 begins at the first. The network waits while whoever takes them works; who
        stops before the end closes the generator. Raises `MalformedError` for what
        is no record, and `UnsupportedSuiteError` for one of a newer program.
        """
        path = (
            f"{API_PATH}/logs/{client_id.hex()}?after={after}&max_bytes={bytes_max}"
            f"&bodies={int(bodies)}"
        )
        reader = FrameReader()
        async with self._channel.exchange(
            "GET", path, expect=(HTTPStatus.OK,)
        ) as answer:
            _check_type(answer.content_type, BINARY_TYPE)
            try:
                # A record that is larger than a page comes alone.
                async for chunk in answer.chunks(bytes_max + _FRAME_BYTES_MAX):
                    for record in reader.feed(chunk):
                        yield record
                reader.end()
            except MalformedRecordError as error:
                what = f"log of client {client_id.hex()[:8]}: {error}"
                if error.suite is not None:
                    raise UnsupportedSuiteError(f"{what}: update it") from None
                raise MalformedError(what) from None

    async def changes(
        self, *, entries: int, version: int, wait_seconds: int
    ) -> ChangesAnswer:
        """Return once something is another than said, or when the time is up."""
        wait = min(wait_seconds, CHANGES_WAIT_SECONDS_MAX)
        return await self._get(
            f"/changes?entries={entries}&version={version}&wait={wait}",
            ChangesAnswer,
            wait_seconds=wait,
        )

    # -- how -----------------------------------------------------------------

    def _challenge(self, prover: Prover) -> Challenge:
        return Challenge.answer(
            prover.nonce,
            origin=self.origin,
            username=prover.username,
            client_id=prover.client_id,
            salt=prover.salt,
            random=self._random,
        )

    async def _begin(self, path: str, request: msgspec.Struct) -> Session:
        answer = await self._post(path, request, SessionAnswer, authorised=False)
        if _TOKEN.fullmatch(answer.token) is None:
            raise MalformedAnswerError("the host's session token is not in its form")
        self._channel.token = SessionToken(answer.token)
        return Session(
            account_id=AccountId(bytes.fromhex(answer.account_id)),
            version=answer.version,
        )

    async def _get(
        self,
        path: str,
        kind: type[T],
        bytes_max: int = SMALL_ANSWER_BYTES_MAX,
        *,
        authorised: bool = True,
        wait_seconds: float = 0.0,
    ) -> T:
        async with self._channel.exchange(
            "GET",
            API_PATH + path,
            expect=(HTTPStatus.OK,),
            authorised=authorised,
            wait_seconds=wait_seconds,
        ) as answer:
            return _decode(answer.content_type, await answer.read(bytes_max), kind)

    async def _post(
        self,
        path: str,
        request: msgspec.Struct,
        kind: type[T],
        *,
        expect: int = HTTPStatus.CREATED,
        authorised: bool = True,
    ) -> T:
        async with self._channel.exchange(
            "POST",
            API_PATH + path,
            expect=(expect,),
            body=msgspec.json.encode(request),
            body_type=JSON_TYPE,
            authorised=authorised,
        ) as answer:
            data = await answer.read(SMALL_ANSWER_BYTES_MAX)
            return _decode(answer.content_type, data, kind)

    async def _binary(self, path: str, bytes_max: int) -> bytes:
        async with self._channel.exchange(
            "GET", API_PATH + path, expect=(HTTPStatus.OK,)
        ) as answer:
            _check_type(answer.content_type, BINARY_TYPE)
            return await answer.read(bytes_max)

    async def _done(self, method: str, path: str, body: bytes | None = None) -> None:
        async with self._channel.exchange(
            method,
            API_PATH + path,
            expect=(HTTPStatus.NO_CONTENT,),
            body=body,
            body_type=JSON_TYPE,
        ):
            pass


def _check_type(found: str, wanted: str) -> None:
    if found != wanted:
        raise MalformedAnswerError(
            "what answered is no host: is the address right, and does this network"
            " let you through?"
        )


def _decode(content_type: str, data: bytes, kind: type[T]) -> T:
    """Read JSON of one type: no unknown field, no NaN, no other text than UTF-8."""
    _check_type(content_type, JSON_TYPE)
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswerError(
            f"the host's answer is not in its form: {shown(str(error))}"
        ) from None
