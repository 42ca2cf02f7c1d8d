"""BLAKE2b as RFC 7693 has it, with key and personalisation, in plain Python."""

import struct
from typing import Final

BLOCK_BYTES: Final = 128
ROUNDS: Final = 12
WORD: Final = 2**64 - 1

IV: Final = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)
SIGMA: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
MIXED: Final = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)


def blake2b(size: int, label: bytes, data: bytes, *, key: bytes = b"") -> bytes:
    """Return `size` bytes; `label` is the personalisation."""
    parameters = struct.pack(
        "<BBBBIQBB14x16s16s", size, len(key), 1, 1, 0, 0, 0, 0, b"", label
    )
    state = [a ^ b for a, b in zip(IV, struct.unpack("<8Q", parameters), strict=True)]
    message = key.ljust(BLOCK_BYTES, b"\0") + data if key else data
    blocks = max(1, -(-len(message) // BLOCK_BYTES))
    for number in range(blocks):
        block = message[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
        last = number == blocks - 1
        counted = len(message) if last else (number + 1) * BLOCK_BYTES
        state = _compress(state, block.ljust(BLOCK_BYTES, b"\0"), counted, last=last)
    return struct.pack("<8Q", *state)[:size]


def _compress(state: list[int], block: bytes, counted: int, *, last: bool) -> list[int]:
    words = struct.unpack("<16Q", block)
    v = [*state, *IV]
    v[12] ^= counted & WORD
    v[13] ^= counted >> 64
    if last:
        v[14] ^= WORD
    for turn in range(ROUNDS):
        order = SIGMA[turn % len(SIGMA)]
        for at, (a, b, c, d) in enumerate(MIXED):
            v[a] = (v[a] + v[b] + words[order[2 * at]]) & WORD
            v[d] = _rotated(v[d] ^ v[a], 32)
            v[c] = (v[c] + v[d]) & WORD
            v[b] = _rotated(v[b] ^ v[c], 24)
            v[a] = (v[a] + v[b] + words[order[2 * at + 1]]) & WORD
            v[d] = _rotated(v[d] ^ v[a], 16)
            v[c] = (v[c] + v[d]) & WORD
            v[b] = _rotated(v[b] ^ v[c], 63)
    return [h ^ v[at] ^ v[at + 8] for at, h in enumerate(state)]


def _rotated(word: int, by: int) -> int:
    return (word >> by) | (word << (64 - by)) & WORD
