"""Our engine against ActivityWatch's own functions, over the same events.

`make query-oracle` asks far more often than `make test` does.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awvault.query import QueryError
from tests.helpers.query_oracle import Bucket, History, Oracle, Row, ours
from tests.helpers.query_texts import CLASSES, desktop_query, everything_query
from tests.integration.gateway.running import running

pytestmark = pytest.mark.activitywatch

EXAMPLES: Final = int(os.environ.get("QUERY_EXAMPLES", "25"))
START: Final = History().start
SECOND: Final = 1_000_000


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as oracle:
        yield oracle


# -- histories -------------------------------------------------------------------

# Starts have milliseconds, as ActivityWatch's own events do; durations have more.
GAPS = st.one_of(
    st.sampled_from([0, 0, 1, 2, 99, 100, 101, -1, -99, -100, -101, 4_999, 5_000]),
    st.integers(-20_000, 20_000),
    st.integers(0, 1_000_000),
)
DURATIONS = st.one_of(
    st.sampled_from([0, 0, 1, 999, 1_000, 50_000, SECOND, 10 * SECOND]),
    st.integers(0, 30 * SECOND),
    st.integers(0, 30_000).map(lambda ms: ms * 1_000),
)
TITLES = ["a (1) GitHub", "(3) YouTube FPS: 3.1", "● x.py", "* x.py", "inbox", "", "x"]
WINDOWS: Final[list[dict[str, Any]]] = [
    *[{"app": "Firefox", "title": title} for title in TITLES],
    {"title": TITLES[0], "app": "Firefox"},
    {"app": "code", "title": "x.py"},
    {"app": "code"},
    {"title": "code"},
    {"app": ["code"]},
    {"n": 1},
    {"n": 1.0},
    {"n": True},
    {"n": None},
    {"n": "1"},
    {},
]
AWAY: Final[list[dict[str, Any]]] = [{"status": "afk"}, {"status": "not-afk"}]
TABS: Final[list[dict[str, Any]]] = [
    {"url": "https://www.github.com/a;p?q#f", "title": "a", "audible": True},
    {"url": "https://youtube.com/watch?v=1", "title": "b", "audible": True},
    {"url": "https://youtube.com/watch?v=1", "title": "b", "audible": False},
    {"url": "file:///x", "audible": False},
    {"url": "about:blank", "title": "t"},
    {"title": "none"},
]


@st.composite
def rows(draw: st.DrawFn, data: list[dict[str, Any]], *, most: int) -> list[Row]:
    """Events one after the other, with gaps and overlaps of all kinds."""
    found: list[Row] = []
    at = START
    for _ in range(draw(st.integers(0, most))):
        at = max(START - 60 * SECOND, at + 1_000 * draw(GAPS))
        duration = draw(DURATIONS)
        found.append((at, duration, draw(st.sampled_from(data))))
        if draw(st.booleans()):
            at += duration - duration % 1_000
    return found


def histories(most: int = 12) -> st.SearchStrategy[History]:
    return st.builds(
        lambda w, a, b: History([Bucket("w", w), Bucket("a", a), Bucket("b", b)]),
        rows(WINDOWS, most=most),
        rows(AWAY, most=most // 2),
        rows(TABS, most=most // 2),
    )


def check(oracle: Oracle, query: str, history: History) -> None:
    """Compare both results of a query, each part by itself."""
    theirs = oracle.ask(query, history)
    assert "result" in theirs, theirs
    mine = ours(query, history)
    assert mine.keys() == theirs["result"].keys()
    for name, result in theirs["result"].items():
        assert mine[name] == result, name


thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@thorough
@given(history=histories())
def test_every_function_gives_what_theirs_gives(
    oracle: Oracle, history: History
) -> None:
    """Each function, over short histories with every kind of gap and overlap."""
    check(oracle, everything_query(), history)


@thorough
@given(history=histories(most=40), only=st.booleans(), audible=st.booleans())
def test_the_web_interface_sees_what_it_saw(
    oracle: Oracle, history: History, only: bool, audible: bool
) -> None:
    """The whole query of a day, with browsers, categories and a filter."""
    query = desktop_query(
        window="w",
        afk="a",
        browsers={"firefox": "b", "chrome": "b"},
        only=[["Work"], ["Uncategorized"]] if only else [],
        audible=audible,
    )
    check(oracle, query, history)


def a_day() -> History:
    """A day with tabs, pauses and overlaps, the same one always."""
    from random import Random

    chance = Random(7)
    buckets = []
    for name, data, count in (
        ("aw-watcher-window_box", WINDOWS[:9], 900),
        ("aw-watcher-afk_box", AWAY, 60),
        ("aw-watcher-web-firefox", TABS, 400),
    ):
        at = START
        events: list[Row] = []
        for _ in range(count):
            at += 1_000 * chance.choice([0, 0, 1_000, 1_234, -50, -3_000, 90_000])
            duration = chance.randrange(0, 90_000 * SECOND // count)
            events.append((max(at, START), duration, chance.choice(data)))
            at += duration - duration % 1_000
        buckets.append(Bucket(name, events))
    return History(buckets, end=START + 86_400 * SECOND)


async def test_the_client_librarys_query_is_answered_alike(
    oracle: Oracle, tmp_path: Path
) -> None:
    """The query that aw-client makes, asked of the gateway and of their functions."""
    day = a_day()
    query = oracle.desktop_query(
        window="aw-watcher-window_",
        afk="aw-watcher-afk_",
        browsers=["aw-watcher-web-firefox"],
        classes=CLASSES,
    )
    # The library leaves the name of its own variable in the text where browsers are.
    check_error(oracle, query, day)
    query = query.replace("{default_limit}", "100")
    async with running(tmp_path / "vault") as api:
        numbers: dict[tuple[str, int], int] = {}
        for bucket in day.buckets:
            path = f"/api/0/buckets/{bucket.name}"
            body = {"type": "t", "client": "c", "hostname": "box"}
            await api.ok("POST", path, body)
            stored = await api.ok("POST", f"{path}/events", bucket.json_events())
            for at, event in enumerate(stored, 1):
                numbers[bucket.name, at] = event["id"]
        period = day.period()
        asked = {
            "query": [f"{part};" for part in query.split(";") if part],
            "timeperiods": [f"{period.start_text}/{period.end_text}"],
        }
        (mine,) = await api.ok("POST", "/api/0/query/", asked)

    theirs = oracle.ask(query, day)["result"]

    assert len(mine["events"]) > 300
    assert _without_ids(mine) == _without_ids(theirs)
    assert [e["id"] for e in mine["events"]] == [
        numbers["aw-watcher-window_box", e["id"]] for e in theirs["events"]
    ]


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_ids(v) for k, v in value.items() if k != "id"}
    if isinstance(value, list):
        return [_without_ids(item) for item in value]
    return value


@pytest.mark.parametrize(
    "query",
    [
        "",
        "a = 1;",
        "a =;",
        "1 = 2;",
        "= 2;",
        "nop() = 2;",
        "asd nop() = 2",
        "asd = asd nop();",
        "a = unclosed(b",
        "a = %;",
        "% = 1;",
        "a = [1,];",
        "a = {1: 2};",
        'a = {"b": 1,};',
        'a = {"b" 1};',
        'a = {"b":};',
        'a = "b;',
        "a = b;",
        "a = [b];",
        "a = b();",
        'a = query_bucket("x");',
        'a = query_bucket_eventcount("x");',
        'a = find_bucket("x");',
        'a = find_bucket("w", "moon");',
        "a = query_bucket(1);",
        "a = query_bucket([1]);",
        'a = query_bucket({"k": "v"});',
        'a = limit_events([], "x");',
        "a = limit_events(true, 1);",
        "a = sum_durations(1, 2);",
        "a = nop(1);",
        "s = sum_durations([]); a = concat(s, []);",
        'w = query_bucket("w"); a = categorize(w, [["a", {"priority": true}]]);',
        'w = query_bucket("w"); a = merge_subwatcher_fields(w, w, ["a"], "x");',
    ],
)
def test_errors_are_theirs(oracle: Oracle, query: str) -> None:
    """The type and the sentence of an error are those that clients know."""
    check_error(oracle, query, History([Bucket("w", [(START, SECOND, {"a": "b"})])]))


def check_error(oracle: Oracle, query: str, history: History) -> None:
    with pytest.raises(QueryError) as caught:
        ours(query, history)

    told = {"type": caught.value.kind, "message": str(caught.value)}
    assert told == oracle.ask(query, history)


def test_their_texts_are_read_alike(oracle: Oracle) -> None:
    """Texts with quotes, backslashes and separators mean what they mean there."""
    texts = ['"a"', "'a'", r'"\w+\.\\d"', r'"a\"b"', r"'a\'b'", '"; = , # ( ["', '""']
    query = f"RETURN = [{', '.join(texts)}];"

    assert ours(query, History()) == oracle.ask(query, History())["result"]
    assert json.loads(json.dumps(ours(query, History())[2])) == r"\w+\.\\d"
