"""Another machine enters an account: what it proves, believes and leaves behind."""

from pathlib import Path

import pytest

from awvault.crypto.keys import Passphrase
from awvault.crypto.slots import open_client_label
from awvault.errors import (
    InvalidInputError,
    LoginRefusedError,
    TransportError,
)
from awvault.login import Admission
from awvault.protocol.account import open_account, open_keystore
from awvault.testing import CHEAP, PASSPHRASE
from tests.helpers.fault_proxy import End, Fault
from tests.helpers.machines import (
    NEW_PASSPHRASE,
    KilledError,
    Steps,
    network,
)


def check(admission: Admission, passphrase: str = PASSPHRASE) -> None:
    """Open what a vault would begin with."""
    document = admission.account.document
    ring = open_account(
        Passphrase(passphrase), admission.account, admission.keys_blob, profile=CHEAP
    )
    keystore = open_keystore(
        ring[0], document.account_id, admission.client_id, admission.keystore
    )
    assert keystore.pin == admission.account.pin
    assert keystore.ring == ring
    entry = document.client(admission.client_id)
    assert entry is not None
    assert entry.number == keystore.client_number


async def test_a_second_machine_is_a_client_of_its_own(tmp_path: Path) -> None:
    """It gets a number, a label and keys; the first machine learns of it."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        await laptop.register()

        admission = await net.enter("desk")

        check(admission)
        document = admission.account.document
        assert [client.number for client in document.clients] == [1, 2]
        label = open_client_label(
            laptop.vault.keys.ring[0],
            document.clients[1].sealed_label,
            account_id=document.account_id,
            client_id=admission.client_id,
        )
        assert label == "desk"
        assert await laptop.accounts.check_passphrase(Passphrase(PASSPHRASE)) is False
        assert await laptop.accounts.sessions() == []


async def test_three_machines_enter_one_after_the_other(tmp_path: Path) -> None:
    """Each has another number, and none shares a key."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        await laptop.register()

        admissions = [await net.enter(name) for name in ("desk", "phone", "tablet")]

        numbers = [c.number for c in admissions[-1].account.document.clients]
        assert numbers == [1, 2, 3, 4]
        assert len({admission.client_id for admission in admissions}) == 3


@pytest.mark.parametrize(
    ("username", "passphrase"),
    [
        ("alice", "not the passphrase of this account"),
        ("nobody", PASSPHRASE),
        ("nobody", "not the passphrase of this account"),
    ],
    ids=["passphrase", "username", "both"],
)
async def test_whatever_is_wrong_is_refused_alike(
    tmp_path: Path, username: str, passphrase: str
) -> None:
    """Nothing is added, nothing left on this machine, and no account is made."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        await laptop.register()
        stored = await net.stored_documents()

        with pytest.raises(LoginRefusedError, match="one of the two is another"):
            await net.enter("desk", username=username, passphrase=passphrase)

        assert await net.stored_documents() == stored
        assert not (tmp_path / "desk.login").exists()


@pytest.mark.parametrize("username", ["", "Alice", "local", "a" * 33])
async def test_a_username_that_is_none_is_refused_here(
    tmp_path: Path, username: str
) -> None:
    """Before anything is sent."""
    async with network(tmp_path) as net:
        with pytest.raises(InvalidInputError):
            net.entrance("desk", username=username)
        assert net.proxy.sent() == b""


async def test_the_passphrase_never_leaves(tmp_path: Path) -> None:
    """Neither it nor any key of the account is in a byte that was sent."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        recovery = await laptop.register()
        await net.enter("desk")

        sent = net.proxy.sent("up")
        keys = laptop.vault.keys
        secrets = [
            PASSPHRASE.encode(),
            recovery.reveal(),
            keys.ring[0].reveal(),
            keys.client_key.reveal(),
            keys.journal_key.reveal(),
        ]
        for secret in secrets:
            assert secret not in sent
            assert secret.hex().encode() not in sent


# -- interrupted


async def test_a_login_that_was_killed_goes_on_with_its_client(tmp_path: Path) -> None:
    """One client is added, whether the host had the edit or not."""
    for at, step in enumerate(["login-attempt-stored", "login-answered"]):
        root = tmp_path / step
        root.mkdir()
        async with network(root) as net:
            async with net.machine("laptop") as laptop:
                await laptop.register()
            steps = Steps()
            steps.kill_at(step)
            with pytest.raises(KilledError):
                await net.enter("desk", steps=steps)
            assert await net.stored_documents() == 2 + at
            pending = (root / "desk.login").read_bytes()
            assert (root / "desk.login").stat().st_mode & 0o777 == 0o600

            admission = await net.enter("desk")

            check(admission)
            assert admission.client_id.hex().encode() in pending
            assert len(admission.account.clients) == 2


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_cut_connection_adds_one_client_at_most(
    tmp_path: Path, way: str
) -> None:
    """Whatever arrived: the next login finds it, or makes it."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            await laptop.register()
        steps = Steps()

        def cut() -> None:
            # The edit follows one more exchange, for its nonce.
            after = 1 if way == "up" else 0
            net.proxy.set(
                Fault(
                    end=End.RESET,
                    direction="up" if way == "up" else "down",
                    after=700 * after,
                )
            )

        steps.at["login-attempt-stored"] = cut
        with pytest.raises(TransportError):
            await net.enter("desk", steps=steps)
        net.proxy.heal()

        admission = await net.enter("desk")

        check(admission)
        assert len(admission.account.clients) == 2


async def test_a_lost_answer_is_found_out_at_once(tmp_path: Path) -> None:
    """The host is asked what it has, and the login ends as if nothing was."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            await laptop.register()
        entrance = net.entrance("desk")
        original = entrance._put

        async def lossy(*args: object) -> TransportError | None:
            net.proxy.set(
                Fault(end=End.RESET, direction="down", after=600, connections=1)
            )
            return await original(*args)  # type: ignore[arg-type]

        entrance._put = lossy  # type: ignore[method-assign,assignment]

        admission = await entrance.enter()

        check(admission)
        assert len(admission.account.clients) == 2


async def test_the_pending_client_of_another_account_is_left_alone(
    tmp_path: Path,
) -> None:
    """A login to another account makes a key of its own."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            await laptop.register()
        async with net.machine("other") as other:
            await other.register(username="bob")
        steps = Steps()
        steps.kill_at("login-attempt-stored")
        with pytest.raises(KilledError):
            await net.enter("desk", steps=steps)
        pending = (tmp_path / "desk.login").read_bytes()

        admission = await net.enter("desk", username="bob")

        check(admission)
        assert admission.client_id.hex().encode() not in pending


async def test_a_passphrase_that_changes_meanwhile_is_asked_for_again(
    tmp_path: Path,
) -> None:
    """The login that was made with the old one adds nothing."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        await laptop.register()
        entrance = net.entrance("desk")
        original = entrance._put

        async def late(*args: object) -> TransportError | None:
            if laptop.accounts.account.document.version == 2:
                await laptop.accounts.change_passphrase(
                    Passphrase(PASSPHRASE), Passphrase(NEW_PASSPHRASE)
                )
            return await original(*args)  # type: ignore[arg-type]

        entrance._put = late  # type: ignore[method-assign,assignment]

        with pytest.raises(LoginRefusedError):
            await entrance.enter()

        assert len(laptop.accounts.account.clients) == 1
        check(await net.enter("desk", passphrase=NEW_PASSPHRASE), NEW_PASSPHRASE)
