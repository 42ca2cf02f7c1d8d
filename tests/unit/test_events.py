"""The library's types: kinds of events, their times, and their rows."""

import copy
import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

import pytest

from awvault.columns.timestamps import TIME_US_MAX
from awvault.errors import InvalidInputError
from awvault.events import (
    Activity,
    Bucket,
    Event,
    Input,
    Tab,
    Window,
    event_from_row,
)

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
NOON_US = 1_709_294_400_000_000
MINUTE = timedelta(minutes=1)


class Row(NamedTuple):
    id: int = 1
    start: int = NOON_US
    duration: int = 60_000_000
    stored_at: int = -1
    text: bytes = b'{"a":1}'


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("currentwindow", Window),
        ("web.tab.current", Tab),
        ("afkstatus", Input),
        ("os.hid.input", Input),
        ("app.editor.activity", Activity),
        ("", Activity),
    ],
)
def test_a_row_becomes_the_type_of_its_bucket(
    kind: str, expected: type[Activity]
) -> None:
    """ActivityWatch's bucket types have classes, others are activities."""
    event = event_from_row(kind, Row())

    assert type(event) is expected
    assert event.kind == (kind or "activity")
    assert isinstance(event, Activity)
    assert (event.id, event.timestamp, event.end) == (1, NOON, NOON + MINUTE)
    assert event.data == {"a": 1}
    assert event.stored_at is None
    assert (event.start_us, event.duration_us) == (NOON_US, 60_000_000)


@pytest.mark.parametrize("kind", ["currentwindow", "note"])
def test_a_row_without_an_end_is_an_event(kind: str) -> None:
    """An event has no end, whatever its kind, and may say when it was stored."""
    event = event_from_row(kind, Row(duration=-1, stored_at=NOON_US + 1))

    assert type(event) is Event
    assert event.kind == kind
    assert event.stored_at == NOON + timedelta(microseconds=1)
    assert event.duration_us == -1


def test_times_are_kept_in_utc_to_the_microsecond() -> None:
    """Any offset goes in, UTC comes out, and it is the same moment."""
    local = datetime(2024, 3, 1, 14, 0, 0, 7, tzinfo=timezone(timedelta(hours=2)))

    event = Event(local, {})

    assert event.timestamp == local
    assert event.timestamp.tzinfo is UTC
    assert event.start_us == NOON_US + 7
    assert event == Event(local.astimezone(UTC), {})


def test_now_is_now() -> None:
    """The shortest way to write an event: it happens now, of its class's kind."""
    before = datetime.now(UTC)
    event, window, note = Event.now(), Window.now({"app": "x"}), Event.now(kind="note")

    assert before <= event.timestamp <= window.timestamp <= datetime.now(UTC)
    assert (event.kind, window.kind, note.kind) == ("event", "currentwindow", "note")
    assert (event.data, window.data) == ({}, {"app": "x"})
    assert window.duration == timedelta(0)


def test_an_activity_lasts_from_start_to_end() -> None:
    """It can be made of a start and a duration, or of a start and an end."""
    activity = Activity.between(NOON, NOON + MINUTE, {"a": 1}, kind="run")

    assert activity == Activity(NOON, {"a": 1}, kind="run", duration=MINUTE)
    assert activity.end == NOON + MINUTE
    assert activity.duration_us == 60_000_000


def test_usual_fields_have_names() -> None:
    """Window, tab and input say what their watchers send."""
    window = Window(NOON, {"app": "x", "title": "t"})
    tab = Tab(
        NOON,
        {"url": "u", "title": "t", "audible": True, "incognito": False, "tabCount": 3},
    )
    hands = Input(
        NOON,
        {
            "presses": 1,
            "clicks": 2,
            "deltaX": 3,
            "deltaY": 4,
            "scrollX": 5,
            "scrollY": 6,
        },
    )

    assert (window.app, window.title) == ("x", "t")
    assert (tab.url, tab.title, tab.audible, tab.incognito) == ("u", "t", True, False)
    assert tab.tab_count == 3
    assert (hands.presses, hands.clicks) == (1, 2)
    assert (hands.delta_x, hands.delta_y) == (3, 4)
    assert (hands.scroll_x, hands.scroll_y) == (5, 6)
    assert Input(NOON, {"status": "afk"}).status == "afk"


def test_fields_of_another_type_are_none() -> None:
    """Data is the sender's: a field may be missing, or be anything."""
    window = Window(NOON, {"app": 3})
    hands = Input(NOON, {"presses": True, "clicks": 1.5, "status": None})
    tab = Tab(NOON, {"audible": 1, "url": ["x"]})

    assert (window.app, window.title) == (None, None)
    assert (hands.presses, hands.clicks, hands.status) == (None, None, None)
    assert (tab.audible, tab.url, tab.incognito) == (None, None, None)


def test_data_is_written_as_json() -> None:
    """Also what UTF-8 has no form for."""
    assert Event(NOON, {"b": 1, "a": ["\ud83d", None]}).data_text == (
        b'{"b":1,"a":["\\ud83d",null]}'
    )


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Event(datetime(2024, 3, 1), {}), "timestamp"),  # noqa: DTZ001
        (lambda: Event("2024-03-01", {}), "timestamp"),  # type: ignore[arg-type]
        (lambda: Event(NOON, []), "data"),  # type: ignore[arg-type]
        (lambda: Event(NOON, {"a": float("nan")}).data_text, "data"),
        (lambda: Event(NOON, {"a": object()}).data_text, "data"),
        (
            lambda: Event(NOON, {}, stored_at=datetime(2024, 3, 1)),  # noqa: DTZ001
            "stored_at",
        ),
        (lambda: Activity(NOON, {}, duration=-MINUTE), "duration"),
        (lambda: Window(NOON, {}, duration=timedelta.max), "duration"),
        (lambda: Activity.between(NOON, NOON - MINUTE, {}), "end"),
        (
            lambda: Activity.between(datetime(2024, 3, 1), NOON, {}),  # noqa: DTZ001
            "start",
        ),
    ],
)
def test_what_is_no_event_is_refused(make: Callable[[], object], field: str) -> None:
    """The error names the field; a time without an offset is no time."""
    with pytest.raises(InvalidInputError) as caught:
        make()
    assert caught.value.field == field


def test_the_last_moment_is_a_time() -> None:
    """An activity may last until the end of the year 9999."""
    event = event_from_row("", Row(start=TIME_US_MAX - 5, duration=5))

    assert isinstance(event, Activity)
    assert event.end == datetime.max.replace(tzinfo=UTC)


def test_events_and_buckets_do_not_change() -> None:
    """They are frozen, compare by value, and can be copied."""
    window = Window(NOON, {"app": "x"}, duration=MINUTE)
    bucket = Bucket(
        id="b", type="t", client="c", hostname="h", created=NOON, data={"x": 1}
    )

    with pytest.raises(dataclasses.FrozenInstanceError):
        window.timestamp = NOON  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        bucket.id = "c"  # type: ignore[misc]
    assert copy.deepcopy(window) == window
    assert dataclasses.replace(window, id=4).id == 4
    assert "'app': 'x'" in repr(window)
