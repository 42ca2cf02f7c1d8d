"""The recovery key in words."""

from functools import partial

from awvault.crypto.keys import RecoveryKey
from awvault.crypto.recovery import read_recovery_words, recovery_words
from tests.helpers.randomness import fixed
from tests.vectors.form import Fields, attempt, require_keys, unhex

NAME = "recoveries"


def make() -> dict[str, Fields]:
    key = RecoveryKey(fixed("recovery"))
    words = recovery_words(key)
    vectors = {
        "success": _good("a recovery key in words", key, " ".join(words)),
        "zeros": _good(
            "a key of zeros: the last word holds the checksum",
            RecoveryKey(bytes(32)),
            " ".join(recovery_words(RecoveryKey(bytes(32)))),
        ),
        "ones": _good(
            "a key of ones",
            RecoveryKey(b"\xff" * 32),
            " ".join(recovery_words(RecoveryKey(b"\xff" * 32))),
        ),
        "typed": _good(
            "capitals and spaces as somebody types them",
            key,
            "  ".join(word.capitalize() for word in words),
        ),
    }
    for name, comment, bad in [
        ("mistyped", "word 7 is not in the list", [*words[:6], "xyzzy", *words[7:]]),
        ("swapped", "two words changed places", [words[1], words[0], *words[2:]]),
        ("replaced", "the last word is another one", [*words[:23], "zoo"]),
        ("too_few", "23 words", words[:23]),
        ("too_many", "25 words", [*words, words[0]]),
        ("twelve", "12 words, with a checksum that holds for them",
         [*["abandon"] * 11, "about"]),
        ("abbreviated", "words cut to four letters", [word[:4] for word in words]),
        ("none", "no word at all", []),
    ]:  # fmt: skip
        vectors[name] = {
            "expect": "words failure",
            "comment": comment,
            "words": " ".join(bad),
        }
    return vectors


def _good(comment: str, key: RecoveryKey, words: str) -> Fields:
    return {
        "expect": "success",
        "comment": comment,
        "words": words,
        "recovery key": key.reveal().hex(),
    }


def check(fields: Fields) -> None:
    require_keys(fields, {"words"}, {"recovery key"})

    key = attempt(fields, partial(read_recovery_words, fields["words"]))

    if key is not None:
        assert key.reveal() == unhex(fields, "recovery key")
        assert recovery_words(key) == fields["words"].lower().split()
