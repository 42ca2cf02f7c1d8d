"""How arguments become values."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

import click

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_CHARS_MAX: Final = 64
_SECONDS_CHARS_MAX: Final = 32
_PERIOD_CHARS_MAX: Final = 2 * _TIME_CHARS_MAX + 1


class TimeType(click.ParamType[int]):
    """A date or time in ISO 8601; microseconds since 1970. No offset: UTC."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return `value` as microseconds."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(str(value)[:_TIME_CHARS_MAX])
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return (moment - _EPOCH) // timedelta(microseconds=1)
        except (ValueError, OverflowError):
            self.fail(
                f'"{value}" is not a date or time, such as 2026-11-24 or'
                " 2026-11-24T09:30:00+01:00",
                param,
                ctx,
            )


class SecondsType(click.ParamType[int]):
    """A number of seconds, not negative; microseconds."""

    name = "seconds"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return `value` as microseconds."""
        from awvault.service import microseconds

        if isinstance(value, int):
            return value
        try:
            duration = microseconds(Decimal(str(value)[:_SECONDS_CHARS_MAX]))
        except (InvalidOperation, ValueError):
            self.fail(f'"{value}" is not a number of seconds', param, ctx)
        if duration < 0:
            self.fail(f'"{value}" is negative', param, ctx)
        return duration


class PeriodType(click.ParamType[str]):
    """A day of this machine, or two dates or times with a slash between them.

    The text of two times. Two that are given stay as they are.
    """

    name = "period"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return `value` if it is a period."""
        text = str(value)
        start, slash, end = text.partition("/")
        if not slash:
            try:
                return _local_day(text)
            except (ValueError, OverflowError):
                self.fail(
                    f'"{text[:_PERIOD_CHARS_MAX]}" is neither a day, such as'
                    " 2026-11-24, today or yesterday, nor two times with a slash"
                    " between, such as 2026-11-24/2026-11-25",
                    param,
                    ctx,
                )
        if TIME.convert(start, param, ctx) > TIME.convert(end, param, ctx):
            self.fail("its end is before its start", param, ctx)
        return text


def _local_day(text: str) -> str:
    """Return the period of a day, from midnight to midnight where this machine is.

    Raises ValueError or OverflowError if it is no day.
    """
    today = date.today()  # noqa: DTZ011 - the day as a person here counts it
    match text:
        case "today":
            day = today
        case "yesterday":
            day = today - timedelta(days=1)
        case _:
            day = date.fromisoformat(text)
    # Without an offset, a time is of this machine: each midnight has its own.
    start, end = (
        datetime.combine(each, time.min).astimezone()
        for each in (day, day + timedelta(days=1))
    )
    return f"{start.isoformat()}/{end.isoformat()}"


TIME: Final = TimeType()
PERIOD: Final = PeriodType()
SECONDS: Final = SecondsType()
