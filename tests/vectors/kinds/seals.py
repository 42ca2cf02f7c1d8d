"""What the vectors of sealed things share: ways to spoil a seal."""

from collections.abc import Iterator

from awvault.crypto import labels
from awvault.crypto.hashing import derive, hash_bytes
from awvault.crypto.labels import Label
from tests.helpers.collisions import collide


def flip(data: bytes, at: int) -> bytes:
    """Return `data` with the lowest bit of one byte flipped."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def spoiled(sealed: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Yield (name, comment, bytes) of a committing seal with one fault each."""
    for name, comment, at in [
        ("flip_salt", "the first bit of the salt is flipped", 0),
        ("flip_commitment", "the first bit of the commitment is flipped", 24),
        ("flip_ciphertext", "the first bit of the ciphertext is flipped", 56),
        ("flip_tag", "the last bit of the tag is flipped", len(sealed) - 1),
    ]:
        yield name, comment, flip(sealed, at)
    yield "truncated", "the last byte is missing", sealed[:-1]
    yield "extended", "one byte too many", sealed + b"\0"
    yield "shorter_than_its_frame", "71 bytes, one less than the least", sealed[:71]
    yield "empty", "no bytes at all", b""


def for_two_keys(
    right: bytes, other: bytes, label: Label, context: bytes, salt: bytes, blocks: int
) -> bytes:
    """Return a seal that commits to `right`, whose AEAD opens under `other` too."""
    first, commitment = key_and_commitment(right, label, context, salt)
    second, _ = key_and_commitment(other, label, context, salt)
    aad = context + salt + commitment
    ciphertext = collide((first, second), bytes(24), aad, blocks=blocks)
    return salt + commitment + ciphertext


def key_and_commitment(
    key: bytes, label: Label, context: bytes, salt: bytes
) -> tuple[bytes, bytes]:
    """Return what the formula of docs/protocol/keys.md gives."""
    data = salt + hash_bytes(labels.CONTEXT, context)
    both = derive(key, label, data, size=64)
    return both[:32], both[32:]


def between(
    key: bytes,
    label: Label,
    context: bytes,
    plaintext: bytes,
    random: bytes,
    sealed: bytes,
) -> dict[str, bytes]:
    """Return the values between a plaintext and its seal, from the formulas."""
    hedge_context = len(label).to_bytes(4, "little") + label + context
    hashes = {
        "hedge context hash": hash_bytes(labels.CONTEXT, hedge_context),
        "plaintext hash": hash_bytes(labels.PLAINTEXT, plaintext),
        "context hash": hash_bytes(labels.CONTEXT, context),
    }
    salt = derive(
        key,
        labels.HEDGE,
        random + hashes["hedge context hash"] + hashes["plaintext hash"],
        size=24,
    )
    sealing_key, commitment = key_and_commitment(key, label, context, salt)
    return {
        **hashes,
        "seal salt": salt,
        "sealing key": sealing_key,
        "commitment": commitment,
        "ciphertext": sealed[56:],
    }


BETWEEN = {
    "random",
    "hedge context hash",
    "plaintext hash",
    "context hash",
    "seal salt",
    "sealing key",
    "commitment",
    "ciphertext",
}
