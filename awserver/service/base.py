"""Everything that /api/1 can do, as objects with typed arguments.

`awserver.http` turns bytes into these calls, and errors into answers. Every error
is a `ServerError`; docs/protocol/http-api.md lists the codes. The other
implementation of these seams is the hostile host of the tests.

`awserver.service.host.open_service` gives a `Service` over a database, as an async
context.

`address` is whoever asks, as text: an IPv4 or IPv6 address. It is used for rate
limits, in memory, and is written nowhere.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from awserver.records import AccountId, ClientId, SealedRecord, Seq
from awserver.storage.base import READ_BYTES_MAX, Account, Standing
from awserver.wire import (
    AppendAnswer,
    ChangesAnswer,
    ClientsAnswer,
    DeleteRequest,
    DocumentRequest,
    HeadsAnswer,
    InfoAnswer,
    PreloginAnswer,
    PreloginRequest,
    RegisterRequest,
    RestoreRequest,
    SessionAnswer,
    SessionRequest,
    SessionsAnswer,
    UsageAnswer,
    VersionAnswer,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose session a request came with. It lived when it was looked up."""

    account_id: AccountId
    client_id: ClientId
    token_hash: bytes = field(repr=False)
    version: int
    """Of the newest account document, then."""


class Accounts(Protocol):
    """Making and ending accounts."""

    def info(self) -> InfoAnswer:
        """Return what anyone may know."""

    async def register(
        self, request: RegisterRequest, *, address: str
    ) -> SessionAnswer:
        """Make an account from all versions of its document, and begin a session.

        Raises `RegistrationClosedError`, `InviteInvalidError`, `ProofRefusedError`,
        `DocumentInvalidError` and its like, `UsernameTakenError`,
        `AccountExistsError`, `AccountDeletingError`, `RateLimitedError`.
        """

    async def delete(
        self, caller: Caller, request: DeleteRequest, *, address: str
    ) -> None:
        """Delete an account and all it has stored.

        From the answer on nobody finds anything of it. Of a big one the last rows
        may leave the database a little later. Raises `ProofRefusedError`,
        `SessionInvalidError`, `RateLimitedError`.
        """


class Sessions(Protocol):
    """From a proof to a token, and from a token to an account."""

    async def prelogin(
        self, request: PreloginRequest, *, address: str
    ) -> PreloginAnswer:
        """Return salt and nonce; for a name that nobody has, just the same."""

    async def create(self, request: SessionRequest, *, address: str) -> SessionAnswer:
        """Begin a session; raises `ProofRefusedError`, whatever was wrong.

        `AccountDisabledError` is for who has proven a key.
        """

    async def find(self, token: str) -> Caller:
        """Return whose token this is; raises `SessionInvalidError`.

        Also `AccountDisabledError`, and `RateLimitedError` where the account asks
        for more than its share.
        """

    async def list(self, caller: Caller) -> SessionsAnswer:
        """Return the account's sessions."""

    async def end(self, caller: Caller, session_id: str) -> None:
        """End a session by its id, or `current`; raises `SessionUnknownError`."""


class Documents(Protocol):
    """The account document and the keys blob."""

    async def read(self, caller: Caller, *, after: int) -> list[bytes]:
        """Return versions from `after` + 1 on, at most `READ_BYTES_MAX` of them.

        At least one, if there is one.
        """

    async def keys_blob(self, caller: Caller) -> bytes:
        """Return the newest keys blob."""

    async def put(
        self, caller: Caller, request: DocumentRequest, *, address: str
    ) -> VersionAnswer:
        """Store the next version, with a fresh proof.

        Raises `ProofRefusedError`, `DocumentConflictError`,
        `DocumentInvalidError`, `SignatureInvalidError`, `NotSupportedError`,
        `StoreReadOnlyError`, `RateLimitedError`. Sessions of clients that it revokes
        end; all end where the epoch rises.
        """

    async def restore(self, request: RestoreRequest, *, address: str) -> VersionAnswer:
        """Put back versions that this host lost; raises as `put`.

        They continue the host's chain byte for byte, or start it where the host
        takes new accounts without an invitation.
        """


class Logs(Protocol):
    """Sealed records."""

    async def append(
        self, caller: Caller, client: ClientId, records: Sequence[SealedRecord]
    ) -> AppendAnswer:
        """Append records to the log of one client; durable before it returns.

        Raises what `LogStore.append` raises, `SignatureInvalidError`,
        `ClientUnknownError`, `ClientRevokedError`, `EpochUnknownError`,
        `QuotaExceededError`, `StoreReadOnlyError`, `SessionInvalidError`.
        """

    async def read(
        self,
        caller: Caller,
        client: ClientId,
        *,
        start: Seq,
        bytes_max: int = READ_BYTES_MAX,
        bodies: bool = True,
    ) -> list[SealedRecord]:
        """Return one page, as `LogStore.read`; an unknown client has no records."""

    def pages(
        self,
        caller: Caller,
        client: ClientId,
        *,
        start: Seq,
        bytes_max: int,
        bodies: bool = True,
    ) -> AsyncIterator[list[SealedRecord]]:
        """Yield the same records in small pages, to stream them with little memory."""

    async def heads(self, caller: Caller) -> HeadsAnswer:
        """Return where every log ends."""

    async def clients(self, caller: Caller) -> ClientsAnswer:
        """Return every client that the newest document names."""

    async def usage(self, caller: Caller) -> UsageAnswer:
        """Return what the account has stored, and may store."""


class Changes(Protocol):
    """Who waits for something new in an account."""

    async def wait(
        self, caller: Caller, *, entries: int, version: int, seconds: float
    ) -> ChangesAnswer:
        """Return what is, once it differs from the given, or after `seconds`.

        Raises `SessionInvalidError` where the session ends meanwhile, and
        `RateLimitedError` where the account waits too often at once.
        """

    def notify(self, account: AccountId) -> None:
        """Wake who waits for this account, to look again."""


class Administration(Protocol):
    """What whoever runs the host may do."""

    async def invite(self) -> str:
        """Return a new invitation, which is shown once and serves once."""

    async def accounts(self, *, after: AccountId | None = None) -> list[Account]:
        """Return accounts by id, from the one after `after` on; empty at the end."""

    async def account(self, name: str) -> Account | None:
        """Return the account of an id in hex, or else of a username."""

    async def sessions(self, account: AccountId) -> int:
        """Return how many sessions an account has."""

    async def set_standing(self, account: AccountId, standing: Standing) -> None:
        """Serve an account, or do not; raises `AccountUnknownError`."""

    async def set_quota(self, account: AccountId, quota_bytes: int | None) -> None:
        """Set what an account may store; raises `AccountUnknownError`."""

    async def delete(self, account: AccountId) -> None:
        """Delete an account; raises `AccountUnknownError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """All of a host but its network."""

    accounts: Accounts
    sessions: Sessions
    documents: Documents
    logs: Logs
    changes: Changes
    administration: Administration
