"""Sources of randomness for tests: one that is fixed, and one that repeats."""

from hashlib import blake2b


def fixed(name: str, size: int = 32) -> bytes:
    """Return bytes that look random and are the same for ever."""
    stream = Seeded(name)
    return stream(size)


class Seeded:
    """A source that gives the same bytes to every run."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._draws = 0

    def __call__(self, size: int) -> bytes:
        self._draws += 1
        blocks = []
        for block in range(-(-size // 64)):
            place = f"{self._draws}/{block}/".encode()
            blocks.append(blake2b(place + self._name).digest())
        return b"".join(blocks)[:size]


def repeating(size: int) -> bytes:
    """Return what a machine restored from an image may draw: the same, always."""
    return b"\x5a" * size
