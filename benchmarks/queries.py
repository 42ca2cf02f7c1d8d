"""What the web interface asks for a day or a week, and ActivityWatch's own answer.

The `aw-server` of the package index does not answer queries with the libraries of
today. Its query functions do, so they are run here over its database, in a process
of its Python. That leaves HTTP out, in its favour.
"""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import numpy as np

from benchmarks import servers
from benchmarks.workload import ACTIVE_MS, DAY_MS, EVENTS_PER_DAY, FIRST_DAY, Events

AFK_MS: Final = 200_000
PRESENT_MS: Final = 400_000

# Classes such as the web interface begins with: names of programs and sites.
_PATTERNS: Final = (
    ("Work", "Docs|libreoffice|evince"),
    ("Work/Code", "GitHub|Gitlab|Stack Overflow|vim|kate|code|Spyder"),
    ("Work/Code/This", "(?i)aw-|vault"),
    ("Work/Image", "Gimp|Inkscape"),
    ("Work/Video", "Kdenlive"),
    ("Work/Audio", "Audacity"),
    ("Work/Models", "Blender"),
    ("Media/Games", "Minecraft|Steam"),
    ("Media/Video", "YouTube|VLC|mpv"),
    ("Media/Social", "(?i)reddit|lemmy|mastodon|tumblr"),
    ("Media/Music", "(?i)Spotify|Rhythmbox"),
    ("Comms/Chat", "Telegram|Signal|Slack|Element|Matrix|Discord"),
    ("Comms/Mail", "Gmail|Thunderbird|mutt|alpine"),
)
_CLASSES: Final = [
    [
        name.split("/"),
        {
            "type": "regex",
            "regex": pattern.removeprefix("(?i)"),
            "ignore_case": pattern.startswith("(?i)"),
        },
    ]
    for name, pattern in _PATTERNS
]

_SCRIPT: Final = r"""
import json, logging, sys, time
from datetime import datetime, timedelta
from aw_datastore import Datastore
from aw_datastore.storages import PeeweeStorage
from aw_query import query2

logging.disable(logging.CRITICAL)
store = Datastore(PeeweeStorage, testing=True, filepath=sys.argv[1])
plain = lambda o: o.total_seconds() if isinstance(o, timedelta) else o.isoformat()
for line in sys.stdin:
    query, start, end = json.loads(line)
    start, end = datetime.fromisoformat(start), datetime.fromisoformat(end)
    began = time.perf_counter()
    result = query2.query("", query, start, end, store)
    text = json.dumps([result], default=plain)
    seconds = time.perf_counter() - began
    active = result["window"]["duration"].total_seconds()
    print(json.dumps([seconds, active]), flush=True)
"""


def desktop_query(window: str, afk: str) -> str:
    """Return the query of a day: active windows, by program, title and class."""
    return "\n".join(
        [
            f'events = flood(query_bucket(find_bucket("{window}")));',
            f'not_afk = flood(query_bucket(find_bucket("{afk}")));',
            'not_afk = filter_keyvals(not_afk, "status", ["not-afk"]);',
            "events = filter_period_intersect(events, not_afk);",
            f"events = categorize(events, {json.dumps(_CLASSES)});",
            'titles = merge_events_by_keys(events, ["app", "title"]);',
            "titles = sort_by_duration(titles);",
            'apps = sort_by_duration(merge_events_by_keys(titles, ["app"]));',
            'classes = sort_by_duration(merge_events_by_keys(events, ["$category"]));',
            "apps = limit_events(apps, 100);",
            "titles = limit_events(titles, 100);",
            "duration = sum_durations(events);",
            'RETURN = {"events": events, "window": {"app_events": apps,',
            '  "title_events": titles, "cat_events": classes,',
            '  "active_events": not_afk, "duration": duration}};',
        ]
    )


def afk_events(events: Events) -> list[bytes]:
    """Return what the afk watcher posts on the same days: present, away, and again."""
    first = int(np.datetime64(FIRST_DAY, "ms").astype(np.int64))
    found = []
    for day in range(-(-len(events) // EVENTS_PER_DAY)):
        begin = first + day * DAY_MS
        for at in range(begin, begin + ACTIVE_MS, PRESENT_MS + AFK_MS):
            for start, length, status in (
                (at, PRESENT_MS, b"not-afk"),
                (at + PRESENT_MS, AFK_MS, b"afk"),
            ):
                stamp = str(np.datetime64(start, "ms")).encode()
                found.append(
                    b'{"timestamp":"%s+00:00","duration":%d,"data":{"status":"%s"}}'
                    % (stamp, length // 1000, status)
                )
    return found


class Peer:
    """ActivityWatch's query functions, over the database of its server."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        """Talk to the process that runs them."""
        self._requests = requests
        self._answers = answers

    def ask(self, query: str, start: str, end: str) -> tuple[float, float]:
        """Return the seconds it took, and the active seconds that it found."""
        self._requests.write(json.dumps([query, start, end]) + "\n")
        self._requests.flush()
        seconds, duration = json.loads(self._answers.readline())
        return seconds, duration


@contextlib.contextmanager
def peer(database: Path) -> Iterator[Peer]:
    """Run them while the context lasts."""
    python = servers.activitywatch_python()
    assert python is not None
    with subprocess.Popen(
        [str(python), "-I", "-c", _SCRIPT, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Peer(process.stdin, process.stdout)
        process.stdin.close()
