"""ActivityWatch's own query functions, in its environment, as an oracle.

One process answers any number of queries, each a line of JSON. Its functions
change the events that they are given; here each gets a copy, for that is a fault
which ours do not have.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from awvault.columns.table import EventTable
from awvault.columns.timestamps import render
from awvault.query import Budget, Period
from awvault.query.interpreting import interpret
from awvault.query.parsing import parse_program
from awvault.query.snapshot import Snapshot
from awvault.query.values import Pool
from awvault.query.writing import Writer

ENVIRONMENT: Final = Path(__file__).parents[2] / ".venv-activitywatch/bin/python"

_SCRIPT: Final = r"""
import json, logging, sys
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from aw_core.models import Event
from aw_query import query2
from aw_query.exceptions import QueryException
from aw_query.functions import functions

logging.disable(logging.CRITICAL)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

def pure(function):
    return lambda store, names, *args: function(store, names, *deepcopy(args))

for name in list(functions):
    functions[name] = pure(functions[name])

class Bucket:
    def __init__(self, hostname, events):
        self.hostname, self.events = hostname, events
    def metadata(self):
        return {"hostname": self.hostname}
    def get(self, starttime, endtime):
        found = []
        events = sorted(self.events, key=lambda event: (-event[1], event[0]))
        for number, start, duration, data in events:
            begin = EPOCH + timedelta(microseconds=start)
            end = begin + timedelta(microseconds=duration)
            if end < starttime or begin > endtime:
                continue
            begin, end = max(begin, starttime), min(end, endtime)
            found.append(Event(number, begin, end - begin, deepcopy(data)))
        return found
    def get_eventcount(self, starttime, endtime):
        return len(self.get(starttime, endtime))

class Store(dict):
    def buckets(self):
        return dict(self)

def plain(value):
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat()

def desktop(asked):
    from aw_client import queries
    return queries.fullDesktopQuery(queries.DesktopQueryParams(
        bid_window=asked["window"], bid_afk=asked["afk"],
        bid_browsers=asked["browsers"], classes=asked["classes"]))

store = Store()
for line in sys.stdin:
    asked = json.loads(line)
    if "window" in asked:
        print(json.dumps(desktop(asked)), flush=True)
        continue
    if "buckets" in asked:
        store = Store(
            (name, Bucket(hostname, events))
            for name, hostname, events in asked["buckets"]
        )
    try:
        answer = {"result": query2.query(
            "name", asked["query"],
            datetime.fromisoformat(asked["start"]),
            datetime.fromisoformat(asked["end"]), store)}
    except QueryException as error:
        answer = {"type": type(error).__name__, "message": str(error)}
    except Exception as error:
        answer = {"crash": repr(error)}
    print(json.dumps(answer, default=plain), flush=True)
"""

Row = tuple[int, int, dict[str, Any]]
"""Start and duration in microseconds, data."""


@dataclass(slots=True)
class Bucket:
    name: str
    rows: list[Row]
    hostname: str = "box"

    def json_events(self) -> list[dict[str, Any]]:
        """Return the events as a watcher posts them."""
        return [
            {"timestamp": render(start), "duration": duration / 1e6, "data": data}
            for start, duration, data in self.rows
        ]


@dataclass(slots=True)
class History:
    """Buckets with events, ids from 1 on in their order."""

    buckets: list[Bucket] = field(default_factory=list)
    start: int = 1_700_000_000_000_000
    end: int = 1_700_100_000_000_000

    def period(self) -> Period:
        return Period(self.start, self.end, render(self.start), render(self.end))

    def snapshot(self) -> Snapshot:
        return TableSnapshot(
            hostnames={bucket.name: bucket.hostname for bucket in self.buckets},
            views={},
            tables={bucket.name: _table(bucket.rows) for bucket in self.buckets},
        )


@dataclass(frozen=True, slots=True)
class TableSnapshot(Snapshot):
    """A snapshot of what no vault holds."""

    tables: dict[str, EventTable] = field(default_factory=dict)

    def read(self, bucket_id: str, *, start: int, end: int) -> EventTable:
        table = self.tables[bucket_id]
        found = table.take((table.end() >= start) & (table.start <= end))
        return found.take(np.lexsort((found.id, -found.start))).clipped(start, end)

    def count(self, bucket_id: str, *, start: int, end: int) -> int:
        return len(self.read(bucket_id, start=start, end=end))


def _table(rows: Sequence[Row]) -> EventTable:
    texts = [json.dumps(data, separators=(",", ":")).encode() for *_, data in rows]
    numbers: dict[bytes, int] = {}
    return EventTable(
        id=np.arange(1, len(rows) + 1, dtype=np.int64),
        revision=np.zeros(len(rows), np.uint32),
        start=np.array([start for start, *_ in rows], np.int64),
        duration=np.array([duration for _, duration, _ in rows], np.int64),
        stored_at=np.full(len(rows), -1, np.int64),
        flags=np.zeros(len(rows), np.uint8),
        data=np.array([numbers.setdefault(t, len(numbers)) for t in texts], np.uint32),
        texts=list(numbers),
    )


class Oracle:
    """The process, while the context lasts."""

    def __enter__(self) -> Self:
        python = Path(os.environ.get("ACTIVITYWATCH_PYTHON", ENVIRONMENT))
        assert python.exists(), "make env-activitywatch makes this environment"
        self._process = subprocess.Popen(
            [str(python), "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._known: History | None = None
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)

    def ask(self, query: str, history: History) -> dict[str, Any]:
        """Return {"result": ...}, {"type": ..., "message": ...} or {"crash": ...}."""
        asked: dict[str, Any] = {
            "query": query,
            "start": render(history.start),
            "end": render(history.end),
        }
        if history is not self._known:
            self._known = history
            asked["buckets"] = [
                (
                    bucket.name,
                    bucket.hostname,
                    [(at, *row) for at, row in enumerate(bucket.rows, 1)],
                )
                for bucket in history.buckets
            ]
        answer: dict[str, Any] = self._ask(asked)
        return answer

    def desktop_query(
        self, *, window: str, afk: str, browsers: Sequence[str], classes: Sequence[Any]
    ) -> str:
        """Return the query that ActivityWatch's client library makes for a day."""
        query: str = self._ask(
            {"window": window, "afk": afk, "browsers": browsers, "classes": classes}
        )
        return query

    def _ask(self, value: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def ours(query: str, history: History) -> Any:
    """Return what our engine answers; raises `QueryError`."""
    value = interpret(
        parse_program(query),
        history.period(),
        name="name",
        snapshot=history.snapshot(),
        pool=Pool(Budget()),
    )
    return json.loads(b"".join(Writer(Budget()).pieces(value)))
