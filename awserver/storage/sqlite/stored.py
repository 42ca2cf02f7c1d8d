"""Records as they lie in the database: checked again, for a disk may be wrong."""

from awserver.errors import MalformedRecordError, StorageCorruptError
from awserver.records import Header, SealedRecord
from awserver.storage.sqlite.database import Transaction


def stored_record(
    tx: Transaction,
    header: bytes,
    signature: bytes,
    body: bytes | None,
    *,
    bodies: bool,
) -> SealedRecord:
    """Return a record as it lies; without `bodies`, none was asked for.

    Raises `StorageCorruptError` for what is no record, or has lost its body.
    """
    try:
        record = SealedRecord.of_parts(header, signature, body)
    except MalformedRecordError as error:
        raise _damaged(error) from error
    if bodies and body is None and not is_erased(tx, record.header):
        raise _damaged(f"the body of record {record.header.seq} is missing")
    return record


def record_at(
    tx: Transaction, seq: int, header: bytes, signature: bytes
) -> SealedRecord:
    """Return the record that lies at `seq`, without its body; raises likewise."""
    record = stored_record(tx, header, signature, None, bodies=False)
    if record.header.seq != seq:
        raise _damaged(f"record {record.header.seq} lies where record {seq} was")
    return record


def is_erased(tx: Transaction, header: Header) -> bool:
    """Say whether an erasure covers this record's body."""
    return (
        tx.execute(
            "SELECT 1 FROM erasures WHERE account_id = ? AND client_id = ?"
            " AND ? BETWEEN from_seq AND to_seq",
            (header.account_id, header.client_id, header.seq),
        ).fetchone()
        is not None
    )


def _damaged(reason: MalformedRecordError | str) -> StorageCorruptError:
    return StorageCorruptError(
        f"a record in the database is damaged: {reason}; restore it from a backup,"
        " and keep this file"
    )
