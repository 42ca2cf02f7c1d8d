"""A host that says no to a change of the account, and keeps it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from awvault.accounts import RecoveryKeyOf
from awvault.crypto.keys import Passphrase, RecoveryKey
from awvault.errors import (
    EditRefusedError,
    HostRefusedError,
    IntegrityError,
    NoRemoteError,
)
from awvault.recovering import Owner, Recovery
from awvault.remote import Remote
from awvault.sync.alarms import Name
from awvault.sync.rounds import Syncer
from awvault.sync.transport import HostClient, Session
from awvault.testing import CHEAP, PASSPHRASE
from tests.helpers.machines import (
    IMPATIENT,
    NEW_PASSPHRASE,
    Machine,
    Network,
    network,
)
from tests.helpers.syncing import Ticks, notes_of

OLD = Passphrase(PASSPHRASE)
NEW = Passphrase(NEW_PASSPHRASE)


@dataclass
class Lies:
    """What a host does with a change, and what it says of it."""

    code: str | None = None
    """It says no with this code. None: it is honest."""
    keeps: bool = True
    """It has the change all the same."""
    hides: bool = False
    """It does not show it yet."""
    knows_nobody: bool = False
    """It refuses every proof."""
    forges: bool = False
    """It shows documents that nobody has signed."""

    def connect(self, url: str, insecure: bool) -> HostClient:
        return _Lying(url, insecure, self)

    def refuse(self, code: str = "invalid-request", *, keeps: bool = True) -> None:
        self.code, self.keeps, self.hides = code, keeps, True

    def end(self) -> None:
        self.code, self.hides, self.knows_nobody = None, False, False


class _Lying(HostClient):
    """A real host, with its lies put in where its answers arrive."""

    def __init__(self, url: str, insecure: bool, lies: Lies) -> None:
        super().__init__(url, insecure=insecure, limits=IMPATIENT)
        self._lies = lies

    async def put_document(self, *given: Any, **named: Any) -> int:
        version = 0
        if self._lies.code is None or self._lies.keeps:
            version = await super().put_document(*given, **named)
        if self._lies.code is not None:
            raise HostRefusedError("no", code=self._lies.code)
        return version

    async def register(self, *given: Any, **named: Any) -> Session:
        session = await super().register(*given, **named)
        if self._lies.code is not None:
            raise HostRefusedError("no", code=self._lies.code)
        return session

    async def open_session(self, *given: Any, **named: Any) -> Session:
        session = await super().open_session(*given, **named)
        if self._lies.knows_nobody:
            raise HostRefusedError("no", code="proof-refused")
        return session

    async def documents(self, *, after: int) -> list[bytes]:
        page = await super().documents(after=after)
        if self._lies.forges:
            return [one[:-1] + bytes([one[-1] ^ 1]) for one in page]
        return [] if self._lies.hides else page


@asynccontextmanager
async def lied_to(root: Path) -> AsyncIterator[tuple[Network, Machine, Lies]]:
    lies = Lies()
    async with (
        network(root) as net,
        net.machine("laptop", connect=lies.connect) as laptop,
    ):
        await laptop.register()
        yield net, laptop, lies


async def new_words(laptop: Machine) -> RecoveryKey:
    return await laptop.accounts.prepare_recovery_key(OLD)


def remote(laptop: Machine) -> Remote:
    return laptop.accounts.required_remote()


def is_in_the_air(laptop: Machine) -> bool:
    return laptop.accounts.has_attempt


def has_new_secret(laptop: Machine) -> bool:
    return laptop.accounts.has_new_secret


def alarms(laptop: Machine) -> list[str]:
    return [alarm.name for alarm in remote(laptop).alarms]


async def sync(net: Network, laptop: Machine) -> None:
    async with net.connect(net.url, False) as host:
        notes = notes_of(laptop.vault)
        await Syncer(laptop.vault, notes, host, clock=Ticks()).round()


async def test_words_that_were_refused_do_not_come_to_count_in_silence(
    tmp_path: Path,
) -> None:
    """Their owner is told to keep both sets, and then which one counts."""
    async with lied_to(tmp_path) as (net, laptop, lies):
        before = remote(laptop).recovery_told
        new = await new_words(laptop)
        lies.refuse()
        with pytest.raises(EditRefusedError) as refused:
            await laptop.accounts.set_recovery_key(OLD, new)
        assert "keep both" in str(refused.value.hint)
        assert is_in_the_air(laptop)
        assert alarms(laptop) == []

        lies.end()
        await sync(net, laptop)

        assert laptop.accounts.account.document.recovery_login_public != before
        assert alarms(laptop) == [Name.RECOVERY_CHANGED]
        assert not is_in_the_air(laptop)
        await sync(net, laptop)
        assert alarms(laptop) == [Name.RECOVERY_CHANGED]

        await laptop.accounts.set_recovery_key(OLD, await new_words(laptop))
        assert alarms(laptop) == []
        await sync(net, laptop)
        assert alarms(laptop) == []


async def test_a_command_that_finds_other_words_says_so_too(tmp_path: Path) -> None:
    """No round is needed, and who has the words ends the alarm."""
    async with lied_to(tmp_path) as (_, laptop, lies):
        new = await new_words(laptop)
        lies.refuse()
        with pytest.raises(EditRefusedError):
            await laptop.accounts.set_recovery_key(OLD, new)
        lies.end()

        assert await laptop.accounts.settle()

        assert alarms(laptop) == [Name.RECOVERY_CHANGED]
        assert await laptop.accounts.take_note_of_recovery()
        assert not await laptop.accounts.take_note_of_recovery()
        assert alarms(laptop) == []


async def test_a_passphrase_that_was_refused_is_asked_for_once_it_counts(
    tmp_path: Path,
) -> None:
    """The old one opens the vault until then, and the new one is not lost."""
    async with lied_to(tmp_path) as (_, laptop, lies):
        lies.refuse()
        with pytest.raises(EditRefusedError):
            await laptop.accounts.change_passphrase(OLD, NEW)
        assert not has_new_secret(laptop)
        assert is_in_the_air(laptop)

        lies.end()
        await laptop.accounts.settle()

        assert has_new_secret(laptop)
        assert await laptop.accounts.check_passphrase(NEW)


@pytest.mark.parametrize("code", ["document-conflict", "invalid-request"])
async def test_a_change_that_stands_at_the_host_counts_whatever_it_said(
    tmp_path: Path, code: str
) -> None:
    """It is there, so the command has done what it was asked for."""
    async with lied_to(tmp_path) as (_, laptop, lies):
        lies.refuse(code)
        lies.hides = False

        await laptop.accounts.change_passphrase(OLD, NEW)

        assert laptop.accounts.account.document.version == 3
        assert not is_in_the_air(laptop)


async def test_a_refusal_that_was_meant_is_settled_by_the_next_change(
    tmp_path: Path,
) -> None:
    """Until another version has its number, the host could still bring it up."""
    async with lied_to(tmp_path) as (_, laptop, lies):
        lies.refuse(keeps=False)
        with pytest.raises(EditRefusedError):
            await laptop.accounts.change_passphrase(OLD, NEW)
        lies.end()
        assert not await laptop.accounts.settle()

        await laptop.accounts.set_recovery_key(OLD, await new_words(laptop))

        assert not is_in_the_air(laptop)
        assert not has_new_secret(laptop)
        assert alarms(laptop) == []


async def test_words_of_another_machine_are_told_of(tmp_path: Path) -> None:
    """Whoever made them: the paper of this machine's owner is worth nothing now."""
    async with lied_to(tmp_path) as (net, laptop, _):
        await net.move("desk").run(None)
        async with net.machine("desk") as desk:
            new = await desk.accounts.prepare_recovery_key(OLD)
            await desk.accounts.set_recovery_key(OLD, new)
            assert alarms(desk) == []
        await sync(net, laptop)
        assert alarms(laptop) == [Name.RECOVERY_CHANGED]


async def test_who_uses_the_words_is_told_to_keep_both(tmp_path: Path) -> None:
    """A host that says no to a recovery may have taken it."""
    async with network(tmp_path) as net:
        lies = Lies()
        async with net.machine("laptop") as laptop:
            words = await laptop.register()
        owner = Owner(url=net.url, insecure=False, username="alice", recovery=words)
        recovery = Recovery(owner, profile=CHEAP, connect=lies.connect)
        new = await recovery.prepare()
        lies.refuse()
        lies.hides = False

        # The host shows what it kept: the recovery has taken place.
        await recovery.reset(NEW, new)

        again = Recovery(
            replace(owner, recovery=new), profile=CHEAP, connect=lies.connect
        )
        newer = await again.prepare()
        lies.refuse(keeps=False)
        lies.hides = False
        with pytest.raises(EditRefusedError) as refused:
            await again.reset(OLD, newer)
        assert "keep both" in str(refused.value.hint)


@pytest.mark.parametrize("code", ["registration-closed", "invite-invalid", "x"])
async def test_a_registration_that_was_refused_and_taken_counts(
    tmp_path: Path, code: str
) -> None:
    """Whatever it says, the host is asked at once whether it knows this client."""
    lies = Lies(code=code)
    async with (
        network(tmp_path) as net,
        net.machine("laptop", connect=lies.connect) as laptop,
    ):
        await laptop.register()

        assert laptop.accounts.required_remote().attempt is None
        assert laptop.accounts.pending() is None
        assert laptop.accounts.account.document.version == 2


async def test_a_refusal_with_forged_documents_holds_nobody_up(tmp_path: Path) -> None:
    """What is none of ours proves nothing, so another host may be asked."""
    lies = Lies(code="registration-closed", forges=True)
    async with (
        network(tmp_path) as net,
        net.machine("laptop", connect=lies.connect) as laptop,
    ):
        with pytest.raises(HostRefusedError):
            await laptop.register()

        assert laptop.accounts.pending() is None
        assert laptop.accounts.account.document.version == 1


async def test_an_attempt_that_cannot_be_settled_is_forgotten_by_a_logout(
    tmp_path: Path,
) -> None:
    """A host that shows forged documents holds up no other, if its owner says so."""
    lies = Lies(code="username-taken", forges=True)
    async with (
        network(tmp_path) as net,
        net.machine("laptop", connect=lies.connect) as laptop,
    ):
        with pytest.raises(IntegrityError):
            await laptop.register()
        assert laptop.accounts.pending() is not None

        await laptop.accounts.log_out()

        assert laptop.accounts.pending() is None
        with pytest.raises(NoRemoteError):
            await laptop.accounts.log_out()


async def test_a_registration_that_was_hidden_is_gone_on_with(tmp_path: Path) -> None:
    """The next try finds the account where it is, with the words of the first."""
    lies = Lies(code="registration-closed", knows_nobody=True)
    async with (
        network(tmp_path) as net,
        net.machine("laptop", connect=lies.connect) as laptop,
    ):
        with pytest.raises(HostRefusedError):
            await laptop.register()
        # Nothing is in the way of a login, or of another host.
        assert laptop.accounts.pending() is None
        assert laptop.accounts.account.document.version == 1
        lies.end()

        wanted = net.wanted()
        recovery = await laptop.accounts.prepare(wanted)
        assert isinstance(recovery, RecoveryKey)
        arrived = await laptop.accounts.register(wanted, recovery)

        assert arrived.recovery is RecoveryKeyOf.EARLIER
        assert laptop.accounts.required_remote().attempt is None
        assert laptop.accounts.account.document.version == 2
        async with net.machine("desk") as desk:
            with pytest.raises(HostRefusedError):
                await desk.register()
