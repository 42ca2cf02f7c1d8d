"""Every operation of `awvault`, as one async object.

`Service` has two implementations that answer alike: `VaultService` works in this
process on an open vault, and `ControlClient` asks the process that holds the data
directory. Requests and answers are the types below; they are also what travels
between the two processes (control.py).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from awserver.errors import ServerError, StorageCorruptError, StorageFullError
from awvault import errors

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_INTEGRITY: Final = 4

DOCUMENT_HASH_DIGITS: Final = 20
"""Hex digits of an account document's hash that a person compares: 80 bits."""

EVENTS_LIMIT_MAX: Final = 1_000_000_000
"""More events than a vault holds; a larger number is a mistake."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything that an operation takes or gives."""


class Progress(Message, frozen=True):
    """How far a long operation is."""

    phase: str
    done: int
    # None: not known beforehand.
    total: int | None = None


OnProgress = Callable[[Progress], None]


def ignore_progress(_progress: Progress) -> None:
    """Take progress that nobody watches."""


class SecretMessage(Message, frozen=True):
    """Base of a request that holds a secret: it does not print.

    It travels in the body of a request to the control listener, and nowhere else.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} redacted>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class LendRequest(SecretMessage, frozen=True):
    """That a command wants the vault's files to itself for a while."""

    # What may open the vault after that; else it is what opened it before.
    passphrase: str


class ServerStatus(Message, frozen=True):
    """The running aw-server that holds the vault."""

    pid: int
    started: str
    url: str
    # Requests since then that were refused because they did not show the key.
    refused_without_key: int = 0
    # When the last of them came. None: none did.
    last_refused: str | None = None


class AlarmInfo(Message, frozen=True):
    """Something that the host was caught at, and has not made good yet."""

    # docs/operations/incidents.md has a paragraph for each.
    name: str
    # Whose log it is about. None: the account.
    client_id: str | None
    client_label: str | None
    sentence: str
    # What to do about it.
    repair: str
    since: str
    # True: it is about what the host stores or shows.
    integrity: bool


class IncidentInfo(Message, frozen=True):
    """That an alarm began, or ended."""

    at: str
    name: str
    client_id: str | None
    client_label: str | None
    sentence: str


class ClientStatus(Message, frozen=True):
    """One client of the account, as far as it was verified here."""

    client_id: str
    number: int
    label: str
    # True: the one that answers.
    own: bool
    revoked: bool
    records: int
    head_seq: int | None
    head_hash: str | None
    # When records of it last came here. None: never, or its own.
    last_seen: str | None
    # True: nothing came for three slots. Off, or withheld.
    silent: bool


class RemoteStatus(Message, frozen=True):
    """The exchange with the host of this vault."""

    url: str
    username: str
    # "live", "steady" or "daily".
    schedule: str
    # "new", "synced", "unreachable", "failed", "attention" or "alarm".
    state: str
    # When a round last came to its end. None: never.
    last_sync: str | None
    # None: at once, or only by `awvault sync`.
    next_upload: str | None
    # Records that are sealed here and not acknowledged there.
    pending_records: int
    # Why the last round did not come to its end. None: it did.
    failure: str | None
    alarms: list[AlarmInfo]
    # The last ones, oldest first.
    incidents: list[IncidentInfo]
    # True: a change of the account was sent, and whether it counts is not known.
    attempt_pending: bool = False


class Status(Message, frozen=True):
    """What is here and in what state."""

    data_dir: str
    account_id: str
    client_id: str
    client_number: int
    epoch: int
    document_version: int
    # The first 20 hex digits of its hash: equal on clients that know the same one.
    document_hash: str
    buckets: int
    events: int
    records: int
    # The sealed tail that is not yet in a record.
    journal_rows: int
    journal_events: int
    stored_bytes: int
    # What is damaged, in words. Empty: nothing that a start looks at.
    problems: list[str]
    clients: list[ClientStatus]
    # None: this vault has no host.
    remote: RemoteStatus | None
    # Where the passphrase of this run came from.
    passphrase_source: str
    # True: a file on this machine opens the vault, so the sealing protects copies
    # of the data directory and not this machine.
    machine_holds_passphrase: bool
    passphrase_file: str | None
    server: ServerStatus | None


class SyncResult(Message, frozen=True):
    """What a round with the host did."""

    pulled_records: int
    pulled_events: int
    # Of them those that a faulty client sealed, and nobody can read.
    unreadable_records: int
    pushed_records: int
    # "live", "steady" or "daily": but for the first, two records go with each round,
    # idle or not.
    schedule: str
    alarms: list[AlarmInfo]


class RepairResult(Message, frozen=True):
    """What was put back on the host."""

    documents: int
    records: int
    logs: int
    # Where the host holds something else, which was left as it is.
    conflicts: list[str]
    alarms: list[AlarmInfo]


class BucketInfo(Message, frozen=True):
    """One bucket."""

    id: str
    type: str
    client: str
    hostname: str
    created: str
    # The end of the newest event. None: it has none.
    last_updated: str | None
    events: int
    # The installation whose bucket it is, as its owner calls it.
    client_label: str
    # True: it is of the installation that answers.
    own: bool


class DeletedBucket(Message, frozen=True):
    """One bucket that was deleted: it is hidden, and nothing of it is lost."""

    # What `undelete` takes. A name may be that of several.
    number: int
    id: str
    type: str
    client: str
    hostname: str
    created: str
    # The end of the newest event. None: it has none.
    last_updated: str | None
    events: int
    client_label: str
    own: bool


class UndeleteRequest(Message, frozen=True):
    """A deleted bucket that shall come back."""

    # Its number, or its name if no other deleted bucket has that.
    bucket: str
    # The name it gets. None: its own, or one like it where that is used again.
    name: str | None = None
    # Deleted events of a bucket that is there; they come back and not the bucket.
    event_ids: list[int] = []


class Undeleted(Message, frozen=True):
    """A bucket that came back, or events of one."""

    bucket: str
    # The name it had.
    before: str
    # Those of the bucket, or those that came back.
    events: int


class EventsRequest(Message, frozen=True):
    """Which events of a bucket. Times in microseconds since 1970, UTC."""

    bucket: str
    start: int | None = None
    end: int | None = None
    # The newest so many. None: all.
    limit: int | None = None
    # Every revision of every event, those that were deleted too.
    history: bool = False


class QueryRequest(Message, frozen=True):
    """A query in ActivityWatch's language, and the periods it is asked for."""

    query: str
    # Two times in ISO 8601 with a slash between them.
    periods: list[str]


class AddRequest(Message, frozen=True):
    """One event to store."""

    bucket: str
    # A JSON object, as text.
    data: str
    # Microseconds since 1970, UTC. None: now.
    start: int | None = None
    # Microseconds. None: an event without an end.
    duration: int | None = None
    # Make the bucket with this type if it is missing. None: it must exist.
    bucket_type: str | None = None


class AddResult(Message, frozen=True):
    """What was stored."""

    id: int
    bucket: str
    bucket_created: bool
    timestamp: str


class ExportRequest(Message, frozen=True):
    """What to export. Times in microseconds since 1970, UTC."""

    # Empty: all.
    buckets: list[str] = []
    # Only events that overlap this range, and those whole. None: no bound.
    start: int | None = None
    end: int | None = None
    # "lines" or "activitywatch".
    form: str = "lines"


class BucketImported(Message, frozen=True):
    """What an import did in one bucket."""

    id: str
    created: bool
    events_read: int
    events_added: int
    # Events that were here already.
    events_present: int
    # Events that were here, and have gone on since.
    events_extended: int
    # Events that a filter took out.
    events_filtered: int
    # Events in which a filter replaced something. Not those that are here as they
    # were before the filter was set, for they stay so.
    events_changed: int
    # Events whose negative duration became 0.
    events_adjusted: int


class ImportResult(Message, frozen=True):
    """What an import did."""

    buckets_created: int
    events_added: int
    events_present: int
    events_extended: int
    events_filtered: int
    events_changed: int
    events_adjusted: int
    buckets: list[BucketImported]


class FilterRow(Message, frozen=True):
    """One privacy filter that is in force."""

    # Its place among all of them, from 1, as in a test of the rules in force.
    number: int
    # "config": of this machine's config.toml. "account": of the account.
    source: str
    # The rule as JSON.
    rule: str
    # Events, since the start of the process or the last change of the rules.
    dropped: int
    redacted: int
    # Of these, those for which its pattern took too long.
    too_slow: int


class FiltersInfo(Message, frozen=True):
    """The privacy filters in force, in order."""

    rules: list[FilterRow]
    # Why they are not known, so that nothing is stored. None: they are.
    problem: str | None


class FiltersRequest(Message, frozen=True):
    """The privacy filters that the account is to have."""

    # A JSON array.
    rules: str


class FilterTestRequest(Message, frozen=True):
    """Which rules to try, and on what."""

    # A JSON array. None: those in force.
    rules: str | None
    # None named: all.
    buckets: list[str]
    # Of each rule and bucket, how many events to tell.
    examples: int


class FilterTested(Message, frozen=True):
    """What one rule would have done to the events of one bucket."""

    # Its place among those that were tried, from 1.
    rule: int
    bucket: str
    events: int
    # The data of some of them.
    examples: list[str]


class FilterTestResult(Message, frozen=True):
    """What rules would have done to what is stored."""

    rules: list[str]
    # Events that were looked at.
    events: int
    dropped: int
    redacted: int
    tested: list[FilterTested]


class Finding(Message, frozen=True):
    """Something that verify found wrong."""

    # A dotted place, such as "record 5f3a… seq 12".
    where: str
    problem: str


class VerifyRequest(Message, frozen=True):
    """How much to check."""

    # The host too, if there is one.
    host: bool = True
    # On the host the bodies too, which is ten times as many bytes.
    full: bool = False


class HostVerified(Message, frozen=True):
    """How much was checked on the host, and what was wrong."""

    url: str
    documents: int
    records: int
    # 0, but where all bodies were asked for.
    bodies: int
    findings: list[Finding]
    # Why the host could not be checked. None: it was.
    unreachable: str | None


class VerifyResult(Message, frozen=True):
    """How much was checked, and what was wrong."""

    documents: int
    records: int
    signatures: int
    chain_links: int
    events: int
    journal_rows: int
    journal_events: int
    index_rows: int
    findings: list[Finding]
    # None: there is no host, or it was not asked for.
    host: HostVerified | None = None


class ClientUsage(Message, frozen=True):
    """One client's log."""

    client_id: str
    records: int
    stored_bytes: int


class UsageResult(Message, frozen=True):
    """What the vault takes."""

    records: int
    stored_bytes: int
    documents: int
    journal_rows: int
    journal_bytes: int
    index_rows: int
    index_bytes: int
    # The database with its write-ahead log, as the file system counts.
    file_bytes: int
    free_bytes: int
    clients: list[ClientUsage]


class HostRecordSize(Message, frozen=True):
    """How many records have a size. Sizes are padded."""

    stored_bytes: int
    records: int


class HostClientView(Message, frozen=True):
    """One client, as a host knows it."""

    client_id: str
    records: int
    stored_bytes: int
    head_seq: int
    head_hash: str
    # None: a host that was asked counts no sizes.
    sizes: list[HostRecordSize] | None


class HostClientKey(Message, frozen=True):
    """One client of an account, as the account document names it."""

    client_id: str
    number: int
    # Hex, as all keys here.
    public_key: str


class HostAccountView(Message, frozen=True):
    """One account, as a host knows it."""

    account_id: str
    username: str
    entries: int
    stored_bytes: int
    document_versions: int
    document_bytes: int
    keys_blob_bytes: int
    epoch: int
    salt: str
    login_public: str
    recovery_login_public: str
    signing_public: str
    client_keys: list[HostClientKey]
    clients: list[HostClientView]


class HostSession(Message, frozen=True):
    """One session, as a host knows it. Times are of the full hour."""

    id: str
    client_id: str
    created: str
    seen: str


class HostView(Message, frozen=True):
    """Everything that a host knows of its accounts, but for addresses and times."""

    accounts: list[HostAccountView]
    # Where this was fetched from; None: from the tables of this store.
    host: str | None = None
    quota_bytes: int | None = None
    sessions: list[HostSession] = []


class Check(Message, frozen=True):
    """One thing that doctor looked at."""

    name: str
    # "ok", "warn" or "fail".
    outcome: str
    detail: str
    # What to do about it. Empty when ok.
    hint: str = ""


class DoctorResult(Message, frozen=True):
    """What the process that holds the database can say of its health."""

    checks: list[Check]


class RegisterRequest(SecretMessage, frozen=True):
    """An account to be made known to a host."""

    # As it was typed.
    url: str
    username: str
    # The one that opens the vault now.
    passphrase: str
    # Another one for the account. None: it stays.
    new_passphrase: str | None = None
    # 24 words. Empty: only check whether it would work, and make them.
    recovery_words: str = ""
    invite: str | None = None
    # Plain http to another machine is good enough.
    insecure: bool = False


class Registered(Message, frozen=True):
    """An account that a host knows now."""

    url: str
    username: str
    account_id: str
    document_version: int
    # Whose recovery words count: "this try", "an earlier try" that had arrived after
    # all, or "before": the account had some already.
    recovery: str
    # As in `PassphraseResult`.
    passphrase_file: str | None
    passphrase_outdated: str | None


class Prepared(SecretMessage, frozen=True):
    """That registering would work, and the recovery key to write down."""

    recovery_words: str
    # Registered by now, and there are no words to write down.
    registered: Registered | None = None


class LoggedIn(Message, frozen=True):
    """A machine that is a client of an account now."""

    url: str
    username: str
    account_id: str
    client_id: str
    client_number: int
    # Of the account, this one included.
    clients: int
    # What had been recorded here before, and is the account's now.
    buckets_moved: int
    events_moved: int
    # What stays in the old database alone: records that a faulty client had sealed,
    # journal rows that do not open.
    unreadable_records: int
    left_rows: int
    # Where the database of before is kept. None: there was none.
    kept: str | None
    # True: it was a client of the account already.
    again: bool


class RemoteInfo(Message, frozen=True):
    """The host that keeps the account, as this client knows it."""

    # As it was typed, and what proofs are bound to.
    url: str
    origin: str
    username: str
    insecure: bool
    account_id: str
    client_id: str
    # When a round of sync last came to its end. None: not yet.
    synced: str | None
    # The newest record of this client that the host says it has. None: none.
    acknowledged_seq: int | None
    # A change of the account was sent and not answered.
    attempt_pending: bool
    # True: it was not answered either whether the account is registered.
    registration_pending: bool
    # What the host was caught at, in words.
    alarms: list[str]


class LoggedOut(Message, frozen=True):
    """A host that is forgotten."""

    url: str
    # False: the host did not answer; the sessions end by themselves.
    sessions_ended: bool


class AccountDeleted(Message, frozen=True):
    """An account that a host says it has deleted."""

    url: str
    username: str


class SessionRow(Message, frozen=True):
    """One session of the account at its host."""

    id: str
    client_id: str
    # What its owner calls the client. Empty: the account does not name it.
    client_label: str
    own: bool
    # RFC 3339, of the full hour.
    created: str
    seen: str


class SessionRequest(Message, frozen=True):
    """One session, by its id."""

    id: str


class ClientRow(Message, frozen=True):
    """One client of the account, as its owner admitted it."""

    client_id: str
    number: int
    label: str
    # True: the one that answers.
    own: bool
    # The version of the account document that admitted it.
    added_version: int
    revoked: bool
    # What of its log is here and verified.
    records: int
    stored_bytes: int


class HostUsage(Message, frozen=True):
    """What the account takes at its host, as the host says."""

    url: str
    entries: int
    stored_bytes: int
    # None: no limit but its disk.
    quota_bytes: int | None


class PassphraseRequest(SecretMessage, frozen=True):
    """A passphrase to prove; and for a change, the new one."""

    passphrase: str
    new_passphrase: str | None = None


class RecoveryRequest(SecretMessage, frozen=True):
    """A new recovery key for an account."""

    passphrase: str
    # 24 words. Empty: only make them.
    recovery_words: str = ""


class RecoverySet(Message, frozen=True):
    """A recovery key that is in force."""

    document_version: int


class PassphraseResult(Message, frozen=True):
    """What became of a passphrase."""

    document_version: int
    # True: it is another one than this client knew.
    changed: bool
    # The generated file that holds it from now on. None: there is none.
    passphrase_file: str | None
    # What still has the old one and is not ours to change. None: nothing has.
    passphrase_outdated: str | None
    # True: other recovery words count than the owner was told of here before.
    recovery_changed: bool = False


class StoreService(Protocol):
    """What needs the database and no key."""

    async def usage(self) -> UsageResult:
        """Count records and bytes."""

    async def host_view(self) -> HostView:
        """Say what a host of this store would know."""

    async def doctor(self) -> DoctorResult:
        """Check what only the holder of the database can check."""


class Service(StoreService, Protocol):
    """Every operation. Each raises `awvault.errors.Error` when it cannot."""

    async def status(self) -> Status:
        """Say what is here and in what state."""

    async def buckets(self) -> list[BucketInfo]:
        """List the buckets, by id."""

    async def deleted_buckets(self) -> list[DeletedBucket]:
        """List the buckets that were deleted, oldest first."""

    async def undelete(self, request: UndeleteRequest) -> Undeleted:
        """Bring a deleted bucket back, with its events; or events that were deleted."""

    def events(self, request: EventsRequest) -> AsyncGenerator[bytes, None]:
        """Yield events, newest first, each one JSON object without a newline.

        With `history`, each revision of them, with who wrote it and what it did.
        """

    def query(self, request: QueryRequest) -> AsyncGenerator[bytes, None]:
        """Yield the text of a JSON array, the result for each period, in pieces.

        Each piece is some bytes of the text, as `msgspec` writes bytes to JSON.
        """

    async def add(self, request: AddRequest) -> AddResult:
        """Store one event; it is on disk when this returns."""

    async def filters(self) -> FiltersInfo:
        """List the privacy filters in force, and what each has done."""

    async def set_filters(self, request: FiltersRequest) -> FiltersInfo:
        """Give the account other privacy filters."""

    async def try_filters(self, request: FilterTestRequest) -> FilterTestResult:
        """Say what rules would have done to what is stored."""

    def export_lines(self, request: ExportRequest) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an export, each without its newline."""

    async def import_parts(
        self, parts: AsyncIterator[bytes], on_progress: OnProgress
    ) -> ImportResult:
        """Add what is not here of `parts`, encoded as in `transfer.parts`."""

    async def verify(
        self, request: VerifyRequest, on_progress: OnProgress
    ) -> VerifyResult:
        """Open everything there is, and say what was wrong."""

    async def sync(self, on_progress: OnProgress) -> SyncResult:
        """Seal what is closed, and exchange records with the host, now."""

    async def repair(self, on_progress: OnProgress) -> RepairResult:
        """Put back on the host what it lacks and this vault has."""

    async def prepare_registration(self, request: RegisterRequest) -> Prepared:
        """Check that registering would work, and make the recovery key."""

    async def register(self, request: RegisterRequest) -> Registered:
        """Make the account known to a host."""

    async def prepare_recovery(self, request: RecoveryRequest) -> Prepared:
        """Make a new recovery key; it opens nothing yet."""

    async def set_recovery(self, request: RecoveryRequest) -> RecoverySet:
        """Let another recovery key open the account."""

    async def remote(self) -> RemoteInfo:
        """Say which host keeps the account."""

    async def log_out(self) -> LoggedOut:
        """Forget the host, and end this client's sessions there."""

    async def delete_account(self, request: PassphraseRequest) -> AccountDeleted:
        """Have the host delete the account; then forget the host."""

    async def sessions(self) -> list[SessionRow]:
        """List the account's sessions at its host."""

    async def end_session(self, request: SessionRequest) -> bool:
        """End one of them."""

    async def clients(self) -> list[ClientRow]:
        """List the account's clients, by number."""

    async def hosted_view(self) -> HostView:
        """Ask the host what it keeps; without one, as `host_view`."""

    async def host_usage(self) -> HostUsage:
        """Ask the host what the account takes there."""

    async def change_passphrase(self, request: PassphraseRequest) -> PassphraseResult:
        """Let another passphrase open the account, everywhere."""

    async def check_passphrase(self, request: PassphraseRequest) -> PassphraseResult:
        """Prove the account's passphrase here."""


class Failure(Message, frozen=True):
    """An error as a person reads it, and the exit status it stands for."""

    message: str
    hints: list[str] = []
    exit_status: int = EXIT_FAILED


class OperationFailedError(errors.Error):
    """An operation failed in the process that holds the vault."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def describe(error: Exception) -> Failure | None:
    """Return what to tell a person, or None for an error nobody foresaw."""
    if isinstance(error, OperationFailedError):
        return error.failure
    if not isinstance(error, errors.Error | ServerError):
        return None
    hint = getattr(error, "hint", None)
    return Failure(
        message=_message(error),
        hints=[hint] if isinstance(hint, str) and hint else _hints(error),
        exit_status=_exit_status(error),
    )


def _message(error: Exception) -> str:
    match error:
        case errors.BucketNotFoundError(bucket_id=bucket_id):
            # Its own words are those that ActivityWatch's clients know.
            return f'there is no bucket "{bucket_id}"'
        case errors.InvalidInputError(field=field) if field not in str(error):
            return f"{field}: {error}"
        case _:
            return str(error)


def _exit_status(error: Exception) -> int:
    if isinstance(error, errors.IntegrityError | StorageCorruptError):
        return EXIT_INTEGRITY
    if isinstance(error, errors.TransportError):
        return EXIT_UNREACHABLE
    return EXIT_FAILED


def _hints(error: Exception) -> list[str]:
    return [text for kind, text in _HINTS if isinstance(error, kind)][:1]


# What to do about an error that brings no hint of its own. The first that fits.
_HINTS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (
        errors.VaultLockedError,
        "if that process hangs, end it: nothing that it acknowledged is lost",
    ),
    (errors.BucketNotFoundError, "`awvault buckets` lists them"),
    (
        errors.WeakPassphraseError,
        "--generate makes six words, which are enough",
    ),
    (StorageFullError, "make room; what was stored before is intact"),
    (StorageCorruptError, "docs/guide/backup-and-restore.md says how to restore one"),
    (errors.IntegrityError, "`awvault verify` names every place that is damaged"),
)


def seconds(microseconds: int) -> str:
    """Return microseconds as exact seconds, for JSON: 1500000 is "1.5"."""
    whole, part = divmod(microseconds, 1_000_000)
    if not part:
        return f"{whole}.0"
    return f"{whole}.{part:06d}".rstrip("0")


def microseconds(value: Decimal) -> int:
    """Return seconds as microseconds, rounded to the nearest.

    Raises ValueError if it is not finite, or beyond what 64 bits hold.
    """
    # The exponent first: int(Decimal("1e999999999")) would fill the memory.
    if not value.is_finite() or value.adjusted() > 12:
        raise ValueError(f"{value:.3g} is not a number of seconds")
    return int((value * 1_000_000).to_integral_value())


def bytes_text(count: int) -> str:
    """Return a size that a person can read: 1536 is "1.5 KiB"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: "1 event", "2 events"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
