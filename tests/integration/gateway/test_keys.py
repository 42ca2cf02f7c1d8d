"""The gateway's key: asked for where one is set, and of everyone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from awvault.apikeys import WARN_SECONDS_MIN, ApiKey, KeyRefusals
from awvault.gateway import GatewaySettings, VaultHolder, create_gateway
from tests.integration.gateway.running import BUCKET, Api, event, running

KEY = "a-key-of-this-test"
RIGHT = {"Authorization": f"Bearer {KEY}"}
REFUSED = "Missing or invalid API key. Set 'Authorization: Bearer <key>' header."


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Api]:
    """A gateway that asks for `KEY`."""
    settings = GatewaySettings(api_key=ApiKey(KEY))
    async with running(tmp_path / "vault", settings) as api:
        yield api


def routes() -> list[tuple[str, str]]:
    """Return the method and path of every route below /api/0 that wants the key."""
    app = create_gateway(VaultHolder(), GatewaySettings())
    return sorted(
        (route.method, route.resource.canonical.replace("{", "").replace("}", ""))
        for route in app.router.routes()
        if route.resource is not None
        and route.resource.canonical.startswith("/api/0/")
        and route.method not in {"*", "OPTIONS"}
        and route.resource.canonical != "/api/0/info"
    )


def test_one_warning_an_hour_says_that_requests_are_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A watcher without the key sends every second."""
    now = [0.0]
    refusals = KeyRefusals(monotonic=lambda: now[0])
    for seconds in (0.0, 1.0, WARN_SECONDS_MIN - 1.0, WARN_SECONDS_MIN):
        now[0] = seconds
        refusals.note()
    assert refusals.count == 4
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": f"Bearer {KEY.upper()}"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"Authorization": "Bearer \u00fc\u65e5"},
        {"X-Api-Key": KEY},
        {"Cookie": f"api_key={KEY}"},
    ],
)
async def test_whoever_does_not_show_the_key_is_refused(
    locked: Api, sent: dict[str, str]
) -> None:
    """On every route and method; nothing is stored, and nothing else is said."""
    assert len(routes()) > 15
    for method, path in routes():
        answer = await locked.call(method, path, headers=sent)
        assert answer.status == 401, (method, path)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        if method != "HEAD":
            assert answer.message == REFUSED
    refused = await locked.call("POST", "/api/0/buckets/b", BUCKET, headers=sent)
    assert refused.status == 401
    shown = await locked.call("GET", "/api/0/buckets/", headers=RIGHT)
    assert shown.json() == {}


async def test_with_the_key_everything_works(locked: Api) -> None:
    """The scheme's case does not matter, as in HTTP."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        sent = {"Authorization": f"{scheme} {KEY}"}
        made = await locked.call(
            "POST", f"/api/0/buckets/{scheme}", BUCKET, headers=sent
        )
        assert made.status == 200
        beat = f"/api/0/buckets/{scheme}/heartbeat?pulsetime=1"
        assert (await locked.call("POST", beat, event(), headers=sent)).status == 200


async def test_info_and_options_are_open(locked: Api) -> None:
    """Clients find a server by its info, and browsers ask without a key."""
    assert (await locked.get("/api/0/info")).status == 200
    assert (await locked.call("HEAD", "/api/0/info")).status == 200
    asked = {
        "Origin": "moz-extension://abc",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = await locked.call("OPTIONS", "/api/0/buckets/b/heartbeat", headers=asked)
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization"
    assert (await locked.get("/")).status == 200


async def test_a_page_can_read_that_the_key_is_missing(locked: Api) -> None:
    """An extension that is allowed sees the 401, and can ask its owner for the key."""
    answer = await locked.get("/api/0/buckets/", Origin="moz-extension://abc")

    assert answer.status == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "moz-extension://abc"


async def test_the_other_checks_come_first(locked: Api) -> None:
    """The key is no way around the checks of Host and Origin."""
    wrong_host = await locked.get("/api/0/buckets/", Host="evil.example", **RIGHT)
    assert wrong_host.status == 400
    foreign = {"Origin": "https://evil.example", **RIGHT}
    answer = await locked.call("POST", "/api/0/buckets/b", BUCKET, headers=foreign)
    assert answer.status == 403


async def test_no_body_is_asked_for_without_the_key(locked: Api) -> None:
    """`Expect: 100-continue` is answered by the refusal itself."""
    answer = await locked.raw(
        b"POST /api/0/buckets/b/events HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 9\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in answer


def test_a_key_does_not_print() -> None:
    """Neither alone nor in the settings that hold it."""
    settings = GatewaySettings(api_key=ApiKey(KEY))

    assert KEY not in f"{settings} {settings!r} {ApiKey(KEY)!r}"
