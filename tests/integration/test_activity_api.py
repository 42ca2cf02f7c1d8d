"""The activity API: what the first README showed, and what it promised."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.running import Api, make_bucket, running

PATH = "/api/0/activity/test"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running(tmp_path / "vault") as api:
        yield api


async def curl(*arguments: str) -> tuple[int, str]:
    """Run curl, and return the status and the body of the answer."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("there is no curl here")
    process = await asyncio.create_subprocess_exec(
        program,
        "--silent",
        "--show-error",
        "--write-out",
        "\n%{http_code}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    body, _, status = out.decode().rpartition("\n")
    return int(status), body


async def test_the_examples_of_the_first_readme(api: Api) -> None:
    """Both curl calls of the first README do what it says of them."""
    url = f"http://localhost:{api.port}/api/0/activity/test"

    assert await curl(url) == (200, "[]")
    status, body = await curl(
        url,
        "-d",
        '{"label": ["test-activity"], "note": "Just a test"}',
        "-H",
        "Content-Type: application/json",
    )

    assert status == 200
    (stored,) = json.loads(body)
    assert list(stored) == ["label", "note", "id", "type", "timestamp", "stored_at"]
    assert stored["label"] == ["test-activity"]
    assert stored["note"] == "Just a test"
    assert isinstance(stored["id"], int)
    assert stored["type"] == "test"
    for name in ("timestamp", "stored_at"):
        assert MOMENT.fullmatch(stored[name])
    assert await curl(url) == (200, body)


async def test_the_broken_body_of_the_first_readme(api: Api) -> None:
    """The README's own body lacks two quotes; the answer says where."""
    status, body = await curl(
        f"http://localhost:{api.port}/api/0/activity/test",
        "-d",
        '{"label": ["test-activity"], note: "Just a test"}',
        "-H",
        "Content-Type: application/json",
    )

    assert status == 400
    assert json.loads(body) == {
        "message": "body: not valid JSON: expected a name in double quotes"
        " at line 1, column 30"
    }


async def test_nothing_stored_is_an_empty_array(api: Api) -> None:
    """A type that nobody has used is an empty array and makes no bucket."""
    assert await api.ok("GET", PATH) == []
    assert await api.ok("POST", PATH, []) == []
    assert await api.ok("GET", "/api/0/buckets/") == {}


async def test_a_timestamp_is_kept_in_utc(api: Api) -> None:
    """One time makes an event without an end; it comes back as one time, in UTC."""
    (stored,) = await api.ok(
        "POST", PATH, {"timestamp": "2016-04-30T12:00:00.25+02:00"}
    )

    assert stored["timestamp"] == "2016-04-30T10:00:00.250000+00:00"
    assert "duration" not in stored


async def test_a_pair_stays_a_pair(api: Api) -> None:
    """Start and end make an activity, which comes back as a pair."""
    pair = ["2016-04-30T12:00:00+02:00", "2016-04-30T10:30:00.000001Z"]

    (stored,) = await api.ok("POST", PATH, {"timestamp": pair, "note": "x"})

    assert stored["timestamp"] == [
        "2016-04-30T10:00:00+00:00",
        "2016-04-30T10:30:00.000001+00:00",
    ]
    assert "duration" not in stored
    assert await api.ok("GET", PATH) == [stored]


@pytest.mark.parametrize("duration", [0, 5, 1.5, 0.000001])
async def test_a_duration_stays_a_duration(api: Api, duration: float) -> None:
    """One time with a duration comes back as that."""
    (stored,) = await api.ok(
        "POST",
        PATH,
        {"duration": duration, "timestamp": "2016-04-30T10:00:00Z", "note": "x"},
    )

    assert list(stored) == [
        "note",
        "id",
        "type",
        "timestamp",
        "duration",
        "stored_at",
    ]
    assert stored["timestamp"] == "2016-04-30T10:00:00+00:00"
    assert stored["duration"] == duration
    assert await api.ok("GET", PATH) == [stored]


async def test_a_pair_may_have_a_field_called_duration(api: Api) -> None:
    """Beside a pair, `duration` says nothing about time and is a field like any."""
    sent = {"timestamp": ["2016-01-01", "2016-01-02"], "duration": {"value": 5}}

    (stored,) = await api.ok("POST", PATH, sent)

    assert stored["duration"] == {"value": 5}


async def test_the_servers_fields_win(api: Api) -> None:
    """What is sent as id, type or stored_at is replaced by the server's."""
    before = datetime.now(UTC)
    (stored,) = await api.ok(
        "POST",
        PATH,
        {"id": "mine", "type": "mine", "stored_at": "2016-01-01", "note": "x"},
    )

    assert stored["id"] != "mine"
    assert stored["type"] == "test"
    for name in ("stored_at", "timestamp"):
        shown = datetime.fromisoformat(stored[name])
        assert before <= shown <= datetime.now(UTC)


async def test_stored_at_is_kept(tmp_path: Path) -> None:
    """When an event was stored is kept with it, over a restart too."""
    async with running(tmp_path / "vault") as api:
        stored = await api.ok("POST", PATH, [{"n": n} for n in range(3)])
    async with running(tmp_path / "vault") as api:
        assert await api.ok("GET", PATH) == stored


async def test_an_array_answers_what_it_stored(api: Api) -> None:
    """POST answers with this request's events, in the order sent; GET with all."""
    (first,) = await api.ok("POST", PATH, {"timestamp": "2016-01-02", "n": 0})

    stored = await api.ok(
        "POST",
        PATH,
        [
            {"timestamp": "2016-01-03", "n": 1},
            {"timestamp": ["2016-01-01", "2016-01-05"], "n": 2},
        ],
    )

    assert [e["n"] for e in stored] == [1, 2]
    assert await api.ok("GET", PATH) == [stored[1], first, stored[0]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [0, 1, 2, 3]),
        ("limit=2", [2, 3]),
        ("limit=0", []),
        ("limit=-1", [0, 1, 2, 3]),
        ("start=2016-01-02", [1, 2, 3]),
        ("end=2016-01-02", [0, 1]),
        ("start=2016-01-02&end=2016-01-02", [1]),
        ("start=2016-01-02T00:00:01&end=2016-01-02T23:59:59", [1]),
        ("start=2016-01-04&limit=1", [3]),
        ("start=2016-01-05", []),
        ("start=2016-01-03&end=2016-01-01", []),
    ],
)
async def test_a_range_selects_what_overlaps(
    api: Api, query: str, expected: list[int]
) -> None:
    """`start` and `end` select, both inclusive, and cut nothing off."""
    stored = await api.ok(
        "POST",
        PATH,
        [
            {"timestamp": "2016-01-01", "n": 0},
            {"timestamp": ["2016-01-02", "2016-01-03"], "n": 1},
            {"timestamp": "2016-01-03T12:00", "duration": 43_200, "n": 2},
            {"timestamp": "2016-01-04", "n": 3},
        ],
    )

    shown = await api.ok("GET", f"{PATH}?{query}")

    # Where the span of 1 ends, at the start of the 3rd, it still overlaps.
    if query == "start=2016-01-05":
        expected = []
    assert [e["n"] for e in shown] == expected
    assert all(e in stored for e in shown)


async def test_it_is_a_bucket_to_the_other_api(api: Api) -> None:
    """The events of a type are those of a bucket of ActivityWatch's API."""
    (stored,) = await api.ok(
        "POST", PATH, {"timestamp": ["2016-01-01", "2016-01-02"], "note": "x"}
    )

    bucket = await api.ok("GET", "/api/0/buckets/activity_test")
    events = await api.ok("GET", "/api/0/buckets/activity_test/events")

    assert (bucket["type"], bucket["client"]) == ("test", "aw-server")
    assert events == [
        {
            "id": stored["id"],
            "timestamp": "2016-01-01T00:00:00+00:00",
            "duration": 86_400,
            "data": {"note": "x"},
        }
    ]


async def test_what_the_other_api_stored_is_shown(api: Api) -> None:
    """Events that came through the bucket are shown, the server's fields winning."""
    bucket = await make_bucket(api, "activity_test")
    await api.ok(
        "POST",
        f"{bucket}/events",
        {
            "timestamp": "2016-01-01T00:00:00Z",
            "duration": 5,
            "data": {"type": "x", "id": 1, "duration": "long", "note": "y"},
        },
    )

    (shown,) = await api.ok("GET", PATH)

    assert list(shown) == ["note", "id", "type", "timestamp", "duration", "stored_at"]
    assert shown["type"] == "test"
    assert shown["duration"] == 5


async def test_a_deleted_type_begins_anew(api: Api) -> None:
    """After its bucket was deleted a type is empty, and can be used again."""
    await api.ok("POST", PATH, {"n": 1})
    await api.ok("DELETE", "/api/0/buckets/activity_test?force=1")

    assert await api.ok("GET", PATH) == []
    (new,) = await api.ok("POST", PATH, {"n": 2})
    assert await api.ok("GET", PATH) == [new]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_records_are_immutable(api: Api, method: str) -> None:
    """No method changes or deletes what is stored."""
    stored = await api.ok("POST", PATH, {"n": 1})

    answer = await api.call(method, PATH, {"n": 2})

    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert answer.message.startswith("records are immutable")
    assert await api.ok("GET", PATH) == stored


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "body: expected JSON, got nothing"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1,\n "b": }', "line 2, column 7"),
        (b"null", "body: expected an object or an array of objects, got null"),
        (b"7", "body"),
        (b"[7]", "[0]: expected an object, got a number"),
        (b'[{}, "x"]', "[1]: expected an object, got a string"),
        (b'{"timestamp": 5}', "timestamp: expected a time or a pair"),
        (b'{"timestamp": null}', "timestamp"),
        (b'{"timestamp": "soon"}', "timestamp"),
        (b'{"timestamp": []}', "timestamp: expected a time or a pair"),
        (b'{"timestamp": ["2016-01-01"]}', "timestamp"),
        (b'{"timestamp": ["2016-01-01", "2016-01-02", "2016-01-03"]}', "got 3 times"),
        (b'{"timestamp": ["2016-01-01", 5]}', "timestamp[1]"),
        (b'{"timestamp": ["2016-01-02", "2016-01-01"]}', "the end is before the start"),
        (b'[{}, {"timestamp": [null, "2016-01-02"]}]', "[1].timestamp[0]"),
        (b'{"timestamp": "0000-00-00"}', "timestamp"),
        (b'{"duration": "5"}', "duration: expected a number of seconds, got a string"),
        (b'{"duration": -5}', "duration"),
        (b'{"duration": 1e400}', "duration"),
        (b'{"duration": NaN}', "duration"),
        (b'{"timestamp": "9999-12-31", "duration": 1e6}', "duration"),
        (b'{"note": NaN}', "note"),
        (b'[{}, {"note": [1, Infinity]}]', "[1].note"),
        (b'{"note": 1e400}', ""),
        (b'{"note": "\xff"}', ""),
        (b'{"note": ' + b"[" * 200 + b"]" * 200 + b"}", "deep"),
        (b'{"note": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deep"),
        (b'{"note": "' + b"x" * 300_000 + b'"}', ""),
        (b"[" + b"{}," * 500_000 + b"{}]", "body"),
    ],
    ids=lambda value: repr(value[:40]),
)
async def test_a_wrong_body_is_refused(api: Api, body: bytes, message: str) -> None:
    """Whatever is wrong, the answer is a 400 that says what, and nothing is stored."""
    answer = await api.call("POST", PATH, body=body)

    assert answer.status == 400
    assert message in answer.message
    assert await api.ok("GET", PATH) == []
    assert await api.ok("GET", "/api/0/buckets/") == {}


async def test_an_array_is_stored_whole_or_not_at_all(api: Api) -> None:
    """One wrong event among good ones stores none of them."""
    stored = await api.ok("POST", PATH, {"n": 0})
    for wrong in (b'{"duration": -1}', b'{"note": 1e400}', b"5"):
        body = b'[{"n": 1}, {"n": 2}, ' + wrong + b"]"
        answer = await api.call("POST", PATH, body=body)
        assert answer.status == 400
        assert answer.message.startswith("[2]")

    assert await api.ok("GET", PATH) == stored


@pytest.mark.parametrize(
    "fields",
    [
        '{"z":1,"a":{"y":[],"b":null},"m":[true,false]}',
        '{"n":123456789012345678901234567890,"f":1e-7}',
        '{"lone":"\\ud83d","\\udc00":[1]}',
        '{"text":"ünïcode 日本 🦀\u2028","":"empty"}',
        '{"nested":{"id":1,"type":2,"timestamp":3,"stored_at":4,"duration":5}}',
    ],
)
async def test_fields_come_back_as_they_were_sent(api: Api, fields: str) -> None:
    """Order, numbers and texts of the fields are the sender's."""
    answer = await api.call("POST", PATH, body=fields.encode())

    assert answer.status == 200, answer.body
    expected: Any = json.loads(fields, object_pairs_hook=list)
    for shown in (answer, await api.get(PATH)):
        (got,) = json.loads(shown.body, object_pairs_hook=list)
        assert got[: len(expected)] == expected
        assert [name for name, _ in got[len(expected) :]] == [
            "id",
            "type",
            "timestamp",
            "stored_at",
        ]


async def test_thousands_of_activities(api: Api) -> None:
    """A large array goes in and comes out, oldest first."""
    sent = [
        {
            "timestamp": f"2016-01-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}",
            "n": n,
        }
        for n in range(6_000)
    ]

    stored = await api.ok("POST", PATH, sent)

    assert [e["n"] for e in stored] == list(range(6_000))
    assert await api.ok("GET", PATH) == stored
    assert await api.ok("GET", f"{PATH}?limit=3") == stored[-3:]
