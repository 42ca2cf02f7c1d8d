"""A web interface beside the API: which files are served, and how."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from awvault.gateway import GatewaySettings
from awvault.gateway.webui import CONTENT_TYPES, POLICY
from tests.integration.gateway.running import Api, running


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that must never be served."""
    file = tmp_path / "secret.txt"
    file.write_text("secret")
    return file


@pytest.fixture
def interface(tmp_path: Path, outside: Path) -> Path:
    root = tmp_path / "webui"
    for name, content in {
        "index.html": "<title>here</title>",
        "js/app.js": "1",
        "js/app.js.map": "{}",
        "css/app.css": "a{}",
        "static/logo.png": "png",
        "static/odd.xyz": "bytes",
        "static/with space.svg": "<svg/>",
        "api/0/info": "not this one",
        ".hidden/file.js": "secret",
        ".env": "secret",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "link.txt").symlink_to(outside)
    (root / "above").symlink_to(outside.parent)
    (root / "inner.js").symlink_to(root / "js" / "app.js")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe.txt")
    (root / "js" / "open.js").write_text("secret")
    (root / "js" / "open.js").chmod(0o666)
    return root.resolve()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    root = tmp_path / "page"
    root.mkdir()
    (root / "index.html").write_text("<title>a watcher's</title>")
    (root / "view.js").write_text("2")
    return root.resolve()


@pytest.fixture
async def api(tmp_path: Path, interface: Path, page: Path) -> AsyncIterator[Api]:
    settings = GatewaySettings(webui=interface, webui_pages={"aw-watcher-input": page})
    async with running(tmp_path / "vault", settings) as made:
        yield made


async def test_files_are_served_as_what_they_are(api: Api) -> None:
    """The page is never kept; the rest is, and asked about by its tag."""
    for path, content_type, content in (
        ("/", "text/html; charset=utf-8", b"<title>here</title>"),
        ("/index.html", "text/html; charset=utf-8", b"<title>here</title>"),
        ("/?token=x", "text/html; charset=utf-8", b"<title>here</title>"),
        ("/js/app.js", "text/javascript; charset=utf-8", b"1"),
        ("/js/app.js.map", "application/json", b"{}"),
        ("/css/app.css", "text/css; charset=utf-8", b"a{}"),
        ("/static/logo.png", "image/png", b"png"),
        ("/static/odd.xyz", "application/octet-stream", b"bytes"),
        ("/static/with%20space.svg", "image/svg+xml", b"<svg/>"),
        ("/inner.js", "text/javascript; charset=utf-8", b"1"),
        ("/pages/aw-watcher-input/", "text/html; charset=utf-8", None),
        ("/pages/aw-watcher-input/view.js", "text/javascript; charset=utf-8", b"2"),
    ):
        answer = await api.get(path)
        assert answer.status == 200, path
        assert answer.headers["Content-Type"] == content_type
        assert content in {None, answer.body}
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        is_page = content_type.startswith("text/html")
        kept = "no-store" if is_page else "no-cache"
        assert answer.headers["Cache-Control"] == kept
        assert ("ETag" in answer.headers) is not is_page
        head = await api.call("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(answer.body))


async def test_a_file_that_did_not_change_is_not_sent_again(
    api: Api, interface: Path
) -> None:
    """Its tag says so; another time or size is another tag."""
    tag = (await api.get("/js/app.js")).headers["ETag"]
    again = await api.call("GET", "/js/app.js", headers={"If-None-Match": tag})
    assert (again.status, again.body) == (304, b"")

    (interface / "js/app.js").write_text("12")
    changed = await api.call("GET", "/js/app.js", headers={"If-None-Match": tag})
    assert (changed.status, changed.body) == (200, b"12")


OUTSIDE: Final = {
    "parent": "/../secret.txt",
    "parent-within": "/js/../../secret.txt",
    "parent-that-stays": "/js/../app.js",
    "parent-escaped": "/%2e%2e/secret.txt",
    "slash-escaped": "/js/..%2f..%2fsecret.txt",
    "backslash": "/..%5csecret.txt",
    "empty-name": "//secret.txt",
    "absolute": "/%2fetc/passwd",
    "drive": "/C:/secret.txt",
    "stream": "/index.html::$DATA",
    "nul": "/js/app.js%00.png",
    "link-to-a-file": "/link.txt",
    "link-to-a-folder": "/above/secret.txt",
    "link-out-and-back": "/above/webui/index.html",
    "loop": "/loop",
    "pipe": "/pipe.txt",
    "hidden-file": "/.env",
    "hidden-folder": "/.hidden/file.js",
    "folder": "/js",
    "folder-without-a-page": "/js/",
    "missing": "/missing.js",
    "longer-than-any-name": "/" + "x" * 300,
    "written-by-anyone": "/js/open.js",
    "unknown-page": "/pages/other/index.html",
    "out-of-a-page": "/pages/aw-watcher-input/../../secret.txt",
    "escaped-page": "/pages/aw-watcher-input/%2e%2e/secret.txt",
}


async def test_nothing_else_is_served(api: Api) -> None:
    """Whatever way is tried: 404, or a file that is inside for a path that is."""
    for way, path in OUTSIDE.items():
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close"
        answer = await api.raw(f"{head}\r\n\r\n".encode())

        status = int(answer.split()[1])
        assert b"secret" not in answer, way
        # A parser may shorten "/js/../app.js" before anybody sees it.
        assert status == 404 or (status == 200 and b"here" in answer), (way, answer)


async def test_the_api_stays_where_it_is(api: Api) -> None:
    """No file takes its place, and what it does not have is no file."""
    assert set(await api.ok("GET", "/api/0/info")) >= {"hostname", "version"}
    unknown = await api.get("/api/0/nothing")
    assert unknown.status == 404
    assert "there is nothing at this address" in unknown.message
    assert (await api.get("/api")).status == 404
    post = await api.post("/index.html", {})
    assert (post.status, post.headers["Allow"]) == (405, "GET, HEAD")
    other = await api.call("GET", "/", headers={"Host": "evil.example"})
    assert other.status == 400


async def test_the_pages_of_watchers_are_listed(api: Api) -> None:
    """As ActivityWatch's server lists them; without its slash a page is elsewhere."""
    assert (await api.get("/pages/")).json() == ["aw-watcher-input"]
    moved = await api.get("/pages/aw-watcher-input")
    assert moved.status == 308
    assert moved.headers["Location"] == "/pages/aw-watcher-input/"


async def test_without_an_interface_there_are_no_files(tmp_path: Path) -> None:
    """The first page is text, and says where the API is."""
    async with running(tmp_path / "vault") as api:
        home = await api.get("/")
        assert b"/api/0/" in home.body
        assert home.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert (await api.get("/index.html")).status == 404


def test_every_content_type_is_one_that_browsers_take() -> None:
    """Text says its encoding; nosniff makes a wrong type a broken page."""
    for suffix, content_type in CONTENT_TYPES.items():
        assert suffix.startswith(".")
        assert content_type.startswith("text/") == content_type.endswith(
            "; charset=utf-8"
        )
    assert json.dumps(POLICY).isascii()
