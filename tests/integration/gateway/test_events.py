"""Events: insert, read, count, correct, delete."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway.running import (
    Api,
    event,
    make_bucket,
    running,
    without_ids,
)


def at(second: float) -> str:
    start = datetime(2024, 3, 1, 10, tzinfo=UTC) + timedelta(seconds=second)
    return start.isoformat()


async def test_one_event_comes_back_with_its_id(api: Api) -> None:
    """An event sent as an object is answered as a list, with its id, and kept."""
    path = await make_bucket(api)

    stored = await api.ok("POST", f"{path}/events", event(at(0), 1.5, app="a"))

    assert isinstance(stored[0]["id"], int)
    assert 0 < stored[0]["id"] < 2**53
    assert without_ids(stored) == [event(at(0), 1.5, app="a")]
    assert await api.ok("GET", f"{path}/events") == stored


async def test_many_events_come_back_in_the_order_sent(api: Api) -> None:
    """An array is answered in its own order, and listed newest first."""
    path = await make_bucket(api)
    sent = [event(at(s), 1, n=n) for n, s in enumerate([5, 1, 9, 1, 5])]

    stored = await api.ok("POST", f"{path}/events", sent)

    assert without_ids(stored) == sent
    assert len({e["id"] for e in stored}) == 5
    listed = await api.ok("GET", f"{path}/events")
    # Of equal times, the one inserted first comes first.
    assert [e["data"]["n"] for e in listed] == [2, 0, 4, 1, 3]
    assert {e["id"]: e for e in listed} == {e["id"]: e for e in stored}


async def test_equal_times_keep_their_order_across_requests(api: Api) -> None:
    """Events of one time come in the order in which they were inserted."""
    path = await make_bucket(api)
    for n in range(4):
        await api.ok("POST", f"{path}/events", event(at(0), n, n=n))
    await api.ok("POST", f"{path}/events", [event(at(0), 0, n=n) for n in (4, 5)])

    listed = await api.ok("GET", f"{path}/events")

    assert [e["data"]["n"] for e in listed] == [0, 1, 2, 3, 4, 5]


async def test_an_empty_array_stores_nothing(api: Api) -> None:
    """An empty array is answered with an empty array."""
    path = await make_bucket(api)

    assert await api.ok("POST", f"{path}/events", []) == []
    assert await api.ok("GET", f"{path}/events") == []


async def test_what_is_not_sent_has_a_default(api: Api) -> None:
    """An event without anything is now, takes no time and has no data."""
    path = await make_bucket(api)
    before = datetime.now(UTC)

    (stored,) = await api.ok("POST", f"{path}/events", [{}])

    assert before <= datetime.fromisoformat(stored["timestamp"]) <= datetime.now(UTC)
    assert (stored["duration"], stored["data"]) == (0, {})


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("", [4, 3, 2, 1, 0]),
        ("limit=-1", [4, 3, 2, 1, 0]),
        ("limit=-7", [4, 3, 2, 1, 0]),
        ("limit=0", []),
        ("limit=2", [4, 3]),
        ("limit=5", [4, 3, 2, 1, 0]),
        ("limit=1000000000000", [4, 3, 2, 1, 0]),
    ],
)
async def test_limit_keeps_the_newest(
    api: Api, limit: str, expected: list[int]
) -> None:
    """A limit keeps that many of the newest; a negative one is none."""
    path = await make_bucket(api)
    await api.ok("POST", f"{path}/events", [event(at(n), 0, n=n) for n in range(5)])

    listed = await api.ok("GET", f"{path}/events?{limit}")

    assert [e["data"]["n"] for e in listed] == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        # The event lasts from 10 to 20.
        (None, None, (10, 10)),
        (0, 30, (10, 10)),
        (10, 20, (10, 10)),
        (12, 15, (12, 3)),
        (12.000001, 15.000002, (12.000001, 3.000001)),
        (20, 30, (20, 0)),
        (0, 10, (10, 0)),
        (20.000001, 30, None),
        (0, 9.999999, None),
        (15, 15, (15, 0)),
        (15, 14, None),
    ],
)
async def test_a_range_is_inclusive_and_clips(
    api: Api,
    start: float | None,
    end: float | None,
    expected: tuple[float, float] | None,
) -> None:
    """An event that touches the range is there, cut to it to the microsecond."""
    path = await make_bucket(api)
    await api.ok("POST", f"{path}/events", event(at(10), 10, a=1))
    query = "&".join(
        f"{name}={at(value).replace('+', '%2B')}"
        for name, value in (("start", start), ("end", end))
        if value is not None
    )

    listed = await api.ok("GET", f"{path}/events?{query}")

    assert without_ids(listed) == (
        [] if expected is None else [event(at(expected[0]), expected[1], a=1)]
    )
    assert await api.ok("GET", f"{path}/events/count?{query}") == len(listed)


async def test_a_long_event_is_found_days_after_its_start(api: Api) -> None:
    """An event that began long before the range and reaches it is there."""
    path = await make_bucket(api)
    await api.ok("POST", f"{path}/events", event("2024-03-01", 10 * 86_400, a=1))

    listed = await api.ok("GET", f"{path}/events?start=2024-03-10&end=2024-03-10T01")

    assert without_ids(listed) == [event("2024-03-10T00:00:00+00:00", 3600, a=1)]


@pytest.mark.parametrize(
    "query",
    [
        "start=2024-03-01T10:00:00Z",
        "start=2024-03-01T12:00:00%2B02:00",
        "start=2024-03-01T12:00:00+02:00",
        "start=2024-03-01T10:00:00",
        "start=2024-03-01T10:00",
        "start=2024-03-01 10:00:00",
        "start=2024-03-01%2010:00:00",
        "start=20240301T100000Z",
        "start=2024-02-20&end=2024-03-01T10:00:00.000000Z",
        "end=2024-03-02",
    ],
)
async def test_a_time_has_many_forms(api: Api, query: str) -> None:
    """Any form of ISO 8601 is a time: any offset, none for UTC, a plain date."""
    path = await make_bucket(api)
    await api.ok("POST", f"{path}/events", event(at(0), 0, a=1))

    assert len(await api.ok("GET", f"{path}/events?{query.replace(' ', '%20')}")) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=x", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=1e3", "limit"),
        ("limit=" + "9" * 100, "limit"),
        ("start=yesterday", "start"),
        ("start=", "start"),
        ("end=2024-13-01", "end"),
        ("end=99999-01-01", "end"),
        ("start=%ff%fe", "start"),
    ],
)
async def test_a_wrong_parameter_is_named(api: Api, query: str, field: str) -> None:
    """A query parameter that is not what it should be is a 400 that names it."""
    path = await make_bucket(api)

    answer = await api.get(f"{path}/events?{query}")

    assert answer.status == 400
    assert answer.message.startswith(field)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("2024-03-01T12:00:00.5+02:00", "2024-03-01T10:00:00.500000+00:00"),
        ("2024-03-01T10:00:00.000001Z", "2024-03-01T10:00:00.000001+00:00"),
        ("2024-03-01T10:00:00", "2024-03-01T10:00:00+00:00"),
        ("2024-03-01", "2024-03-01T00:00:00+00:00"),
        ("20240301T100000Z", "2024-03-01T10:00:00+00:00"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
async def test_times_are_kept_to_the_microsecond_in_utc(
    api: Api, sent: str, shown: str
) -> None:
    """Whatever form a timestamp has, it comes back in UTC, not a microsecond off."""
    path = await make_bucket(api)

    (stored,) = await api.ok("POST", f"{path}/events", event(sent, 0, a=1))

    assert stored["timestamp"] == shown
    assert (await api.ok("GET", f"{path}/events"))[0]["timestamp"] == shown


@pytest.mark.parametrize("duration", [0, 1, 0.000001, 12345.678901, 86_400 * 365])
async def test_durations_are_kept_to_the_microsecond(api: Api, duration: float) -> None:
    """A duration comes back as the same number."""
    path = await make_bucket(api)

    (stored,) = await api.ok("POST", f"{path}/events", event(at(0), duration))

    assert stored["duration"] == duration
    assert (await api.ok("GET", f"{path}/events"))[0]["duration"] == duration


@pytest.mark.parametrize(
    "data",
    [
        '{"z":1,"a":{"y":[],"b":null}}',
        '{"n":123456789012345678901234567890}',
        '{"n":-0.5,"m":1e-7,"k":1.7976931348623157e308}',
        '{"t":true,"f":false}',
        '{"lone":"\\ud83d","\\udc00":"key"}',
        '{"pair":"\\ud83e\\udd80","nul":"\\u0000","quote":"\\"\\\\\\/"}',
        '{"text":"ünïcode 日本 🦀\u2028"}',
        '{"":""}',
        '{"id":1,"timestamp":2,"duration":3,"data":4}',
    ],
)
async def test_data_comes_back_as_it_was_sent(api: Api, data: str) -> None:
    """Order of keys, values of numbers, any text: data is the sender's."""
    path = await make_bucket(api)
    body = f'{{"timestamp": "{at(0)}", "data": {data}}}'.encode()

    answer = await api.call("POST", f"{path}/events", body=body)

    assert answer.status == 200, answer.body
    for shown in (answer, await api.get(f"{path}/events")):
        # Compared as ordered pairs: a dict would forgive another order.
        got = json.loads(shown.body, object_pairs_hook=list)
        assert dict(got[0])["data"] == json.loads(data, object_pairs_hook=list)


async def test_one_event_is_shown_whole(api: Api) -> None:
    """An event asked for by its id is not clipped."""
    path = await make_bucket(api)
    (stored,) = await api.ok("POST", f"{path}/events", [event(at(0), 60, a=1)])

    assert await api.ok("GET", f"{path}/events/{stored['id']}") == stored


@pytest.mark.parametrize("event_id", ["999", "0", "-1", "abc", "1.0", "9" * 40, "%C3"])
async def test_an_unknown_event_is_null(api: Api, event_id: str) -> None:
    """An event that is not there is a 404 whose body is `null`."""
    path = await make_bucket(api)

    answer = await api.get(f"{path}/events/{event_id}")

    assert (answer.status, answer.json()) == (404, None)
    deleted = await api.delete(f"{path}/events/{event_id}")
    assert (deleted.status, deleted.json()) == (200, {"success": 0})


async def test_an_event_of_another_bucket_is_not_there(api: Api) -> None:
    """An id is looked for in its bucket only, to read and to delete."""
    path = await make_bucket(api, "one")
    other = await make_bucket(api, "two")
    (stored,) = await api.ok("POST", f"{path}/events", event(a=1))

    assert (await api.get(f"{other}/events/{stored['id']}")).status == 404
    assert await api.ok("DELETE", f"{other}/events/{stored['id']}") == {"success": 0}
    assert await api.ok("GET", f"{path}/events") == [stored]


async def test_a_deleted_event_is_gone(api: Api) -> None:
    """Deleting succeeds once; then the event is in no answer."""
    path = await make_bucket(api)
    one, two = await api.ok("POST", f"{path}/events", [event(at(0)), event(at(1))])

    assert await api.ok("DELETE", f"{path}/events/{one['id']}") == {"success": 1}
    assert await api.ok("DELETE", f"{path}/events/{one['id']}") == {"success": 0}

    assert await api.ok("GET", f"{path}/events") == [two]
    assert await api.ok("GET", f"{path}/events/count") == 1
    assert (await api.get(f"{path}/events/{one['id']}")).status == 404


async def test_an_event_with_a_known_id_is_corrected(api: Api) -> None:
    """Sending an event with the id of one in the bucket replaces what is shown."""
    path = await make_bucket(api)
    one, two = await api.ok(
        "POST", f"{path}/events", [event(at(0), 1, a=1), event(at(5), 1, a=2)]
    )

    edited = {**one, "duration": 2.5, "data": {"a": "edited"}}
    answer = await api.ok("POST", f"{path}/events", [edited, event(at(9), 0, new=1)])

    assert answer[0] == edited
    assert answer[1]["id"] not in {one["id"], two["id"]}
    listed = await api.ok("GET", f"{path}/events")
    assert listed == [answer[1], two, edited]


@pytest.mark.parametrize("event_id", [None, 999, 0, -5, 2**40 + 999_999, 10**30])
async def test_an_unknown_id_is_not_taken(api: Api, event_id: int | None) -> None:
    """An event with an id that the bucket has not is new, and gets its own."""
    path = await make_bucket(api)
    sent = {"id": event_id, **event(at(0), 1, a=1)}

    (stored,) = await api.ok("POST", f"{path}/events", sent)

    assert stored["id"] != event_id
    assert await api.ok("GET", f"{path}/events") == [stored]


async def test_the_id_of_another_bucket_is_not_taken(api: Api) -> None:
    """An event cannot be changed, or moved, through another bucket."""
    path = await make_bucket(api, "one")
    other = await make_bucket(api, "two")
    (mine,) = await api.ok("POST", f"{path}/events", event(at(0), 1, a=1))

    (new,) = await api.ok("POST", f"{other}/events", {**mine, "data": {"a": 2}})

    assert new["id"] != mine["id"]
    assert await api.ok("GET", f"{path}/events") == [mine]


BAD_EVENTS: list[tuple[bytes, str]] = [
    (b"", "body"),
    (b"{", "body: not valid JSON"),
    (b'{"data": {}', "line 1, column 12"),
    (b"\xef\xbb\xbf[]", "body"),
    (b'{"data": {"a": "\xff"}}', "data"),
    (b"\xff", "body"),
    (b"null", "body: expected an object"),
    (b"5", "body"),
    (b'"x"', "body"),
    (b"[5]", "[0]: expected an object, got a number"),
    (b"[{}, null]", "[1]: expected an object, got null"),
    (b"[[]]", "[0]: expected an object, got an array"),
    (b'{"colour": 1}', "colour"),
    (b'[{}, {"colour": 1}]', "[1].colour"),
    (b'{"timestamp": null}', "timestamp"),
    (b'{"timestamp": 5}', "timestamp: expected a time in ISO 8601, got a number"),
    (b'{"timestamp": "yesterday"}', "timestamp"),
    (b'{"timestamp": "2024-02-30T00:00:00Z"}', "timestamp"),
    (b'{"timestamp": "0000-01-01T00:00:00Z"}', "timestamp"),
    (b'{"timestamp": "0001-01-01T00:00:00+14:00"}', "timestamp"),
    (b'{"timestamp": "9999-12-31T23:59:59-01:00"}', "timestamp"),
    (b'{"timestamp": "12024-01-01T00:00:00Z"}', "timestamp"),
    (b'{"timestamp": "\\ud800"}', "timestamp"),
    (b'[{}, {}, {}, {"duration": "5"}]', "[3].duration: expected a number of seconds"),
    (b'{"duration": null}', "duration"),
    (b'{"duration": true}', "duration"),
    (b'{"duration": -1}', "duration"),
    (b'{"duration": -0.000001}', "duration"),
    (b'{"duration": NaN}', "duration"),
    (b'{"duration": Infinity}', "duration"),
    (b'{"duration": 1e400}', "duration"),
    (b'{"duration": 1e300}', "duration"),
    (b'{"duration": 1e12}', "duration"),
    (b'{"duration": ' + b"9" * 400 + b"}", "duration"),
    (b'{"duration": ' + b"9" * 5000 + b"}", "body"),
    (b'{"data": null}', "data"),
    (b'{"data": []}', "data: expected an object, got an array"),
    (b'{"data": "x"}', "data"),
    (b'{"data": {"x": NaN}}', "data"),
    (b'{"data": {"x": [-Infinity]}}', "data"),
    (b'{"data": {"x": 1e400}}', "data"),
    (b'[{}, {"data": {"x": {"y": 1e999}}}]', "[1].data"),
    (b'{"data": {"x": "' + b"a" * 300_000 + b'"}}', "data"),
    (b'{"data": {"x": ' + b"[" * 100 + b"]" * 100 + b"}}", "data"),
    (b'{"data": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "deep"),
    (b"[" * 100_000, "deep"),
    (b'{"id": "5"}', "id"),
    (b'{"id": 5.5}', "id"),
    (b'{"id": true}', "id"),
]


@pytest.mark.parametrize(("body", "message"), BAD_EVENTS)
async def test_a_wrong_event_is_refused(api: Api, body: bytes, message: str) -> None:
    """Whatever is wrong with a body, the answer is a 400 that names it."""
    path = await make_bucket(api)

    answer = await api.call("POST", f"{path}/events", body=body)

    assert answer.status == 400
    assert message in answer.message
    assert await api.ok("GET", f"{path}/events") == []


async def test_one_wrong_event_stops_the_whole_array(api: Api) -> None:
    """An array is stored whole or not at all, corrections included."""
    path = await make_bucket(api)
    (one,) = await api.ok("POST", f"{path}/events", event(at(0), 1, a=1))
    for wrong in (
        b'{"duration": -1}',
        b'{"data": {"x": 1e400}}',
        b'{"timestamp": "9999-12-31T23:59:59Z", "duration": 5}',
    ):
        edit = json.dumps({**one, "data": {"a": 2}}).encode()
        body = b"[{}, " + edit + b", " + wrong + b"]"
        answer = await api.call("POST", f"{path}/events", body=body)
        assert answer.status == 400
        assert answer.message.startswith("[2].")

    assert await api.ok("GET", f"{path}/events") == [one]


async def test_a_large_answer_is_streamed(api: Api) -> None:
    """Thousands of events go in and come out, in one request each."""
    path = await make_bucket(api)
    sent = [event(at(n), 1, title=f"title {n % 100}") for n in range(12_000)]

    stored = await api.ok("POST", f"{path}/events", sent)

    assert without_ids(stored) == sent
    answer = await api.get(f"{path}/events")
    assert answer.json() == stored[::-1]
    assert "Content-Length" not in answer.headers
    head = await api.call("HEAD", f"{path}/events")
    assert (head.status, head.body) == (200, b"")
    # The connection is still in step.
    assert await api.ok("GET", f"{path}/events/count") == 12_000


async def test_a_page_may_read_a_streamed_answer_if_allowed(api: Api) -> None:
    """The headers for web pages are on streamed answers too."""
    path = await make_bucket(api)
    sent = [event(at(n), 1, title=f"title {n}") for n in range(6_000)]
    await api.ok("POST", f"{path}/events", sent)

    answer = await api.get(f"{path}/events", Origin="moz-extension://abc")

    assert answer.headers["Access-Control-Allow-Origin"] == "moz-extension://abc"


async def test_head_answers_as_get_does(api: Api) -> None:
    """HEAD gives GET's status and type, without a body."""
    path = await make_bucket(api)
    (stored,) = await api.ok("POST", f"{path}/events", event(a=1))
    for url in (
        path,
        "/api/0/buckets/",
        "/api/0/info",
        f"{path}/events",
        f"{path}/events/count",
        f"{path}/events/{stored['id']}",
        f"{path}/events/7",
        "/api/0/activity/test",
        "/",
    ):
        get, head = await api.get(url), await api.call("HEAD", url)
        assert (head.status, head.body) == (get.status, b"")
        for name in ("Content-Type", "Content-Length"):
            assert head.headers[name] == get.headers[name]


async def test_acknowledged_events_are_there_after_a_restart(tmp_path: Path) -> None:
    """What was answered is read back from the disk by the next start."""
    directory = tmp_path / "vault"
    async with running(directory) as api:
        path = await make_bucket(api)
        await api.ok("POST", f"{path}/events", [event(at(n), 1, n=n) for n in range(9)])
        (gone, *_) = await api.ok("GET", f"{path}/events")
        await api.ok("DELETE", f"{path}/events/{gone['id']}")
        before = await api.ok("GET", f"{path}/events")
        device = await api.ok("GET", "/api/0/info")
    async with running(directory) as api:
        assert await api.ok("GET", f"{path}/events") == before
        assert len(before) == 8
        assert await api.ok("GET", "/api/0/info") == device


async def test_requests_at_once_do_not_disturb_each_other(api: Api) -> None:
    """Many clients write one bucket at the same time, and nothing is lost."""
    path = await make_bucket(api)

    async def write(client: int) -> list[Any]:
        stored = []
        for n in range(10):
            sent = event(at(n), 0, client=client, n=n)
            stored += await api.ok("POST", f"{path}/events", sent)
        return stored

    stored = [
        kept
        for answers in await asyncio.gather(*(write(c) for c in range(8)))
        for kept in answers
    ]

    listed = await api.ok("GET", f"{path}/events")
    assert sorted(listed, key=lambda e: e["id"]) == sorted(
        stored, key=lambda e: e["id"]
    )
    assert len({e["id"] for e in listed}) == 80
