"""Times and durations: text, datetimes and JSON numbers."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awvault.columns.timestamps import (
    DURATION_US_MAX,
    TIME_US_MAX,
    TIME_US_MIN,
    duration_us,
    from_datetime,
    parse,
    render,
    render_many,
    render_seconds,
    render_seconds_many,
    to_datetime,
)
from awvault.errors import InvalidInputError, LimitError

SECOND = 1_000_000
WHOLE = 1_709_287_280 * SECOND
"""2024-03-01T10:01:20Z."""

TIMES = st.integers(TIME_US_MIN, TIME_US_MAX)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-01T10:01:20Z", WHOLE),
        ("2024-03-01T10:01:20z", WHOLE),
        ("2024-03-01t10:01:20z", WHOLE),
        ("2024-03-01 10:01:20Z", WHOLE),
        ("2024-03-01T10:01:20", WHOLE),
        ("2024-03-01T10:01:20+00:00", WHOLE),
        ("2024-03-01T10:01:20-00:00", WHOLE),
        ("2024-03-01T12:01:20+02:00", WHOLE),
        ("2024-03-01T12:01:20+0200", WHOLE),
        ("2024-03-01T12:01:20+02", WHOLE),
        ("2024-03-01T04:31:20-05:30", WHOLE),
        ("2024-03-01 12:01:20 +02:00", WHOLE),
        ("20240301T100120Z", WHOLE),
        ("2024-03-01T10:01", WHOLE - 20 * SECOND),
        ("2024-03-01", 1_709_251_200 * SECOND),
        ("2024-03-01T10:01:20.5Z", WHOLE + 500_000),
        ("2024-03-01T10:01:20,5Z", WHOLE + 500_000),
        ("2024-03-01T10:01:20.123456+00:00", WHOLE + 123_456),
        ("2024-03-01T10:01:20.000001Z", WHOLE + 1),
        # Cut, not rounded.
        ("2024-03-01T10:01:20.123456789Z", WHOLE + 123_456),
        ("2024-03-01T10:01:20.999999999Z", WHOLE + 999_999),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00Z", TIME_US_MIN),
        ("9999-12-31T23:59:59.999999Z", TIME_US_MAX),
    ],
)
def test_times_are_read(text: str, expected: int) -> None:
    """ISO 8601 in the forms that watchers and Python write."""
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "yesterday",
        "2024",
        "2024-13-01T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2024-03-01T25:00:00Z",
        "2024-03-01T10:01:60Z",
        "2024-03-01T10:01:20+25:00",
        "2024-03-01T10:01:20 02:00",
        "1709287280",
        "2024-03-01T10:01:20Z\0",
        "2024-03-01x10:01:20Z",
        "2024-W09-5",
        "2024-03-01T10:01:20Z\n",
        "2024-03-01T10.5Z",
        "2024-03-01T",
        "2024-03-01Z",
        "\ud83d",
        "\N{FULLWIDTH DIGIT TWO}024-03-01T10:01:20Z",
        "10000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2024-03-01T10:01:20Z" + " " * 100,
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """The error names the field and the value, in letters that any log can hold."""
    with pytest.raises(InvalidInputError) as caught:
        parse(text, field="start")

    assert caught.value.field == "start"
    assert str(caught.value).isascii()
    if len(text) <= 64:
        assert text.encode("ascii", "backslashreplace").decode() in str(caught.value)


@pytest.mark.parametrize(
    ("us", "expected"),
    [
        (WHOLE, "2024-03-01T10:01:20+00:00"),
        (WHOLE + 1, "2024-03-01T10:01:20.000001+00:00"),
        (WHOLE + 500_000, "2024-03-01T10:01:20.500000+00:00"),
        (-1, "1969-12-31T23:59:59.999999+00:00"),
        (TIME_US_MIN, "0001-01-01T00:00:00+00:00"),
        (TIME_US_MAX, "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_times_are_written_as_activitywatch_does(us: int, expected: str) -> None:
    """UTC with an offset, and microseconds where there are any."""
    assert render(us) == expected
    assert render_many(np.array([us, us])) == [expected.encode()] * 2


@given(st.lists(TIMES | st.integers(-(10**5), 10**5).map(lambda s: s * SECOND)))
def test_many_times_are_written_like_one(times: list[int]) -> None:
    """The fast way and the plain way agree, and what is written is read again."""
    rendered = render_many(np.array(times, dtype=np.int64))

    assert rendered == [render(us).encode() for us in times]
    assert [parse(text.decode()) for text in rendered] == times
    assert [from_datetime(to_datetime(us)) for us in times] == times


def test_datetimes_of_any_offset_are_the_same_time() -> None:
    """An offset changes how a time is written, and not when it is."""
    moment = datetime(2024, 3, 1, 12, 1, 20, 7, tzinfo=timezone(timedelta(hours=2)))

    assert from_datetime(moment) == WHOLE + 7
    assert to_datetime(WHOLE + 7) == moment
    assert to_datetime(WHOLE).tzinfo is UTC


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (datetime(2024, 3, 1), "needs an offset"),  # noqa: DTZ001
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "years 1 to 9999"),
        (
            datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))),
            "years 1 to 9999",
        ),
    ],
)
def test_a_datetime_that_says_no_time_is_refused(
    moment: datetime, message: str
) -> None:
    """Without an offset Python means local time, and ActivityWatch UTC."""
    with pytest.raises(InvalidInputError, match=message) as caught:
        from_datetime(moment, field="end")
    assert caught.value.field == "end"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, 0),
        (-0.0, 0),
        (10, 10 * SECOND),
        (1.5, 1_500_000),
        (0.0000004, 0),
        (0.0000006, 1),
        (4.142, 4_142_000),
        (DURATION_US_MAX // SECOND, DURATION_US_MAX // SECOND * SECOND),
    ],
)
def test_durations_are_rounded_to_microseconds(seconds: float, expected: int) -> None:
    """To the nearest."""
    assert duration_us(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        (-1, InvalidInputError),
        (-0.1, InvalidInputError),
        (math.nan, InvalidInputError),
        (-math.inf, InvalidInputError),
        (True, InvalidInputError),
        ("1", InvalidInputError),
        (None, InvalidInputError),
        (math.inf, LimitError),
        (1e300, LimitError),
        (10**400, LimitError),
        (DURATION_US_MAX // SECOND + 1, LimitError),
    ],
)
def test_what_is_no_duration_is_refused(
    seconds: float, error: type[InvalidInputError]
) -> None:
    """Not a number, negative, or longer than all the years there are."""
    with pytest.raises(InvalidInputError) as caught:
        duration_us(seconds)
    assert type(caught.value) is error
    assert caught.value.field == "duration"


@pytest.mark.parametrize(
    ("us", "expected"),
    [
        (0, b"0.0"),
        (10 * SECOND, b"10.0"),
        (1_000, b"0.001"),
        (1_500_000, b"1.5"),
        (4_142_000, b"4.142"),
        (2**52, b"4503599627.370496"),
        (DURATION_US_MAX, b"315537897599.999999"),
        (-DURATION_US_MAX, b"-315537897599.999999"),
    ],
)
def test_durations_are_written_as_seconds(us: int, expected: bytes) -> None:
    """As a JSON number that is exact to the microsecond."""
    assert render_seconds(us) == expected
    assert render_seconds_many(np.array([us, 0])) == [expected, b"0.0"]


@given(st.lists(st.integers(0, 2**40) | st.integers(0, DURATION_US_MAX)))
def test_written_durations_are_read_again(durations: list[int]) -> None:
    """Both ways write the same value, and below 140 years reading it is exact."""
    rendered = render_seconds_many(np.array(durations, dtype=np.int64))

    assert [float(text) for text in rendered] == [
        float(render_seconds(us)) for us in durations
    ]
    assert [
        duration_us(json.loads(text))
        for text, us in zip(rendered, durations, strict=True)
        if us < 2**52
    ] == [us for us in durations if us < 2**52]
