"""Ciphertexts that XChaCha20-Poly1305 opens under two keys.

Poly1305 is a polynomial over the field of 2^130 - 5, evaluated at a point that
follows from the key, plus a pad. Two keys, one wanted tag: two linear equations
in two blocks of the ciphertext. A solution is usable if both blocks fit in 128
bits, which one in sixteen does. Known from Dodis et al., "Fast Message Franking"
(2018), and Len et al., "Partitioning Oracle Attacks" (2021).
"""

from collections.abc import Iterator

from Crypto.Cipher import ChaCha20

_FIELD = 2**130 - 5
_BLOCK = 2**128
_CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
TAG_BYTES = 16


def collide(
    keys: tuple[bytes, bytes], nonce: bytes, aad: bytes, *, blocks: int = 2
) -> bytes:
    """Return ciphertext || tag of `blocks` blocks, which opens under both keys."""
    first, second = (_one_time_key(key, nonce) for key in keys)
    free = bytes(16 * (blocks - 2))
    lengths = len(aad).to_bytes(8, "little") + (16 * blocks).to_bytes(8, "little")
    known = [*_padded(aad), *_padded(free)]
    # In the order of Poly1305: the last block is multiplied by r once.
    for tag in range(1, 10_000):
        x, y = _solve(first, second, known, int.from_bytes(lengths, "little"), tag)
        if _BLOCK <= x < 2 * _BLOCK and _BLOCK <= y < 2 * _BLOCK:
            ends = (x - _BLOCK).to_bytes(16, "little") + (y - _BLOCK).to_bytes(
                16, "little"
            )
            return free + ends + tag.to_bytes(TAG_BYTES, "little")
    raise AssertionError("one tag in sixteen has a solution")


def _solve(
    first: tuple[int, int],
    second: tuple[int, int],
    known: list[int],
    lengths: int,
    tag: int,
) -> tuple[int, int]:
    """Return the two blocks that give `tag` under both one-time keys."""
    rows = []
    for r, s in (first, second):
        total = 0
        for block in known:
            total = (total + block) * r % _FIELD
        # total * r^3 + x * r^3 + y * r^2 + lengths * r  =  tag - s
        wanted = (tag - s) % _BLOCK
        constant = (total * pow(r, 3, _FIELD) + (lengths + _BLOCK) * r) % _FIELD
        rows.append(
            (pow(r, 3, _FIELD), pow(r, 2, _FIELD), (wanted - constant) % _FIELD)
        )
    (a, b, e), (c, d, f) = rows
    inverse = pow(a * d - b * c, -1, _FIELD)
    return (e * d - b * f) * inverse % _FIELD, (a * f - e * c) * inverse % _FIELD


def _padded(data: bytes) -> Iterator[int]:
    for at in range(0, len(data), 16):
        block = data[at : at + 16].ljust(16, b"\0")
        yield int.from_bytes(block, "little") + _BLOCK


def _one_time_key(key: bytes, nonce: bytes) -> tuple[int, int]:
    stream = ChaCha20.new(key=key, nonce=nonce).encrypt(bytes(32))
    r = int.from_bytes(stream[:16], "little") & _CLAMP
    return r, int.from_bytes(stream[16:], "little")
