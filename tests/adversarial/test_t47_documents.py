"""T47: a host forks, withholds, skips or shrinks the account document."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from awserver.service.base import Caller
from awserver.wire import HeadsAnswer
from awvault.accounts import Accounts
from awvault.crypto.keys import ClientKey, Passphrase, derive_account_signing_key
from awvault.errors import AccountDisputedError
from awvault.protocol.document import AccountDocument
from awvault.protocol.edits import AddClient
from awvault.sync.alarms import Name
from awvault.testing import CHEAP
from tests.adversarial.scenes import Blob, Documents, Scene, scene, shown
from tests.helpers.randomness import fixed


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


def signed(act: Scene, document: AccountDocument) -> bytes:
    """Sign what the owner did not write, with the owner's key: a faulty client."""
    return document.sign(derive_account_signing_key(act.met.account.opened.master))


def after_newest(act: Scene, **changes: Any) -> bytes:
    """Return a signed next version; it keeps what is not changed."""
    newest = act.met.account.opened.account.newest
    document = replace(
        newest.document, version=newest.document.version + 1, prev=newest.hash
    )
    return signed(act, replace(document, **changes))


class RolledBack(Documents):
    """The chain ends earlier than it does, and the host says so."""

    def __init__(self, versions: int) -> None:
        super().__init__(lambda after, honest: honest[: max(versions - after, 0)])
        self._versions = versions

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        return structs.replace(honest, version=self._versions)


@pytest.mark.parametrize("left", [2, 1, 0])
async def test_a_chain_that_became_shorter_is_named(act: Scene, left: int) -> None:
    """The version that is pinned must still be there: both numbers are said."""
    pinned = act.two.vault.replica.account.document.version

    await act.caught(
        act.two,
        RolledBack(left),
        Name.DOCUMENTS_ROLLED_BACK,
        client=None,
        says=f"verified up to {pinned} before, now offered {left}",
    )


async def test_two_versions_with_one_number_are_a_fork(act: Scene) -> None:
    """Both signed by the owner: the host shows another than the one that is pinned."""
    newest = act.met.account.opened.account.newest
    twin = signed(act, replace(newest.document, oldest_suite=1, salt=fixed("t", 16)))
    pinned = newest.document.version

    def fork(after: int, honest: list[bytes]) -> list[bytes]:
        return [twin, *honest[1:]] if after == pinned - 1 else honest

    await act.caught(
        act.two,
        Documents(fork),
        Name.DOCUMENTS_FORKED,
        client=None,
        says=f"account document version {pinned}",
    )


async def test_a_fork_is_named_by_who_has_seen_the_other(act: Scene) -> None:
    """The second is shown a version of which the first has seen another."""
    pinned = act.met.account.opened.account.document.version
    twin = after_newest(act, salt=fixed("another salt", 16))
    three = await act.join("third")  # the next version, as all others see it
    await act.one.sync()
    await act.record(act.one)

    def fork(after: int, honest: list[bytes]) -> list[bytes]:
        return [*honest[: pinned - after], twin] if after <= pinned else []

    with act.host.lying(Documents(fork, to=act.two.client_id)):
        done = await act.two.sync()

    assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
        (Name.DOCUMENTS_FORKED, None)
    ]
    assert three.client_id not in act.two.vault.replica.account.clients
    act.no_secret_left()


async def test_a_version_that_is_withheld_is_named_at_its_mention(act: Scene) -> None:
    """Who has seen the newer version seals that; the host cannot supply it."""
    versions = act.met.account.opened.account.document.version
    await act.join("third")
    await act.one.sync()
    await act.record(act.one)
    before = act.state(act.two)

    with act.host.lying(RolledBack(versions)):
        done = await act.two.sync()

    assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
        (Name.DOCUMENTS_WITHHELD, None)
    ]
    assert act.state(act.two).pin == before.pin
    assert len(shown(act.two)) == len(before.shown) + 1
    await act.goes_on()


def _skipped(act: Scene, after: int, honest: list[bytes]) -> list[bytes]:
    return [honest[0], *honest[2:]]


def _twice(act: Scene, after: int, honest: list[bytes]) -> list[bytes]:
    return [honest[0], honest[0], *honest[1:]]


def _backwards(act: Scene, after: int, honest: list[bytes]) -> list[bytes]:
    return [honest[0], *honest[:0:-1]]


def _flipped(act: Scene, after: int, honest: list[bytes]) -> list[bytes]:
    last = honest[-1]
    return [*honest[:-1], last[:-100] + bytes([last[-100] ^ 1]) + last[-99:]]


def _cut(act: Scene, after: int, honest: list[bytes]) -> list[bytes]:
    return [*honest[:-1], honest[-1][:-1]]


@pytest.mark.parametrize("alter", [_skipped, _twice, _backwards, _flipped, _cut])
async def test_a_chain_that_breaks_a_rule_is_not_believed(
    act: Scene, alter: Any
) -> None:
    """Skipped, repeated, reordered, altered, cut: nothing of it counts."""
    await act.join("third")
    await act.join("fourth")

    def lie(after: int, honest: list[bytes]) -> list[bytes]:
        return alter(act, after, honest) if len(honest) > 1 else honest

    await act.caught(act.two, Documents(lie), Name.DOCUMENTS_INVALID, client=None)


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": ()},
        {"heads": ()},
        {"username": "another"},
        {"oldest_suite": 0},
        {"epoch": 2},
    ],
    ids=["clients", "heads", "username", "oldest-suite", "epoch-skipped"],
)
async def test_what_may_not_shrink_does_not(
    act: Scene, changes: dict[str, Any]
) -> None:
    """Not even the owner's key signs a client, a head or the oldest suite away."""
    if "clients" in changes:
        newest = act.met.account.opened.account.document
        changes = {"clients": newest.clients[:1]}
    if "heads" in changes:
        await with_heads(act)
    shrunk = after_newest(act, **changes)

    await act.caught(
        act.two,
        Documents(lambda after, honest: [*honest, shrunk] if honest else []),
        Name.DOCUMENTS_INVALID,
        client=None,
    )


async def with_heads(act: Scene) -> None:
    """Let a version of the document name the heads of all logs."""
    intent = AddClient(client=ClientKey(fixed("a client with heads")), label="x")
    act.met.account.edit(intent, act.one.vault)
    await act.met.put_document()
    assert (await act.two.sync()).alarms == []
    assert act.two.vault.replica.account.document.heads


@pytest.mark.parametrize("blob", [b"", b"\0", bytes(1000)], ids=["no", "byte", "zeros"])
async def test_a_blob_that_the_document_does_not_name_is_not_kept(
    act: Scene, blob: bytes
) -> None:
    """The hash of the keys blob stands in the document: another one is refused."""
    three = await act.join("third")

    await act.caught(act.two, Blob(blob), Name.DOCUMENTS_INVALID, client=None)

    assert three.client_id in act.two.vault.replica.account.clients


async def test_a_document_of_a_newer_program_is_no_accusation(act: Scene) -> None:
    """Another suite means: update this program."""
    newer = bytearray(after_newest(act))
    newer[4] = 2

    await act.caught(
        act.two,
        Documents(lambda after, honest: [*honest, bytes(newer)] if honest else []),
        Name.UPDATE_NEEDED,
        client=None,
    )


async def test_nothing_of_the_account_changes_while_it_stands(act: Scene) -> None:
    """Not a passphrase, until a whole round has found the host well again."""
    accounts = Accounts(act.two.vault, profile=CHEAP)
    old = Passphrase(act.met.account.passphrase)
    new = Passphrase("quite another horse and battery")
    pin = accounts.account.pin
    with act.host.lying(RolledBack(1)):
        await act.two.sync()

    with pytest.raises(AccountDisputedError, match="documents-rolled-back") as refused:
        await accounts.change_passphrase(old, new)

    assert "awvault status" in refused.value.hint
    assert accounts.account.pin == pin
    assert (await act.two.sync()).alarms == []
    await accounts.change_passphrase(old, new)
    assert accounts.account.document.version == pin[0] + 1
