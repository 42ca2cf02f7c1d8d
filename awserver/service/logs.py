"""Sealed records: who may append them, and reading them back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from awserver.errors import (
    ChainBrokenError,
    DocumentConflictError,
    EpochUnknownError,
    InvalidRequestError,
    MalformedRecordError,
    SessionInvalidError,
)
from awserver.records import RECORD_BYTES_MIN, ClientId, SealedRecord, Seq
from awserver.service.base import Caller, Changes, Logs
from awserver.service.known import KnownDocument
from awserver.service.parts import Parts
from awserver.signatures import verify_signature
from awserver.storage.base import READ_BYTES_MAX, Appended
from awserver.wire import (
    AppendAnswer,
    ClientHead,
    ClientInfo,
    ClientsAnswer,
    HeadInfo,
    HeadsAnswer,
    UsageAnswer,
)

INLINE_RECORDS_MAX: Final = 4
"""Signatures that are verified on the event loop: a thread costs as much as one."""

PAGE_BYTES: Final = 1024 * 1024
"""Bytes of one page of a stream; a single record is sent whatever its size."""

STREAM_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of one stream."""

TRIES_MAX: Final = 3
"""How often the account document may change under one append."""


class HostLogs(Logs):
    """The logs of a store."""

    def __init__(self, parts: Parts, *, changes: Changes) -> None:
        """Use what `open_service` made."""
        self._parts = parts
        self._changes = changes

    async def append(
        self, caller: Caller, client: ClientId, records: Sequence[SealedRecord]
    ) -> AppendAnswer:
        """See `Logs.append`."""
        self._parts.require_writable()
        _check_place(caller, client, records)
        known = await self._parts.known.at(caller.account_id, caller.version)
        await _verify(known, client, records)
        appended = await self._append(caller, known, client, records)
        if appended.new:
            self._changes.notify(caller.account_id)
        head = appended.heads[client]
        return AppendAnswer(
            head=HeadInfo(seq=head.seq, hash=head.hash.hex()), new=appended.new
        )

    async def _append(
        self,
        caller: Caller,
        known: KnownDocument,
        client: ClientId,
        records: Sequence[SealedRecord],
    ) -> Appended:
        """Append by the rules of the newest document, whichever that comes to be."""
        for tries_left in reversed(range(TRIES_MAX)):
            _check_standing(known, client, records)
            try:
                return await self._parts.accounts.append(
                    self._parts.grant(caller),
                    records,
                    version=known.version,
                    quota_bytes=self._parts.settings.quota_bytes,
                )
            except DocumentConflictError as error:
                if not tries_left:
                    raise
                known = await self._parts.known.at(
                    caller.account_id, error.expected_version
                )
        raise AssertionError("the last try returns or raises")

    async def read(
        self,
        caller: Caller,
        client: ClientId,
        *,
        start: Seq,
        bytes_max: int = READ_BYTES_MAX,
        bodies: bool = True,
    ) -> list[SealedRecord]:
        """See `Logs.read`."""
        return await self._parts.logs.read(
            caller.account_id, client, start=start, bytes_max=bytes_max, bodies=bodies
        )

    async def pages(
        self,
        caller: Caller,
        client: ClientId,
        *,
        start: Seq,
        bytes_max: int,
        bodies: bool = True,
    ) -> AsyncIterator[list[SealedRecord]]:
        """See `Logs.pages`."""
        left = min(bytes_max, STREAM_BYTES_MAX)
        is_first = True
        while is_first or left >= RECORD_BYTES_MIN:
            page = await self._parts.logs.read(
                caller.account_id,
                client,
                start=start,
                bytes_max=min(left, PAGE_BYTES),
                bodies=bodies,
            )
            taken = sum(RECORD_BYTES_MIN + len(record.body or b"") for record in page)
            # A page has one record at least, though it be longer than what is left.
            if not page or (taken > left and not is_first):
                return
            yield page
            left -= taken
            start = Seq(page[-1].header.seq + 1)
            is_first = False

    async def heads(self, caller: Caller) -> HeadsAnswer:
        """See `Logs.heads`."""
        overview = await self._parts.logs.overview(caller.account_id)
        return HeadsAnswer(
            heads=[
                ClientHead(
                    client_id=client.hex(),
                    seq=log.head.seq,
                    hash=log.head.hash.hex(),
                    entries=log.entries,
                    stored_bytes=log.stored_bytes,
                )
                for client, log in sorted(overview.logs.items())
            ],
            version=overview.state.version,
            entries=overview.state.entries,
        )

    async def clients(self, caller: Caller) -> ClientsAnswer:
        """See `Logs.clients`."""
        overview = await self._parts.logs.overview(caller.account_id)
        known = await self._parts.known.at(caller.account_id, overview.state.version)
        return ClientsAnswer(
            clients=[
                ClientInfo(
                    client_id=client.hex(),
                    number=entry.number,
                    entries=0 if log is None else log.entries,
                    stored_bytes=0 if log is None else log.stored_bytes,
                    head_seq=None if log is None else log.head.seq,
                    revoked=entry.revoked,
                )
                for client, entry in known.clients.items()
                for log in (overview.logs.get(client),)
            ]
        )

    async def usage(self, caller: Caller) -> UsageAnswer:
        """See `Logs.usage`."""
        account = await self._parts.accounts.account(caller.account_id)
        if account is None:
            raise SessionInvalidError
        return UsageAnswer(
            entries=account.usage.entries,
            stored_bytes=account.usage.stored_bytes,
            quota_bytes=(
                self._parts.settings.quota_bytes
                if account.quota_bytes is None
                else account.quota_bytes
            ),
        )


def _check_place(
    caller: Caller, client: ClientId, records: Sequence[SealedRecord]
) -> None:
    """Refuse records that are of another log than the one that was named."""
    if not records:
        raise InvalidRequestError("an append holds one record at least")
    for record in records:
        if record.header.account_id != caller.account_id:
            raise MalformedRecordError("the record names another account")
        if record.header.client_id != client:
            raise MalformedRecordError(
                f"the record is of client {record.header.client_id.hex()[:8]}, the"
                f" request of {client.hex()[:8]}"
            )


def _check_standing(
    known: KnownDocument, client: ClientId, records: Sequence[SealedRecord]
) -> None:
    """Check what the account document says of a client, its epochs and its records."""
    epoch_max = known.signed.document.epoch
    for record in records:
        header = record.header
        known.client_up_to(client, header.seq)
        if header.epoch > epoch_max:
            raise EpochUnknownError(
                f"record {header.seq} is of epoch {header.epoch}, the account is at"
                f" {epoch_max}"
            )
        named = known.places.get((client, header.seq))
        if named is not None and named != record.hash:
            raise ChainBrokenError(
                f"record {header.seq} is another than the account document names"
            )


async def _verify(
    known: KnownDocument, client: ClientId, records: Sequence[SealedRecord]
) -> None:
    """Check that the client's key signed each record; that key never changes."""
    public = known.client_up_to(client, records[0].header.seq).public
    if len(records) <= INLINE_RECORDS_MAX:
        _verify_all(public, records)
    else:
        await asyncio.to_thread(_verify_all, public, records)


def _verify_all(public: bytes, records: Sequence[SealedRecord]) -> None:
    for record in records:
        verify_signature(public, record.signed_bytes(), record.signature)
