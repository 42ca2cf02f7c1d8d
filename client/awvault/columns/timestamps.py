"""Times: ISO 8601 in any offset, microseconds since 1970 UTC inside, UTC out."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from awvault.errors import InvalidInputError, LimitError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIME_US_MIN: Final = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z."""

TIME_US_MAX: Final = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z."""

TEXT_CHARS_MAX: Final = 64
"""Characters of a time; the longest sensible one has about 40."""

_DAY_US: Final = 86_400_000_000
_SECOND_US: Final = 1_000_000
_MICROSECOND: Final = timedelta(microseconds=1)
_ISO: Final = re.compile(
    r"(?P<date>\d{4}-?\d{2}-?\d{2})"
    r"(?:[Tt ](?P<time>\d{2}(?::?\d{2}(?::?\d{2})?)?)"
    r"(?:[.,](?P<fraction>\d{1,20}))?"
    r"\s?(?P<zone>[Zz]|[+-]\d{2}(?::?\d{2})?)?)?"
)


def from_datetime(value: datetime) -> int:
    """Return a time as microseconds; without an offset it is taken as UTC."""
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    delta = aware - EPOCH
    return delta.days * _DAY_US + delta.seconds * _SECOND_US + delta.microseconds


def to_datetime(us: int) -> datetime:
    """Return microseconds as a time in UTC."""
    return EPOCH + us * _MICROSECOND


def parse(text: str, *, field: str = "timestamp") -> int:
    """Return an ISO 8601 time as microseconds; raises `InvalidInputError`.

    Takes a date, or a date and a time, in the extended or the basic form, with
    `T` or a space, with an offset, `Z` or neither (then it is UTC). Digits
    below the microsecond are cut off.
    """
    if len(text) > TEXT_CHARS_MAX:
        raise InvalidInputError(
            field,
            f"a time has at most {TEXT_CHARS_MAX} characters, got {len(text)}",
        )
    match = _ISO.fullmatch(text.strip())
    if match is None or not text.isascii():
        raise InvalidInputError(
            field, f'"{_shown(text)}" is no ISO 8601 time, such as 2024-03-01T10:01:20Z'
        )
    fraction = (match["fraction"] or "0").ljust(6, "0")[:6]
    zone = match["zone"] or "Z"
    try:
        whole = datetime.fromisoformat(
            f"{match['date']}T{match['time'] or '00'}{zone.upper()}"
        )
        us = from_datetime(whole) + int(fraction)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            field, f'"{_shown(text)}" is no time: {error}'
        ) from None
    if not TIME_US_MIN <= us <= TIME_US_MAX:
        raise InvalidInputError(
            field, f'"{_shown(text)}" lies outside the years 1 to 9999 in UTC'
        )
    return us


def format(us: int) -> str:  # noqa: A001 - read as timestamps.format
    """Return a time as ActivityWatch writes it: microseconds only if there are any."""
    return to_datetime(us).isoformat()


def format_many(us: NDArray[np.int64]) -> list[str]:
    """Return many times as `format` does, some ten times faster."""
    texts = np.datetime_as_string(us.view("datetime64[us]"), unit="us").tolist()
    whole = (us % _SECOND_US == 0).tolist()
    return [
        f"{text[:19]}+00:00" if is_whole else f"{text}+00:00"
        for text, is_whole in zip(texts, whole, strict=True)
    ]


def duration_us(seconds: float, *, field: str = "duration") -> int:
    """Return seconds as microseconds, rounded to the nearest.

    Raises `InvalidInputError` for NaN, infinity and negative numbers,
    `LimitError` for spans that no calendar holds.
    """
    if isinstance(seconds, float) and not math.isfinite(seconds):
        raise InvalidInputError(field, f"{field} must be a number of seconds")
    if seconds < 0:
        raise InvalidInputError(
            field, f"{field} is {seconds} s, it must not be negative"
        )
    if seconds > (TIME_US_MAX - TIME_US_MIN) / _SECOND_US:
        raise LimitError(field, f"{field} is {seconds} s, longer than ten millennia")
    if isinstance(seconds, int):
        return seconds * _SECOND_US
    return round(seconds * _SECOND_US)


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:TEXT_CHARS_MAX])
