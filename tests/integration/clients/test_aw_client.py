"""ActivityWatch's own client, as it is on the package index, against the gateway."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from awvault.gateway import GatewaySettings
from tests.integration.clients.peers import peer_environment, peer_python
from tests.integration.gateway.running import running

# Runs under another Python, with the client alone. It prints what it saw.
SCRIPT = """
import json, sys, time
from datetime import datetime, timedelta, timezone
from aw_client import ActivityWatchClient
from aw_core.models import Event
import requests

START = datetime(2024, 3, 1, 10, tzinfo=timezone.utc)
LATER = START + timedelta(hours=2)
client = ActivityWatchClient(
    "test-watcher", host="127.0.0.1", port=int(sys.argv[1]), testing=True
)
seen = {"info": client.get_info(), "hostname": client.client_hostname}
bucket = "aw-watcher-test_" + client.client_hostname

# As the window watcher does: register, connect, queue heartbeats.
client.create_bucket(bucket, "currentwindow", queued=True)
with client:
    for second in range(0, 61):
        title = "one" if second < 40 else "two"
        event = Event(
            timestamp=START + timedelta(seconds=second),
            data={"app": "editor", "title": title},
        )
        client.heartbeat(bucket, event, pulsetime=2, queued=True, commit_interval=5)
    # The queue has a thread of its own; wait until it has sent the last ones.
    deadline = time.monotonic() + 30
    events = []
    while time.monotonic() < deadline and not any(
        e.data["title"] == "two" for e in events
    ):
        time.sleep(0.05)
        events = client.get_events(bucket) if bucket in client.get_buckets() else []
    seen["heartbeats"] = [e.to_json_dict() for e in events]

# Unqueued: buckets, events, heartbeats.
client.create_bucket("other", "test", queued=False)
client.create_bucket("other", "test", queued=False)  # exists: no error
seen["buckets"] = client.get_buckets()
for s in (0, 4):
    beat = Event(timestamp=START + timedelta(seconds=s), data={"a": 1})
    client.heartbeat("other", beat, pulsetime=5)
seen["merged"] = [e.to_json_dict() for e in client.get_events("other")]
client.insert_event(
    "other", Event(timestamp=START + timedelta(hours=1), duration=7, data={"n": 1})
)
client.insert_events(
    "other",
    [
        Event(timestamp=LATER + timedelta(seconds=s), duration=1, data={"n": s})
        for s in range(100)
    ],
)
seen["count"] = client.get_eventcount("other")
seen["count in range"] = client.get_eventcount(
    "other", start=LATER, end=LATER + timedelta(seconds=9)
)
WHILE = [(START, LATER + timedelta(hours=1))]
seen["query"] = client.query(
    "events = query_bucket(find_bucket('other')); RETURN = sort_by_duration(events);",
    WHILE,
)
try:
    client.query("RETURN = no_such_function();", WHILE)
except requests.HTTPError as error:
    seen["wrong query"] = [error.response.status_code, error.response.json()]
client.set_setting("classes", [{"name": ["Work"], "rule": {"type": "none"}}])
seen["settings"] = [client.get_setting(), client.get_setting("classes")]
# What a privacy filter drops is taken like anything else.
client.set_setting(
    "privacy_filters", [{"action": "drop", "field": "n", "pattern": "secret"}]
)
secret = Event(timestamp=LATER, duration=1, data={"n": "a secret"})
client.heartbeat("other", secret, pulsetime=5)
client.insert_event("other", secret)
client.insert_events("other", [secret, secret])
events = client.get_events("other")
seen["all"] = [e.to_json_dict() for e in events]
seen["limited"] = [e.to_json_dict() for e in client.get_events("other", limit=2)]
seen["range"] = [
    e.to_json_dict()
    for e in client.get_events(
        "other",
        start=START + timedelta(hours=1, seconds=2),
        end=START + timedelta(hours=1, seconds=5),
    )
]
seen["one"] = client.get_event("other", events[0].id).to_json_dict()
client.delete_event("other", events[0].id)
seen["count after"] = client.get_eventcount("other")
seen["export all"] = client.export_all()
exported = client.export_bucket("other")
client.delete_bucket("other", force=True)
client.import_bucket(exported["buckets"]["other"])
seen["imported"] = client.export_bucket("other")
seen["exported"] = exported
client.delete_bucket("other", force=True)
seen["left"] = list(client.get_buckets())
print(json.dumps(seen, default=str))
"""


@pytest.mark.activitywatch
async def test_the_real_client_works(tmp_path: Path) -> None:
    """The client creates, sends queued heartbeats, inserts, reads, counts, deletes."""
    python = peer_python()
    async with running(tmp_path / "vault", GatewaySettings(testing=True)) as api:
        process = await asyncio.create_subprocess_exec(
            python,
            "-I",
            "-c",
            SCRIPT,
            str(api.port),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=peer_environment(tmp_path / "home"),
        )
        async with asyncio.timeout(90):
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    seen = json.loads(out)

    assert seen["info"]["testing"] is True
    assert set(seen["info"]) == {"hostname", "version", "testing", "device_id"}
    watched = f"aw-watcher-test_{seen['hostname']}"
    assert set(seen["buckets"]) == {watched, "other"}
    assert seen["buckets"][watched]["client"] == "test-watcher"

    # Queued heartbeats of one title merged into one event, the next began anew.
    titles = [beat["data"]["title"] for beat in seen["heartbeats"]]
    assert titles == ["two", "one"]
    assert seen["heartbeats"][1]["duration"] == pytest.approx(39, abs=1)

    (merged,) = seen["merged"]
    assert merged["duration"] == 4

    assert seen["count"] == 102
    assert seen["count in range"] == 10
    (result,) = seen["query"]
    assert len(result) == 102
    assert [found["duration"] for found in result[:3]] == [7, 4, 1]
    status, error = seen["wrong query"]
    assert status == 400
    assert error["type"] == "QueryInterpretException"
    assert "no_such_function" in error["message"]
    classes = [{"name": ["Work"], "rule": {"type": "none"}}]
    assert seen["settings"] == [{"classes": classes}, classes]
    assert len(seen["all"]) == 102
    starts = [shown["timestamp"] for shown in seen["all"]]
    assert starts == sorted(starts, reverse=True)
    assert [shown["data"]["n"] for shown in seen["limited"]] == [99, 98]
    (clipped,) = seen["range"]
    assert clipped["timestamp"] == "2024-03-01T11:00:02+00:00"
    assert clipped["duration"] == 3
    assert seen["one"] == seen["all"][0]
    assert seen["count after"] == 101
    assert set(seen["export all"]["buckets"]) == {watched, "other"}
    assert (
        seen["export all"]["buckets"]["other"] == seen["exported"]["buckets"]["other"]
    )
    assert contents(seen["imported"]) == contents(seen["exported"])
    assert len(contents(seen["imported"])) == 101
    assert seen["left"] == [watched]


def contents(export: Any) -> list[Any]:
    """Return the events of the one bucket in an export, without their ids."""
    (bucket,) = export["buckets"].values()
    return sorted(
        (e["timestamp"], e["duration"], json.dumps(e["data"])) for e in bucket["events"]
    )
