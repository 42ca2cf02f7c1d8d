"""Secrets: types that do not print, pickle, copy, hash, or compare by accident."""

import copy
import dataclasses
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from awvault.crypto import keys
from awvault.crypto.keys import (
    EpochKey,
    JournalKey,
    MasterKey,
    Passphrase,
    PassphraseKey,
    Secret,
)
from awvault.errors import InvalidInputError, LimitError
from tests.helpers.randomness import fixed

KINDS = [
    kind
    for kind in vars(keys).values()
    if isinstance(kind, type) and issubclass(kind, Secret) and kind.__doc__
    if not kind.__name__.startswith("_") and kind not in {Secret, keys.RandomKey}
]
RAW = fixed("raw", 64)


def make(kind: type[Secret]) -> Secret:
    return kind(RAW[: kind.SIZE])


def test_every_kind_is_looked_at() -> None:
    """The list below is taken from the module, so a new kind is in it."""
    names = {kind.__name__ for kind in KINDS}

    assert {"MasterKey", "EpochKey", "ClientKey", "PassphraseKek", "BootKey"} <= names
    assert len(names) >= 15


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_does_not_print(kind: type[Secret]) -> None:
    """No way to make text of a secret shows a byte of it."""
    secret = make(kind)

    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>80}",
        f"{[secret]}",
    ):
        assert RAW[:4].hex() not in text
        assert repr(RAW[:4])[2:-1] not in text
        assert "redacted" in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_is_not_pickled_copied_or_hashed(kind: type[Secret]) -> None:
    """A secret is in no cache, no other process and no set."""
    secret = make(kind)

    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="must not be pickled or copied"):
            attempt(secret)
    with pytest.raises(TypeError, match="unhashable"):
        hash(secret)
    with pytest.raises(TypeError):
        bytes(secret)  # type: ignore[call-overload]
    assert not hasattr(secret, "__dict__")


def test_a_dataclass_of_secrets_is_not_turned_into_a_dict() -> None:
    """`asdict` copies, so it refuses too."""

    @dataclasses.dataclass
    class Holder:
        key: MasterKey

    with pytest.raises(TypeError, match="MasterKey must not be pickled or copied"):
        dataclasses.asdict(Holder(MasterKey(bytes(32))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_equals_only_its_own_kind(kind: type[Secret]) -> None:
    """The same bytes with another purpose are another secret."""
    secret = make(kind)
    other = JournalKey if kind is not JournalKey else EpochKey

    assert secret == make(kind)
    assert secret != kind(bytes(kind.SIZE))
    assert secret != make(other)
    assert secret != RAW[: kind.SIZE]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(65), bytearray(32), "x" * 32])
def test_a_secret_has_its_length(kind: type[Secret], raw: bytes) -> None:
    """Another length or type is refused, and not quoted."""
    with pytest.raises(ValueError, match=f"^{kind.__name__} has {kind.SIZE} bytes$"):
        kind(raw)


def test_a_passphrase_does_not_print() -> None:
    """A passphrase shows nothing, and is not pickled or copied."""
    passphrase = Passphrase("correct horse")

    assert "horse" not in f"{passphrase} {passphrase!r}"
    with pytest.raises(TypeError, match="must not be pickled"):
        pickle.dumps(passphrase)
    with pytest.raises(TypeError, match="unhashable"):
        hash(passphrase)
    assert passphrase == Passphrase("correct horse")
    assert passphrase != Passphrase("correct hors")
    assert passphrase != "correct horse"


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("caf\u00e9", "cafe\u0301"),
        ("\ufb01sh", "fish"),
        ("\uff21\uff22", "AB"),
        ("\u212b", "\u00c5"),
    ],
)
def test_a_passphrase_opens_from_any_keyboard(typed: str, same: str) -> None:
    """Letters that look the same are the same passphrase (NFKC)."""
    assert Passphrase(typed) == Passphrase(same)


@pytest.mark.parametrize(
    ("one", "two"), [("a", "A"), ("a b", "a  b"), ("a", "a "), ("\u00df", "ss")]
)
def test_nothing_else_of_a_passphrase_is_changed(one: str, two: str) -> None:
    """Case and spaces count."""
    assert Passphrase(one) != Passphrase(two)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", InvalidInputError),
        ("secret\ud800", InvalidInputError),
        ("s" * 1025, LimitError),
        ("\u00e9" * 513, LimitError),
        ("\ufdfa" * 100, LimitError),
    ],
    ids=["empty", "surrogate", "characters", "bytes", "normalised"],
)
def test_a_passphrase_that_cannot_be_is_refused_unquoted(
    text: str, kind: type[InvalidInputError]
) -> None:
    """Empty, invalid and endless ones are refused before Argon2, without quoting."""
    with pytest.raises(kind) as caught:
        Passphrase(text)

    assert type(caught.value) is kind
    assert caught.value.field == "passphrase"
    assert caught.value.__context__ is None
    assert text[:3] not in str(caught.value) or not text


def test_the_longest_passphrase_is_taken() -> None:
    """1024 bytes are allowed."""
    assert len(Passphrase("s" * 1024).reveal()) == 1024


def test_the_type_checker_refuses_a_key_of_another_purpose(tmp_path: Path) -> None:
    """A master key where an epoch key is due does not pass mypy."""
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    source = tmp_path / "swapped.py"
    source.write_text(
        "from awserver.records import ClientId\n"
        "from awvault.crypto.keys import EpochKey, MasterKey, derive_local_key\n"
        "derive_local_key(EpochKey(bytes(32)), ClientId(bytes(16)))\n"
        "derive_local_key(MasterKey(bytes(32)), ClientId(bytes(16)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(source)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )

    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1, done.stdout
    assert "swapped.py:4: error: Argument 1" in errors[0]
    assert 'expected "EpochKey"' in errors[0]


def test_a_passphrase_key_is_the_long_one() -> None:
    """Argon2 gives 64 bytes; all else has 32."""
    assert {kind for kind in KINDS if kind.SIZE != 32} == {PassphraseKey}
