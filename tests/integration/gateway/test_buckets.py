"""Buckets, as ActivityWatch's clients make, list and delete them."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from awvault.gateway import GatewaySettings
from tests.integration.gateway.running import BUCKET, Api, event, make_bucket, running


async def test_a_bucket_is_made_once(api: Api) -> None:
    """Making a bucket answers 200 `{}`, making it again an empty 304."""
    made = await api.post("/api/0/buckets/window", BUCKET)
    again = await api.post(
        "/api/0/buckets/window", {"type": "x", "client": "y", "hostname": "z"}
    )

    assert (made.status, made.json()) == (200, {})
    assert (again.status, again.body) == (304, b"")
    assert (await api.ok("GET", "/api/0/buckets/window"))["type"] == "currentwindow"


async def test_a_bucket_is_shown_as_it_was_made(api: Api) -> None:
    """A bucket has exactly the fields that ActivityWatch's has."""
    await make_bucket(api)

    shown = await api.ok("GET", "/api/0/buckets/window")

    created = shown.pop("created")
    assert created.endswith("+00:00")
    assert shown == {"id": "window", "name": None, "data": {}, **BUCKET}


@pytest.mark.parametrize("path", ["/api/0/buckets", "/api/0/buckets/"])
async def test_the_list_names_every_bucket(api: Api, path: str) -> None:
    """The list has each bucket by id, with the end of its newest event if any."""
    await make_bucket(api, "empty")
    await make_bucket(api, "full")
    await api.ok(
        "POST",
        "/api/0/buckets/full/events",
        [event("2024-03-01T10:00:00Z", 5.5), event("2024-03-01T09:00:00Z", 1)],
    )

    listed = await api.ok("GET", path)

    assert sorted(listed) == ["empty", "full"]
    assert "last_updated" not in listed["empty"]
    assert listed["full"]["last_updated"] == "2024-03-01T10:00:05.500000+00:00"
    assert listed["full"]["id"] == "full"


async def test_local_stands_for_this_machine(tmp_path: Path) -> None:
    """A watcher that sends `!local` gets this machine's name and device id."""
    settings = GatewaySettings(hostname="my-box")
    async with running(tmp_path / "vault", settings) as api:
        await api.ok(
            "POST",
            "/api/0/buckets/b",
            {"type": "t", "client": "c", "hostname": "!local"},
        )
        shown = await api.ok("GET", "/api/0/buckets/b")
        info = await api.ok("GET", "/api/0/info")

    assert shown["hostname"] == "my-box"
    assert shown["data"] == {"device_id": info["device_id"]}


async def test_created_and_data_are_kept(api: Api) -> None:
    """What the sender says of a bucket's creation and data is kept; the rest not."""
    await api.ok(
        "POST",
        "/api/0/buckets/b",
        {
            **BUCKET,
            "id": "another",
            "created": "2020-01-01T02:00:00+02:00",
            "data": {"b": 1, "a": [1.5]},
            "events": [],
        },
    )

    shown = await api.ok("GET", "/api/0/buckets/b")

    assert shown["created"] == "2020-01-01T00:00:00+00:00"
    assert shown["data"] == {"b": 1, "a": [1.5]}
    assert shown["id"] == "b"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"client": "c", "hostname": "h"}', "type"),
        (b'{"type": "t", "hostname": "h"}', "client"),
        (b'{"type": "t", "client": "c"}', "hostname"),
        (b'{"type": 1, "client": "c", "hostname": "h"}', "type"),
        (b'{"type": "t", "client": null, "hostname": "h"}', "client"),
        (b'{"type": "t", "client": "c", "hostname": ["h"]}', "hostname"),
        (b'{"type": "t", "client": "c", "hostname": "h", "data": 1}', "data"),
        (b'{"type": "t", "client": "c", "hostname": "h", "data": {"x": NaN}}', "data"),
        (b'{"type": "t", "client": "c", "hostname": "h", "created": 5}', "created"),
        (b'{"type": "t", "client": "c", "hostname": "h", "created": "x"}', "created"),
        (b'{"type": "\\ud800", "client": "c", "hostname": "h"}', "type"),
        (b'{"type": "%s", "client": "c", "hostname": "h"}' % (b"t" * 5000), "type"),
        (b"[]", "body"),
        (b'"x"', "body"),
        (b"", "body"),
        (b"{", "body"),
    ],
)
async def test_a_wrong_bucket_is_refused(api: Api, body: bytes, field: str) -> None:
    """A bucket that lacks or mistakes a field is a 400 that names it."""
    answer = await api.call("POST", "/api/0/buckets/b", body=body)

    assert answer.status == 400
    assert field in answer.message
    assert await api.ok("GET", "/api/0/buckets/") == {}


async def test_deleting_a_bucket_wants_force(api: Api) -> None:
    """Without `force=1` a bucket stays, and the answer is ActivityWatch's 401."""
    path = await make_bucket(api)

    for query in ("", "?force=0", "?force=true"):
        refused = await api.delete(path + query)
        assert refused.status == 401
        assert refused.message == (
            "Deleting buckets is only permitted if aw-server is running in testing"
            " mode or if ?force=1"
        )
    assert (await api.get(path)).status == 200


async def test_a_deleted_bucket_is_gone_and_its_name_is_free(api: Api) -> None:
    """Nothing of a deleted bucket is seen, nor in a new one of the same name."""
    path = await make_bucket(api)
    stored = await api.ok("POST", f"{path}/events", event(a=1))

    answer = await api.delete(f"{path}?force=1")

    assert answer.status == 200
    assert "awvault undelete" in answer.message
    assert (await api.get(path)).status == 404
    assert (await api.get(f"{path}/events")).status == 404
    assert (await api.delete(f"{path}?force=1")).status == 404
    await make_bucket(api)
    assert await api.ok("GET", f"{path}/events") == []
    assert (await api.get(f"{path}/events/{stored[0]['id']}")).status == 404


async def test_testing_mode_deletes_without_force(tmp_path: Path) -> None:
    """In testing mode a bucket is deleted without `force`."""
    async with running(tmp_path / "vault", GatewaySettings(testing=True)) as api:
        path = await make_bucket(api)
        assert "hidden" in (await api.delete(path)).message
        assert (await api.ok("GET", "/api/0/info"))["testing"] is True


@pytest.mark.parametrize(
    "bucket_id",
    [
        "aw-watcher-window_my host",
        "a/b",
        "/",
        "a%2Fb",
        "100%",
        "%25",
        "a+b",
        "{x}",
        "ünïcode 日本 🦀",
        "a?b#c;d&e=f",
        "line\nbreak\ttab\0nul",
        '"quoted"\\',
        "...",
        "events",
        "x" * 500,
    ],
)
async def test_any_text_is_a_bucket_id(api: Api, bucket_id: str) -> None:
    """An id is any text, percent-encoded in the path, a slash among it."""
    path = f"/api/0/buckets/{quote(bucket_id, safe='')}"

    assert await api.ok("POST", path, BUCKET) == {}
    assert (await api.ok("GET", path))["id"] == bucket_id
    assert list(await api.ok("GET", "/api/0/buckets/")) == [bucket_id]
    await api.ok("POST", f"{path}/events", event(a=1))
    assert len(await api.ok("GET", f"{path}/events")) == 1
    assert await api.ok("GET", f"{path}/events/count") == 1


async def test_an_endless_bucket_id_is_refused(api: Api) -> None:
    """An id beyond the limit is a 400 that says the limit."""
    answer = await api.post("/api/0/buckets/" + "x" * 5000, BUCKET)

    assert answer.status == 400
    assert "512" in answer.message


@pytest.mark.parametrize(
    ("method", "path", "value"),
    [
        ("GET", "", None),
        ("GET", "/events", None),
        ("GET", "/events/count", None),
        ("GET", "/events/1", None),
        ("DELETE", "/events/1", None),
        ("DELETE", "?force=1", None),
        ("PUT", "", {}),
        ("POST", "/events", event()),
        ("POST", "/events", []),
        ("POST", "/heartbeat?pulsetime=1", event()),
    ],
)
async def test_an_unknown_bucket_is_a_404(
    api: Api, method: str, path: str, value: Any
) -> None:
    """Whatever is asked of a bucket that does not exist, its name comes back."""
    answer = await api.call(method, f"/api/0/buckets/nobody{path}", value)

    assert answer.status == 404
    assert answer.message == "There's no bucket named nobody"


async def test_a_bucket_cannot_be_patched(api: Api) -> None:
    """A method that a route has not is a 405 with what it has."""
    path = await make_bucket(api)

    answer = await api.call("PATCH", path, BUCKET)

    assert answer.status == 405
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, POST, PUT"
    assert answer.message


async def test_a_bucket_is_changed_by_put(api: Api) -> None:
    """What is named changes, what is left out stays, and other keys are ignored."""
    path = await make_bucket(api)
    before = await api.ok("GET", path)
    await api.ok("POST", f"{path}/events", event(a=1))

    assert await api.ok("PUT", path, {}) == {}
    assert await api.ok("GET", path) == before
    change = {"type": "afk", "data": {"k": [1]}, "id": "x", "name": "n"}
    assert await api.ok("PUT", path, change) == {}
    changed = before | {"type": "afk", "data": {"k": [1]}}
    assert await api.ok("GET", path) == changed
    assert await api.ok("PUT", path, {"hostname": "!local", "client": None}) == {}
    local = await api.ok("GET", path)
    assert local["hostname"] == (await api.ok("GET", "/api/0/info"))["hostname"]
    assert local["client"] == before["client"]
    assert await api.ok("GET", f"{path}/events/count") == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"type": 5}', "type"),
        (b'{"client": ["c"]}', "client"),
        (b'{"hostname": "\\ud800"}', "hostname"),
        (b'{"type": "%s"}' % (b"t" * 5000), "type"),
        (b'{"data": []}', "data"),
        (b'{"data": {"x": NaN}}', "data"),
        (b"[]", "body"),
        (b"", "body"),
    ],
)
async def test_a_wrong_change_of_a_bucket_is_refused(
    api: Api, body: bytes, field: str
) -> None:
    """It is a 400 that names the field, and the bucket is as it was."""
    path = await make_bucket(api)
    before = await api.ok("GET", path)

    answer = await api.call("PUT", path, body=body)

    assert answer.status == 400
    assert field in answer.message
    assert await api.ok("GET", path) == before


async def test_an_address_that_is_none_is_said(api: Api) -> None:
    """A 404 that says where to look."""
    for name in ("exports", "import/x", "buckets/a/b/c"):
        answer = await api.get(f"/api/0/{name}")
        assert answer.status == 404
        assert "nothing at this address" in answer.message
