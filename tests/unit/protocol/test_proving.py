"""Requests that prove something: signed by the right key, over nothing but ours."""

from typing import Any

import pytest

from awserver.errors import SignatureInvalidError
from awserver.proofs import (
    Action,
    body_of_delete,
    body_of_document,
    body_of_register,
    body_of_restore,
)
from awserver.records import AccountId, ClientId
from awvault.crypto.keys import (
    AccountSigningKey,
    ClientKey,
    LoginKey,
    RecoveryLoginKey,
)
from awvault.errors import MalformedAnswerError
from awvault.protocol.proving import (
    Challenge,
    RegisterKeys,
    delete_request,
    document_request,
    register_request,
    restore_request,
    session_request,
)
from tests.helpers.randomness import Seeded, fixed

ORIGIN = "https://example.org"
LOGIN = LoginKey(fixed("login"))
RECOVERY = RecoveryLoginKey(fixed("recovery login"))
CLIENT = ClientKey(fixed("client"))
SIGNING = AccountSigningKey(fixed("signing"))
ACCOUNT = AccountId(fixed("account", 16))


def challenge(nonce: bytes = fixed("nonce"), **changes: Any) -> Challenge:
    fields: dict[str, Any] = {
        "origin": ORIGIN,
        "username": "alice",
        "client_id": CLIENT.client_id,
        "salt": fixed("salt", 16),
        "random": Seeded("client nonce"),
    }
    return Challenge.answer(nonce, **(fields | changes))


def test_register_is_signed_by_each_key() -> None:
    """Four keys sign one transcript, and none signs for another."""
    asked = challenge()
    keys = RegisterKeys(login=LOGIN, recovery=RECOVERY, client=CLIENT, signing=SIGNING)

    request = register_request(
        asked, keys, documents=[b"one", b"two"], keys_blob=b"blob", invite="code"
    )

    transcript = asked.transcript(
        Action.REGISTER, body_of_register([b"one", b"two"], b"blob", "code")
    )
    proofs = request.proofs
    assert proofs.recovery is not None
    transcript.verify(LOGIN.public, proofs.login)
    transcript.verify(RECOVERY.public, proofs.recovery)
    transcript.verify(CLIENT.public, proofs.client)
    transcript.verify(SIGNING.public, proofs.signing)
    assert (request.username, request.invite) == ("alice", "code")
    assert (request.documents, request.keys_blob) == ([b"one", b"two"], b"blob")
    assert ClientId(bytes.fromhex(request.client_id)) == CLIENT.client_id


@pytest.mark.parametrize(
    ("key", "by", "action"),
    [
        (LOGIN, "login", Action.LOGIN),
        (RECOVERY, "recovery", Action.LOGIN),
        (CLIENT, "client", Action.SESSION),
    ],
)
def test_a_session_says_which_key_proves_it(
    key: LoginKey | RecoveryLoginKey | ClientKey, by: str, action: Action
) -> None:
    """A login by what a person knows and a session by a client are two actions."""
    asked = challenge()

    request = session_request(asked, key)

    assert request.by == by
    asked.transcript(action).verify(key.public, request.signature)
    other = Action.SESSION if action is Action.LOGIN else Action.LOGIN
    with pytest.raises(SignatureInvalidError):
        asked.transcript(other).verify(key.public, request.signature)


@pytest.mark.parametrize(("key", "by"), [(LOGIN, "login"), (RECOVERY, "recovery")])
def test_an_edit_and_an_end_are_proven(
    key: LoginKey | RecoveryLoginKey, by: str
) -> None:
    """The proof of an edit holds for its bytes, that of an end for its account."""
    asked = challenge()

    edit = document_request(asked, key, document=b"next", keys_blob=None)
    end = delete_request(asked, key, account_id=ACCOUNT)

    body = body_of_document(b"next", None)
    asked.transcript(Action.DOCUMENT, body).verify(key.public, edit.signature)
    body = body_of_delete(ACCOUNT)
    asked.transcript(Action.DELETE, body).verify(key.public, end.signature)
    assert (edit.by, end.by, edit.keys_blob) == (by, by, None)


def test_a_restore_is_proven_by_the_client() -> None:
    """What a host lost is put back by a client, without a person."""
    asked = challenge()

    request = restore_request(asked, CLIENT, documents=[b"one"], keys_blob=b"blob")

    body = body_of_restore([b"one"], b"blob")
    asked.transcript(Action.RESTORE, body).verify(CLIENT.public, request.signature)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 4096])
def test_a_nonce_of_another_size_is_not_signed(size: int) -> None:
    """A host cannot hide a message in what it calls a nonce."""
    with pytest.raises(MalformedAnswerError, match=f"has {size} bytes"):
        challenge(b"n" * size)


def test_two_proofs_of_one_nonce_differ() -> None:
    """A host that repeats its nonce does not get the same signature twice."""
    random = Seeded("two")

    one, two = (session_request(challenge(random=random), LOGIN) for _ in range(2))

    assert one.nonce == two.nonce
    assert one.client_nonce != two.client_nonce
    assert one.signature != two.signature


def test_no_host_gets_the_signature_for_another() -> None:
    """The origin that is signed is the one that was typed, whoever answers."""
    here, there = challenge(), challenge(origin="https://example.com")

    signature = session_request(here, LOGIN).signature

    with pytest.raises(SignatureInvalidError):
        there.transcript(Action.LOGIN).verify(LOGIN.public, signature)


def test_a_nonce_is_never_all_that_is_signed() -> None:
    """Whatever the nonce is, the message begins with our label and has our fields."""
    asked = challenge(fixed("record to sign"))

    signature = session_request(asked, CLIENT).signature

    encoded = asked.transcript(Action.SESSION).encode()
    assert CLIENT.sign(fixed("record to sign")) != signature
    assert CLIENT.sign(encoded) != signature
    assert encoded.count(fixed("record to sign")) == 1
