"""The file with the passphrase of a machine where nobody sits, and a change cut."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from awvault.account_service import AccountService
from awvault.crypto.keys import Passphrase
from awvault.errors import NoAnswerError, TransportError, WrongPassphraseError
from awvault.passphrases import (
    FoundPassphrase,
    Source,
    StagedPassphraseError,
    staged_file,
)
from awvault.protocol.account import open_keys
from awvault.service import PassphraseRequest
from awvault.testing import CHEAP, PASSPHRASE
from tests.helpers.fault_proxy import End, Fault
from tests.helpers.machines import NEW_PASSPHRASE, Machine, Network, network

THIRD: Final = "third horse, third battery, third staple, third of all"


@dataclass
class Unattended:
    """A machine whose passphrase is in a generated file."""

    net: Network
    machine: Machine
    file: Path

    @property
    def service(self) -> AccountService:
        """As a command has it that begins now."""
        return AccountService(
            self.machine.vault,
            self.machine.accounts,
            FoundPassphrase(
                passphrase=Passphrase(self.in_file()),
                source=Source.GENERATED_FILE,
                path=self.file,
            ),
        )

    def in_file(self) -> str:
        return self.file.read_text().strip()

    def staged(self) -> str | None:
        file = staged_file(self.file)
        return file.read_text().strip() if file.exists() else None

    async def change(self, new: str, *, passphrase: str | None = None) -> None:
        """Change it, as a command does: the old one is the one in the file."""
        await self.service.change_passphrase(
            PassphraseRequest(
                passphrase=passphrase or self.in_file(), new_passphrase=new
            )
        )

    async def check(self, passphrase: str | None = None) -> bool:
        """Prove the one in the file, or another; tell if it was new here."""
        result = await self.service.check_passphrase(
            PassphraseRequest(passphrase=passphrase or self.in_file())
        )
        return result.changed

    async def change_and_hear_nothing(self, *, arrives: bool) -> None:
        """Change it, and lose the request or the answer."""
        fault = (
            Fault(end=End.RESET, direction="down")
            if arrives
            else Fault(end=End.RESET, direction="up", after=300, in_body=True)
        )
        self.machine.steps.at["edit-attempt-stored"] = lambda: self.net.proxy.set(fault)
        with pytest.raises(NoAnswerError if arrives else TransportError):
            await self.change(NEW_PASSPHRASE)
        self.net.proxy.heal()
        assert (self.in_file(), self.staged()) == (PASSPHRASE, NEW_PASSPHRASE)

    async def opens_the_account(self, text: str) -> None:
        accounts = self.machine.accounts
        await accounts.check_passphrase(Passphrase(text))
        async with accounts._session(accounts.required_remote()) as host:
            blob = await host.keys_blob()
        open_keys(Passphrase(text), accounts.account, blob, profile=CHEAP)


@asynccontextmanager
async def unattended(root: Path) -> AsyncIterator[Unattended]:
    async with network(root) as net, net.machine("laptop") as laptop:
        await laptop.register()
        file = root / "config" / "passphrase"
        file.parent.mkdir(mode=0o700)
        file.write_text(PASSPHRASE + "\n")
        file.chmod(0o600)
        yield Unattended(net, laptop, file)


async def test_a_change_that_is_answered_is_in_the_file(tmp_path: Path) -> None:
    """Nothing is left beside it."""
    async with unattended(tmp_path) as there:
        await there.change(NEW_PASSPHRASE)
        assert (there.in_file(), there.staged()) == (NEW_PASSPHRASE, None)
        await there.opens_the_account(NEW_PASSPHRASE)


async def test_a_check_after_a_lost_answer_takes_the_new_one_over(
    tmp_path: Path,
) -> None:
    """The command has the old one, from the file; what lies beside it counts."""
    async with unattended(tmp_path) as there:
        await there.change_and_hear_nothing(arrives=True)

        assert await there.check() is True

        assert (there.in_file(), there.staged()) == (NEW_PASSPHRASE, None)
        await there.opens_the_account(there.in_file())


async def test_another_change_does_not_destroy_the_one_that_counts(
    tmp_path: Path,
) -> None:
    """It fails with the old passphrase; the next one has the right one."""
    async with unattended(tmp_path) as there:
        await there.change_and_hear_nothing(arrives=True)

        with pytest.raises(WrongPassphraseError):
            await there.change(THIRD)
        assert (there.in_file(), there.staged()) == (NEW_PASSPHRASE, None)

        await there.change(THIRD)
        assert (there.in_file(), there.staged()) == (THIRD, None)
        await there.opens_the_account(THIRD)


async def test_nothing_is_destroyed_while_the_host_is_silent(tmp_path: Path) -> None:
    """What cannot be told yet is kept, whatever is tried."""
    async with unattended(tmp_path) as there:
        await there.change_and_hear_nothing(arrives=True)
        there.net.proxy.set(Fault(end=End.RESET, direction="up"))

        assert await there.check() is False
        with pytest.raises(StagedPassphraseError, match="keeps the new one"):
            await there.check(THIRD)
        with pytest.raises(StagedPassphraseError):
            await there.change(THIRD)
        with pytest.raises(TransportError):
            await there.change(NEW_PASSPHRASE)
        assert (there.in_file(), there.staged()) == (PASSPHRASE, NEW_PASSPHRASE)

        there.net.proxy.heal()
        assert await there.check() is True
        assert there.in_file() == NEW_PASSPHRASE


async def test_a_logout_in_between_destroys_nothing(tmp_path: Path) -> None:
    """Without a host nobody can tell which one counts there."""
    async with unattended(tmp_path) as there:
        await there.change_and_hear_nothing(arrives=True)
        there.net.proxy.set(Fault(end=End.RESET, direction="up"))
        await there.machine.accounts.log_out()
        there.net.proxy.heal()

        assert await there.check() is False

        assert (there.in_file(), there.staged()) == (PASSPHRASE, NEW_PASSPHRASE)


async def test_a_lost_request_is_made_again_with_the_same_passphrase(
    tmp_path: Path,
) -> None:
    """Only so it is certain which one opens, whichever version the host shows."""
    async with unattended(tmp_path) as there:
        await there.change_and_hear_nothing(arrives=False)

        assert await there.check() is False
        with pytest.raises(StagedPassphraseError) as refused:
            await there.change(THIRD)
        assert f"--new-passphrase-file {staged_file(there.file)}" in str(
            refused.value.hint
        )
        await there.change(NEW_PASSPHRASE)

        assert (there.in_file(), there.staged()) == (NEW_PASSPHRASE, None)
        await there.opens_the_account(NEW_PASSPHRASE)


async def test_a_wrong_one_leaves_nothing_behind(tmp_path: Path) -> None:
    """A passphrase that opens nothing is not kept, and hinders nobody."""
    async with unattended(tmp_path) as there:
        with pytest.raises(WrongPassphraseError):
            await there.check(THIRD)
        with pytest.raises(WrongPassphraseError):
            await there.change(NEW_PASSPHRASE, passphrase=THIRD)
        assert (there.in_file(), there.staged()) == (PASSPHRASE, None)


async def test_what_a_dead_change_left_is_cleared_away(tmp_path: Path) -> None:
    """Nothing was sent, so it never opens anything."""
    async with unattended(tmp_path) as there:
        staged = staged_file(there.file)
        staged.write_text(THIRD + "\n")
        staged.chmod(0o600)

        await there.change(NEW_PASSPHRASE)

        assert (there.in_file(), there.staged()) == (NEW_PASSPHRASE, None)
