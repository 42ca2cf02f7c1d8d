"""The recovery key as 24 words, for paper: BIP-39's list and checksum, nothing else.

    words = R[32] || the first 8 bits of SHA-256(R), in 24 numbers of 11 bits

The words are R itself. BIP-39's own way from words to a seed has no part in this.
"""

from typing import TYPE_CHECKING, Final

from awvault.crypto.keys import RecoveryKey
from awvault.errors import RecoveryWordsError

if TYPE_CHECKING:
    from mnemonic import Mnemonic

RECOVERY_WORDS: Final = 24
RECOVERY_CHARS_MAX: Final = 1024
"""Of what is typed; 24 words and their spaces have at most 215."""


def recovery_words(key: RecoveryKey) -> list[str]:
    """Return the 24 words of a recovery key."""
    return _bip39().to_mnemonic(key.reveal()).split()


def read_recovery_words(text: str) -> RecoveryKey:
    """Return the recovery key that was typed, in any case and with any spaces.

    Raises `RecoveryWordsError`, which names the place of a word that is not in the
    list. A word that was taken for another one of the list is noticed by the
    checksum, 255 times of 256, and its place cannot be told.
    """
    if len(text) > RECOVERY_CHARS_MAX:
        raise RecoveryWordsError(
            f"a recovery key has {RECOVERY_WORDS} words, got {len(text)} characters"
        )
    bip39 = _bip39()
    words = text.lower().split()
    # The list before the count: with two words run together, both are wrong, and
    # the place of one says more.
    known = set(bip39.wordlist)
    for place, word in enumerate(words, start=1):
        if word not in known:
            raise RecoveryWordsError(
                f"word {place} is not a word of a recovery key: is it mistyped?",
                place=place,
            )
    if len(words) != RECOVERY_WORDS:
        raise RecoveryWordsError(
            f"a recovery key has {RECOVERY_WORDS} words, got {len(words)}"
        )
    key = _key_of(bip39, words)
    if key is None:
        # Raised here, outside of any handler: the library's error is a link in
        # no chain that somebody may print.
        raise RecoveryWordsError(
            "the words do not belong together: one of them is another word of the"
            " list, or two changed places"
        )
    return key


def _key_of(bip39: "Mnemonic", words: list[str]) -> RecoveryKey | None:
    try:
        return RecoveryKey(bytes(bip39.to_entropy(words)))
    except ValueError:
        return None


def _bip39() -> "Mnemonic":
    # Imported here: it reads its list from its package, and few commands need it.
    from mnemonic import Mnemonic

    return Mnemonic("english")
