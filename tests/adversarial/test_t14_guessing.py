"""T14: guesses are counted, wherever they come from, and learn nothing.

The adversary tries passphrases at a host: from one address and from many, for
one account and for all.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from awserver.config import Rate, RateLimits, ServiceSettings
from awserver.wire import PreloginRequest
from tests.helpers.hosts import Answer, Member, Visitor, visitor
from tests.helpers.lying_host import LOOPBACK, LyingHost, lying_host

LIMITED: Final = (429, "rate-limited")
FEW: Final = 5
MINUTE_US: Final = 60_000_000
FORWARDED: Final = "X-Forwarded-For"


def few(**which: bool) -> RateLimits:
    """Return limits of a few of the named kinds, and none of the others."""
    rate = Rate(burst=FEW, per_minute=FEW)
    return RateLimits(
        account=rate if "account" in which else None,
        address=rate if "address" in which else None,
        overall=rate if "overall" in which else None,
    )


@asynccontextmanager
async def behind_a_proxy(
    directory: Path, limits: RateLimits
) -> AsyncIterator[tuple[LyingHost, Visitor]]:
    """Run a host that believes this machine's proxy who asks."""
    async with (
        lying_host(
            directory, trusted_proxies=(f"{LOOPBACK}/32",), proofs=limits
        ) as host,
        visitor(host.url) as at,
    ):
        yield host, at


async def guess(
    member: Member, at: Visitor, address: str, *, right: bool = False, by: str = "login"
) -> Answer:
    """Send one proof from an address."""
    request = await member.session_request(at, by=by)
    if not right:
        request = replace(request, signature=bytes(64))
    return await at.post("/sessions", request, **{FORWARDED: address})


async def test_one_account_from_many_addresses(tmp_path: Path) -> None:
    """However many addresses guess, an account has a few tries a minute."""
    async with behind_a_proxy(tmp_path, few(account=True)) as (host, at):
        alice, bob = Member("alice"), Member("bob", username="bob")
        for member in (alice, bob):
            await member.register(at)

        guesses = [await guess(alice, at, f"192.0.2.{n}") for n in range(FEW + 2)]
        right = await guess(alice, at, "198.51.100.1", right=True)
        other = await guess(bob, at, "192.0.2.1", right=True)
        by_key = await guess(alice, at, "192.0.2.1", right=True, by="client")
        host.late_us = MINUTE_US
        later = await guess(alice, at, "192.0.2.1", right=True)

    assert [one.status for one in guesses] == [401] * FEW + [429] * 2
    # No luck for the right guess either, so an attacker learns nothing from it.
    assert right.code == guesses[-1].code == LIMITED
    assert int(guesses[-1].headers["Retry-After"]) > 0
    assert other.status == 201
    # The owner's own clients hold keys that nobody guesses, and are not locked out.
    assert by_key.status == 201
    assert later.status == 201


async def test_a_name_that_nobody_has_is_counted_alike(tmp_path: Path) -> None:
    """The limit does not tell which names exist."""
    async with behind_a_proxy(tmp_path, few(account=True)) as (_, at):
        alice, nobody = Member("alice"), Member("nobody", username="nobody")
        await alice.register(at)

        answers = [
            [await guess(who, at, f"192.0.2.{n}") for n in range(FEW + 1)]
            for who in (alice, nobody)
        ]

    known, unknown = answers
    assert [one.body for one in known] == [one.body for one in unknown]
    assert known[-1].code == LIMITED


@pytest.mark.parametrize(
    "address",
    [
        lambda n: "192.0.2.1",
        lambda n: f"2001:db8:1:2::{n:x}",
        lambda n: f"2001:db8:1:2:{n:x}::1",
        lambda n: f"::ffff:192.0.2.{1}",
    ],
    ids=["ipv4", "ipv6-hosts", "ipv6-of-one-network", "ipv4-mapped"],
)
async def test_many_accounts_from_one_address(
    tmp_path: Path, address: Callable[[int], str]
) -> None:
    """One address, or one network of a provider's customer, has a few tries."""
    async with behind_a_proxy(tmp_path, few(address=True)) as (_, at):
        people = [Member(f"p{n}", username=f"p{n}") for n in range(FEW + 2)]

        guesses = [
            await guess(one, at, address(n)) for n, one in enumerate(people, start=1)
        ]
        elsewhere = await guess(people[0], at, "203.0.113.9")

    assert [one.status for one in guesses] == [401] * FEW + [429] * 2
    assert elsewhere.status == 401


async def test_everybody_from_everywhere(tmp_path: Path) -> None:
    """A botnet that guesses at all accounts meets one limit for all."""
    async with behind_a_proxy(tmp_path, few(overall=True)) as (_, at):
        guesses = [
            await guess(Member(f"p{n}", username=f"p{n}"), at, f"192.0.2.{n}")
            for n in range(FEW + 2)
        ]

    assert [one.status for one in guesses] == [401] * FEW + [429] * 2


async def test_nobody_chooses_their_own_address(tmp_path: Path) -> None:
    """Who is no trusted proxy says in vain who they are."""
    async with (
        lying_host(tmp_path, proofs=few(address=True)) as host,
        visitor(host.url) as at,
    ):
        member = Member("alice")

        guesses = [await guess(member, at, f"192.0.2.{n}") for n in range(FEW + 2)]

    assert [one.status for one in guesses] == [401] * FEW + [429] * 2


async def test_a_guess_with_a_session_counts(tmp_path: Path) -> None:
    """Who stole a token guesses no faster, and takes no login from the owner."""
    async with (
        lying_host(tmp_path, edits=few(account=True)) as host,
        visitor(host.url) as at,
    ):
        member = Member("alice")
        mine = await member.register(at)
        request = await member.delete_request(mine)
        wrong = replace(request, signature=bytes(64))

        answers = [await mine.post("/account/delete", wrong) for _ in range(FEW + 1)]
        login = await member.session_request(at, by="login")
        answer = await at.post("/sessions", login)

    assert [one.status for one in answers] == [401] * FEW + [429]
    assert answer.status == 201


async def test_prelogin_is_counted(tmp_path: Path) -> None:
    """Salts and nonces are given out with measure."""
    async with (
        lying_host(tmp_path, prelogin=few(address=True)) as host,
        visitor(host.url) as at,
    ):
        answers = [
            await at.post("/prelogin", PreloginRequest(username=f"p{n}"))
            for n in range(FEW + 1)
        ]

    assert [one.status for one in answers] == [200] * FEW + [429]


def test_a_host_has_limits_unless_it_is_told_otherwise() -> None:
    """Every kind of proof is limited per account, per address, and overall."""
    settings = ServiceSettings(origins=("https://host.example",))
    kinds = {one.name for one in fields(ServiceSettings) if "Limits" in str(one.type)}

    assert kinds == {"edits", "prelogin", "proofs", "registrations", "requests"}
    # Whoever asks for a name must not keep its owner from asking.
    assert settings.prelogin.account is None
    for kind in kinds - {"requests"}:
        limits: RateLimits = getattr(settings, kind)
        for rate in (limits.account, limits.address, limits.overall):
            if rate is not None or kind != "prelogin":
                assert rate is not None
                assert 0 < rate.per_minute <= rate.burst * 60
        assert limits.address is not None
    assert settings.proofs.account is not None
    # At this rate, a passphrase of 60 bits lasts longer than the sun.
    assert settings.proofs.account.per_minute <= 60
