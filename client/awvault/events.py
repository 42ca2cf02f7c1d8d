"""The kinds of events, as types.

Event (has a start) > Activity (start and end) > Input, Window, Tab. Any other
kind that a user names is an Activity, or an Event where it has no end. The
kind of an event is the type of the bucket that holds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Protocol, Self

import msgspec

from awvault.columns import jsontext, timestamps
from awvault.errors import InvalidInputError

NO_DURATION: Final = -1
"""What a row has in place of a duration when the event has no end."""

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Events of one kind from one watcher."""

    id: str
    type: str
    client: str
    """The watcher that writes to it (what ActivityWatch calls a client)."""
    hostname: str
    created: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: it has at least a start.

    `timestamp` may have any offset and is kept in UTC, to the microsecond;
    without an offset it is UTC. `data` is anything that JSON can say.
    """

    timestamp: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    id: int | None = field(default=None, kw_only=True)
    """Given by the vault; None before the event is stored."""
    stored_at: datetime | None = field(default=None, kw_only=True)
    """When it was stored, for the buckets that keep it."""

    kind: ClassVar[str] = "event"
    """The bucket type that `Vault.insert` makes for this type."""

    def __post_init__(self) -> None:
        """Bring the start to UTC."""
        object.__setattr__(self, "timestamp", _utc(self.timestamp))

    @classmethod
    def now(cls, data: Mapping[str, Any] | None = None, **fields: Any) -> Self:
        """Return an event that begins now."""
        return cls(datetime.now(UTC), data if data is not None else {}, **fields)

    @property
    def start_us(self) -> int:
        """The start in microseconds since 1970, UTC."""
        return timestamps.from_datetime(self.timestamp)

    @property
    def duration_us(self) -> int:
        """The duration in microseconds; -1 where there is no end."""
        return NO_DURATION

    @property
    def data_text(self) -> bytes:
        """The data as JSON text; raises `InvalidInputError` if it is none."""
        try:
            return msgspec.json.encode(self.data)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            raise InvalidInputError("data", f"data is not JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Activity(Event):
    """An event with an end."""

    duration: timedelta = field(default=timedelta(0), kw_only=True)

    kind: ClassVar[str] = "activity"

    def __post_init__(self) -> None:
        """Bring the start to UTC, and refuse an end before it."""
        super(Activity, self).__post_init__()
        if self.duration < timedelta(0):
            raise InvalidInputError(
                "duration", f"duration is {self.duration}, it must not be negative"
            )

    @property
    def end(self) -> datetime:
        """The end, in UTC."""
        return self.timestamp + self.duration

    @property
    def duration_us(self) -> int:
        """The duration in microseconds."""
        return self.duration // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Input(Activity):
    """What came from keyboard and mouse: afk or not, presses, deltas."""

    kind: ClassVar[str] = "os.hid.input"

    @property
    def afk(self) -> bool | None:
        """Whether nobody was there; None where the watcher does not say."""
        status = self.data.get("status")
        return None if status is None else status == "afk"

    @property
    def presses(self) -> int | None:
        """Keys pressed; None where the watcher does not count."""
        return self.data.get("presses")


@dataclass(frozen=True, slots=True)
class Window(Activity):
    """A window that had the focus."""

    kind: ClassVar[str] = "currentwindow"

    @property
    def app(self) -> str | None:
        """The program."""
        return self.data.get("app")

    @property
    def title(self) -> str | None:
        """The window's title."""
        return self.data.get("title")


@dataclass(frozen=True, slots=True)
class Tab(Activity):
    """A browser tab that had the focus."""

    kind: ClassVar[str] = "web.tab.current"

    @property
    def url(self) -> str | None:
        """The address."""
        return self.data.get("url")

    @property
    def title(self) -> str | None:
        """The page's title."""
        return self.data.get("title")


KINDS: Final[Mapping[str, type[Activity]]] = {
    "currentwindow": Window,
    "afkstatus": Input,
    "os.hid.input": Input,
    "web.tab.current": Tab,
}
"""Bucket types that ActivityWatch's watchers use."""


class Row(Protocol):
    """What `event_from_row` needs of a row; `awvault.journal.EventRow` has it."""

    @property
    def id(self) -> int:
        """Event id."""

    @property
    def start(self) -> int:
        """Microseconds since 1970, UTC."""

    @property
    def duration(self) -> int:
        """Microseconds, -1 for none."""

    @property
    def stored_at(self) -> int:
        """Microseconds since 1970, UTC, -1 for none."""

    @property
    def text(self) -> bytes:
        """Data as JSON."""


def event_from_row(kind: str, row: Row) -> Event:
    """Return a row as the type that its bucket's type stands for."""
    timestamp = timestamps.to_datetime(row.start)
    data = jsontext.decode(row.text)
    stored_at = None if row.stored_at < 0 else timestamps.to_datetime(row.stored_at)
    if row.duration < 0:
        return Event(timestamp, data, id=row.id, stored_at=stored_at)
    return KINDS.get(kind, Activity)(
        timestamp,
        data,
        id=row.id,
        stored_at=stored_at,
        duration=row.duration * _MICROSECOND,
    )


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value.astimezone(UTC)
