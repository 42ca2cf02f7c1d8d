"""The form of a vector file: lines of `key: value`, and what may be expected.

docs/protocol/vectors.md describes it for other implementations.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import pytest

from awvault import errors

DIRECTORY: Final = Path(__file__).parent

Fields = dict[str, str]
T = TypeVar("T")

EXPECTATIONS: Final[Mapping[str, type[errors.Error] | None]] = {
    "success": None,
    "malformed": errors.MalformedError,
    "unsupported suite": errors.UnsupportedSuiteError,
    "seal failure": errors.SealError,
    "signature failure": errors.SignatureError,
    "wrong place": errors.WrongPlaceError,
    "gap": errors.GapError,
    "broken chain": errors.ChainError,
    "epoch failure": errors.EpochError,
    "revoked": errors.RevokedError,
    "body missing": errors.BodyMissingError,
    "document failure": errors.DocumentError,
    "rollback": errors.RollbackError,
    "wrong passphrase": errors.WrongPassphraseError,
    "wrong recovery key": errors.WrongRecoveryKeyError,
    "words failure": errors.RecoveryWordsError,
    "payload failure": errors.PayloadError,
}


def render(fields: Fields) -> str:
    """Return a file's text."""
    for key, value in fields.items():
        assert ": " not in key, key
        assert "\n" not in value, value
    return "".join(f"{key}: {value}".rstrip() + "\n" for key, value in fields.items())


def parse(text: str) -> Fields:
    """Read a file's text; any other form is an error."""
    fields: Fields = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        assert separator, f"no colon in {line!r}"
        assert key not in fields, f"{key!r} is there twice"
        assert not value or value.startswith(" "), line
        fields[key] = value[1:]
    assert render(fields) == text
    return fields


def require_keys(fields: Fields, needed: set[str], allowed: set[str]) -> None:
    """Fail on a key that is missing or not known: nothing is passed over."""
    needed = needed | {"expect", "comment"}
    missing, unknown = needed - fields.keys(), fields.keys() - needed - allowed
    assert not missing, f"missing: {sorted(missing)}"
    assert not unknown, f"unknown: {sorted(unknown)}"


def attempt(fields: Fields, operation: Callable[[], T]) -> T | None:
    """Do what a vector is about; return the result, or None where it must fail.

    It fails with exactly the error that is expected: a late failure must not
    hide that an early one is missing.
    """
    assert fields["expect"] in EXPECTATIONS, f"unknown: {fields['expect']!r}"
    kind = EXPECTATIONS[fields["expect"]]
    if kind is None:
        return operation()
    with pytest.raises(kind) as caught:
        operation()
    assert type(caught.value) is kind, repr(caught.value)
    return None


def unhex(fields: Fields, key: str) -> bytes:
    return bytes.fromhex(fields[key])


def same(fields: Fields, found: Mapping[str, bytes]) -> None:
    """Compare intermediate values with those that the file has."""
    for key, value in found.items():
        if key in fields:
            assert value.hex() == fields[key], key
