"""Labels: one purpose each, and one form."""

from typing import Final

import pytest

from awserver import records
from awvault.crypto import labels
from awvault.crypto.hashing import derive, hash_bytes
from awvault.crypto.labels import Label

LABELS: Final = {
    name: value
    for name, value in vars(labels).items()
    if name.isupper() and isinstance(value, bytes)
}


def test_no_two_labels_are_the_same() -> None:
    """No hash, derivation or signature can be taken for another."""
    assert len(LABELS) > 20
    assert len(set(LABELS.values())) == len(LABELS)


@pytest.mark.parametrize("label", LABELS.values(), ids=bytes.decode)
def test_a_label_has_its_form(label: bytes) -> None:
    """1 to 16 bytes without NUL, and readable."""
    assert 1 <= len(label) <= 16
    assert b"\0" not in label
    assert label.decode("ascii").replace("-", "").isalnum()


def test_the_host_uses_the_same_labels() -> None:
    """The three labels that the host knows are those of the list."""
    header = bytes(records.HEADER_BYTES)

    assert records.hash_body(b"x") == hash_bytes(labels.BODY, b"x")
    assert records.signed_bytes(header) == b"\6\0\0\0" + labels.RECORD + header


@pytest.mark.parametrize("label", [b"", b"a" * 17, b"a\0", b"\0"])
def test_another_form_is_refused(label: bytes) -> None:
    """A label that BLAKE2b would take for another is refused."""
    with pytest.raises(ValueError, match="1 to 16 bytes"):
        hash_bytes(Label(label), b"")
    with pytest.raises(ValueError, match="1 to 16 bytes"):
        derive(bytes(32), Label(label))


@pytest.mark.parametrize("size", [0, 16, 31, 33, 63])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    """Above all the empty one, which BLAKE2b takes for no key at all."""
    with pytest.raises(ValueError, match=f"32 or 64 bytes, got {size}"):
        derive(bytes(size), labels.LOGIN)


def test_the_output_length_is_part_of_the_hash() -> None:
    """A short hash is not the beginning of a long one."""
    short = hash_bytes(labels.BODY, b"x", size=16)

    assert not hash_bytes(labels.BODY, b"x").startswith(short)
