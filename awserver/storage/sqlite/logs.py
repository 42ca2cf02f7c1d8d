"""`LogStore` in SQLite.

Each operation has a synchronous form that takes the transaction it runs in
(`append_within`), so that the vault can store records and its own rows as one.
The asynchronous forms wrap these.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, TypeVar

from awserver.documents import DOCUMENT_BYTES_MAX, KEYS_BLOB_BYTES_MAX
from awserver.errors import (
    AccountDeletingError,
    DocumentConflictError,
    LimitExceededError,
)
from awserver.records import (
    SEQ_MAX,
    AccountId,
    ClientId,
    Head,
    RecordHash,
    SealedRecord,
    Seq,
)
from awserver.storage.base import (
    READ_BYTES_MAX,
    Appended,
    ChangeState,
    LogState,
    LogStore,
    Overview,
    Usage,
)
from awserver.storage.sqlite.appending import Appends
from awserver.storage.sqlite.database import Database, Transaction
from awserver.storage.sqlite.stored import record_at, stored_record

COMPONENT: Final = "host"

# From one client to the next by the key, so that the length of a log is no
# matter; max() with GROUP BY would look at every record.
_CLIENTS: Final = """
WITH RECURSIVE clients (id) AS (
    SELECT min(client_id) FROM records WHERE account_id = :id
    UNION ALL
    SELECT (
        SELECT min(client_id) FROM records
        WHERE account_id = :id AND client_id > clients.id
    )
    FROM clients WHERE clients.id IS NOT NULL
)
"""
_IDS: Final = "SELECT id FROM clients WHERE id IS NOT NULL"
_HEADS: Final = """
SELECT r.seq, r.header, r.signature, u.bytes FROM clients
CROSS JOIN records AS r ON r.account_id = :id AND r.client_id = clients.id
AND r.seq = (
    SELECT max(seq) FROM records WHERE account_id = :id AND client_id = clients.id
)
LEFT JOIN log_usage AS u ON u.account_id = :id AND u.client_id = clients.id
"""

# Of a deleted account nothing is found, from the mark on; its rows go later.
_STATE: Final = """
SELECT
    coalesce((SELECT entries FROM usage WHERE account_id = :id), 0),
    coalesce((SELECT max(version) FROM documents WHERE account_id = :id), 0)
WHERE NOT EXISTS (SELECT 1 FROM deletions WHERE account_id = :id)
"""

_RECORD: Final = "SELECT r.header, r.signature, b.body FROM records AS r"
_BODY_BESIDE: Final = " LEFT JOIN bodies AS b USING (account_id, client_id, seq)"
_NO_BODY: Final = " CROSS JOIN (SELECT NULL AS body) AS b"
_OF_LOG: Final = " WHERE r.account_id = ? AND r.client_id = ?"

T = TypeVar("T")


def migrations() -> Traversable:
    """Return the directory of the statements that make the store's tables."""
    return files("awserver.storage.sqlite") / "migrations"


def migrate(database: Database) -> None:
    """Bring the store's tables to this program's version."""
    database.migrate(COMPONENT, migrations())


class SqliteLogStore(LogStore):
    """A `LogStore` in a single SQLite file."""

    def __init__(self, database: Database) -> None:
        """Use `database`, which `migrate` has prepared."""
        self._db = database

    # -- appending -----------------------------------------------------------

    async def append(self, account: AccountId, records: Sequence[SealedRecord]) -> int:
        """See `LogStore.append`."""
        return await self._db.write(lambda tx: self.append_within(tx, account, records))

    def append_within(
        self, tx: Transaction, account: AccountId, records: Sequence[SealedRecord]
    ) -> int:
        """Append inside a transaction; see `LogStore.append`."""
        if is_deleted(tx, account):
            raise AccountDeletingError
        return self.appended_within(tx, account, records).new

    def appended_within(
        self,
        tx: Transaction,
        account: AccountId,
        records: Sequence[SealedRecord],
        *,
        quota_bytes: int | None = None,
    ) -> Appended:
        """Append to an account that is not deleted; say what it came to.

        Raises `QuotaExceededError` too, if the account would come to take more.
        """
        appends = Appends(tx)
        appended = appends.add(account, records, quota_bytes=quota_bytes)
        appends.write()
        return appended

    # -- reading -------------------------------------------------------------

    async def heads(self, account: AccountId) -> dict[ClientId, Head]:
        """See `LogStore.heads`."""
        overview = await self.overview(account)
        return {client: log.head for client, log in overview.logs.items()}

    async def clients(self, account: AccountId) -> list[ClientId]:
        """See `LogStore.clients`."""

        def work(tx: Transaction) -> list[ClientId]:
            if is_deleted(tx, account):
                return []
            return [
                ClientId(client)
                for (client,) in tx.execute(f"{_CLIENTS}{_IDS}", {"id": account})
            ]

        return await self._read(work)

    async def overview(self, account: AccountId) -> Overview:
        """See `LogStore.overview`."""
        return await self._read(lambda tx: self.overview_within(tx, account))

    @staticmethod
    def overview_within(tx: Transaction, account: AccountId) -> Overview:
        """Return where every log ends; see `LogStore.overview`."""
        found = tx.execute(_STATE, {"id": account}).fetchone()
        if found is None:
            return Overview(logs={}, state=ChangeState(entries=0, version=0))
        logs = {}
        for seq, header, signature, stored_bytes in tx.execute(
            f"{_CLIENTS}{_HEADS}", {"id": account}
        ):
            record = record_at(tx, seq, header, signature)
            logs[record.header.client_id] = LogState(
                head=Head(seq=record.header.seq, hash=record.hash),
                stored_bytes=stored_bytes or 0,
            )
        entries, version = found
        return Overview(logs=logs, state=ChangeState(entries=entries, version=version))

    @staticmethod
    def heads_within(
        tx: Transaction, account: AccountId, client: ClientId
    ) -> Iterator[Head]:
        """Yield (seq, hash) of every record of a log, in order."""
        for seq, record_hash in tx.execute(
            "SELECT seq, hash FROM records WHERE account_id = ? AND client_id = ?"
            " ORDER BY seq",
            (account, client),
        ):
            yield Head(seq=Seq(seq), hash=RecordHash(record_hash))

    @staticmethod
    def headers_within(
        tx: Transaction, account: AccountId, client: ClientId
    ) -> Iterator[SealedRecord]:
        """Yield every record of a log without its body, by the seq it lies at.

        Raises `StorageCorruptError` at the first that is no record.
        """
        for header, signature, _ in tx.execute(
            f"{_RECORD}{_NO_BODY}{_OF_LOG} ORDER BY r.seq", (account, client)
        ):
            yield stored_record(tx, header, signature, None, bodies=False)

    async def read(
        self,
        account: AccountId,
        client: ClientId,
        *,
        start: Seq,
        bytes_max: int = READ_BYTES_MAX,
        bodies: bool = True,
    ) -> list[SealedRecord]:
        """See `LogStore.read`."""
        return await self._read(
            lambda tx: self.read_within(
                tx, account, client, start=start, bytes_max=bytes_max, bodies=bodies
            )
        )

    @staticmethod
    def read_within(
        tx: Transaction,
        account: AccountId,
        client: ClientId,
        *,
        start: Seq,
        bytes_max: int = READ_BYTES_MAX,
        bodies: bool = True,
    ) -> list[SealedRecord]:
        """Read a page inside a transaction; see `LogStore.read`."""
        if start > SEQ_MAX or is_deleted(tx, account):
            return []
        page: list[SealedRecord] = []
        left = min(bytes_max, READ_BYTES_MAX)
        beside = _BODY_BESIDE if bodies else _NO_BODY
        rows = tx.execute(
            f"{_RECORD}{beside}{_OF_LOG} AND r.seq >= ? ORDER BY r.seq",
            (account, client, start),
        )
        for header, signature, body in rows:
            left -= len(header) + len(signature) + len(body or b"")
            if left < 0 and page:
                break
            page.append(stored_record(tx, header, signature, body, bodies=bodies))
        return page

    @staticmethod
    def record_within(
        tx: Transaction, account: AccountId, client: ClientId, seq: Seq
    ) -> SealedRecord | None:
        """Return one record, or None if the log does not hold it."""
        if seq > SEQ_MAX or is_deleted(tx, account):
            return None
        found = tx.execute(
            f"{_RECORD}{_BODY_BESIDE}{_OF_LOG} AND r.seq = ?", (account, client, seq)
        ).fetchone()
        return None if found is None else stored_record(tx, *found, bodies=True)

    async def read_body(
        self, account: AccountId, client: ClientId, seq: Seq
    ) -> bytes | None:
        """See `LogStore.read_body`."""

        def work(tx: Transaction) -> bytes | None:
            record = self.record_within(tx, account, client, seq)
            return None if record is None else record.body

        return await self._read(work)

    async def usage(self, account: AccountId) -> Usage:
        """See `LogStore.usage`."""

        def work(tx: Transaction) -> Usage:
            found = tx.execute(
                "SELECT entries, bytes FROM usage WHERE account_id = ?", (account,)
            ).fetchone()
            entries, stored_bytes = found if found is not None else (0, 0)
            return Usage(entries=entries, stored_bytes=stored_bytes)

        return await self._read(work)

    async def accounts(self) -> list[AccountId]:
        """See `LogStore.accounts`."""
        return await self._read(
            lambda tx: [
                AccountId(account)
                for (account,) in tx.execute(
                    "SELECT DISTINCT account_id FROM documents WHERE account_id"
                    " NOT IN (SELECT account_id FROM deletions) ORDER BY account_id"
                )
            ]
        )

    # -- documents -----------------------------------------------------------

    async def put_document(
        self,
        account: AccountId,
        *,
        version: int,
        document: bytes,
        document_hash: bytes,
        keys_blob: bytes | None,
    ) -> None:
        """See `LogStore.put_document`."""
        await self._db.write(
            lambda tx: self.put_document_within(
                tx,
                account,
                version=version,
                document=document,
                document_hash=document_hash,
                keys_blob=keys_blob,
            )
        )

    @staticmethod
    def put_document_within(
        tx: Transaction,
        account: AccountId,
        *,
        version: int,
        document: bytes,
        document_hash: bytes,
        keys_blob: bytes | None,
    ) -> None:
        """Store a document inside a transaction; see `LogStore.put_document`."""
        if len(document) > DOCUMENT_BYTES_MAX:
            raise LimitExceededError(
                f"the account document has {len(document)} bytes, at most"
                f" {DOCUMENT_BYTES_MAX} are taken"
            )
        if is_deleted(tx, account):
            raise AccountDeletingError
        newest = 0
        for (found,) in tx.execute(
            "SELECT max(version) FROM documents WHERE account_id = ?", (account,)
        ):
            newest = found or 0
        if version != newest + 1:
            raise DocumentConflictError(
                expected_version=newest + 1, got_version=version
            )
        tx.execute(
            "INSERT INTO documents (account_id, version, hash, document)"
            " VALUES (?, ?, ?, ?)",
            (account, version, document_hash, document),
        )
        if keys_blob is not None:
            SqliteLogStore.put_keys_blob_within(tx, account, keys_blob)

    @staticmethod
    def put_keys_blob_within(
        tx: Transaction, account: AccountId, keys_blob: bytes
    ) -> None:
        """Put a keys blob in place of the one before, which is overwritten."""
        if len(keys_blob) > KEYS_BLOB_BYTES_MAX:
            raise LimitExceededError(
                f"the keys blob has {len(keys_blob)} bytes, at most"
                f" {KEYS_BLOB_BYTES_MAX} are taken"
            )
        tx.execute(
            "INSERT INTO keys_blobs (account_id, blob) VALUES (?, ?)"
            " ON CONFLICT (account_id) DO UPDATE SET blob = excluded.blob",
            (account, keys_blob),
        )

    async def documents(
        self, account: AccountId, *, start_version: int = 1
    ) -> list[bytes]:
        """See `LogStore.documents`."""
        return await self._read(
            lambda tx: self.documents_within(tx, account, start_version=start_version)
        )

    @staticmethod
    def documents_within(
        tx: Transaction, account: AccountId, *, start_version: int = 1
    ) -> list[bytes]:
        """Return the account documents, oldest first."""
        if start_version > SEQ_MAX or is_deleted(tx, account):
            return []
        return [
            document
            for (document,) in tx.execute(
                "SELECT document FROM documents"
                " WHERE account_id = ? AND version >= ? ORDER BY version",
                (account, start_version),
            )
        ]

    async def keys_blob(self, account: AccountId) -> bytes | None:
        """See `LogStore.keys_blob`."""
        return await self._read(lambda tx: self.keys_blob_within(tx, account))

    @staticmethod
    def keys_blob_within(tx: Transaction, account: AccountId) -> bytes | None:
        """Return the newest keys blob."""
        found = tx.execute(
            "SELECT blob FROM keys_blobs WHERE account_id = ?", (account,)
        ).fetchone()
        return None if found is None else bytes(found[0])

    async def _read(self, work: Callable[[Transaction], T]) -> T:
        """Run a reading work in a thread, on a snapshot of its own."""

        def run() -> T:
            with self._db.reading() as tx:
                return work(tx)

        return await asyncio.to_thread(run)


def is_deleted(tx: Transaction, account: AccountId) -> bool:
    """Say whether an account is marked as deleted; its rows may still be there."""
    return (
        tx.execute(
            "SELECT 1 FROM deletions WHERE account_id = ?", (account,)
        ).fetchone()
        is not None
    )
