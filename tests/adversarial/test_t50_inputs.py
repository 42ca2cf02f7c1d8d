"""T50: the host selects an input of a key."""

import inspect
from dataclasses import replace

import pytest

from awvault.crypto.keys import Passphrase
from awvault.crypto.passphrase import (
    LANES,
    STANDARD,
    VERSION,
    Profile,
    bound_salt,
    derive_passphrase_key,
)
from awvault.errors import (
    DocumentError,
    Error,
    SignatureError,
    WrongPassphraseError,
    WrongPlaceError,
)
from awvault.protocol.account import open_account, verify_documents
from awvault.protocol.document import decode_document
from tests.helpers.owners import CHEAP, PASSPHRASE, Owner
from tests.helpers.randomness import fixed
from tests.helpers.refusals import refusal


def test_the_profile_is_fixed() -> None:
    """One cost, in the program: there is nothing to offer another one in."""
    assert Profile(memory_kib=262_144, passes=3) == STANDARD
    assert (LANES, VERSION) == (1, 0x13)
    assert list(inspect.signature(open_account).parameters) == [
        "passphrase",
        "account",
        "keys_blob",
        "profile",
    ]


def test_no_byte_of_a_document_selects_anything_before_it_is_signed() -> None:
    """Every flipped bit of a document is refused before a passphrase is used.

    Nothing a host can write reaches a derivation: the answer is never the one
    that a wrong passphrase gets.
    """
    owner = Owner(clients=1)
    (document,) = owner.documents

    for bit in range(len(document) * 8):
        flipped = bytearray(document)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Error) as caught:
            verify_documents(owner.account_id, [bytes(flipped)])
        assert type(caught.value).__name__ in {
            "DocumentError",
            "SignatureError",
            "UnsupportedSuiteError",
            "WrongPlaceError",
        }, bit


def test_fields_that_a_host_adds_are_refused() -> None:
    """There is no room for a flag: a document and its parts have one form."""
    owner = Owner(clients=1)
    (document,) = owner.documents

    for extension in (b"\0", b"t=1", bytes(64)):
        refusal(
            DocumentError,
            lambda extension=extension: verify_documents(  # type: ignore[misc]
                owner.account_id, [document + extension]
            ),
        )


@pytest.mark.parametrize("field", ["username", "salt", "epoch", "oldest_suite"])
def test_a_document_that_a_host_makes_is_refused(field: str) -> None:
    """Another username, salt or epoch needs the owner's signature."""
    owner, host = Owner(), Owner("host")
    changes = {
        "username": "mallory",
        "salt": fixed("host's", 16),
        "epoch": 1,
        "oldest_suite": 0,
    }
    forged = owner.first()
    forged = replace(forged, **{field: changes[field]})  # type: ignore[arg-type]

    with pytest.raises(Error) as caught:
        verify_documents(owner.account_id, [forged.sign(host.ask())])

    assert type(caught.value) in {SignatureError, DocumentError}


def test_a_whole_account_of_the_hosts_own_is_refused() -> None:
    """A host that serves its own account, rightly signed, serves another account."""
    owner, host = Owner(), Owner("host")

    refusal(WrongPlaceError, lambda: verify_documents(owner.account_id, host.documents))


def test_an_account_id_certifies_its_first_key() -> None:
    """Another key under the same id is refused, though it signed."""
    owner, host = Owner(), Owner("host")
    forged = replace(owner.first(), signing_public=host.ask().public)

    refusal(
        DocumentError,
        lambda: verify_documents(owner.account_id, [forged.sign(host.ask())]),
    )


def test_another_salt_looks_like_a_wrong_passphrase() -> None:
    """The salt is the one input a host has at login, and it only makes it fail."""
    owner = Owner()
    salted = replace(owner.first(), salt=fixed("other", 16))
    account = verify_documents(owner.account_id, [owner.signed(salted)])

    refusal(
        WrongPassphraseError,
        lambda: open_account(
            Passphrase(PASSPHRASE), account, owner.keys_blob(), profile=CHEAP
        ),
    )


def test_one_salt_for_all_users_is_useless() -> None:
    """The salt is bound to the username: equal passphrases give different keys."""
    keys = [
        derive_passphrase_key(
            Passphrase(PASSPHRASE), username=username, salt=bytes(16), profile=CHEAP
        )
        for username in ("alice", "alic", "bob")
    ]

    assert len({key.reveal() for key in keys}) == 3


def test_every_salt_and_username_counts() -> None:
    """Another salt, or another username, is another input of Argon2."""
    bound = {
        bound_salt(username, salt)
        for username in ("a", "ab", "b")
        for salt in (bytes(16), b"b" + bytes(15), bytes(15) + b"a")
    }

    assert len(bound) == 9


def test_the_standard_profile_is_what_the_product_derives_with() -> None:
    """A vault of the product does not open under the profile of tests."""
    owner = Owner()
    document = decode_document(owner.documents[0]).document

    refusal(
        WrongPassphraseError,
        lambda: open_account(
            Passphrase(PASSPHRASE),
            owner.verified(),
            owner.keys_blob(),
            profile=Profile(memory_kib=128, passes=1),
        ),
    )
    assert not hasattr(document, "profile")
