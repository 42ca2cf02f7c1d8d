"""A vault that moves into another account, killed at every step.

A start finds the old vault or the new one, whole, and a move that is begun again
comes to its end.
"""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from awvault.columns.payload import COUNTER_MASK
from awvault.crypto.keys import Passphrase
from awvault.crypto.slots import Ring
from awvault.errors import WrongPassphraseError
from awvault.joining import joining_path, make_vault
from awvault.processes import DataDirectory
from awvault.protocol.account import open_account, verify_documents
from awvault.protocol.edits import AddClient, new_client_key, new_keystore
from awvault.testing import CHEAP, PASSPHRASE, killing_steps, open_vault
from awvault.vault import Vault
from tests.helpers.clients import account_of, seal_whole
from tests.helpers.joining import move
from tests.helpers.randomness import Seeded
from tests.helpers.vaults import A, B, beat, bucket, contents, correct, insert

LOCAL = "the passphrase of the local vault"
STEPS = ("resealed", "journal-resealed", "kept", "replaced", "read-only")

pytestmark = pytest.mark.timeout(600)

KILLED = """
import asyncio, sys
from pathlib import Path
from tests.durability.test_move import move_until_killed
asyncio.run(move_until_killed(Path(sys.argv[1]), sys.argv[2]))
"""

Shown = dict[str, list[tuple[int, int, int, int, int, bytes]]]


def shown(vault: Vault) -> Shown:
    """Return all that is shown but for whose number it has."""
    return {
        name: [
            (
                row.id & COUNTER_MASK,
                row.revision,
                row.start,
                row.duration,
                row.flags,
                row.text,
            )
            for row in rows
        ]
        for name, (_, rows) in contents(vault).items()
    }


async def make(root: Path) -> Path:
    """Make a vault with several records, and the database that it moves into."""
    path = root / "local"
    async with await open_vault(path, passphrase=LOCAL) as vault:
        await bucket(vault)
        await bucket(vault, "gone")
        numbers: list[int] = []
        for at in range(3):
            numbers = await insert(vault, (at, 1, A), (at, 2, B))
            await correct(vault, numbers[0], at + 10, 1, B)
            await seal_whole(vault)
        await vault.delete_event("b", numbers[1])
        await vault.hide_bucket("gone")
        await beat(vault, 1_000)
    async with account_of(root) as (account, _):
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
    return path


async def move_until_killed(path: Path, where: str) -> None:
    """Move the vault, in a process that kills itself at a step if it names one."""
    async with await open_vault(path, passphrase=LOCAL) as vault:
        keys = vault.keys
    await move(
        DataDirectory(path),
        keys,
        ring=ring_of(joining_path(DataDirectory(path))),
        random=Seeded(f"move {where}"),
        step=killing_steps(where),
    )


def ring_of(database: Path) -> Ring:
    """Return the epoch keys of the account of a database."""
    with contextlib.closing(apsw.Connection(str(database))) as connection:
        account_id: Any = connection.execute("SELECT account_id FROM vault").get
        keys_blob: Any = connection.execute("SELECT blob FROM keys_blobs").get
        documents: list[Any] = [
            document
            for (document,) in connection.execute(
                "SELECT document FROM documents ORDER BY version"
            )
        ]
    account = verify_documents(account_id, documents)
    return open_account(Passphrase(PASSPHRASE), account, keys_blob, profile=CHEAP)


def run_until_killed(path: Path, where: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLED, path, where],
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", STEPS)
async def test_a_kill_at_each_step(tmp_path: Path, name: str) -> None:
    """Old or new, and nothing lost or doubled; the old one is kept in the end."""
    path = await make(tmp_path)
    async with await open_vault(path, passphrase=LOCAL) as vault:
        before = shown(vault)

    done = await asyncio.to_thread(run_until_killed, path, f"{name}:1")

    assert done.returncode == -signal.SIGKILL, done.stderr
    is_old = name in {"resealed", "journal-resealed", "kept"}
    assert joining_path(DataDirectory(path)).exists() is is_old
    if is_old:
        with pytest.raises(WrongPassphraseError):
            await open_vault(path)
        async with await open_vault(path, passphrase=LOCAL) as vault:
            assert shown(vault) == before
        done = await asyncio.to_thread(run_until_killed, path, "never")
        assert done.returncode == 0, done.stderr
    with pytest.raises(WrongPassphraseError):
        await open_vault(path, passphrase=LOCAL)
    async with await open_vault(path) as vault:
        assert shown(vault) == before
        assert vault.facts().records == 3
        assert await insert(vault, (2_000, 1, A))
    (kept,) = path.glob("vault.db.before-*")
    again = tmp_path / "again"
    again.mkdir(mode=0o700)
    shutil.copy(kept, again / "vault.db")
    (again / "vault.db").chmod(0o600)
    async with await open_vault(again, passphrase=LOCAL) as vault:
        assert shown(vault) == before
