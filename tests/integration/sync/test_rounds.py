"""Rounds of several clients with a real host: what one records, all show, once."""

from pathlib import Path

from tests.helpers.syncing import two_clients
from tests.helpers.vaults import A, B, bucket, contents, insert, read


async def test_what_one_client_records_all_show(tmp_path: Path) -> None:
    """Both ways, each event once, however often they sync."""
    async with two_clients(tmp_path) as (_, one, two):
        await bucket(one.vault, "window")
        await insert(one.vault, (0, 1, A), (5, 1, B), name="window")
        await bucket(two.vault, "afk")
        await insert(two.vault, (9, 1, A), name="afk")
        for member in (one, two, one, two, one):
            done = await member.seal_and_sync()
            assert done.alarms == []

        assert contents(one.vault).keys() == {"window", "afk"}
        for name in ("window", "afk"):
            assert read(one.vault, name) == read(two.vault, name)
        assert len(read(two.vault, "window")) == 2
