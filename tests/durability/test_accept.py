"""Records and documents of other clients, when the disk or the power fails.

Whatever happens: memory shows what the disk holds, what is there was verified
and is there once, heads and view agree, and the same pages offered again bring
the rest.
"""

import asyncio
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import apsw
import pytest

from awserver.errors import ServerError
from awserver.records import ClientId, Head, SealedRecord, Seq
from awserver.wire import FrameReader, decode_documents, encode_documents, encode_frame
from awvault.errors import Error
from awvault.opening import Composition
from awvault.testing import COMPOSITION, killing_steps, open_vault
from awvault.vault import Vault
from tests.helpers.clients import account_of, exchange, seal_whole
from tests.helpers.vaults import (
    A,
    B,
    Contents,
    beat,
    bucket,
    contents,
    correct,
    insert,
)

DATABASE_STEPS = ("begin", "work", "worked", "commit", "committed")
ACCEPT_STEPS = (
    "documents-inserted",
    "accepted-records-inserted",
    "accepted-index-inserted",
    "accepted",
)

pytestmark = [
    pytest.mark.timeout(600),
    # The faults are errors that nobody foresaw: their traces are not wanted.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class InjectedError(Exception):
    """What a fault raises where no error of the database is imitated."""


@dataclass(slots=True)
class Fault:
    """Counts the passings of every step, and raises at one of them."""

    name: str = ""
    at: int = 0
    error: Callable[[], BaseException] = InjectedError
    passed: Counter[str] = field(default_factory=Counter)
    armed: bool = False

    def __call__(self, name: str) -> None:
        if not self.armed:
            return
        self.passed[name] += 1
        if name == self.name and self.passed[name] == self.at:
            raise self.error()

    def composition(self) -> Composition:
        return replace(COMPOSITION, step=self, probe=self)


@dataclass(frozen=True)
class Offered:
    """What a host offers to a reader that knows the first document alone."""

    reader: Path
    documents: bytes
    logs: dict[ClientId, list[SealedRecord]]

    def save(self, path: Path) -> None:
        """Write it where another process reads it."""
        path.mkdir()
        (path / "documents").write_bytes(self.documents)
        for client, log in self.logs.items():
            frames = b"".join(map(encode_frame, log))
            (path / client.hex()).write_bytes(frames)

    @classmethod
    def load(cls, path: Path) -> "Offered":
        logs = {
            ClientId(bytes.fromhex(file.name)): list(
                FrameReader().feed(file.read_bytes())
            )
            for file in sorted(path.iterdir())
            if file.name != "documents"
        }
        return cls(path, (path / "documents").read_bytes(), logs)


@pytest.fixture
async def offered(tmp_path: Path) -> AsyncIterator[Offered]:
    """Two clients that corrected each other's events, and a third that reads."""
    async with account_of(tmp_path) as (account, first):
        reader = await account.add("reader")
        second = await account.join("lap")
        await account.adopt(first)
        await bucket(first)
        numbers = await insert(first, (0, 1, A), (1, 1, B), (2, -1, A))
        await exchange(first, second)
        await bucket(second, "c")
        await insert(second, (5, 1, A), (6, 1, B), name="c")
        await correct(second, numbers[0], 3, 1, B)
        await seal_whole(second)
        await second.delete_event("b", numbers[1])
        await exchange(first, second)
        await beat(first, 100)
        await seal_whole(first)
        yield Offered(
            reader,
            encode_documents(account.documents[1:]),
            {
                vault.keys.client_id: await vault.store.read(
                    vault.keys.account_id, vault.keys.client_id, start=Seq(0)
                )
                for vault in (first, second)
            },
        )


async def take(vault: Vault, offered: Offered) -> None:
    """Take all that is offered and not here; two records each time."""
    await vault.replica.adopt(decode_documents(offered.documents))
    for client, log in offered.logs.items():
        head = vault.replica.heads().get(client)
        for at in range(0 if head is None else head.seq + 1, len(log), 2):
            await vault.replica.accept(client, log[at : at + 2])


def known(vault: Vault) -> tuple[Contents, dict[ClientId, Head], object, object]:
    replica = vault.replica
    return contents(vault), replica.heads(), replica.mentions(), replica.account.pin


def copied(offered: Offered, path: Path) -> Path:
    shutil.copytree(offered.reader, path)
    return path


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(lambda: apsw.FullError("database or disk is full"), id="full"),
        pytest.param(InjectedError, id="unforeseen"),
    ],
)
@pytest.mark.parametrize("name", [*DATABASE_STEPS, *ACCEPT_STEPS])
async def test_a_fault_at_each_step(
    offered: Offered, tmp_path: Path, name: str, error: Callable[[], BaseException]
) -> None:
    """Memory equals the disk, what was accepted stays, and the rest comes again."""
    fault = Fault()
    path = copied(offered, tmp_path / "without")
    async with await open_vault(path, composition=fault.composition()) as vault:
        fault.armed = True
        await take(vault, offered)
        expected = known(vault)
    assert fault.passed[name] > 0, "nothing passes this step"
    assert len(expected[0]) == 2
    for at in range(1, fault.passed[name] + 1):
        path = copied(offered, tmp_path / str(at))
        faulty = Fault(name, at, error)
        async with await open_vault(path, composition=faulty.composition()) as vault:
            faulty.armed = True
            try:
                await take(vault, offered)
            except (InjectedError, apsw.Error, ServerError, Error):
                pass
            else:
                assert at > 1, "the fault was met"
            faulty.armed = False
            await vault.settle()
            in_memory = known(vault)
            if name not in {"committed", "accepted"}:
                # Heads never say more than what is shown was made of.
                assert vault.facts().records == sum(
                    head.seq + 1 for head in in_memory[1].values()
                )
        async with await open_vault(path) as vault:
            assert known(vault) == in_memory, f"{name}:{at}"
            await take(vault, offered)
            assert known(vault) == expected, f"{name}:{at}"


async def test_a_caller_that_is_cancelled_takes_nothing_back(
    offered: Offered, tmp_path: Path
) -> None:
    """What it began is carried to its end, and memory knows."""
    path = copied(offered, tmp_path / "cancelled")
    async with await open_vault(path) as vault:
        await vault.replica.adopt(decode_documents(offered.documents))
        client, log = next(iter(offered.logs.items()))
        asked = asyncio.create_task(vault.replica.accept(client, log))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])

        with pytest.raises(asyncio.CancelledError):
            await asked
        await vault.replica.close()

        assert vault.replica.heads()[client].seq == log[-1].header.seq


async def test_writes_in_flight_beside_a_failed_accept_are_not_half_there(
    offered: Offered, tmp_path: Path
) -> None:
    """Heartbeats that share its commit fail or are stored, and memory agrees."""
    fault = Fault("commit", 1, lambda: apsw.FullError("full"))
    path = copied(offered, tmp_path / "beside")
    async with await open_vault(path, composition=fault.composition()) as vault:
        await bucket(vault, "mine")
        await vault.replica.adopt(decode_documents(offered.documents))
        client, log = next(iter(offered.logs.items()))
        fault.armed = True
        results = await asyncio.gather(
            vault.replica.accept(client, log),
            *(beat(vault, 1_000 * at, name="mine") for at in range(10)),
            return_exceptions=True,
        )
        await vault.settle()
        assert any(isinstance(result, ServerError) for result in results)
        in_memory = known(vault)
    async with await open_vault(path) as vault:
        assert known(vault) == in_memory


KILLED = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from tests.durability.test_accept import take_until_killed
asyncio.run(take_until_killed(*map(Path, sys.argv[1:3]), sys.argv[3]))
"""


async def take_until_killed(reader: Path, saved: Path, where: str) -> None:
    """Run in a process of its own, which kills itself at a step."""
    step = killing_steps(where)
    composition = replace(COMPOSITION, step=step, probe=step)
    async with await open_vault(reader, composition=composition) as vault:
        await take(vault, Offered.load(saved))


def run_until_killed(
    reader: Path, saved: Path, where: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLED, reader, saved, where],
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", [*DATABASE_STEPS, *ACCEPT_STEPS])
async def test_a_kill_at_each_step(offered: Offered, tmp_path: Path, name: str) -> None:
    """A start finds what was verified, whole, and takes the rest."""
    offered.save(tmp_path / "saved")
    async with await open_vault(copied(offered, tmp_path / "whole")) as vault:
        await take(vault, offered)
        expected = known(vault)
    at = 0
    while True:
        at += 1
        path = copied(offered, tmp_path / str(at))
        done = await asyncio.to_thread(
            run_until_killed, path, tmp_path / "saved", f"{name}:{at}"
        )
        async with await open_vault(path) as vault:
            await take(vault, offered)
            found = known(vault)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert found == expected
        assert vault.facts().records == sum(len(log) for log in offered.logs.values())
    assert at > 1, "nothing passes this step"
