"""What a page loads at its start: to find the files that are not there."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

PAGE_CHARS_MAX: Final = 1024 * 1024
"""What of a page is looked at."""


class _Loads(HTMLParser):
    """Gathers the addresses of scripts and style sheets."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.has_base = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        kinds = (said.get("rel") or "").lower().split()
        if tag == "base":
            self.has_base = True
        elif tag == "script":
            self.addresses.append(said.get("src") or "")
        elif tag == "link" and "stylesheet" in kinds:
            self.addresses.append(said.get("href") or "")


def missing_file(page: Path, root: Path) -> str | None:
    """Return the address of a file that `page` loads and that is not there.

    `root` is the directory that is served at `/`. None: they are all there, or it
    cannot be told. It reads the disk.
    """
    try:
        with page.open(encoding="utf-8", errors="replace") as file:
            text = file.read(PAGE_CHARS_MAX)
    except OSError:
        return None
    loads = _Loads()
    loads.feed(text)
    if loads.has_base:
        return None
    for address, path in _paths(loads.addresses):
        folder = root if path.startswith("/") else page.parent
        try:
            is_there = (folder / path.lstrip("/")).is_file()
        except (OSError, ValueError):
            # A name that no system has.
            is_there = False
        if not is_there:
            return address
    return None


def _paths(addresses: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each address of a file of this server, and its path there."""
    for address in addresses:
        try:
            parts = urlsplit(address.strip())
        except ValueError:
            continue
        if parts.path and not parts.scheme and not parts.netloc:
            yield address, unquote(parts.path)
