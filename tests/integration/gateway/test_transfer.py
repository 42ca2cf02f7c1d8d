"""Import and export over HTTP: ActivityWatch's JSON, in and out, streamed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData

from awvault.gateway import GatewaySettings
from awvault.gateway import transfer as routes
from tests.integration.gateway.running import (
    Api,
    event,
    make_bucket,
    running,
    without_ids,
)

IMPORT = "/api/0/import"


def export_of(*events: Any, **fields: Any) -> dict[str, Any]:
    bucket = {
        "id": "window",
        "created": "2024-01-01T00:00:00+00:00",
        "name": None,
        "type": "currentwindow",
        "client": "aw-watcher-window",
        "hostname": "box",
        "data": {"device_id": "x"},
        "events": list(events),
    }
    return {"buckets": {"window": bucket | fields}}


async def events_of(api: Api, bucket: str = "window") -> list[dict[str, Any]]:
    found = await api.ok("GET", f"/api/0/buckets/{bucket}/events")
    return without_ids(found)[::-1]


async def send_form(
    api: Api, *files: bytes, field: str = "buckets.json", **headers: str
) -> tuple[int, str]:
    form = FormData(quote_fields=False)
    for at, file in enumerate(files):
        form.add_field(f"{field}{at}", file, filename=f"{at}.json")
    url = f"http://127.0.0.1:{api.port}{IMPORT}"
    async with api.session.post(url, data=form, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_an_import_twice_adds_nothing(api: Api) -> None:
    """Buckets come with their data and created, events as they were; once."""
    given = [
        event("2024-03-01T10:00:00+00:00", 1.5, app="a"),
        event("2024-03-01T10:00:02.000123+00:00", 0.0, app="ü", title="b} ,{"),
        event("2024-03-01T10:00:02.000123+00:00", 0.0, app="ü", title="b} ,{"),
    ]

    assert (await api.post(IMPORT, export_of(*given))).body == b"null"
    assert (await api.post(IMPORT, export_of(*reversed(given)))).body == b"null"

    assert await events_of(api) == given
    bucket = await api.ok("GET", "/api/0/buckets/window")
    assert bucket["data"] == {"device_id": "x"}
    assert bucket["created"] == "2024-01-01T00:00:00+00:00"


async def test_an_import_merges_into_a_bucket_that_exists(api: Api) -> None:
    """The bucket stays as it was; what is new is added to what is there."""
    path = await make_bucket(api)
    here = event("2024-03-01T10:00:00+00:00", 1.0, app="a")
    await api.ok("POST", f"{path}/events", here)
    before = await api.ok("GET", path)
    other = event("2024-03-01T11:00:00+00:00", 1.0, app="b")

    await api.ok("POST", IMPORT, export_of(here, other, type="changed"))

    assert await events_of(api) == [here, other]
    assert await api.ok("GET", path) == before


async def test_an_event_that_went_on_is_the_same_event(api: Api) -> None:
    """The longer of the two stays, whichever comes first."""
    short = event("2024-03-01T10:00:00+00:00", 1.0, app="a")
    long = event("2024-03-01T10:00:00+00:00", 9.0, app="a")

    for given in (short, long, short):
        await api.ok("POST", IMPORT, export_of(given))

    assert await events_of(api) == [long]


async def test_a_form_may_hold_several_files(api: Api) -> None:
    """As the web interface sends it; the name of the field says nothing."""
    first = json.dumps(export_of(event(app="a"))).encode()
    second = json.dumps(export_of(event(app="b"))).encode()

    status, _ = await send_form(api, first, second, field="whatever")

    assert status == 200
    assert len(await events_of(api)) == 2


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=["origin", "fetch metadata"],
)
async def test_a_form_of_another_site_is_refused(
    api: Api, headers: dict[str, str]
) -> None:
    """A browser asks nobody before it sends a form: nothing of it is taken."""
    body = json.dumps(export_of(event(app="a"))).encode()

    status, _ = await send_form(api, body, **headers)

    assert status == 403
    assert await api.ok("GET", "/api/0/buckets/") == {}


WRONG = [
    (b"", "empty"),
    (b" " * 600_000, "byte 600000"),
    (
        b'{"buckets":{"a":{"type":"t"'
        + b",".join([b""] + [b'"k%d":1' % k for k in range(99)])
        + b"}]",
        "expected",
    ),
    (b"[]", "byte 0"),
    (b"hello", "byte 0"),
    (b"{}", "buckets"),
    (b'{"buckets":[]}', 'expected "{"'),
    (b'{"buckets":{"a":1}}', 'buckets["a"]: byte 16: expected an object'),
    (b'{"buckets":{"a":{"events":[]}}}', 'buckets["a"].type: is missing'),
    (b'{"buckets":{"a":{"type":1,"events":[]}}}', "type: expected a string"),
    (b'{"buckets":{"a":{"type":"t","events":{}}}}', "events: expected an array"),
    (b'{"buckets":{"a":{"type":"t","created":"x"}}}', "created"),
    (b'{"buckets":{"a":{"type":"t","data":[]}}}', "data"),
    (b'{"buckets":{"a":{"type":"t","events":[1]}}}', "events[0]: expected an object"),
    (b'{"buckets":{"a":{"type":"t","events":[{},]}}}', "events[0].timestamp"),
    (b'{"buckets":{"a":{"type":"t","events":[}]}}}', 'expected "]"'),
    (b'{"buckets":{"a":{"type":"t"}}} more', "nothing more"),
    (b'{"buckets":{"a":{"type":"t","events":[{"timestamp":"2024', "cut off"),
    (b'{"buckets":{"a":{"type":"t"', "cut off"),
    (b'{"buckets":{"a', "cut off"),
    (b'{"format":"awvault-lines","version":9}', "version 9"),
]


@pytest.mark.parametrize(("body", "says"), WRONG, ids=range(len(WRONG)))
async def test_what_is_no_export_is_refused_with_its_place(
    api: Api, body: bytes, says: str
) -> None:
    """A 400 that says where, as JSON and as a form; no bucket is left half made."""
    answer = await api.call("POST", IMPORT, body=body)
    status, text = await send_form(api, body)

    assert answer.status == status == 400
    assert says in answer.message
    assert says in json.loads(text)["message"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"timestamp": "yesterday"}, "timestamp: expected a time"),
        ({"timestamp": 5}, "timestamp: expected a time"),
        ({"duration": "1"}, "duration: expected a number"),
        ({"duration": float("nan")}, "duration: expected a number"),
        ({"duration": 1e30}, "duration"),
        ({"data": [1]}, "data: expected an object"),
        ({"data": {"a": {"b": float("inf")}}}, "data.a.b: NaN, Infinity"),
        ({"data": {"a": "x" * 300_000}}, "data"),
        ({"more": 1}, "more: is not a field"),
    ],
    ids=range(9),
)
async def test_a_wrong_event_is_named(api: Api, wrong: Any, says: str) -> None:
    """Its bucket, its number and its byte; the mended file then goes in whole."""
    good = [event(f"2024-03-01T10:00:0{at}+00:00", app="a") for at in range(3)]
    answer = await api.post(IMPORT, export_of(*good[:2], good[2] | wrong))

    assert answer.status == 400
    assert 'buckets["window"].events[2]' in answer.message
    assert says in answer.message
    assert "(byte " in answer.message

    await api.ok("POST", IMPORT, export_of(*good))
    assert await events_of(api) == good


async def test_deep_nesting_is_refused(api: Api) -> None:
    """In data, and outside of every field that is looked at."""
    deep = b"[" * 100_000 + b"]" * 100_000
    for body in (
        b'{"buckets":{"a":{"type":"t","events":[{"timestamp":"2024-03-01",'
        b'"data":{"a":%b}}]}}}' % deep,
        b'{"buckets":{"a":{"type":"t","data":{"a":%b}}}}' % deep,
        b'{"buckets":{"a":%b}}' % deep,
    ):
        answer = await api.call("POST", IMPORT, body=body)
        assert answer.status == 400
    assert (await api.call("POST", IMPORT, body=b'{"a":' + deep + b"}")).status == 400


async def test_rare_forms_are_taken(api: Api) -> None:
    """Lone surrogates, other times, keys in any order and twice, negative times."""
    body = rb"""{"buckets": {"a": {
        "events": [
            {"data": {"t": "\ud83d"}, "timestamp": "20240301T100000"},
            {"timestamp": "2024-03-01T10:00:01Z", "duration": -5, "data": {"x": 1,
             "x": 2}, "id": 12}
        ],
        "unknown": [{"]": "}"}, null], "last_updated": null,
        "type": "first", "type": "second", "client": null}}, "version": 3}"""

    assert (await api.call("POST", IMPORT, body=body)).status == 200

    assert await events_of(api, "a") == [
        event("2024-03-01T10:00:00+00:00", 0.0, t="\ud83d"),
        event("2024-03-01T10:00:01+00:00", 0.0, x=2),
    ]
    assert (await api.ok("GET", "/api/0/buckets/a"))["type"] == "second"


async def test_what_came_before_an_error_is_here_and_is_counted(api: Api) -> None:
    """A file that is cut off goes in as far as it goes, and whole the next time."""
    count = 30_000
    given = [
        event(f"2024-03-01T{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}+00:00", n=at)
        for at in range(count)
    ]
    body = json.dumps(export_of(*given)).encode()

    answer = await api.call("POST", IMPORT, body=body[: len(body) // 2])
    assert answer.status == 400
    here = await api.ok("GET", "/api/0/buckets/window/events/count")
    assert 0 < here < count
    assert f"{here} events and 1 bucket added" in answer.message

    await api.ok("POST", IMPORT, export_of(*given))
    assert await api.ok("GET", "/api/0/buckets/window/events/count") == count


async def test_a_form_that_is_none_is_refused(api: Api) -> None:
    """No boundary, another boundary, no file, an encoding, a form in a form."""
    form = b'--x\r\nContent-Disposition: form-data; name="f"\r\n%b\r\n{}\r\n--x--\r\n'
    for kind, body, status in (
        ("multipart/form-data", b"{}", 400),
        ("multipart/form-data; boundary=x", b"{}", 400),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400),
        ("multipart/form-data; boundary=x", form % b"", 400),
        (
            "multipart/form-data; boundary=x",
            form % b"Content-Transfer-Encoding: base64\r\n",
            415,
        ),
        ("text/plain", b"{}", 415),
        ("", b"{}", 415),
    ):
        answer = await api.call(
            "POST", IMPORT, body=body, headers={"Content-Type": kind}
        )
        assert answer.status == status, (kind, body)
        assert answer.message


async def test_a_body_has_a_limit(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that does not say how long it is."""
    monkeypatch.setattr(routes, "IMPORT_BYTES_MAX", 100_000)
    body = json.dumps(export_of(*[event(n=at) for at in range(3_000)])).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 1_000):
            yield body[at : at + 1_000]

    assert (await api.call("POST", IMPORT, body=body)).status == 413
    url = f"http://127.0.0.1:{api.port}{IMPORT}"
    async with api.session.post(
        url, data=pieces(), headers={"Content-Type": "application/json"}
    ) as answer:
        assert answer.status == 413


async def test_a_body_that_stops_is_given_up(tmp_path: Path) -> None:
    """Not the whole body has a deadline, but each pause in it."""
    settings = GatewaySettings(body_seconds_max=0.05)
    async with running(tmp_path, settings) as api:
        answer = await api.raw(
            b"POST /api/0/import HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            b'{"buckets":'
        )
    assert b" 408 " in answer


async def test_a_form_that_waits_for_a_100_gets_it(api: Api) -> None:
    """curl sends large forms so."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        b"POST /api/0/import HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Expect: 100-continue\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 90\r\n\r\n"
    )
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.close()


# -- export -------------------------------------------------------------------


async def test_an_export_can_be_imported_again(api: Api, tmp_path: Path) -> None:
    """Everything, in ActivityWatch's form: no ids, a file name, no length."""
    given = [event(f"2024-03-01T10:{at // 60:02}:{at % 60:02}+00:00", 0.5, n=at)
             for at in range(3_000)]  # fmt: skip
    await api.ok("POST", IMPORT, export_of(*given))
    path = "/api/0/buckets/" + "empty%2F%22%C3%BC"
    await api.ok(
        "POST", path, {"type": "t", "client": "c", "hostname": "h", "data": {"k": 1}}
    )

    answer = await api.get("/api/0/export")

    assert answer.status == 200
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename=aw-buckets-export.json"
    )
    assert "Content-Length" not in answer.headers
    exported = answer.json()["buckets"]
    assert list(exported) == ['empty/"ü', "window"]
    assert exported["window"] == export_of(*given)["buckets"]["window"]
    assert exported['empty/"ü']["events"] == []
    async with running(tmp_path / "other") as other:
        await other.call("POST", IMPORT, body=answer.body)
        again = (await other.get("/api/0/export")).json()["buckets"]
    assert again == exported


async def test_an_export_of_one_bucket(api: Api) -> None:
    """Its file has its name; a bucket that is not there is a 404."""
    await api.ok("POST", IMPORT, export_of(event(app="a")))
    await api.ok("POST", "/api/0/buckets/b%20%C3%BC",
                 {"type": "t", "client": "c", "hostname": "h"})  # fmt: skip

    one = await api.get("/api/0/buckets/window/export")
    other = await api.get("/api/0/buckets/b%20%C3%BC/export")
    head = await api.call("HEAD", "/api/0/buckets/window/export")

    assert list(one.json()["buckets"]) == ["window"]
    assert one.headers["Content-Disposition"] == (
        "attachment; filename=aw-bucket-export_window.json"
    )
    assert list(other.json()["buckets"]) == ["b ü"]
    assert other.headers["Content-Disposition"].endswith(
        "filename*=UTF-8''aw-bucket-export_b%20%C3%BC.json"
    )
    assert (head.status, head.body) == (200, b"")
    assert (await api.get("/api/0/buckets/none/export")).status == 404
