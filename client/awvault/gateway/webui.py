"""A web interface: static files that a person has, served beside the API.

ActivityWatch's server serves its own interface at `/`; this program has none, and
serves the built files of that one, or of another. Whatever a page here does, it
does with all of a person's data in plain text: so no file outside the directory
can be reached, and the browser is told to let the page connect to nobody but
this gateway.
"""

import asyncio
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
from aiohttp import web

from awvault.files import others_can_change
from awvault.gateway.answers import COMMON_HEADERS, json_answer
from awvault.gateway.refusals import Refusal
from awvault.gateway.routes import Answer, Gateway, guarded

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Larger files are not served: they are read whole."""

INDEX: Final = "index.html"

PAGES: Final = "pages"
"""Below `/pages/NAME/` are the pages of watchers, as in ActivityWatch's server."""

CONTENT_TYPES: Final = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".gif": "image/gif",
        ".htm": "text/html; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".ico": "image/vnd.microsoft.icon",
        ".jpeg": "image/jpeg",
        ".jpg": "image/jpeg",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".map": "application/json",
        ".mjs": "text/javascript; charset=utf-8",
        ".otf": "font/otf",
        ".png": "image/png",
        ".svg": "image/svg+xml",
        ".ttf": "font/ttf",
        ".txt": "text/plain; charset=utf-8",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
        ".webp": "image/webp",
        ".woff": "font/woff",
        ".woff2": "font/woff2",
    }
)
"""What a file is, by the end of its name. The system's own table differs from
machine to machine; anything else is bytes, which no browser runs."""

_DIRECTIVES: Final = (
    "default-src 'self'",
    # ActivityWatch's interface asks for this itself: it compiles templates.
    "script-src 'self' 'unsafe-eval'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    # Nor images, forms and frames: only by going there can a page send what it read.
    "connect-src 'self'",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    # The interface shows the pages of watchers in frames.
    "frame-ancestors 'self'",
)

POLICY: Final = "; ".join(_DIRECTIVES)
"""The Content-Security-Policy of everything that is served here."""

_HEADERS: Final = {
    **COMMON_HEADERS,
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "SAMEORIGIN",
}

# A name with these means something to some system: another folder, another
# drive, a stream of a file.
_FOREIGN: Final = frozenset('\\:*?"<>|')


@dataclass(frozen=True, slots=True)
class File:
    """One file as it was read, with a tag that changes when it does."""

    content: bytes
    content_type: str
    tag: str


def add_interface(
    app: web.Application,
    gateway: Gateway,
    directory: Path,
    pages: Mapping[str, Path],
) -> None:
    """Serve the files of `directory` at `/`, and each of `pages` below `/pages/`.

    Everything but what is below `/api/` is looked for there. Directories are
    given as they are resolved.
    """

    async def serve(request: web.Request) -> Answer:
        if request.method not in {"GET", "HEAD", "OPTIONS"}:
            raise Refusal(
                405, "only GET is served here", headers={"Allow": "GET, HEAD"}
            )
        path = request.path.removeprefix("/")
        if path == f"{PAGES}/":
            return json_answer(msgspec.json.encode(list(pages)))
        root, path = _root_of(path, directory, pages)
        file = await asyncio.to_thread(read_file, root, path)
        if file is None:
            raise Refusal(404, "there is no such file of the web interface")
        return _answer(request, file)

    route = guarded(gateway, serve)
    app.router.add_route("*", "/", route)
    app.router.add_route("*", "/{path:(?!api(?:/|$)).*}", route)


def _root_of(path: str, directory: Path, pages: Mapping[str, Path]) -> tuple[Path, str]:
    """Return the directory that a path is in, and the rest of the path."""
    first, _, rest = path.partition("/")
    name, slash, inside = rest.partition("/")
    if first != PAGES or name not in pages:
        return directory, path
    if not slash:
        # Without it, what the page loads would be looked for beside it.
        raise Refusal(308, "see there", headers={"Location": f"/{PAGES}/{name}/"})
    return pages[name], inside


def read_file(root: Path, path: str) -> File | None:
    """Read the file at `path` below `root`, which is resolved; None: there is none.

    A folder is its `index.html`. Nothing outside `root` is read, whichever way
    the path or a symbolic link leads, no name that begins with a dot, and nothing that
    another user can write.
    """
    names = path.split("/")
    if not names[-1]:
        names[-1] = INDEX
    if not all(_is_plain(name) for name in names):
        return None
    try:
        found = root.joinpath(*names).resolve(strict=True)
        if not found.is_relative_to(root):
            return None
        # The last name is no link any more; it must not become one. O_NONBLOCK:
        # opening a pipe must not hang.
        flags = os.O_RDONLY
        for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, flag, 0)
        with os.fdopen(os.open(found, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_BYTES_MAX:
                return None
            if others_can_change(status):
                return None
            content = file.read(FILE_BYTES_MAX)
    except (OSError, RuntimeError, ValueError):
        # Absent, unreadable, a loop of links, a name that no system has.
        return None
    return File(
        content,
        CONTENT_TYPES.get(found.suffix.lower(), "application/octet-stream"),
        f'"{status.st_mtime_ns:x}-{status.st_size:x}"',
    )


def _is_plain(name: str) -> bool:
    """Say whether one part of a path is a name on every system, and not hidden."""
    return (
        name != ""
        and not name.startswith(".")
        and name.isprintable()
        and _FOREIGN.isdisjoint(name)
    )


def _answer(request: web.Request, file: File) -> web.Response:
    headers = {**_HEADERS, "Content-Type": file.content_type}
    if not file.content_type.startswith("text/html"):
        # Kept, but asked about each time: the page itself is never kept.
        headers |= {"Cache-Control": "no-cache", "ETag": file.tag}
        if request.headers.get("If-None-Match") == file.tag:
            return web.Response(status=304, headers=headers)
    return web.Response(body=file.content, headers=headers)
