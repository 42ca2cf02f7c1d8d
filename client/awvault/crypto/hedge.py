"""Randomness that survives a generator which repeats itself.

A restored machine image, or a forked process, can draw the same random bytes
twice. A salt or nonce therefore also depends on the key and on what it is for:
with other content, it is another one.
"""

from awvault.crypto import labels
from awvault.crypto.hashing import derive, hash_bytes
from awvault.crypto.keys import Random

RANDOM_BYTES = 32


def hedged(
    key: bytes,
    label: bytes,
    context: bytes,
    plaintext: bytes,
    random: Random,
    *,
    size: int,
) -> bytes:
    """Return BLAKE2b(key, "hedge", random[32] || H(LP(label) || context) || H(plaintext)).

    The label is length-prefixed, so no two pairs of label and context meet.
    """
    where = len(label).to_bytes(4, "little") + label + context
    return derive(
        key,
        labels.HEDGE,
        random(RANDOM_BYTES)
        + hash_bytes(labels.CONTEXT, where)
        + hash_bytes(labels.PLAINTEXT, plaintext),
        size=size,
    )
