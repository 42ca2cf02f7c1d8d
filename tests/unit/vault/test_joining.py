"""A machine with a vault of its own joins another account, with all that it holds."""

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import apsw
import pytest

from awserver.records import Seq
from awvault.columns.payload import COUNTER_BITS
from awvault.crypto.envelope import seal_record
from awvault.crypto.padding import FLOOR_LOCAL_BYTES, FLOOR_REMOTE_BYTES, pad
from awvault.errors import InvalidInputError, VaultDamagedError, WrongPassphraseError
from awvault.joining import discard, joining_path, make_vault, swap
from awvault.processes import DataDirectory
from awvault.protocol.edits import AddClient, new_client_key, new_keystore
from awvault.sealing import Step
from awvault.testing import open_vault
from awvault.unlocked import Unlocked
from awvault.vault import Vault
from tests.helpers.clients import (
    Account,
    account_of,
    exchange,
    pull,
    seal_whole,
)
from tests.helpers.joining import Moved, move
from tests.helpers.randomness import Seeded
from tests.helpers.vaults import (
    A,
    B,
    Contents,
    beat,
    bucket,
    contents,
    correct,
    insert,
    read,
)

Joining = tuple[Account, Vault, Path]


@pytest.fixture
async def joining(tmp_path: Path) -> AsyncIterator[Joining]:
    """An account with one client, and the directory of a vault that joins it."""
    path = tmp_path / "local"
    async with await open_vault(path) as vault:
        await fill(vault)
    async with account_of(made(tmp_path / "account")) as (account, first):
        yield account, first, path


def made(path: Path) -> Path:
    path.mkdir()
    return path


async def fill(vault: Vault) -> None:
    """Leave something of every kind, in records and in the journal."""
    await bucket(vault)
    await bucket(vault, "web", "web.tab.current")
    await bucket(vault, "hidden")
    await bucket(vault, "activity_x")
    numbers = await insert(vault, *((at, 1, b'{"n":%d}' % at) for at in range(50)))
    await insert(vault, (0, 1, A), (1, -1, B), name="web")
    await insert(vault, (0, 1, A), (2, 1, B), name="hidden")
    await insert(vault, (0, 1, A), (2, 1, B), name="activity_x")
    await vault.preferences.set("theme", b"1")
    await vault.preferences.set("views", b"1")
    await seal_whole(vault)
    await correct(vault, numbers[0], 700, 3, B)
    await vault.delete_event("b", numbers[1])
    await seal_whole(vault)
    await correct(vault, numbers[2], 800, 3, B)
    await vault.delete_event("b", numbers[3])
    await vault.hide_bucket("hidden")
    await vault.preferences.set("theme", b"2")
    await insert(vault, (60, 1, A), (61, 1, B), name="web")
    await beat(vault, 5_000)
    await beat(vault, 5_003)


async def prepare(account: Account, path: Path) -> None:
    """Add a client to the account, and make its database beside the vault."""
    key = new_client_key(account.opened, account.random)
    account.edit(AddClient(client=key, label="joined"))
    await make_vault(
        joining_path(DataDirectory(path)),
        account_id=account.opened.account.document.account_id,
        client_id=key.client_id,
        documents=account.documents,
        keys_blob=account.keys_blob,
        keystore=new_keystore(
            account.opened, account.opened.account, key, account.random
        ),
    )


async def keys_of(path: Path) -> tuple[Unlocked, Contents]:
    async with await open_vault(path) as vault:
        return vault.keys, contents(vault)


async def join(
    account: Account, path: Path, *, step: Step = lambda _: None
) -> tuple[Contents, Moved]:
    """Move a vault into the account; return what it showed before."""
    await prepare(account, path)
    keys, before = await keys_of(path)
    return before, await move(
        DataDirectory(path),
        keys,
        ring=account.opened.ring,
        random=Seeded("move"),
        step=step,
    )


def renumbered(found: Contents, number: int) -> object:
    """Return what is shown but for whose number and label it has."""
    mask = (1 << COUNTER_BITS) - 1
    return {
        name: [
            row._replace(
                id=number << COUNTER_BITS | row.id & mask,
                bucket_id=number << COUNTER_BITS | row.bucket_id & mask,
            )
            for row in rows
        ]
        for name, (_, rows) in found.items()
    }


async def test_everything_moves(joining: Joining) -> None:
    """Events, revisions, tombstones, hidden buckets, preferences, what is open."""
    account, first, path = joining
    before, moved = await join(account, path)
    assert moved.resealed.records == 3
    assert moved.resealed.left_rows == moved.resealed.unreadable_records == 0

    async with await open_vault(path) as vault:
        assert vault.keys.account_id == first.keys.account_id
        number = vault.keys.client_number
        assert number == 2
        assert contents(vault) == {
            name: (vault.bucket(name), rows)
            for name, rows in renumbered(before, number).items()  # type: ignore[attr-defined]
        }
        assert vault.facts().hidden_buckets == 1
        assert vault.facts().journal_rows == moved.resealed.journal_rows
        # The open event goes on in its row, and counters go on where they were.
        (newest,) = vault.read("b", limit=1).id.tolist()
        row = await beat(vault, 5_006)
        assert (row.id, row.revision, row.duration) == (newest, 0, 6_000_000)
        (event,) = await insert(vault, (9_000, 1, A))
        assert event == newest + 1
        assert await vault.create_bucket("new", type="test")
        sizes = {
            record.header.body_bytes
            for record in await vault.store.read(
                vault.keys.account_id, vault.keys.client_id, start=Seq(0)
            )
        }
        assert min(sizes) >= FLOOR_REMOTE_BYTES
        # And the account's other clients see all of it.
        await account.adopt(first)
        await exchange(vault, first)
        assert set(first.buckets()) == set(vault.buckets())
        assert read(first) == read(vault)
        for one in (first, vault):
            assert one.preferences.all() == {"theme": b"2", "views": b"1"}
        assert {bucket.client_label for bucket in first.buckets().values()} == {
            "joined"
        }


async def test_what_the_account_prefers_counts_before_what_the_machine_did(
    joining: Joining,
) -> None:
    """However new that is; what the account had not said yet comes along."""
    account, first, path = joining
    await first.preferences.set("theme", b"0")
    await first.preferences.set("classes", b"0")
    await first.preferences.set("privacy_filters", b'[{"action":"drop","text":"x"}]')
    async with await open_vault(path) as vault:
        await vault.preferences.set("classes", b"1")
        await seal_whole(vault)
        await vault.preferences.set("privacy_filters", b"[]")
    await join(account, path)

    async with await open_vault(path) as vault:
        await account.adopt(first)
        await exchange(vault, first)
        for one in (first, vault):
            assert one.preferences.all() == {
                "classes": b"0",
                "privacy_filters": b'[{"action":"drop","text":"x"}]',
                "theme": b"0",
                "views": b"1",
            }
        await vault.preferences.set("theme", b"3")
        await exchange(vault, first)
        assert first.preferences.get("theme") == b"3"


async def test_the_old_vault_is_kept(joining: Joining) -> None:
    """Read-only, under its account's id; it still opens with its own passphrase."""
    account, _, path = joining
    old, _ = await keys_of(path)

    before, moved = await join(account, path)

    assert moved.kept == path / f"vault.db.before-{old.account_id.hex()[:8]}"
    assert moved.kept.stat().st_mode & 0o777 == 0o400
    assert not joining_path(DataDirectory(path)).exists()
    assert sorted(file.name for file in path.iterdir()) == sorted(
        ["vault.db", moved.kept.name, "vault.lock"]
    )
    again = path.parent / "again"
    again.mkdir(mode=0o700)
    (again / "vault.db").write_bytes(moved.kept.read_bytes())
    (again / "vault.db").chmod(0o600)
    async with await open_vault(again) as vault:
        assert contents(vault) == before


@pytest.mark.skipif(os.name == "nt", reason="its files have no such mode")
@pytest.mark.parametrize("has_links", [True, False])
async def test_no_kill_leaves_a_database_open_to_others(
    joining: Joining, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    """Whatever mode the old one had, and whether the disk can give second names."""
    account, _, path = joining
    (path / "vault.db").chmod(0o644)
    modes: set[int] = set()

    def look(_: str) -> None:
        modes.update(file.stat().st_mode & 0o077 for file in path.glob("vault.db*"))

    def copy(source: BinaryIO, target: BinaryIO) -> None:
        look("copying")
        target.write(source.read())

    def no_links(link: Path, _: Path) -> None:
        raise OSError(errno.EPERM, "no links here", str(link))

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
        monkeypatch.setattr("awvault.joining.shutil.copyfileobj", copy)
        old, _ = await keys_of(path)
        left = path / f"vault.db.before-{old.account_id.hex()[:8]}.copy"
        left.touch(mode=0o644)

    def watch(name: str) -> None:
        if name in {"kept", "replaced", "read-only"}:
            look(name)

    umask = os.umask(0)
    try:
        await join(account, path, step=watch)
    finally:
        os.umask(umask)

    assert modes == {0}


async def test_the_passphrase_is_that_of_the_account(tmp_path: Path) -> None:
    """That of the vault before opens nothing any more but the file that is kept."""
    path = tmp_path / "local"
    async with await open_vault(path, passphrase="local one") as vault:
        await fill(vault)
    async with account_of(made(tmp_path / "account")) as (account, _):
        await prepare(account, path)
        async with await open_vault(path, passphrase="local one") as vault:
            keys = vault.keys
        await move(
            DataDirectory(path), keys, ring=account.opened.ring, random=Seeded("move")
        )

        with pytest.raises(WrongPassphraseError):
            await open_vault(path, passphrase="local one")
        async with await open_vault(path) as vault:
            assert vault.count("b") == 49


async def test_what_was_begun_is_gone_on_with(joining: Joining) -> None:
    """A run that failed halfway seals nothing twice when it is called again."""
    account, _, path = joining
    await prepare(account, path)
    keys, before = await keys_of(path)
    for stop in ("resealed", "journal-resealed", "kept"):

        def step(name: str, stop: str = stop) -> None:
            if name == stop:
                raise InjectedError

        with pytest.raises(InjectedError):
            await move(
                DataDirectory(path),
                keys,
                ring=account.opened.ring,
                random=Seeded("move"),
                step=step,
            )
        # A start finds the old vault, as it was.
        assert (await keys_of(path))[1] == before

    await move(
        DataDirectory(path), keys, ring=account.opened.ring, random=Seeded("again")
    )

    async with await open_vault(path) as vault:
        assert renumbered(contents(vault), 2) == renumbered(before, 2)
        assert vault.facts().records == 3


class InjectedError(Exception):
    """What a step raises."""


async def test_a_new_database_can_be_given_up(joining: Joining) -> None:
    """Nothing of it stays, and the vault is as it was."""
    account, _, path = joining
    await prepare(account, path)
    keys, before = await keys_of(path)

    def step(name: str) -> None:
        if name == "kept":
            raise InjectedError

    with pytest.raises(InjectedError):
        await move(
            DataDirectory(path),
            keys,
            ring=account.opened.ring,
            random=Seeded("move"),
            step=step,
        )

    discard(DataDirectory(path))

    assert sorted(file.name for file in path.iterdir()) == ["vault.db", "vault.lock"]
    assert (await keys_of(path))[1] == before
    await prepare(account, path)


async def test_only_a_vault_of_one_client_moves(tmp_path: Path) -> None:
    """The numbers of several would meet those of the account's own clients."""
    async with account_of(made(tmp_path / "two")) as (two, first):
        second = await two.join("lap")
        await bucket(second)
        await seal_whole(second)
        await two.adopt(first)
        await pull(first, second)
        path, keys = first.database.path.parent, first.keys
        await first.close()
        async with account_of(made(tmp_path / "account")) as (account, _):
            await prepare(account, path)

            with pytest.raises(InvalidInputError, match="several clients"):
                await move(
                    DataDirectory(path),
                    keys,
                    ring=account.opened.ring,
                    random=Seeded("move"),
                )


async def test_a_damaged_vault_does_not_move(joining: Joining) -> None:
    """Not all of it could come along: it is left as it is, and says why."""
    account, _, path = joining
    await prepare(account, path)
    keys, _ = await keys_of(path)
    with apsw.Connection(str(path / "vault.db")) as database:
        database.execute("DROP TRIGGER records_no_delete")
        database.pragma("foreign_keys", False)
        database.execute("DELETE FROM records WHERE seq = 1")

    with pytest.raises(VaultDamagedError, match="damaged"):
        await move(
            DataDirectory(path), keys, ring=account.opened.ring, random=Seeded("move")
        )


async def test_what_cannot_be_read_is_counted(joining: Joining) -> None:
    """A record of nonsense leaves an empty one; a journal row that is damaged stays."""
    account, _, path = joining
    async with await open_vault(path) as vault:
        keys, head = vault.keys, vault.replica.heads()[vault.keys.client_id]
        nonsense = seal_record(
            keys.epoch_key,
            keys.client_key,
            account_id=keys.account_id,
            client_id=keys.client_id,
            epoch=0,
            seq=Seq(head.seq + 1),
            prev=head.hash,
            plaintext=pad(b"nonsense", floor=FLOOR_LOCAL_BYTES),
            random=vault._random,
        )
        await vault.store.append(keys.account_id, [nonsense])
    with apsw.Connection(str(path / "vault.db")) as database:
        database.execute(
            "UPDATE journal SET sealed = x'00'"
            " WHERE jid = (SELECT min(jid) FROM journal)"
        )

    before, moved = await join(account, path)

    assert moved.resealed.unreadable_records == 1
    assert moved.resealed.left_rows == 1
    assert moved.resealed.records == 4
    async with await open_vault(path) as vault:
        assert renumbered(contents(vault), 2) == renumbered(before, 2)
        assert not vault.facts().unreadable_records


async def test_a_database_that_was_not_closed_is_not_replaced(
    joining: Joining,
) -> None:
    """What lies beside it would be lost, or taken for the new one's."""
    account, _, path = joining
    await prepare(account, path)
    keys, _ = await keys_of(path)
    (path / "vault.db-wal").write_bytes(b"something")

    with pytest.raises(VaultDamagedError, match="was not closed"):
        swap(DataDirectory(path), keys.account_id)
