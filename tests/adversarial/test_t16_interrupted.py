"""T16: a change of the passphrase is cut at any point, or the old slot served later.

What opens the account is the old passphrase or the new one, and never neither; the
machine that made the change and the host agree on which.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Literal

import pytest

from awserver.service.base import Caller
from awvault.crypto.keys import Passphrase
from awvault.errors import DocumentError, Error, LoginRefusedError
from awvault.protocol.account import verify_documents
from tests.adversarial.entering import USERNAME, Door, door
from tests.helpers.fault_proxy import End, Fault
from tests.helpers.lying_host import Lie
from tests.helpers.machines import NEW_PASSPHRASE
from tests.helpers.owners import PASSPHRASE

Way = Literal["up", "down"]

POINTS: Final = 5
"""Places of each direction at which the connection is cut, all along the change."""


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as made:
        yield made


async def change(at: Door, old: str, new: str) -> None:
    await at.machine.accounts.change_passphrase(Passphrase(old), Passphrase(new))


async def opens(at: Door, passphrase: str) -> bool:
    """Whether another machine gets in with a passphrase."""
    try:
        await at.enters(f"machine {len(at.host.requests)}", passphrase=passphrase)
    except LoginRefusedError:
        return False
    return True


async def bytes_of_a_change(at: Door, way: Way, new: str) -> int:
    """Return how much passes on the way of a change that is not cut."""
    at.proxy.forget()
    await change(at, PASSPHRASE, new)
    return len(at.proxy.sent(way))


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_change_that_is_cut_is_made_or_not(at: Door, way: Way) -> None:
    """Cut anywhere, the old passphrase opens or the new one: on host and machine."""
    size = await bytes_of_a_change(at, way, "passphrase of a rehearsal, with words")
    now = "passphrase of a rehearsal, with words"
    outcomes = set()
    for point in range(POINTS):
        new = f"{NEW_PASSPHRASE} {point}"
        at.proxy.set(
            Fault(
                end=(End.RESET, End.CLOSE)[point % 2],
                after=size * point // POINTS,
                direction=way,
                connections=1,
            )
        )
        failed = False
        try:
            await change(at, now, new)
        except Error:
            failed = True
        at.proxy.heal()

        made = await opens(at, new)
        assert await opens(at, now) is not made, point
        assert made or failed, point
        # Whatever was not answered is asked for again.
        await at.machine.accounts.check_passphrase(Passphrase(new if made else now))
        # One history, of which the host may have more: the machines that tried.
        mine, theirs = at.machine.accounts.account.hashes, await documents(at)
        assert theirs[: len(mine)] == mine, point
        outcomes.add((failed, made))
        now = new if made else now

    assert (True, False) in outcomes
    await at.machine.vault.close()
    async with at.network.machine("first machine", now) as again:
        assert again.username == USERNAME
    at.no_secret_left(now.encode())


async def documents(at: Door) -> tuple[bytes, ...]:
    """Return the hashes of all versions that the host has."""
    keys = at.machine.vault.keys
    async with at.machine.accounts._session(at.machine.accounts.required_remote()) as h:
        return verify_documents(keys.account_id, await h.documents(after=0)).hashes


class OldSlot(Lie):
    """Serves the keys blob of yesterday."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob

    def keys_blob(self, caller: Caller, honest: bytes) -> bytes:
        return self._blob


async def test_an_old_slot_is_refused(at: Door) -> None:
    """The document names the blob: with the new document, the old slot is no blob."""
    old = await at.machine.vault.store.keys_blob(at.machine.vault.keys.account_id)
    assert old is not None
    await change(at, PASSPHRASE, NEW_PASSPHRASE)

    with at.host.lying(OldSlot(old)):
        with pytest.raises(DocumentError):
            await at.enters(passphrase=NEW_PASSPHRASE)
        with pytest.raises(LoginRefusedError):
            await at.enters(passphrase=PASSPHRASE)

    at.nothing_was_made()
    assert await opens(at, NEW_PASSPHRASE)
    at.no_secret_left(NEW_PASSPHRASE.encode())
