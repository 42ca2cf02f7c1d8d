"""The logs of all clients as this one has verified them, and the account's documents.

Whoever brings records or documents, a host or the programs on this machine,
gives them to the `Replica`. It believes nothing that it has not verified itself;
what it believes is on disk, with its index rows, before it is shown.

The event loop's thread owns it. Records are verified, opened and indexed in a
thread, a part at a time, so that heartbeats go on meanwhile and memory stays
flat however much comes.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from awserver.records import ClientId, Head, RecordHash, SealedRecord, Seq
from awserver.storage.base import APPEND_RECORDS_MAX, READ_BYTES_MAX
from awserver.storage.sqlite.database import Database, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from awvault import tables
from awvault.columns.payload import NextIds
from awvault.columns.zones import IndexRow, index_row_of
from awvault.crypto.keys import Passphrase, Random
from awvault.crypto.passphrase import Profile
from awvault.durability import DurableState
from awvault.errors import (
    DocumentError,
    EpochError,
    ForkError,
    IntegrityError,
    NewSecretNeededError,
    PayloadError,
    UnsupportedSuiteError,
    VaultDamagedError,
    WrongPlaceError,
)
from awvault.naming import client_labels
from awvault.protocol.account import VerifiedAccount, open_account
from awvault.protocol.document import decode_document, hash_document, hash_keys_blob
from awvault.protocol.log import VerifiedLog
from awvault.protocol.mentions import (
    Mention,
    Mentions,
    check_agrees,
    check_grows,
    check_supplied,
)
from awvault.sealing import Step
from awvault.state import State
from awvault.unlocked import Standing, Unlock, Unlocked, payload_of

log = logging.getLogger(__name__)

ACCEPT_BYTES_MAX: Final = 1024 * 1024
"""Records that are verified and stored in one go; a single one may be larger."""

_ERASED: Final = IndexRow(
    zones=[], revisions=[], buckets=[], next_ids=NextIds(next_event=1, next_bucket=1)
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of records that were offered."""

    records: int = 0
    """Records that were verified, stored and shown."""
    events: int = 0
    """Rows in them, earlier revisions and tombstones included."""
    unreadable: int = 0
    """Of the records those that a faulty client sealed: stored, and not shown."""
    ignored: int = 0
    """Records after the end of a revoked client; they do not count."""

    def __add__(self, other: "Accepted") -> "Accepted":
        """Return the sum of both."""
        return Accepted(
            records=self.records + other.records,
            events=self.events + other.events,
            unreadable=self.unreadable + other.unreadable,
            ignored=self.ignored + other.ignored,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """A record that is believed, and what is to be known of it."""

    record: SealedRecord
    head: Head
    row: IndexRow | None
    """None: it cannot be read."""
    sealed_row: bytes | None
    mention: Mention | None


class Replica:
    """The vault's copy of every client's log, and what the account's owner signed."""

    def __init__(
        self,
        durable: DurableState,
        database: Database,
        store: SqliteLogStore,
        keys: Unlocked,
        *,
        profile: Profile,
        random: Random,
        step: Step,
    ) -> None:
        """Keep records in `store`, and what is known of them in `durable`.

        `step` is called with a name at each step: tests break there.
        """
        self._durable = durable
        self._db = database
        self._store = store
        self._keys = keys
        self._profile = profile
        self._random = random
        self._step = step
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Let what is under way end."""
        async with self._lock:
            return

    # -- what is known ---------------------------------------------------------

    @property
    def account(self) -> VerifiedAccount:
        """The chain of account documents that is believed."""
        return self._keys.account

    def label(self, client_id: ClientId) -> str:
        """Return what the owner calls a client; empty: there is no such client."""
        entry = self.account.clients.get(client_id)
        labels = self._durable.current.labels
        return "" if entry is None else labels.get(entry.number, "")

    def heads(self) -> dict[ClientId, Head]:
        """Return the newest verified record of each log that has any."""
        return {
            client_id: log_state.heads[-1]
            for client_id, log_state in self._durable.current.logs.items()
            if log_state.heads
        }

    def hash_at(self, client_id: ClientId, seq: Seq) -> RecordHash | None:
        """Return the hash of a verified record; None: it is not here."""
        return self._durable.current.hash_at(client_id, seq)

    def mentions(self) -> Mentions:
        """Return what the newest record of each log says its writer had seen."""
        return {
            client_id: log_state.mention
            for client_id, log_state in self._durable.current.logs.items()
            if log_state.heads
        }

    def stopped(self) -> dict[ClientId, str]:
        """Return the logs that are damaged on this disk, and what is wrong."""
        return dict(self._durable.current.stopped_logs)

    def check_mentions(self, heads: Mapping[ClientId, Head]) -> None:
        """Hold what clients say they have seen against what is here, and `heads`.

        `heads` is what the host offered after all records that were accepted.
        Raises `ForkError` for two contents of one place, `WithheldError` for
        something mentioned that the host cannot supply.
        """
        mentions, account = self.mentions(), self.account
        for writer, mention in mentions.items():
            check_agrees(mention, writer=writer, account=account, hash_at=self.hash_at)
        for writer, mention in mentions.items():
            check_supplied(mention, writer=writer, account=account, heads=heads)

    async def read(
        self, client_id: ClientId, *, start: Seq, bytes_max: int = READ_BYTES_MAX
    ) -> list[SealedRecord]:
        """Return verified records from `start` on, in order, up to `bytes_max`.

        At least one, if there is one.
        """
        await self._durable.settle()
        head = self._durable.current.log(client_id).head
        if head is None or start > head.seq:
            return []
        page = await self._store.read(
            self._keys.account_id, client_id, start=start, bytes_max=bytes_max
        )
        return [record for record in page if record.header.seq <= head.seq]

    # -- records ---------------------------------------------------------------

    async def accept(
        self, client_id: ClientId, page: Sequence[SealedRecord]
    ) -> Accepted:
        """Verify the next records of another client's log, store and show them.

        Raises the `IntegrityError` of the first that breaks a rule, once those
        before it are kept; `UnsupportedSuiteError` for one of a newer program. A
        payload that is wrong inside a good seal is stored, and not shown. Records
        after the end of a revoked client are ignored. A caller that is cancelled
        leaves the work to end by itself.
        """
        if client_id == self._keys.client_id:
            raise WrongPlaceError("these records are of this client's own log")
        return await _to_the_end(self._accept(client_id, page))

    async def _accept(
        self, client_id: ClientId, page: Sequence[SealedRecord]
    ) -> Accepted:
        async with self._lock:
            counted = _counted(self._keys.account, client_id, page)
            accepted = Accepted(ignored=len(page) - len(counted))
            if accepted.ignored:
                log.warning(
                    "records after the end of a revoked client are ignored",
                    extra={"client": client_id.hex(), "records": accepted.ignored},
                )
            for part in _parts(counted):
                accepted += await self._accept_part(client_id, part)
            return accepted

    async def _accept_part(
        self, client_id: ClientId, part: Sequence[SealedRecord]
    ) -> Accepted:
        while True:
            await self._durable.settle()
            state = self._durable.current
            found, error = await asyncio.to_thread(
                self._verify, state, self._log_of(state, client_id), part
            )
            if self._durable.is_current(state):
                break
            # A write failed meanwhile: what was verified against may not be there.
        if found:
            stored = False
            try:
                await self._durable.write(partial(self._store_all, found))
                stored = True
                self._step("accepted")
            except BaseException:
                if stored:
                    self._durable.distrust()
                raise
            if self._durable.is_current(state):
                self._apply(state, client_id, found)
        if error is not None:
            raise error
        rows = [verified.row for verified in found if verified.row is not None]
        return Accepted(
            records=len(found),
            events=sum(zone.count for row in rows for zone in row.zones),
            unreadable=len(found) - len(rows),
        )

    def _log_of(self, state: State, client_id: ClientId) -> VerifiedLog:
        """Return a log as it was verified so far."""
        stopped = state.stopped_logs.get(client_id)
        if stopped is not None:
            raise VaultDamagedError(
                f"the log of client {client_id.hex()[:8]} is damaged here, nothing can"
                f" follow it: {stopped}"
            )
        standing = self._keys.standing
        verified = VerifiedLog.of(standing.account, client_id, standing.ring)
        log_state = state.log(client_id)
        verified.head = log_state.head
        verified.epoch = log_state.epoch
        return verified

    def _verify(
        self, state: State, verified: VerifiedLog, part: Iterable[SealedRecord]
    ) -> tuple[list[_Verified], Exception | None]:
        """Verify records, open and index them; in a thread, which changes nothing.

        Return those before the first that is wrong, and what is wrong with that.
        """
        keys = self._keys
        writer = verified.client_id
        number = keys.client_numbers[writer]
        before = state.logs[writer].mention
        found: list[_Verified] = []
        for record in part:
            row: IndexRow | None = None
            mention: Mention | None = None
            try:
                padded = verified.accept(record)
                if padded is None:
                    row = _ERASED
                else:
                    payload = payload_of(padded)
                    mention = Mention.of(payload.seen, payload.document)
                    # Whether it agrees with what is here, `check_mentions` says: if
                    # not, another log is at fault, and this one goes on.
                    check_grows(before, mention, writer=writer)
                    row = index_row_of(payload, writer=number)
            except PayloadError as error:
                # The seal is good, so the client itself is faulty.
                log.warning(
                    "a record cannot be read",
                    extra={"client": writer.hex(), "seq": record.header.seq},
                )
                log.debug("reason", exc_info=error)
            except (IntegrityError, UnsupportedSuiteError) as error:
                return found, error
            head = Head(seq=record.header.seq, hash=record.hash)
            found.append(
                _Verified(
                    record=record,
                    head=head,
                    row=row,
                    sealed_row=(
                        None
                        if row is None
                        else keys.seal_index_row(head.hash, row, self._random)
                    ),
                    mention=mention,
                )
            )
            before = before if mention is None else mention
        return found, None

    def _store_all(self, found: Sequence[_Verified], tx: Transaction) -> None:
        """Write records and index rows: one transaction.

        Records that are in the store already, byte for byte, are as good.
        """
        self._store.append_within(
            tx, self._keys.account_id, [verified.record for verified in found]
        )
        self._step("accepted-records-inserted")
        for verified in found:
            if verified.sealed_row is not None:
                header = verified.record.header
                tables.put_index_row(
                    tx, header.client_id, header.seq, verified.sealed_row
                )
        self._step("accepted-index-inserted")

    def _apply(
        self, state: State, client_id: ClientId, found: Sequence[_Verified]
    ) -> None:
        """Show in memory what is on disk; no await in here."""
        number = self._keys.client_numbers[client_id]
        touched: set[int] = set()
        renamed = False
        revised: set[int] = set()
        for verified in found:
            row = verified.row
            state.take_record(
                client_id,
                number,
                verified.head,
                epoch=verified.record.header.epoch,
                row=row,
                mention=verified.mention,
            )
            if row is not None:
                touched.update(zone.bucket_id for zone in row.zones)
                revised.update(event_id for event_id, _ in row.revisions)
                renamed = renamed or bool(row.buckets)
        if renamed:
            state.name_buckets()
        for bucket in state.buckets.values():
            # Another client may have corrected or deleted what is still open here.
            last = bucket.last
            if bucket.number in touched or (last is not None and last.id in revised):
                bucket.forget_last()
        self._durable.note_shown()

    # -- account documents -----------------------------------------------------

    async def adopt(
        self, documents: Sequence[bytes], keys_blob: bytes | None = None
    ) -> None:
        """Believe later versions of the account document, up to its newest.

        `keys_blob` is the newest one's; it may be left out where that has not
        changed. Verified as a chain from the version that is pinned; versions that
        are known already are passed over. Documents, blob and pin are stored as
        one. Raises an `IntegrityError` where they break a rule, and
        `NewSecretNeededError` where they lead into a new epoch: they are stored,
        and believed up to there, the rest once `take_secret` is given the new
        passphrase.
        """
        await _to_the_end(self._adopt(documents, keys_blob))

    async def _adopt(self, documents: Sequence[bytes], keys_blob: bytes | None) -> None:
        async with self._lock:
            await self._durable.settle()
            before = self._keys.standing
            after, new = await asyncio.to_thread(_extended, before, documents)
            if new:
                _check_blob(before.known, after.known, keys_blob)
                self._check_heads(after.known)
                await self._stand(after, documents=new, keys_blob=keys_blob)
            if after.awaiting is not None:
                raise NewSecretNeededError(epoch=after.awaiting.document.epoch)

    async def take_secret(self, passphrase: Passphrase) -> None:
        """Prove the account's passphrase here: from now on it is what unlocks.

        Runs Argon2: a second or so, in a thread. Where the account's keys were
        replaced, the new ones are taken. Raises `WrongPassphraseError`, and an
        `IntegrityError` where the keys blob is not the one that the owner signed.
        """
        await _to_the_end(self._take_secret(passphrase))

    async def _take_secret(self, passphrase: Passphrase) -> None:
        async with self._lock:
            await self._durable.settle()
            before = self._keys.standing
            account = before.known
            keys_blob = await self._store.keys_blob(self._keys.account_id)
            if keys_blob is None:
                raise VaultDamagedError("the database holds no keys blob")
            ring = await asyncio.to_thread(
                open_account, passphrase, account, keys_blob, profile=self._profile
            )
            if any(ring.get(epoch) != key for epoch, key in before.ring.items()):
                raise EpochError(
                    "the ring has other keys of epochs that are known here"
                )
            unlock = Unlock.of(account, keys_blob)
            await self._stand(Standing.of(account, ring, unlock=unlock))

    async def _stand(
        self,
        standing: Standing,
        *,
        documents: Sequence[bytes] = (),
        keys_blob: bytes | None = None,
    ) -> None:
        """Store what is believed of the account from now on, then believe it."""
        row = self._keys.vault_row(standing, self._random)
        first = standing.known.document.version - len(documents) + 1

        def work(tx: Transaction) -> None:
            self._put_documents(tx, documents, first=first, keys_blob=keys_blob)
            self._step("documents-inserted")
            tables.put_vault_row(tx, row)

        try:
            await self._durable.write(work)
        except BaseException:
            # Where the commit itself failed, it may be stored all the same.
            await self._durable.settle()
            if await asyncio.to_thread(self._holds, row):
                await self._believe(standing)
            raise
        await self._believe(standing)

    def _holds(self, row: tables.VaultRow) -> bool:
        """Say whether the disk holds this very row."""
        with self._db.reading() as tx:
            return tables.vault_row(tx) == row

    async def _believe(self, standing: Standing) -> None:
        """Show the account as it is now on disk."""
        labels = await asyncio.to_thread(client_labels, standing)
        self._keys.adopt(standing)
        await self._durable.settle()
        state = self._durable.current
        state.labels = labels
        state.name_buckets()
        if _is_beyond_an_end(state, standing.account):
            await self._durable.reload()

    def _put_documents(
        self,
        tx: Transaction,
        documents: Sequence[bytes],
        *,
        first: int,
        keys_blob: bytes | None,
    ) -> None:
        """Store documents from version `first` on, and the newest one's blob.

        Those that lie in the store already, byte for byte, are as good.
        """
        account_id = self._keys.account_id
        held = self._store.documents_within(tx, account_id, start_version=first)
        last = first + len(documents) - 1
        for version, document in enumerate(documents, start=first):
            if version - first < len(held):
                if held[version - first] != document:
                    raise ForkError(f"account document version {version}")
                continue
            self._store.put_document_within(
                tx,
                account_id,
                version=version,
                document=document,
                document_hash=hash_document(document),
                keys_blob=keys_blob if version == last else None,
            )

    def _check_heads(self, account: VerifiedAccount) -> None:
        """Raise `ForkError` if a document names another record than is here."""
        heads = list(account.document.heads)
        heads += [
            (client_id, entry.final)
            for client_id, entry in account.clients.items()
            if entry.final is not None
        ]
        for client_id, head in heads:
            held = self.hash_at(client_id, head.seq)
            if held is not None and held != head.hash:
                raise ForkError(
                    f"record {head.seq} of client {client_id.hex()[:8]}",
                    client_id=client_id,
                )


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, which goes on where the caller is cancelled."""
    return await asyncio.shield(asyncio.create_task(work))


def _counted(
    account: VerifiedAccount, client_id: ClientId, page: Sequence[SealedRecord]
) -> Sequence[SealedRecord]:
    """Return the records that stand before the end of their client."""
    entry = account.clients.get(client_id)
    if entry is None or not entry.revoked:
        return page
    end = -1 if entry.final is None else entry.final.seq
    return [record for record in page if record.header.seq <= end]


def _parts(page: Sequence[SealedRecord]) -> Iterator[Sequence[SealedRecord]]:
    """Yield a page in parts that are stored at once, of one record at least."""
    part: list[SealedRecord] = []
    part_bytes = 0
    for record in page:
        if len(part) == APPEND_RECORDS_MAX or (
            part and part_bytes + record.header.body_bytes > ACCEPT_BYTES_MAX
        ):
            yield part
            part, part_bytes = [], 0
        part.append(record)
        part_bytes += record.header.body_bytes
    if part:
        yield part


def _extended(
    before: Standing, documents: Sequence[bytes]
) -> tuple[Standing, list[bytes]]:
    """Return what is believed with later documents, and those that are new."""
    known = before.known
    decoded = [decode_document(data) for data in documents]
    new = []
    epochs = []
    for data, signed in zip(documents, decoded, strict=True):
        version = signed.document.version
        if version > len(known.hashes):
            new.append(data)
            epochs.append(signed.document.epoch)
        elif version < 1 or known.hashes[version - 1] != signed.hash:
            raise ForkError(f"account document version {version}")
    account, awaiting = before.account, before.awaiting
    rest = new
    if awaiting is None:
        here = account.document.epoch
        until = next((at for at, epoch in enumerate(epochs) if epoch != here), len(new))
        account = account.extended_by(new[:until])
        rest = new[until:]
    if rest:
        awaiting = (account if awaiting is None else awaiting).extended_by(rest)
    after = Standing.of(account, before.ring, awaiting=awaiting, unlock=before.unlock)
    return after, new


def _check_blob(
    before: VerifiedAccount, after: VerifiedAccount, keys_blob: bytes | None
) -> None:
    """Raise `DocumentError` unless the newest document's blob is at hand."""
    named = after.document.keys_blob_hash
    found = (
        before.document.keys_blob_hash
        if keys_blob is None
        else hash_keys_blob(keys_blob)
    )
    if found != named:
        raise DocumentError("the keys blob is not the one that the document names")


def _is_beyond_an_end(state: State, account: VerifiedAccount) -> bool:
    """Say whether records are shown that stand after the end of their client."""
    for client_id, entry in account.clients.items():
        head = state.log(client_id).head
        end = -1 if entry.final is None else entry.final.seq
        if entry.revoked and head is not None and head.seq > end:
            return True
    return False
