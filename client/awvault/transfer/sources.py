"""Files that can be imported, known by their first bytes."""

import json
from collections.abc import AsyncIterator
from typing import Final

from awvault.errors import InvalidInputError
from awvault.transfer.activitywatch import activitywatch_parts
from awvault.transfer.jsonstream import Read
from awvault.transfer.lines import FORMAT, lines_parts
from awvault.transfer.parts import Part, Parts, encode_part

SQLITE_HEADER: Final = b"SQLite format 3\0"
FIRST_LINE_BYTES_MAX: Final = 1024


async def file_parts(read: Read) -> Parts:
    """Yield what a file holds: JSON lines, or ActivityWatch's export.

    Raises `InvalidInputError` saying where it is wrong; what was yielded before
    stands.
    """
    first = await read()
    if first.startswith(SQLITE_HEADER):
        raise InvalidInputError(
            "file", "this is a database: give its path, not its content"
        )
    parts = lines_parts if _has_our_header(first) else activitywatch_parts
    async for part in parts(_again(first, read)):
        yield part


def _has_our_header(first: bytes) -> bool:
    line = first[:FIRST_LINE_BYTES_MAX].partition(b"\n")[0]
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        return FORMAT.encode() in line or not first
    return isinstance(header, dict) and "format" in header


def _again(first: bytes, read: Read) -> Read:
    """Return what reads `first` once more, and then what follows it."""
    held = [first]

    async def read_again() -> bytes:
        return held.pop() if held else await read()

    return read_again


class Upload:
    """Parts on their way to the importer, which outlive an error of their source.

    The importer ends as if the source did; then `error` says why, and what the
    importer did is known all the same.
    """

    def __init__(self, parts: AsyncIterator[Part]) -> None:
        self._parts = parts
        self.error: Exception | None = None

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield each part as a line."""
        try:
            async for part in self._parts:
                yield encode_part(part)
        except Exception as error:  # noqa: BLE001 - it is raised by who has `error`
            self.error = error
