"""How often something may be done: token buckets, in memory, of bounded size."""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from awserver.config import Rate, RateLimits
from awserver.errors import RateLimitedError
from awserver.service.times import Clock

BUCKETS_MAX: Final = 50_000
"""Buckets of one kind; the one that was not used for the longest is forgotten."""

_MINUTE_US: Final = 60_000_000
_IPV6_NETWORK_BYTES: Final = 8


class Buckets:
    """One bucket for each key, all of one rate."""

    def __init__(self, rate: Rate) -> None:
        """Begin with full buckets."""
        self._rate = rate
        self._buckets: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many buckets are in memory."""
        return len(self._buckets)

    def left(self, key: Hashable, now_us: int) -> float:
        """Return how many there are; below 1, none may be taken."""
        found = self._buckets.get(key)
        if found is None:
            return float(self._rate.burst)
        left, at_us = found
        grown = (now_us - at_us) * self._rate.per_minute / _MINUTE_US
        return min(float(self._rate.burst), left + grown)

    def wait_seconds(self, left: float) -> float:
        """Return how long to wait until there is one."""
        return (1.0 - left) * 60.0 / self._rate.per_minute

    def put(self, key: Hashable, left: float, now_us: int) -> None:
        """Note how many there are now, of which a full bucket is the most."""
        buckets = self._buckets
        buckets[key] = (min(float(self._rate.burst), left), now_us)
        buckets.move_to_end(key)
        if len(buckets) > BUCKETS_MAX:
            buckets.popitem(last=False)


class Limiter:
    """The limits of one kind of request: for accounts, addresses, and overall."""

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        """Begin with nothing used."""
        self._clock = clock
        self._account = _buckets(limits.account)
        self._address = _buckets(limits.address)
        self._overall = _buckets(limits.overall)

    def charge(
        self, *, account: Hashable | None = None, address: str | None = None
    ) -> None:
        """Count one request; raises `RateLimitedError`, and then counts nothing."""
        now_us = self._clock.micros()
        wanted = [
            (buckets, key, buckets.left(key, now_us))
            for buckets, key in (
                (self._account, account),
                (self._address, None if address is None else network_of(address)),
                (self._overall, "all"),
            )
            if buckets is not None and key is not None
        ]
        waits = [one.wait_seconds(left) for one, _, left in wanted if left < 1.0]
        if waits:
            raise RateLimitedError(retry_seconds=math.ceil(max(waits)))
        for buckets, key, left in wanted:
            buckets.put(key, left - 1.0, now_us)

    def forgive(self, account: Hashable) -> None:
        """Do not count for the account what turned out to be its owner."""
        if self._account is not None:
            now_us = self._clock.micros()
            left = self._account.left(account, now_us)
            self._account.put(account, left + 1.0, now_us)


def _buckets(rate: Rate | None) -> Buckets | None:
    return None if rate is None else Buckets(rate)


def network_of(address: str) -> bytes:
    """Return what counts as one address: an IPv4 address, or an IPv6 /64.

    Whatever is no address counts as one, so that it is limited too.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return b"?"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return parsed.packed[:_IPV6_NETWORK_BYTES]
        return parsed.ipv4_mapped.packed
    return parsed.packed
