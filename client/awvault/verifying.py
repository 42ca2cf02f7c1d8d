"""`awvault verify`: open everything that is stored, and say what is wrong.

Nothing is believed from memory: documents, records, journal and index are read
from the file again and held against each other. A log that fails is left where
it failed; all the others are still looked at.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from awserver.errors import StorageCorruptError
from awserver.records import ClientId, Head, RecordHash, SealedRecord, Seq
from awserver.storage.sqlite.database import Database
from awserver.storage.sqlite.logs import SqliteLogStore
from awvault import tables
from awvault.columns.compress import unpack
from awvault.columns.payload import BucketVersion, Payload, decode_payload
from awvault.columns.table import EventTable
from awvault.columns.zones import index_row_of
from awvault.crypto.padding import unpad
from awvault.errors import BodyMissingError, Error, IntegrityError, PayloadError
from awvault.journal import EventRow, table_of
from awvault.protocol.account import VerifiedAccount, verify_documents
from awvault.protocol.log import VerifiedLog
from awvault.protocol.mentions import (
    NOTHING_SEEN,
    Mention,
    check_agrees,
    check_grows,
)
from awvault.service import Finding, OnProgress, Progress, VerifyResult
from awvault.unlocked import Unlocked

PAGE_BYTES: Final = 1024 * 1024
"""Records that are opened in one go, off the event loop's thread."""
JOURNAL_PAGE_ROWS: Final = 1_000
FINDINGS_MAX: Final = 1_000
"""More are counted as one: a file that is wrong everywhere is wrong."""


@dataclass(slots=True)
class _Tally:
    """What was checked so far."""

    documents: int = 0
    records: int = 0
    events: int = 0
    journal_rows: int = 0
    journal_events: int = 0
    index_rows: int = 0
    findings: list[Finding] = field(default_factory=list)

    def found(self, where: str, problem: object) -> None:
        """Note something that is wrong."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(where=where, problem=str(problem)))
        elif len(self.findings) == FINDINGS_MAX:
            self.findings.append(Finding(where="further places", problem="not listed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """What is to be checked: everything that was there at one moment."""

    documents: list[bytes]
    heads: dict[ClientId, Head]
    """The newest record of each client that the account document names."""
    journal: list[tables.SealedJournalRow]
    boots: dict[int, bytes]
    index: dict[tuple[ClientId, Seq], bytes]


async def verify(
    database: Database, store: SqliteLogStore, keys: Unlocked, on_progress: OnProgress
) -> VerifyResult:
    """Check everything in `database`, and return what was checked and found.

    Reports progress after each page. What is stored meanwhile is not checked.
    """
    return await _Verifying(database, store, keys, on_progress).run()


class _Verifying:
    """One run of verify. Pages are checked in a thread, one at a time."""

    def __init__(
        self,
        database: Database,
        store: SqliteLogStore,
        keys: Unlocked,
        on_progress: OnProgress,
    ) -> None:
        self._database = database
        self._store = store
        self._keys = keys
        self._on_progress = on_progress
        self._tally = _Tally()
        self._in_journal = EventTable.empty().versions()
        self._hashes: dict[ClientId, list[RecordHash]] = {}
        """Of each log the hash of every record that was accepted, by seq."""
        self._mentions: dict[ClientId, Mention] = {}
        """What the newest record of each log says its writer had seen."""

    async def run(self) -> VerifyResult:
        """Check all, and return the counts."""
        tally = self._tally
        snapshot = await asyncio.to_thread(self._snapshot)
        self._in_journal = await asyncio.to_thread(self._journal_versions, snapshot)
        account = self._check_documents(snapshot.documents)
        await self._check_clients()
        for client, head in sorted(snapshot.heads.items()):
            await self._check_log(account, client, head, snapshot.index)
        self._check_mentions(account)
        for client, seq in sorted(snapshot.index):
            tally.found(_place(client, seq), "an index row of no record")
        for at in range(0, len(snapshot.journal), JOURNAL_PAGE_ROWS):
            rows = snapshot.journal[at : at + JOURNAL_PAGE_ROWS]
            await asyncio.to_thread(self._check_journal, rows, snapshot.boots)
            done, total = at + len(rows), len(snapshot.journal)
            self._on_progress(Progress(phase="journal rows", done=done, total=total))
        return VerifyResult(
            documents=tally.documents,
            records=tally.records,
            # A record that opened had its signature and its link checked before.
            signatures=tally.documents + tally.records,
            chain_links=tally.records,
            events=tally.events,
            journal_rows=tally.journal_rows,
            journal_events=tally.journal_events,
            index_rows=tally.index_rows,
            findings=tally.findings,
        )

    def _snapshot(self) -> _Snapshot:
        account = self._keys.account_id
        with self._database.reading() as tx:
            heads: dict[ClientId, Head] = {}
            for client in self._keys.clients:
                for head in self._store.heads_within(tx, account, client):
                    if not self._counts(client, head.seq):
                        break
                    heads[client] = head
            return _Snapshot(
                documents=self._store.documents_within(tx, account),
                heads=heads,
                journal=tables.journal_rows(tx),
                boots=tables.boots(tx),
                index={
                    (client, seq): sealed
                    for (client, seq), sealed in tables.index_rows(tx).items()
                    if self._counts(client, seq)
                },
            )

    def _counts(self, client: ClientId, seq: Seq) -> bool:
        """Say whether a record counts; those after a client's end do not."""
        entry = self._keys.clients.get(client)
        if entry is None or not entry.revoked:
            return True
        return entry.final is not None and seq <= entry.final.seq

    def _check_documents(self, documents: list[bytes]) -> VerifiedAccount | None:
        keys = self._keys
        try:
            account = verify_documents(keys.account_id, documents)
            account.check_pin(keys.pin)
        except Error as error:
            self._tally.found("account documents", error)
            return None
        self._tally.documents = len(documents)
        return account

    async def _check_clients(self) -> None:
        """Look for logs that no account document speaks of."""
        for account in await self._store.accounts():
            if account != self._keys.account_id:
                self._tally.found(f"account {account.hex()}", "not this vault's")
        for client in await self._store.clients(self._keys.account_id):
            if client not in self._keys.clients:
                self._tally.found(
                    f"client {client.hex()}", "the account document does not name it"
                )

    async def _check_log(
        self,
        account: VerifiedAccount | None,
        client: ClientId,
        head: Head,
        index: dict[tuple[ClientId, Seq], bytes],
    ) -> None:
        """Check one log up to `head`, and take its rows out of `index`."""
        log = (
            VerifiedLog(
                account_id=self._keys.account_id,
                client_id=client,
                client_public=self._keys.clients[client].public,
                ring=self._keys.ring,
            )
            if account is None
            else VerifiedLog.of(account, client, self._keys.ring)
        )
        while log.next_seq <= head.seq:
            try:
                page = await self._store.read(
                    self._keys.account_id,
                    client,
                    start=Seq(log.next_seq),
                    bytes_max=PAGE_BYTES,
                )
                page = [record for record in page if record.header.seq <= head.seq]
                if not page:
                    self._tally.found(_place(client, log.next_seq), "is missing")
                    break
                await asyncio.to_thread(self._check_page, log, page, index)
            except (IntegrityError, StorageCorruptError) as error:
                # The log stops here: what follows can no longer be believed.
                self._tally.found(_place(client, log.next_seq), error)
                break
            self._on_progress(
                Progress(phase="records", done=log.next_seq, total=head.seq + 1)
            )
        if log.head is not None and log.head.seq == head.seq and log.head != head:
            self._tally.found(_place(client, head.seq), "has another hash in its row")
        # Of a log that stopped, the rest of the index is not looked at.
        for place in [place for place in index if place[0] == client]:
            if place[1] >= log.next_seq or place[1] > head.seq:
                del index[place]

    def _check_page(
        self,
        log: VerifiedLog,
        page: list[SealedRecord],
        index: dict[tuple[ClientId, Seq], bytes],
    ) -> None:
        for record in page:
            seq = record.header.seq
            place = _place(log.client_id, seq)
            try:
                padded = log.accept(record)
            except BodyMissingError as error:
                # The chain does not hold the body, so the log goes on behind it.
                self._tally.found(place, error)
                log.accept_header(record)
                padded = None
            self._tally.records += 1
            self._hashes.setdefault(log.client_id, []).append(record.hash)
            sealed = index.pop((log.client_id, seq), None)
            if padded is None:
                continue
            try:
                payload = decode_payload(unpack(unpad(padded)))
            except PayloadError as error:
                self._tally.found(place, f"sealed by a faulty client: {error}")
                continue
            self._tally.events += sum(len(table) for _, table in payload.zones)
            self._check_seen(place, log.client_id, payload)
            if log.client_id == self._keys.client_id and any(
                np.isin(table.versions(), self._in_journal).any()
                for _, table in payload.zones
            ):
                self._tally.found(place, "the journal holds some of its events again")
            self._check_index_row(place, record, payload, sealed)

    def _check_seen(self, place: str, writer: ClientId, payload: Payload) -> None:
        """Check that what a client has seen does not shrink."""
        mention = Mention.of(payload.seen, payload.document)
        try:
            check_grows(
                self._mentions.get(writer, NOTHING_SEEN), mention, writer=writer
            )
        except IntegrityError as error:
            self._tally.found(place, error)
        self._mentions[writer] = mention

    def _check_mentions(self, account: VerifiedAccount | None) -> None:
        """Hold what clients say they have seen against what is here."""
        if account is None:
            return
        for writer, mention in sorted(self._mentions.items()):
            try:
                check_agrees(
                    mention, writer=writer, account=account, hash_at=self._hash_at
                )
            except IntegrityError as error:
                self._tally.found(f"what client {writer.hex()[:8]} has seen", error)

    def _hash_at(self, client: ClientId, seq: Seq) -> RecordHash | None:
        hashes = self._hashes.get(client, [])
        return hashes[seq] if seq < len(hashes) else None

    def _check_index_row(
        self, place: str, record: SealedRecord, payload: Payload, sealed: bytes | None
    ) -> None:
        if sealed is None:
            self._tally.found(place, "its index row is missing; it is made at a start")
            return
        try:
            row = self._keys.open_index_row(record.hash, sealed)
        except (IntegrityError, PayloadError) as error:
            self._tally.found(f"index row of {place}", error)
            return
        self._tally.index_rows += 1
        writer = self._keys.client_numbers[record.header.client_id]
        if row != index_row_of(payload, writer=writer):
            self._tally.found(f"index row of {place}", "does not fit the record")

    def _journal_versions(self, snapshot: _Snapshot) -> NDArray[np.void]:
        """Return (id, revision) of every event in the journal, as far as it opens."""
        found = [EventTable.empty()]
        for row in snapshot.journal:
            try:
                held = self._keys.open_journal_row(row, snapshot.boots)
            except (IntegrityError, PayloadError):
                continue
            if isinstance(held, EventRow):
                found.append(table_of([held]))
            elif not isinstance(held, BucketVersion):
                found += [table for _, table in held]
        return np.concatenate([table.versions() for table in found])

    def _check_journal(
        self, rows: list[tables.SealedJournalRow], boots: Mapping[int, bytes]
    ) -> None:
        for row in rows:
            try:
                held = self._keys.open_journal_row(row, boots)
            except (IntegrityError, PayloadError) as error:
                self._tally.found(f"journal row {row.jid}", error)
                continue
            self._tally.journal_rows += 1
            if isinstance(held, EventRow):
                self._tally.journal_events += 1
            elif not isinstance(held, BucketVersion):
                self._tally.journal_events += sum(len(table) for _, table in held)


def _place(client: ClientId, seq: int) -> str:
    return f"record {seq} of client {client.hex()[:8]}"
