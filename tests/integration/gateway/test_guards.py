"""Who may talk to the gateway, and what it says to anything that is not a request."""

import asyncio
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from awvault.gateway import GatewaySettings
from tests.integration.gateway.running import BUCKET, Api, event, make_bucket, running

LOOPBACK = ["localhost", "127.0.0.1", "[::1]", "LocalHost"]


@pytest.mark.parametrize(
    "host", [*LOOPBACK, *(f"{name}:5600" for name in LOOPBACK), "localhost:"]
)
async def test_this_machine_has_names(api: Api, host: str) -> None:
    """A request addressed to this machine by any loopback name is served."""
    assert (await api.get("/api/0/info", Host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5600",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "127.0.0.2",
        "[::2]:5600",
        "[::1",
        "::1",
        "0.0.0.0",  # noqa: S104 - nothing is bound to it
        "localhost:x",
        "x" * 2000,
        "h\u00f6st",
    ],
)
@pytest.mark.parametrize("path", ["/api/0/info", "/", "/nothing"])
async def test_another_host_is_refused(api: Api, host: str, path: str) -> None:
    """A page that rebinds its own name to this machine gets a 400, on any route."""
    answer = await api.get(path, Host=host)

    assert answer.status == 400
    assert answer.message.startswith("host header is invalid (was ")
    assert len(answer.message) < 200


async def test_a_request_without_a_host_is_refused(api: Api) -> None:
    """A request has to say to whom it is addressed."""
    for host in (b"", b"Host:\r\n"):
        answer = await api.raw(
            b"GET /api/0/info HTTP/1.0\r\n" + host + b"Connection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.0 400 ")
        assert answer.endswith(b'{"message": "host header is missing"}')


async def test_a_vault_on_another_loopback_address_answers_to_it(
    tmp_path: Path,
) -> None:
    """The address that the gateway listens on is one of its names."""
    settings = GatewaySettings(listen_host="127.0.0.5")
    async with running(tmp_path / "vault", settings) as api:
        assert (await api.get("/api/0/info", Host="127.0.0.5:5600")).status == 200
        assert (await api.get("/api/0/info", Host="127.0.0.6:5600")).status == 400


FOREIGN = [
    "https://evil.example",
    "http://evil.example",
    "null",
    "http://localhost.evil.example:{port}",
    "http://localhost:1",
    "http://localhost",
    "https://localhost:{port}",
    "http://127.0.0.1:{port}@evil.example",
    "http://127.0.0.1:{port}/",
    "moz-extension://",
    "moz-extension://a.evil.example",
    "chrome-extension://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "file://",
    "",
]
OWN = [
    "http://localhost:{port}",
    "http://127.0.0.1:{port}",
    "http://[::1]:{port}",
    "moz-extension://6d4ea9b2-5f1c-4f0b-a7a1-111111111111",
    "chrome-extension://nglaklhklhcoonedhgnpgddginnjdadi",
]
WRITES: list[tuple[str, str, Any]] = [
    ("POST", "/api/0/buckets/new", BUCKET),
    ("POST", "/api/0/buckets/window/events", event(a=1)),
    ("POST", "/api/0/buckets/window/heartbeat?pulsetime=1", event(a=1)),
    ("PUT", "/api/0/buckets/window", {"type": "other"}),
    ("DELETE", "/api/0/buckets/window?force=1", None),
    ("DELETE", "/api/0/buckets/window/events/1", None),
    ("POST", "/api/0/activity/test", {"note": "x"}),
    ("POST", "/api/0/settings/theme", "dark"),
    ("DELETE", "/api/0/settings/theme", None),
    ("POST", "/api/0/query", {"timeperiods": [], "query": []}),
    ("POST", "/api/0/import", {"buckets": {}}),
]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_of_another_site_cannot_write(api: Api, origin: str) -> None:
    """A browser says where a write comes from; from another site it is a 403."""
    await make_bucket(api)
    before = await api.ok("GET", "/api/0/buckets/")

    for method, path, value in WRITES:
        headers = {"Origin": origin.format(port=api.port)}
        answer = await api.call(method, path, value, headers=headers)
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.message

    assert await api.ok("GET", "/api/0/buckets/") == before
    assert await api.ok("GET", "/api/0/buckets/window/events") == []


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
async def test_a_form_of_another_site_cannot_write(api: Api, site: str) -> None:
    """A browser that sends no Origin still says that the site is another."""
    for method, path, value in WRITES:
        answer = await api.call(method, path, value, headers={"Sec-Fetch-Site": site})
        assert answer.status == 403
    assert await api.ok("GET", "/api/0/buckets/") == {}


@pytest.mark.parametrize("origin", OWN)
async def test_our_pages_and_extensions_may_write(api: Api, origin: str) -> None:
    """Our own pages and ActivityWatch's browser extensions write and read."""
    origin = origin.format(port=api.port)
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}

    answer = await api.call("POST", "/api/0/buckets/b", BUCKET, headers=headers)

    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Vary"] == "Origin"


async def test_what_is_no_page_may_write(api: Api) -> None:
    """A program sends no Origin; a typed address and our own page are no attack."""
    for at, headers in enumerate(
        ({}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"})
    ):
        answer = await api.call(
            "POST", f"/api/0/buckets/{at}", BUCKET, headers=dict(headers)
        )
        assert answer.status == 200


async def test_a_configured_origin_may_read_and_write(tmp_path: Path) -> None:
    """An origin that the owner names is allowed; one like it is not."""
    settings = GatewaySettings(cors_origins=("https://dash.example/",))
    async with running(tmp_path / "vault", settings) as api:
        for origin, status in (
            ("https://dash.example", 200),
            ("http://dash.example", 403),
            ("https://dash.example:8443", 403),
            ("https://x.dash.example", 403),
        ):
            answer = await api.call(
                "POST", f"/api/0/buckets/{status}", BUCKET, headers={"Origin": origin}
            )
            assert answer.status == status


async def test_testing_mode_allows_development(tmp_path: Path) -> None:
    """In testing mode a web interface in development and any extension may write."""
    settings = GatewaySettings(testing=True)
    async with running(tmp_path / "vault", settings) as api:
        for at, origin in enumerate(
            ("http://localhost:27180", "http://127.0.0.1:27180", FOREIGN[11])
        ):
            answer = await api.call(
                "POST", f"/api/0/buckets/{at}", BUCKET, headers={"Origin": origin}
            )
            assert answer.status == 200


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_of_another_site_cannot_read(api: Api, origin: str) -> None:
    """A read is answered, but not so that a browser shows it to another site."""
    answer = await api.get("/api/0/info", Origin=origin.format(port=api.port))

    assert answer.status == 200
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_errors_can_be_read_by_allowed_pages(api: Api) -> None:
    """An allowed page sees the message of an error, too."""
    answer = await api.get("/api/0/buckets/nobody", Origin="moz-extension://abc")

    assert answer.status == 404
    assert answer.headers["Access-Control-Allow-Origin"] == "moz-extension://abc"


async def test_a_preflight_is_answered(api: Api) -> None:
    """A browser that asks first gets the methods and the headers it named."""
    asked = {
        "Origin": "moz-extension://abc",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-other",
    }
    answer = await api.call("OPTIONS", "/api/0/buckets/b/events", headers=asked)

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert answer.headers["Access-Control-Allow-Origin"] == "moz-extension://abc"
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type, x-other"
    assert "PUT" not in answer.headers["Access-Control-Allow-Methods"]

    asked["Origin"] = "https://evil.example"
    refused = await api.call("OPTIONS", "/api/0/buckets/b/events", headers=asked)
    assert refused.status == 200
    assert not [n for n in refused.headers if n.startswith("Access-Control-")]


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/0/info", "GET, HEAD, OPTIONS"),
        ("/api/0/buckets/", "GET, HEAD, OPTIONS"),
        ("/api/0/buckets/b", "DELETE, GET, HEAD, OPTIONS, POST, PUT"),
        ("/api/0/buckets/b/events", "GET, HEAD, OPTIONS, POST"),
        ("/api/0/buckets/b/events/count", "GET, HEAD, OPTIONS"),
        ("/api/0/buckets/b/events/1", "DELETE, GET, HEAD, OPTIONS"),
        ("/api/0/buckets/b/heartbeat", "OPTIONS, POST"),
        ("/api/0/activity/a", "GET, HEAD, OPTIONS, POST"),
    ],
)
async def test_every_route_says_its_methods(api: Api, path: str, allow: str) -> None:
    """OPTIONS names the methods of a route; any other is a 405 that names them too."""
    options = await api.call("OPTIONS", path)
    assert (options.status, options.headers["Allow"]) == (200, allow)
    for method in ("PUT", "PATCH", "TRACE", "POST", "DELETE", "PURGE"):
        if method not in allow:
            answer = await api.call(method, path)
            assert (answer.status, answer.headers["Allow"]) == (405, allow)
            assert answer.message


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/0",
        "/api/1/records",
        "/api/0/info/",
        "/api/0/nothing",
        "/api/0/buckets/b/",
        "/api/0/buckets/b/nothing",
        "/api/0/buckets/b/events/1/2",
        "/api/0/buckets//events",
        "/api/0/activity/",
        "/api/0/activity/a/b",
        "//api/0/info",
        "/favicon.ico",
        "/%00",
        "/a%0Ab",
        "/" + "a/" * 500,
    ],
)
async def test_an_unknown_address_is_a_404(api: Api, path: str) -> None:
    """An address that is none gets a JSON 404, whatever the method."""
    for method in ("GET", "POST", "DELETE"):
        answer = await api.call(method, path)
        assert answer.status == 404
        assert answer.message


async def test_the_front_page_says_what_this_is(api: Api) -> None:
    """A person who opens the address in a browser reads what it is."""
    answer = await api.get("/")

    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.body.startswith(b"aw-server")


async def test_no_answer_is_cached_or_names_versions(api: Api) -> None:
    """Plain text must not stay in a browser's cache, nor versions in a banner."""
    for path in ("/api/0/info", "/api/0/buckets/nobody", "/", "/nothing"):
        answer = await api.get(path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Server"] == "aw-server"


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/octet-stream",
        "",
        "json",
    ],
)
async def test_a_body_that_is_not_json_is_refused(api: Api, content_type: str) -> None:
    """A body has to say that it is JSON: a page's form cannot.

    An import takes forms too; only the check of the origin keeps pages from it.
    """
    await make_bucket(api)
    for method, path, value in WRITES:
        is_form = path == "/api/0/import" and content_type.startswith("multipart/")
        if value is not None and not is_form:
            answer = await api.call(
                method, path, value, headers={"Content-Type": content_type}
            )
            assert answer.status == 415
            assert "application/json" in answer.message


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/json;charset=UTF-8",
    ],
)
async def test_json_has_many_spellings(api: Api, content_type: str) -> None:
    """Parameters and capitals in the content type make no difference."""
    answer = await api.call(
        "POST", "/api/0/buckets/b", BUCKET, headers={"Content-Type": content_type}
    )
    assert answer.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x"])
@pytest.mark.parametrize(
    "body", [gzip.compress(b"{}"), b"not compressed"], ids=["packed", "not packed"]
)
async def test_a_compressed_body_is_refused(
    api: Api, encoding: str, body: bytes
) -> None:
    """A body that says it is compressed is a 415, whether it is or not."""
    answer = await api.call(
        "POST", "/api/0/activity/a", body=body, headers={"Content-Encoding": encoding}
    )
    assert answer.status == 415
    assert "Content-Encoding" in answer.message


async def test_a_body_above_the_limit_is_not_read(api: Api) -> None:
    """A body that says it is too large is a 413 before a byte of it is sent."""
    for path, size in (
        ("/api/0/buckets/b/events", 33 * 1024 * 1024),
        ("/api/0/buckets/b/heartbeat?pulsetime=1", 1024 * 1024 + 1),
        ("/api/0/activity/a", 10**15),
        ("/api/0/buckets/b", 1024 * 1024 + 1),
    ):
        answer = await api.raw(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
            "Content-Type: application/json\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"message"' in answer


async def test_a_body_that_grows_above_the_limit_is_not_kept(api: Api) -> None:
    """A body of no declared length is a 413 once it passes the limit."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = await api.raw(
        b"POST /api/0/buckets/b/heartbeat?pulsetime=1 HTTP/1.1\r\nHost: localhost\r\n"
        b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
        + chunk
        * 17
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_drips_is_cut_off(tmp_path: Path) -> None:
    """A body that does not arrive in time is a 408, and the connection ends."""
    settings = GatewaySettings(body_seconds_max=0.1)
    async with running(tmp_path / "vault", settings) as api:
        answer = await api.raw(
            b"POST /api/0/activity/a HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 50\r\n\r\n[{"
        )
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert await api.ok("GET", "/api/0/activity/a") == []


async def test_a_body_is_asked_for_only_if_wanted(api: Api) -> None:
    """`Expect: 100-continue` is met after the headers were found good."""
    head = (
        b"POST /api/0/activity/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        b"Connection: close\r\n%b: %b\r\nExpect: %b\r\n\r\n"
    )
    good = await api.raw(
        head % (b"Content-Type", b"application/json", b"100-continue") + b"[]"
    )
    assert good.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    for name, value, expect, status in (
        (b"Content-Type", b"text/plain", b"100-continue", b"415"),
        (b"Origin", b"https://evil.example", b"100-continue", b"403"),
        (b"Content-Type", b"application/json", b"sixpence", b"417"),
    ):
        refused = await api.raw(head % (name, value, expect))
        assert refused.startswith(b"HTTP/1.1 " + status)


CANARY = b"canary-5f3a"
MALFORMED = [
    CANARY + b"\r\n\r\n",
    b"GET /" + CANARY + b"\r\n\r\n",
    b"GET /" + CANARY + b" HTTP/9.9\r\n\r\n",
    b"GE\x00T /" + CANARY + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + CANARY + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX " + CANARY + b": 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + CANARY * 9000 + b"\r\n\r\n",
    b"GET /" + CANARY * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + CANARY + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\nX: " + CANARY + b"\r\n\r\n",
    b"POST /api/0/activity/a HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    + CANARY
    + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + CANARY,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + CANARY,
    b"CONNECT " + CANARY + b":443 HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET http://" + CANARY + b"/ HTTP/1.1\r\nConnection: close\r\n"
    b"Host: " + CANARY + b"\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", MALFORMED)
async def test_what_is_no_request_leaves_no_trace(
    api: Api, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes that cannot be parsed are a 4xx, and are in no log line."""
    with caplog.at_level(logging.DEBUG):
        answer = await api.raw(request_bytes + b"\r\n\r\n")

    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/0.9 4")), answer
    if b"host header" not in answer:
        assert CANARY not in answer
    assert CANARY.decode() not in caplog.text
    assert (await api.get("/api/0/info")).status == 200


async def test_a_client_that_goes_away_disturbs_nobody(api: Api) -> None:
    """A connection that ends within a body stores nothing, and the server goes on."""
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(
            b"POST /api/0/activity/a HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n[{}]"
        )
        await writer.drain()
        writer.transport.abort()

    assert await api.ok("GET", "/api/0/activity/a") == []


async def test_no_plain_text_is_logged(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Bucket ids, data and queries are in no log line, whatever the level."""
    canary = CANARY.decode()
    with caplog.at_level(logging.DEBUG):
        path = await make_bucket(api, canary)
        await api.ok("POST", f"{path}/events", event(title=canary))
        await api.ok("POST", f"{path}/heartbeat?pulsetime=1", event(title=canary))
        await api.ok("GET", f"{path}/events?limit=5&{canary}={canary}")
        for body in (
            f'{{"{canary}": 1}}',
            f'{{"data": {{"{canary}": NaN}}}}',
            f'[{{"{canary}',
            json.dumps({"timestamp": canary}),
        ):
            await api.call("POST", f"{path}/events", body=body.encode())
            await api.call("POST", f"/api/0/activity/{canary}", body=body.encode())
        await api.get(f"/{canary}")
        await api.get(f"{path}/events?start={canary}")
        await api.get("/", Host=canary)

    assert canary not in caplog.text
    assert all(canary not in str(record.__dict__) for record in caplog.records)
