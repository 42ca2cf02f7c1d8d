"""What a backend must guarantee.

A store is trusted for availability alone. Losing, reordering or altering what
it holds is noticed by clients; none of that can reveal plaintext.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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


class LogStore(Protocol):
    """Append-only logs of sealed records, and the documents that govern them."""

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
        """Return the head of every log that has records."""

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
