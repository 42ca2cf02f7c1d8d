"""Anything at all is sent to every route: the gateway answers, and goes on.

What holds, whatever comes: no answer is a 5xx or keeps one waiting, nothing of a
refused request is stored or kept in memory, what was acknowledged is read back
equal, and everything that is stored can be read back in the end.
`make fuzz` sends more than `make test` does, and each time something else.
"""

import asyncio
import gc
import json
import os
import re
import tempfile
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from awvault.gateway import GatewaySettings, VaultHolder, create_gateway
from awvault.service import ignore_progress
from awvault.testing import open_vault
from awvault.vault import Vault
from awvault.verifying import verify
from tests.integration.gateway.running import Answer, Api, make_bucket, serving

EXAMPLES_USUAL = 50
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", EXAMPLES_USUAL))
ANSWER_SECONDS_MAX = 20.0
"""How long an answer may take, beside whatever else this machine does."""

GROWTH_BYTES_MAX = 256 * 1024
PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES == EXAMPLES_USUAL,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Run = Callable[[Callable[[Api], Coroutine[Any, Any, None]]], None]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Run coroutines against one gateway, which lives through all examples."""
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as directory:
        stack = AsyncExitStack()
        vault = runner.run(open_and_enter(stack, Path(directory) / "vault"))
        serve = serving(VaultHolder(vault), GatewaySettings())
        api = runner.run(stack.enter_async_context(serve))
        yield lambda test: runner.run(test(api))
        runner.run(everything_can_be_read(api))
        checked = runner.run(
            verify(vault.database, vault.store, vault.keys, ignore_progress)
        )
        runner.run(stack.aclose())
    assert checked.findings == []


async def open_and_enter(stack: AsyncExitStack, directory: Path) -> Vault:
    return await stack.enter_async_context(await open_vault(directory))


async def everything_can_be_read(api: Api) -> None:
    """Every bucket is listed as it is, and every event of it comes back.

    The export of them all has the same.
    """
    exported = (await api.ok("GET", "/api/0/export"))["buckets"]
    assert exported.keys() == (await api.ok("GET", "/api/0/buckets/")).keys()
    for bucket_id, described in (await api.ok("GET", "/api/0/buckets/")).items():
        path = f"/api/0/buckets/{quote(bucket_id, safe='')}"
        found = await api.ok("GET", path)
        assert found == {k: v for k, v in described.items() if k != "last_updated"}
        events = await api.ok("GET", f"{path}/events")
        assert await api.ok("GET", f"{path}/events/count") == len(events)
        assert len(exported[bucket_id]["events"]) == len(events)
        for event in events[:20]:
            one = await api.ok("GET", f"{path}/events/{event['id']}")
            assert one == event
    for key, value in (await api.ok("GET", "/api/0/settings")).items():
        path = f"/api/0/settings/{quote(key, safe='')}"
        assert await api.ok("GET", path) == value


def in_order(pair: list[str]) -> list[str]:
    return sorted(pair, key=datetime.fromisoformat)


# -- what is sent ------------------------------------------------------------

texts = st.text(st.characters(), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | finite | texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
    ),
    max_leaves=12,
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(st.characters(), max_size=20)
    | st.sampled_from([10**400, -(2**63), 2**64, -0.0, 1e308, 5e-324])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.text(st.characters(), max_size=8), values, max_size=5)
times = st.one_of(
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.sampled_from(
        [
            "2024-03-01",
            "2024-W09-5",
            "2024-061",
            "2024-03-01T10",
            "20240301T100000,5Z",
            "2024-03-01T24:00:00Z",
            "2024-03-01T23:59:60Z",
            "2024-03-01T10:00:00.1234567891+23:59",
            "-0001-01-01T00:00:00Z",
            "+12024-01-01T00:00:00Z",
            "2024-03-01T10:00:00 z",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59.9999999-23:59",
            "\u0662\u0660\u0662\u0664-03-01",
            "now",
            "",
        ]
    ),
    values,
)
durations = st.floats() | st.integers() | values
DAYS = timedelta(days=2)
good_times = st.datetimes(
    datetime.min + DAYS,  # noqa: DTZ901 - hypothesis adds the zone
    datetime.max - DAYS,  # noqa: DTZ901
    timezones=st.timezones(),
).map(lambda moment: moment.isoformat())
good_events = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": good_times,
        "duration": st.floats(0, 86_400) | st.integers(0, 86_400),
        "data": st.dictionaries(texts, plain_values, max_size=5),
        "id": st.none() | st.integers(),
    },
)
good_activities = st.builds(
    lambda fields, own: {**fields, **own},
    st.dictionaries(
        texts.filter(lambda name: name not in {"timestamp", "duration"}),
        plain_values,
        max_size=5,
    ),
    st.fixed_dictionaries({}, optional={"timestamp": good_times})
    | st.fixed_dictionaries({}, optional={"duration": st.floats(0, 86_400)})
    | st.fixed_dictionaries(
        {"timestamp": st.lists(good_times, min_size=2, max_size=2).map(in_order)}
    ),
)
bad_events = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": times,
        "duration": durations,
        "data": objects | values,
        "id": st.none() | st.integers(-5, 2**41) | values,
        "extra": values,
    },
)
bad_activities = st.builds(
    lambda fields, own: {**fields, **own},
    objects,
    st.fixed_dictionaries(
        {},
        optional={
            "timestamp": times | st.lists(times, max_size=3),
            "duration": durations,
            "id": values,
            "type": values,
            "stored_at": values,
        },
    ),
)
events = good_events | good_events | bad_events
activities = good_activities | good_activities | bad_activities
buckets = st.fixed_dictionaries(
    {},
    optional={
        "type": st.text(st.characters(), max_size=600) | values,
        "client": st.text(st.characters(), max_size=20) | values,
        "hostname": st.sampled_from(["!local", "box"]) | values,
        "created": times,
        "data": objects | values,
        "id": values,
    },
)
FUNCTIONS = [
    "find_bucket",
    "query_bucket",
    "query_bucket_eventcount",
    "filter_keyvals",
    "exclude_keyvals",
    "filter_keyvals_regex",
    "filter_period_intersect",
    "period_union",
    "limit_events",
    "merge_events_by_keys",
    "chunk_events_by_key",
    "sort_by_timestamp",
    "sort_by_duration",
    "sum_durations",
    "concat",
    "union_no_overlap",
    "flood",
    "split_url_events",
    "simplify_window_titles",
    "categorize",
    "tag",
    "merge_subwatcher_fields",
    "nop",
    "print",
    "query_bucket_names",
    "contains",
    "eval",
]
VARIABLES = ["a", "events", "RETURN", "NAME", "STARTTIME", "True", "false", "TESTING"]
REGEXES = ["(a+)+$", "(", "[", "a{9999}", "(?i)x", "(?P<a>.)(?P=a)", "\\", "*"]


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


literals = (
    st.sampled_from(VARIABLES)
    | st.sampled_from(["window", "title", "app", *REGEXES]).map(quoted)
    | texts.map(quoted)
    | texts.map(lambda text: f"'{text}'")
    | st.integers().map(str)
    | st.floats().map(str)
)
expressions = st.recursive(
    literals,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | st.lists(st.tuples(literals, inner), max_size=3).map(
            lambda pairs: f"{{{', '.join(f'{k}: {v}' for k, v in pairs)}}}"
        )
        | st.builds(
            lambda name, arguments: f"{name}({', '.join(arguments)})",
            st.sampled_from(FUNCTIONS),
            st.lists(inner, max_size=4),
        )
    ),
    max_leaves=8,
)
statements = (
    st.builds(
        lambda name, value, end: f"{name} = {value}{end}",
        st.sampled_from(VARIABLES),
        expressions,
        st.sampled_from([";", ";", ";", "", ";;", "\n"]),
    )
    | st.sampled_from(
        [
            'a = query_bucket("window");',
            "RETURN = a;",
            "return a;",
            "RETURN = " + "[" * 2000,
            "RETURN = " + "nop(" * 500,
        ]
    )
    | texts
)
periods = st.builds(
    lambda start, end: f"{start}/{end}", times.map(str), times.map(str)
) | st.sampled_from(["2024-03-01/2024-03-02", "0001-01-01/9999-12-31", "/", "a/b/c"])
queries = st.fixed_dictionaries(
    {},
    optional={
        "query": st.lists(statements, max_size=5) | values,
        "timeperiods": st.lists(periods, max_size=3) | values,
        "x": values,
    },
)
preferences = values
imports = st.fixed_dictionaries(
    {},
    optional={
        "buckets": st.dictionaries(
            st.sampled_from(["imported", "window", "a/b"]) | texts,
            st.builds(
                lambda bucket, more: bucket | more,
                buckets,
                st.fixed_dictionaries(
                    {},
                    optional={
                        "id": texts,
                        "events": st.lists(events, max_size=3) | values,
                    },
                ),
            )
            | values,
            max_size=3,
        )
        | values,
    },
)
BOUNDARY = "line-between-parts"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def as_form(body: bytes) -> bytes:
    """Return a form with one file, as the web interface sends an import."""
    opening = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data;"
        ' name="buckets.json"; filename="x.json"\r\n\r\n'
    )
    return opening.encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()


garbage = st.binary(max_size=200) | st.sampled_from(
    [b"", b"{", b"[", b'"', b"[" * 5000, b"{}{}", b'{"a":1,}', b"\xef\xbb\xbf{}"]
)


HARM = ["none"] * 9 + ["inserted", "cut", "garbage"]


@st.composite
def bodies(draw: st.DrawFn, shape: st.SearchStrategy[Any]) -> bytes:
    """Draw a body of this shape, alone or in an array, and sometimes harm it."""
    value = draw(shape | st.lists(shape, max_size=6))
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    body = text.encode("utf-8", draw(st.sampled_from(["replace", "surrogatepass"])))
    harm = draw(st.sampled_from(HARM))
    if harm == "inserted":
        at = draw(st.integers(0, len(body)))
        return body[:at] + draw(st.binary(max_size=3)) + body[at:]
    if harm == "cut":
        return body[: draw(st.integers(0, len(body)))]
    return draw(garbage) if harm == "garbage" else body


headers = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(
            ["application/json", "application/json; charset=x", "text/plain", ";"]
        ),
        "Origin": st.sampled_from(
            ["null", "http://localhost:1", "moz-extension://a", "x", "http://["]
        ),
        "Sec-Fetch-Site": st.sampled_from(["none", "cross-site"]),
        "Host": st.sampled_from(["localhost", "[::1]:5600", "evil", "[", "::", ":"]),
        "Content-Encoding": st.sampled_from(["gzip", "identity"]),
        "Accept": st.sampled_from(["text/html", "*/*;q=x"]),
        "Range": st.just("bytes=0-1"),
        "If-None-Match": st.just("*"),
        "X-HTTP-Method-Override": st.just("DELETE"),
    },
)
# Most requests must get past the headers, or nothing behind them is tried.
plain: st.SearchStrategy[dict[str, str]] = st.just({})
mostly_plain = plain | plain | plain | headers
parameters = st.dictionaries(
    st.sampled_from(
        ["limit", "start", "end", "pulsetime", "force", "name", "cache", "x"]
    ),
    st.integers().map(str)
    | st.floats().map(str)
    | times.map(str)
    | st.text(st.characters(codec="utf-8"), max_size=10),
    max_size=4,
).map(lambda query: "&".join(f"{k}={quote(v)}" for k, v in query.items()))
segments = st.sampled_from(
    ["window", "nobody", "activity_test", "%2F", "%", "%ff", "%00", "a%20b", "{x}"]
) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(
    lambda text: quote(text, safe="")
)


def every_route() -> list[str]:
    """Return the address of each of the gateway's routes, `{}` for what varies."""
    app: web.Application = create_gateway(VaultHolder(), GatewaySettings())
    paths = {
        re.sub(r"\{[^}]*\}", "{}", route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }
    return sorted(paths - {"/{}"} | {"/{}/{}"})


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def check(answer: Answer, method: str = "POST") -> None:
    """Assert what is true of every answer."""
    assert answer.status < 500, answer.body
    if answer.status >= 400 and method != "HEAD" and answer.body != b"null":
        error = answer.json()
        assert error["message"]
        # Queries say more, as in ActivityWatch.
        assert error.keys() <= {"message", "type", "errors"}


def shapes_for(route: str) -> st.SearchStrategy[Any]:
    """Return what is sent to a route: mostly what belongs there."""
    own = {
        "query": queries,
        "settings": preferences,
        "import": imports,
        "heartbeat": events,
        "activity": activities,
    }
    for word, shape in own.items():
        if word in route:
            return shape | shape | st.one_of(events, values)
    return st.one_of(events, activities, buckets)


# -- what holds --------------------------------------------------------------


@pytest.mark.parametrize("route", every_route())
@PROFILE
@given(data=st.data())
def test_no_route_fails(run: Run, route: str, data: st.DataObject) -> None:
    """Whatever method, path, parameters, headers and body: never a 5xx."""
    count = route.count("{}")
    path = route.format(*(data.draw(segments) for _ in range(count)))
    method = data.draw(st.sampled_from(METHODS))
    query = data.draw(parameters)
    sent = data.draw(mostly_plain)
    body = data.draw(st.none() | bodies(shapes_for(route)), label="body")
    if (
        body is not None
        and route.startswith("/api/0/import")
        and data.draw(st.booleans())
    ):
        body, sent = as_form(body), sent | MULTIPART

    async def test(api: Api) -> None:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            answer = await api.call(
                method, f"{path}?{query}" if query else path, body=body, headers=sent
            )
        check(answer, method)
        assert (await api.get("/api/0/info")).status == 200

    run(test)


@pytest.mark.parametrize("heartbeat", [False, True])
@PROFILE
@given(data=st.data())
def test_events_are_stored_whole_or_not_at_all(
    run: Run, heartbeat: bool, data: st.DataObject
) -> None:
    """What is acknowledged is read back equal; a refused body leaves nothing."""
    body = data.draw(bodies(events), label="body")

    async def test(api: Api) -> None:
        path = await make_bucket(api)
        try:
            route = "heartbeat?pulsetime=5" if heartbeat else "events"
            answer = await api.call("POST", f"{path}/{route}", body=body)
            check(answer)
            listed = await api.ok("GET", f"{path}/events")
            if answer.status != 200:
                assert listed == []
                return
            stored = [answer.json()] if heartbeat else answer.json()
            assert sorted(listed, key=by_id) == sorted(stored, key=by_id)
            sent = json.loads(body.decode())
            sent = [sent] if isinstance(sent, dict) else sent
            if len({e["id"] for e in stored}) < len(stored):
                return  # one corrected another
            for asked, kept in zip(sent, stored, strict=True):
                assert kept["data"] == asked.get("data", {})
                assert kept["duration"] == pytest.approx(
                    asked.get("duration", 0), rel=1e-15, abs=6e-7
                )
        finally:
            await api.ok("DELETE", f"{path}?force=1")

    run(test)


@PROFILE
@given(body=bodies(preferences))
def test_a_setting_is_stored_whole_or_not_at_all(run: Run, body: bytes) -> None:
    """What is acknowledged is read back equal; what is refused changes nothing."""
    path = "/api/0/settings/fuzz"

    async def test(api: Api) -> None:
        before = await api.ok("GET", path)
        answer = await api.call("POST", path, body=body)
        check(answer)
        after = await api.ok("GET", path)
        if answer.status != 200:
            assert after == before
        else:
            assert after == json.loads(body.decode())

    run(test)


@PROFILE
@given(body=bodies(activities))
def test_activities_are_stored_whole_or_not_at_all(run: Run, body: bytes) -> None:
    """As for events: all of a request is there afterwards, or none of it."""
    path, bucket = "/api/0/activity/fuzz", "/api/0/buckets/activity_fuzz"

    async def test(api: Api) -> None:
        answer = await api.call("POST", path, body=body)
        check(answer)
        listed = await api.ok("GET", path)
        if answer.status != 200:
            assert listed == []
            assert (await api.get(bucket)).status == 404
            return
        stored = answer.json()
        assert sorted(listed, key=by_id) == sorted(stored, key=by_id)
        sent = json.loads(body.decode())
        sent = [sent] if isinstance(sent, dict) else sent
        assert len(sent) == len(stored)
        taken = {"id", "type", "timestamp", "stored_at", "duration"}
        for asked, kept in zip(sent, stored, strict=True):
            assert kept["type"] == "fuzz"
            assert {k: v for k, v in kept.items() if k not in taken} == {
                k: v for k, v in asked.items() if k not in taken
            }
        if stored:
            await api.ok("DELETE", f"{bucket}?force=1")

    run(test)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_what_is_refused_takes_no_memory(run: Run, method: str) -> None:
    """However often it comes: what the gateway holds afterwards does not grow."""
    refused = [b"{", b"[" * 5000, b'{"a":' * 500, b'{"timestamp":"x"}', b"\xff" * 5000]
    paths = [
        path.format("nobody", "1") + query
        for path in every_route()
        for query in ("", "?limit=x&start=x&pulsetime=x")
    ]

    async def send_all(api: Api) -> None:
        for at, path in enumerate(paths):
            body = None if method == "GET" else refused[at % len(refused)]
            check(await api.call(method, path, body=body), method)

    async def test(api: Api) -> None:
        for _ in range(2):
            await send_all(api)
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(6):
                await send_all(api)
            gc.collect()
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert grown < GROWTH_BYTES_MAX

    run(test)


def by_id(event: dict[str, Any]) -> int:
    event_id = event["id"]
    assert isinstance(event_id, int)
    return event_id
