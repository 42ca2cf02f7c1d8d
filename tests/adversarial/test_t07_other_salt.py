"""T07: another salt than yesterday.

At a login it looks like a wrong passphrase, for it is all that a salt can do. A
machine that knows the account signs no edit for it, and tells a changed passphrase
apart once that was proven.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from awserver.wire import PreloginAnswer, PreloginRequest
from awvault.crypto.keys import Passphrase
from awvault.errors import HostRefusedError, LoginRefusedError
from tests.adversarial.entering import USERNAME, WRONG, Door, door
from tests.helpers.lying_host import Lie
from tests.helpers.machines import NEW_PASSPHRASE
from tests.helpers.owners import PASSPHRASE
from tests.helpers.randomness import fixed


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as made:
        yield made


class OtherSalt(Lie):
    """Gives another salt than the account document has."""

    def prelogin(
        self, request: PreloginRequest, honest: PreloginAnswer
    ) -> PreloginAnswer:
        return replace(honest, salt=fixed("another salt", 16))


async def test_a_login_looks_like_a_wrong_passphrase(at: Door) -> None:
    """The same error as for one; nothing is made, and it works once it is honest."""
    with pytest.raises(LoginRefusedError) as wrong:
        await at.enters(passphrase=WRONG)

    with at.host.lying(OtherSalt()), pytest.raises(LoginRefusedError) as salted:
        await at.enters()

    assert str(salted.value) == str(wrong.value)
    at.nothing_was_made()
    await at.enters()
    at.no_secret_left()


async def test_a_machine_that_knows_the_account_uses_its_own(at: Door) -> None:
    """Pin, keys and documents stay; an edit is made with the salt that was signed."""
    before = at.what_the_machine_has()
    with at.host.lying(OtherSalt()):
        # The transcript of a session has the salt in it: an honest host refuses.
        with pytest.raises(HostRefusedError) as refused:
            await at.machine.accounts.usage()
        with pytest.raises(HostRefusedError):
            await at.machine.accounts.change_passphrase(
                Passphrase(PASSPHRASE), Passphrase(NEW_PASSPHRASE)
            )

    assert refused.value.code == "proof-refused"
    assert at.what_the_machine_has() == before
    await at.enters()
    await at.machine.accounts.change_passphrase(
        Passphrase(PASSPHRASE), Passphrase(NEW_PASSPHRASE)
    )
    at.no_secret_left(NEW_PASSPHRASE.encode())


async def test_a_changed_passphrase_is_another_salt_that_was_signed(at: Door) -> None:
    """The new one opens the account for a new machine, and the old one does not."""
    salt = at.machine.accounts.account.document.salt
    await at.machine.accounts.change_passphrase(
        Passphrase(PASSPHRASE), Passphrase(NEW_PASSPHRASE)
    )

    assert at.machine.accounts.account.document.salt != salt
    with pytest.raises(LoginRefusedError):
        await at.enters(passphrase=PASSPHRASE)
    await at.enters(passphrase=NEW_PASSPHRASE)
    assert at.machine.username == USERNAME
