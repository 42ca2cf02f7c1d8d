"""Randomness that survives a generator which repeats itself.

A restored machine image, or a forked process, can draw the same random bytes
twice. What must not repeat therefore also depends, through a secret key, on
where it is used and on what is sealed: with other content, it is another one.
"""

from collections.abc import Callable
from typing import Final

from awserver.encoding import lp
from awvault.crypto import labels
from awvault.crypto.hashing import derive, hash_bytes
from awvault.crypto.labels import Label

Random = Callable[[int], bytes]
"""Returns that many random bytes; `secrets.token_bytes` in the product."""

RANDOM_BYTES: Final = 32


def draw(random: Random, size: int = RANDOM_BYTES) -> bytes:
    """Return `size` random bytes; a source that gives another number is refused."""
    drawn = random(size)
    if len(drawn) != size:
        raise ValueError(f"asked for {size} random bytes, got {len(drawn)}")
    return drawn


def hedged(
    key: bytes,
    label: Label,
    *,
    context: bytes,
    plaintext: bytes,
    random: Random,
    size: int,
) -> bytes:
    """Return a salt or nonce that other content does not get under `key`.

    BLAKE2b(key, label, random[32] || H_context(context) || H_plaintext(plaintext))
    """
    data = (
        draw(random)
        + hash_bytes(labels.CONTEXT, context)
        + hash_bytes(labels.PLAINTEXT, plaintext)
    )
    return derive(key, label, data, size=size)


def generate(owner: bytes, purpose: bytes, *, context: bytes, random: Random) -> bytes:
    """Return 32 bytes for a new random key, to be used for `purpose`.

    `owner` is a secret of the owner, 32 or 64 bytes. Where the generator is
    good it adds nothing; where it repeats, another owner, purpose or context
    still gets another key.

    BLAKE2b-256(owner, "generate", random[32] || H_context(LP(purpose) || context))
    """
    data = draw(random) + hash_bytes(labels.CONTEXT, lp(purpose) + context)
    return derive(owner, labels.GENERATE, data)
