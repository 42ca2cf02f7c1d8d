"""Token buckets: what they let through, what counts as one, and how many there are."""

import pytest

from awserver.config import Rate, RateLimits, ServiceSettings
from awserver.errors import RateLimitedError
from awserver.service.limits import BUCKETS_MAX, Buckets, Limiter, network_of
from awserver.service.times import Clock
from tests.helpers.services import TurnedClock


@pytest.fixture
def turned() -> TurnedClock:
    return TurnedClock()


def limits(
    *,
    account: Rate | None = None,
    address: Rate | None = None,
    overall: Rate | None = None,
) -> RateLimits:
    return RateLimits(account=account, address=address, overall=overall)


def taken(limiter: Limiter, times: int, **whom: str) -> int:
    """Return how many of so many requests were let through."""
    through = 0
    for _ in range(times):
        try:
            limiter.charge(**whom)
        except RateLimitedError:
            continue
        through += 1
    return through


def test_a_burst_and_then_a_rate(turned: TurnedClock) -> None:
    """A bucket is full at first, empties, and fills no further than it was."""
    limiter = Limiter(limits(overall=Rate(burst=3, per_minute=60)), Clock(turned))
    assert taken(limiter, 5) == 3
    turned.turn(seconds=2)
    assert taken(limiter, 5) == 2
    turned.turn(hours=1)
    assert taken(limiter, 5) == 3


def test_whoever_is_refused_is_told_for_how_long(turned: TurnedClock) -> None:
    """After that time, and not before, it is taken."""
    limiter = Limiter(limits(overall=Rate(burst=1, per_minute=6)), Clock(turned))
    limiter.charge()
    with pytest.raises(RateLimitedError) as caught:
        limiter.charge()
    assert caught.value.retry_seconds == 10
    turned.turn(seconds=9.9)
    assert taken(limiter, 1) == 0
    turned.turn(seconds=0.1)
    assert taken(limiter, 1) == 1


def test_each_account_and_address_has_its_own(turned: TurnedClock) -> None:
    """And all share the overall one."""
    rate = Rate(burst=2, per_minute=1)
    limiter = Limiter(
        limits(account=rate, address=rate, overall=Rate(burst=7, per_minute=1)),
        Clock(turned),
    )
    assert taken(limiter, 9, account="ada", address="192.0.2.1") == 2
    assert taken(limiter, 9, account="ada", address="192.0.2.2") == 0
    assert taken(limiter, 9, account="bob", address="192.0.2.1") == 0
    assert taken(limiter, 9, account="bob", address="192.0.2.2") == 2
    assert taken(limiter, 9) == 3


def test_a_refusal_counts_nothing(turned: TurnedClock) -> None:
    """One who is over his own limit takes nothing from the others'."""
    limiter = Limiter(
        limits(
            account=Rate(burst=1, per_minute=1), overall=Rate(burst=2, per_minute=1)
        ),
        Clock(turned),
    )
    assert taken(limiter, 50, account="ada") == 1
    assert taken(limiter, 1, account="bob") == 1


def test_what_is_forgiven_was_not_counted(turned: TurnedClock) -> None:
    """For the account; never beyond a full bucket."""
    limiter = Limiter(limits(account=Rate(burst=2, per_minute=1)), Clock(turned))
    for _ in range(10):
        limiter.charge(account="ada")
        limiter.forgive("ada")
    limiter.forgive("ada")
    assert taken(limiter, 9, account="ada") == 2


def test_memory_is_bounded(turned: TurnedClock) -> None:
    """Of more keys than there is room for the one unused for the longest goes."""
    buckets = Buckets(Rate(burst=1, per_minute=1))
    now_us = Clock(turned).micros()
    for key in range(BUCKETS_MAX):
        buckets.put(key, 0.0, now_us)
    buckets.put(0, 0.0, now_us)
    buckets.put(BUCKETS_MAX, 0.0, now_us)
    assert len(buckets) == BUCKETS_MAX
    assert buckets.left(0, now_us) == 0
    assert buckets.left(1, now_us) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("nonsense", "", True),
        ("nonsense", "192.0.2.1", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, *, same: bool) -> None:
    """An IPv4 address, or the network of an IPv6 one; whatever is none is one."""
    assert (network_of(one) == network_of(other)) is same


@pytest.mark.parametrize("count", [0, 9])
def test_a_host_has_a_few_origins(count: int) -> None:
    """None would refuse every proof; many would make each refusal dear."""
    with pytest.raises(ValueError, match=f"got {count}"):
        ServiceSettings(origins=tuple(f"https://h{n}" for n in range(count)))
