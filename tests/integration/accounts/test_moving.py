"""Logging in with a machine: what it recorded moves, and what was there is kept."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from awvault.crypto.keys import Passphrase
from awvault.errors import (
    InvalidInputError,
    LoginRefusedError,
    NoAnswerError,
    TransportError,
    VaultDamagedError,
    WrongPassphraseError,
)
from awvault.files import replace_private
from awvault.incoming import NewRows
from awvault.sync.rounds import Round, Syncer
from awvault.testing import PASSPHRASE, open_vault
from awvault.vault import Vault
from tests.helpers.clients import seal_whole
from tests.helpers.fault_proxy import End, Fault
from tests.helpers.machines import (
    NEW_PASSPHRASE,
    KilledError,
    Machine,
    Network,
    Steps,
    network,
)
from tests.helpers.syncing import Ticks, notes_of
from tests.helpers.vaults import A, Shown, beat, bucket, insert, read

LOCAL = "the passphrase of the machine alone"
OLD = Passphrase(LOCAL)


async def account(net: Network) -> None:
    """Make the account, on another machine."""
    async with net.machine("laptop") as laptop:
        await laptop.register()


async def record(path: Path) -> dict[str, list[Shown]]:
    """Record on a machine with a vault of its own; return what it shows."""
    async with await open_vault(path, passphrase=LOCAL) as vault:
        await vault.create_bucket(
            "b", type="test", client="c", hostname="h", data=b'{"a":[1.5,"\\ud800"]}'
        )
        await vault.create_bucket("activity_x", type="activity")
        await vault.create_bucket("empty", type="test")
        await vault.create_bucket("gone", type="test")
        for at in range(40):
            await insert(vault, (at, 1.5, b'{"n":%d}' % at))
        await vault.seal_now()
        await insert(vault, (100, -1e-6, b'{"no":"end"}'), (100, 0, b'{"no":"length"}'))
        await vault.insert_rows(
            "activity_x", NewRows(starts=[5_000_000], durations=[0], texts=[b"{}"])
        )
        await vault.hide_bucket("gone")
        last = await beat(vault, 200, 3)
        await vault.delete_event("b", last.id)
        await beat(vault, 300, 3)
        return shown_by(vault)


def take_out_a_record(path: Path) -> None:
    """Leave a gap in the log, and everything else as it was."""
    with closing(apsw.Connection(str(path))) as database:
        trigger: Any = database.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'records_no_delete'"
        ).get
        database.execute("DROP TRIGGER records_no_delete")
        database.execute("DELETE FROM records WHERE seq = 0")
        database.execute(trigger)


def shown_by(vault: Vault) -> dict[str, list[Shown]]:
    return {name: read(vault, name) for name in sorted(vault.buckets())}


async def test_a_machine_without_a_vault_gets_one(tmp_path: Path) -> None:
    """It opens with the account's passphrase, knows its host, and leaves no file."""
    async with network(tmp_path) as net:
        await account(net)

        done = await net.move("desk").run(None)

        assert (done.client_number, done.clients, done.kept) == (2, 2, None)
        async with net.machine("desk") as desk:
            assert desk.username == "alice"
            assert desk.vault.keys.client_id.hex() == done.client_id
            assert desk.accounts.required_remote().url == net.url
            assert await desk.accounts.usage() is not None
        left = {path.name for path in (tmp_path / "desk").iterdir()}
        assert left - {"vault.lock", "control.json"} == {"vault.db"}


async def test_what_a_machine_recorded_becomes_the_account_s(tmp_path: Path) -> None:
    """Every bucket and event that was shown is shown, times and data included."""
    async with network(tmp_path) as net:
        await account(net)
        before = await record(tmp_path / "desk")

        done = await net.move("desk").run(OLD)

        assert done.buckets_moved == 3
        assert done.events_moved == sum(len(events) for events in before.values())
        async with net.machine("desk") as desk:
            assert shown_by(desk.vault) == before
            assert len(before["b"]) == 43
            bucket = desk.vault.bucket("b")
            assert (bucket.client, bucket.hostname) == ("c", "h")
            assert bucket.data == {"a": [1.5, "\ud800"]}
            stored = desk.vault.read("activity_x").stored_at
            number = desk.vault.keys.client_number
            ids = desk.vault.read("b").id >> 40
            assert set(ids.tolist()) == {number} == {2}
        async with await open_vault(tmp_path / "copy", passphrase=LOCAL) as old:
            assert old.buckets() == {}
        assert done.kept is not None
        (tmp_path / "copy" / "vault.db").unlink()
        shutil.copy(done.kept, tmp_path / "copy" / "vault.db")
        (tmp_path / "copy" / "vault.db").chmod(0o600)
        async with await open_vault(tmp_path / "copy", passphrase=LOCAL) as old:
            assert shown_by(old) == before
            assert old.read("activity_x").stored_at.tolist() == stored.tolist()


async def test_the_wrong_passphrase_of_the_old_vault_changes_nothing(
    tmp_path: Path,
) -> None:
    """It is noticed before the host hears of this machine."""
    async with network(tmp_path) as net:
        await account(net)
        await record(tmp_path / "desk")
        net.proxy.forget()

        with pytest.raises(WrongPassphraseError):
            await net.move("desk").run(Passphrase("another one"))

        assert net.proxy.sent("up") == b""


async def test_a_vault_with_a_gap_is_refused_before_the_account_has_a_client(
    tmp_path: Path,
) -> None:
    """The host hears nothing, and what can be done is said."""
    async with network(tmp_path) as net:
        await account(net)
        await record(tmp_path / "desk")
        async with await open_vault(tmp_path / "desk", passphrase=LOCAL) as vault:
            await seal_whole(vault)
        net.proxy.forget()
        take_out_a_record(tmp_path / "desk" / "vault.db")

        with pytest.raises(VaultDamagedError, match="could come along") as caught:
            await net.move("desk").run(OLD)

        assert "--data-dir" in (caught.value.hint or "")
        assert net.proxy.sent("up") == b""


async def test_a_refused_login_leaves_the_vault_as_it_is(tmp_path: Path) -> None:
    """No file is left behind, and the old vault opens as before."""
    async with network(tmp_path) as net:
        await account(net)
        before = await record(tmp_path / "desk")

        with pytest.raises(LoginRefusedError):
            await net.move("desk", passphrase="not the account's").run(OLD)

        async with await open_vault(tmp_path / "desk", passphrase=LOCAL) as vault:
            assert shown_by(vault) == before
        left = {path.name for path in (tmp_path / "desk").iterdir()}
        assert left - {"vault.lock", "control.json"} == {"vault.db"}


async def test_a_vault_of_the_account_goes_back_to_its_host(tmp_path: Path) -> None:
    """It is the same client as before, and nothing is copied."""
    async with network(tmp_path) as net:
        await account(net)
        async with net.machine("laptop") as laptop:
            assert await laptop.accounts.log_out() is True
            assert laptop.accounts.remote() is None
            client_id = laptop.vault.keys.client_id.hex()

        done = await net.move("laptop").run(Passphrase(PASSPHRASE))

        assert (done.again, done.client_id, done.clients) == (True, client_id, 1)
        async with net.machine("laptop") as laptop:
            assert laptop.accounts.required_remote().username == "alice"


async def test_a_vault_of_one_account_does_not_become_another_s(
    tmp_path: Path,
) -> None:
    """The error says which account it is, and how to have both."""
    async with network(tmp_path) as net:
        await account(net)
        async with net.machine("desk") as desk:
            await desk.register(username="bob")

        with pytest.raises(InvalidInputError, match='"bob": for another one'):
            await net.move("desk").run(Passphrase(PASSPHRASE))


async def test_two_machines_move_to_one_account(tmp_path: Path) -> None:
    """Each keeps what it recorded, under a number of its own."""
    async with network(tmp_path) as net:
        await account(net)
        for name, number in [("desk", 2), ("phone", 3)]:
            before = await record(tmp_path / name)
            done = await net.move(name).run(OLD)
            assert done.client_number == number
            async with net.machine(name) as machine:
                assert shown_by(machine.vault) == before


# -- interrupted

STEPS = [
    "login-attempt-stored",
    "login-answered",
    "login-vault-made",
    "resealed",
    "journal-resealed",
    "login-vault-whole",
    "kept",
    "replaced",
    "read-only",
    "login-vault-moved",
]
MOVED = {"replaced", "read-only", "login-vault-moved"}


@pytest.mark.parametrize("step", STEPS)
async def test_whatever_kills_it_there_is_one_vault_and_it_goes_on(
    tmp_path: Path, step: str
) -> None:
    """The old vault opens until the new one took its place; one client is added."""
    async with network(tmp_path) as net:
        await account(net)
        before = await record(tmp_path / "desk")
        steps = Steps()
        steps.kill_at(step)
        with pytest.raises(KilledError):
            await net.move("desk", steps=steps).run(OLD)

        moved = step in MOVED
        async with await open_vault(
            tmp_path / "desk", passphrase=PASSPHRASE if moved else LOCAL
        ) as vault:
            assert shown_by(vault) == before
            if not moved:
                await insert(vault, (900, 1, b'{"meanwhile":1}'))
                before = shown_by(vault)
        done = await net.move("desk").run(OLD)

        assert (done.clients, done.again) == (2, moved)
        async with net.machine("desk") as desk:
            assert shown_by(desk.vault) == before
            assert desk.accounts.required_remote().url == net.url
        kept = [path for path in (tmp_path / "desk").iterdir() if "before" in path.name]
        assert len(kept) == 1
        assert not (tmp_path / "desk" / "login.json").exists()


async def push(net: Network, machine: Machine) -> Round:
    """Record something, and give it to the host."""
    await bucket(machine.vault, "w")
    await insert(machine.vault, (1.0, 1, A), name="w")
    await seal_whole(machine.vault)
    async with net.connect(net.url, False) as host:
        notes = notes_of(machine.vault)
        return await Syncer(machine.vault, notes, host, clock=Ticks()).round()


@pytest.mark.parametrize("left", [False, True])
async def test_a_key_that_signed_a_log_never_signs_another(
    tmp_path: Path, left: bool
) -> None:
    """The file of the login is gone once its vault is used; if not, the host knows."""
    async with network(tmp_path) as net:
        await account(net)
        steps = Steps()
        steps.kill_at("login-vault-moved")
        with pytest.raises(KilledError):
            await net.move("desk", steps=steps).run(None)
        pending = tmp_path / "desk" / "login.json"
        content = pending.read_bytes()
        async with net.machine("desk") as desk:
            first = desk.vault.keys.client_id
            assert not pending.exists()
            assert (await push(net, desk)).pushed >= 1
        # The owner begins anew, with nothing but what such a file holds.
        for file in (tmp_path / "desk").glob("vault.db*"):
            file.unlink()
        if left:
            replace_private(pending, content)

        await net.move("desk").run(None)

        async with net.machine("desk") as desk:
            assert desk.vault.keys.client_id != first
            done = await push(net, desk)
            assert (done.pushed >= 1, list(done.alarms)) == (True, [])


async def test_a_host_that_goes_away_leaves_the_vault_as_it_is(tmp_path: Path) -> None:
    """Recording goes on; the login is run again when the host is back."""
    async with network(tmp_path) as net:
        await account(net)
        before = await record(tmp_path / "desk")
        steps = Steps()
        steps.at["login-attempt-stored"] = lambda: net.proxy.set(
            Fault(end=End.RESET, direction="down")
        )
        with pytest.raises((NoAnswerError, TransportError)):
            await net.move("desk", steps=steps).run(OLD)
        net.proxy.heal()

        done = await net.move("desk").run(OLD)

        assert done.clients == 2
        async with net.machine("desk") as desk:
            assert shown_by(desk.vault) == before


async def test_a_login_waits_for_a_registration_that_is_in_the_air(
    tmp_path: Path,
) -> None:
    """The vault may have a name already, so it is not moved."""
    async with network(tmp_path) as net:
        await account(net)
        async with net.machine("desk") as desk:
            wanted = net.wanted("bob", new_passphrase=Passphrase(NEW_PASSPHRASE))
            recovery = await desk.accounts.prepare(wanted)
            desk.steps.at["register-attempt-stored"] = lambda: net.proxy.set(
                Fault(end=End.RESET, direction="down")
            )
            with pytest.raises(NoAnswerError):
                await desk.accounts.register(wanted, recovery)  # type: ignore[arg-type]
        net.proxy.heal()

        with pytest.raises(InvalidInputError, match="awvault logout"):
            await net.move("desk").run(Passphrase(PASSPHRASE))
