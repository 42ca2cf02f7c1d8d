"""What whoever runs a host decides."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

ORIGINS_MAX: Final = 8
"""Addresses of one host: a proof that fails is tried with each of them."""


class Registration(StrEnum):
    """Who may make an account."""

    CLOSED = "closed"
    INVITE = "invite"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How much may be done: `burst` at once, and `per_minute` from then on."""

    burst: int
    per_minute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Limits of one kind of request. None: there is none of this sort."""

    account: Rate | None
    """For one account, or one username."""
    address: Rate | None
    """For one IPv4 address, or one IPv6 /64."""
    overall: Rate | None


def _few(account: float, address: float, overall: float) -> RateLimits:
    """Return limits whose bursts are what a minute allows."""
    return RateLimits(
        account=Rate(burst=int(account), per_minute=account),
        address=Rate(burst=int(address), per_minute=address),
        overall=Rate(burst=int(overall), per_minute=overall),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What the service needs to know; the same for every account."""

    origins: tuple[str, ...]
    """Of this host, in their one form: proofs for other origins are refused."""
    registration: Registration = Registration.CLOSED
    quota_bytes: int | None = None
    """What an account may store that has no quota of its own. None: no limit."""
    prelogin: RateLimits = field(
        default_factory=lambda: RateLimits(
            account=None,
            address=Rate(burst=60, per_minute=60),
            overall=Rate(burst=6_000, per_minute=6_000),
        )
    )
    """Not for one name: whoever asks for it often would keep its owner out."""
    proofs: RateLimits = field(default_factory=lambda: _few(20, 60, 3_000))
    """Of everything that takes a proof; of those by a client's key, which cannot
    be guessed, only for the address and overall."""
    edits: RateLimits = field(default_factory=lambda: _few(30, 60, 3_000))
    """Of proofs that come with a session: a new document, the end of the account.
    Apart from `proofs`, which anyone can use up for a name."""
    registrations: RateLimits = field(default_factory=lambda: _few(5, 10, 60))
    requests: RateLimits = field(
        default_factory=lambda: RateLimits(
            account=Rate(burst=6_000, per_minute=60_000), address=None, overall=None
        )
    )
    """Of everything that takes a token."""

    def __post_init__(self) -> None:
        """Refuse a host without an address, or with too many."""
        if not 1 <= len(self.origins) <= ORIGINS_MAX:
            raise ValueError(
                f"a host has 1 to {ORIGINS_MAX} origins, got {len(self.origins)}"
            )
