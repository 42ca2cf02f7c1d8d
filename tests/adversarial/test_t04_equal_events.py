"""T04: equal events sealed twice share no block."""

from collections.abc import Iterator
from pathlib import Path

import apsw

from awserver.records import HEADER_BYTES
from awvault.testing import open_vault
from tests.helpers.vaults import A, B, beat, bucket, insert

BLOCK_BYTES = 8
"""Shorter than any cipher's block. Two ciphertexts of 100 KB share one of these
by chance once in 10^9 runs."""

EVENTS = [
    (at, 1.5, b'{"app":"editor","title":"page %d"}' % (at * at)) for at in range(3_000)
]
VAULTS = ("one", "other")
HEADING_BYTES = 16
"""What a blob begins with: its magic, version and first length are no secret."""


def blocks(data: bytes) -> set[bytes]:
    """Return every piece of a ciphertext, at every offset."""
    return {data[at : at + BLOCK_BYTES] for at in range(len(data) - BLOCK_BYTES + 1)}


def assert_disjoint(sealed: list[bytes]) -> None:
    """Fail if two of them share a piece, or one repeats a piece."""
    seen: set[bytes] = set()
    for data in sealed:
        pieces = blocks(data)
        assert len(pieces) == len(data) - BLOCK_BYTES + 1, "it repeats itself"
        assert not pieces & seen, "two of them share a piece"
        seen |= pieces


def column(directory: Path, table: str, name: str) -> list[bytes]:
    database = apsw.Connection(str(directory / "vault.db"))
    return [value for (value,) in database.execute(f"SELECT {name} FROM {table}")]


def both(directory: Path, table: str, name: str) -> list[bytes]:
    """Return a column of both vaults."""
    return [
        value for vault in VAULTS for value in column(directory / vault, table, name)
    ]


async def _sealed_twice(directory: Path) -> None:
    async with await open_vault(directory) as vault:
        for name in "bc":
            await bucket(vault, name)
            await insert(vault, *EVENTS, name=name)
            await vault.seal_now()
        assert vault.facts().records == 2
        assert vault.facts().journal_events == 0


async def test_records(tmp_path: Path) -> None:
    """The same events in two records, and in another account of the same owner."""
    for name in VAULTS:
        await _sealed_twice(tmp_path / name)
    bodies = both(tmp_path, "bodies", "body")
    assert len(bodies) == 4
    assert min(map(len, bodies)) > 1_000
    assert_disjoint(bodies)
    # Of the headers, salt, commitment, length and hash are of each record alone.
    headers = both(tmp_path, "records", "header")
    own = HEADER_BYTES - (24 + 32 + 4 + 32)
    assert_disjoint([h[own : own + 24 + 32] + h[own + 24 + 32 + 4 :] for h in headers])
    assert_disjoint(both(tmp_path, "records", "signature"))


async def test_index_rows(tmp_path: Path) -> None:
    """What is cached about equal records is not equal either."""
    for name in VAULTS:
        await _sealed_twice(tmp_path / name)
    assert_disjoint(both(tmp_path, "index_rows", "sealed"))


async def test_journal_rows(tmp_path: Path) -> None:
    """Equal rows side by side, and one row each time that it is written again."""
    path = tmp_path / "v"

    def versions() -> Iterator[bytes]:
        yield from column(path, "journal", "sealed")

    sealed: list[bytes] = []
    async with await open_vault(path) as vault:
        await bucket(vault)
        for _ in range(5):
            await insert(vault, *EVENTS[:200])
            await insert(vault, (7, 1, A))
        sealed += versions()
        assert len(sealed) == 11
        await bucket(vault, "open")
        known = set(sealed)
        for second in range(20):
            await beat(vault, 1_000 + second, 0, B, name="open")
            new = [row for row in versions() if row not in known]
            assert new
            known |= set(new)
            sealed += new
    assert_disjoint(sealed)


async def test_keys(tmp_path: Path) -> None:
    """Two vaults of one passphrase share nothing: blob, keystore, document."""
    for name in VAULTS:
        async with await open_vault(tmp_path / name):
            pass
    for table, name in (("keys_blobs", "blob"), ("vault", "keystore")):
        one, other = (column(tmp_path / n, table, name)[0] for n in VAULTS)
        common = blocks(one[HEADING_BYTES:]) & blocks(other[HEADING_BYTES:])
        # Lengths and zeros of the format are the same; nothing of a secret is.
        common = {block for block in common if len(set(block)) > 3}
        assert not common, (table, common)


async def test_a_closed_database_keeps_no_row_twice(tmp_path: Path) -> None:
    """Free pages and the write-ahead log hold old versions: still nothing equal."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        for second in range(50):
            await beat(vault, second, 0, A)
        await insert(vault, *EVENTS[:100])
        await vault.seal_now()
    data = (path / "vault.db").read_bytes()
    assert A not in data
    assert b"editor" not in data
