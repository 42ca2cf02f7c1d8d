"""Passphrases that a host could guess."""

import pytest

from awvault.crypto.keys import PASSPHRASE_BYTES_MAX, Passphrase
from awvault.errors import WeakPassphraseError
from awvault.passphrases import generate_words
from awvault.strength import REMOTE_BITS_MIN, estimate_bits, require_strong


def test_a_generated_passphrase_is_strong() -> None:
    """What is offered in the place of a weak one is always taken."""
    for _ in range(20):
        require_strong(Passphrase(generate_words()), known=["alice", "example.org"])


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "password",
        "Tr0ub4dor&3",
        "a" * PASSPHRASE_BYTES_MAX,
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "1234567890123456789012345678901234567890",
        "qwertyuiopasdfghjklzxcvbnm",
    ],
)
def test_what_is_quickly_guessed_is_refused(text: str) -> None:
    """Length alone is no strength; the error has both numbers and not the text."""
    with pytest.raises(WeakPassphraseError) as caught:
        require_strong(Passphrase(text))

    assert caught.value.bits < REMOTE_BITS_MIN == caught.value.bits_min
    assert f"at least {REMOTE_BITS_MIN}" in str(caught.value)
    assert len(text) == 1 or text not in str(caught.value)


def test_the_username_is_the_first_guess() -> None:
    """What a host knows anyway adds nothing."""
    passphrase = Passphrase("marmaduke-of-tunbridge-wells")

    bits = estimate_bits(passphrase, known=["marmaduke-of-tunbridge-wells"])

    assert bits < 5 < estimate_bits(passphrase)


def test_a_long_passphrase_is_measured_by_its_beginning() -> None:
    """The estimator's own limit is no limit for a passphrase."""
    words = generate_words() + " " + generate_words()

    assert estimate_bits(Passphrase(words * 10)) >= REMOTE_BITS_MIN
