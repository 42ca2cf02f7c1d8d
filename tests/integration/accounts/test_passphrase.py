"""Changing the passphrase, on one client and seen from the others."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from awvault.crypto.keys import Passphrase, RecoveryKey
from awvault.errors import (
    InvalidInputError,
    LoggedOutError,
    LoginRefusedError,
    NoAnswerError,
    TransportError,
    WeakPassphraseError,
    WrongPassphraseError,
)
from awvault.joining import make_vault
from awvault.protocol.account import open_keys
from awvault.remote import Remote, RemoteNotes
from awvault.sync.rounds import Syncer
from awvault.testing import CHEAP, PASSPHRASE
from tests.helpers.clients import seal_whole
from tests.helpers.fault_proxy import End, Fault
from tests.helpers.machines import (
    NEW_PASSPHRASE,
    KilledError,
    Machine,
    Network,
    network,
)
from tests.helpers.randomness import Seeded
from tests.helpers.syncing import Ticks, notes_of
from tests.helpers.vaults import A, bucket, insert

OLD = Passphrase(PASSPHRASE)
NEW = Passphrase(NEW_PASSPHRASE)
WRONG = Passphrase("neither the old one nor the new one")


@asynccontextmanager
async def registered(root: Path) -> AsyncIterator[tuple[Network, Machine]]:
    async with network(root) as net, net.machine("laptop") as laptop:
        await laptop.register()
        yield net, laptop


async def second_machine(net: Network, name: str = "desk") -> None:
    """Log in on another machine, as far as its vault."""
    admission = await net.enter(name)
    (net.root / name).mkdir(mode=0o700)
    await make_vault(
        net.root / name / "vault.db",
        account_id=admission.account.document.account_id,
        client_id=admission.client_id,
        documents=admission.documents,
        keys_blob=admission.keys_blob,
        keystore=admission.keystore,
    )
    async with net.machine(name) as machine:
        notes = RemoteNotes(
            machine.vault.database, machine.vault.keys, random=Seeded(name)
        )
        await notes.save(Remote(url=net.url, insecure=False, username="alice"))


async def at_host(machine: Machine) -> bytes:
    async with machine.accounts._session(machine.accounts.required_remote()) as host:
        return await host.keys_blob()


async def test_the_new_passphrase_opens_everything_and_the_old_one_nothing(
    tmp_path: Path,
) -> None:
    """Here, at the host, and for a machine that logs in."""
    async with registered(tmp_path) as (net, laptop):
        before = await at_host(laptop)

        await laptop.accounts.change_passphrase(OLD, NEW)

        after = await at_host(laptop)
        assert before != after
        open_keys(NEW, laptop.accounts.account, after, profile=CHEAP)
        with pytest.raises(LoginRefusedError):
            await net.enter("thief", passphrase=PASSPHRASE)
        assert not laptop.accounts.has_attempt
        assert not laptop.accounts.has_new_secret
    async with network(tmp_path) as net:
        async with net.machine("laptop", NEW_PASSPHRASE):
            pass
        with pytest.raises(WrongPassphraseError):
            async with net.machine("laptop", PASSPHRASE):
                pass


async def test_a_vault_without_a_host_changes_it_too(tmp_path: Path) -> None:
    """A weak one is its owner's business there, and nothing is sent."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            await laptop.accounts.change_passphrase(OLD, Passphrase("plum"))
            assert laptop.accounts.account.document.version == 2
        async with net.machine("laptop", "plum"):
            pass
        assert net.proxy.sent() == b""


async def test_after_a_logout_nothing_of_the_account_changes(tmp_path: Path) -> None:
    """A version made here alone would keep this machine from ever coming back."""
    async with registered(tmp_path) as (net, laptop):
        await second_machine(net)
        await laptop.accounts.log_out()
        pin = laptop.accounts.account.pin

        with pytest.raises(LoggedOutError, match="only there") as refused:
            await laptop.accounts.change_passphrase(OLD, NEW)

        assert "awvault login URL --username alice" in str(refused.value.hint)
        assert laptop.accounts.account.pin == pin
        async with net.machine("desk") as desk:
            await desk.accounts.change_passphrase(OLD, NEW)
        await laptop.accounts.log_in_again(
            url=net.url, insecure=False, username="alice", passphrase=NEW
        )
        assert laptop.accounts.account.document.version == 4


async def test_a_change_names_no_record_that_no_host_has(tmp_path: Path) -> None:
    """Of its own log a client signs what a host acknowledged: others ask for it."""
    async with registered(tmp_path) as (net, laptop):
        own = laptop.vault.keys.client_id
        await bucket(laptop.vault, "w")
        await insert(laptop.vault, (1.0, 1, A), name="w")
        await seal_whole(laptop.vault)

        await laptop.accounts.change_passphrase(OLD, NEW)

        assert own not in dict(laptop.accounts.account.document.heads)
        async with net.connect(net.url, False) as host:
            notes = notes_of(laptop.vault)
            await Syncer(laptop.vault, notes, host, clock=Ticks()).round()
        await laptop.accounts.change_passphrase(NEW, OLD)
        named = dict(laptop.accounts.account.document.heads)[own]
        assert named == laptop.vault.replica.heads()[own]


async def test_the_wrong_passphrase_looks_like_one(tmp_path: Path) -> None:
    """It is typed as such, and neither vault nor host has another version."""
    async with registered(tmp_path) as (_, laptop):
        pin, blob = laptop.accounts.account.pin, await at_host(laptop)

        with pytest.raises(WrongPassphraseError):
            await laptop.accounts.change_passphrase(WRONG, NEW)
        with pytest.raises(WrongPassphraseError):
            await laptop.accounts.check_passphrase(WRONG)

        assert laptop.accounts.account.pin == pin
        assert await at_host(laptop) == blob
        assert await laptop.accounts.check_passphrase(OLD) is False


async def test_a_weak_one_does_not_go_to_a_host(tmp_path: Path) -> None:
    """The username is the first that somebody would try."""
    async with registered(tmp_path) as (net, laptop):
        net.proxy.forget()
        for weak in ("plum", "alice" * 20):
            with pytest.raises(WeakPassphraseError):
                await laptop.accounts.change_passphrase(OLD, Passphrase(weak))
        assert net.proxy.sent("up") == b""


async def test_another_client_goes_on_and_takes_the_new_one_over(
    tmp_path: Path,
) -> None:
    """It opens with what was known there until the new one is proved there."""
    async with registered(tmp_path) as (net, laptop):
        await second_machine(net)
        await laptop.accounts.change_passphrase(OLD, NEW)

        async with net.machine("desk") as desk:
            assert desk.accounts.account.document.version == 3
            # Proved before this machine has even heard of the change.
            assert await desk.accounts.check_passphrase(NEW) is True
            assert desk.accounts.account.document.version == 4
            assert await desk.accounts.check_passphrase(NEW) is False
        async with net.machine("desk", NEW_PASSPHRASE):
            pass
        with pytest.raises(WrongPassphraseError):
            async with net.machine("desk", PASSPHRASE):
                pass


async def test_who_is_second_does_not_bring_the_old_one_back(tmp_path: Path) -> None:
    """An edit that loses is made again on the newer version, or refused."""
    async with registered(tmp_path) as (net, laptop):
        await second_machine(net)
        async with net.machine("desk") as desk:
            # The desk does not know of it, and tries with the passphrase it knows.
            await laptop.accounts.change_passphrase(OLD, NEW)
            with pytest.raises(WrongPassphraseError):
                await desk.accounts.change_passphrase(
                    OLD, Passphrase("yet another horse without a battery")
                )
            assert desk.accounts.account.document.version == 4
            assert not desk.accounts.has_attempt
        open_keys(NEW, laptop.accounts.account, await at_host(laptop), profile=CHEAP)


async def test_an_edit_in_between_is_not_lost(tmp_path: Path) -> None:
    """A client that was added while the change was on its way stays added."""
    async with registered(tmp_path) as (net, laptop):
        entered = []

        async def other() -> None:
            entered.append(await net.enter("desk"))

        # Another client is faster, after this one has made its version.
        original = laptop.accounts._put

        async def late(*args: object) -> bool:
            if not entered:
                await other()
            return await original(*args)  # type: ignore[arg-type]

        laptop.accounts._put = late  # type: ignore[assignment,method-assign]
        await laptop.accounts.change_passphrase(OLD, NEW)

        assert entered[0].client_id in laptop.accounts.account.clients
        assert laptop.accounts.account.document.version == 4
        open_keys(NEW, laptop.accounts.account, await at_host(laptop), profile=CHEAP)


# -- interrupted


@pytest.mark.parametrize(
    ("step", "passphrase"),
    [
        ("edit-attempt-stored", PASSPHRASE),
        ("edit-answered", PASSPHRASE),
        ("edit-adopted", PASSPHRASE),
        ("edit-secret-taken", NEW_PASSPHRASE),
    ],
)
async def test_t16_whatever_kills_it_the_vault_opens(
    tmp_path: Path, step: str, passphrase: str
) -> None:
    """With the old one until the new one counts here; then it is proved, or changed."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            await laptop.register()
            laptop.steps.kill_at(step)
            with pytest.raises(KilledError):
                await laptop.accounts.change_passphrase(OLD, NEW)
        async with net.machine("laptop", passphrase) as laptop:
            if step == "edit-attempt-stored":
                with pytest.raises(WrongPassphraseError):
                    await laptop.accounts.check_passphrase(NEW)
                await laptop.accounts.change_passphrase(OLD, NEW)
            else:
                await laptop.accounts.check_passphrase(NEW)
            assert laptop.accounts.account.document.version == 3
        async with net.machine("laptop", NEW_PASSPHRASE) as laptop:
            open_keys(
                NEW, laptop.accounts.account, await at_host(laptop), profile=CHEAP
            )
            # What is left of an attempt is no hindrance.
            await laptop.accounts.change_passphrase(NEW, OLD)
            assert not laptop.accounts.has_attempt


def lose_the_answer(net: Network) -> None:
    net.proxy.set(Fault(end=End.RESET, direction="down", connections=1))


def cut_the_answer(net: Network) -> None:
    net.proxy.set(
        Fault(end=End.CLOSE, direction="down", after=3, in_body=True, connections=1)
    )


@pytest.mark.parametrize("lose", [lose_the_answer, cut_the_answer])
async def test_t16_a_lost_answer_is_found_out_at_once(
    tmp_path: Path, lose: Callable[[Network], None]
) -> None:
    """The version that the host has is the one that was sent."""
    async with registered(tmp_path) as (net, laptop):
        laptop.steps.at["edit-attempt-stored"] = lambda: lose(net)

        await laptop.accounts.change_passphrase(OLD, NEW)

        assert laptop.accounts.account.document.version == 3
        assert not laptop.accounts.has_attempt
        open_keys(NEW, laptop.accounts.account, await at_host(laptop), profile=CHEAP)


async def test_t16_a_lost_request_changes_nothing(tmp_path: Path) -> None:
    """The host has no other version, and the old passphrase stays."""
    async with registered(tmp_path) as (net, laptop):
        laptop.steps.at["edit-attempt-stored"] = lambda: net.proxy.set(
            Fault(end=End.RESET, direction="up", after=300, in_body=True, connections=1)
        )

        with pytest.raises(TransportError):
            await laptop.accounts.change_passphrase(OLD, NEW)

        assert laptop.accounts.account.document.version == 2
        assert not laptop.accounts.has_new_secret
        await laptop.accounts.change_passphrase(OLD, NEW)
        assert laptop.accounts.account.document.version == 3


async def test_t16_an_answer_that_stays_away_is_found_out_later(tmp_path: Path) -> None:
    """Until then the old one opens the vault; then the new one is proved."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            await laptop.register()
            laptop.steps.at["edit-attempt-stored"] = lambda: net.proxy.set(
                Fault(end=End.RESET, direction="down")
            )
            with pytest.raises(NoAnswerError, match="not known yet"):
                await laptop.accounts.change_passphrase(OLD, NEW)
            assert laptop.accounts.has_attempt
        net.proxy.heal()
        async with net.machine("laptop") as laptop:
            assert await laptop.accounts.check_passphrase(NEW) is True
        async with net.machine("laptop", NEW_PASSPHRASE) as laptop:
            assert laptop.accounts.account.document.version == 3


async def test_no_edit_while_a_registration_is_in_the_air(tmp_path: Path) -> None:
    """Which version comes next is not known, so none is made."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        wanted = net.wanted()
        recovery = await laptop.accounts.prepare(wanted)
        assert isinstance(recovery, RecoveryKey)
        laptop.steps.at["register-attempt-stored"] = lambda: net.proxy.set(
            Fault(end=End.RESET, direction="down")
        )
        with pytest.raises(NoAnswerError):
            await laptop.accounts.register(wanted, recovery)

        with pytest.raises(InvalidInputError, match="run `awvault register` again"):
            await laptop.accounts.change_passphrase(OLD, NEW)

        net.proxy.heal()
        await laptop.accounts.prepare(wanted)
        await laptop.accounts.change_passphrase(OLD, NEW)
        assert laptop.accounts.account.document.version == 3
