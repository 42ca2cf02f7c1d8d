"""A directory that exports are written to, again and again.

A file gets its name once it is whole, and is for its owner alone. What is removed
is only what has such a name: nothing else in the directory is touched.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from awvault.files import sync_directory

PERIODS: Final = {"hour": 3_600, "day": 86_400, "week": 604_800}
"""How often to export, in seconds."""

SUFFIXES: Final = {
    "lines": "jsonl",
    "activitywatch": "json",
    "csv": "csv",
    "parquet": "parquet",
}
PART: Final = ".part"
"""Behind the name of a file that is not whole."""

_TIME: Final = "%Y%m%dT%H%M%SZ"
_NAME: Final = re.compile(
    r"awvault-export-([0-9]{8}T[0-9]{6}Z)\.(?:jsonl|json|csv|parquet)"
)


class ExportFolder:
    """Where exports of one form go."""

    def __init__(self, path: Path, *, form: str) -> None:
        """Write into `path`, which must be there."""
        self._path = path
        self._suffix = SUFFIXES[form]

    def seconds_until(self, period: int, *, now: float) -> float:
        """Return how long it is until an export is due; 0 or less: it is.

        Counts from the newest file that is here, so a restart changes nothing. One
        that says to be of the future says nothing. Raises OSError.
        """
        past = [at for at, _ in self._files() if at <= now]
        return max(past) + period - now if past else 0.0

    def has_exports(self, *, now: float) -> bool:
        """Say whether one is here that is not of the future. Raises OSError."""
        return any(at <= now for at, _ in self._files())

    @contextlib.contextmanager
    def new_file(self, *, now: float) -> Iterator[BinaryIO]:
        """Give the next export to write; it is there once the context has ended well.

        Raises OSError.
        """
        moment = datetime.fromtimestamp(now, UTC).strftime(_TIME)
        path = self._path / f"awvault-export-{moment}.{self._suffix}"
        with new_private_file(path) as file:
            yield file

    def prune(self, keep: int) -> None:
        """Remove all but the newest `keep` exports, and what was not made whole."""
        for _, path in sorted(self._files(), reverse=True)[keep:]:
            path.unlink(missing_ok=True)
        for path in self._path.glob(f"*{PART}"):
            if _NAME.fullmatch(path.name.removesuffix(PART)):
                path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[float, Path]]:
        """Return the exports that are here, each with its time."""
        found = []
        for path in self._path.iterdir():
            match = _NAME.fullmatch(path.name)
            if match is None or path.is_symlink() or not path.is_file():
                continue
            with contextlib.suppress(ValueError):
                moment = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
                found.append((moment.timestamp(), path))
        return found


@contextlib.contextmanager
def new_private_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file (0600) that gets its name only once it is whole, and durable.

    Raises OSError.
    """
    aside = path.with_name(path.name + PART)
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_directory(path.parent)
    finally:
        aside.unlink(missing_ok=True)
