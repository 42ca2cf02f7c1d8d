"""Our `aw-server` beside ActivityWatch's: the same requests, the same client.

    python -m benchmarks.gateway --side-by-side
    python -m benchmarks.gateway ours=http://127.0.0.1:5600 [NAME=URL ...]

Speaks only ActivityWatch's REST API. `--side-by-side` starts both servers, and
the bare endpoint of `benchmarks.bare_endpoint`, each with an empty directory; so
it can also measure memory, disk and export. With URLs it measures what is there
already, in buckets whose names begin with `benchmark-`, which it leaves behind.

The servers take turns, round by round, so that what else the machine does meets
all of them. A value is the median of the rounds.
"""

import argparse
import contextlib
import json
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

from benchmarks import servers
from benchmarks.client import Load, fetch, get, post, run_load
from benchmarks.queries import Peer, afk_events, desktop_query, peer
from benchmarks.report import Report, publish
from benchmarks.servers import Server, StartedServer
from benchmarks.workload import (
    EVENTS_PER_DAY,
    batches,
    heartbeats,
    json_events,
    make_events,
)

AnyServer = TypeVar("AnyServer", bound=Server)

CLIENTS: Final = 8
FILL_BATCH: Final = 1000
QUERY_DAYS: Final = (1, 7)
LIMITS: Final = ("bare endpoint", "no work")
"""Servers without buckets and events: only heartbeats are sent to them."""

STARTERS: Final[dict[str, Callable[[Path], StartedServer]]] = {
    "ours": servers.start_ours,
    "activitywatch": servers.start_activitywatch,
    "bare endpoint": servers.start_bare,
    "no work": servers.start_echo,
}
NOTES: Final = (
    "Every request has a connection of its own. A ratio above 1 is in our favour.",
    "ours: sealed, durable before it answers, Argon2id as shipped.",
    "activitywatch: the aw-server of the package index, not in testing mode.",
    "bare endpoint: aiohttp, one encryption, one durable commit, nothing else.",
    "no work: what the measuring client itself can do.",
    (
        "export: `awvault export` through the running server, from start to end of that"
        " process, against GET /api/0/export."
    ),
    (
        "query: ours over HTTP; ActivityWatch's own query functions over its database,"
        " and the text of the answer, without HTTP."
    ),
    (
        "disk: every file after a clean stop; `as sealed` is the records alone, with"
        " headers and signatures."
    ),
)
RATE_MAX: Final = 8_000
"""Heartbeats per second for which requests are made ready, of all clients."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    fill_events: int = 100_000
    rounds: int = 5
    heartbeat_seconds: float = 2.0
    batch_requests: tuple[tuple[int, int], ...] = ((1, 400), (100, 50), (1000, 20))
    """For each size of a batch, the requests of one round."""
    read_rounds: int = 9
    export_rounds: int = 3
    query_rounds: int = 7


USUAL: Final = Sizes()
QUICK: Final = Sizes(
    fill_events=20_000,
    rounds=3,
    heartbeat_seconds=0.7,
    batch_requests=((1, 150), (100, 20), (1000, 5)),
    read_rounds=3,
    export_rounds=1,
    query_rounds=3,
)


class Run:
    """The measurements, one method each, of servers that take turns."""

    def __init__(self, sizes: Sizes, report: Report) -> None:
        """Make what will be sent."""
        self._sizes = sizes
        self._report = report
        # So that a second run against the same server finds no bucket of the first.
        self._run = uuid.uuid4().hex[:8]
        self._events = make_events(sizes.fill_events)
        self._bodies = json_events(self._events)

    def fill(self, server: Server) -> None:
        """Insert the history that is read later."""
        bucket = self._bucket(server, "history")
        requests = self._posts(
            server, f"{bucket}/events", batches(self._bodies, FILL_BATCH)
        )
        load = run_load(server.address, [requests])
        self._report.more(
            f"fill: {len(self._bodies):,} events, batches of {FILL_BATCH}",
            "events/s",
            server.name,
            len(self._bodies) / load.seconds,
        )

    def reads(self, server: Server) -> None:
        """Read the newest 1000 events, and one day from the middle."""
        bucket = self._path("history")
        days = max(len(self._events) // EVENTS_PER_DAY, 1)
        begin, end = self._events.days(days // 2)
        for name, query, expected in (
            ("GET 1000 events", "limit=1000", min(1000, len(self._events))),
            ("GET one day", f"start={begin}&end={end}", None),
        ):
            request = get(server.address, f"{bucket}/events?{query}")
            seconds, body = fetch(server.address, request)
            found = len(json.loads(body))
            assert found == expected if expected is not None else found > 0
            shown = name if expected is not None else f"{name} ({found:,} events)"
            self._report.less(shown, "ms", server.name, 1000 * seconds)

    def heartbeats_one(self, server: Server) -> None:
        """Send heartbeats, one at a time."""
        self._heartbeats(server, 1)

    def heartbeats_many(self, server: Server) -> None:
        """Send heartbeats from several clients, each to a bucket of its own."""
        self._heartbeats(server, CLIENTS)

    def heartbeats_and_reader(self, server: Server) -> None:
        """Send the same while another client reads one week again and again."""
        begin, end = self._events.days(0, 7)
        path = f"{self._path('history')}/events?start={begin}&end={end}"
        request = get(server.address, path)
        # Once here, so that the reader's process finds what it expects.
        fetch(server.address, request)
        with servers.asking(server, request):
            self._heartbeats(server, CLIENTS, " and a reader of 7 days")

    def fill_afk(self, server: Server) -> None:
        """Insert when somebody was there, on the days of the history."""
        bucket = self._bucket(server, "afk")
        bodies = batches(afk_events(self._events), FILL_BATCH)
        run_load(server.address, [self._posts(server, f"{bucket}/events", bodies)])

    def queries(self, server: Server, peer: Peer | None) -> None:
        """Ask what the web interface asks for a day and a week; `peer`: not here."""
        for days in QUERY_DAYS:
            start, end = self._events.days(0, days)
            if peer is not None:
                seconds, active = peer.ask(self._query(), start, end)
            else:
                request = self._query_request(server, days)
                seconds, body = fetch(server.address, request)
                active = json.loads(body)[0]["window"]["duration"]
            assert active > 0
            name = f"web interface's query, {days} day{'s' * (days > 1)}"
            self._report.less(name, "ms", server.name, 1000 * seconds)

    def heartbeats_and_query(self, server: Server) -> None:
        """Send heartbeats while another client asks the query of a week, on and on."""
        with servers.asking(server, self._query_request(server, max(QUERY_DAYS))):
            self._heartbeats(server, CLIENTS, " and a query of 7 days")

    def _query(self) -> str:
        prefix = f"benchmark-{self._run}"
        return desktop_query(f"{prefix}-history", f"{prefix}-afk")

    def _query_request(self, server: Server, days: int) -> bytes:
        period = "/".join(self._events.days(0, days))
        body = json.dumps({"timeperiods": [period], "query": [self._query()]})
        return post(server.address, "/api/0/query/", body.encode())

    def _heartbeats(self, server: Server, clients: int, besides: str = "") -> None:
        count = int(RATE_MAX * self._sizes.heartbeat_seconds / clients) + 1
        requests = [
            self._posts(
                server,
                f"{self._bucket(server, f'heartbeats-{uuid.uuid4().hex[:8]}')}"
                "/heartbeat?pulsetime=10",
                heartbeats(count, seed=client),
            )
            for client in range(clients)
        ]
        load = run_load(server.address, requests, seconds=self._sizes.heartbeat_seconds)
        name = f"heartbeats, {clients} client{'s' * (clients > 1)}{besides}"
        self._report.more(name, "req/s", server.name, load.rate)
        self._add_latencies(name, server, load)

    def _add_latencies(self, name: str, server: Server, load: Load) -> None:
        for share in (0.5, 0.99):
            self._report.less(
                f"{name}, p{100 * share:.0f}", "ms", server.name, load.percentile(share)
            )

    def bulk(self, server: Server) -> None:
        """Insert batches of each size, one request at a time."""
        for size, count in self._sizes.batch_requests:
            bucket = self._bucket(server, f"bulk-{uuid.uuid4().hex[:8]}")
            bodies = batches(json_events(make_events(size * count, seed=size)), size)
            requests = self._posts(server, f"{bucket}/events", bodies)
            load = run_load(server.address, [requests])
            self._report.more(
                f"bulk insert, batches of {size}",
                "events/s",
                server.name,
                size * count / load.seconds,
            )

    def memory(self, when: str, server: Server) -> None:
        """Note the memory that the server's process has."""
        found = server.memory()
        if found is not None:
            self._report.less(f"memory {when}", "MB", server.name, found.now)

    def memory_peak(self, server: Server) -> None:
        """Note the most memory that the server's process has had."""
        found = server.memory()
        if found is not None:
            self._report.less("memory, peak", "MB", server.name, found.peak)

    def export(self, server: StartedServer) -> None:
        """Export everything, as each of them does it."""
        if server.name == "ours":
            began = time.perf_counter()
            with servers.awvault(
                server.home, "export", stdout=subprocess.PIPE
            ) as process:
                assert process.stdout is not None
                lines = sum(1 for _ in process.stdout)
            seconds = time.perf_counter() - began
            assert process.returncode == 0
            # One line more for the bucket, and one at each end.
            assert lines == len(self._events) + 3
        else:
            request = get(server.address, "/api/0/export")
            seconds, body = fetch(server.address, request)
            (bucket,) = json.loads(body)["buckets"].values()
            assert len(bucket["events"]) == len(self._events)
        self._report.less(
            f"export {len(self._events):,} events", "s", server.name, seconds
        )

    def disk(self, name: str, home: Path) -> None:
        """Note the bytes of each event in the files of a server that has ended."""
        if name != "ours":
            size = servers.activitywatch_database(home).stat().st_size
            self._report.less("disk", "B/event", name, size / len(self._events))
            return
        files = [path for path in servers.data_dir(home).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        self._report.less("disk", "B/event", name, size / len(self._events))
        sealed, events = servers.sealed_bytes(home)
        if events:
            self._report.less("disk, as sealed", "B/event", name, sealed / events)

    def _path(self, bucket: str) -> str:
        return f"/api/0/buckets/{quote(f'benchmark-{self._run}-{bucket}')}"

    def _bucket(self, server: Server, bucket: str) -> str:
        """Make a bucket and return its path; the limits know no buckets."""
        path = self._path(bucket)
        if server.name not in LIMITS:
            body = {"type": "currentwindow", "client": "benchmark", "hostname": "here"}
            request = post(server.address, path, json.dumps(body).encode())
            fetch(server.address, request)
        return path

    @staticmethod
    def _posts(server: Server, path: str, bodies: Sequence[bytes]) -> list[bytes]:
        return [post(server.address, path, body) for body in bodies]


def measure_urls(given: Sequence[Server], sizes: Sizes) -> Report:
    """Measure servers that run already: what the REST API alone can show."""
    report = Report("Gateway")
    run = Run(sizes, report)
    for server in given:
        run.fill(server)
    take_turns(sizes.read_rounds, given, run.reads)
    for server in given:
        run.fill_afk(server)
    take_turns(sizes.query_rounds, given, lambda server: run.queries(server, None))
    measure_writes(run, sizes, given)
    take_turns(sizes.rounds, given, run.heartbeats_and_query)
    report.notes.append(NOTES[0])
    return report


def measure_started(names: Sequence[str], sizes: Sizes) -> Report:
    """Start the servers of these names, measure them, and end them."""
    report = Report("Gateway")
    run = Run(sizes, report)
    full = [name for name in names if name not in LIMITS]
    with directories(names) as homes:
        with started(full, homes) as given:
            for server in given:
                run.memory("at the start", server)
                run.fill(server)
            take_turns(sizes.read_rounds, given, run.reads)
            take_turns(sizes.export_rounds, given, run.export)
            for server in given:
                run.memory("after fill, reads and export", server)
                run.memory_peak(server)
        for name in full:
            run.disk(name, homes[name])
        with started(names, homes) as given:
            measure_queries(run, sizes, given)
            measure_writes(run, sizes, given)
            ours = [server for server in given if server.name == "ours"]
            take_turns(sizes.rounds, ours, run.heartbeats_and_query)
            for server in given:
                run.memory("after queries, heartbeats and bulk inserts", server)
    report.notes.extend(NOTES)
    return report


def measure_queries(run: Run, sizes: Sizes, given: Sequence[StartedServer]) -> None:
    """Measure what the web interface asks, of each server that has a history."""
    full = [server for server in given if server.name not in LIMITS]
    for server in full:
        run.fill_afk(server)
    with contextlib.ExitStack() as stack:
        peers = {
            server.name: stack.enter_context(
                peer(servers.activitywatch_database(server.home))
            )
            for server in full
            if server.name == "activitywatch"
        }
        take_turns(
            sizes.query_rounds,
            full,
            lambda server: run.queries(server, peers.get(server.name)),
        )


def measure_writes(run: Run, sizes: Sizes, given: Sequence[Server]) -> None:
    """Measure heartbeats and bulk inserts."""
    full = [server for server in given if server.name not in LIMITS]
    take_turns(sizes.rounds, given, run.heartbeats_one)
    take_turns(sizes.rounds, given, run.heartbeats_many)
    take_turns(sizes.rounds, full, run.heartbeats_and_reader)
    take_turns(sizes.rounds, full, run.bulk)


def take_turns(
    rounds: int, given: Sequence[AnyServer], measure: Callable[[AnyServer], None]
) -> None:
    """Measure each server once a round; who begins changes."""
    for number in range(rounds):
        at = number % max(len(given), 1)
        for server in (*given[at:], *given[:at]):
            measure(server)


@contextlib.contextmanager
def directories(names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Give each of these an empty directory; remove them in the end."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as parent:
        homes = {name: Path(parent) / name.replace(" ", "-") for name in names}
        for home in homes.values():
            home.mkdir()
        yield homes


@contextlib.contextmanager
def started(
    names: Sequence[str], homes: dict[str, Path]
) -> Iterator[list[StartedServer]]:
    """Run these servers."""
    with contextlib.ExitStack() as stack:
        given = []
        for name in names:
            server = STARTERS[name](homes[name])
            stack.callback(server.stop)
            given.append(server)
        yield given


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(prog="benchmarks.gateway")
    parser.add_argument("url", nargs="*", metavar="NAME=URL", type=_server)
    parser.add_argument("--side-by-side", action="store_true", help="start them all")
    parser.add_argument(
        "--start", action="append", choices=STARTERS, help="start this; repeatable"
    )
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    names = list(STARTERS) if given.side_by_side else given.start or []
    if bool(names) == bool(given.url):
        parser.error("either NAME=URL, or --side-by-side or --start")
    sizes = QUICK if given.quick else USUAL
    publish(
        measure_started(names, sizes) if names else measure_urls(given.url, sizes),
        given.json,
    )


def _server(text: str) -> Server:
    name, separator, address = text.partition("=")
    url = urlsplit(address)
    if not separator or url.scheme != "http" or not url.hostname:
        raise argparse.ArgumentTypeError(f'must be NAME=http://HOST:PORT, got "{text}"')
    return Server(name, (url.hostname, url.port or 80))


if __name__ == "__main__":
    main()
