"""The guides on leaving a host and on restoring one, done as they say.

The commands are read from the pages and run; an address and a username of the
example stand for those of the test.
"""

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from awvault.sync.alarms import Name
from tests.durability.load import EPOCH, connected
from tests.helpers.hosts import HostProcess, host_process
from tests.scenarios.household import (
    DONE,
    USERNAME,
    Household,
    Machine,
    household,
)

GUIDE: Final = Path(__file__).parents[2] / "docs" / "guide"
LEAVING: Final = GUIDE / "leaving-a-host.md"
RESTORING: Final = GUIDE / "restoring-a-host.md"
EXAMPLE_URL: Final = "https://new.example.org"
EXAMPLE_USERNAME: Final = "alice"
INTEGRITY: Final = 4

pytestmark = pytest.mark.timeout(300)


def blocks(page: Path, heading: str) -> list[list[str]]:
    """Return the commands under a heading, by block; the page's own: `#`."""
    text = page.read_text("utf-8")
    parts = re.split(r"^##? (.+)$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    found = re.findall(r"^```\n(.*?)^```$", sections[heading], re.DOTALL | re.MULTILINE)
    return [block.strip().splitlines() for block in found]


def commands(block: Sequence[str], machine: Machine) -> list[list[str]]:
    """Return the commands of a block as this machine runs them."""
    made = []
    for line in block:
        program, *arguments = shlex.split(line)
        assert program == "awvault"
        given = {EXAMPLE_URL: machine.url, EXAMPLE_USERNAME: USERNAME}
        made.append([given.get(argument, argument) for argument in arguments])
        if arguments[0] == "login":  # nobody can be asked here
            file = str(machine.home.passphrase_file)
            made[-1] += ["--account-passphrase-file", file]
    return made


async def follow(block: Sequence[str], machine: Machine, *, status: int = 0) -> None:
    """Run the commands of a block; the last ends with `status`."""
    every = commands(block, machine)
    for arguments in every:
        done = await machine.run(*arguments)
        expected = status if arguments is every[-1] else 0
        assert done.status == expected, (machine.label, arguments, done)


async def record(machine: Machine, number: int) -> None:
    async with connected(machine.gateway) as api:
        await api.bucket(machine.role)
        await api.insert(
            machine.role,
            [
                {
                    "timestamp": EPOCH.isoformat(),
                    "duration": 5,
                    "data": {"n": number, "on": machine.role},
                }
            ],
        )


async def numbers(house: Household, machine: Machine) -> dict[str, list[int]]:
    """Return what a machine shows, by bucket."""
    found = await house.events(machine)
    return {name: [one["data"]["n"] for one in found[name]] for name in found}


async def alarms(machine: Machine) -> list[str]:
    status = await machine.json("status")
    return [alarm["name"] for alarm in status["remote"]["alarms"]]


async def test_going_on_without_a_host(tmp_path: Path) -> None:
    """After a last sync and a logout both machines go on, alone."""
    async with household(tmp_path) as house:
        for at, machine in enumerate(house.machines):
            await record(machine, at)
        ((sync,),) = blocks(LEAVING, "Leave a host")
        (logout,) = blocks(LEAVING, "Go on without a host")
        for machine in (*house.machines, *house.machines):
            await follow([sync], machine)
        for machine in house.machines:
            await follow(logout, machine)
        await record(house.laptop, 7)
        house.host.kill()
        for machine in house.machines:
            await machine.stop()
            await machine.start()
            await machine.good("verify")
            assert (await machine.json("status"))["remote"] is None
        assert await numbers(house, house.laptop) == {"laptop": [0, 7], "desktop": [1]}
        assert await numbers(house, house.desktop) == {"laptop": [0], "desktop": [1]}


async def test_moving_to_another_host(tmp_path: Path) -> None:
    """The account, all records and both machines come to a new host, and sync there."""
    async with household(tmp_path) as house:
        for at, machine in enumerate(house.machines):
            await record(machine, at)
        await house.settle()
        origins = [part for one in house.machines for part in ("--origin", one.url)]
        with host_process(tmp_path / "new", "--registration", "open", *origins) as new:
            house.host.kill()
            for machine in house.machines:
                machine.proxy.drop()
                machine.proxy.retarget(new.port)
            first, others = blocks(LEAVING, "Move to another host")
            await follow(first, house.laptop)
            # The laptop alone has put back what both had sent.
            assert _entries(new) >= 2
            await follow(others, house.desktop)
            await record(house.desktop, 5)
            for machine in (house.desktop, house.laptop):
                await machine.good("sync")
                await machine.good("verify", "--full")
            expected = {"laptop": [0], "desktop": [1, 5]}
            for machine in house.machines:
                assert await numbers(house, machine) == expected
            (account,) = new.json("admin", "accounts", "list")["accounts"]
            assert account["clients"] == 2


def _entries(host: HostProcess) -> int:
    (account,) = host.json("admin", "accounts", "list")["accounts"]
    entries = account["entries"]
    assert isinstance(entries, int)
    return entries


async def test_a_readable_copy(tmp_path: Path) -> None:
    """The export of one machine holds what both recorded; another vault reads it."""
    async with household(tmp_path) as house:
        for at, machine in enumerate(house.machines):
            await record(machine, at)
        await house.settle()
        ((export,),) = blocks(LEAVING, "Take a readable copy")
        await follow([export], house.laptop)
        lines = (house.laptop.home.directory / "history.jsonl").read_text().splitlines()
        found = [
            one["event"]["data"]["n"]
            for one in map(json.loads, lines)
            if "event" in one
        ]
        assert sorted(found) == [0, 1]


async def test_a_host_restored_from_an_old_backup(tmp_path: Path) -> None:
    """One command on one machine makes all well; the other follows by itself."""
    # On the clock: in `live` the desktop mends its own log before anybody looks.
    async with household(tmp_path, schedule="steady") as house:
        await record(house.laptop, 0)
        await record(house.desktop, 1)
        await house.settle()
        backup = tmp_path / "backup.db"
        _back_up(house.host, backup)
        await record(house.laptop, 2)
        await record(house.desktop, 3)
        await house.settle()

        _put_back(house.host, backup)

        # Both notice, and go on recording.
        done = await house.laptop.run("sync")
        assert done.status == INTEGRITY
        assert Name.LOG_ROLLED_BACK in await alarms(house.laptop)
        await record(house.laptop, 4)

        (repair,) = blocks(RESTORING, "Make all well")
        await follow(repair, house.laptop)
        await follow_by_itself(house.desktop)
        await house.settle()

        (verify,) = blocks(RESTORING, "Is it all there")
        expected = {"laptop": [0, 2, 4], "desktop": [1, 3]}
        for machine in house.machines:
            assert await alarms(machine) == []
            assert await numbers(house, machine) == expected
            await follow(verify, machine)


async def test_a_host_that_lost_everything(tmp_path: Path) -> None:
    """An open host without the account gets all of it from one machine."""
    async with household(tmp_path) as house:
        await record(house.laptop, 0)
        await record(house.desktop, 1)
        await house.settle()
        house.host.kill()
        shutil.rmtree(house.host.data_dir)
        house.host.start()
        for machine in house.machines:
            machine.proxy.drop()
        (repair,) = blocks(RESTORING, "Make all well")
        await follow(repair, house.desktop)
        await follow_by_itself(house.laptop)
        await house.settle()
        for machine in house.machines:
            assert await alarms(machine) == []
            await machine.good("verify", "--full")
        assert _entries(house.host) >= 2


async def test_a_machine_that_the_backup_does_not_know(tmp_path: Path) -> None:
    """One that was added after the backup is refused until another repairs."""
    async with household(tmp_path, schedule="steady", registered=False) as house:
        laptop, desktop = house.machines
        await laptop.json(
            "register",
            laptop.url,
            "--username",
            USERNAME,
            "--recovery-file",
            str(tmp_path / "recovery"),
        )
        await laptop.good("sync")
        backup = tmp_path / "backup.db"
        _back_up(house.host, backup)
        await desktop.login()
        await record(desktop, 1)
        await house.settle()
        _put_back(house.host, backup)
        done = await desktop.run("sync")
        assert done.status != 0
        assert Name.CLIENT_REFUSED in await alarms(desktop)
        (repair,) = blocks(RESTORING, "Make all well")
        await follow(repair, laptop)
        await follow_by_itself(desktop)
        await house.settle()
        for machine in house.machines:
            assert await alarms(machine) == []
            assert await numbers(house, machine) == {"desktop": [1]}


async def follow_by_itself(machine: Machine) -> None:
    """Sync on a machine where nobody repairs: it may say once what was wrong."""
    done = await machine.run("sync")
    assert done.status in {DONE, INTEGRITY}, done


def _back_up(host: HostProcess, to: Path) -> None:
    """Copy the database as docs/operations/host.md says."""
    import apsw

    connection = apsw.Connection(str(host.data_dir / "host.db"))
    connection.execute("VACUUM INTO ?", (str(to),))
    connection.close()


def _put_back(host: HostProcess, backup: Path) -> None:
    """Restore it as docs/operations/host.md says."""
    host.terminate()
    for name in ("host.db", "host.db-wal", "host.db-shm"):
        (host.data_dir / name).unlink(missing_ok=True)
    shutil.copy(backup, host.data_dir / "host.db")
    host.start()
