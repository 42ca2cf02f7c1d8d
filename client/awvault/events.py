"""What a library user reads and writes: events, their kinds, and buckets.

    Event      has a start
      Activity   has a start and an end
        Window   the window in front
        Tab      the tab in front, in a browser
        Input    what the hands do: away or not, keys, clicks

An event's `kind` is the type of the bucket that it belongs to. Kinds without a
class of their own are Events or Activities whose `kind` says what they are.
All times are datetimes in UTC, to the microsecond; given ones may have any
offset from UTC, but must have one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Protocol, Self

from awvault.columns import jsontext, render
from awvault.columns.timestamps import from_datetime, to_datetime
from awvault.errors import InvalidInputError

NO_DURATION: Final = -1
"""What a row has in place of a duration when the event has no end."""

NOT_STORED: Final = -1
"""What a row has in place of `stored_at` when none is kept."""

_MICROSECOND: Final = timedelta(microseconds=1)


class Row(render.Row, Protocol):
    """One stored event: what is rendered of it, and when it was stored."""

    @property
    def stored_at(self) -> int:
        """Since 1970, UTC; -1: not kept."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at `timestamp`; `data` is any JSON object.

    `id` and `stored_at` are None until the vault has stored the event;
    `stored_at` stays so but for events of the activity API.
    """

    KIND: ClassVar[str] = "event"

    timestamp: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    kind: str = field(default="", kw_only=True)
    id: int | None = field(default=None, kw_only=True)
    stored_at: datetime | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Bring times to UTC. Raises `InvalidInputError` for what is no event."""
        object.__setattr__(self, "timestamp", _utc(self.timestamp, "timestamp"))
        if self.stored_at is not None:
            object.__setattr__(self, "stored_at", _utc(self.stored_at, "stored_at"))
        if not self.kind:
            object.__setattr__(self, "kind", self.KIND)
        if not isinstance(self.data, Mapping):
            raise InvalidInputError(
                "data", f"expected a dict, got {type(self.data).__name__}"
            )

    @classmethod
    def now(cls, data: Mapping[str, Any] | None = None, *, kind: str = "") -> Self:
        """Return an event that happens now."""
        return cls(datetime.now(UTC), {} if data is None else data, kind=kind)

    @property
    def start_us(self) -> int:
        """The start in microseconds since 1970, UTC."""
        return from_datetime(self.timestamp)

    @property
    def duration_us(self) -> int:
        """The duration in microseconds; -1: the event has no end."""
        return NO_DURATION

    @property
    def data_text(self) -> bytes:
        """The data as JSON text in ASCII.

        Raises `InvalidInputError` for what JSON has no form for.
        """
        try:
            return json.dumps(
                dict(self.data), allow_nan=False, separators=(",", ":")
            ).encode("ascii")
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError("data", f"is no JSON object: {error}") from None


@dataclass(frozen=True, slots=True)
class Activity(Event):
    """Something that lasted, from `timestamp` to `end`."""

    KIND: ClassVar[str] = "activity"

    duration: timedelta = field(default=timedelta(0), kw_only=True)

    def __post_init__(self) -> None:
        """Check the duration too."""
        # Zero-argument super() does not know the class that slots=True makes.
        Event.__post_init__(self)
        if self.duration < timedelta(0):
            raise InvalidInputError(
                "duration",
                f"is {self.duration.total_seconds()} s, it must not be negative",
            )
        try:
            _ = self.end
        except OverflowError:
            raise InvalidInputError(
                "duration", "the activity must end before the year 10000"
            ) from None

    @classmethod
    def between(
        cls, start: datetime, end: datetime, data: Mapping[str, Any], *, kind: str = ""
    ) -> Self:
        """Return an activity that lasted from `start` to `end`."""
        begins = _utc(start, "start")
        duration = _utc(end, "end") - begins
        if duration < timedelta(0):
            raise InvalidInputError("end", "the end is before the start")
        return cls(begins, data, kind=kind, duration=duration)

    @property
    def end(self) -> datetime:
        """When it ended, in UTC."""
        return self.timestamp + self.duration

    @property
    def duration_us(self) -> int:
        """The duration in microseconds."""
        return self.duration // _MICROSECOND

    def _text(self, key: str) -> str | None:
        value = self.data.get(key)
        return value if isinstance(value, str) else None

    def _truth(self, key: str) -> bool | None:
        value = self.data.get(key)
        return value if isinstance(value, bool) else None

    def _count(self, key: str) -> int | None:
        value = self.data.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        return value


@dataclass(frozen=True, slots=True)
class Window(Activity):
    """The window in front. What its data lacks, or has otherwise, is None."""

    KIND: ClassVar[str] = "currentwindow"

    @property
    def app(self) -> str | None:
        """The program."""
        return self._text("app")

    @property
    def title(self) -> str | None:
        """The window's title."""
        return self._text("title")


@dataclass(frozen=True, slots=True)
class Tab(Activity):
    """The tab in front. What its data lacks, or has otherwise, is None."""

    KIND: ClassVar[str] = "web.tab.current"

    @property
    def url(self) -> str | None:
        """The address."""
        return self._text("url")

    @property
    def title(self) -> str | None:
        """The page's title."""
        return self._text("title")

    @property
    def audible(self) -> bool | None:
        """Whether it makes a sound."""
        return self._truth("audible")

    @property
    def incognito(self) -> bool | None:
        """Whether the browser's window is a private one."""
        return self._truth("incognito")

    @property
    def tab_count(self) -> int | None:
        """How many tabs are open."""
        return self._count("tabCount")


@dataclass(frozen=True, slots=True)
class Input(Activity):
    """What the hands do. What its data lacks, or has otherwise, is None.

    Its kind is `afkstatus`, whose data have a `status`, or `os.hid.input`,
    whose data count.
    """

    KIND: ClassVar[str] = "afkstatus"

    @property
    def status(self) -> str | None:
        """`afk` or `not-afk`."""
        return self._text("status")

    @property
    def presses(self) -> int | None:
        """How many keys were pressed."""
        return self._count("presses")

    @property
    def clicks(self) -> int | None:
        """How many times a mouse button was pressed."""
        return self._count("clicks")

    @property
    def delta_x(self) -> int | None:
        """How far the mouse went sideways, in pixels."""
        return self._count("deltaX")

    @property
    def delta_y(self) -> int | None:
        """How far the mouse went up and down, in pixels."""
        return self._count("deltaY")

    @property
    def scroll_x(self) -> int | None:
        """How far was scrolled sideways."""
        return self._count("scrollX")

    @property
    def scroll_y(self) -> int | None:
        """How far was scrolled up and down."""
        return self._count("scrollY")


_KINDS: Final[Mapping[str, type[Activity]]] = {
    "currentwindow": Window,
    "web.tab.current": Tab,
    "afkstatus": Input,
    "os.hid.input": Input,
}


def event_from_row(kind: str, row: Row) -> Event:
    """Return a stored event of a bucket whose type is `kind`.

    A row without an end is an Event, whatever its kind.
    """
    timestamp = to_datetime(row.start)
    data = jsontext.decode(row.text)
    stored_at = None if row.stored_at == NOT_STORED else to_datetime(row.stored_at)
    if row.duration == NO_DURATION:
        return Event(timestamp, data, kind=kind, id=row.id, stored_at=stored_at)
    return _KINDS.get(kind, Activity)(
        timestamp,
        data,
        kind=kind,
        id=row.id,
        stored_at=stored_at,
        duration=timedelta(microseconds=row.duration),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Events of one type from one watcher, and where they come from.

    `client` is the watcher, by its own name. `client_label` is the installation
    whose bucket it is, as its owner calls it; `own`: it is this one.
    """

    id: str
    type: str
    client: str
    hostname: str
    created: datetime
    data: Mapping[str, Any]
    client_label: str = ""
    own: bool = True


def _utc(moment: datetime, name: str) -> datetime:
    if not isinstance(moment, datetime):
        raise InvalidInputError(
            name, f"expected a datetime, got {type(moment).__name__}"
        )
    return to_datetime(from_datetime(moment, field=name))
