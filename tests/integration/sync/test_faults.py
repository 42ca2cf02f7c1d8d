"""A network that fails at any moment: nothing is lost, nothing comes twice."""

from pathlib import Path

import pytest

from awvault.errors import TransportError
from awvault.sync.channel import Limits
from tests.helpers.fault_proxy import End, Fault
from tests.helpers.syncing import Member, cut_off
from tests.helpers.vaults import bucket, insert, read

RECORDS = 12
IMPATIENT = Limits(connect_seconds=1.0, stall_seconds=0.3)

CUTS = [0, 1, 50, 300, 1_000, 2_500, 4_000, 6_000]
"""Bytes of a body after which a connection ends: in each of its parts."""


async def fill(member: Member, count: int) -> None:
    """Seal records of one event each, whose data does not compress."""
    await bucket(member.vault, "window")
    for number in range(count):
        data = b'{"app":"%s"}' % (number.to_bytes(64, "big").hex() * 3).encode()
        await insert(
            member.vault, (number, 1, data), (number + 0.5, 0, data), name="window"
        )
        await member.vault.seal_now()


async def try_round(member: Member) -> bool:
    try:
        await member.sync()
    except TransportError:
        return False
    return True


@pytest.mark.parametrize("end", [End.RESET, End.CLOSE, End.HALF, End.STALL])
async def test_a_pull_goes_on_where_it_was_cut(tmp_path: Path, end: End) -> None:
    """Whatever came whole is kept, so every try brings it further."""
    async with cut_off(tmp_path, IMPATIENT) as (proxy, one, two):
        await fill(one, RECORDS)
        await one.seal_and_sync()
        for after in CUTS:
            proxy.set(Fault(end=end, after=after, in_body=True, connections=1))
            before = two.vault.replica.heads().get(one.client_id)
            await try_round(two)
            now = two.vault.replica.heads().get(one.client_id)
            assert before is None or (now is not None and now.seq >= before.seq)
            proxy.heal()
            proxy.drop()
        assert await try_round(two)
        assert two.alarms() == {}
        assert read(two.vault, "window") == read(one.vault, "window")
        assert two.vault.replica.heads() == one.vault.replica.heads()


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_an_upload_that_was_cut_is_made_once(
    tmp_path: Path, direction: str
) -> None:
    """Also where the host had stored it, and only its answer was lost."""
    async with cut_off(tmp_path, IMPATIENT) as (proxy, one, two):
        await fill(one, 0)
        for number, after in enumerate(CUTS):
            await insert(one.vault, (number, 1, b"{}"), name="window")
            await one.vault.seal_now()
            proxy.set(
                Fault(
                    end=End.RESET,
                    after=after,
                    in_body=True,
                    direction="up" if direction == "up" else "down",
                    connections=2,
                )
            )
            await try_round(one)
            proxy.heal()
            proxy.drop()
        await one.seal_and_sync()
        assert one.alarms() == {}
        await two.sync()
        assert read(two.vault, "window") == read(one.vault, "window")
        assert len(read(two.vault, "window")) == len(CUTS)


async def test_a_host_that_is_away_is_told_and_comes_back(tmp_path: Path) -> None:
    """Refused connections are an error of the transport, and cost nothing."""
    async with cut_off(tmp_path, IMPATIENT) as (proxy, one, two):
        await fill(one, 2)
        proxy.refuse()
        proxy.drop()
        for _ in range(3):
            with pytest.raises(TransportError):
                await one.sync()
        assert one.alarms() == {}
        proxy.accept()
        await one.seal_and_sync()
        await two.sync()
        assert read(two.vault, "window") == read(one.vault, "window")


async def test_one_log_that_stalls_does_not_hold_the_others(tmp_path: Path) -> None:
    """The own log is uploaded all the same, and the round says that it failed."""
    async with cut_off(tmp_path, IMPATIENT) as (proxy, one, two):
        await fill(one, RECORDS)
        await one.seal_and_sync()
        await bucket(two.vault, "afk")
        await insert(two.vault, (1, 1, b"{}"), name="afk")
        # The answers of the round are small but for the log of the first client.
        proxy.set(Fault(end=End.STALL, after=3_000, in_body=True, connections=1))
        with pytest.raises(TransportError):
            await two.seal_and_sync()
        assert two.remote.acknowledged is not None
        proxy.heal()
        await one.sync()
        assert len(read(one.vault, "afk")) == 1
