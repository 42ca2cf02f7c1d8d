"""Anything at all is sent to every route: the gateway answers, and goes on.

Three things hold whatever comes: no answer is a 5xx, nothing of a refused
request is stored, and what was acknowledged is read back equal.
"""

import asyncio
import json
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.gateway.running import Answer, Api, make_bucket, running

EXAMPLES = 200
PROFILE = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Run = Callable[[Callable[[Api], Coroutine[Any, Any, None]]], None]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Run coroutines against one gateway, which lives through all examples."""
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as directory:
        stack = AsyncExitStack()
        api = runner.run(stack.enter_async_context(running(Path(directory) / "vault")))
        yield lambda test: runner.run(test(api))
        runner.run(stack.aclose())


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
    st.sampled_from(["limit", "start", "end", "pulsetime", "force", "x"]),
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
ROUTES = [
    "/api/0/info",
    "/api/0/buckets/",
    "/api/0/buckets/{}",
    "/api/0/buckets/{}/events",
    "/api/0/buckets/{}/events/count",
    "/api/0/buckets/{}/events/{}",
    "/api/0/buckets/{}/heartbeat",
    "/api/0/activity/{}",
    "/{}/{}",
    "/",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def check(answer: Answer, method: str = "POST") -> None:
    """Assert what is true of every answer."""
    assert answer.status < 500, answer.body
    if answer.status >= 400 and method != "HEAD" and answer.body != b"null":
        assert answer.message


# -- what holds --------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
@PROFILE
@given(data=st.data())
def test_no_route_fails(run: Run, route: str, data: st.DataObject) -> None:
    """Whatever method, path, parameters, headers and body: never a 5xx."""
    count = route.count("{}")
    path = route.format(*(data.draw(segments) for _ in range(count)))
    method = data.draw(st.sampled_from(METHODS))
    query = data.draw(parameters)
    sent = data.draw(mostly_plain)
    body = data.draw(
        st.none() | bodies(st.one_of(events, activities, buckets)), label="body"
    )

    async def test(api: Api) -> None:
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


def by_id(event: dict[str, Any]) -> int:
    event_id = event["id"]
    assert isinstance(event_id, int)
    return event_id
