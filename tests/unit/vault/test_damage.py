"""A damaged row: what is lost with it is named, and everything else is there."""

import contextlib
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
import zstandard as zstd

from awserver.errors import ServerError, StorageCorruptError
from awserver.records import Seq
from awvault.crypto.envelope import seal_record
from awvault.crypto.padding import FLOOR_LOCAL_BYTES, pad
from awvault.errors import Error, IntegrityError
from awvault.testing import open_vault
from awvault.verifying import verify
from tests.helpers.vaults import (
    A,
    B,
    Shown,
    beat,
    bucket,
    contents,
    correct,
    insert,
    read,
    us,
)


@contextlib.contextmanager
def database(directory: Path) -> Iterator[apsw.Connection]:
    """Give a connection to the file of a vault that is closed."""
    connection = apsw.Connection(str(directory / "vault.db"))
    connection.create_scalar_function("flip", flipped)
    try:
        yield connection
    finally:
        connection.close()


def damaged(blob: bytes) -> bytes:
    """Flip a bit in the middle."""
    at = len(blob) // 2
    return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]


def flipped(*values: Any) -> bytes:
    """Damage a blob, from SQL."""
    (value,) = values
    assert isinstance(value, bytes)
    return damaged(value)


def damage_journal(directory: Path, which: int) -> int:
    """Damage one journal row; return its number."""
    with database(directory) as connection:
        rows = list(connection.execute("SELECT jid, sealed FROM journal ORDER BY jid"))
        jid, sealed = rows[which]
        connection.execute(
            "UPDATE journal SET sealed = ? WHERE jid = ?", (damaged(sealed), jid)
        )
        return int(jid)


async def test_a_damaged_journal_row_is_named_and_the_others_survive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One event is missing; the log says which row; the row stays as it is."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        numbers = [(await insert(vault, (at * 100, 1, A)))[0] for at in range(4)]
    jid = damage_journal(path, 2)
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        caplog.clear()
        async with await open_vault(path) as vault:
            named = [r for r in caplog.records if getattr(r, "jid", None) == jid]
            assert named
            assert named[0].levelno == logging.ERROR
            facts = vault.facts()
            assert facts.damaged_journal_rows == 1
            assert [row.id for row in contents(vault)["b"][1]] == [
                numbers[0],
                numbers[2],
                numbers[3],
            ]
            await vault.seal_now()
            assert vault.facts().damaged_journal_rows == 1, "a seal keeps it"
    with database(path) as connection:
        assert list(
            connection.execute("SELECT count(*) FROM journal WHERE jid = ?", (jid,))
        ) == [(1,)]


async def test_a_row_number_of_a_damaged_row_is_not_used_again(tmp_path: Path) -> None:
    """What is written next does not overwrite it, even if it was the last."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await insert(vault, (0, 1, A))
    jid = damage_journal(path, -1)
    async with await open_vault(path) as vault:
        await insert(vault, (10, 1, B))
        assert read(vault) == [Shown(10, 1, B)]
    async with await open_vault(path) as vault:
        assert vault.facts().damaged_journal_rows == 1
        assert read(vault) == [Shown(10, 1, B)]
    with database(path) as connection:
        found = list(connection.execute("SELECT jid FROM journal ORDER BY jid"))
        assert found[-1][0] > jid


async def test_rows_swapped_in_the_journal_do_not_open(tmp_path: Path) -> None:
    """A row opens only at its own number."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await insert(vault, (0, 1, A))
        await insert(vault, (100, 1, B))
        await insert(vault, (200, 1, B))
    with database(path) as connection:
        rows = list(connection.execute("SELECT jid, sealed FROM journal ORDER BY jid"))
        (one, first), (other, second) = rows[1], rows[2]
        for jid, sealed in ((one, second), (other, first)):
            connection.execute(
                "UPDATE journal SET sealed = ? WHERE jid = ?", (sealed, jid)
            )
    async with await open_vault(path) as vault:
        assert vault.facts().damaged_journal_rows == 2
        assert read(vault) == [Shown(200, 1, B)]


INDEX_DAMAGE = {
    "flipped": "UPDATE index_rows SET sealed = flip(sealed) WHERE seq = 1",
    "all flipped": "UPDATE index_rows SET sealed = flip(sealed)",
    "missing": "DELETE FROM index_rows WHERE seq = 0",
    "all missing": "DELETE FROM index_rows",
    "empty": "UPDATE index_rows SET sealed = x'' WHERE seq = 1",
    "another record's": (
        "UPDATE index_rows SET sealed ="
        " (SELECT sealed FROM index_rows WHERE seq = 0) WHERE seq = 1"
    ),
    "of a record that is not there": (
        "INSERT INTO index_rows SELECT client_id, 99, sealed FROM index_rows LIMIT 1"
    ),
}


@pytest.mark.parametrize("how", INDEX_DAMAGE)
async def test_a_damaged_index_row_is_made_again(tmp_path: Path, how: str) -> None:
    """The index is a cache: whatever happens to it, the vault shows the same."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        for at in range(3):
            numbers = await insert(
                vault, (at * 100, 1, A), (at * 100, 2, B), (at * 100 + 5, -1, A)
            )
            await correct(vault, numbers[0], at * 100 + 1, 3, B)
            await vault.delete_event("b", numbers[1])
            await vault.seal_now()
        before = contents(vault)
        assert vault.facts().records == 3
    with database(path) as connection:
        connection.execute(INDEX_DAMAGE[how])
        assert connection.changes() > 0
    for _ in range(2):
        async with await open_vault(path) as vault:
            assert contents(vault) == before
            (number,) = await insert(vault, (1_000, 1, A))
            assert number not in {row.id for row in before["b"][1]}
            await vault.delete_event("b", number)


async def test_a_damaged_record_stops_only_who_reads_it(tmp_path: Path) -> None:
    """Other ranges are read, and heartbeats and inserts go on."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await bucket(vault, "c")
        for at in range(3):
            await insert(vault, (at * 1_000, 1, A), (at * 1_000 + 1, 1, B))
            await vault.seal_now()
        await insert(vault, (0, 1, A), (1, 1, A), name="c")
    with database(path) as connection:
        connection.execute("DROP TRIGGER bodies_no_update")
        connection.execute("UPDATE bodies SET body = flip(body) WHERE seq = 2")
    async with await open_vault(path) as vault:
        assert len(vault.read("b", end=us(1_500))) == 4
        with pytest.raises((IntegrityError, ServerError)):
            vault.read("b")
        with pytest.raises((IntegrityError, ServerError)):
            vault.read("b", start=us(2_000))
        assert len(read(vault, "c")) == 2
        row = await beat(vault, 2_002, 0, B)
        again = await beat(vault, 2_003, 0, B)
        assert again.id == row.id
        await insert(vault, (5_000, 1, A))
        assert await vault.seal_now() == 1
        assert len(vault.read("b", start=us(4_000))) == 1


async def test_every_row_of_the_journal_damaged(tmp_path: Path) -> None:
    """Nothing of the tail opens; the records do, and the vault can be used."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await insert(vault, (0, 1, A), (1, 1, B))
        await vault.seal_now()
        await insert(vault, (100, 1, A), (101, 1, B))
        await beat(vault, 200)
    with database(path) as connection:
        connection.execute("UPDATE journal SET sealed = flip(sealed)")
    async with await open_vault(path) as vault:
        assert read(vault) == [Shown(0, 1, A), Shown(1, 1, B)]
        assert vault.facts().damaged_journal_rows == 2
        await insert(vault, (300, 1, A))
        await vault.seal_now()
        assert len(read(vault)) == 3


async def test_a_missing_start_of_the_program_is_a_damaged_row(tmp_path: Path) -> None:
    """Without its random bytes a row's key cannot be derived: named, not fatal."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await vault.seal_now()
        await insert(vault, (0, 1, A))
    with database(path) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM boots")
    async with await open_vault(path) as vault:
        assert vault.facts().damaged_journal_rows == 1
        assert read(vault) == []
        await insert(vault, (1, 1, B))
    async with await open_vault(path) as vault:
        assert read(vault) == [Shown(1, 1, B)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vault SET keystore = flip(keystore)",
        "UPDATE keys_blobs SET blob = flip(blob)",
        "DELETE FROM keys_blobs",
        "DELETE FROM vault",
    ],
)
async def test_what_the_vault_cannot_do_without_is_named(
    tmp_path: Path, statement: str
) -> None:
    """Damage to keystore or slots is a typed error, and nothing is made anew."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await insert(vault, (0, 1, A))
    with database(path) as connection:
        connection.execute(statement)
        before = list(connection.execute("SELECT * FROM documents"))
    with pytest.raises(Error) as caught:
        await open_vault(path)
    assert str(caught.value)
    with database(path) as connection:
        assert list(connection.execute("SELECT * FROM documents")) == before


LOG_DAMAGE = {
    "a record put over another": (
        "UPDATE records SET (hash, header, signature) = (SELECT hash, header, signature"
        " FROM records WHERE seq = 0) WHERE seq = 1;"
        "UPDATE bodies SET body = (SELECT body FROM bodies WHERE seq = 0) WHERE seq = 1"
    ),
    "two records that changed places": (
        "UPDATE records SET seq = 77 WHERE seq = 1; UPDATE records SET seq = 1"
        " WHERE seq = 2; UPDATE records SET seq = 2 WHERE seq = 77;"
        "UPDATE bodies SET seq = 77 WHERE seq = 1; UPDATE bodies SET seq = 1"
        " WHERE seq = 2; UPDATE bodies SET seq = 2 WHERE seq = 77"
    ),
    "a record gone from the middle": (
        "DELETE FROM bodies WHERE seq = 1; DELETE FROM records WHERE seq = 1;"
        "DELETE FROM index_rows WHERE seq = 1"
    ),
    "a header that is none": "UPDATE records SET header = flip(header) WHERE seq = 1",
}


def damage_log(directory: Path, statements: str) -> None:
    """Change records as somebody can who writes the disk: without the triggers."""
    with database(directory) as connection:
        triggers = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
            )
        ]
        for name in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statements)


@pytest.mark.parametrize("how", LOG_DAMAGE)
async def test_a_log_is_shown_up_to_where_it_is_in_order(
    tmp_path: Path, how: str
) -> None:
    """No event comes twice or out of its place; the damage is named; work goes on."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        for at in (0, 100, 200):
            await insert(vault, (at, 1, A), (at + 5, 1, B))
            assert await vault.seal_now() == 1
        given = set(vault.read("b").id.tolist())
    damage_log(path, LOG_DAMAGE[how])

    async with await open_vault(path) as vault:
        (problem,) = vault.facts().stopped_logs
        assert read(vault) == [Shown(0, 1, A), Shown(5, 1, B)]
        new = await insert(vault, (300, 1, A))
        assert not given & set(new)
        with pytest.raises(IntegrityError):
            await vault.seal_now()
    assert problem

    async with await open_vault(path) as vault:
        assert read(vault)[-1] == Shown(300, 1, A)


async def test_a_record_put_over_another_while_open_is_not_read(tmp_path: Path) -> None:
    """A record opens where its header says, so a reader checks that it is there."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        for at in (0, 100):
            await insert(vault, (at, 1, A), (at + 5, 1, B))
            assert await vault.seal_now() == 1
        damage_log(path, LOG_DAMAGE["a record put over another"])

        with pytest.raises(IntegrityError, match="another record lies where record 1"):
            read(vault)


POISON = {
    "random bytes": b"\x93" * 700,
    "a payload of a newer version": b"\x09" + bytes(64),
    "a frame that grows beyond its limit": zstd.compress(bytes(64 * 1024 * 1024)),
}


@pytest.mark.parametrize("what", POISON)
async def test_t34_a_record_that_is_wrong_inside_is_passed_over(
    tmp_path: Path, what: str
) -> None:
    """Its own client sealed it, so the log goes on, and new records follow it."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await insert(vault, (0, 1, A), (5, 1, B))
        assert await vault.seal_now() == 1
        heads = await vault.store.heads(vault.keys.account_id)
        head = heads[vault.keys.client_id]
        content = POISON[what]
        if what.startswith("a frame"):
            content = b"\x01" + (16 * 1024 * 1024).to_bytes(4, "little") + content
        record = seal_record(
            vault.keys.epoch_key,
            vault.keys.client_key,
            account_id=vault.keys.account_id,
            client_id=vault.keys.client_id,
            epoch=0,
            seq=Seq(head.seq + 1),
            prev=head.hash,
            plaintext=pad(content, floor=FLOOR_LOCAL_BYTES),
            random=secrets.token_bytes,
        )
        await vault.store.append(vault.keys.account_id, [record])

    async with await open_vault(path) as vault:
        assert vault.facts().unreadable_records == 1
        assert vault.facts().stopped_logs == []
        await insert(vault, (100, 1, A), (105, 1, B))
        assert await vault.seal_now() == 1
        shown = read(vault)
    async with await open_vault(path) as vault:
        assert vault.facts().unreadable_records == 1
        assert read(vault) == shown
        assert [at.start for at in shown] == [0, 5, 100, 105]


async def test_journal_rows_that_come_back_are_no_second_events(tmp_path: Path) -> None:
    """Rows of before a seal, put back after it, are named and not shown."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await insert(vault, (0, 1, A))
        await insert(vault, (10, 1, B), (20, 1, A), (30, 1, B))
        numbers = await insert(vault, (40, 1, A))
        await correct(vault, numbers[0], 41, 2, B)
        await insert(vault, (50, 1, A))
    with database(path) as connection:
        boots = list(connection.execute("SELECT boot, random FROM boots"))
        rows = list(connection.execute("SELECT jid, boot, write, sealed FROM journal"))
    async with await open_vault(path) as vault:
        assert await vault.seal_now() == 1
        shown = read(vault)
        count = vault.count("b")
    with database(path) as connection:
        connection.executemany("INSERT OR IGNORE INTO boots VALUES (?, ?)", boots)
        connection.executemany(
            "INSERT OR IGNORE INTO journal VALUES (?, ?, ?, ?)", rows
        )

    async with await open_vault(path) as vault:
        # The bucket's own row is a version like any other, and changes nothing.
        assert vault.facts().repeated_journal_rows >= 4
        assert read(vault) == shown
        assert vault.count("b") == count
        await insert(vault, (60, 1, A), (70, 1, B))
        await vault.seal_now()
        assert vault.count("b") == count + 2
        result = await verify(vault.database, vault.store, vault.keys, lambda _: None)
    assert any("journal holds" in finding.problem for finding in result.findings)


async def test_a_planted_trigger_is_refused(tmp_path: Path) -> None:
    """What somebody adds to the schema could take back what is acknowledged later."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
    with database(path) as connection:
        connection.execute(
            "CREATE TRIGGER planted BEFORE INSERT ON journal"
            " BEGIN SELECT RAISE(IGNORE); END"
        )
    with pytest.raises(StorageCorruptError, match='trigger "planted"'):
        await open_vault(path)


async def test_triggers_that_are_gone_are_made_again(tmp_path: Path) -> None:
    """Records are immutable again from the next start on."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await insert(vault, (0, 1, A), (5, 1, B))
        assert await vault.seal_now() == 1
    damage_log(path, "SELECT 1")
    async with await open_vault(path):
        pass
    with (
        database(path) as connection,
        pytest.raises(apsw.ConstraintError, match="immutable"),
    ):
        connection.execute("DELETE FROM records")
