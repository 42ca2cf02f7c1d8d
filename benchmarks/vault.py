"""A long history: a million events of 300 days in one vault.

    python -m benchmarks.vault [--events N] [--json FILE]

Fills a vault in this process, reads days out of it as columns, then starts
`aw-server` on it and reads days as JSON. Argon2id is measured alone in the same
run, so that a start can be told from what it must cost.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from awvault.crypto.keys import Passphrase
from awvault.crypto.passphrase import SALT_BYTES, STANDARD, derive_passphrase_key
from awvault.incoming import NewRows
from awvault.vault import Vault
from benchmarks import servers
from benchmarks.client import fetch, get
from benchmarks.gateway import directories
from benchmarks.report import Report, publish
from benchmarks.servers import StartedServer
from benchmarks.workload import DAY_MS, EVENTS_PER_DAY, Events, make_events

OURS: Final = "ours"
BUCKET: Final = "benchmark-window"
FILL_ROWS: Final = 4_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    events: int = 1_000_000
    days_read: int = 60
    repeats: int = 5
    """Starts, runs of Argon2id, verifications and queries that take long."""


USUAL: Final = Sizes()
QUICK: Final = Sizes(events=200_000, days_read=20, repeats=3)


class Run:
    """The measurements of one vault."""

    def __init__(self, sizes: Sizes, report: Report) -> None:
        """Make the events."""
        self._sizes = sizes
        self._report = report
        self._events = make_events(sizes.events)
        days = max(sizes.events // EVENTS_PER_DAY, 1)
        choice = random.Random(1)
        self._days = [choice.randrange(days) for _ in range(sizes.days_read)]

    async def in_process(self, home: Path) -> None:
        """Fill a vault, and read it through the library."""
        directory, passphrase = servers.data_dir(home), servers.passphrase_file(home)
        async with await Vault.open(directory, passphrase_file=passphrase) as vault:
            await self._fill(vault)
            await vault.seal_now()
        # Opened again, so that nothing that was written is still in memory.
        async with await Vault.open(directory, passphrase_file=passphrase) as vault:
            for number in self._days:
                self._read_day(vault, number, "one day as columns, any day")
            for _ in self._days:
                self._read_day(vault, self._days[0], "one day as columns, again")
            for _ in range(self._sizes.repeats):
                began = time.perf_counter()
                assert vault.count(BUCKET) == len(self._events)
                self._less("count of all events", "ms", began, 1000)

    async def _fill(self, vault: Vault) -> None:
        await vault.create_bucket(BUCKET, type="currentwindow")
        began = time.perf_counter()
        for rows in as_rows(self._events):
            await vault.insert_rows(BUCKET, rows)
        self._report.more(
            f"fill, {FILL_ROWS:,} rows a call, durable",
            "events/s",
            OURS,
            len(self._events) / (time.perf_counter() - began),
        )

    def _read_day(self, vault: Vault, number: int, name: str) -> None:
        begin = int(self._events.start_ms[0]) // DAY_MS * DAY_MS + number * DAY_MS
        began = time.perf_counter()
        table = vault.read(BUCKET, start=1000 * begin, end=1000 * (begin + DAY_MS) - 1)
        self._less(name, "ms", began, 1000)
        assert len(table) == self._events_of_day(number)

    def _events_of_day(self, number: int) -> int:
        """Return how many events begin on a day; none reaches into the next."""
        return min(EVENTS_PER_DAY, len(self._events) - number * EVENTS_PER_DAY)

    def disk(self, home: Path) -> None:
        """Note the bytes of each event."""
        files = [path for path in servers.data_dir(home).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        self._report.less("disk", "B/event", OURS, size / len(self._events))
        sealed, events = servers.sealed_bytes(home)
        if events:
            self._report.less("disk, as sealed", "B/event", OURS, sealed / events)

    def argon2(self) -> None:
        """Run Argon2id alone."""
        passphrase = Passphrase(servers.PASSPHRASE)
        for _ in range(self._sizes.repeats):
            began = time.perf_counter()
            derive_passphrase_key(
                passphrase, username="local", salt=bytes(SALT_BYTES), profile=STANDARD
            )
            self._less("Argon2id alone", "s", began)

    def starts(self, home: Path) -> None:
        """Start the server several times."""
        for _ in range(self._sizes.repeats):
            server = servers.start_ours(home)
            server.stop()
            self._report.less(
                "aw-server, from start to ready", "s", OURS, server.ready_seconds
            )
        start, argon2 = self._median(self._report.rows[-1].name, "Argon2id alone")
        self._report.less("start without Argon2id", "s", OURS, start - argon2)

    def _median(self, *names: str) -> list[float]:
        rows = {row.name: row.median(OURS) for row in self._report.rows}
        return [value for name in names if (value := rows[name]) is not None]

    def through_gateway(self, server: StartedServer) -> None:
        """Read the same days as JSON, and watch the memory."""
        self._memory(server, "memory with everything open")
        for number in self._days:
            self._get_day(server, number, "one day as JSON over HTTP, any day")
        for _ in self._days:
            self._get_day(server, self._days[0], "one day as JSON over HTTP, again")
        self._memory(server, f"memory after {2 * len(self._days)} days read")
        for _ in range(self._sizes.repeats):
            began = time.perf_counter()
            result = servers.awvault_json(server.home, "verify")
            self._less("awvault verify, through the server", "s", began)
            assert result["events"] + result["journal_events"] == len(self._events)
            assert not result["findings"]
        self._memory(server, "memory after verify")

    def _get_day(self, server: StartedServer, number: int, name: str) -> None:
        begin, end = self._events.days(number)
        request = get(
            server.address,
            f"/api/0/buckets/{BUCKET}/events?start={begin}&end={end}",
        )
        seconds, body = fetch(server.address, request)
        self._report.less(name, "ms", OURS, 1000 * seconds)
        assert body.count(b'"timestamp"') == self._events_of_day(number)

    def _memory(self, server: StartedServer, name: str) -> None:
        found = server.memory()
        if found is not None:
            self._report.less(name, "MB", OURS, found.now)

    def _less(self, name: str, unit: str, began: float, factor: float = 1) -> None:
        seconds = time.perf_counter() - began
        self._report.less(name, unit, OURS, factor * seconds)


def as_rows(events: Events, count: int = FILL_ROWS) -> list[NewRows]:
    """Return events as a vault takes them, so many at once."""
    return [
        NewRows(
            starts=(1000 * events.start_ms[at : at + count]).tolist(),
            durations=(1000 * events.duration_ms[at : at + count]).tolist(),
            texts=events.texts[at : at + count],
        )
        for at in range(0, len(events), count)
    ]


def measure(sizes: Sizes) -> Report:
    """Measure one vault from its making on."""
    report = Report(f"Vault of {sizes.events:,} events")
    run = Run(sizes, report)
    with directories([OURS]) as homes:
        home = homes[OURS]
        asyncio.run(run.in_process(home))
        run.disk(home)
        run.argon2()
        run.starts(home)
        server = servers.start_ours(home)
        try:
            run.through_gateway(server)
        finally:
            server.stop()
    report.notes.append(
        f"A day has {EVENTS_PER_DAY:,} events. `any day`: the median of"
        f" {sizes.days_read} days taken at random, from a vault just opened;"
        " `again`: one day, which is then decoded in memory."
    )
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(prog="benchmarks.vault")
    parser.add_argument("--events", type=int, metavar="N")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else USUAL
    if given.events is not None:
        sizes = Sizes(given.events, sizes.days_read, sizes.repeats)
    publish(measure(sizes), given.json)


if __name__ == "__main__":
    main()
