"""Times and durations: ISO 8601 text, datetimes and JSON numbers to microseconds.

Inside, a time is an integer: microseconds since 1970-01-01T00:00:00 UTC, in the
years 1 to 9999. Text with more than six fractional digits is cut, not rounded,
so that a time is never later than it was said to be.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from awvault.errors import InvalidInputError, LimitError

TIME_US_MIN: Final = -62_135_596_800_000_000
"""0001-01-01T00:00:00 UTC, in microseconds since 1970."""

TIME_US_MAX: Final = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999 UTC, in microseconds since 1970."""

DURATION_US_MAX: Final = TIME_US_MAX - TIME_US_MIN
"""Microseconds from the first time that is kept to the last."""

TEXT_CHARS_MAX: Final = 64
"""Characters of a time as text. The longest form in use has 35."""

_ISO_8601: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8})"
    r"(?:[Tt ]([0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?)?)"
    r" ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2}){0,2})?)?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND_US: Final = 1_000_000
_DAY_US: Final = 86_400 * _SECOND_US

_EXACT_FLOAT_US_MAX: Final = 2**52
"""Up to here a float of seconds says which microsecond is meant."""

_SHORT: Final = np.frombuffer(b"0000-00-00T00:00:00+00:00\0\0\0\0\0\0\0", np.uint8)
_LONG: Final = np.frombuffer(b"0000-00-00T00:00:00.000000+00:00", np.uint8)
_PAIRS: Final = np.frombuffer(
    b"".join(b"%02d" % number for number in range(100)), np.uint8
).reshape(100, 2)


def parse(text: str, *, field: str = "timestamp") -> int:
    """Return the time that ISO 8601 text says; without an offset, it is UTC.

    Takes a date alone or with a time after `T` or a space, with or without
    punctuation, and an offset such as `Z`, `+02:00`, `+0200` or `+02`. Raises
    `InvalidInputError` naming `field` and the value.
    """
    if len(text) > TEXT_CHARS_MAX:
        raise InvalidInputError(
            field,
            f"expected a time in ISO 8601, got {len(text)} characters, at most"
            f" {TEXT_CHARS_MAX} are read",
        )
    try:
        match = _ISO_8601.fullmatch(text)
        if match is None:
            raise ValueError(text)  # noqa: TRY301 - one error for both
        # The shape is checked above, for `fromisoformat` takes any separator,
        # and a NUL at the end; it checks the numbers.
        date, time, zone = match.groups()
        moment = datetime.fromisoformat(f"{date}T{time or '00'}{zone or ''}".upper())
    except ValueError:
        raise InvalidInputError(
            field,
            f"expected a time in ISO 8601, such as 2024-03-01T10:01:20+00:00,"
            f" got {_quoted(text)}",
        ) from None
    us = _microseconds(moment)
    if not TIME_US_MIN <= us <= TIME_US_MAX:
        raise InvalidInputError(
            field, f"expected a time in the years 1 to 9999 UTC, got {_quoted(text)}"
        )
    return us


def from_datetime(moment: datetime, *, field: str = "timestamp") -> int:
    """Return a datetime in microseconds; it must have an offset from UTC."""
    if moment.utcoffset() is None:
        # Python means local time by such a value, ActivityWatch means UTC.
        raise InvalidInputError(
            field, "needs an offset from UTC: use datetime.now(UTC), or astimezone()"
        )
    us = _microseconds(moment)
    if not TIME_US_MIN <= us <= TIME_US_MAX:
        raise InvalidInputError(
            field,
            f'expected a time in the years 1 to 9999 UTC, got "{moment.isoformat()}"',
        )
    return us


def to_datetime(us: int) -> datetime:
    """Return a time as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def render(us: int) -> str:
    """Return a time as ActivityWatch writes it: 2024-03-01T10:01:20.5+00:00.

    Always in UTC as `+00:00`, with six fractional digits or, at a whole
    second, none.
    """
    return to_datetime(us).isoformat()


def render_many(us: NDArray[np.int64]) -> list[bytes]:
    """Return what `render` returns for each time, as ASCII. 0.2 us each."""
    days, in_day = np.divmod(us, _DAY_US)
    seconds, fractions = np.divmod(in_day, _SECOND_US)
    minutes, seconds = np.divmod(seconds.astype(np.uint32), np.uint32(60))
    hours, minutes = np.divmod(minutes, np.uint32(60))
    dates = days.view("M8[D]")
    months = dates.astype("M8[M]")
    month_numbers = months.view(np.int64)
    years = month_numbers // 12 + 1970
    text = np.where((fractions == 0)[:, np.newaxis], _SHORT, _LONG)
    text[:, 0:2] = _PAIRS[years // 100]
    text[:, 2:4] = _PAIRS[years % 100]
    text[:, 5:7] = _PAIRS[month_numbers % 12 + 1]
    text[:, 8:10] = _PAIRS[(dates - months.astype("M8[D]")).view(np.int64) + 1]
    text[:, 11:13] = _PAIRS[hours]
    text[:, 14:16] = _PAIRS[minutes]
    text[:, 17:19] = _PAIRS[seconds]
    broken = np.flatnonzero(fractions)
    if len(broken):
        parts = fractions[broken].astype(np.uint32)
        text[broken, 20:22] = _PAIRS[parts // 10_000]
        text[broken, 22:24] = _PAIRS[parts // 100 % 100]
        text[broken, 24:26] = _PAIRS[parts % 100]
    # As fixed-width byte strings the NULs at the end of a short form go away.
    rendered: list[bytes] = text.view("S32").ravel().tolist()
    return rendered


def duration_us(seconds: float, *, field: str = "duration") -> int:
    """Return a duration in microseconds, rounded to the nearest.

    Raises `InvalidInputError` for what is no number from 0 upwards, and
    `LimitError` for what is longer than all the years that are kept.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidInputError(
            field, f"expected a number of seconds, got {type(seconds).__name__}"
        )
    # NaN fails the comparison too; an integer of any size compares exactly.
    if not seconds >= 0:
        raise InvalidInputError(
            field, f"expected a number of seconds from 0 upwards, got {seconds}"
        )
    if seconds > DURATION_US_MAX // _SECOND_US:
        raise LimitError(
            field, f"at most {DURATION_US_MAX // _SECOND_US} seconds are kept"
        )
    return round(seconds * _SECOND_US)


def render_seconds(us: int) -> bytes:
    """Return a duration in seconds as a JSON number, exact to the microsecond."""
    if -_EXACT_FLOAT_US_MAX < us < _EXACT_FLOAT_US_MAX:
        return repr(us / _SECOND_US).encode()
    seconds, fraction = divmod(abs(us), _SECOND_US)
    return b"%s%d.%06d" % (b"-" if us < 0 else b"", seconds, fraction)


def render_seconds_many(us: NDArray[np.int64]) -> list[bytes]:
    """Return what `render_seconds` returns for each duration. 0.1 us each."""
    if not len(us):
        return []
    if us.max() >= _EXACT_FLOAT_US_MAX or us.min() <= -_EXACT_FLOAT_US_MAX:
        return [render_seconds(each) for each in us.tolist()]
    # msgspec writes floats several times faster than Python's repr.
    return msgspec.json.encode((us / 1e6).tolist())[1:-1].split(b",")


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def _quoted(text: str) -> str:
    return '"' + text.encode("ascii", "backslashreplace").decode() + '"'
