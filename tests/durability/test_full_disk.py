"""A full disk: 507 with a clear message, nothing stored is lost, and it recovers."""

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from awserver.errors import StorageFullError
from awvault.testing import open_vault
from tests.durability.load import Api, Ledger, RefusedError, connected, moment
from tests.helpers.processes import Home, Root, Server, home, limit_file_size
from tests.helpers.vaults import bucket, contents, insert

DISK_BYTES: Final = 3 * 1024 * 1024
ROOM_BYTES: Final = 1024 * 1024
"""What the filler takes, and gives back."""

REQUESTS_MAX: Final = 2_000
DIGITS: Final = random.Random(3).randbytes(40_000).hex()


class Disk:
    """A small disk that can be filled, and given room again."""

    home: Home
    server: Server

    def make_room(self) -> None:
        """Give back a little, as whoever deletes a file does."""
        raise NotImplementedError

    def grow(self) -> None:
        """Give so much room that nothing is short of it."""


@dataclass
class TmpfsDisk(Disk):
    """A file system of its own, with a filler file."""

    directory: Path
    home: Home
    server: Server

    def make_room(self) -> None:
        (self.directory / "filler").unlink()

    def grow(self) -> None:
        options = f"remount,size={10 * DISK_BYTES}"
        subprocess.run(["mount", "-o", options, str(self.directory)], check=True)


@dataclass
class LimitedDisk(Disk):
    """The process may write no file beyond a size: where mounting is not allowed."""

    home: Home
    server: Server

    def make_room(self) -> None:
        limit_file_size(self.server.process.pid, -1)


@contextlib.contextmanager
def tmpfs(directory: Path) -> Iterator[None]:
    """Mount a small file system, or skip the test."""
    directory.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    options = f"size={DISK_BYTES},mode=700"
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "tmpfs", str(directory)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture(params=["tmpfs", "file size"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A server on a disk that has little room left."""
    with contextlib.ExitStack() as stack:
        small = tmp_path / "small"
        if request.param == "tmpfs":
            stack.enter_context(tmpfs(small))
        where = stack.enter_context(home(tmp_path / "home", root=Root.FORKED))
        if request.param == "tmpfs":
            where.data_dir = small / "data"
            assert where.run("init").status == 0
            (small / "filler").write_bytes(bytes(ROOM_BYTES))
            yield TmpfsDisk(small, where, where.serve())
        else:
            assert where.run("init").status == 0
            server = where.serve()
            limit_file_size(server.process.pid, DISK_BYTES - ROOM_BYTES)
            yield LimitedDisk(where, server)


async def fill(api: Api, ledger: Ledger, kind: str) -> RefusedError:
    """Send until the disk is full; return the refusal."""
    name = f"fill-{kind}"
    ledger.buckets.setdefault(name, False)
    with contextlib.suppress(RefusedError):
        await api.bucket(name)
        ledger.buckets[name] = True
    for at in range(REQUESTS_MAX):
        try:
            await _send(api, ledger, kind, name, at)
        except RefusedError as error:
            return error
    pytest.fail("the disk did not get full")


async def _send(api: Api, ledger: Ledger, kind: str, name: str, at: int) -> None:
    begin = next(ledger.clock)
    filler = DIGITS[at % 997 : at % 997 + 20_000]
    if kind == "bucket":
        made = f"{name}-{at}"
        ledger.buckets[made] = False
        body: dict[str, Any] = {"type": "t", "client": "c", "hostname": "h"}
        await api.call("POST", f"buckets/{made}", body | {"data": {"x": filler}})
        ledger.buckets[made] = True
        return
    count = 5 if kind == "bulk" else 1
    entries = ledger.new(name, count)
    events = [
        {
            "timestamp": moment(begin),
            "duration": 0.0,
            "data": {"n": entry.number, "x": filler},
        }
        for entry in entries
    ]
    if kind == "heartbeat":
        ids = [(await api.heartbeat(name, events[0], 0.0))["id"]]
    else:
        ids = await api.insert(name, events)
    for entry, event_id in zip(entries, ids, strict=True):
        ledger.acknowledge(entry, event_id)


@pytest.mark.parametrize("kind", ["heartbeat", "insert", "bulk", "bucket"])
async def test_a_full_disk(disk: Disk, kind: str) -> None:
    """507 says what to do; reads work; with room, the same request works."""
    ledger = Ledger()
    async with connected(disk.server.url) as api:
        for _ in range(5):
            refusal = await fill(api, ledger, kind)
            assert refusal.status == 507, refusal
            assert b"free" in refusal.body
            assert refusal.body.startswith(b'{"message"')
            # Nothing that was acknowledged is lost, and reading goes on.
            await ledger.check(api)
        assert disk.server.is_alive()
        disk.make_room()
        for again in ("heartbeat", "insert", "bulk", "bucket"):
            name = f"fill-{again}"
            ledger.buckets.setdefault(name, False)
            await api.bucket(name)
            ledger.buckets[name] = True
            await _send(api, ledger, again, name, 5_000)
        await ledger.check(api)
    assert "rror" not in disk.server.stdout.decode()
    # What memory shows is what is on the disk.
    disk.server.kill()
    disk.grow()
    server = disk.home.serve()
    async with connected(server.url) as api:
        await ledger.check(api)
    assert server.terminate()[0] == 0
    done = disk.home.run("verify")
    assert done.status == 0, (done.stdout, done.stderr)


async def test_killed_on_a_full_disk(disk: Disk) -> None:
    """A server killed while the disk is full starts again, and has everything."""
    ledger = Ledger()
    async with connected(disk.server.url) as api:
        refusal = await fill(api, ledger, "insert")
        assert refusal.status == 507
    disk.server.kill()
    disk.grow()
    server = disk.home.serve()
    async with connected(server.url) as api:
        await ledger.check(api)
        await _send(api, ledger, "insert", "fill-insert", 1)
        await ledger.check(api)


async def test_a_seal_on_a_full_disk(tmp_path: Path) -> None:
    """It fails whole: the journal keeps every event, and seals once there is room."""
    small = tmp_path / "small"
    with tmpfs(small):
        async with await open_vault(small / "v") as vault:
            await bucket(vault)
            generator = random.Random(5)
            filler = small / "filler"
            filler.write_bytes(bytes(ROOM_BYTES))
            for at in range(REQUESTS_MAX):
                text = b'{"x":"%s"}' % generator.randbytes(6_000).hex().encode()
                try:
                    # Below the limit at which a request seals by itself.
                    if vault.facts().journal_bytes > 200_000:
                        await vault.seal_now()
                    await insert(vault, (at, 1, text), (at, 2, text))
                except StorageFullError:
                    break
            else:
                pytest.fail("the disk did not get full")
            for _ in range(3):
                # A little may still fit where the write-ahead log has a hole.
                with contextlib.suppress(StorageFullError):
                    await vault.seal_now()
            before = contents(vault)
            filler.unlink()
            await insert(vault, (10**6, 1, b"{}"), (10**6, 2, b"{}"))
            await vault.seal_now()
            assert vault.facts().journal_events == 0
            after = contents(vault)
            assert after["b"][1][:-2] == before["b"][1]
        async with await open_vault(small / "v") as vault:
            assert contents(vault) == after
