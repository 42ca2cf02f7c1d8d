"""Errors that the vault raises on purpose, split by who is wrong.

Hierarchy:

* Error
  - TransportError: nobody is wrong; the host was not reached, a retry may help
  - HostRefusedError: we are wrong; the host said no, with a code
  - IntegrityError: whoever keeps the data is; an honest one cannot show this
    + MalformedError: bytes that are not what they should be
    + DocumentError: an account document breaks the rules of its chain
    + SignatureError: not signed by the key that should have signed
    + SealError: a seal does not open: altered, moved, or another key
    + GapError: records are missing from the middle
    + ChainError: a record or document does not follow the one before it
    + WrongPlaceError: it belongs to another account, client or seq
    + EpochError: an epoch that the account document does not name, or a past one
    + RollbackError: less is shown than was verified before
    + VaultDamagedError: the data directory lacks a part that it must have
  - UnsupportedSuiteError: nobody is wrong; a newer client wrote it: update this one
  - WrongPassphraseError: the passphrase is another one
  - PayloadError: a good seal holds nonsense: the client that sealed it is faulty
  - InvalidInputError: the caller is wrong
    + LimitError: more of something than is taken
  - NotFoundError: what was asked for is not there
    + BucketNotFoundError
  - BucketExistsError
  - VaultLockedError: another process holds the data directory
  - VaultClosedError: the vault was closed
"""

from datetime import datetime
from pathlib import Path


class Error(Exception):
    """Base of every deliberate error of the vault."""


class TransportError(Error):
    """The host was not reached, or the connection broke. A retry may help."""


class HostRefusedError(Error):
    """The host said no, with a stable code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


class IntegrityError(Error):
    """Stored data is not what its owner sealed and signed.

    Never retry past it and never skip it. What was verified before stays, and
    nothing of what came with the failure is believed.
    """


class MalformedError(IntegrityError):
    """The bytes are not of the form they must have."""


class DocumentError(IntegrityError):
    """An account document breaks a rule (docs/protocol/account-document.md)."""


class SignatureError(IntegrityError):
    """A signature is not by the key that should have made it."""


class SealError(IntegrityError):
    """A seal did not open.

    One error for every cause (altered, moved, truncated, another key, a wrong
    commitment): which it was is not to be told apart.
    """


OpenError = SealError
"""Its other name, where the reading side speaks."""


class GapError(IntegrityError):
    """A record is not the next of its log."""

    def __init__(self, *, expected: int, got: int) -> None:
        super().__init__(f"the log's next record is {expected}, got {got}")
        self.expected = expected
        self.got = got


class ChainError(IntegrityError):
    """Something does not name the hash of what stands before it."""


class WrongPlaceError(IntegrityError):
    """Something belongs to another account, client or position."""


class EpochError(IntegrityError):
    """An epoch that no account document names, or one below the log's last."""


class RollbackError(IntegrityError):
    """Less is shown than was verified before."""

    def __init__(self, what: str, *, verified: int, offered: int) -> None:
        super().__init__(
            f"{what}: verified up to {verified} before, offered up to {offered}"
        )
        self.verified = verified
        self.offered = offered


class VaultDamagedError(IntegrityError):
    """The data directory lacks a part that it must have."""


class UnsupportedSuiteError(Error):
    """Sealed or signed under a suite that this program does not know.

    Another client may be newer, so this alone is no evidence of tampering.
    """

    def __init__(self, what: str, *, suite: int, known: int) -> None:
        super().__init__(
            f"{what} has suite {suite}, this program knows {known}: update it"
        )
        self.suite = suite
        self.known = known


class WrongPassphraseError(Error):
    """The passphrase is not the one that the account was locked with."""

    def __init__(self) -> None:
        super().__init__("this is not the passphrase of this vault")


class PayloadError(Error):
    """What was inside a good seal is wrong: the client that sealed it is faulty."""


class InvalidInputError(Error):
    """The caller passed something that cannot be; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class LimitError(InvalidInputError):
    """There is more of something than is taken."""


class NotFoundError(Error):
    """What was asked for is not there."""


class BucketNotFoundError(NotFoundError):
    """There is no bucket of that name."""

    def __init__(self, bucket_id: str) -> None:
        super().__init__(f'there is no bucket named "{bucket_id}"')
        self.bucket_id = bucket_id


class BucketExistsError(Error):
    """There is a bucket of that name already."""

    def __init__(self, bucket_id: str) -> None:
        super().__init__(f'there is a bucket named "{bucket_id}" already')
        self.bucket_id = bucket_id


class VaultLockedError(Error):
    """Another process holds the data directory."""

    def __init__(
        self, path: Path, *, pid: int | None, started: datetime | None
    ) -> None:
        who = "another process" if pid is None else f"process {pid}"
        since = "" if started is None else f" since {started.isoformat()}"
        super().__init__(f'the data directory "{path}" is held by {who}{since}')
        self.path = path
        self.pid = pid
        self.started = started


class VaultClosedError(Error):
    """The vault was closed; nothing more can be asked of it."""

    def __init__(self) -> None:
        super().__init__("the vault is closed")
