"""What a backend must guarantee.

A store is trusted for availability alone. Losing, reordering or altering what
it holds is noticed by clients; none of that can reveal plaintext.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol

from awserver.records import AccountId, ClientId, Head, SealedRecord, Seq

APPEND_RECORDS_MAX: Final = 1_000
"""Records of one append."""

APPEND_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of one append, bodies included."""

READ_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of one page; a single record is returned whatever its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an account has stored: entries are records, bytes are theirs, whole."""

    entries: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What an append came to."""

    new: int
    """Records that were not there before."""
    heads: dict[ClientId, Head]
    """Where the logs end now that the append was about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """Where a log ends, and what it takes."""

    head: Head
    stored_bytes: int

    @property
    def entries(self) -> int:
        """How many records it has."""
        return self.head.seq + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeState:
    """Two numbers of an account: whatever changes in it, one of them grows."""

    entries: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Every log that has records, and the change state of the same moment."""

    logs: dict[ClientId, LogState]
    state: ChangeState


class LogStore(Protocol):
    """Append-only logs of sealed records, and the documents that govern them.

    An account that `AccountStore.delete` has marked is empty for every reader, and
    takes nothing: raises `AccountDeletingError`.
    """

    async def append(self, account: AccountId, records: Sequence[SealedRecord]) -> int:
        """Append records, each to its client's log; return how many were new.

        All or none, and durable before it returns. A record that is there
        already, byte for byte, counts as done. Raises `SeqConflictError` where
        the log expects another seq or holds other bytes; `ChainBrokenError`
        where `prev` or the epoch does not follow; `RecordErasedError` for a
        body that its owner had destroyed, whose record is taken without it;
        `MalformedRecordError` for a body that is missing, or not the one that
        the header names; `LimitExceededError`. Signatures are not looked at.
        """

    async def heads(self, account: AccountId) -> dict[ClientId, Head]:
        """Return the head of every log that has records; as `overview`."""

    async def clients(self, account: AccountId) -> list[ClientId]:
        """Return whose logs have records, by id, without a look at a record."""

    async def overview(self, account: AccountId) -> Overview:
        """Return where every log ends, and what it takes.

        In a time that goes by the number of logs, not of records. Heads are
        computed from the records: raises `StorageCorruptError` where one is not
        what was stored.
        """

    async def read(
        self,
        account: AccountId,
        client: ClientId,
        *,
        start: Seq,
        bytes_max: int = READ_BYTES_MAX,
        bodies: bool = True,
    ) -> list[SealedRecord]:
        """Return the records from `start` on, in order, up to `bytes_max`.

        At least one, if there is one. An erased body, and every body where
        `bodies` is false, is None. Records are checked as they are read: raises
        `StorageCorruptError` where one is not what was stored.
        """

    async def read_body(
        self, account: AccountId, client: ClientId, seq: Seq
    ) -> bytes | None:
        """Return the body of one record; None if it is erased or not there."""

    async def usage(self, account: AccountId) -> Usage:
        """Return what the account has stored; counted with each append."""

    async def accounts(self) -> list[AccountId]:
        """Return every account that has a document."""

    async def put_document(
        self,
        account: AccountId,
        *,
        version: int,
        document: bytes,
        document_hash: bytes,
        keys_blob: bytes | None,
    ) -> None:
        """Store the next version of the account document, and a new keys blob.

        Compare-and-swap: raises `DocumentConflictError` unless `version` is
        one more than the newest. Documents are never changed; the blob is
        replaced. Raises `LimitExceededError` too.
        """

    async def documents(
        self, account: AccountId, *, start_version: int = 1
    ) -> list[bytes]:
        """Return the account documents from `start_version` on, oldest first."""

    async def keys_blob(self, account: AccountId) -> bytes | None:
        """Return the newest keys blob."""


# -- accounts ----------------------------------------------------------------

SESSIONS_MAX: Final = 100
"""Sessions of one account; the one unused for the longest makes room for a new one."""

ACCOUNTS_MAX: Final = 1_000
"""Accounts of one answer."""

DELETE_ROWS_MAX: Final = 1_000
"""Rows of one step of a deletion."""

DELETE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of one step of a deletion; a single row is deleted whatever its size."""


class Standing(IntEnum):
    """Whether a host serves an account."""

    ACTIVE = 0
    DISABLED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account, as the host keeps it."""

    account_id: AccountId
    username: str
    standing: Standing
    quota_bytes: int | None
    """None: as the host has it set for everyone."""
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundAccount:
    """What a username leads to."""

    account_id: AccountId
    standing: Standing
    version: int
    """Of the newest account document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who has proven a key of the account. Hours are since 1970."""

    token_hash: bytes = field(repr=False)
    client_id: ClientId
    created_hour: int
    seen_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A session, with what decides on its requests."""

    session: Session
    standing: Standing
    version: int
    """Of the newest account document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a request was let in on, to be true still inside its transaction."""

    account_id: AccountId
    token_hash: bytes = field(repr=False)
    seen_hour_min: int
    """A session that was last seen before this hour has ended."""
    hour: int
    """The current one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """A version of an account document that was checked and is to be stored."""

    version: int
    document: bytes
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedSessions:
    """Which sessions a change of the account document ends."""

    everyone: bool = False
    clients: frozenset[ClientId] = frozenset()


class AccountStore(Protocol):
    """Accounts, their names and sessions, and the writes that depend on them.

    Each operation is one transaction that touches one account; where it says that
    something is checked, it is checked inside of it, so that it holds when the
    write is acknowledged. A proof's nonce is used up by the transaction that the
    proof allows: raises `ProofRefusedError` where it was used before, and then
    nothing is changed. Hours and nonces are given: a store knows no clock.
    """

    async def host_secret(self, candidate: bytes) -> bytes:
        """Return the host's secret of 32 bytes; the first candidate becomes it."""

    async def find(self, username: str) -> FoundAccount | None:
        """Return the account of a name. As much work for a name that nobody has."""

    async def account(self, account: AccountId) -> Account | None:
        """Return an account that the host serves."""

    async def list_accounts(
        self, *, after: AccountId | None = None, count_max: int = ACCOUNTS_MAX
    ) -> list[Account]:
        """Return accounts by id, from the one after `after` on."""

    async def create(
        self,
        account: AccountId,
        *,
        username: str,
        documents: Sequence[NewDocument],
        keys_blob: bytes,
        nonce: bytes,
        session: Session | None,
        invite_hash: bytes | None,
        hour: int,
    ) -> None:
        """Make an account, with its documents and its first session, if it has one.

        Raises `InviteInvalidError` unless `invite_hash` is None or one that has
        not expired, which is used up; `UsernameTakenError`; `AccountExistsError`;
        `AccountDeletingError` while one of the same id is being deleted.
        """

    async def adopt(self, account: AccountId, *, username: str) -> None:
        """Serve an account whose documents are there, under this name alone."""

    async def set_standing(self, account: AccountId, standing: Standing) -> None:
        """Serve an account, or do not; raises `AccountUnknownError`."""

    async def set_quota(self, account: AccountId, quota_bytes: int | None) -> None:
        """Set how much an account may store; raises `AccountUnknownError`."""

    async def add_session(
        self,
        account: AccountId,
        session: Session,
        *,
        nonce: bytes,
        version: int,
        seen_hour_min: int,
    ) -> None:
        """Add a session, if the account document is still at `version`.

        Raises `DocumentConflictError`, `AccountUnknownError`,
        `AccountDisabledError`. Of more than `SESSIONS_MAX` the ones unused for
        the longest end; so do those last seen before `seen_hour_min`.
        """

    def access(self, account: AccountId, token_hash: bytes) -> Access | None:
        """Return the session of a token. At once: a read of three rows."""

    async def touch(self, grant: Grant) -> None:
        """Note that a session was used in this hour."""

    async def sessions(self, account: AccountId) -> list[Session]:
        """Return every session, newest first."""

    async def end_session(self, account: AccountId, id_: bytes) -> bool:
        """End the session whose token hash begins with `id_`; say if there was one."""

    async def append(
        self,
        grant: Grant,
        records: Sequence[SealedRecord],
        *,
        version: int,
        quota_bytes: int | None,
    ) -> Appended:
        """Append as `LogStore.append` does, if the account may still do so.

        That is: the session lives (`SessionInvalidError`), the account is active
        (`AccountDisabledError`), its document is at `version`
        (`DocumentConflictError`), and it does not come to take more than its quota,
        or `quota_bytes` where it has none of its own (`QuotaExceededError`).
        """

    async def put_documents(
        self,
        account: AccountId,
        documents: Sequence[NewDocument],
        *,
        keys_blob: bytes | None,
        nonce: bytes,
        ended: EndedSessions,
        grant: Grant | None,
    ) -> None:
        """Store the next versions of the document, and a new blob; end sessions.

        Compare-and-swap, as `LogStore.put_document`. Raises as `append` where the
        session of `grant` has ended or the account is disabled; without a grant,
        `AccountUnknownError` where there is no such account.
        """

    async def delete(
        self, account: AccountId, *, nonce: bytes | None, grant: Grant | None
    ) -> None:
        """Mark an account as deleted: from here on nobody finds anything of it.

        Raises as `put_documents`. Its rows are still there: see `delete_some`.
        """

    async def deletions(self) -> list[AccountId]:
        """Return the accounts that are marked, and not gone yet."""

    async def delete_some(self, account: AccountId) -> bool:
        """Delete some rows of a marked account; say whether any are left.

        At most `DELETE_ROWS_MAX` rows and `DELETE_BYTES_MAX` bytes. The mark goes
        with the last of them. What was deleted is overwritten in the database.
        """

    async def add_invite(self, code_hash: bytes, *, expires_hour: int) -> None:
        """Let one account be made, until this hour."""

    async def forget_nonces(self, *, below: bytes) -> None:
        """Forget nonces below this one; they begin with a time, big-endian."""

    async def forget_sessions(self, *, seen_hour_min: int) -> None:
        """Forget sessions that were last seen before this hour."""

    async def forget_invites(self, *, hour: int) -> None:
        """Forget invitations that have expired in this hour."""

    async def states(
        self, accounts: Collection[AccountId]
    ) -> dict[AccountId, ChangeState]:
        """Return the change state of each account that the host serves."""
