"""A host that takes records: appends, growth and memory.

    python -m benchmarks.host [--quick] [--json FILE]

Real accounts, whose clients each append record after record over one connection;
each record is answered once it is on disk. In the same rounds the same requests go
to the host without its storage, to an aiohttp server that answers what it is sent
and to a server that does nothing; and the same records go straight into SQLite, as
many in one commit as there are connections.
"""

import argparse
import contextlib
import json
import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from awserver.wire import API_PATH
from benchmarks import servers
from benchmarks.accounts import Member, make_host
from benchmarks.client import Address, get, post, run_kept
from benchmarks.gateway import directories
from benchmarks.host_limits import raw_inserts
from benchmarks.report import Report, publish
from benchmarks.servers import StartedServer, process_seconds

OURS: Final = "ours"
NO_STORAGE: Final = "no storage"
ECHO: Final = "aiohttp echo"
RAW: Final = "raw SQLite"
NO_WORK: Final = "no work"

STARTERS: Final[dict[str, Callable[[Path], StartedServer]]] = {
    OURS: servers.start_host,
    NO_STORAGE: servers.start_host_without_storage,
    ECHO: servers.start_aiohttp_echo,
    NO_WORK: servers.start_echo,
}
STATUS: Final = {OURS: 201, NO_STORAGE: 201, ECHO: 200, NO_WORK: 200}
NOTES: Final = (
    "Connections are kept. A ratio above 1 is in our favour.",
    (
        "no storage: the same handler with its sessions, signatures and rules, which"
        " neither reads nor writes a database."
    ),
    "aiohttp echo: one route, which answers what it was sent.",
    "raw SQLite: inserts alone, synchronous=FULL, a commit for each 32 or 128.",
    "no work: what the measuring client itself can do.",
    (
        "The server's time is that of all its threads, in the kernel too; /proc counts"
        " it in hundredths of a second."
    ),
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    body_bytes: tuple[int, ...] = (256, 4096)
    connections: tuple[int, ...] = (32, 128)
    requests: int = 6_144
    """Of one round, from all connections."""
    rounds: int = 5
    accounts: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    active: int = 100
    """Accounts that are used, of however many there are."""
    growth_rounds: int = 5
    prelogins: int = 1_000
    polls: int = 1_000


USUAL: Final = Sizes()
QUICK: Final = Sizes(
    requests=1_536,
    rounds=3,
    accounts=(100, 10_000),
    growth_rounds=3,
    prelogins=300,
    polls=200,
)


class Appends:
    """The same records, to servers that take turns."""

    def __init__(self, sizes: Sizes, report: Report, members: list[Member]) -> None:
        """Let each member use one connection."""
        self._sizes = sizes
        self._report = report
        self._members = members

    def measure(self, given: Sequence[StartedServer], raw: Path) -> None:
        """Measure every size of a body and every number of connections."""
        for body_bytes in self._sizes.body_bytes:
            for connections in self._sizes.connections:
                name = f"append {body_bytes:,} B, {connections} connections"
                for number in range(self._sizes.rounds):
                    records = [
                        [
                            member.seal(body_bytes)
                            for _ in range(self._sizes.requests // connections)
                        ]
                        for member in self._members[:connections]
                    ]
                    at = number % len(given)
                    for server in (*given[at:], *given[:at]):
                        requests = [
                            [member.append(server.address, [one]) for one in log]
                            for member, log in zip(self._members, records, strict=False)
                        ]
                        self._send(name, server, requests)
                    # As they come when every client sends one after the other.
                    turns = [one for turn in zip(*records, strict=True) for one in turn]
                    seconds = raw_inserts(raw, turns, per_commit=connections)
                    self._report.more(name, "req/s", RAW, len(turns) / seconds)

    def _send(
        self, name: str, server: StartedServer, requests: Sequence[Sequence[bytes]]
    ) -> None:
        before = process_seconds(server.process.pid)
        load = run_kept(server.address, requests, status=STATUS[server.name])
        used = process_seconds(server.process.pid) - before
        self._report.more(name, "req/s", server.name, load.rate)
        self._report.less(f"{name}, p99", "ms", server.name, load.percentile(0.99))
        self._report.less(
            f"{name}, the server's time",
            "us/req",
            server.name,
            1e6 * used / len(load.latencies),
        )


def measure_appends(sizes: Sizes, report: Report) -> None:
    """Measure appends beside their limits."""
    with directories(["host", "raw"]) as homes, contextlib.ExitStack() as stack:
        members = make_host(
            servers.host_database(homes["host"]), max(sizes.connections)
        )
        given = []
        for start in STARTERS.values():
            server = start(homes["host"])
            stack.callback(server.stop)
            given.append(server)
        Appends(sizes, report, members).measure(given, homes["raw"] / "raw.db")


def measure_growth(sizes: Sizes, report: Report) -> None:
    """Measure one request at a growing number of accounts."""
    names = [f"{count:,} accounts" for count in sizes.accounts]
    with directories(names) as homes, contextlib.ExitStack() as stack:
        given: list[tuple[StartedServer, list[Member]]] = []
        for name, count in zip(names, sizes.accounts, strict=True):
            members = make_host(servers.host_database(homes[name]), count)
            server = servers.start_host(homes[name])
            stack.callback(server.stop)
            active = random.Random(1).sample(members, min(sizes.active, count))
            given.append((server, active))
            report.less("memory after the start", "MB", name, _memory(server))
        for number in range(sizes.growth_rounds):
            at = number % len(given)
            for which in (*range(at, len(given)), *range(at)):
                server, active = given[which]
                _measure_one_size(names[which], server, active, sizes, report)


def _measure_one_size(
    name: str,
    server: StartedServer,
    active: Sequence[Member],
    sizes: Sizes,
    report: Report,
) -> None:
    connections = 32
    share = -(-sizes.requests // len(active))
    appends: list[list[bytes]] = [[] for _ in range(connections)]
    for _ in range(share):
        for number, member in enumerate(active):
            request = member.append(server.address, [member.seal(256)])
            appends[number % connections].append(request)
    prelogins: list[list[bytes]] = [[] for _ in range(connections)]
    for number in range(sizes.prelogins):
        request = _prelogin(server.address, active[number % len(active)].username)
        prelogins[number % connections].append(request)
    for what, requests, status in (
        ("append 256 B, 32 connections", appends, 201),
        ("prelogin, 32 connections", prelogins, 200),
    ):
        before = process_seconds(server.process.pid)
        load = run_kept(server.address, requests, status=status)
        used = process_seconds(server.process.pid) - before
        report.more(what, "req/s", name, load.rate)
        report.less(
            f"{what}, the server's time",
            "us/req",
            name,
            1e6 * used / len(load.latencies),
        )


def _prelogin(address: Address, username: str) -> bytes:
    """Return a prelogin from an address that nobody else has."""
    source = ".".join(str(random.randrange(1, 255)) for _ in range(4))
    return post(
        address,
        f"{API_PATH}/prelogin",
        json.dumps({"username": username}).encode(),
        headers=f"X-Forwarded-For: {source}\r\n",
    )


def measure_memory(sizes: Sizes, report: Report) -> None:
    """Measure a host that nobody asks anything, and clients that wait."""
    with directories([OURS]) as homes:
        # Eight clients of each account wait.
        members = make_host(servers.host_database(homes[OURS]), -(-sizes.polls // 8))
        server = servers.start_host(homes[OURS])
        try:
            before = _memory(server)
            report.less("memory of an idle host", "MB", OURS, before)
            with _waiting(server.address, members, sizes.polls):
                report.less(
                    f"memory of one of {sizes.polls:,} long polls",
                    "KiB",
                    OURS,
                    (_memory(server) - before) * 1e6 / 1024 / sizes.polls,
                )
        finally:
            server.stop()


@contextlib.contextmanager
def _waiting(address: Address, members: Sequence[Member], count: int) -> Iterator[None]:
    """Let so many clients wait for changes, none of which comes."""
    with contextlib.ExitStack() as stack:
        for number in range(count):
            member = members[number % len(members)]
            connection = stack.enter_context(socket.create_connection(address))
            request = get(
                address,
                f"{API_PATH}/changes?entries=0&version=1&wait=50",
                headers=member.headers,
            )
            connection.sendall(request)
        # What answers after them has begun to wait for each of them.
        run_kept(address, [[get(address, "/healthz")]])
        time.sleep(1)
        run_kept(address, [[get(address, "/healthz")]])
        yield


def _memory(server: StartedServer) -> float:
    found = server.memory()
    return 0.0 if found is None else found.now


def measure(sizes: Sizes) -> tuple[Report, Report]:
    """Measure all of it: beside the limits, and by the number of accounts."""
    report = Report("Host")
    measure_appends(sizes, report)
    measure_memory(sizes, report)
    report.notes.extend(NOTES)
    growth = Report("Host, by its accounts")
    measure_growth(sizes, growth)
    growth.notes.append(
        f"{sizes.active} accounts are used, chosen at random, and the others are there."
    )
    return report, growth


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(prog="benchmarks.host")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    report, growth = measure(QUICK if given.quick else USUAL)
    publish(report, given.json)
    print()
    publish(
        growth,
        None if given.json is None else given.json.with_suffix(".accounts.json"),
    )


if __name__ == "__main__":
    main()
