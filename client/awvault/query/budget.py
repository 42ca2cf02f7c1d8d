"""What one query may take: seconds, events, bytes of data. And the end of it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from awvault.query.errors import QueryInterpretError

SECONDS_MAX: Final = 30.0
"""Seconds of one query with all its periods, once it runs; so long do clients wait."""

EVENTS_MAX: Final = 20_000_000
"""Events of all lists that one query makes, together: 32 bytes each."""

DATA_BYTES_MAX: Final = 128 * 1024 * 1024
"""Bytes of the distinct data that one query reads, as text, and of what it makes."""

MADE_BYTES: Final = 200
"""What data that a function made counts: a dict, whose values are mostly shared."""

LOOP_EVENTS: Final = 4_096
"""Events between two looks at the clock, where a function goes from one to the next."""


class Budget:
    """Counts what a query takes; raises `QueryInterpretError` when it is too much.

    Made in one thread, used in another; `cancel` may come from any.
    """

    def __init__(
        self,
        *,
        seconds_max: float = SECONDS_MAX,
        events_max: int = EVENTS_MAX,
        data_bytes_max: int = DATA_BYTES_MAX,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Let a query have this much; `wanted`: somebody still waits for its answer."""
        self._seconds_max = seconds_max
        self._events_max = events_max
        self._data_bytes_max = data_bytes_max
        self._end = time.monotonic() + seconds_max
        self._events = 0
        self._data_bytes = 0
        self._wanted = wanted
        self._cancelled = threading.Event()

    def begin(self) -> None:
        """Count the seconds from now on: before, the query has only waited."""
        self._end = time.monotonic() + self._seconds_max

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Count no seconds meanwhile: the query waits for whoever reads its answer."""
        began = time.monotonic()
        yield
        self._end += time.monotonic() - began

    def cancel(self) -> None:
        """Let the query end soon: nobody waits for its answer."""
        self._cancelled.set()

    def seconds_left(self) -> float:
        """Return the seconds that are left; raises if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise QueryInterpretError(
                f"the query takes longer than {self._seconds_max:g} seconds:"
                " ask for a shorter period, or for less"
            )
        if self._cancelled.is_set() or not self._wanted():
            raise QueryInterpretError("the query was given up")
        return left

    def check(self) -> None:
        """Raise if the time is over, or nobody waits any more."""
        self.seconds_left()

    def take_events(self, count: int) -> None:
        """Count the events of a list that was made."""
        self._events += count
        if self._events > self._events_max:
            raise QueryInterpretError(
                f"the query makes lists of more than {self._events_max} events in all:"
                " ask for a shorter period, or for less"
            )
        self.check()

    def take_data(self, size: int) -> None:
        """Count the bytes of data that were read or made."""
        self._data_bytes += size
        if self._data_bytes > self._data_bytes_max:
            raise QueryInterpretError(
                f"the query reads or makes more than {self._data_bytes_max} bytes of"
                " data: ask for a shorter period, or for less"
            )
