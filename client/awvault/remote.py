"""What is known of the remote host, kept sealed in one row of the vault.

The host's address as the owner typed it, what it has acknowledged, and what it
was caught at. All of it is this client's own notes: nothing here is a pin. Pins
and verified heads lie with the records and documents that they vouch for.

    row     = JSON of `Remote`, sealed under the remote key
    context = account_id || client_id
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from awserver.documents import DOCUMENT_BYTES_MAX, KEYS_BLOB_BYTES_MAX
from awserver.records import ClientId, Head, RecordHash, Seq
from awserver.storage.sqlite.database import Database, Transaction
from awserver.wire import Count, Hex16, Username
from awvault import tables
from awvault.crypto.hedge import Random
from awvault.crypto.keys import derive_remote_key
from awvault.crypto.rows import open_row, seal_row
from awvault.errors import SealError, UnsupportedSuiteError, VaultDamagedError
from awvault.protocol.document import decode_document
from awvault.unlocked import Unlocked

FORMAT: Final = 1

INCIDENTS_MAX: Final = 100
"""How many of the last incidents are kept."""

ALARMS_MAX: Final = 1_000
"""More alarms at once than this say nothing new."""

SENTENCE_CHARS_MAX: Final = 1_000

_Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Sentence = Annotated[str, Meta(max_length=SENTENCE_CHARS_MAX)]


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of what the row holds."""


class Alarm(_Note, frozen=True):
    """Something that a host was caught at, and has not made good yet."""

    name: str
    """Stable; docs/operations/incidents.md has a paragraph for each."""
    client_id: Hex16 | None
    """Whose log it is about; None: the account."""
    sentence: _Sentence
    """What is wrong, with the numbers."""
    repair: _Sentence
    """What to do about it."""
    since_us: int
    """When it was first seen."""

    @property
    def key(self) -> tuple[str, str | None]:
        """What it is about: one alarm of a kind for each log."""
        return self.name, self.client_id


class Incident(_Note, frozen=True):
    """That an alarm was raised, or has ended."""

    at_us: int
    name: str
    client_id: Hex16 | None
    sentence: _Sentence


class Place(_Note, frozen=True):
    """The newest record of a log, as a host acknowledged it."""

    seq: Count
    hash: _Hash

    @classmethod
    def of(cls, head: Head) -> "Place":
        """Return a head as it is kept here."""
        return cls(seq=head.seq, hash=head.hash)

    @property
    def head(self) -> Head:
        """The head."""
        return Head(seq=Seq(self.seq), hash=RecordHash(self.hash))


class Attempt(_Note, frozen=True):
    """A change of the account document that was sent, and not answered yet.

    Whoever gets no answer fetches the documents and compares: they say whether
    it counts.
    """

    document: Annotated[bytes, Meta(max_length=DOCUMENT_BYTES_MAX)]
    keys_blob: Annotated[bytes, Meta(max_length=KEYS_BLOB_BYTES_MAX)] | None

    @property
    def version(self) -> int:
        """The version that it would be."""
        return decode_document(self.document).document.version


class Remote(_Note, frozen=True):
    """Everything that is known of the remote host."""

    url: str
    """As the owner typed it."""
    insecure: bool
    """Whether the owner said that plain http is good enough."""
    username: Username
    acknowledged: Place | None = None
    """The newest record of this client that the host said it has on disk."""
    synced_us: int | None = None
    """When a round last came to its end."""
    seen: dict[Hex16, int] = {}
    """When records of each other client last came here."""
    alarms: list[Alarm] = []
    incidents: list[Incident] = []
    """The last ones, oldest first."""
    attempt: Attempt | None = None
    recovery_told: _Key | None = None
    """The recovery-login key, its public part, that the owner was told of."""
    format: int = FORMAT

    def with_alarms(self, alarms: Sequence[Alarm], *, now_us: int) -> "Remote":
        """Return the notes with these alarms in place of those before.

        An alarm that goes on keeps the time it began; what began or ended becomes
        an incident.
        """
        before = {alarm.key: alarm for alarm in self.alarms}
        after: dict[tuple[str, str | None], Alarm] = {}
        new: list[Incident] = []
        for alarm in alarms[:ALARMS_MAX]:
            known = before.get(alarm.key)
            if known is None and alarm.key not in after:
                new.append(_incident(alarm, alarm.sentence, now_us))
            since_us = now_us if known is None else known.since_us
            after[alarm.key] = replace(alarm, since_us=since_us)
        for key, alarm in before.items():
            if key not in after:
                new.append(_incident(alarm, f"ended: {alarm.sentence}", now_us))
        return replace(
            self,
            alarms=list(after.values()),
            incidents=[*self.incidents, *new][-INCIDENTS_MAX:],
        )

    def settled_by(self, version: int) -> "Remote":
        """Return the notes where the account's document is known up to a version.

        An attempt is in the air until it, or another, stands at its number: only
        then can a host not bring it up any more.
        """
        if self.attempt is None or self.attempt.version > version:
            return self
        return replace(self, attempt=None)

    def with_incident(
        self, name: str, client_id: ClientId | None, sentence: str, *, now_us: int
    ) -> "Remote":
        """Return the notes with something that happened and needs nobody."""
        incident = Incident(
            at_us=now_us,
            name=name,
            client_id=None if client_id is None else client_id.hex(),
            sentence=sentence[:SENTENCE_CHARS_MAX],
        )
        return replace(self, incidents=[*self.incidents, incident][-INCIDENTS_MAX:])


class RemoteNotes:
    """The one row, for one client of one account. Owned by the event loop."""

    def __init__(self, database: Database, keys: Unlocked, *, random: Random) -> None:
        """Keep the row in `database`, under a key of this client."""
        self._db = database
        self._key = derive_remote_key(keys.journal_key)
        self._context = keys.account_id + keys.client_id
        self._random = random

    def load(self) -> Remote | None:
        """Return what is known; None: this account has no remote.

        Raises `VaultDamagedError` if the row does not open, and
        `UnsupportedSuiteError` if a newer program wrote it.
        """
        with self._db.reading() as tx:
            return self._load_within(tx)

    async def update(self, change: Callable[[Remote], Remote]) -> Remote | None:
        """Change what is known in one step, so that nobody's change is lost.

        `change` must be quick, and have no effect of its own: it runs in the
        database's thread. Return what is known now; None: there is no remote, and
        nothing was done. Raises as `load`.
        """

        def work(tx: Transaction) -> Remote | None:
            before = self._load_within(tx)
            if before is None:
                return None
            after = change(before)
            if after != before:
                self.put_within(tx, after)
            return after

        return await self._db.write(work)

    async def forget(self) -> None:
        """Forget the remote: this account has none from now on."""
        await self._db.write(tables.delete_remote_row)

    def _load_within(self, tx: Transaction) -> Remote | None:
        sealed = tables.remote_row(tx)
        if sealed is None:
            return None
        try:
            opened = open_row(self._key, self._context, sealed)
            found = msgspec.json.decode(opened, type=_Format).format
            if found != FORMAT:
                raise UnsupportedSuiteError(
                    f"the notes on the remote host have format {found}, this program"
                    f" knows {FORMAT}: update it"
                )
            return msgspec.json.decode(opened, type=Remote)
        except (SealError, ValueError):
            raise VaultDamagedError(
                "the notes on the remote host do not open: log in to it again"
            ) from None

    async def save(self, remote: Remote) -> None:
        """Write what is known; it is on disk when this returns."""
        sealed = self._seal(remote)
        await self._db.write(lambda tx: tables.put_remote_row(tx, sealed))

    def put_within(self, tx: Transaction, remote: Remote) -> None:
        """Write what is known inside a transaction."""
        tables.put_remote_row(tx, self._seal(remote))

    def _seal(self, remote: Remote) -> bytes:
        return seal_row(
            self._key, self._context, msgspec.json.encode(remote), self._random
        )


class _Format(msgspec.Struct):
    """The one field that every version of the row has."""

    format: int


def _incident(alarm: Alarm, sentence: str, now_us: int) -> Incident:
    return Incident(
        at_us=now_us,
        name=alarm.name,
        client_id=alarm.client_id,
        sentence=sentence[:SENTENCE_CHARS_MAX],
    )
