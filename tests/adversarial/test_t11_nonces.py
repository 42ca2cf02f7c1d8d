"""T11: the "nonce" is a message worth signing, or empty, or huge.

Whatever 32 bytes a host gives, they stand inside a transcript that was built here,
behind the label of a proof and beside a nonce of one's own.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from awserver import labels
from awserver.encoding import lp
from awserver.errors import SignatureInvalidError
from awserver.proofs import Action, Transcript
from awserver.signatures import verify_signature
from awserver.wire import PreloginAnswer, PreloginRequest
from awvault.errors import HostRefusedError, MalformedAnswerError
from tests.adversarial.entering import USERNAME, Answers, Door, door
from tests.helpers.lying_host import Lie
from tests.helpers.randomness import fixed


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as made:
        yield made


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64, 8 * 1024])
async def test_a_nonce_has_thirty_two_bytes(at: Door, size: int) -> None:
    """Another length is no answer, and nothing is signed."""
    before = at.what_the_machine_has()
    answer = {
        "salt": b64encode(fixed("salt", 16)).decode(),
        "nonce": b64encode(bytes(size)).decode(),
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


class Nonce(Lie):
    """Gives this as the nonce."""

    def __init__(self, nonce: bytes) -> None:
        self._nonce = nonce

    def prelogin(
        self, request: PreloginRequest, honest: PreloginAnswer
    ) -> PreloginAnswer:
        return replace(honest, nonce=self._nonce)


def messages() -> list[tuple[str, bytes]]:
    """Return what a host might like to have signed, cut to what fits."""
    return [
        ("record", (lp(labels.RECORD) + b"AWSR\x01" + bytes(32))[:32]),
        ("document", (lp(labels.DOCUMENT) + b"AWSD\x01" + bytes(32))[:32]),
        ("proof", (lp(labels.PROOF) + bytes(32))[:32]),
        ("zeros", bytes(32)),
    ]


def sent_requests(at: Door) -> list[dict[str, Any]]:
    """Return every request for a session that was on the way."""
    found = []
    for piece in at.proxy.sent("up").split(b"POST /api/1/sessions ")[1:]:
        body = piece.partition(b"\r\n\r\n")[2]
        found.append(json.JSONDecoder().raw_decode(body.decode("latin-1"))[0])
    return found


@pytest.mark.parametrize(("name", "nonce"), messages(), ids=[n for n, _ in messages()])
async def test_what_is_signed_is_a_transcript(
    at: Door, name: str, nonce: bytes
) -> None:
    """The signature is over a proof's transcript, and over nothing that was given."""
    key = at.machine.vault.keys.client_key
    salt = at.machine.vault.keys.standing.known.document.salt

    with at.host.lying(Nonce(nonce)), pytest.raises(HostRefusedError) as refused:
        await at.machine.accounts.usage()

    assert refused.value.code == "proof-refused"
    (request,) = sent_requests(at)
    signature = b64decode(request["signature"])
    Transcript(
        origin=at.network.url,
        action=Action.SESSION,
        username=USERNAME,
        nonce=nonce,
        client_nonce=b64decode(request["client_nonce"]),
        client_id=key.client_id,
        salt=salt,
        body=b"",
    ).verify(key.public, signature)
    for label in (labels.RECORD, labels.DOCUMENT, labels.PROOF, b""):
        for message in (nonce, b""):
            signed = (lp(label) if label else b"") + message
            with pytest.raises(SignatureInvalidError):
                verify_signature(key.public, signed, signature)


async def test_no_two_signatures_are_over_the_same(at: Door) -> None:
    """A host that repeats its nonce gets another signature each time."""
    with at.host.lying(Nonce(bytes(32))):
        for _ in range(3):
            with pytest.raises(HostRefusedError):
                await at.machine.accounts.usage()

    requests = sent_requests(at)
    assert len(requests) == 3
    assert len({request["client_nonce"] for request in requests}) == 3
    assert len({request["signature"] for request in requests}) == 3
