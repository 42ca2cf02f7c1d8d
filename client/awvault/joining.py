"""A vault for a client that was added to an account, and a move of history into it.

A machine that joins an account gets a database of its own, with the account's
documents and the keystore of its client: `make_vault`. If it had an account of
its own before, all that its vault holds is sealed again under the new account,
by the new client: `reseal`. Then the new database takes the place of the old one,
which is kept: `swap`. `awvault.moving` does both. Nothing here knows a network.

Each step survives a kill: a start finds the old vault or the new one, whole. What
was begun lies beside the vault as `vault.db.joining`, and is gone on with.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from awserver.records import AccountId, ClientId, Head, SealedRecord, Seq
from awserver.storage.sqlite.database import Database, Probe, Transaction
from awserver.storage.sqlite.logs import SqliteLogStore
from awvault import tables
from awvault.columns.payload import COUNTER_BITS, BucketVersion, NextIds, Payload
from awvault.columns.table import EventTable
from awvault.crypto.hedge import draw
from awvault.crypto.keys import BootKey, Random
from awvault.crypto.slots import Ring
from awvault.errors import (
    DocumentError,
    InvalidInputError,
    PayloadError,
    VaultDamagedError,
)
from awvault.journal import (
    EventRow,
    encode_bucket,
    encode_event,
    encode_tables,
)
from awvault.processes import DataDirectory
from awvault.protocol.account import open_keystore, verify_documents
from awvault.protocol.document import hash_document, hash_keys_blob
from awvault.protocol.log import VerifiedLog
from awvault.sealing import SLOTS, NewRecord, Step, seal_payloads
from awvault.state import Loader, RecordReader, State
from awvault.unlocked import Unlocked, payload_of

AGED_BITS: Final = 20
"""By how much the times of moved preferences are shifted, to the first days of 1970.

Their order stays. Any that the account has are newer then, and count: the privacy
filters of an account must not go because a machine joined it that had none.
"""

PAGE_BYTES: Final = 1024 * 1024
"""Records that are sealed again in one transaction; a single one may be larger."""

JOINING_SUFFIX: Final = ".joining"
"""Behind the name of the database, while the new one is made."""

KEPT_SUFFIX: Final = ".before-"
"""Behind the name of the database that was replaced; its account's id follows."""

KEPT_MODE: Final = 0o400

PRIVATE_MODE: Final = 0o600
"""Of a database that is moved or copied, from its first moment."""

OnRecords = Callable[[int, int], None]
"""Called with the number of records that are done, and of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """What was sealed again, and what could not be."""

    records: int
    journal_rows: int
    unreadable_records: int
    """Records that a faulty client had sealed; an empty one is in the place of each."""
    left_rows: int
    """Journal rows that do not open, or repeat a record: they stay in the old file."""


def joining_path(directory: DataDirectory) -> Path:
    """Return where the new database lies until it takes the old one's place."""
    return directory.database.with_name(directory.database.name + JOINING_SUFFIX)


def discard(directory: DataDirectory) -> None:
    """Remove a new database that will not take the old one's place."""
    for name in _files_of(joining_path(directory)):
        name.unlink(missing_ok=True)
    # A swap that was killed may have given the vault its second name already.
    database = directory.database
    for kept in database.parent.glob(f"{database.name}{KEPT_SUFFIX}*"):
        if database.exists() and kept.samefile(database):
            kept.unlink()


async def make_vault(
    path: Path,
    *,
    account_id: AccountId,
    client_id: ClientId,
    documents: Sequence[bytes],
    keys_blob: bytes,
    keystore: bytes,
    probe: Probe | None = None,
) -> None:
    """Make the database of a client that the newest of `documents` names.

    `documents` is the whole chain, `keys_blob` the newest one's, and `keystore`
    the client's, sealed (`edits.new_keystore`). It is on disk when this returns,
    and `opening.open_vault` opens it with the account's passphrase. Raises
    `StorageError` where there is a file, and an `IntegrityError` for documents
    that break a rule.
    """
    account = await asyncio.to_thread(verify_documents, account_id, documents)
    if client_id not in account.clients:
        raise DocumentError("the account document does not name this client")
    if hash_keys_blob(keys_blob) != account.document.keys_blob_hash:
        raise DocumentError("the keys blob is not the one that the document names")

    def work(tx: Transaction) -> None:
        for version, document in enumerate(documents, start=1):
            SqliteLogStore.put_document_within(
                tx,
                account_id,
                version=version,
                document=document,
                document_hash=hash_document(document),
                keys_blob=keys_blob if version == len(documents) else None,
            )
        tables.put_vault_row(
            tx,
            tables.VaultRow(
                account_id=account_id,
                client_id=client_id,
                keystore=keystore,
                unlock_version=len(documents),
                unlock_blob=keys_blob,
            ),
        )

    async with tables.opened(path, create=True, probe=probe) as database:
        await database.write(work)


async def reseal(
    source: Database,
    keys: Unlocked,
    target: Path,
    *,
    ring: Ring,
    random: Random,
    floor_bytes: int = SLOTS.floor_bytes,
    step: Step = lambda _: None,
    on_records: OnRecords = lambda _, __: None,
) -> Resealed:
    """Seal all that `source` holds again, into the vault that was made at `target`.

    `keys` open `source`, which nobody writes to meanwhile, and whose account has
    had this one client; `ring` is that of the account of `target`. Every record
    becomes one record, with the same rows, revisions, tombstones and buckets, and
    every journal row one journal row; ids keep their counters and get the number
    of the new client. What an earlier call did is not done again. A page at a
    time, in a thread: memory stays flat.

    Raises an `IntegrityError` where the source is damaged, and
    `InvalidInputError` where its account has had several clients.
    """
    store = SqliteLogStore(source)
    state = await asyncio.to_thread(
        Loader(source, store, keys, RecordReader(source, store, keys)).load
    )
    _check_source(state)
    async with tables.opened(target, create=False) as database:
        return await _Resealing(
            source=source,
            keys=keys,
            state=state,
            target=database,
            new_keys=await asyncio.to_thread(_keys_of, database, ring),
            random=random,
            floor_bytes=floor_bytes,
            step=step,
            on_records=on_records,
        ).run()


def swap(
    directory: DataDirectory,
    account_id: AccountId,
    *,
    step: Step = lambda _: None,
) -> Path:
    """Put the new database in the place of the vault's; return where that is kept.

    Both are closed, and the caller holds the directory. `account_id` is the old
    vault's. The old file is kept as `vault.db.before-<account>`, read-only. A start
    that follows a kill in here finds the old vault or the new one.
    """
    database, new = directory.database, joining_path(directory)
    for path in (database, new):
        _check_closed(path)
        # Before it gets a second name, so that no kill leaves one open to others.
        path.chmod(PRIVATE_MODE)
    kept = _kept_path(directory, account_id)
    if not kept.exists():
        _keep(database, kept)
    step("kept")
    # From here on it is the new one.
    new.replace(database)
    step("replaced")
    _sync_directory(directory.path)
    kept.chmod(KEPT_MODE)
    step("read-only")
    return kept


def _kept_path(directory: DataDirectory, account_id: AccountId) -> Path:
    """Return where the old database is kept: a name that no other file has."""
    database = directory.database
    name = f"{database.name}{KEPT_SUFFIX}{account_id.hex()[:8]}"
    number = 1
    while True:
        path = database.with_name(name if number == 1 else f"{name}-{number}")
        if not path.exists() or path.samefile(database):
            return path
        number += 1


def _keep(database: Path, kept: Path) -> None:
    """Give the old database a second name, or copy it where names are single."""
    try:
        kept.hardlink_to(database)
    except (OSError, NotImplementedError):
        copy = kept.with_name(kept.name + ".copy")
        # What an earlier try left may be half, and its mode another.
        copy.unlink(missing_ok=True)
        descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
        with database.open("rb") as source, os.fdopen(descriptor, "wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        copy.replace(kept)
    _sync_directory(kept.parent)


def _check_closed(path: Path) -> None:
    """Raise unless a database is one file: a tail beside it would be lost."""
    if not path.is_file():
        raise VaultDamagedError(f'there is no database at "{path}"')
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        raise VaultDamagedError(
            f'"{path}" was not closed: open and close the vault, then try again'
        )


def _files_of(database: Path) -> list[Path]:
    return [
        database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm")
    ]


def _sync_directory(directory: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_source(state: State) -> None:
    for client_id, log_state in state.logs.items():
        if log_state.heads and client_id != state.client_id:
            raise InvalidInputError(
                "account",
                "this vault holds the logs of several clients, and only a vault of one"
                " can be moved into another account",
            )
    for reason in state.stopped_logs.values():
        raise VaultDamagedError(
            f"the vault is damaged, not all of it could be moved: {reason}"
        )


def _keys_of(database: Database, ring: Ring) -> Unlocked:
    """Return the keys of a vault whose account's epoch keys are at hand."""
    with database.reading() as tx:
        row = tables.vault_row(tx)
        if row is None:
            raise VaultDamagedError("the new database holds no vault")
        documents = SqliteLogStore.documents_within(tx, row.account_id)
    account = verify_documents(row.account_id, documents)
    keystore = open_keystore(
        ring[account.document.epoch], row.account_id, row.client_id, row.keystore
    )
    return Unlocked.of(account, ring, keystore)


@dataclass(slots=True, kw_only=True)
class _Resealing:
    """One run of `reseal`."""

    source: Database
    keys: Unlocked
    state: State
    target: Database
    new_keys: Unlocked
    random: Random
    floor_bytes: int
    step: Step
    on_records: OnRecords
    unreadable: int = 0

    async def run(self) -> Resealed:
        """Seal records, then the journal."""
        own = self.keys.client_id
        end = self.state.head
        verified = VerifiedLog.of(self.keys.account, own, self.keys.ring)
        head = await asyncio.to_thread(self._head)
        total = 0 if end is None else end.seq + 1
        while verified.next_seq < total:
            page = await SqliteLogStore(self.source).read(
                self.keys.account_id,
                own,
                start=Seq(verified.next_seq),
                bytes_max=PAGE_BYTES,
            )
            if not page:
                raise VaultDamagedError(f"record {verified.next_seq} is missing")
            done = 0 if head is None else head.seq + 1
            sealed = await asyncio.to_thread(self._seal, verified, page, head)
            if sealed:
                await self.target.write(partial(self._store_all, sealed))
                newest = sealed[-1].record
                head = Head(seq=newest.header.seq, hash=newest.hash)
                self.step("resealed")
            self.on_records(max(done, verified.next_seq), total)
        rows, left = await self._journal()
        return Resealed(
            records=total,
            journal_rows=rows,
            unreadable_records=self.unreadable,
            left_rows=left,
        )

    def _head(self) -> Head | None:
        """Return the newest record that an earlier call has sealed."""
        head = None
        with self.target.reading() as tx:
            for found in SqliteLogStore.heads_within(
                tx, self.new_keys.account_id, self.new_keys.client_id
            ):
                head = found
        return head

    def _seal(
        self, verified: VerifiedLog, page: Iterable[SealedRecord], head: Head | None
    ) -> list[NewRecord]:
        """Seal the records of a page again that are not yet; in a thread."""
        payloads = []
        for record in page:
            padded = verified.accept(record)
            if head is not None and record.header.seq <= head.seq:
                continue
            payloads.append(self._renumbered(padded))
        return seal_payloads(
            payloads,
            self.new_keys,
            head,
            floor_bytes=self.floor_bytes,
            random=self.random,
            step=lambda _: None,
        )

    def _renumbered(self, padded: bytes | None) -> Payload:
        """Return what a record says, under the new client's number."""
        payload = None
        if padded is not None:
            try:
                payload = payload_of(padded)
            except PayloadError:
                self.unreadable += 1
        if payload is None:
            payload = Payload(
                seen={},
                document=self.new_keys.pin,
                next_ids=NextIds(next_event=1, next_bucket=1),
                buckets=[],
                zones=[],
            )
        return replace(
            payload,
            seen={},
            document=self.new_keys.pin,
            buckets=[self._bucket(version) for version in payload.buckets],
            zones=self._zones(payload.zones),
        )

    def _id(self, number: int) -> int:
        if number >> COUNTER_BITS != self.keys.client_number:
            raise VaultDamagedError(
                f"id {number} was not given by this vault's client: run awvault verify"
            )
        return self._shift + number

    @property
    def _shift(self) -> int:
        new, old = self.new_keys.client_number, self.keys.client_number
        return (new - old) << COUNTER_BITS

    def _bucket(self, version: BucketVersion) -> BucketVersion:
        return msgspec.structs.replace(version, bucket_id=self._id(version.bucket_id))

    def _zones(
        self, zones: Iterable[tuple[int, EventTable]]
    ) -> list[tuple[int, EventTable]]:
        found = []
        for bucket_id, table in zones:
            for number in (int(table.id.min()), int(table.id.max())):
                self._id(number)
            moved = replace(table, id=table.id + self._shift)
            if self._holds_preferences(bucket_id):
                moved = replace(moved, start=moved.start >> AGED_BITS)
            found.append((self._id(bucket_id), moved))
        return found

    def _holds_preferences(self, bucket_id: int) -> bool:
        return any(bucket.number == bucket_id for bucket in self.state.preferences)

    async def _journal(self) -> tuple[int, int]:
        """Seal the journal again, in one transaction; return rows, and rows left."""
        left = {*self.state.damaged_rows, *self.state.repeated_rows}
        boot_random = draw(self.random)
        key = self.new_keys.boot_key(boot_random)
        rows, done = await asyncio.to_thread(self._journal_rows, key, left)
        if rows and not done:

            def work(tx: Transaction) -> None:
                boot = tables.begin_boot(tx, boot_random)
                for row in rows:
                    tables.put_journal_row(tx, replace(row, boot=boot))

            await self.target.write(work)
            self.step("journal-resealed")
        return len(rows), len(left)

    def _journal_rows(
        self, key: BootKey, left: set[int]
    ) -> tuple[list[tables.SealedJournalRow], bool]:
        """Return the rows for the new journal, and whether it has them already."""
        with self.target.reading() as tx:
            done = bool(tables.journal_rows(tx))
        rows = []
        with self.source.reading() as tx:
            boots = tables.boots(tx)
            for write, row in enumerate(tables.journal_rows(tx), start=1):
                if row.jid in left:
                    continue
                rows.append(
                    self.new_keys.seal_journal_row(
                        key,
                        jid=row.jid,
                        boot=0,
                        write=write,
                        plaintext=self._plaintext(
                            self.keys.open_journal_row(row, boots)
                        ),
                        random=self.random,
                    )
                )
        return rows, done

    def _plaintext(
        self, held: BucketVersion | EventRow | list[tuple[int, EventTable]]
    ) -> bytes:
        if isinstance(held, BucketVersion):
            return encode_bucket(self._bucket(held))
        if isinstance(held, EventRow):
            if self._holds_preferences(held.bucket_id):
                held = held._replace(start=held.start >> AGED_BITS)
            return encode_event(
                held._replace(id=self._id(held.id), bucket_id=self._id(held.bucket_id))
            )
        return encode_tables(self._zones(held))

    def _store_all(self, sealed: Sequence[NewRecord], tx: Transaction) -> None:
        SqliteLogStore(self.target).append_within(
            tx, self.new_keys.account_id, [new.record for new in sealed]
        )
        for new in sealed:
            header = new.record.header
            tables.put_index_row(tx, header.client_id, header.seq, new.sealed_index_row)
