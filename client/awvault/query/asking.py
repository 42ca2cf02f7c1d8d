"""The periods that a query is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from awvault.columns import timestamps
from awvault.errors import InvalidInputError, LimitError
from awvault.query.errors import shown

PERIODS_MAX: Final = 1_000
"""Periods of one query: days of three years, hours of a month."""


@dataclass(frozen=True, slots=True)
class Period:
    """A period of time; microseconds since 1970, UTC, both ends inclusive."""

    start: int
    end: int
    start_text: str
    """The start in ISO 8601, as the query finds it in `STARTTIME`."""
    end_text: str

    @classmethod
    def parse(cls, text: str, *, field: str) -> Self:
        """Return the period of two times with "/" between them.

        What stands behind a further "/" is of no account. Raises
        `InvalidInputError` naming `field`.
        """
        parts = text.split("/")
        if len(parts) < 2:
            raise InvalidInputError(
                field,
                f'expected two times with "/" between them, got "{shown(text)}"',
            )
        return cls(
            start=timestamps.parse(parts[0], field=field),
            end=timestamps.parse(parts[1], field=field),
            start_text=_as_isoformat(parts[0]),
            end_text=_as_isoformat(parts[1]),
        )


def parse_periods(texts: Sequence[str], *, field: str) -> list[Period]:
    """Return the periods of a query; raises `InvalidInputError` as `Period.parse`."""
    if len(texts) > PERIODS_MAX:
        raise LimitError(
            field, f"has {len(texts)} periods, at most {PERIODS_MAX} are read"
        )
    return [Period.parse(text, field=f"{field}[{at}]") for at, text in enumerate(texts)]


def _as_isoformat(text: str) -> str:
    """Return a time, which was parsed before, with its own offset from UTC."""
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return timestamps.render(timestamps.parse(text))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
