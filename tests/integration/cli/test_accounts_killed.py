"""kill -9 at each step of what changes an account: a start without anybody goes on."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from awvault.testing import KILL_VARIABLE
from tests.helpers.hosts import HostProcess, host_process
from tests.integration.cli.harness import Machine
from tests.integration.cli.test_accounts import (
    STRONG,
    add,
    generated,
    machine,
    register,
    secret,
    texts,
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostProcess]:
    with host_process(tmp_path / "host") as process:
        yield process


def killed_at(machine: Machine, step: str, *arguments: str | Path) -> None:
    """Run a command that ends at a step, as by a power cut."""
    done = machine.run("awvault", *arguments, environment={KILL_VARIABLE: step})
    assert done.status == -signal.SIGKILL, done


def generated_now(machine: Machine) -> str:
    """Return what the generated file holds; the next one may lie beside it."""
    (file,) = [f for f in machine.generated_files if f.suffix != ".next"]
    return file.read_text().strip()


@pytest.mark.parametrize(
    "step",
    ["edit-attempt-stored", "edit-answered", "edit-adopted", "edit-secret-taken"],
)
def test_t16_a_killed_change_of_the_passphrase(
    tmp_path: Path, host: HostProcess, step: str
) -> None:
    """The next start finds a passphrase that opens, and the change can be made."""
    laptop = machine(tmp_path, "laptop")
    register(laptop, host)
    add(laptop, "kept")
    strong = secret(laptop, "strong", STRONG)

    killed_at(laptop, step, "passphrase", "change", "--new-passphrase-file", strong)

    assert texts(laptop) == {"kept"}
    if generated_now(laptop) != STRONG:
        if step == "edit-attempt-stored":
            laptop.ok("passphrase", "change", "--new-passphrase-file", strong)
        else:
            with laptop.server():
                laptop.ok("passphrase", "check", "--passphrase-file", strong)
    assert texts(laptop) == {"kept"}
    assert generated(laptop) == STRONG
    laptop.ok("status", "--passphrase-file", strong)


@pytest.mark.parametrize(
    "step",
    ["login-answered", "login-vault-whole", "kept", "login-vault-moved"],
)
def test_a_killed_login(tmp_path: Path, host: HostProcess, step: str) -> None:
    """The next start opens the old vault or the new one; the login then ends."""
    laptop, desk = machine(tmp_path, "laptop"), machine(tmp_path, "desk")
    register(laptop, host)
    desk.ok("init")
    add(desk, "kept")
    account = secret(desk, "account", generated(laptop))
    login: list[str | Path] = ["login", host.url, "--username", "alice",
             "--account-passphrase-file", account]  # fmt: skip

    killed_at(desk, step, *login)

    assert texts(desk) == {"kept"}
    done = desk.ok(*login, "--json").json()
    assert done["clients"] == 2
    assert done["again"] is (step == "login-vault-moved")
    assert texts(desk) == {"kept"}
    assert generated(desk) == generated(laptop)


@pytest.mark.parametrize("step", ["register-attempt-stored", "register-answered"])
def test_a_killed_registration(tmp_path: Path, host: HostProcess, step: str) -> None:
    """Run again, it says whether the first try had arrived."""
    laptop = machine(tmp_path, "laptop")
    laptop.ok("init")
    register_it = ["register", host.url, "--username", "alice"]

    killed_at(laptop, step, *register_it, "--recovery-file", laptop.home / "one")

    laptop.ok("status")
    done = laptop.ok(*register_it, "--recovery-file", laptop.home / "two", "--json")
    arrived = step == "register-answered"
    assert done.json()["recovery"] == ("an earlier try" if arrived else "this try")
    assert (laptop.home / "two").exists() is not arrived
    laptop.ok("usage", "--host")
