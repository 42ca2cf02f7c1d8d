"""Watchers that keep books: what they sent, what was acknowledged, what must be there.

A `Ledger` outlives the server it talks to. Workers write down each operation
before they send it and again when it is acknowledged; `Ledger.check` compares a
restarted server with the books:

* an acknowledged event is there exactly once, with its id, at least its
  acknowledged duration, and its acknowledged data;
* an event that was sent and not acknowledged is there once or not at all, and
  a request of several is there whole or not at all;
* nothing else is there.
"""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

EPOCH: Final = datetime(2024, 3, 1, tzinfo=UTC)
REQUEST_SECONDS_MAX: Final = 30.0
FILLER: Final = random.Random(7).randbytes(200_000).hex()
"""Digits that hardly compress, so that a few requests make the journal seal."""

BULKY_CHARS: Final = 120_000
BULKY_MAX: Final = 6
"""Of one load: each is read back after each kill."""

BUCKET: Final = {"type": "currentwindow", "client": "load", "hostname": "box"}


class RefusedError(Exception):
    """The server answered, and not with a 200."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:200]!r}")
        self.status = status
        self.body = body


def moment(seconds: float) -> str:
    return (EPOCH + timedelta(seconds=seconds)).isoformat()


@dataclass(slots=True)
class Api:
    """The few calls of ActivityWatch's API that the load needs."""

    session: ClientSession
    url: str

    async def call(self, method: str, path: str, value: object = None) -> Any:
        async with self.session.request(
            method,
            f"{self.url}/api/0/{path}",
            data=None if value is None else json.dumps(value).encode(),
            headers={"Content-Type": "application/json"} if value is not None else {},
        ) as response:
            body = await response.read()
            if response.status == 304:
                return None
            if response.status != 200:
                raise RefusedError(response.status, body)
            return json.loads(body)

    async def bucket(self, name: str) -> None:
        await self.call("POST", f"buckets/{name}", BUCKET)

    async def insert(self, name: str, events: list[dict[str, Any]]) -> list[int]:
        made = await self.call("POST", f"buckets/{name}/events", events)
        return [event["id"] for event in made]

    async def heartbeat(
        self, name: str, event: dict[str, Any], pulsetime: float
    ) -> dict[str, Any]:
        path = f"buckets/{name}/heartbeat?pulsetime={pulsetime}"
        beat: dict[str, Any] = await self.call("POST", path, event)
        return beat

    async def events(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.call("GET", f"buckets/{name}/events")
        return found


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Api]:
    timeout = ClientTimeout(total=REQUEST_SECONDS_MAX)
    async with ClientSession(cookie_jar=DummyCookieJar(), timeout=timeout) as session:
        yield Api(session, url)


@dataclass(slots=True)
class Entry:
    """What is known of one event, by the number that it carries in its data."""

    number: int
    bucket: str
    request: int
    """Events of one request are stored together or not at all."""
    acknowledged: bool = False
    id: int | None = None
    duration: float = 0.0
    """The longest that was acknowledged, or sent with the insertion."""
    duration_max: float = 0.0
    """The longest that was ever sent."""
    version: int = 0
    versions: set[int] = field(default_factory=lambda: {0})
    """What its data may say now: the acknowledged version, and any later sent."""
    deleting: bool = False
    deleted: bool = False
    begin: int = 0
    """Seconds after EPOCH, of a window."""


class LostError(AssertionError):
    """The store does not hold what the books say."""


@dataclass(slots=True)
class Ledger:
    """The books of all workers, over any number of restarts."""

    entries: dict[int, Entry] = field(default_factory=dict)
    buckets: dict[str, bool] = field(default_factory=dict)
    """By name, whether its creation was acknowledged."""
    requests: Iterator[int] = field(default_factory=itertools.count)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    clock: Iterator[int] = field(default_factory=lambda: itertools.count(0, 60))
    """Each event has its own place on the time line, 60 s wide."""
    open_windows: dict[str, Entry] = field(default_factory=dict)
    """By bucket, the event that its heartbeats may still extend."""
    acknowledgements: int = 0
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, count: int) -> None:
        """Return once so many writes were acknowledged."""
        while self.acknowledgements < count:
            self._progress.clear()
            await self._progress.wait()

    def new(self, bucket: str, count: int, duration: float = 0.0) -> list[Entry]:
        """Write down events that are about to be sent in one request."""
        request = next(self.requests)
        made = [
            Entry(
                next(self.numbers),
                bucket,
                request,
                duration=duration,
                duration_max=duration,
            )
            for _ in range(count)
        ]
        self.entries.update((entry.number, entry) for entry in made)
        return made

    def acknowledge(self, entry: Entry, event_id: int) -> None:
        assert entry.id in {None, event_id}, "an event changed its id"
        entry.acknowledged = True
        entry.id = event_id
        self.count()

    def count(self) -> None:
        """Note that the server said yes."""
        self.acknowledgements += 1
        self._progress.set()

    async def check(self, api: Api) -> int:
        """Compare everything with the books; return how many events there are."""
        listed = await api.call("GET", "buckets/")
        missing = {n for n, known in self.buckets.items() if known} - listed.keys()
        unknown = listed.keys() - self.buckets.keys()
        if missing or unknown:
            raise LostError(f"buckets missing {missing}, unknown {unknown}")
        found: dict[int, list[dict[str, Any]]] = {}
        ids: Counter[int] = Counter()
        total = 0
        for name in listed:
            events = await api.events(name)
            total += len(events)
            counted = await api.call("GET", f"buckets/{name}/events/count")
            if counted != len(events):
                raise LostError(f"{name}: counts {counted}, reads {len(events)}")
            for event in events:
                ids[event["id"]] += 1
                event["bucket"] = name
                found.setdefault(event["data"]["n"], []).append(event)
        doubled = [event_id for event_id, count in ids.items() if count > 1]
        if doubled:
            raise LostError(f"ids given twice: {doubled[:5]}")
        unexplained = found.keys() - self.entries.keys()
        if unexplained:
            raise LostError(f"events nobody sent: {sorted(unexplained)[:5]}")
        for entry in self.entries.values():
            self._check_entry(entry, found.get(entry.number, []))
        self._check_requests(found.keys())
        self._adopt(found)
        return total

    def _check_entry(self, entry: Entry, events: list[dict[str, Any]]) -> None:
        if len(events) > 1:
            raise LostError(f"event stored {len(events)} times: {entry}")
        if not events:
            if entry.acknowledged and not entry.deleted and not entry.deleting:
                raise LostError(f"acknowledged event is missing: {entry}")
            return
        (event,) = events
        if entry.deleted:
            raise LostError(f"deleted event is back: {entry}")
        if event["bucket"] != entry.bucket:
            raise LostError(f"event is in {event['bucket']}: {entry}")
        if entry.id is not None and event["id"] != entry.id:
            raise LostError(f"event has another id, {event['id']}: {entry}")
        if not entry.duration <= event["duration"] <= entry.duration_max:
            raise LostError(f"event has duration {event['duration']}: {entry}")
        if event["data"].get("v", 0) not in entry.versions:
            raise LostError(f"event has data {event['data'].get('v')}: {entry}")

    def _check_requests(self, found: Any) -> None:
        stored: dict[int, set[bool]] = {}
        for entry in self.entries.values():
            if not (entry.deleted or entry.deleting):
                stored.setdefault(entry.request, set()).add(entry.number in found)
        torn = [request for request, kinds in stored.items() if len(kinds) > 1]
        if torn:
            raise LostError(f"requests stored in part: {torn[:5]}")

    def _adopt(self, found: dict[int, list[dict[str, Any]]]) -> None:
        """What was in flight is settled now: it must not change any more."""
        for number, entry in list(self.entries.items()):
            events = found.get(number)
            if not events:
                if entry.deleting or entry.deleted:
                    entry.deleted, entry.deleting = True, False
                else:
                    del self.entries[number]
                continue
            (event,) = events
            entry.acknowledged, entry.deleting = True, False
            entry.id = event["id"]
            entry.duration = event["duration"]
            entry.version = event["data"].get("v", 0)
            entry.versions = {entry.version}


@dataclass(slots=True)
class Load:
    """Workers on connections of their own, until the server is gone or `stop`."""

    ledger: Ledger
    seed: int
    stopping: bool = False
    refused: list[RefusedError] = field(default_factory=list)
    _bulky_sent: int = 0

    async def run(self, url: str, *, workers: int = 6) -> None:
        """Return when every worker has met the end of the server."""
        kinds: list[Callable[[Api, str, random.Random], Any]] = [
            self._beats,
            self._inserts,
            self._bulks,
            self._edits,
            self._deletes,
            self._bulky,
        ]
        async with asyncio.TaskGroup() as group:
            for at in range(workers):
                generator = random.Random(self.seed * 1_000 + at)
                kind = kinds[at % len(kinds)]
                group.create_task(self._worker(kind, url, f"bucket-{at}", generator))

    def stop(self) -> None:
        """Let each worker end its request, and send no other."""
        self.stopping = True

    async def _worker(
        self,
        kind: Callable[[Api, str, random.Random], Any],
        url: str,
        name: str,
        generator: random.Random,
    ) -> None:
        async with connected(url) as api:
            try:
                self.ledger.buckets.setdefault(name, False)
                await api.bucket(name)
                self.ledger.buckets[name] = True
                while not self.stopping:
                    await kind(api, name, generator)
            except (ClientError, ConnectionError, TimeoutError):
                return  # killed: what was in flight is not acknowledged
            except RefusedError as error:
                self.refused.append(error)

    async def _beats(self, api: Api, name: str, generator: random.Random) -> None:
        """A window that stays for a while: one event, longer and longer.

        A window that was open when the server was killed goes on after it.
        """
        entry = self.ledger.open_windows.get(name)
        if entry is None or self.ledger.entries.get(entry.number) is not entry:
            (entry,) = self.ledger.new(name, 1)
            entry.begin = next(self.ledger.clock)
            self.ledger.open_windows[name] = entry
        last = int(entry.duration) + generator.randrange(2, 20)
        for second in range(int(entry.duration), min(last, 59)):
            entry.duration_max = max(entry.duration_max, float(second))
            row = await api.heartbeat(
                name,
                {
                    "timestamp": moment(entry.begin + second),
                    "duration": 0.0,
                    "data": {"n": entry.number},
                },
                5.0,
            )
            self.ledger.acknowledge(entry, row["id"])
            assert row["duration"] == float(second)
            entry.duration = float(second)
            if self.stopping:
                return
        del self.ledger.open_windows[name]

    async def _insert(
        self, api: Api, name: str, count: int, filler: str = ""
    ) -> list[Entry]:
        entries = self.ledger.new(name, count, 1.5)
        events = [
            {
                "timestamp": moment(next(self.ledger.clock)),
                "duration": 1.5,
                "data": {"n": entry.number} | ({"x": filler} if filler else {}),
            }
            for entry in entries
        ]
        ids = await api.insert(name, events)
        for entry, event_id in zip(entries, ids, strict=True):
            self.ledger.acknowledge(entry, event_id)
        return entries

    async def _inserts(self, api: Api, name: str, _: random.Random) -> None:
        await self._insert(api, name, 1)

    async def _bulks(self, api: Api, name: str, generator: random.Random) -> None:
        await self._insert(api, name, generator.randrange(2, 40))

    async def _bulky(self, api: Api, name: str, generator: random.Random) -> None:
        """A few requests so large that every second or third of them seals."""
        filler = ""
        if self._bulky_sent < BULKY_MAX:
            self._bulky_sent += 1
            at = generator.randrange(len(FILLER) - BULKY_CHARS)
            filler = FILLER[at : at + BULKY_CHARS]
        await self._insert(api, name, 1, filler)

    async def _edits(self, api: Api, name: str, generator: random.Random) -> None:
        (entry,) = await self._insert(api, name, 1)
        for _ in range(generator.randrange(1, 4)):
            version = max(entry.versions) + 1
            entry.versions.add(version)
            await api.insert(
                name,
                [
                    {
                        "id": entry.id,
                        "timestamp": moment(generator.randrange(10**6)),
                        "duration": 1.5,
                        "data": {"n": entry.number, "v": version},
                    }
                ],
            )
            entry.version = version
            entry.versions = {version}
            self.ledger.count()

    async def _deletes(self, api: Api, name: str, generator: random.Random) -> None:
        entries = await self._insert(api, name, generator.randrange(1, 4))
        entry = generator.choice(entries)
        entry.deleting = True
        answer = await api.call("DELETE", f"buckets/{name}/events/{entry.id}")
        assert answer in ({"success": 1}, {"success": True})
        entry.deleted, entry.deleting = True, False
        self.ledger.count()
