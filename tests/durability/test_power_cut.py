"""A power cut: what was written and not synced is gone; what was acknowledged is not.

SIGKILL leaves to the operating system what the process wrote. A power cut does
not. Here SQLite writes through a layer that notes what each file held when it
was last synced, and the vault is opened again from those notes alone.
"""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import apsw
import pytest

from awvault.testing import open_vault
from awvault.vault import Vault
from tests.helpers.vaults import A, B, beat, bucket, contents, correct, insert

BASE: Final = apsw.vfs_names()[0]
"""The layer beneath, which is the operating system's."""


@dataclass(slots=True)
class Disk:
    """What would be on the disk after a power cut: by path, what was synced."""

    synced: dict[Path, bytes] = field(default_factory=dict)
    syncs: int = 0

    def cut(self, source: Path, target: Path) -> None:
        """Make the directory that is found when the power is back."""
        target.mkdir(mode=0o700)
        for path, held in self.synced.items():
            if path.parent == source and path.exists():
                (target / path.name).write_bytes(held)
                (target / path.name).chmod(0o600)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: object, flags: list[int]) -> None:
        super().__init__(BASE, name, flags)  # type: ignore[arg-type]
        self._disk = disk
        self._path = Path(
            name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        )

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        super().xSync(flags)
        self._disk.syncs += 1
        self._disk.synced[self._path] = self._path.read_bytes()


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        super().__init__(name, base=BASE, makedefault=True)

    def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self._disk, name, flags)


_numbers = itertools.count()


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk through which every database of this process is written."""
    noted = Disk()
    vfs = _Vfs(noted, f"noting-{next(_numbers)}")
    try:
        yield noted
    finally:
        vfs.unregister()
        assert apsw.vfs_names()[0] == BASE


async def _after_a_cut(disk: Disk, source: Path, target: Path) -> Vault:
    disk.cut(source, target)
    return await open_vault(target)


async def test_the_layer_notes_what_is_synced(tmp_path: Path, disk: Disk) -> None:
    """Without syncs nothing is noted, so the tests below can fail."""
    connection = apsw.Connection(str(tmp_path / "x.db"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "off")
    before = disk.syncs
    connection.execute("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    assert disk.syncs == before
    connection.pragma("synchronous", "full")
    connection.execute("INSERT INTO t VALUES (2)")
    assert disk.syncs > before
    connection.close()


async def test_each_answer_is_on_disk(tmp_path: Path, disk: Disk) -> None:
    """After every single request, the power is cut; what it answered is there."""
    source = tmp_path / "v"
    numbers = itertools.count()
    async with await open_vault(source) as vault:

        async def check() -> None:
            before = contents(vault)
            target = tmp_path / f"after-{next(numbers)}"
            async with await _after_a_cut(disk, source, target) as found:
                assert contents(found) == before

        await bucket(vault)
        await check()
        for second in range(3):
            await beat(vault, second, 0)
            await check()
        ids = await insert(vault, (100, 1, A), (101, 1, B))
        await check()
        await correct(vault, ids[0], 102, 2, B)
        await check()
        await vault.seal_now()
        await check()
        await vault.delete_event("b", ids[1])
        await check()
        await insert(vault, (200, 1, A))
        await vault.seal_now()
        await check()
        await bucket(vault, "c")
        await vault.hide_bucket("c")
        await check()


async def test_requests_that_share_a_commit(tmp_path: Path, disk: Disk) -> None:
    """Fifty at once: every answer, at the moment it comes, is on disk."""
    source = tmp_path / "v"
    async with await open_vault(source) as vault:
        await bucket(vault)
        images: list[tuple[set[int], dict[Path, bytes]]] = []

        async def one(at: int) -> None:
            found = await insert(vault, (at, 1, A))
            images.append((set(found), dict(disk.synced)))

        await asyncio.gather(*(one(at) for at in range(50)))
        assert disk.syncs < 200, "they share commits"
        answered: set[int] = set()
        for at, (ids, synced) in enumerate(images):
            answered |= ids
            if at % 10:
                continue
            target = tmp_path / f"after-{at}"
            Disk(synced).cut(source, target)
            async with await open_vault(target) as found:
                held = {row.id for row in contents(found)["b"][1]}
                assert answered <= held


async def test_a_closed_vault_is_whole(tmp_path: Path, disk: Disk) -> None:
    """After closing, the files as they were synced are a vault that has it all."""
    source = tmp_path / "v"
    async with await open_vault(source) as vault:
        await bucket(vault)
        await insert(vault, *((at, 1, A) for at in range(300)))
        await vault.seal_now()
        await beat(vault, 1_000)
        before = contents(vault)
    async with await _after_a_cut(disk, source, tmp_path / "after") as found:
        assert contents(found) == before
