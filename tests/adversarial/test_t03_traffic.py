"""T03: no key, seed or passphrase is in the traffic to a host, or stored there.

Every secret that is made while clients register, log in, upload and change the
passphrase is watched, and looked for: raw, in hex, in base64.
"""

from pathlib import Path

import pytest

from awvault.crypto.keys import Passphrase
from tests.adversarial.entering import USERNAME, door
from tests.helpers.machines import NEW_PASSPHRASE
from tests.helpers.owners import PASSPHRASE
from tests.helpers.vaults import bucket, insert
from tests.helpers.watching import search_for, watching

pytestmark = pytest.mark.timeout(300)


async def test_no_secret_reaches_a_host(tmp_path: Path) -> None:
    """Whatever is made of secrets in a whole life of an account stays here."""
    with watching() as secrets:
        async with door(tmp_path) as at:
            await bucket(at.machine.vault, "b")
            await insert(at.machine.vault, (1, 1, b'{"app":"a"}'))
            await at.machine.vault.seal_now()
            await at.enters("a second machine")
            await at.machine.accounts.change_passphrase(
                Passphrase(PASSPHRASE), Passphrase(NEW_PASSPHRASE)
            )
            await at.enters("a third machine", passphrase=NEW_PASSPHRASE)
            await at.machine.accounts.usage()
            traffic, dump = at.proxy.sent(), at.host.dump()
            assert at.machine.username == USERNAME
    search = search_for(secrets)
    search.check("the traffic", traffic)
    search.check("the host's database", dump)

    names = set(secrets.values())
    for name in ("MasterKey", "EpochKey", "ClientKey", "LoginKey", "PassphraseKey"):
        assert name in names, names
    assert {PASSPHRASE.encode(), NEW_PASSPHRASE.encode()} <= secrets.keys()
