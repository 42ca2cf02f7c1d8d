"""What commands print: data on standard output, all else on standard error.

Titles and URLs are chosen by others. On a terminal an escape code in one of them
could change what a person sees, so nothing that does not print is passed on.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from awvault.service import OnProgress, Progress


UNSETTLED: Final = (
    "A change of the account was sent, and whether it counts is not known yet: keep the"
    " passphrase and words of before, and the new ones. The next change settles it."
)


def printable(text: str) -> str:
    """Return `text` with everything that does not print written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def json_text(raw: bytes) -> str:
    """Return JSON that prints, and means the same.

    Outside strings, compact JSON has printing characters only, so each escape
    falls inside a string, where it stands for the character.
    """
    return printable_json(raw.decode("utf-8", "surrogatepass"))


def printable_json(text: str) -> str:
    """Return what `json_text` returns, of JSON that is text already."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _json_escape(c) for c in text)


def print_json(value: object) -> None:
    """Print one value as one line of JSON."""
    print(json_text(msgspec.json.encode(value)))


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        print(f"{name + ':':<{width + 1}} {printable(str(value))}")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns; numbers to the right."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [
        max(len(head), *(len(row[at]) for row in cells)) if cells else len(head)
        for at, head in enumerate(heads)
    ]
    numeric = [
        bool(rows) and all(isinstance(row[at], int) for row in rows)
        for at in range(len(heads))
    ]
    for line in (list(heads), *cells):
        print(
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, numeric, strict=True)
            ).rstrip()
        )


def note(message: str) -> None:
    """Tell a person something that is not data."""
    print(f"awvault: {printable(message)}", file=sys.stderr)


@contextlib.contextmanager
def progress_shown(title: str) -> "Iterator[OnProgress]":
    """Show progress on a terminal while the context lasts; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {"": bar.add_task(title, total=None)}

        def show(progress: "Progress") -> None:
            bar.update(
                tasks[""],
                description=f"{title}: {progress.phase}",
                completed=progress.done,
                total=progress.total,
            )

        yield show


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(
        f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)
    )
