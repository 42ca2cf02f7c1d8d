"""Numbers and copies that lie beside what is sealed: altering them does no harm."""

from pathlib import Path

import apsw
import pytest

from awvault.testing import open_vault
from tests.helpers.vaults import A, B, bucket, contents, insert, read


def alter(directory: Path, statement: str) -> None:
    """Change the file behind the program's back, past its triggers."""
    database = apsw.Connection(str(directory / "vault.db"))
    triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for (name,) in triggers.fetchall():
        database.execute(f'DROP TRIGGER "{name}"')
    database.execute(statement)
    assert database.changes(), statement
    database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET jid = -1 WHERE jid = 3",
        "UPDATE journal SET write = -1 WHERE jid = 3",
        "UPDATE journal SET write = 1000 WHERE jid = 3",
        "UPDATE journal SET boot = 9223372036854775807 WHERE jid = 3",
    ],
)
async def test_a_row_with_an_impossible_number_is_a_damaged_row(
    tmp_path: Path, statement: str
) -> None:
    """The vault opens, counts the row as damaged, and shows all others."""
    async with await open_vault(tmp_path) as vault:
        await bucket(vault)
        (kept,) = await insert(vault, (0, 1, A))
        await insert(vault, (10, 1, B))
    alter(tmp_path, statement)

    async with await open_vault(tmp_path) as vault:
        assert vault.facts().damaged_journal_rows == 1
        assert [row.id for row in contents(vault)["b"][1]] == [kept]


async def test_a_record_follows_the_one_before_and_not_a_copy_of_its_hash(
    tmp_path: Path,
) -> None:
    """The hash that lies beside the newest record is altered, and sealing goes on."""
    async with await open_vault(tmp_path) as vault:
        await bucket(vault)
        await insert(vault, (0, 1, A), (1, 1, B))
        assert await vault.seal_now() == 1
    alter(tmp_path, "UPDATE records SET hash = zeroblob(32)")

    async with await open_vault(tmp_path) as vault:
        await insert(vault, (10, 1, A), (11, 1, B))
        assert await vault.seal_now() == 1
        before = contents(vault)
    async with await open_vault(tmp_path) as vault:
        assert contents(vault) == before
        assert vault.facts().records == 2


@pytest.mark.parametrize("sealed", [False, True], ids=["journal", "record"])
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM journal WHERE jid = 1",
        "UPDATE journal SET sealed = zeroblob(length(sealed)) WHERE jid = 1",
    ],
    ids=["gone", "damaged"],
)
async def test_the_events_of_a_lost_bucket_are_not_shown_in_another(
    tmp_path: Path, statement: str, sealed: bool
) -> None:
    """A bucket that is made later gets a number of its own."""
    async with await open_vault(tmp_path) as vault:
        await bucket(vault, "windows")
        await insert(vault, (0, 1, A), (1, 1, B), name="windows")
    alter(tmp_path, statement)

    async with await open_vault(tmp_path) as vault:
        assert not vault.buckets()
        if sealed:
            assert await vault.seal_now() == 1
    async with await open_vault(tmp_path) as vault:
        await bucket(vault, "afk")
        assert read(vault, "afk") == []
