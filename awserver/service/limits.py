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

    def __init__(self, rate: Rate, clock: Clock) -> None:
        """Begin with full buckets."""
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many buckets are in memory."""
        return len(self._buckets)

    def wait_seconds(self, key: Hashable) -> float:
        """Return how long to wait for one; 0: there is one."""
        missing = 1.0 - self._left(key)
        return max(0.0, missing * 60.0 / self._rate.per_minute)

    def take(self, key: Hashable) -> None:
        """Take one, which `wait_seconds` has found to be there."""
        self._put(key, self._left(key) - 1.0)

    def give_back(self, key: Hashable) -> None:
        """Take back a `take`."""
        self._put(key, self._left(key) + 1.0)

    def _left(self, key: Hashable) -> float:
        found = self._buckets.get(key)
        if found is None:
            return float(self._rate.burst)
        left, at_us = found
        grown = (self._clock.micros() - at_us) * self._rate.per_minute / _MINUTE_US
        return min(float(self._rate.burst), left + grown)

    def _put(self, key: Hashable, left: float) -> None:
        self._buckets[key] = (min(float(self._rate.burst), left), self._clock.micros())
        self._buckets.move_to_end(key)
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)


class Limiter:
    """The limits of one kind of request: for accounts, addresses, and overall."""

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        """Begin with nothing used."""
        self._account = _buckets(limits.account, clock)
        self._address = _buckets(limits.address, clock)
        self._overall = _buckets(limits.overall, clock)

    def charge(
        self, *, account: Hashable | None = None, address: str | None = None
    ) -> None:
        """Count one request; raises `RateLimitedError`, and then counts nothing."""
        wanted = [
            (buckets, key)
            for buckets, key in (
                (self._account, account),
                (self._address, None if address is None else network_of(address)),
                (self._overall, "all"),
            )
            if buckets is not None and key is not None
        ]
        wait = max((one.wait_seconds(key) for one, key in wanted), default=0.0)
        if wait > 0:
            raise RateLimitedError(retry_seconds=math.ceil(wait))
        for buckets, key in wanted:
            buckets.take(key)

    def forgive(self, account: Hashable) -> None:
        """Do not count for the account what turned out to be its owner."""
        if self._account is not None:
            self._account.give_back(account)


def _buckets(rate: Rate | None, clock: Clock) -> Buckets | None:
    return None if rate is None else Buckets(rate, clock)


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
