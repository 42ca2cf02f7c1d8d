"""The recovery key in words: there and back, and every way to mistype them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awvault.crypto.keys import RecoveryKey
from awvault.crypto.recovery import (
    RECOVERY_CHARS_MAX,
    RECOVERY_WORDS,
    read_recovery_words,
    recovery_words,
)
from awvault.errors import RecoveryWordsError
from tests.helpers.randomness import fixed

KEY = RecoveryKey(fixed("recovery"))
WORDS = recovery_words(KEY)


@given(st.binary(min_size=32, max_size=32))
def test_the_words_are_the_key(raw: bytes) -> None:
    """Any key comes back from its words, and has always as many of them."""
    words = recovery_words(RecoveryKey(raw))

    assert len(words) == RECOVERY_WORDS
    assert read_recovery_words(" ".join(words)) == RecoveryKey(raw)


@pytest.mark.parametrize(
    "text",
    [
        " ".join(WORDS).upper(),
        "  " + "\n".join(WORDS) + "\n",
        "\t".join(WORDS[:12]) + " \r\n " + "  ".join(WORDS[12:]),
    ],
    ids=["capitals", "lines", "spaces"],
)
def test_case_and_spaces_do_not_count(text: str) -> None:
    """However it was laid out on paper, the key is the same."""
    assert read_recovery_words(text) == KEY


@pytest.mark.parametrize("place", [1, 7, 24])
def test_a_mistyped_word_is_named_by_its_place_alone(place: int) -> None:
    """The error says which word, and shows neither it nor another."""
    words = [*WORDS]
    words[place - 1] = "mistyppedd"

    with pytest.raises(RecoveryWordsError, match=f"^word {place} is not") as caught:
        read_recovery_words(" ".join(words))

    assert caught.value.place == place
    assert caught.value.__context__ is None
    assert not set(str(caught.value).split()) & {*WORDS, "mistyppedd"}


def test_a_word_of_the_list_in_the_wrong_place_is_noticed() -> None:
    """Two words that changed places fail the checksum; the library is not quoted."""
    swapped = [WORDS[1], WORDS[0], *WORDS[2:]]

    with pytest.raises(RecoveryWordsError, match="do not belong together") as caught:
        read_recovery_words(" ".join(swapped))

    assert caught.value.place is None
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "got 0"),
        (" ".join(WORDS[:23]), "got 23"),
        (" ".join([*WORDS, WORDS[0]]), "got 25"),
        (" ".join(WORDS[:12]), "got 12"),
        ("abandon " * RECOVERY_CHARS_MAX, f"got {8 * RECOVERY_CHARS_MAX} characters"),
    ],
)
def test_another_number_of_words_is_no_key(text: str, got: str) -> None:
    """The error says how many there are; 12 words are no key, though a list has it."""
    with pytest.raises(RecoveryWordsError, match=got):
        read_recovery_words(text)
