"""The host's clock, in the units that the service thinks in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

ClockUs = Callable[[], int]
"""Gives microseconds since 1970."""

Random = Callable[[int], bytes]
"""Gives so many random bytes."""

SESSION_HOURS_MAX: Final = 30 * 24
"""A session that was not used for so long has ended."""

INVITE_HOURS: Final = 7 * 24
"""An invitation serves for so long."""

_SECOND_US: Final = 1_000_000
_HOUR_SECONDS: Final = 3600


@dataclass(slots=True)
class Clock:
    """Time that never goes back, whatever the machine's clock does.

    Else a nonce that was used, and forgotten for its age, would be young again.
    """

    now_us: ClockUs
    _latest_us: int = 0

    def micros(self) -> int:
        """Return microseconds since 1970."""
        now_us = self.now_us()
        self._latest_us = max(self._latest_us, now_us)
        return self._latest_us

    def seconds(self) -> int:
        """Return whole seconds since 1970."""
        return self.micros() // _SECOND_US

    def hour(self) -> int:
        """Return whole hours since 1970: as fine as any time that is stored."""
        return self.seconds() // _HOUR_SECONDS

    def seen_hour_min(self) -> int:
        """Return the hour before which a session must not have been used last."""
        return self.hour() - SESSION_HOURS_MAX
