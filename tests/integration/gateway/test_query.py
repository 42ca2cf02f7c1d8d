"""`/api/0/query` over a real socket."""

import asyncio
import json
import threading
import time
from typing import Any

import pytest
from aiohttp import ClientError

from awvault.query import Budget, QueryInterpretError, running, writing
from tests.helpers.query_texts import SLOW_PATTERN, SLOW_TEXT, desktop_query
from tests.integration.gateway.running import Api, event, make_bucket

PERIOD = "2024-03-01T10:00:00+00:00/2024-03-01T11:00:00+00:00"


def asked(*statements: str, periods: tuple[str, ...] = (PERIOD,)) -> dict[str, Any]:
    return {"timeperiods": list(periods), "query": list(statements)}


async def refused(api: Api, value: Any) -> Any:
    answer = await api.post("/api/0/query/", value)
    assert answer.status == 400
    return answer.json()


async def filled(api: Api) -> None:
    """Make the buckets of a desktop, with a few events."""
    for name, events in {
        "aw-watcher-window_box": [
            event("2024-03-01T10:00:00+00:00", 60, app="Firefox", title="GitHub"),
            event("2024-03-01T10:01:00+00:00", 30, app="code", title="x.py"),
        ],
        "aw-watcher-afk_box": [
            event("2024-03-01T10:00:30+00:00", 50, status="not-afk")
        ],
        "aw-watcher-web-firefox": [
            event("2024-03-01T10:00:00+00:00", 45, url="https://www.x.example/a"),
        ],
    }.items():
        path = await make_bucket(api, name)
        await api.ok("POST", f"{path}/events", events)


async def test_a_query_is_answered_for_each_period(api: Api) -> None:
    """One result for each period; statements are joined; both addresses serve."""
    await filled(api)
    periods = (PERIOD, "2024-03-01T11:00:20+01:00/2024-03-01T11:00:40+01:00/ignored")
    query = asked(
        'w = query_bucket(find_bucket("window"));',
        "RET",
        "URN = [STARTTIME, NAME, sum_durations(w), limit_events(w, 1)];",
        periods=periods,
    )

    for path in ("/api/0/query/", "/api/0/query"):
        hour, part = await api.ok("POST", f"{path}?name=mine&cache=1", query)

        assert hour[:3] == ["2024-03-01T10:00:00+00:00", "mine", 90.0]
        assert part[:3] == ["2024-03-01T11:00:20+01:00", "mine", 20.0]
        (first,) = hour[3]
        assert first["data"] == {"app": "code", "title": "x.py"}
        # Cut to the period, to the microsecond.
        (only,) = part[3]
        assert only["timestamp"] == "2024-03-01T10:00:20+00:00"
        assert only["duration"] == 20.0


async def test_the_desktop_query_is_answered(api: Api) -> None:
    """What the web interface asks comes back in the form that it expects."""
    await filled(api)
    query = desktop_query(browsers={"firefox": "aw-watcher-web-firefox"})

    answer = await api.post("/api/0/query/", asked(query))

    (result,) = answer.json()
    assert result["window"]["duration"] == 50.0
    apps = [(e["data"], e["duration"]) for e in result["window"]["app_events"]]
    assert apps == [({"app": "Firefox"}, 30.0), ({"app": "code"}, 20.0)]
    (domain,) = result["browser"]["domains"]
    assert (domain["data"], domain["id"]) == ({"$domain": "x.example"}, None)
    # Keys are sorted everywhere, and there is no space.
    text = json.dumps([result], sort_keys=True, separators=(",", ":"))
    assert answer.body.decode() == text


async def test_no_period_has_no_result(api: Api) -> None:
    """Without periods the answer is an empty array, whatever the query says."""
    assert await api.ok("POST", "/api/0/query/", asked("nonsense", periods=())) == []


async def test_long_answers_come_whole(api: Api) -> None:
    """An answer of many pieces is sent in pieces."""
    path = await make_bucket(api)
    events = [
        event(f"2024-03-01T10:{n // 60:02}:{n % 60:02}+00:00", 1, n=n, text="x" * 6_000)
        for n in range(1_500)
    ]
    await api.ok("POST", f"{path}/events", events)

    answer = await api.post("/api/0/query", asked('RETURN = query_bucket("window");'))

    (found,) = answer.json()
    assert [e["data"]["n"] for e in found] == list(range(1_499, -1, -1))
    assert "Content-Length" not in answer.headers


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (
            {},
            {
                "query": "'query' is a required property",
                "timeperiods": "'timeperiods' is a required property",
            },
        ),
        (
            {"query": [], "timeperiods": [1]},
            {"timeperiods.0": "1 is not of type 'string'"},
        ),
        (
            {"query": "x", "timeperiods": {"a": 1}},
            {
                "query": "'x' is not of type 'array'",
                "timeperiods": "{'a': 1} is not of type 'array'",
            },
        ),
        ([], {"": "[] is not of type 'object'"}),
    ],
)
async def test_a_body_of_another_form_is_refused(
    api: Api, body: Any, errors: dict[str, str]
) -> None:
    """The errors name each field, as ActivityWatch's server does."""
    assert await refused(api, body) == {
        "errors": errors,
        "message": "Input payload validation failed",
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (asked(periods=("2024",)), "timeperiods[0]: expected two times"),
        (asked(periods=(PERIOD, "a/b")), "timeperiods[1]: expected a time"),
        (asked(periods=(PERIOD,) * 1_001), "timeperiods: has 1001 periods"),
    ],
    ids=["one time", "no time", "many"],
)
async def test_a_period_that_is_none_is_refused(
    api: Api, value: Any, message: str
) -> None:
    """A period is two times with a slash between them, and there are so many."""
    answer = await refused(api, value)
    assert answer["message"].startswith(message)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (asked(periods=("x",) * 100_000), 0),
        ({"timeperiods": [], "query": [0] * 500_000}, 20),
        ({"timeperiods": [[[[0] * 500_000]]], "query": [[0] * 500_000]}, 2),
    ],
    ids=["periods", "statements", "nested"],
)
async def test_a_large_body_holds_nothing_up(api: Api, value: Any, count: int) -> None:
    """What is wrong with it is told in few words, and soon."""
    body = json.dumps(value).encode()
    running = asyncio.create_task(api.call("POST", "/api/0/query", body=body))
    longest = 0.0
    while not running.done():
        began = time.monotonic()
        await asyncio.sleep(0.005)
        longest = max(longest, time.monotonic() - began)

    answer = await running
    assert answer.status == 400
    assert len(answer.json().get("errors", ())) == count
    assert len(answer.body) < 10_000
    assert longest < 1


async def test_what_is_no_json_is_refused(api: Api) -> None:
    """Not JSON, another content type, another method: as on any other route."""
    path = "/api/0/query/"
    assert (await api.call("POST", path, body=b"{")).status == 400
    plain = {"Content-Type": "text/plain"}
    assert (await api.call("POST", path, body=b"{}", headers=plain)).status == 415
    assert (await api.get(path)).status == 405
    assert (await api.post(path, asked("x" * 4 * 1024 * 1024))).status == 413


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        ("a = ;", "QueryParseException", "Nothing to assign"),
        (
            "a = 1;" + " " * 20_000,
            "QueryParseException",
            "Query doesn't assign the RETURN variable, nothing to respond",
        ),
        (
            "a = b;",
            "QueryInterpretException",
            "Tried to reference variable 'b' which is not defined",
        ),
        (
            'a = query_bucket("x");',
            "QueryFunctionException",
            "There's no bucket named 'x'",
        ),
    ],
    ids=["parse", "long", "interpret", "function"],
)
async def test_an_error_of_a_query_has_a_type_and_a_message(
    api: Api, query: str, kind: str, message: str
) -> None:
    """The web interface shows the message."""
    assert await refused(api, asked(query)) == {"type": kind, "message": message}


async def test_odd_text_comes_back_as_it_is(api: Api) -> None:
    """Lone surrogates and integers of any size survive."""
    path = await make_bucket(api)
    data: dict[str, Any] = {"title": "\ud83d", "n": 10**30, "é": [1.5]}
    await api.ok("POST", f"{path}/events", event(**data))

    ((found,),) = await api.ok(
        "POST", "/api/0/query", asked('RETURN = query_bucket("window");')
    )

    assert found["data"] == data


async def test_an_answer_that_takes_too_long_is_cut(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads it sees that it is not whole; the next query is answered."""
    path = await make_bucket(api)
    events = [
        event(f"2024-03-01T10:00:{n:02}+00:00", 1, n=n, text="x" * 6_000)
        for n in range(50)
    ]
    await api.ok("POST", f"{path}/events", events)
    query = asked('RETURN = query_bucket("window");')
    monkeypatch.setattr(running, "AT_ONCE_BYTES_MAX", 20)
    monkeypatch.setattr(writing, "BLOCK_BYTES", 100)
    seconds_left = Budget.seconds_left

    def over(budget: Budget) -> float:
        if threading.current_thread().name != "awvault-query":
            raise QueryInterpretError("the query takes longer than 30 seconds")
        return seconds_left(budget)

    with monkeypatch.context() as patch:
        patch.setattr(Budget, "seconds_left", over)
        with pytest.raises(ClientError):
            await api.post("/api/0/query", query)
    (found,) = await api.ok("POST", "/api/0/query", query)
    assert len(found) == 50


async def test_heartbeats_go_on_while_a_query_runs(api: Api) -> None:
    """A regex that finds no end is stopped, and holds up nothing meanwhile."""
    path = await make_bucket(api)
    await api.ok("POST", f"{path}/events", event(title=SLOW_TEXT))
    query = asked(
        'w = query_bucket("window");',
        f'RETURN = categorize(w, [["slow", {{"regex": "{SLOW_PATTERN}"}}]]);',
    )

    running = asyncio.create_task(refused(api, query))
    answered = 0
    while not running.done():
        beat = event(f"2024-03-01T10:{answered // 60:02}:{answered % 60:02}+00:00")
        await api.ok("POST", f"{path}/heartbeat?pulsetime=10", beat)
        answered += 1

    error = await running
    assert error["type"] == "QueryFunctionException"
    assert SLOW_PATTERN in error["message"]
    assert "takes longer than 1 seconds for one text" in error["message"]
    assert answered > 10
