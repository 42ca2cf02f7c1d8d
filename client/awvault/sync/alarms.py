"""What a host was caught at, in words, and what to do about it.

docs/operations/incidents.md has a paragraph for each name.
"""

from enum import StrEnum
from typing import Final

from awserver.documents import NO_KEY
from awserver.records import ClientId
from awvault.errors import (
    Error,
    ForkError,
    HostRefusedError,
    NewSecretNeededError,
    RollbackError,
    UnsupportedSuiteError,
    VaultDamagedError,
    WithheldError,
)
from awvault.protocol.account import VerifiedAccount
from awvault.remote import SENTENCE_CHARS_MAX, Alarm, Remote


class Name(StrEnum):
    """What an alarm is about. Names never change: scripts look for them."""

    WRONG_ACCOUNT = "wrong-account"
    """The host gave a session of another account."""
    CLIENT_REFUSED = "client-refused"
    """The host does not know this client, or not any more."""
    DOCUMENTS_ROLLED_BACK = "documents-rolled-back"
    DOCUMENTS_FORKED = "documents-forked"
    DOCUMENTS_INVALID = "documents-invalid"
    DOCUMENTS_WITHHELD = "documents-withheld"
    NEW_SECRET_NEEDED = "new-secret-needed"  # noqa: S105 - no secret
    """The owner has to type the account's new passphrase here."""
    LOG_ROLLED_BACK = "log-rolled-back"
    LOG_FORKED = "log-forked"
    LOG_WITHHELD = "log-withheld"
    LOG_INVALID = "log-invalid"
    """A record breaks a rule."""
    LOG_DAMAGED_HERE = "log-damaged-here"
    """This disk is at fault, and not the host."""
    OWN_LOG_SHORTENED = "own-log-shortened"
    OWN_LOG_ELSEWHERE = "own-log-elsewhere"
    """The host has records of this client that this client did not make."""
    OWN_LOG_REFUSED = "own-log-refused"
    """The host does not take this client's records."""
    RECOVERY_CHANGED = "recovery-changed"
    """Other recovery words count than the owner was told of here."""
    UPDATE_NEEDED = "update-needed"
    """A newer program wrote something."""


NOT_INTEGRITY: Final = frozenset(
    {
        Name.CLIENT_REFUSED,
        Name.NEW_SECRET_NEEDED,
        Name.OWN_LOG_REFUSED,
        Name.RECOVERY_CHANGED,
        Name.UPDATE_NEEDED,
    }
)
"""Alarms that say nothing about what the host stores."""

_REPAIR: Final = "run `awvault repair` here: it puts back what this client holds"

_REPAIRS: Final = {
    Name.WRONG_ACCOUNT: "nothing was believed; ask whoever runs the host",
    Name.CLIENT_REFUSED: (
        "if the host was restored from a backup, `awvault repair`; if this client was"
        " revoked, its data stays here, and `awvault login` makes it a new client"
    ),
    Name.DOCUMENTS_ROLLED_BACK: _REPAIR,
    Name.DOCUMENTS_FORKED: (
        "compare the account document in `awvault status` on all your clients, and"
        " change nothing of the account until they agree: docs/operations/incidents.md"
    ),
    Name.DOCUMENTS_INVALID: "nothing was believed; ask whoever runs the host",
    Name.DOCUMENTS_WITHHELD: (
        "sync again; then run `awvault repair` on a client that has the change"
    ),
    Name.NEW_SECRET_NEEDED: "prove the new passphrase with `awvault passphrase check`",
    Name.LOG_ROLLED_BACK: _REPAIR,
    Name.LOG_FORKED: (
        "two histories of one client exist: keep both machines as they are, and see"
        " docs/operations/incidents.md"
    ),
    Name.LOG_WITHHELD: (
        "run `awvault repair` on a client that has these records: the one whose log it"
        " is, or any that received them"
    ),
    Name.LOG_INVALID: (
        "nothing of it was believed; whoever runs the host restores a backup, then run"
        " `awvault repair` on a client that has the log"
    ),
    Name.LOG_DAMAGED_HERE: "`awvault verify` names the place; restore a backup",
    Name.OWN_LOG_SHORTENED: (
        "nothing: this client uploads its records again; tell whoever runs the host"
    ),
    Name.OWN_LOG_ELSEWHERE: (
        "nothing more is uploaded from here. If this machine was restored or copied,"
        " run `awvault login` on it: it becomes a client of its own"
    ),
    Name.OWN_LOG_REFUSED: "the events stay here; what the host says tells what to do",
    Name.RECOVERY_CHANGED: (
        "if a change was refused or not answered here, the words of that one count now."
        " If you have them, `awvault passphrase check` ends this; if not, `awvault"
        " recovery new` makes others"
    ),
    Name.UPDATE_NEEDED: "update this program",
}


class Alarms:
    """What one round found. One of a kind for each log; the first counts."""

    def __init__(self) -> None:
        """Begin without any."""
        self._found: dict[tuple[str, str | None], Alarm] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def all(self) -> list[Alarm]:
        """Return them in the order in which they were found."""
        return list(self._found.values())

    def of_log(self, client_id: ClientId) -> bool:
        """Say whether there is one about a log."""
        return any(client == client_id.hex() for _, client in self._found)

    def add(self, name: Name, sentence: str, client_id: ClientId | None = None) -> None:
        """Note one."""
        alarm = Alarm(
            name=name,
            client_id=None if client_id is None else client_id.hex(),
            sentence=sentence[:SENTENCE_CHARS_MAX],
            repair=_REPAIRS[name],
            since_us=0,
        )
        self._found.setdefault(alarm.key, alarm)

    def add_recovery(self, remote: Remote, account: VerifiedAccount) -> None:
        """Note that other recovery words count than the owner was told of."""
        document = account.document
        told = remote.recovery_told
        if told is None or told == document.recovery_login_public:
            return
        self.add(
            Name.RECOVERY_CHANGED,
            f"version {document.version} of the account has other recovery words than"
            " those that were confirmed here",
        )

    def add_log_error(self, client_id: ClientId, error: Error) -> None:
        """Note what is wrong with the log of a client."""
        match error:
            case UnsupportedSuiteError():
                name = Name.UPDATE_NEEDED
            case VaultDamagedError():
                name = Name.LOG_DAMAGED_HERE
            case RollbackError():
                name = Name.LOG_ROLLED_BACK
            case ForkError():
                name = Name.LOG_FORKED
            case WithheldError():
                name = Name.LOG_WITHHELD
            case _:
                name = Name.LOG_INVALID
        self.add(name, str(error), client_id)

    def add_document_error(self, error: Error) -> None:
        """Note what is wrong with the account documents."""
        match error:
            case UnsupportedSuiteError():
                name = Name.UPDATE_NEEDED
            case NewSecretNeededError():
                name = Name.NEW_SECRET_NEEDED
            case RollbackError():
                name = Name.DOCUMENTS_ROLLED_BACK
            case ForkError():
                name = Name.DOCUMENTS_FORKED
            case WithheldError():
                name = Name.DOCUMENTS_WITHHELD
            case _:
                name = Name.DOCUMENTS_INVALID
        self.add(name, str(error))

    def add_mention_error(self, error: ForkError | WithheldError) -> None:
        """Note what a client's mention proves, of the log or document it is about."""
        if error.client_id is None:
            self.add_document_error(error)
        else:
            self.add_log_error(error.client_id, error)

    def add_refusal(self, client_id: ClientId, error: HostRefusedError) -> None:
        """Note that the host does not take this client's records."""
        self.add(Name.OWN_LOG_REFUSED, f"{error} ({error.code})", client_id)


def is_integrity(alarm: Alarm) -> bool:
    """Say whether an alarm is about what the host stores or shows."""
    return alarm.name not in NOT_INTEGRITY


def recovery_key_of(account: VerifiedAccount) -> bytes | None:
    """Return the recovery-login key that counts; None: the account has none."""
    key = account.document.recovery_login_public
    return None if key == NO_KEY else key
