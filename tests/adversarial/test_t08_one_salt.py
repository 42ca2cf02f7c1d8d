"""T08: one salt for all.

Who hands out one salt makes one table of guesses, and tries it on everyone's proof.
The username goes into the derivation too, so a line of the table serves one name.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from awserver.errors import SignatureInvalidError
from awserver.proofs import Action, Transcript
from awserver.records import ClientId
from awserver.wire import PreloginAnswer, PreloginRequest, SessionRequest
from awvault.crypto.keys import Passphrase, derive_login_key
from awvault.crypto.passphrase import derive_passphrase_key
from awvault.errors import LoginRefusedError
from tests.adversarial.entering import USERNAME, Door, door
from tests.helpers.lying_host import Lie
from tests.helpers.owners import CHEAP, PASSPHRASE
from tests.helpers.randomness import fixed

SALT = fixed("one salt for all", 16)
OTHER = "bob"
MACHINES = {USERNAME: "alice's machine", OTHER: "bob's machine"}


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as made:
        yield made


class OneSalt(Lie):
    """Gives everyone one salt."""

    def prelogin(
        self, request: PreloginRequest, honest: PreloginAnswer
    ) -> PreloginAnswer:
        return msgspec.structs.replace(honest, salt=SALT)


def proofs(at: Door) -> dict[str, SessionRequest]:
    """Return what the host was shown by logins, by the username."""
    found = [
        msgspec.json.decode(one, type=SessionRequest)
        for one in re.findall(rb'\{[^{}]*"by":"login"[^{}]*\}', at.proxy.sent("up"))
    ]
    return {proof.username: proof for proof in found}


def guess(username: str) -> bytes:
    """Return what a host would look for: a guess as a login key, slowly made."""
    key = derive_passphrase_key(
        Passphrase(PASSPHRASE), username=username, salt=SALT, profile=CHEAP
    )
    return derive_login_key(key).public


def check(proof: SessionRequest, public: bytes, *, origin: str) -> None:
    """Try a guess on what somebody has proven."""
    Transcript(
        origin=origin,
        action=Action.LOGIN,
        username=proof.username,
        nonce=proof.nonce,
        client_nonce=proof.client_nonce,
        client_id=ClientId(bytes.fromhex(proof.client_id)),
        salt=SALT,
        body=b"",
    ).verify(public, proof.signature)


async def test_a_guess_for_one_name_is_no_guess_for_another(at: Door) -> None:
    """Two people with one passphrase and one salt: each has to be guessed alone."""
    async with at.network.machine("second machine") as second:
        await second.register(username=OTHER)
    before = at.what_the_machine_has()
    at.proxy.forget()

    with at.host.lying(OneSalt()):
        for username, name in MACHINES.items():
            with pytest.raises(LoginRefusedError):
                await at.enters(name, username=username)

    shown = proofs(at)
    # With its own name, a guess costs what it must and then is right.
    for username, proof in shown.items():
        check(proof, guess(username), origin=at.network.url)
    with pytest.raises(SignatureInvalidError):
        check(shown[OTHER], guess(USERNAME), origin=at.network.url)
    assert set(shown) == set(MACHINES)
    for name in MACHINES.values():
        at.nothing_was_made(name)
    assert at.what_the_machine_has() == before
    at.no_secret_left()
    for username, name in MACHINES.items():
        await at.enters(name, username=username)
