"""Registering an account at a host, and every way in which it is interrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from awserver.config import Registration as Takes
from awvault.accounts import Arrived, RecoveryKeyOf
from awvault.crypto.keys import Passphrase, RecoveryKey
from awvault.errors import (
    HostRefusedError,
    InvalidInputError,
    NoAnswerError,
    NoRemoteError,
    TransportError,
    WeakPassphraseError,
    WrongPassphraseError,
)
from awvault.protocol.account import open_keys
from awvault.testing import CHEAP, PASSPHRASE
from tests.helpers.fault_proxy import End, Fault
from tests.helpers.machines import (
    NEW_PASSPHRASE,
    KilledError,
    Machine,
    Network,
    network,
)

NEW = Passphrase(NEW_PASSPHRASE)


async def opens(machine: Machine, secret: Passphrase | RecoveryKey) -> None:
    """Open what the host would give to another machine."""
    async with machine.accounts._session(machine.accounts.required_remote()) as host:
        keys_blob = await host.keys_blob()
    open_keys(secret, machine.accounts.account, keys_blob, profile=CHEAP)


async def test_a_local_account_is_registered_and_stays_what_it_is(
    tmp_path: Path,
) -> None:
    """Id, client and events stay; the host's blob opens with both secrets."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            await laptop.vault.create_bucket("b", type="test")
            before = laptop.vault.keys.account_id, laptop.vault.keys.client_id

            recovery = await laptop.register()

            assert (laptop.vault.keys.account_id, laptop.vault.keys.client_id) == before
            assert laptop.username == "alice"
            assert laptop.accounts.required_remote().url == net.url
            assert not laptop.accounts.has_attempt
            assert not laptop.accounts.has_new_secret
            assert await laptop.accounts.sessions() == []
            await opens(laptop, Passphrase(PASSPHRASE))
            await opens(laptop, recovery)
        async with net.machine("laptop") as laptop:
            assert laptop.username == "alice"
            assert "b" in laptop.vault.buckets()


async def test_another_passphrase_may_come_with_the_name(tmp_path: Path) -> None:
    """From then on the vault opens with the new one, and not with the old one."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            await laptop.register(new_passphrase=NEW)
        async with net.machine("laptop", NEW_PASSPHRASE) as laptop:
            assert laptop.username == "alice"
        with pytest.raises(WrongPassphraseError):
            async with net.machine("laptop"):
                pass


async def test_a_weak_passphrase_is_refused_before_a_byte_is_sent(
    tmp_path: Path,
) -> None:
    """What a host could guess does not leave, in whatever form."""
    async with network(tmp_path) as net, net.machine("laptop", "plum") as laptop:
        wanted = net.wanted(passphrase=Passphrase("plum"))

        with pytest.raises(WeakPassphraseError):
            await laptop.accounts.prepare(wanted)
        with pytest.raises(WeakPassphraseError):
            await laptop.accounts.register(wanted, RecoveryKey(bytes(32)))

        assert net.proxy.sent() == b""
        assert laptop.accounts.pending() is None


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"passphrase": Passphrase("not the passphrase of this vault")},
         WrongPassphraseError),
        ({"username": "Alice"}, InvalidInputError),
        ({"username": "local"}, InvalidInputError),
        ({"url": "example.org"}, InvalidInputError),
        ({"url": "http://example.org"}, InvalidInputError),
    ],
    ids=["passphrase", "capitals", "local", "no address", "plain http"],
)  # fmt: skip
async def test_what_cannot_be_registered_changes_nothing(
    tmp_path: Path, change: dict[str, Any], kind: type[Exception]
) -> None:
    """The error is typed, the vault stays as it is, the host hears of no account."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        pin = laptop.accounts.account.pin

        with pytest.raises(kind):
            await laptop.accounts.prepare(net.wanted(**change))

        assert laptop.accounts.account.pin == pin
        assert await net.stored_documents() == 0
        with pytest.raises(NoRemoteError):
            laptop.accounts.required_remote()


async def test_a_name_that_is_taken_is_another_s(tmp_path: Path) -> None:
    """The second owner is told, keeps the local account, and may choose another."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            await laptop.register()
        async with net.machine("other") as other:
            with pytest.raises(HostRefusedError) as caught:
                await other.register()
            assert caught.value.code == "username-taken"
            assert other.username == "local"
            assert other.accounts.pending() is None

            await other.register(username="bob")
            assert other.username == "bob"


async def test_a_vault_is_registered_once(tmp_path: Path) -> None:
    """A second registration is refused here, whatever the host would say."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        await laptop.register()

        with pytest.raises(InvalidInputError, match='registered already, as "alice"'):
            await laptop.register(username="bob")
        with pytest.raises(InvalidInputError, match='registered already, as "alice"'):
            await laptop.register()


async def test_an_account_that_left_its_host_goes_to_another(tmp_path: Path) -> None:
    """With every version, its name and its secrets; a second try finds it there."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    async with network(tmp_path / "old") as old, network(tmp_path / "new") as new:
        async with old.machine("laptop") as laptop:
            recovery = await laptop.register()
            await laptop.accounts.log_out()
            with pytest.raises(InvalidInputError, match="a username never changes"):
                await laptop.accounts.prepare(new.wanted("bob"))
            with pytest.raises(WrongPassphraseError):
                await laptop.accounts.prepare(new.wanted(passphrase=NEW))

            arrived = await laptop.accounts.prepare(new.wanted())

            assert arrived == Arrived(
                passphrase=Passphrase(PASSPHRASE), recovery=RecoveryKeyOf.BEFORE
            )
            assert laptop.accounts.required_remote().url == new.url
            assert await new.stored_documents() == 2
            await opens(laptop, recovery)
            await laptop.accounts.log_out()
            assert await laptop.accounts.prepare(new.wanted()) == arrived
            assert await new.stored_documents() == 2
        await new.enter("desk")


@pytest.mark.parametrize(
    ("takes", "code"),
    [(Takes.CLOSED, "registration-closed"), (Takes.INVITE, "invite-invalid")],
)
async def test_a_host_that_takes_nobody_is_not_offered_anything(
    tmp_path: Path, takes: Takes, code: str
) -> None:
    """No recovery words are shown for what cannot work, and no document is sent."""
    async with network(tmp_path, takes=takes) as net, net.machine("laptop") as laptop:
        with pytest.raises(HostRefusedError) as caught:
            await laptop.accounts.prepare(net.wanted())

        assert caught.value.code == code
        assert b"POST" not in net.proxy.sent("up")


async def test_a_wrong_invitation_is_refused(tmp_path: Path) -> None:
    """The local account stays, and another try with the right one works."""
    async with (
        network(tmp_path, takes=Takes.INVITE) as net,
        net.machine("laptop") as laptop,
    ):
        with pytest.raises(HostRefusedError) as caught:
            await laptop.register(invite="wrong")
        assert caught.value.code == "invite-invalid"
        assert laptop.username == "local"

        invite = await net.host.service.administration.invite()
        await laptop.register(invite=invite)
        assert laptop.username == "alice"


# -- interrupted


STEPS = [
    "register-attempt-stored",
    "register-answered",
    "register-adopted",
    "registered",
]


@pytest.mark.parametrize("step", STEPS)
async def test_whatever_kills_it_the_vault_opens_and_it_can_be_run_again(
    tmp_path: Path, step: str
) -> None:
    """With the old passphrase before the host has it, then with either one."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            laptop.steps.kill_at(step)
            with pytest.raises(KilledError):
                await laptop.register(new_passphrase=NEW)
        at_host = await net.stored_documents()

        # The new one opens once it was taken here; until then the old one does.
        passphrase = NEW_PASSPHRASE if step == "registered" else PASSPHRASE
        async with net.machine("laptop", passphrase) as laptop:
            if laptop.username == "local":
                arrived = await laptop.accounts.prepare(net.wanted(new_passphrase=NEW))
                if isinstance(arrived, RecoveryKey):
                    assert at_host == 0
                    await laptop.register(new_passphrase=NEW)
                else:
                    assert arrived == Arrived(
                        passphrase=NEW, recovery=RecoveryKeyOf.EARLIER
                    )
            else:
                await laptop.accounts.check_passphrase(NEW)
            assert laptop.username == "alice"
            assert not laptop.accounts.has_new_secret
        async with net.machine("laptop", NEW_PASSPHRASE) as laptop:
            await opens(laptop, NEW)
        assert await net.stored_documents() == 2


def lose_the_request(net: Network) -> None:
    net.proxy.set(
        Fault(end=End.RESET, direction="up", after=400, in_body=True, connections=1)
    )


def lose_the_answer(net: Network) -> None:
    net.proxy.set(Fault(end=End.RESET, direction="down", connections=1))


def cut_the_answer(net: Network) -> None:
    net.proxy.set(
        Fault(end=End.CLOSE, direction="down", after=3, in_body=True, connections=1)
    )


@pytest.mark.parametrize("lose", [lose_the_answer, cut_the_answer])
async def test_a_lost_answer_is_found_out_at_once(
    tmp_path: Path, lose: Callable[[Network], None]
) -> None:
    """The host is asked what it has, and the registration ends as if nothing was."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        laptop.steps.at["register-attempt-stored"] = lambda: lose(net)

        recovery = await laptop.register(new_passphrase=NEW)

        assert laptop.username == "alice"
        assert not laptop.accounts.has_attempt
        await opens(laptop, NEW)
        await opens(laptop, recovery)


async def test_a_lost_request_registers_nothing(tmp_path: Path) -> None:
    """The host does not know the name, so the next try is the first."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        laptop.steps.at["register-attempt-stored"] = lambda: lose_the_request(net)

        with pytest.raises(TransportError):
            await laptop.register()

        assert (laptop.username, laptop.accounts.pending()) == ("local", None)
        assert await net.stored_documents() == 0
        await laptop.register()
        assert laptop.username == "alice"


async def test_an_answer_that_stays_away_is_found_out_later(tmp_path: Path) -> None:
    """Nobody knows until the host can be reached; the words of that try count."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            laptop.steps.at["register-attempt-stored"] = lambda: net.proxy.set(
                Fault(end=End.RESET, direction="down")
            )
            wanted = net.wanted(new_passphrase=NEW)
            recovery = await laptop.accounts.prepare(wanted)
            assert isinstance(recovery, RecoveryKey)

            with pytest.raises(NoAnswerError, match="not known yet"):
                await laptop.accounts.register(wanted, recovery)

            assert laptop.username == "local"
            pending = laptop.accounts.pending()
            assert pending is not None
            assert (pending.url, pending.username) == (net.url, "alice")
        net.proxy.heal()
        async with net.machine("laptop") as laptop:
            arrived = await laptop.accounts.prepare(net.wanted(new_passphrase=NEW))

            assert arrived == Arrived(passphrase=NEW, recovery=RecoveryKeyOf.EARLIER)
            await opens(laptop, recovery)
        async with net.machine("laptop", NEW_PASSPHRASE) as laptop:
            assert laptop.username == "alice"
