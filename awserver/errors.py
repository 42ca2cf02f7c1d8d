"""Errors that the host raises on purpose, each with its wire code and status.

Hierarchy:

* ServerError
  - InvalidRequestError: a request, or a value in it, is not in its form
  - MalformedRecordError: bytes that are no record
  - LimitExceededError: more than the host takes
  - SeqConflictError: another seq is next, or other bytes stand at this one
  - ChainBrokenError: `prev` is not the hash of the record before
  - RecordErasedError: an owner has had this record's body destroyed
  - DocumentConflictError: another version of the account document is next
  - DocumentInvalidError: an account document breaks a rule
  - SuiteUnknownError: written with another suite than this program knows
  - SignatureInvalidError: not signed by the key it names
  - StorageError: the disk or the database failed
    + StorageFullError: there is no room
    + StorageCorruptError: the file is damaged
    + StorageForeignError: the file is another program's
    + SchemaTooNewError: the file is from a newer version of this program
    + StorageBusyError: another process holds the database too long
    + FenceBrokenError: an earlier write, which this one builds on, failed
"""

from typing import ClassVar


class ServerError(Exception):
    """Base of every deliberate error of the host."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500


class InvalidRequestError(ServerError):
    """A request, or a value in it, is not in its form."""

    code = "invalid-request"
    status = 400


class MalformedRecordError(ServerError):
    """The bytes are no record."""

    code = "malformed-record"
    status = 400


class LimitExceededError(ServerError):
    """There is more of something than the host takes."""

    code = "limit-exceeded"
    status = 413


class SeqConflictError(ServerError):
    """The log expects another seq, or holds other bytes at this one."""

    code = "seq-conflict"
    status = 409

    def __init__(self, *, expected_seq: int, got_seq: int) -> None:
        """Say both numbers."""
        super().__init__(f"log expects seq {expected_seq}, got {got_seq}")
        self.expected_seq = expected_seq
        self.got_seq = got_seq


class ChainBrokenError(ServerError):
    """The record does not follow the one before it."""

    code = "chain-broken"
    status = 409


class RecordErasedError(ServerError):
    """An owner has had this record's body destroyed; it is not taken back."""

    code = "record-erased"
    status = 410


class DocumentConflictError(ServerError):
    """The account document has moved on, or other bytes stand at this version."""

    code = "document-conflict"
    status = 409

    def __init__(self, *, expected_version: int, got_version: int) -> None:
        """Say both numbers."""
        super().__init__(
            f"account document version {expected_version} is next, got {got_version}"
        )
        self.expected_version = expected_version
        self.got_version = got_version


class DocumentInvalidError(ServerError):
    """An account document is not in its form, or breaks a rule."""

    code = "document-invalid"
    status = 400


class SuiteUnknownError(ServerError):
    """Something has another suite than this program knows: a newer one wrote it."""

    code = "suite-unknown"
    status = 400


class SignatureInvalidError(ServerError):
    """A signature does not verify under the key that should have made it."""

    code = "signature-invalid"
    status = 403


class StorageError(ServerError):
    """The disk or the database failed, and the write is not acknowledged.

    It is not to be seen either. Yet where the commit itself failed, a later
    start may find it stored: whoever repeats a write must expect that.
    """

    code = "storage-failed"
    status = 503


class StorageFullError(StorageError):
    """There is no room. What was stored is intact; the write works with more room."""

    code = "storage-full"
    status = 507


class StorageBusyError(StorageError):
    """Another process kept the database from writing for too long."""

    code = "storage-busy"


class StorageCorruptError(StorageError):
    """The database file is damaged."""

    code = "storage-corrupt"
    status = 500


class StorageForeignError(StorageError):
    """The file is no database of this program."""

    code = "storage-foreign"
    status = 500


class SchemaTooNewError(StorageError):
    """The database was written by a newer version of this program."""

    code = "schema-too-new"
    status = 500


class FenceBrokenError(StorageError):
    """An earlier write under the same fence failed, so this one was not tried."""

    code = "fence-broken"

    def __init__(self, cause: BaseException) -> None:
        """Carry the failure of the earlier write."""
        super().__init__(f"an earlier write failed: {cause}")
        self.cause = cause
