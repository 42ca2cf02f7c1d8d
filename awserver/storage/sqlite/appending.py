"""Appends of many callers, checked one by one and written together.

What a commit costs beside the disk is the number of statements: each gives way to
the event loop's thread and waits for its turn again. So all records of a group are
checked first, against what lies in the database and what the same group brings
before them, and then written: by a few statements, each for many rows, and so is
what lies there looked up.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from awserver.errors import (
    ChainBrokenError,
    LimitExceededError,
    MalformedRecordError,
    QuotaExceededError,
    RecordErasedError,
    SeqConflictError,
)
from awserver.records import (
    HEADER_BYTES,
    SIGNATURE_BYTES,
    ZERO_HASH,
    AccountId,
    ClientId,
    Head,
    SealedRecord,
    Seq,
)
from awserver.storage.base import APPEND_BYTES_MAX, APPEND_RECORDS_MAX, Appended
from awserver.storage.sqlite.database import Transaction
from awserver.storage.sqlite.stored import is_erased, record_at

ROWS_MAX: Final = 64
"""Rows of one statement. Fewer are written by statements of 16, of 4 and of one, so
that few statements are ever prepared."""

_ROWS: Final = (ROWS_MAX, 16, 4, 1)

# One row for every log, also for one that is empty: its end, whether an owner has
# had any of its bodies destroyed, and what its account takes.
_LOGS: Final = """
SELECT w.account_id, w.client_id, r.seq, r.header, r.signature, EXISTS (
    SELECT 1 FROM erasures AS e
    WHERE e.account_id = w.account_id AND e.client_id = w.client_id
), u.bytes
FROM wanted AS w LEFT JOIN records AS r ON r.account_id = w.account_id
AND r.client_id = w.client_id AND r.seq = (
    SELECT max(seq) FROM records AS n
    WHERE n.account_id = w.account_id AND n.client_id = w.client_id
)
LEFT JOIN usage AS u ON u.account_id = w.account_id
"""
_RECORD: Final = (
    "SELECT header, signature FROM records"
    " WHERE account_id = ? AND client_id = ? AND seq = ?"
)

_ADD_RECORDS: Final = (
    "INSERT INTO records (account_id, client_id, seq, hash, header, signature)"
)
_ADD_BODIES: Final = "INSERT INTO bodies (account_id, client_id, seq, body)"
_ADD_LOG_USAGE: Final = "INSERT INTO log_usage (account_id, client_id, bytes)"
_COUNT_LOG_USAGE: Final = (
    " ON CONFLICT (account_id, client_id) DO UPDATE SET bytes = bytes + excluded.bytes"
)
_ADD_USAGE: Final = "INSERT INTO usage (account_id, entries, bytes)"
_COUNT_USAGE: Final = (
    " ON CONFLICT (account_id) DO UPDATE SET"
    " entries = entries + excluded.entries, bytes = bytes + excluded.bytes"
)

Row = tuple[bytes | int | None, ...]
_Key = tuple[AccountId, ClientId]

KEY_COLUMNS: Final = ("account_id", "client_id")


@dataclass(slots=True)
class _Log:
    """One log: where it ends, and what this group has added."""

    head: Head | None
    epoch: int
    """Of the record at the head."""
    has_erased: bool
    taken: int = 0
    """Bytes of what was added."""

    def copy(self) -> "_Log":
        return _Log(self.head, self.epoch, self.has_erased, self.taken)


@dataclass(slots=True)
class _Usage:
    """What an account takes, with what this group has added."""

    stored_bytes: int
    entries: int = 0
    taken: int = 0


@dataclass(slots=True)
class _Staged:
    """What one append adds, until all of it was found to be right."""

    logs: dict[ClientId, _Log] = field(default_factory=dict)
    records: dict[tuple[ClientId, Seq], SealedRecord] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    bodies: list[Row] = field(default_factory=list)
    taken: int = 0


class Appends:
    """Appends to any number of logs, in one transaction.

    `add` checks an append, and takes it whole or not at all; `write` writes what
    was taken. Nothing else may write to these accounts in between.
    """

    def __init__(self, tx: Transaction) -> None:
        """Begin with nothing taken."""
        self._tx = tx
        self._found: dict[_Key, Row] = {}
        self._logs: dict[_Key, _Log] = {}
        self._usages: dict[AccountId, _Usage] = {}
        self._records: dict[tuple[AccountId, ClientId, Seq], SealedRecord] = {}
        self._rows: list[Row] = []
        self._bodies: list[Row] = []

    def look_up(self, logs: Iterable[tuple[AccountId, ClientId]]) -> None:
        """Look up at once what `add` would otherwise look up log by log."""
        keys = [key for key in dict.fromkeys(logs) if key not in self._found]
        for account, client, *row in rows_for(self._tx, _LOGS, KEY_COLUMNS, keys):
            self._found[account, client] = tuple(row)

    def add(
        self,
        account: AccountId,
        records: Sequence[SealedRecord],
        *,
        quota_bytes: int | None = None,
    ) -> Appended:
        """Take an append to an account that is not deleted; say what it comes to.

        Raises what `LogStore.append` raises, and `QuotaExceededError` if the
        account would come to take more.
        """
        stored_bytes = sum([_record_bytes(record) for record in records])
        if len(records) > APPEND_RECORDS_MAX or stored_bytes > APPEND_BYTES_MAX:
            raise LimitExceededError(
                f"one append has {len(records)} records of {stored_bytes} bytes,"
                f" at most {APPEND_RECORDS_MAX} of {APPEND_BYTES_MAX} are taken"
            )
        staged = _Staged()
        for record in records:
            header = record.header
            if header.account_id != account:
                raise MalformedRecordError("the record names another account")
            log = staged.logs.get(header.client_id)
            if log is None:
                log = self._log(account, header.client_id).copy()
                staged.logs[header.client_id] = log
            if not self._is_stored(staged, log, record):
                self._stage(staged, log, record)
        if staged.rows:
            self._take(account, staged, quota_bytes)
        return Appended(
            new=len(staged.rows),
            heads={
                client: log.head
                for client, log in staged.logs.items()
                if log.head is not None
            },
        )

    def write(self) -> None:
        """Write what was taken."""
        self._insert(_ADD_RECORDS, self._rows)
        self._insert(_ADD_BODIES, self._bodies)
        self._insert(
            _ADD_LOG_USAGE,
            [(*key, log.taken) for key, log in self._logs.items() if log.taken],
            _COUNT_LOG_USAGE,
        )
        self._insert(
            _ADD_USAGE,
            [(id_, u.entries, u.taken) for id_, u in self._usages.items() if u.entries],
            _COUNT_USAGE,
        )

    def _log(self, account: AccountId, client: ClientId) -> _Log:
        """Return a log as it is with what was taken so far.

        From the record at its end: what follows names its hash for ever, so a copy
        of that in another column, which a disk may alter, is not good enough.
        """
        key = (account, client)
        log = self._logs.get(key)
        if log is None:
            seq, header, signature, has_erased, _ = self._row(key)
            head, epoch = None, 0
            if seq is not None:
                record = record_at(self._tx, seq, header, signature)
                head = Head(seq=record.header.seq, hash=record.hash)
                epoch = record.header.epoch
            log = _Log(head, epoch, bool(has_erased))
            self._logs[key] = log
        return log

    def _row(self, key: _Key) -> tuple[Any, ...]:
        """Return what lies in the database of a log, as it was before this group."""
        if key not in self._found:
            self.look_up([key])
        return self._found[key]

    def _is_stored(self, staged: _Staged, log: _Log, record: SealedRecord) -> bool:
        """Say whether this very record is there; other bytes are a conflict."""
        header = record.header
        if log.head is None or header.seq > log.head.seq:
            return False
        key = (header.account_id, header.client_id, header.seq)
        taken = staged.records.get(key[1:]) or self._records.get(key)
        found: object = (
            self._tx.execute(_RECORD, key).fetchone()
            if taken is None
            else (taken.header_bytes, taken.signature)
        )
        if found != (record.header_bytes, record.signature):
            raise SeqConflictError(expected_seq=log.head.seq + 1, got_seq=header.seq)
        # The header holds the hash of the body, so the body is the same too.
        if record.body is not None and self._is_erased(log, record):
            raise RecordErasedError(f"the body of record {header.seq} was erased")
        return True

    def _stage(self, staged: _Staged, log: _Log, record: SealedRecord) -> None:
        """Stage the next record of a log, if that is what it is."""
        header, head = record.header, log.head
        expected_seq = 0 if head is None else head.seq + 1
        if header.seq != expected_seq:
            raise SeqConflictError(expected_seq=expected_seq, got_seq=header.seq)
        if header.prev != (ZERO_HASH if head is None else head.hash):
            raise ChainBrokenError(
                f"record {header.seq} does not follow the record before it"
            )
        if header.epoch < log.epoch:
            raise ChainBrokenError(
                f"record {header.seq} is of epoch {header.epoch}, the log is at"
                f" {log.epoch}"
            )
        erased = self._is_erased(log, record)
        if record.body is None and not erased:
            raise MalformedRecordError(f"record {header.seq} has no body")
        if record.body is not None and erased:
            raise RecordErasedError(f"the body of record {header.seq} was erased")
        # Checked where it was read, and again just before it cannot be undone.
        SealedRecord.of_parts(record.header_bytes, record.signature, record.body)
        log.head = Head(seq=header.seq, hash=record.hash)
        log.epoch = header.epoch
        size = _record_bytes(record)
        log.taken += size
        staged.taken += size
        staged.records[header.client_id, header.seq] = record
        key = (header.account_id, header.client_id, header.seq)
        staged.rows.append((*key, log.head.hash, record.header_bytes, record.signature))
        if record.body is not None:
            staged.bodies.append((*key, record.body))

    def _is_erased(self, log: _Log, record: SealedRecord) -> bool:
        return log.has_erased and is_erased(self._tx, record.header)

    def _take(
        self, account: AccountId, staged: _Staged, quota_bytes: int | None
    ) -> None:
        """Take what was staged; hold the account to its quota."""
        usage = self._usages.get(account)
        if usage is None:
            *_, stored_bytes = self._row((account, next(iter(staged.logs))))
            usage = _Usage(stored_bytes or 0)
        needed_bytes = usage.stored_bytes + staged.taken
        if quota_bytes is not None and needed_bytes > quota_bytes:
            raise QuotaExceededError(quota_bytes=quota_bytes, needed_bytes=needed_bytes)
        usage.stored_bytes = needed_bytes
        usage.entries += len(staged.rows)
        usage.taken += staged.taken
        self._usages[account] = usage
        for client, log in staged.logs.items():
            self._logs[account, client] = log
        for (client, seq), record in staged.records.items():
            self._records[account, client, seq] = record
        self._rows += staged.rows
        self._bodies += staged.bodies

    def _insert(self, insert: str, rows: Sequence[Row], rest: str = "") -> None:
        for some in _some(rows):
            one = f"({', '.join('?' * len(some[0]))})"
            self._tx.execute(
                f"{insert} VALUES {', '.join([one] * len(some))}{rest}",
                [value for row in some for value in row],
            )


def rows_for(
    tx: Transaction, select: str, columns: Sequence[str], keys: Sequence[Row]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a SELECT from `wanted`, a table of keys with `columns`."""
    for some in _some(keys):
        yield from tx.execute(
            statement_for(select, columns, rows=len(some)),
            [value for key in some for value in key],
        )


def statement_for(select: str, columns: Sequence[str], *, rows: int) -> str:
    """Return a SELECT from `wanted`, whose `rows` rows are its parameters."""
    one = f"({', '.join('?' * len(columns))})"
    return (
        f"WITH wanted ({', '.join(columns)}) AS"
        f" (VALUES {', '.join([one] * rows)}) {select}"
    )


def _some(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Yield rows in order, as many at once as a statement takes."""
    at = 0
    for size in _ROWS:
        while at + size <= len(rows):
            yield rows[at : at + size]
            at += size


def _record_bytes(record: SealedRecord) -> int:
    """Return what a record counts for: all of it, erased body or not."""
    return HEADER_BYTES + SIGNATURE_BYTES + record.header.body_bytes
