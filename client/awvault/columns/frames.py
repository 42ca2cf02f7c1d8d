"""Events as columns with names, for whoever computes with them.

Data is parsed once for each distinct text, and gathered: of a day's events about
one in seven is distinct.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from awvault.columns import jsontext
from awvault.columns.table import EventTable
from awvault.errors import MissingPackageError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

OWN_COLUMNS: Final = ("id", "start", "duration")
"""Columns that every bucket has. A key of the data with such a name has a dot before
it: `.id`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Events of one bucket, a column for each key of their data; none is cut.

    `start` is microseconds since 1970, UTC; `duration` is microseconds, -1 where an
    event has no end. Arrays have one length.
    """

    id: NDArray[np.int64]
    start: NDArray[np.int64]
    duration: NDArray[np.int64]
    data: Mapping[str, Sequence[Any]]
    """By key; None where an event does not have it. Values as JSON has them."""

    @classmethod
    def of(cls, table: EventTable) -> Self:
        """Return the columns of a table."""
        distinct = [jsontext.decode(text) for text in table.texts]
        # In the order in which they first come, whatever texts are unused.
        keys = dict.fromkeys(
            key for text in dict.fromkeys(table.data.tolist()) for key in distinct[text]
        )
        rows = table.data.tolist()
        data: dict[str, Sequence[Any]] = {}
        for key in keys:
            values = [one.get(key) for one in distinct]
            name = f".{key}" if key in OWN_COLUMNS else key
            data[name] = [values[text] for text in rows]
        return cls(id=table.id, start=table.start, duration=table.duration, data=data)

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.id)

    def to_pandas(self) -> "pd.DataFrame":
        """Return a data frame; raises `MissingPackageError` without pandas."""
        pandas: Any = _imported("pandas")
        duration = self.duration.astype("timedelta64[us]")
        frame: pd.DataFrame = pandas.DataFrame(
            {
                "id": self.id,
                "start": pandas.Series(
                    self.start.astype("datetime64[us]")
                ).dt.tz_localize("UTC"),
                "duration": np.where(
                    self.duration < 0, np.timedelta64("NaT", "us"), duration
                ),
                **{name: list(values) for name, values in self.data.items()},
            }
        )
        return frame

    def to_polars(self) -> "pl.DataFrame":
        """Return a data frame; raises `MissingPackageError` without polars."""
        polars: Any = _imported("polars")
        start = polars.Series("start", self.start).cast(polars.Datetime("us", "UTC"))
        duration = polars.Series("duration", self.duration)
        frame: pl.DataFrame = polars.DataFrame(
            [
                polars.Series("id", self.id),
                start,
                duration.set(duration < 0, None).cast(polars.Duration("us")),
                *(
                    polars.Series(name, list(values), strict=False)
                    for name, values in self.data.items()
                ),
            ]
        )
        return frame


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingPackageError(name) from None
