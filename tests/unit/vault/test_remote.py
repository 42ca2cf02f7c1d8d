"""The notes on the remote host: sealed, for this client alone, and kept short."""

import asyncio
from pathlib import Path

import apsw
import msgspec
import pytest
from msgspec.structs import replace

from awserver.records import Head, RecordHash, Seq
from awserver.storage.sqlite.database import Transaction
from awvault.errors import UnsupportedSuiteError, VaultDamagedError
from awvault.remote import (
    FORMAT,
    INCIDENTS_MAX,
    Alarm,
    Attempt,
    Place,
    Remote,
    RemoteNotes,
)
from awvault.testing import open_vault
from awvault.vault import Vault
from tests.helpers.randomness import Seeded

REMOTE = Remote(
    url="https://Example.org/",
    insecure=False,
    username="ann",
    acknowledged=Place.of(Head(seq=Seq(3), hash=RecordHash(b"h" * 32))),
    synced_us=5,
    seen={"c" * 32: 4},
    attempt=Attempt(document=b"document", keys_blob=None),
)


def notes(vault: Vault) -> RemoteNotes:
    return RemoteNotes(vault.database, vault.keys, random=Seeded("notes"))


def saw_another_second(remote: Remote) -> Remote:
    assert remote.synced_us is not None
    return replace(remote, synced_us=remote.synced_us + 1)


def alarm(name: str = "rolled-back", client: str | None = "c" * 32) -> Alarm:
    return Alarm(
        name=name,
        client_id=client,
        sentence=f"{name} happened",
        repair="mend it",
        since_us=-1,
    )


async def test_notes_are_kept_and_tell_nothing(tmp_path: Path) -> None:
    """They come back after a start, and the file holds no word of them."""
    async with await open_vault(tmp_path / "v") as vault:
        assert notes(vault).load() is None
        await notes(vault).save(REMOTE)
    async with await open_vault(tmp_path / "v") as vault:
        assert notes(vault).load() == REMOTE
    for file in (tmp_path / "v").iterdir():
        content = file.read_bytes().lower()
        assert b"example.org" not in content
        assert b"ann" + b'"' not in content


async def test_nobody_s_change_is_lost(tmp_path: Path) -> None:
    """Changes that are made at the same time by two parties all count."""
    async with await open_vault(tmp_path / "v") as vault:
        one, two = notes(vault), notes(vault)
        assert await one.update(lambda _: REMOTE) is None
        await one.save(REMOTE)

        await asyncio.gather(
            *(one.update(saw_another_second) for _ in range(20)),
            *(two.update(saw_another_second) for _ in range(20)),
            two.update(lambda remote: replace(remote, attempt=None)),
        )

        assert one.load() == replace(REMOTE, synced_us=45, attempt=None)


async def test_a_remote_is_forgotten(tmp_path: Path) -> None:
    """After that there is none, also after a start."""
    async with await open_vault(tmp_path / "v") as vault:
        await notes(vault).save(REMOTE)
        await notes(vault).forget()
        assert notes(vault).load() is None
    async with await open_vault(tmp_path / "v") as vault:
        assert notes(vault).load() is None
        await notes(vault).save(REMOTE)
        assert notes(vault).load() == REMOTE


async def test_notes_of_another_vault_do_not_open(tmp_path: Path) -> None:
    """The row of one client says nothing to another, and that is said."""
    async with (
        await open_vault(tmp_path / "a") as ours,
        await open_vault(tmp_path / "b") as theirs,
    ):
        await notes(ours).save(REMOTE)
    moved = apsw.Connection(str(tmp_path / "a" / "vault.db"))
    sealed = moved.execute("SELECT sealed FROM remote").get
    other = apsw.Connection(str(tmp_path / "b" / "vault.db"))
    other.execute("INSERT INTO remote VALUES (1, ?)", (sealed,))
    other.close()
    moved.close()
    async with await open_vault(tmp_path / "b") as theirs:
        with pytest.raises(VaultDamagedError, match="do not open"):
            notes(theirs).load()


async def test_notes_of_a_newer_program_are_not_guessed_at(tmp_path: Path) -> None:
    """Another format is named, not taken for damage."""
    async with await open_vault(tmp_path / "v") as vault:
        newer = msgspec.structs.replace(REMOTE, format=FORMAT + 1)
        await notes(vault).save(newer)
        with pytest.raises(UnsupportedSuiteError, match="update"):
            notes(vault).load()


async def test_notes_can_be_written_with_other_rows(tmp_path: Path) -> None:
    """In a transaction that fails, they are not written either."""

    def work(tx: Transaction) -> None:
        notes(vault).put_within(tx, REMOTE)
        raise RuntimeError

    async with await open_vault(tmp_path / "v") as vault:
        with pytest.raises(RuntimeError):
            await vault.database.write(work)
        assert notes(vault).load() is None


def test_an_alarm_keeps_the_time_it_began() -> None:
    """What goes on is not news; what begins and ends is an incident, once."""
    first = REMOTE.with_alarms([alarm()], now_us=10)
    later = first.with_alarms([alarm(), alarm("forked")], now_us=20)
    over = later.with_alarms([], now_us=30)

    assert [(a.name, a.since_us) for a in first.alarms] == [("rolled-back", 10)]
    assert [(a.name, a.since_us) for a in later.alarms] == [
        ("rolled-back", 10),
        ("forked", 20),
    ]
    assert over.alarms == []
    assert [(i.at_us, i.name, i.sentence) for i in over.incidents] == [
        (10, "rolled-back", "rolled-back happened"),
        (20, "forked", "forked happened"),
        (30, "rolled-back", "ended: rolled-back happened"),
        (30, "forked", "ended: forked happened"),
    ]


def test_alarms_of_two_logs_are_two() -> None:
    """An alarm is of one kind and one log."""
    both = REMOTE.with_alarms([alarm(), alarm(client=None), alarm()], now_us=1)

    assert [a.client_id for a in both.alarms] == ["c" * 32, None]
    assert len(both.incidents) == 2


def test_a_host_cannot_fill_the_notes() -> None:
    """However often alarms come and go, only the last incidents are kept."""
    remote = REMOTE
    for now_us in range(2 * INCIDENTS_MAX):
        remote = remote.with_alarms([alarm()] if now_us % 2 == 0 else [], now_us=now_us)
    remote = remote.with_incident("x", None, "s" * 9999, now_us=0)

    assert len(remote.incidents) == INCIDENTS_MAX
    assert len(msgspec.json.encode(remote)) < 64 * 1024
