"""What is sent to both servers, in this order."""

import json
from collections.abc import Iterator
from typing import Any, Final

from tests.integration.gateway.probing import Step, bucket
from tests.integration.gateway.running import BUCKET, event

JSON: Final = {"Content-Type": "application/json"}


def steps() -> Iterator[Step]:
    yield from about()
    yield from making_buckets()
    yield from changing_buckets()
    yield from inserting()
    yield from refusing_events()
    yield from reading()
    yield from single_events()
    yield from heartbeats()
    yield from refusing_heartbeats()
    yield from queries()
    yield from settings()
    yield from transfers()
    yield from guards()
    yield from deleting_buckets()


def get(path: str, differs: str = "", **headers: str) -> Step:
    return Step(method="GET", path=path, headers=headers, differs=differs)


def post(path: str, value: Any, differs: str = "") -> Step:
    return Step(
        method="POST", path=path, body=json.dumps(value).encode(), differs=differs
    )


def call(method: str, path: str, differs: str = "") -> Step:
    return Step(method=method, path=path, differs=differs)


def about() -> Iterator[Step]:
    for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
        yield call(method, "/api/0/info")
    yield get("/api/0/log", "log")
    for path in ("/api/0/info/", "/api/0/nothing", "/api/0", "/nothing", "/api/1/x"):
        yield get(path)
    for path in ("/api/", "/api/swagger.json"):
        yield get(path, "swagger")


def making_buckets() -> Iterator[Step]:
    yield get("/api/0/export")
    yield get("/api/0/buckets/")
    yield get("/api/0/buckets", "slash")
    yield call("HEAD", "/api/0/buckets/")
    yield call("OPTIONS", "/api/0/buckets/")
    yield call("DELETE", "/api/0/buckets/")
    yield post("/api/0/buckets/", BUCKET)
    yield get(bucket("b"))
    yield post(bucket("b"), BUCKET)
    yield get(bucket("b"))
    yield get("/api/0/export")
    yield call("HEAD", bucket("b"))
    yield call("OPTIONS", bucket("b"))
    yield call("PATCH", bucket("b"))
    yield post(bucket("b"), BUCKET)
    yield post(bucket("b"), BUCKET | {"type": "other"})
    yield get(bucket("b"))
    yield get("/api/0/buckets/")
    yield post(bucket("local"), BUCKET | {"hostname": "!local"})
    yield get(bucket("local"), "local")
    yield post(bucket("extra"), BUCKET | {"id": "x", "name": "n", "color": 5})
    yield get(bucket("extra"))
    said = {"created": "2024-03-01T10:00:00+00:00", "data": {"k": [1, 2.5, None]}}
    yield post(bucket("said"), BUCKET | said)
    yield get(bucket("said"), "said")
    yield post(bucket("a/b"), BUCKET, "any-id")
    yield get(bucket("a/b"), "any-id")
    yield get(bucket("a/b", "/events"), "any-id")
    names = ["my host", "ünï", "a.b", "x" * 300, "a+b", "%", '"q"', "events", "older"]
    for name in names:
        yield post(bucket(name), BUCKET)
        yield get(bucket(name))
        yield get(bucket(name, "/events"))
    for name in ("type", "client", "hostname"):
        yield post(bucket("bad"), {k: v for k, v in BUCKET.items() if k != name})
        yield post(bucket("bad"), BUCKET | {name: 5})
        yield post(bucket("bad"), BUCKET | {name: None})
        yield post(bucket(f"empty {name}"), BUCKET | {name: ""})
    for body in (b"", b"{", b"[]", b"5", b"null", b'"x"', b"\xff"):
        yield Step(method="POST", path=bucket("bad"), body=body)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "text/json"):
        yield Step(
            method="POST",
            path=bucket("bad"),
            body=json.dumps(BUCKET).encode(),
            headers={"Content-Type": kind},
        )
    yield Step(
        method="POST",
        path=bucket("charset"),
        body=json.dumps(BUCKET).encode(),
        headers={"Content-Type": "application/json; charset=utf-8"},
    )
    yield get(bucket("bad"), "lenient")


def changing_buckets() -> Iterator[Step]:
    whole = BUCKET | {"data": {"k": 1}}
    for value in (whole, {"type": "new"}, {}):
        yield Step(method="PUT", path=bucket("extra"), value=value, differs="put")
    yield get(bucket("extra"), "put")
    yield Step(method="PUT", path=bucket("nobody"), value=whole)


FIRST: Final = "2024-03-01T10:00:00+00:00"

EVENTS: Final = [
    event("2024-03-01T10:00:00+00:00", 10.0, n=1),
    event("2024-03-01T10:00:20+00:00", 10.0, n=2),
    event("2024-03-01T10:01:00+00:00", 0.0, n=3),
    event("2024-03-01T10:02:00.123456+00:00", 60.654321, n=4),
    event("2024-03-01T10:10:00+00:00", 1.5, n=5),
]
LONG: Final = event("2024-02-28T09:00:00+00:00", 200_000.0, n=6)
EQUAL: Final = [event("2024-03-01T12:00:00+00:00", 1.0, n=n) for n in (7, 8, 9)]


def inserting() -> Iterator[Step]:
    path = bucket("b", "/events")
    yield get(path)
    yield get(f"{path}/count")
    yield post(path, EVENTS[0])
    yield post(path, EVENTS[1:3])
    yield post(path, EVENTS[3:])
    yield post(path, [])
    yield get(path)
    yield get(f"{path}/count")
    forms = bucket("said", "/events")
    # Each at an hour of its own, so that the order of what comes back is known.
    times = [
        "2024-03-02T01:00:00Z",
        "2024-03-02T03:00:00",
        "2024-03-02T04:00:00.5Z",
        "2024-03-02T05:00:00.123456+00:00",
        "2024-03-02T06:00:00.123456789Z",
        "2024-03-02T12:00:00+05:00",
        "2024-03-02T12:00:00+0400",
        "2024-03-02T12:00:00+03",
        "2024-03-02T10:00",
        "2024-03-02 11:00:00",
        "20240302T120000Z",
        "2024-03-03",
        "2024-03-04T24:00:00Z",
        "1999-12-31T23:59:59+00:00",
        "1969-07-20T20:17:40+00:00",
        "2100-01-01T00:00:00+00:00",
    ]
    for number, time in enumerate(times, 100):
        yield post(forms, [event(time, 1.0, n=number)])
    yield get(forms)
    yield post(forms, event("2024-03-02T02:00:00z", 1.0, n=99), "times")
    values = bucket("extra", "/events")
    data = [
        {"n": 200, "text": 'ünï 🦀 \u2028 \x00 \\ "'},
        {"n": 201, "nested": {"a": [1, 2.5, True, None, {"b": []}]}},
        {"n": 202, "": 1, "big": 2**60, "float": 1e300, "small": 1e-7, "zero": -0.0},
        {"z": 1, "a": 2, "m": 3},
        {},
    ]
    for number, item in enumerate(data):
        at = f"2024-03-02T0{number}:00:00Z"
        yield post(values, [{"timestamp": at, "duration": number, "data": item}])
    for number, duration in enumerate((0, 1, 0.001, 0.0000005, 1e6, 86400.25)):
        at = f"2024-03-03T0{number}:00:00Z"
        yield post(values, [{"timestamp": at, "duration": duration, "data": {}}])
    yield post(values, [{"timestamp": "2024-03-04T00:00:00Z", "data": {"n": 1}}])
    yield post(values, [{"timestamp": "2024-03-05T00:00:00Z"}])
    yield get(values)
    yield post(bucket("local", "/events"), {"data": {"n": 1}})
    yield post(bucket("local", "/events"), {})
    yield get(bucket("local", "/events/count"))
    yield post(bucket("nobody", "/events"), EVENTS)
    yield post(bucket("nobody", "/events"), [])
    yield get(bucket("nobody", "/events"))
    yield get(bucket("nobody", "/events/count"))


def refusing_events() -> Iterator[Step]:
    path = bucket("a.b", "/events")
    bad: list[Any] = [
        {"timestamp": "yesterday"},
        {"timestamp": ""},
        {"timestamp": 5},
        {"timestamp": None},
        {"timestamp": "2024-13-01T00:00:00Z"},
        {"timestamp": FIRST, "duration": "5"},
        {"timestamp": FIRST, "duration": "x"},
        {"timestamp": FIRST, "duration": None},
        {"timestamp": FIRST, "duration": []},
        {"timestamp": FIRST, "duration": -5},
        {"timestamp": FIRST, "duration": True},
        {"timestamp": FIRST, "data": []},
        {"timestamp": FIRST, "data": "x"},
        {"timestamp": FIRST, "data": None},
        {"timestamp": FIRST, "extra": 1},
        {"timestamp": FIRST, "id": "x"},
        {"timestamp": FIRST, "id": 999_999.5},
        5,
        "x",
        None,
        True,
        [5],
        ["x"],
        [None],
        [[]],
        [EVENTS[0], 5],
        [EVENTS[0], {"extra": 1}],
        [EVENTS[0], {"timestamp": "never"}],
    ]
    for value in bad:
        yield post(path, value)
    for body in (b"", b"{", b"[", b"[{}", b"\xff", b"{}{}", b"[" * 3000):
        yield Step(method="POST", path=path, body=body)
    for body in (
        b'[{"timestamp": "2024-03-01T10:00:00Z", "duration": NaN}]',
        b'[{"timestamp": "2024-03-01T10:00:00Z", "duration": Infinity}]',
        b'[{"timestamp": "2024-03-01T10:00:00Z", "data": {"x": NaN}}]',
        b'[{"timestamp": "2024-03-01T10:00:00Z", "data": {"a": 1, "a": 2}}]',
    ):
        yield Step(method="POST", path=path, body=body)
    yield Step(
        method="POST",
        path=path,
        body=json.dumps(EVENTS).encode(),
        headers={"Content-Type": "text/plain"},
    )
    yield call("PUT", path)
    yield call("DELETE", path)
    yield call("OPTIONS", path)
    yield get(f"{path}/count", "lenient")


STARTS: Final = [
    None,
    "2024-02-28T00:00:00Z",
    "2024-03-01T10:00:00Z",
    "2024-03-01T10:00:05Z",
    "2024-03-01T10:00:10Z",
    "2024-03-01T10:00:10.001Z",
    "2024-03-01T10:01:00Z",
    "2024-03-01T10:05:00Z",
    "2024-03-01T11:00:00+01:00",
]
ENDS: Final = [
    None,
    "2024-03-01T09:59:00Z",
    "2024-03-01T10:00:00Z",
    "2024-03-01T10:00:15.5Z",
    "2024-03-01T10:00:20Z",
    "2024-03-01T10:02:30Z",
    "2024-03-01T13:00:00Z",
]


def reading() -> Iterator[Step]:
    path = bucket("b", "/events")
    for start in STARTS:
        for end in ENDS:
            is_inside = start in STARTS[3:5] and end == ENDS[2]
            for tail in ("/events", "/events/count"):
                yield get(
                    bucket("b", tail, start=start, end=end),
                    "backwards" if is_inside else "",
                )
    for limit in (-1, -5, 0, 1, 2, 5, 100, 10**9):
        yield get(bucket("b", "/events", limit=limit))
        yield get(bucket("b", "/events", limit=limit, start=STARTS[2]))
    for wrong in ("", "x", "1.5", "1e3", "0x1", " 1", "9" * 30):
        yield get(bucket("b", "/events", limit=wrong))
    for time in (
        "2024-03-01",
        "2024-03-01T10",
        "2024-03-01T10:00",
        "2024-03-01T10:00:00",
        "2024-03-01 10:00:00",
        "20240301T100000Z",
        "2024-03-01T10:00:00.5",
        "2024-03-01T10:00:00.123456789Z",
        "2024-03-01T12:00:00+0200",
        "2024-W09-5",
        "",
        "x",
        "5",
        "1709287200",
        "2024-13-01",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ):
        for name in ("start", "end"):
            is_first = name == "start" and time.startswith("0001")
            yield get(
                bucket("b", "/events/count", **{name: time}),
                "times" if is_first else "",
            )
    yield get(f"{path}/count?start=2024-03-01T11:00:00+01:00", "plus")
    yield get(f"{path}?unknown=1")
    yield call("HEAD", path)
    yield call("HEAD", f"{path}/count")
    # What began more than 24 hours before the range, and events of equal time.
    yield post(bucket("events", "/events"), [LONG])
    yield get(bucket("events", "/events", start="2024-03-01T10:00:00Z"), "long")
    yield get(bucket("events", "/events", start="2024-02-29T08:00:00Z"))
    yield get(bucket("events", "/events/count", start="2024-03-01T10:00:00Z"), "long")
    yield post(bucket("a+b", "/events"), EQUAL)
    yield get(bucket("a+b", "/events"), "order")
    yield get(bucket("a+b", "/events", limit=1), "order")


def single_events() -> Iterator[Step]:
    path = bucket("b", "/events")
    yield get(f"{path}/<b:1>")
    yield get(f"{path}/<b:4>")
    yield call("HEAD", f"{path}/<b:4>")
    yield call("OPTIONS", f"{path}/<b:4>")
    for wrong in ("0", "999999999999"):
        yield get(f"{path}/{wrong}")
        yield call("DELETE", f"{path}/{wrong}")
    for wrong in ("x", "1.5", "-1", "9" * 30):
        yield get(f"{path}/{wrong}", "event-ids")
        yield call("DELETE", f"{path}/{wrong}", "event-ids")
    yield get(bucket("local", "/events/<b:1>"))
    yield get(bucket("nobody", "/events/1"))
    yield call("DELETE", bucket("nobody", "/events/1"))
    yield call("POST", f"{path}/<b:1>")
    changed = event("2024-03-01T10:00:01+00:00", 12.0, n=1)
    yield Step(method="POST", path=path, value=changed | {"id": "<b:1>"})
    yield get(f"{path}/<b:1>")
    yield get(f"{path}/count")
    unknown = event("2024-03-01T14:00:00+00:00", 1.0, n=20) | {"id": 999_999_999}
    yield post(path, unknown)
    yield get(f"{path}/count", "upsert")
    # An id of another bucket.
    yield Step(
        method="POST",
        path=bucket("local", "/events"),
        value=event(FIRST, 1.0, n=2) | {"id": "<b:2>"},
    )
    yield get(f"{path}/count", "upsert")
    yield call("DELETE", f"{path}/<b:5>")
    yield get(f"{path}/<b:4>")
    yield get(path, "upsert")


def heartbeats() -> Iterator[Step]:
    path = bucket("my host", "/heartbeat")
    events = bucket("my host", "/events")

    def beat(
        second: float,
        duration: float = 0.0,
        *,
        pulsetime: float = 5.0,
        to: str = path,
        differs: str = "",
        **data: Any,
    ) -> Iterator[Step]:
        at = f"2024-03-01T10:{int(second) // 60:02}:{second % 60:09.6f}+00:00"
        sent = event(at, duration, **data)
        yield post(f"{to}?pulsetime={pulsetime}", sent, differs)

    yield from beat(0, title="a")
    for second in (1, 2, 7, 12.5):
        yield from beat(second, title="a")
    yield get(events)
    yield from beat(18, 3, title="a")
    yield from beat(26, title="a")
    yield from beat(20, title="a")
    yield from beat(22, 1, title="a")
    yield from beat(27, title="b")
    yield from beat(28, title="a")
    yield from beat(28, title="a", pulsetime=0)
    yield from beat(28.5, title="a", pulsetime=0)
    yield get(events)
    yield from beat(60, 10, title="c")
    yield from beat(61, 1, title="c")
    yield from beat(75, title="c")
    yield from beat(75.000001, title="c")
    yield get(events)
    yield from beat(90, title="e", number=1)
    yield from beat(91, number=1, title="e")
    yield from beat(92, title="e", number=1.0)
    yield get(events)
    yield get(f"{events}/count")
    yield from beat(100, title="t", flag=1)
    yield from beat(101, title="t", flag=True, differs="true")
    # Older than the last: an event of its own, and then the last.
    older = bucket("older", "/heartbeat")
    for second, title in ((60, "c"), (50, "d"), (51, "d")):
        yield from beat(second, to=older, title=title)
    yield get(bucket("older", "/events"), "by-id")


def refusing_heartbeats() -> Iterator[Step]:
    path = bucket("my host", "/heartbeat")
    events = bucket("my host", "/events")
    at = event("2024-03-01T11:00:00+00:00", title="p")
    for pulsetime in ("0", "1.5", "1e3", "86400", "%205", "%2B5"):
        yield post(f"{path}?pulsetime={pulsetime}", at)
    for pulsetime in ("", "x", "-1", "nan", "inf", "1,5"):
        yield post(f"{path}?pulsetime={pulsetime}", at)
    yield post(path, at)
    yield get(f"{events}/count")
    wrong: list[Any] = [
        {},
        {"timestamp": "x"},
        {"timestamp": 5},
        {"timestamp": FIRST, "duration": "5"},
        {"timestamp": FIRST, "duration": None},
        {"timestamp": FIRST, "duration": -5},
        {"timestamp": FIRST, "data": []},
        {"timestamp": FIRST, "data": "x"},
        {"timestamp": FIRST, "extra": 1},
        [at],
        [],
        5,
        None,
        "x",
    ]
    for value in wrong:
        yield post(f"{path}?pulsetime=5", value)
    for body in (b"", b"{", b"\xff"):
        yield Step(method="POST", path=f"{path}?pulsetime=5", body=body)
    yield post(bucket("nobody", "/heartbeat?pulsetime=5"), at)
    yield get(f"{path}?pulsetime=5", "pages")
    yield call("OPTIONS", path, "pages")
    # Between two heartbeats somebody stores a newer event, or deletes the last.
    other = bucket("%", "/heartbeat?pulsetime=60")
    one = event("2024-03-01T10:00:00+00:00", 0.0, n=1)
    two = event("2024-03-01T10:00:30+00:00", 0.0, n=1)
    yield post(other, one)
    yield post(bucket("%", "/events"), event("2024-03-01T10:00:10+00:00", 1.0, n=2))
    yield post(other, two, "by-id")
    yield get(bucket("%", "/events"), "by-id")


WINDOWS: Final = [
    {"app": "Code", "title": "main.py"},
    {"app": "Firefox", "title": "ActivityWatch - GitHub"},
    {"app": "Code", "title": "test.py"},
    {"app": "Slack", "title": "(3) Slack"},
    {"app": "Firefox", "title": "a video \u2013 YouTube"},
    {"app": "Code", "title": "main.py"},
]
PERIOD: Final = "2024-03-04T00:00:00+00:00/2024-03-05T00:00:00+00:00"
CLASSES: Final = json.dumps(
    [
        [["Work"], {"regex": "Code"}],
        [["Web", "Video"], {"regex": "youtube", "ignore_case": True}],
    ]
)
EXPRESSIONS: Final = [
    "1",
    "-1",
    "1.5",
    '"a"',
    "'a'",
    r'"a\"b"',
    "True",
    "false",
    "[]",
    "[1, 'a', [2]]",
    "{}",
    '{"a": 1, "b": [2, {}]}',
    "NAME",
    "STARTTIME",
    "ENDTIME",
    "w",
    "nop()",
    'query_bucket("q-afk")',
    'query_bucket(find_bucket("q-win"))',
    'find_bucket("q-win")',
    'find_bucket("q-win", "box")',
    'find_bucket("q-win", "other")',
    'find_bucket("nothing")',
    'query_bucket("nothing")',
    'query_bucket_eventcount("q-window")',
    'filter_keyvals(w, "app", ["Code"])',
    'filter_keyvals(w, "nothing", ["Code"])',
    'exclude_keyvals(w, "app", ["Code", "Slack"])',
    'filter_keyvals_regex(w, "title", "^main|GitHub$")',
    'filter_keyvals_regex(w, "title", "(")',
    'filter_period_intersect(w, filter_keyvals(a, "status", ["not-afk"]))',
    "filter_period_intersect(a, w)",
    "period_union(a, w)",
    "union_no_overlap(a, w)",
    "limit_events(w, 2)",
    "limit_events(w, 0)",
    'merge_events_by_keys(w, ["app"])',
    'merge_events_by_keys(w, ["app", "title"])',
    "merge_events_by_keys(w, [])",
    'merge_events_by_keys(w, ["nothing"])',
    'chunk_events_by_key(w, "app")',
    "sort_by_timestamp(w)",
    "sort_by_duration(w)",
    "sum_durations(w)",
    "sum_durations([])",
    "concat(w, a)",
    "concat(w, [])",
    "flood(w)",
    "flood(w, 60)",
    "simplify_window_titles(w, 'title')",
    "split_url_events(u)",
    f"categorize(w, {CLASSES})",
    'tag(w, [["dev", {"regex": "py"}], ["web", {"regex": "Firefox"}]])',
    f'sort_by_duration(merge_events_by_keys(categorize(w, {CLASSES}), ["$category"]))',
    "unknown(1)",
    "b",
    "flood()",
    "flood(1)",
    "limit_events(w, 'x')",
    "limit_events(w)",
    "sum_durations(w, w)",
    'filter_keyvals(w, 1, ["a"])',
    "(",
    "[1",
    '"a',
    "1 +",
    "",
]


def queries() -> Iterator[Step]:
    for name, kind in (("q-window", "currentwindow"), ("q-afk", "afkstatus")):
        yield post(bucket(name), BUCKET | {"type": kind})
    yield post(bucket("q-web"), BUCKET | {"type": "web.tab.current"})
    rows = [
        event(f"2024-03-04T09:{at * 2:02}:00+00:00", 100.0 + at, **data)
        for at, data in enumerate(WINDOWS)
    ]
    yield post(bucket("q-window", "/events"), rows)
    states = [
        event("2024-03-04T09:00:00+00:00", 400.0, status="not-afk"),
        event("2024-03-04T09:06:40+00:00", 120.0, status="afk"),
        event("2024-03-04T09:08:40+00:00", 300.0, status="not-afk"),
    ]
    yield post(bucket("q-afk", "/events"), states)
    pages = [
        event(
            f"2024-03-04T10:{at:02}:00+00:00",
            30.0,
            url=f"https://www.example.org:80{at}/a/b?c=d#e",
            title=f"page {at}",
        )
        for at in range(3)
    ]
    yield post(bucket("q-web", "/events"), pages)
    reads = [
        'w = query_bucket("q-window");',
        'a = query_bucket("q-afk");',
        'u = query_bucket("q-web");',
    ]
    for expression in EXPRESSIONS:
        asked = {"timeperiods": [PERIOD], "query": [*reads, f"RETURN = {expression};"]}
        differs = "query-text" if expression in {"1.5", "[1"} else ""
        yield post("/api/0/query/?name=probe", asked, differs)
    for lines in (
        ["RETURN = 1"],
        ["RETURN = 1;;"],
        ["a = 1;", "RETURN = a;"],
        ["a=1;RETURN=a;"],
        ["RETURN", " = ", "1;"],
        ["a = 1;"],
        [],
        [""],
        ["RETURN = 1;", "RETURN = 2;"],
        ["1 = 2;"],
        ["RETURN == 1;"],
        ["= 1;"],
        ["\n RETURN = 1;\n"],
    ):
        yield post("/api/0/query/", {"timeperiods": [PERIOD], "query": lines})
    counted = ['RETURN = sum_durations(query_bucket("q-window"));']
    for period in (
        "2024-03-04T09:00:30Z/2024-03-04T09:03:00Z",
        "2024-03-04/2024-03-05",
        "2024-03-04T10:00:00+01:00/2024-03-04T10:02:30+01:00",
        "2024-03-05/2024-03-04",
        "2024-03-04/2024-03-05/x",
        "2024-03-04",
        "x/y",
        "",
    ):
        yield post("/api/0/query/", {"timeperiods": [period], "query": counted})
    yield post("/api/0/query/", {"timeperiods": [], "query": counted})
    yield post("/api/0/query/", {"timeperiods": [PERIOD] * 3, "query": counted})
    yield post("/api/0/query", {"timeperiods": [PERIOD], "query": counted}, "slash")
    wrong: list[Any] = [
        {},
        {"query": counted},
        {"timeperiods": [PERIOD]},
        {"timeperiods": PERIOD, "query": counted},
        {"timeperiods": [PERIOD], "query": counted[0]},
        {"timeperiods": [5], "query": counted},
        {"timeperiods": [PERIOD], "query": [None]},
        [],
        None,
    ]
    for value in wrong:
        yield post("/api/0/query/", value)
    yield Step(method="POST", path="/api/0/query/", body=b"{")
    yield call("GET", "/api/0/query/", "pages")
    yield call("OPTIONS", "/api/0/query/", "pages")


def settings() -> Iterator[Step]:
    path = "/api/0/settings"
    yield get(path, "settings")
    yield post(f"{path}/theme", "dark", "settings")
    yield post(f"{path}/startOfDay", {"a": [1, None]}, "settings")
    for tail in ("", "/theme", "/nothing"):
        yield get(f"{path}{tail}", "settings")
    yield call("DELETE", f"{path}/theme", "settings")


def exported(name: str, events: list[Any], **more: Any) -> dict[str, Any]:
    described: dict[str, Any] = {
        "id": name,
        "created": "2024-03-01T00:00:00+00:00",
        "name": None,
        "type": "currentwindow",
        "client": "aw-watcher-window",
        "hostname": "box",
        "data": {},
        "events": events,
    }
    return described | more


def transfers() -> Iterator[Step]:
    path = "/api/0/import"
    for name in ("q-window", "q-afk", "nobody"):
        yield get(bucket(name, "/export"))
    yield call("HEAD", bucket("q-window", "/export"))
    yield call("OPTIONS", bucket("q-window", "/export"))
    yield call("POST", bucket("q-window", "/export"))
    yield call("HEAD", "/api/0/export")
    yield call("OPTIONS", "/api/0/export")
    events = [{k: v for k, v in e.items() if k != "id"} for e in EVENTS[:3]]
    one = {"buckets": {"i-one": exported("i-one", events)}}
    yield post(path, one)
    yield get(bucket("i-one"))
    yield get(bucket("i-one", "/events"))
    yield get(bucket("i-one", "/export"))
    yield post(path, one, "import-again")
    more = exported("i-one", [*events, event("2024-03-01T11:00:00Z", 1.0, n=9)])
    yield post(path, {"buckets": {"i-one": more}}, "import-again")
    yield get(bucket("i-one", "/events/count"), "import-again")
    yield post(path, {"buckets": {"i-data": exported("i-data", [], data={"k": 1})}})
    yield get(bucket("i-data"), "said")
    two = {name: exported(name, events) for name in ("i-two", "i-three")}
    yield post(path, {"buckets": two})
    yield get(bucket("i-three", "/events/count"))
    ids = [e | {"id": at} for at, e in enumerate(events, 1)]
    yield post(path, {"buckets": {"i-ids": exported("i-ids", ids)}})
    yield get(bucket("i-ids", "/events"))
    yield post(path, {"buckets": {}})
    whole = exported("i-bad", events)
    for key in ("type", "client", "hostname", "created", "events", "id"):
        name = f"i-no-{key}"
        lacking = {k: v for k, v in exported(name, events).items() if k != key}
        differs = "import-less" if key != "type" else ""
        yield post(path, {"buckets": {name: lacking}}, differs)
    yield get(bucket("i-no-id", "/events/count"), "import-less")
    wrong: list[Any] = [
        {},
        [],
        None,
        {"buckets": []},
        {"buckets": {"i-bad": 5}},
        {"buckets": {"i-bad": whole | {"events": 5}}},
        {"buckets": {"i-bad": whole | {"events": [5]}}},
        {"buckets": {"i-bad": whole | {"events": [{"timestamp": "x"}]}}},
        {"buckets": {"i-bad": whole | {"type": 5}}},
        {"buckets": {"i-bad": whole | {"created": "x"}}},
    ]
    for value in wrong:
        yield post(path, value)
    for body in (b"", b"{"):
        yield Step(method="POST", path=path, body=body)
    for name, field in (("i-form", "buckets.json"), ("i-field", "x")):
        yield form(field, {"buckets": {name: exported(name, events)}})
        yield get(bucket(name, "/events"))
    yield Step(
        method="POST", path=path, body=b"{}", headers={"Content-Type": "text/plain"}
    )
    yield call("GET", path, "pages")
    yield call("OPTIONS", path, "pages")


def form(field: str, value: Any) -> Step:
    """Return an import as the web interface sends it: a form with a file."""
    head = (
        f'--line\r\nContent-Disposition: form-data; name="{field}";'
        ' filename="export.json"\r\nContent-Type: application/json\r\n\r\n'
    )
    return Step(
        method="POST",
        path="/api/0/import",
        body=head.encode() + json.dumps(value).encode() + b"\r\n--line--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=line"},
    )


def guards() -> Iterator[Step]:
    for host in (
        "localhost",
        "localhost:5600",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]:5600",
        "LOCALHOST",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:5600",
        "",
    ):
        is_more = host in {"[::1]:5600", "LOCALHOST"}
        yield get("/api/0/info", "hosts" if is_more else "", Host=host)
    for origin in (
        "moz-extension://6d4ea9b2-5f1c-4f0b-a7a1-111111111111",
        "chrome-extension://nglaklhklhcoonedhgnpgddginnjdadi",
        "http://127.0.0.1:27180",
        "https://evil.example",
        "null",
    ):
        yield get("/api/0/info", Origin=origin)
        for method, path in (("POST", bucket("origin")), ("DELETE", bucket("nobody"))):
            yield Step(
                method=method,
                path=path,
                body=json.dumps(BUCKET).encode(),
                headers={"Origin": origin},
            )
        yield Step(
            method="OPTIONS",
            path=bucket("b"),
            headers={"Origin": origin, "Access-Control-Request-Method": "POST"},
        )


def deleting_buckets() -> Iterator[Step]:
    path = bucket("b")
    yield call("DELETE", path)
    yield call("DELETE", f"{path}?force=0")
    yield call("DELETE", f"{path}?force=true")
    yield call("DELETE", bucket("nobody"))
    yield call("DELETE", bucket("nobody", "", force=1))
    yield call("DELETE", f"{path}?force=1")
    yield get(path)
    yield get(bucket("b", "/events"))
    yield call("DELETE", f"{path}?force=1")
    yield post(path, BUCKET)
    yield get(bucket("b", "/events"))
    # After a delete, a heartbeat begins anew.
    beat = event("2024-03-01T10:00:00+00:00", title="a")
    yield post(bucket("b", "/heartbeat?pulsetime=5"), beat)
    yield call("DELETE", f"{path}?force=1")
    yield post(path, BUCKET)
    yield post(bucket("b", "/heartbeat?pulsetime=5"), beat, "remade")
    yield get(bucket("b", "/events"), "remade")
