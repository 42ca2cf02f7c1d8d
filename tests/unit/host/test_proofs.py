"""Proofs: every part of a transcript counts, and an origin has one form."""

from dataclasses import replace

import pytest

from awserver.errors import InvalidRequestError, SignatureInvalidError
from awserver.origins import ORIGIN_CHARS_MAX, origin_of
from awserver.proofs import (
    Action,
    Transcript,
    body_of_document,
    body_of_register,
    body_of_restore,
)
from awserver.records import ClientId
from awvault.crypto.keys import ClientKey, LoginKey
from tests.helpers.randomness import fixed

KEY = LoginKey(fixed("login", 32))
TRANSCRIPT = Transcript(
    origin="https://example.org",
    action=Action.LOGIN,
    username="alice",
    nonce=fixed("nonce", 32),
    client_nonce=fixed("client nonce", 32),
    client_id=ClientId(fixed("client", 16)),
    salt=fixed("salt", 16),
    body=b"",
)


def test_a_proof_verifies_under_its_key() -> None:
    """What a key signed is accepted as that key's."""
    TRANSCRIPT.verify(KEY.public, KEY.prove(TRANSCRIPT))


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "https://example.com"},
        {"action": Action.DELETE},
        {"username": "alicf"},
        {"nonce": bytes(32)},
        {"client_nonce": bytes(32)},
        {"client_id": ClientId(bytes(16))},
        {"salt": bytes(16)},
        {"body": b"x"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_proof_serves_one_transcript(change: dict[str, object]) -> None:
    """A signature is worth nothing for any other value of any field."""
    signature = KEY.prove(TRANSCRIPT)
    other: Transcript = replace(TRANSCRIPT, **change)  # type: ignore[arg-type]

    with pytest.raises(SignatureInvalidError):
        other.verify(KEY.public, signature)


def test_a_proof_is_no_other_signature() -> None:
    """What signs records does not make a proof by signing a record."""
    key = ClientKey(fixed("client key", 32))

    with pytest.raises(SignatureInvalidError):
        TRANSCRIPT.verify(key.public, key.sign(TRANSCRIPT.encode()))


def test_no_two_bodies_are_the_same() -> None:
    """Documents, blob and invite cannot be divided in another way."""
    bodies = [
        body_of_register([b"a", b"b"], b"c", None),
        body_of_register([b"ab"], b"c", None),
        body_of_register([b"a"], b"bc", None),
        body_of_register([b"a", b"b"], b"", "c"),
        body_of_restore([b"a", b"b"], b"c"),
        body_of_document(b"ab", b"c"),
        body_of_document(b"a", b"bc"),
        body_of_document(b"abc", None),
    ]

    assert len(set(bodies)) == len(bodies)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Example.ORG", "https://example.org"),
        ("https://example.org:443/", "https://example.org"),
        ("http://example.org:80/a/b?c", "http://example.org"),
        ("http://127.0.0.1:5600", "http://127.0.0.1:5600"),
        ("http://[::1]:5600/", "http://[::1]:5600"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_origin_has_one_form(url: str, origin: str) -> None:
    """However it was typed, the same origin is signed."""
    assert origin_of(url) == origin
    assert origin_of(origin) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org",
        "https://",
        "https://user:secret@example.org",
        "https://example.org:99999",
        "https://[::1",
        "https://" + "a" * ORIGIN_CHARS_MAX,
    ],
)
def test_what_is_no_origin_is_refused(url: str) -> None:
    """A proof is never bound to half an address."""
    with pytest.raises(InvalidRequestError):
        origin_of(url)
