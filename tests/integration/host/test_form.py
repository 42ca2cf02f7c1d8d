"""The form of what a host answers, to requests and to what is none."""

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from awserver.errors import ServerError, StorageCorruptError, StorageFullError
from awserver.http.application import ENDPOINTS
from awserver.http.guards import Addresses, network_of
from awserver.http.problems import problem_for
from tests.helpers.hosts import Member, RunningHost, Visitor, raw, running_host

CANARY = b"canary-5f3a"
MALFORMED = [
    CANARY + b"\r\n\r\n",
    b"GET /" + CANARY + b"\r\n\r\n",
    b"GET /" + CANARY + b" HTTP/9.9\r\n\r\n",
    b"GE\x00T /" + CANARY + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + CANARY + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX " + CANARY + b": 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + CANARY + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\nX: " + CANARY + b"\r\n\r\n",
    b"POST /api/1/prelogin HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    + CANARY
    + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + CANARY,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + CANARY,
    b"CONNECT " + CANARY + b":443 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET /api/1/" + CANARY + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", MALFORMED)
async def test_what_is_no_request_leaves_no_trace(
    host: RunningHost, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes that cannot be parsed are a 4xx, and are in no answer and no log line."""
    with caplog.at_level(logging.DEBUG):
        answer = await raw(host.port, request_bytes + b"\r\n\r\n")

    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/0.9 4")), answer
    assert b"application/problem+json" in answer
    assert CANARY not in answer
    assert CANARY.decode() not in caplog.text
    assert all(CANARY.decode() not in str(vars(one)) for one in caplog.records)
    assert (await host.visitor.get("/info")).status == 200


async def test_no_secret_and_no_name_is_logged(
    host: RunningHost, alice: Member, caplog: pytest.LogCaptureFixture
) -> None:
    """Usernames, tokens, addresses and records are in no log line, at any level."""
    with caplog.at_level(logging.DEBUG):
        session = await alice.register(host.visitor)
        await session.append(alice.client_id(), alice.records(b"one"))
        await session.get("/changes?entries=9&wait=1")
        await host.visitor.post("/sessions", {"username": "canary-name"})
        bad = replace(session, token="A" * 64)
        await bad.get("/usage")

    logged = caplog.text + "".join(str(vars(one)) for one in caplog.records)
    assert session.token is not None
    for secret in ("alice", session.token, "canary-name", "A" * 64):
        assert secret not in logged


@pytest.mark.parametrize("path", sorted({one.path for one in ENDPOINTS}))
async def test_every_address_says_its_methods(host: RunningHost, path: str) -> None:
    """A method that an address does not take is a 405 that names those it takes."""
    known = {one.method for one in ENDPOINTS if one.path == path}
    allow = ", ".join(sorted(known | ({"HEAD"} if "GET" in known else set())))
    address = path.format(client="0" * 32, id="0" * 16)

    for method in ("PUT", "PATCH", "DELETE", "POST", "GET", "OPTIONS", "TRACE"):
        if method not in known:
            answer = await host.visitor.call(method, address)
            assert answer.code == (405, "method-not-allowed")
            assert answer.headers["Allow"] == allow


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/1",
        "/api/1/",
        "/api/1/nothing",
        "/api/1/info/",
        "/api/1/logs",
        "/api/1/logs/",
        f"/api/1/logs/{'0' * 32}/1",
        "/api/2/info",
        "//api/1/info",
        "/favicon.ico",
        "/%00",
        "/a%0Ab",
        "/" + "a/" * 500,
    ],
)
async def test_an_unknown_address_is_a_404(host: RunningHost, path: str) -> None:
    """An address that is none is `not-found`, whatever the method."""
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        answer = await host.visitor.call(method, path)
        assert answer.code == (404, "not-found")


@pytest.mark.parametrize("path", ["/api/0", "/api/0/info", "/api/0/buckets/b/events"])
async def test_a_host_is_no_gateway(host: RunningHost, path: str) -> None:
    """ActivityWatch's clients learn what to run in place of a host."""
    for method in ("GET", "POST"):
        answer = await host.visitor.call(method, path)
        assert answer.code == (404, "not-found")
        assert "gateway" in answer.problem.detail


async def test_a_person_who_looks_sees_what_this_is(host: RunningHost) -> None:
    """The first page says in words what a host is."""
    answer = await host.visitor.call("GET", "/")

    assert (answer.status, answer.headers["Content-Type"]) == (
        200,
        "text/plain; charset=utf-8",
    )
    assert b"sealed records" in answer.body


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/api/1/info", "/api/1/openapi.json"]
)
async def test_a_head_is_a_get_without_its_body(host: RunningHost, path: str) -> None:
    """HEAD says what GET would, and sends nothing."""
    get = await host.visitor.call("GET", path)
    head = await host.visitor.call("HEAD", path)

    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(get.body))


async def test_a_log_has_a_head_too(alice: Member, session: Visitor) -> None:
    """HEAD of a log of many pages ends, and the connection is good for more."""
    records = alice.records(*[bytes(1024 * 1024 - 1024)] * 3)
    await session.append(alice.client_id(), records)
    path = f"/api/1/logs/{alice.client_id().hex()}"

    for _ in range(2):
        answer = await session.call("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")
    assert await session.read(alice.client_id()) == records


@pytest.mark.parametrize("name", ["evil.example", "", "h\u00f6st", "a" * 1000])
async def test_the_name_that_a_client_uses_decides_nothing(
    host: RunningHost, alice: Member, name: str
) -> None:
    """A Host header changes no answer: the origins of proofs are the settings'."""
    await alice.register(host.visitor)
    request = await alice.session_request(host.visitor)

    answer = await host.visitor.post("/sessions", request, Host=name)

    assert answer.status == 201


async def test_a_page_of_another_site_reads_nothing(
    host: RunningHost, session: Visitor
) -> None:
    """No answer lets a browser show it to another site."""
    for path in ("/info", "/usage"):
        answer = await session.get(path, Origin="https://evil.example")
        assert not [n for n in answer.headers if n.startswith("Access-Control-")]
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_an_answer_that_breaks_off_is_no_whole_one(
    host: RunningHost, alice: Member, session: Visitor, tmp_path: Path
) -> None:
    """Damage that is met when half is sent ends the connection, not the answer."""
    records = alice.records(*[bytes(1024 * 1024 - 1024)] * 4)
    await session.append(alice.client_id(), records)
    await host.database.write(
        lambda tx: tx.execute(
            "DROP TRIGGER bodies_no_update; UPDATE bodies SET body ="
            " zeroblob(length(body)) WHERE seq = 3"
        )
    )

    request = (
        f"GET /api/1/logs/{alice.client_id().hex()} HTTP/1.1\r\nHost: h\r\n"
        f"Authorization: Bearer {session.token}\r\n\r\n"
    )
    answer = await raw(host.port, request.encode())

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(answer) > 1024 * 1024
    assert not answer.endswith(b"0\r\n\r\n")
    whole = await session.get(f"/logs/{alice.client_id().hex()}?after=2")
    assert whole.code == (500, "storage-corrupt")
    assert str(tmp_path) not in whole.problem.detail


def test_what_nobody_foresaw_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the host is `internal`: its text is in no answer and no log."""
    for error in (
        ValueError("canary"),
        ServerError("canary"),
        RecursionError("canary"),
    ):
        answer = problem_for(error)
        assert answer.status == 500
        assert isinstance(answer.body, bytes)
        assert json.loads(answer.body)["code"] == "internal"
        assert b"canary" not in answer.body
    assert "canary" not in caplog.text
    assert caplog.records[0].__dict__["kind"] == "ValueError"


def test_trouble_with_the_disk_names_no_file(caplog: pytest.LogCaptureFixture) -> None:
    """The operator's log has the file and the reason, the client has neither."""
    for error, status in (
        (StorageFullError("/var/lib/canary is full"), 507),
        (StorageCorruptError("/var/lib/canary is damaged"), 500),
    ):
        answer = problem_for(error)
        assert answer.status == status
        assert isinstance(answer.body, bytes)
        assert b"canary" not in answer.body
        assert "canary" in caplog.records[-1].__dict__["reason"]


# -- whose request it is


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (None, "127.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("203.0.113.1, 192.0.2.7", "192.0.2.7"),
        ("203.0.113.1, 192.0.2.7, 10.0.0.9", "192.0.2.7"),
        ("10.0.0.8, 10.0.0.9", "10.0.0.8"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("spoofed, 10.0.0.9", "10.0.0.9"),
        ("nonsense", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("1.2.3.4," * 500 + "5.6.7.8", "127.0.0.1"),
    ],
)
async def test_a_trusted_proxy_says_who_asks(
    tmp_path: Path, forwarded: str | None, expected: str
) -> None:
    """Of X-Forwarded-For counts the last entry that no trusted proxy has."""
    seen: list[str] = []
    async with running_host(
        tmp_path / "host", trusted_proxies=("127.0.0.1", "10.0.0.0/8")
    ) as host:
        addresses = host.api.addresses
        host.api.check = lambda request: seen.append(addresses.of(request))
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        await host.visitor.get("/info", **headers)

    assert seen == [expected]


async def test_nobody_else_says_who_asks(host: RunningHost) -> None:
    """Without a trusted proxy, X-Forwarded-For is a header like any other."""
    seen: list[str] = []
    addresses = host.api.addresses
    host.api.check = lambda request: seen.append(addresses.of(request))

    await host.visitor.get("/info", **{"X-Forwarded-For": "192.0.2.7"})

    assert seen == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_customer_counts_as_one(address: str, network: str) -> None:
    """An IPv4 address counts for itself, an IPv6 address as its /64."""
    assert network_of(address) == network


def test_a_proxy_over_ipv6_is_known_by_its_ipv4_address() -> None:
    """A mapped address is the IPv4 address that it stands for."""
    addresses = Addresses(("192.0.2.0/24",))

    assert addresses.trusts("::ffff:192.0.2.7")
    assert not addresses.trusts("::ffff:198.51.100.1")
    assert not addresses.trusts("nonsense")


async def test_a_client_that_goes_away_disturbs_nobody(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """A connection that ends within a body stores nothing, and the host goes on."""
    head = (
        f"POST /api/1/logs/{alice.client_id().hex()} HTTP/1.1\r\nHost: h\r\n"
        f"Authorization: Bearer {session.token}\r\nContent-Length: 5000\r\n"
        "Content-Type: application/octet-stream\r\n\r\nxx"
    )
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", host.port)
        writer.write(head.encode())
        await writer.drain()
        writer.transport.abort()

    assert await session.read(alice.client_id()) == []
