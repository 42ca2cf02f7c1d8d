"""Heartbeats: the rule by which they merge, and what they refuse."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.gateway.running import Api, event, make_bucket


def beat(second: float, duration: float = 0.0, **data: Any) -> dict[str, Any]:
    start = datetime(2024, 3, 1, 10, tzinfo=UTC) + timedelta(seconds=second)
    return event(start.isoformat(), duration, **data)


async def send(api: Api, path: str, sent: dict[str, Any], pulsetime: float = 5) -> Any:
    return await api.ok("POST", f"{path}/heartbeat?pulsetime={pulsetime}", sent)


async def test_a_first_heartbeat_is_an_event(api: Api) -> None:
    """The answer is the event as it is stored, with its id."""
    path = await make_bucket(api)

    stored = await send(api, path, beat(0, 1, app="a"))

    assert isinstance(stored.pop("id"), int)
    assert stored == beat(0, 1, app="a")


@pytest.mark.parametrize(
    ("second", "duration", "merged"),
    [
        # After an event from 0 to 10, with a pulsetime of 5.
        (10, 0, 10),
        (12, 0, 12),
        (15, 0, 15),
        (15.000001, 0, None),
        (12, 7, 19),
        (3, 2, 10),
        (0, 0, 10),
        (0, 30, 30),
        (-0.000001, 0, None),
        (-60, 0, None),
    ],
)
async def test_heartbeats_merge_within_the_pulsetime(
    api: Api, second: float, duration: float, merged: float | None
) -> None:
    """Equal data from the start to pulsetime after the end extends, both included."""
    path = await make_bucket(api)
    first = await send(api, path, beat(0, 10, app="a"))

    second_ = await send(api, path, beat(second, duration, app="a"))

    listed = await api.ok("GET", f"{path}/events")
    if merged is None:
        assert second_["id"] != first["id"]
        assert len(listed) == 2
    else:
        assert second_ == {**first, "duration": merged}
        assert listed == [second_]


async def test_other_data_starts_a_new_event(api: Api) -> None:
    """Heartbeats of different data never merge; the order of keys is no difference."""
    path = await make_bucket(api)
    first = await send(api, path, beat(0, 0, a=1, b=2))
    same = await send(api, path, beat(1, 0, b=2.0, a=1))
    other = await send(api, path, beat(2, 0, a=1, b=True))

    assert same["id"] == first["id"]
    assert other["id"] != first["id"]


async def test_an_older_heartbeat_becomes_the_last(api: Api) -> None:
    """A late heartbeat is a new event, and the next merges with that one or none."""
    path = await make_bucket(api)
    await send(api, path, beat(100, 0, app="a"))
    late = await send(api, path, beat(50, 0, app="a"))
    after = await send(api, path, beat(52, 0, app="a"))
    on_time = await send(api, path, beat(101, 0, app="a"))

    assert after["id"] == late["id"]
    assert on_time["id"] != late["id"]
    assert len(await api.ok("GET", f"{path}/events")) == 3


async def test_an_inserted_event_is_never_overwritten(api: Api) -> None:
    """A heartbeat extends the event it is equal to, not whatever is newest."""
    path = await make_bucket(api)
    await send(api, path, beat(0, 0, app="a"))
    (inserted,) = await api.ok("POST", f"{path}/events", beat(3, 0, x="ev"))

    await send(api, path, beat(4, 0, app="a"))

    listed = await api.ok("GET", f"{path}/events")
    assert inserted in listed
    assert len(listed) == 3


async def test_a_pulsetime_of_zero_merges_equal_times(api: Api) -> None:
    """With a pulsetime of 0 only a heartbeat within the event extends it."""
    path = await make_bucket(api)
    first = await send(api, path, beat(0, 0, a=1), 0)
    same = await send(api, path, beat(0, 2, a=1), 0)
    end = await send(api, path, beat(2, 1, a=1), 0)
    later = await send(api, path, beat(3.5, 0, a=1), 0)

    assert first["id"] == same["id"] == end["id"] != later["id"]
    assert end["duration"] == 3


@pytest.mark.parametrize("query", ["", "?", "?pulse=1"])
async def test_pulsetime_is_required(api: Api, query: str) -> None:
    """Without a pulsetime the answer is ActivityWatch's 400."""
    path = await make_bucket(api)

    answer = await api.post(f"{path}/heartbeat{query}", beat(0))

    assert answer.status == 400
    assert answer.message == "Missing required parameter pulsetime"


@pytest.mark.parametrize(
    "value", ["", "x", "nan", "inf", "-1", "-0.1", "1e300", "1;2", "%31%30x", "9" * 500]
)
async def test_a_wrong_pulsetime_is_refused(api: Api, value: str) -> None:
    """A pulsetime is a number of seconds, not negative and not absurd."""
    path = await make_bucket(api)

    answer = await api.post(f"{path}/heartbeat?pulsetime={value}", beat(0))

    assert answer.status == 400
    assert answer.message.startswith("pulsetime")
    assert await api.ok("GET", f"{path}/events") == []


@pytest.mark.parametrize("query", ["pulsetime=2", "a=b&pulsetime=2.0", "pulsetime=%32"])
async def test_pulsetime_has_many_forms(api: Api, query: str) -> None:
    """A pulsetime is found among other parameters, and however it is encoded."""
    path = await make_bucket(api)
    await api.ok("POST", f"{path}/heartbeat?{query}", beat(0, 0, a=1))
    await api.ok("POST", f"{path}/heartbeat?{query}", beat(2, 0, a=1))

    assert await api.ok("GET", f"{path}/events/count") == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "body"),
        (b"[]", "body: expected an object, got an array"),
        (b"{}", "timestamp: is missing"),
        (b'{"timestamp": 5}', "timestamp"),
        (b'{"timestamp": "x"}', "timestamp"),
        (b'{"timestamp": "2024-01-01T00:00:00Z", "duration": "1"}', "duration"),
        (b'{"timestamp": "2024-01-01T00:00:00Z", "duration": -1}', "duration"),
        (b'{"timestamp": "2024-01-01T00:00:00Z", "data": []}', "data"),
        (b'{"timestamp": "2024-01-01T00:00:00Z", "data": {"x": NaN}}', "data"),
        (b'{"timestamp": "2024-01-01T00:00:00Z", "data": {"x": 1e999}}', "data"),
        (b'{"timestamp": "2024-01-01T00:00:00Z", "label": "x"}', "label"),
    ],
)
async def test_a_wrong_heartbeat_is_refused(
    api: Api, body: bytes, message: str
) -> None:
    """A heartbeat that is not one is a 400 that names the field."""
    path = await make_bucket(api)

    answer = await api.call("POST", f"{path}/heartbeat?pulsetime=1", body=body)

    assert answer.status == 400
    assert answer.message.startswith(message)
    assert await api.ok("GET", f"{path}/events") == []


async def test_a_heartbeat_keeps_any_text(api: Api) -> None:
    """A title with half a character is kept: refused, it would be lost for ever."""
    path = await make_bucket(api)
    body = b'{"timestamp": "2024-01-01T00:00:00Z", "data": {"title": "cut \\ud83d"}}'

    for _ in range(2):
        answer = await api.call("POST", f"{path}/heartbeat?pulsetime=1", body=body)
        assert answer.status == 200
        assert answer.json()["data"] == {"title": "cut \ud83d"}

    assert await api.ok("GET", f"{path}/events/count") == 1


async def test_watchers_at_once_do_not_disturb_each_other(api: Api) -> None:
    """Eight watchers send at the same time, each to its own bucket."""
    paths = [await make_bucket(api, f"watcher-{n}") for n in range(8)]

    async def watch(path: str) -> None:
        for second in range(20):
            await send(api, path, beat(second, 0, app="a"), 2)

    await asyncio.gather(*(watch(path) for path in paths))

    for path in paths:
        (only,) = await api.ok("GET", f"{path}/events")
        assert only["duration"] == 19
