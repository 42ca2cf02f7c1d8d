"""How arguments become values."""

from datetime import UTC, datetime, timedelta
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
    """Two dates or times in ISO 8601 with a slash between them; the text as it is."""

    name = "period"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return `value` if it is a period."""
        text = str(value)
        start, slash, end = text.partition("/")
        if not slash:
            self.fail(
                f'"{text[:_PERIOD_CHARS_MAX]}" is not two times with a slash between',
                param,
                ctx,
            )
        if TIME.convert(start, param, ctx) > TIME.convert(end, param, ctx):
            self.fail("its end is before its start", param, ctx)
        return text


TIME: Final = TimeType()
PERIOD: Final = PeriodType()
SECONDS: Final = SecondsType()
