"""Write every vector: `python -m tests.vectors.generate`.

Deterministic: it writes the same bytes each time, and a test runs it to see
that the files are what it writes. A vector that was released never changes.
"""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.vectors.form import DIRECTORY, Fields, render
from tests.vectors.kinds import (
    accounts,
    documents,
    edits,
    frames,
    journal,
    keys,
    keystores,
    padding,
    payloads,
    proofs,
    records,
    recoveries,
    rings,
    rows,
    slots,
)

KINDS: Final[tuple[ModuleType, ...]] = (
    keys,
    padding,
    slots,
    rings,
    keystores,
    rows,
    records,
    documents,
    accounts,
    edits,
    proofs,
    recoveries,
    payloads,
    journal,
    frames,
)


def generate() -> Iterator[tuple[str, str]]:
    """Yield the path, below this directory, and the text of each file."""
    for kind in KINDS:
        made: dict[str, Fields] = kind.make()
        for name, fields in made.items():
            yield f"{kind.NAME}/{name}.txt", render(fields)


def files(directory: Path = DIRECTORY) -> dict[str, Path]:
    """Return the files that are there, by their path below `directory`."""
    return {
        str(path.relative_to(directory).as_posix()): path
        for path in sorted(directory.rglob("*.txt"))
    }


def main() -> None:
    """Write what is new or different, remove what is made no more."""
    made = dict(generate())
    for name, path in files().items():
        if name not in made:
            path.unlink()
    for name, text in made.items():
        path = DIRECTORY / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")


if __name__ == "__main__":
    main()
