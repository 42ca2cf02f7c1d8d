"""A web interface in a real browser: it loads, shows the day that was stored, and
is kept from talking to anybody else.

The package of ActivityWatch's server has the page of its interface and not the
scripts that the page loads, so a page of ours stands in: it makes the same requests
through the same client (`interface/js/page.js`).
"""

import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from awvault.gateway import GatewaySettings
from tests.helpers.programs import node_clients, program
from tests.helpers.waiting import until
from tests.integration.gateway.running import Api, event, running

HOST: Final = "laptop"
DAY: Final = "2024-03-01"
WORDS: Final = ("notes — editor", "inbox (3)", "тест 漢字 🦉")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = pytest.mark.activitywatch


@dataclass
class Seen:
    """A page, and everything that went wrong on it."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def listen(self) -> None:
        page = self.page
        page.on(
            "console",
            lambda message: (
                self.wrong.append(f"{message.type}: {message.text}")
                if message.type in {"error", "warning"}
                else None
            ),
        )
        page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        page.on(
            "requestfailed",
            lambda request: self.wrong.append(f"{request.url}: {request.failure}"),
        )
        page.on(
            "response",
            lambda response: (
                self.wrong.append(f"{response.url}: {response.status}")
                if response.status >= 400
                else None
            ),
        )

    async def keep_picture(self, name: str) -> None:
        """Keep a picture where SCREENSHOTS says, for a person to look at."""
        if folder := os.environ.get("SCREENSHOTS"):
            await self.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.fixture
def interface(tmp_path: Path) -> Path:
    """Build the interface: our page, with ActivityWatch's client beside it."""
    built = tmp_path / "interface"
    shutil.copytree(Path(__file__).parent / "interface", built)
    modules = node_clients() / "node_modules"
    shutil.copy(modules / "axios/dist/axios.min.js", built / "js")
    shutil.copy(modules / "aw-client/out/aw-client.js", built / "js")
    return built.resolve()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    chromium = program("chromium", package="chromium")
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(
            executable_path=chromium, args=list(ARGUMENTS)
        ) as launched,
    ):
        yield launched


async def store_a_day(api: Api) -> None:
    """An hour and a half of windows, with somebody there for the first hour."""
    for kind, kind_type, events in (
        (
            "window",
            "currentwindow",
            [
                event(f"{DAY}T10:00:00Z", 1800, app="Editor", title=WORDS[0]),
                event(f"{DAY}T10:30:00Z", 1200, app="Mail", title=WORDS[1]),
                event(f"{DAY}T10:50:00Z", 2400, app="Browser", title=WORDS[2]),
            ],
        ),
        (
            "afk",
            "afkstatus",
            [
                event(f"{DAY}T10:00:00Z", 3600, status="not-afk"),
                event(f"{DAY}T11:00:00Z", 1800, status="afk"),
            ],
        ),
    ):
        path = f"/api/0/buckets/aw-watcher-{kind}_{HOST}"
        bucket = {"type": kind_type, "client": "test", "hostname": HOST}
        await api.ok("POST", path, bucket)
        await api.ok("POST", f"{path}/events", events)


async def test_a_browser_shows_the_day_that_was_stored(
    interface: Path, browser: Browser, tmp_path: Path
) -> None:
    """Timeline and activity view; nothing fails to load, and the console is empty."""
    async with running(tmp_path / "vault", GatewaySettings(webui=interface)) as api:
        await store_a_day(api)
        url = f"http://localhost:{api.port}"
        seen = Seen(await browser.new_page())
        seen.listen()

        await seen.page.goto(f"{url}/#/timeline")
        shown = seen.page.locator("main[data-shown='#/timeline']")
        await expect(shown).to_be_visible()
        await seen.keep_picture("timeline")
        for text in (*WORDS, "afk", f"aw-watcher-window_{HOST}"):
            await expect(shown).to_contain_text(text)

        view = f"#/activity/{HOST}/day/{DAY}/view"
        await seen.page.goto(f"{url}/{view}")
        shown = seen.page.locator(f"main[data-shown='{view}']")
        await expect(shown).to_be_visible()
        await seen.keep_picture("activity")
        for text in (
            f"Activity on {DAY}: 3600 s",
            "Editor: 1800 s",
            "Mail: 1200 s",
            # Its last half hour was without anybody.
            "Browser: 600 s",
            f"{WORDS[2]}: 600 s",
            "Work: 1800 s",
            "Uncategorized: 1800 s",
            # What the page stored at its first load.
            "loads: 2",
        ):
            await expect(shown).to_contain_text(text)

        await seen.page.goto(f"{url}/#/buckets")
        line = seen.page.get_by_text(f"aw-watcher-window_{HOST}: 3 events")
        async with seen.page.expect_download() as downloading:
            await line.get_by_role("link").click()
        await (await downloading.value).save_as(tmp_path / "saved.json")
        saved = json.loads((tmp_path / "saved.json").read_bytes())
        (bucket,) = saved["buckets"].values()
        titles = {e["data"]["title"] for e in bucket["events"]}
        assert titles == set(WORDS)

        assert seen.wrong == []


async def test_a_page_connects_to_nobody_else(
    interface: Path, browser: Browser, tmp_path: Path
) -> None:
    """Not by a request, an image or a form; and no other page shows it in a frame."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        there = f"http://127.0.0.1:{elsewhere.getsockname()[1]}"
        async with running(tmp_path / "vault", GatewaySettings(webui=interface)) as api:
            page = await browser.new_page()
            await page.goto(f"http://localhost:{api.port}/static/logo.svg")
            outcome = await page.evaluate(
                """async (there) => {
                    const refused = [];
                    addEventListener("securitypolicyviolation",
                        (event) => refused.push(event.effectiveDirective));
                    await fetch(there).catch(() => null);
                    navigator.sendBeacon(there, "x");
                    await new Promise((done) => {
                        const image = new Image();
                        image.onerror = image.onload = done;
                        image.src = there;
                    });
                    await new Promise((done) => setTimeout(done, 50));
                    return refused;
                }""",
                there,
            )
            assert set(outcome) == {"connect-src", "img-src"}

            other = await browser.new_page()
            await other.set_content(
                f"<iframe src='http://localhost:{api.port}/'></iframe>"
            )
            await until(
                lambda: any(f.url.startswith("chrome-error:") for f in other.frames)
            )

        with pytest.raises(BlockingIOError):
            elsewhere.accept()
