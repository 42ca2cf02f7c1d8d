"""T05: a host offers settings for the key derivation: weaker, unknown, odd.

There is nothing to set. What a host adds to its answer is refused, not passed over,
and no passphrase is used for it.
"""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from awvault.errors import MalformedAnswerError
from tests.adversarial.entering import Answers, Door, door
from tests.helpers.randomness import fixed


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    "extra",
    [
        {"memory_kib": 8, "passes": 1},
        {"kdf": "pbkdf2", "iterations": 1},
        {"profile": "interactive"},
        {"suite": 0},
        {"memory_kib": -1},
        {"username": "somebody"},
        {"SALT": "AAAA"},
    ],
    ids="-".join,
)
async def test_settings_are_refused_before_a_passphrase_is_used(
    at: Door, extra: dict[str, Any]
) -> None:
    """The answer is refused as it is; nothing is derived, proven or made."""
    before = at.what_the_machine_has()
    answer = {
        "salt": b64encode(fixed("salt", 16)).decode(),
        "nonce": b64encode(fixed("nonce")).decode(),
        **extra,
    }

    with at.host.lying(Answers("/prelogin", json.dumps(answer).encode())):
        with pytest.raises(MalformedAnswerError):
            await at.enters()
        with pytest.raises(MalformedAnswerError):
            await at.machine.accounts.usage()

    assert b"/api/1/sessions" not in at.proxy.sent("up")
    at.nothing_was_made()
    assert at.what_the_machine_has() == before
    await at.enters()
    at.no_secret_left()


async def test_the_same_answer_without_them_is_taken(at: Door) -> None:
    """So the refusals above are for what was added."""
    await at.enters()
