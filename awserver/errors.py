"""Errors that the host raises on purpose, each with its wire code and status.

Hierarchy:

* ServerError
  - InvalidRequestError: a request, or a value in it, is not in its form
  - NotFoundError: there is nothing at this address
  - MethodNotAllowedError: the address takes other methods
  - OriginRefusedError: a web page of another site asked
  - MediaTypeError: a body in another form than this address takes
  - BodyTimeoutError: a body came too slowly
  - HostBusyError: there is no room for the request at the moment
  - MalformedRecordError: bytes that are no record
  - LimitExceededError: more than the host takes
  - SeqConflictError: another seq is next, or other bytes stand at this one
  - ChainBrokenError: `prev` is not the hash of the record before
  - RecordErasedError: an owner has had this record's body destroyed
  - DocumentConflictError: another version of the account document is next
  - DocumentInvalidError: an account document breaks a rule
  - SuiteUnknownError: written with another suite than this program knows
  - SignatureInvalidError: not signed by the key it names
  - ClientUnknownError: the account document names no such client
  - ClientRevokedError: the client's owner has ended it
  - EpochUnknownError: the account document names no such epoch
  - QuotaExceededError: the account has no room left
  - ProofRefusedError: not proven, whatever was wrong
  - SessionInvalidError: the token is that of no session
  - SessionUnknownError: there is no such session to end
  - AccountUnknownError: there is no such account
  - AccountDisabledError: whoever runs the host does not serve this account
  - AccountExistsError: the account is here already
  - AccountDeletingError: the account's rows are still being deleted
  - UsernameTakenError: another account has this name
  - RegistrationClosedError: the host takes no new accounts
  - InviteInvalidError: the invitation is unknown, used or too old
  - RateLimitedError: too many tries for the moment
  - NotSupportedError: this version does not do that
  - StoreReadOnlyError: this store takes nothing, for it follows another host
  - StorageError: the disk or the database failed
    + StorageFullError: there is no room
    + StorageCorruptError: the file is damaged
    + StorageForeignError: the file is another program's
    + SchemaTooNewError: the file is from a newer version of this program
    + StorageBusyError: another process holds the database too long
    + FenceBrokenError: an earlier write, which this one builds on, failed
* OperatorError: for whoever runs the program, and never sent to anyone
  - SettingsError: a setting is unknown, malformed or of no use
  - StartError: the host cannot start
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


class NotFoundError(ServerError):
    """There is nothing at this address."""

    code = "not-found"
    status = 404


class MethodNotAllowedError(ServerError):
    """The address takes other methods than this one."""

    code = "method-not-allowed"
    status = 405

    def __init__(self, *, allow: str) -> None:
        """Say which."""
        super().__init__(f"this address takes {allow}")
        self.allow = allow


class OriginRefusedError(ServerError):
    """A web page of another site asked, or one that rebound its name."""

    code = "origin-refused"
    status = 403


class MediaTypeError(ServerError):
    """A body has another type or encoding than this address takes."""

    code = "media-type-unknown"
    status = 415


class BodyTimeoutError(ServerError):
    """A body came too slowly."""

    code = "body-timeout"
    status = 408


class HostBusyError(ServerError):
    """There is no room for the request at the moment; nothing of it was done."""

    code = "host-busy"
    status = 503

    def __init__(self, *, retry_seconds: int) -> None:
        """Say how long to wait, for `Retry-After`."""
        super().__init__(f"the host is busy: try again in {retry_seconds} s")
        self.retry_seconds = retry_seconds


class MalformedRecordError(ServerError):
    """The bytes are no record."""

    code = "malformed-record"
    status = 400

    def __init__(self, message: str, *, suite: int | None = None) -> None:
        """Say why not; `suite`: they may be one of another suite, which is unknown."""
        super().__init__(message)
        self.suite = suite


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


class ClientUnknownError(ServerError):
    """The newest account document names no such client."""

    code = "client-unknown"
    status = 403


class ClientRevokedError(ServerError):
    """The client was revoked, and this is beyond the end that its owner set."""

    code = "client-revoked"
    status = 403


class EpochUnknownError(ServerError):
    """The record is of an epoch that the newest account document does not name."""

    code = "epoch-unknown"
    status = 409


class QuotaExceededError(ServerError):
    """The account has no room for this. Nothing of it was stored."""

    code = "quota-exceeded"
    status = 413

    def __init__(self, *, quota_bytes: int, needed_bytes: int) -> None:
        """Say both numbers."""
        super().__init__(
            f"the account may store {quota_bytes} bytes, this would make it"
            f" {needed_bytes}"
        )
        self.quota_bytes = quota_bytes
        self.needed_bytes = needed_bytes


class ProofRefusedError(ServerError):
    """A proof was not taken. It never says why: that would help to guess."""

    code = "proof-refused"
    status = 401

    def __init__(self) -> None:
        """Say the one thing that is ever said."""
        super().__init__(
            "the proof was refused: the username, the passphrase or the address of"
            " the host is another one, or the nonce was used or is too old"
        )


class SessionInvalidError(ServerError):
    """The token is that of no session: it never was, or it has ended."""

    code = "session-invalid"
    status = 401

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__("the session has ended or never was: prove yourself again")


class SessionUnknownError(ServerError):
    """The account has no such session."""

    code = "session-unknown"
    status = 404


class AccountUnknownError(ServerError):
    """The host has no such account."""

    code = "account-unknown"
    status = 404


class AccountDisabledError(ServerError):
    """Whoever runs the host has disabled the account. What it stored is there."""

    code = "account-disabled"
    status = 403

    def __init__(self) -> None:
        """Say who can help."""
        super().__init__("the account is disabled: ask whoever runs this host")


class AccountExistsError(ServerError):
    """The account is on this host already."""

    code = "account-exists"
    status = 409


class AccountDeletingError(ServerError):
    """The account was deleted, and its rows are not all gone yet."""

    code = "account-deleting"
    status = 409

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__("the account is being deleted: try again in a while")


class UsernameTakenError(ServerError):
    """Another account of this host has the username."""

    code = "username-taken"
    status = 409


class RegistrationClosedError(ServerError):
    """The host takes no new accounts, or none without an invitation."""

    code = "registration-closed"
    status = 403


class InviteInvalidError(ServerError):
    """The invitation is unknown, was used, or is too old."""

    code = "invite-invalid"
    status = 403

    def __init__(self) -> None:
        """Say who can help."""
        super().__init__(
            "the invitation is unknown, was used or has expired: ask whoever runs"
            " this host for a new one"
        )


class RateLimitedError(ServerError):
    """There were too many tries; later ones are taken again."""

    code = "rate-limited"
    status = 429

    def __init__(self, *, retry_seconds: int) -> None:
        """Say how long to wait, for `Retry-After`."""
        super().__init__(f"too many requests: try again in {retry_seconds} s")
        self.retry_seconds = retry_seconds


class NotSupportedError(ServerError):
    """It is not possible with this version of the host."""

    code = "not-supported"
    status = 400


class StoreReadOnlyError(ServerError):
    """The store follows another host, and takes nothing by itself."""

    code = "read-only"
    status = 409


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


class OperatorError(Exception):
    """Whoever runs the program can mend this. It is printed, and sent to no one."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Say what is wrong, and what to do."""
        super().__init__(message)
        self.hint = hint


class SettingsError(OperatorError):
    """A setting is unknown, malformed, or names something that cannot be used."""


class StartError(OperatorError):
    """The host cannot start, or cannot be reached."""


class NoAccountError(OperatorError):
    """The host has no account of this name, nor of this id."""

    def __init__(self, name: str) -> None:
        """Say of which."""
        super().__init__(
            f'there is no account "{name}" on this host',
            hint="`aw-server admin accounts list` names them",
        )
