"""Errors that the vault raises on purpose, split by who is wrong.

Hierarchy:

* Error
  - TransportError: could not talk to a host; trying again may help
    + NoAnswerError: a change was sent, and nobody can tell whether it counts
    + HostBusyError: the host cannot do it for the moment
    + CertificateError: the host does not show that it is the one asked for
    + MalformedAnswerError: what answered does not speak this protocol
  - HostRefusedError: the host said no, with a code
    + EditRefusedError: to a change of the account, which it may have kept
  - LoginRefusedError: the host does not take a username with a passphrase
  - EditConflictError: other clients kept changing the account
  - UnsupportedSuiteError: written by a newer client; update this one
  - WrongPassphraseError: the passphrase opens no slot of this vault
  - WrongRecoveryKeyError: the recovery key opens no slot of this account
  - NewSecretNeededError: the account's keys were replaced; its new passphrase is due
  - NotEnoughMemoryError: the machine cannot spare what unlocking takes
  - InvalidInputError: the caller is wrong, in the field that is named
    + LimitError: more of something than is kept
    + RecoveryWordsError: the words are no recovery key
    + WeakPassphraseError: a host could guess the passphrase
  - NotFoundError
    + BucketNotFoundError
    + NoRemoteError: the vault has no host
      * LoggedOutError: a host keeps the account, and the vault has left it
  - MissingPackageError: an optional package is not installed
  - VaultLockedError: another process holds the data directory
  - VaultClosedError: the vault was closed
  - PayloadError: sealed well, but wrong inside: a faulty client wrote it
  - IntegrityError: what is stored, or served, is not what an owner sealed
    + MalformedError: the bytes are not of the form they must have
    + DocumentError: an account document breaks a rule
    + SealError: does not open under its key at its place
    + SignatureError: not signed by the client that it names
    + WrongPlaceError: of another account or client than asked for
    + GapError: a seq is missing, or comes twice
    + ChainError: does not follow the record before it
    + EpochError: of an epoch that the account document does not name
    + RevokedError: after the end that the owner set for its client
    + BodyMissingError: a body is gone that no owner had destroyed
    + RollbackError: less is shown than was verified before
    + ForkError: two records stand at one place, or two documents at one version
    + WithheldError: a client has seen what the host does not supply
    + AccountDisputedError: nothing of the account is changed while its documents are
      forked, or fewer than before
    + VaultDamagedError: a part that the vault cannot do without is missing

Storage failures are `awserver.errors.StorageError`.
"""

from datetime import datetime
from typing import Final, Self

from awserver.records import ClientId


class Error(Exception):
    """Base of every deliberate error of the vault."""


class TransportError(Error):
    """A host could not be reached; trying again may help."""


class HostBusyError(TransportError):
    """A host cannot do it for the moment: too many requests, or it has failed."""

    def __init__(
        self, message: str, *, code: str, retry_seconds: float | None = None
    ) -> None:
        """Keep the host's code, and how long it asks to wait."""
        super().__init__(message)
        self.code = code
        self.retry_seconds = retry_seconds


class NoAnswerError(TransportError):
    """A change was sent and not answered, and nobody can tell whether it counts."""

    def __init__(self, message: str, *, hint: str) -> None:
        """Say what was sent, and how to find out."""
        super().__init__(message)
        self.hint = hint


class CertificateError(TransportError):
    """A host does not show that it is the one that was asked for."""


class MalformedAnswerError(TransportError):
    """What answered does not speak this protocol, or says more than it may.

    Nothing of the answer was used. A network that puts its own pages in the
    place of others does this too, so it is no sign of a lie about the data.
    """


_ADDRESS_HINT: Final = (
    "the address counts too: use the one that whoever runs the host gives, letter for"
    " letter (http://localhost is another than http://127.0.0.1)"
)
_REFUSAL_HINTS: Final = {
    "proof-refused": _ADDRESS_HINT,
    "registration-closed": "whoever runs the host lets people in, or does not",
    "username-taken": "choose another --username",
}
"""What to do about a refusal, by the host's code."""


class HostRefusedError(Error):
    """A host refused a request."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        expected_seq: int | None = None,
        expected_version: int | None = None,
    ) -> None:
        """Keep the host's stable code, and of a conflict what it expected."""
        super().__init__(message)
        self.code = code
        self.hint = _REFUSAL_HINTS.get(code)
        self.expected_seq = expected_seq
        self.expected_version = expected_version


KEEP_BOTH: Final = (
    "keep both, the passphrase or words of before and the new ones, until `awvault"
    " status` says which count"
)
"""What to do while nobody can tell whether a change of them counts."""


class EditRefusedError(HostRefusedError):
    """A host refused a change of the account.

    It is signed, so a host that says no and keeps it can bring it up later.
    """

    def __init__(self, refused: HostRefusedError) -> None:
        """Keep what the host said."""
        super().__init__(
            str(refused),
            code=refused.code,
            expected_seq=refused.expected_seq,
            expected_version=refused.expected_version,
        )
        keep = f"{KEEP_BOTH}: a host that says no may have taken the change"
        self.hint = keep if refused.hint is None else f"{refused.hint}; {keep}"


class EditConflictError(Error):
    """Other clients changed the account each time that this one tried to."""

    def __init__(self, *, tries: int) -> None:
        """Say how often."""
        super().__init__(
            f"other clients changed the account {tries} times while this one tried to:"
            " try again"
        )
        self.tries = tries


class UnsupportedSuiteError(Error):
    """Something was written with a newer suite or version than this one knows."""


class WrongPassphraseError(Error):
    """The passphrase opens no slot of this vault."""

    def __init__(
        self, which: str = "this passphrase", *, hint: str | None = None
    ) -> None:
        """Say `which` passphrase was tried, and what to do about it."""
        super().__init__(f"{which} does not open the vault")
        self.hint = hint


class WrongRecoveryKeyError(Error):
    """The recovery key opens no slot of this account."""

    def __init__(self) -> None:
        """Say what it may be."""
        super().__init__(
            "this recovery key does not open the account: it is of another account,"
            " or a newer one took its place"
        )


class InvalidInputError(Error):
    """What a caller gave cannot be taken; `field` names the place."""

    def __init__(self, field: str, message: str) -> None:
        """Name the field and say what is wrong with it."""
        super().__init__(message)
        self.field = field

    def within(self, place: str) -> Self:
        """Return the same error for a field inside `place`."""
        field = f"{place}.{self.field}" if self.field else place
        return type(self)(field, str(self))


class LimitError(InvalidInputError):
    """There is more of something than is kept."""


class RecoveryWordsError(InvalidInputError):
    """The words are no recovery key. No word is ever quoted."""

    def __init__(self, message: str, *, place: int | None = None) -> None:
        """Say what is wrong; `place`: with which word, counted from 1."""
        super().__init__("recovery key", message)
        self.place = place


class WeakPassphraseError(InvalidInputError):
    """Whoever has the host's tables could guess the passphrase."""

    def __init__(self, *, bits: float, bits_min: int) -> None:
        """Say both numbers."""
        super().__init__(
            "passphrase",
            f"the passphrase is worth about {bits:.0f} bits, at least {bits_min} are"
            " needed where a host keeps what it opens",
        )
        self.bits = bits
        self.bits_min = bits_min


class NotFoundError(Error):
    """There is no such thing."""


class LoginRefusedError(Error):
    """A host does not take a username with a secret: either may be another."""

    def __init__(self, username: str, origin: str, secret: str) -> None:
        """Name what was tried, as it was typed, and the kind of secret."""
        super().__init__(
            f'{origin} does not take the username "{username}" with this {secret}:'
            " one of the two is another, or the host goes by another address"
        )
        self.hint = _ADDRESS_HINT


class BucketNotFoundError(NotFoundError):
    """There is no such bucket."""

    def __init__(self, bucket_id: str) -> None:
        """Name the bucket, in the words that ActivityWatch uses."""
        super().__init__(f"There's no bucket named {bucket_id}")
        self.bucket_id = bucket_id


class MissingPackageError(Error):
    """Something was asked for that needs a package which is not installed."""

    def __init__(self, package: str) -> None:
        """Name it."""
        super().__init__(f'this needs the package "{package}", which is not installed')
        self.package = package
        self.hint = f"pip install {package}"


class NoRemoteError(NotFoundError):
    """The vault has no host."""

    def __init__(self, message: str = "this vault has no remote host") -> None:
        """Say so."""
        super().__init__(message)
        self.hint = "`awvault register URL` or `awvault login URL` gives it one"


class LoggedOutError(NoRemoteError):
    """A host keeps the account, and this vault has left it: nothing is changed.

    A version that is made here alone would follow the one that is known here. The
    host may take another in its place, and then no client could ever follow both.
    """

    def __init__(self, username: str) -> None:
        """Say how to go back."""
        super().__init__(
            f'this vault has left the host that keeps the account "{username}":'
            " the account can be changed only there"
        )
        self.hint = (
            f"`awvault login URL --username {username}` goes back to it;"
            f" `awvault register URL --username {username}` takes the account to"
            " another host, if it is gone"
        )


class VaultLockedError(Error):
    """Another process holds the data directory."""

    def __init__(self, path: str, *, pid: int | None, started: datetime | None) -> None:
        """Name the process, where it is known."""
        who = "another process" if pid is None else f"process {pid}"
        since = "" if started is None else f" since {started.isoformat()}"
        super().__init__(f'"{path}" is in use by {who}{since}')
        self.path = path
        self.pid = pid
        self.started = started


class VaultClosedError(Error):
    """The vault was closed."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("the vault is closed")


class NewSecretNeededError(Error):
    """Every key of the account was replaced, and its new secret was not typed here.

    Events are kept in the journal until it is.
    """

    def __init__(self, *, epoch: int) -> None:
        """Name the epoch that has begun."""
        super().__init__(
            f"the account's keys were replaced on another client (epoch {epoch}):"
            " its new passphrase is needed here"
        )
        self.epoch = epoch
        self.hint = "prove it with `awvault passphrase check`"


class NotEnoughMemoryError(Error):
    """Argon2id did not get its memory. With more of it free, it will."""

    def __init__(self, needed_bytes: int) -> None:
        """Say how much."""
        super().__init__(
            f"unlocking needs {needed_bytes} bytes of free memory for a moment"
        )
        self.needed_bytes = needed_bytes


class PayloadError(Error):
    """Sealed well, but wrong inside: the client that wrote it is faulty."""


class IntegrityError(Error):
    """What is stored or served is not what an owner sealed.

    Never retried, never skipped: the log stops where it was last right.
    """


class MalformedError(IntegrityError):
    """The bytes are not of the form they must have."""


class DocumentError(IntegrityError):
    """An account document breaks a rule (docs/protocol/account-document.md)."""


class SealError(IntegrityError):
    """Does not open under its key at its place. All causes look the same."""


class SignatureError(IntegrityError):
    """Not signed by the client that it names."""


class WrongPlaceError(IntegrityError):
    """Belongs to another account or client than the one it was given as."""


class GapError(IntegrityError):
    """A record is missing from the middle, or stands there twice."""

    def __init__(self, *, expected: int, got: int) -> None:
        """Say both numbers."""
        super().__init__(f"record {expected} is next, got {got}")
        self.expected = expected
        self.got = got


class ChainError(IntegrityError):
    """Does not follow the record before it."""


class EpochError(IntegrityError):
    """Of an epoch that the account document does not name."""


class RevokedError(IntegrityError):
    """A record after the end that the owner set for its client."""


class BodyMissingError(IntegrityError):
    """The body of a record is gone, and no owner had it destroyed."""


class AccountDisputedError(IntegrityError):
    """The host shows another chain of account documents: nothing is changed on it.

    A change would make two accounts of one, which nobody could join again.
    """

    def __init__(self, alarm: str) -> None:
        """Name the alarm that stands."""
        super().__init__(
            f"nothing of the account is changed while the alarm {alarm} stands"
        )
        self.hint = (
            "`awvault status` says what to do about it; the alarm ends with the next"
            " `awvault sync` that finds the host well"
        )


class RollbackError(IntegrityError):
    """Less is shown than was verified before."""

    def __init__(self, what: str, *, verified: int, offered: int) -> None:
        """Say both numbers."""
        super().__init__(
            f"{what}: verified up to {verified} before, now offered {offered}"
        )
        self.verified = verified
        self.offered = offered


class ForkError(IntegrityError):
    """One place in a log, or one version of the account document, has two contents.

    The host shows different clients different data, or two copies of one client
    are in use.
    """

    def __init__(self, what: str, *, client_id: ClientId | None = None) -> None:
        """Say what there are two of; `client_id`: whose log it is."""
        super().__init__(f"there are two of {what}")
        self.client_id = client_id


class WithheldError(IntegrityError):
    """A client's record speaks of something that the host does not supply."""

    def __init__(
        self,
        what: str,
        *,
        mentioned: int,
        offered: int,
        client_id: ClientId | None = None,
    ) -> None:
        """Say both numbers; `client_id`: whose log it is."""
        super().__init__(
            f"{what}: a client has seen it up to {mentioned},"
            f" the host offers it up to {offered}"
        )
        self.mentioned = mentioned
        self.offered = offered
        self.client_id = client_id


class VaultDamagedError(IntegrityError):
    """A part that the vault cannot do without is missing."""

    hint: str | None = None
    """What to do, where that is more than to verify."""
