"""A million events, in and out: import and export from a running server.

    python -m benchmarks.transfer [--events N] [--json FILE]

The file is ActivityWatch's export. It is imported by `awvault import`, through a
running `aw-server`, twice; then exported in each form. The limit beside an import is
`json.loads` of the file in this process: what reading it at all costs. The other
server takes the same file by POST, where it is installed.
"""

import argparse
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import servers
from benchmarks.client import fetch, get, post
from benchmarks.gateway import directories
from benchmarks.report import Report, publish
from benchmarks.servers import StartedServer
from benchmarks.workload import json_events, make_events

OURS: Final = "ours"
THEIRS: Final = "activitywatch"
LIMIT: Final = "json.loads"
BUCKET: Final = "benchmark-window"
FORMS: Final = ("lines", "activitywatch", "csv", "parquet")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    events: int = 1_000_000
    compared_events: int = 100_000
    """Of what both servers import: the other one needs minutes for a million. 0: none
    is compared."""
    forms: tuple[str, ...] = FORMS


USUAL: Final = Sizes()
QUICK: Final = Sizes(events=100_000, compared_events=20_000)


def export_file(path: Path, events: int) -> None:
    """Write an export with one bucket, the newest event first."""
    bodies = json_events(make_events(events))[::-1]
    head = {
        "id": BUCKET,
        "created": "2025-03-03T00:00:00+00:00",
        "type": "currentwindow",
        "client": "benchmark",
        "hostname": "localhost",
    }
    with path.open("wb") as file:
        file.write(b'{"buckets": {"%b": ' % BUCKET.encode())
        file.write(json.dumps(head)[:-1].encode())
        file.write(b', "events": [' + b", ".join(bodies) + b"]}}}")


class Run:
    """The measurements of one server with one file."""

    def __init__(self, server: StartedServer, file: Path, report: Report) -> None:
        """Import `file` into `server`."""
        self._server = server
        self._file = file
        self._report = report

    def imports(self, events: int) -> None:
        """Import once, and once more."""
        for name, added in (("import", events), ("the same import again", 0)):
            began = time.perf_counter()
            result = servers.awvault_json(self._server.home, "import", str(self._file))
            self._report.less(
                f"{name}, {events:,} events", "s", OURS, time.perf_counter() - began
            )
            assert result["events_added"] == added
            self._memory(f"memory after {name}")

    def exports(self, events: int, forms: Sequence[str]) -> None:
        """Export in each form."""
        for form in forms:
            path = self._file.with_suffix(f".{form}")
            began = time.perf_counter()
            command = ("export", "--format", form, "--output", str(path))
            with servers.awvault(
                self._server.home, *command, stderr=subprocess.DEVNULL
            ) as process:
                assert process.wait(600) == 0
            self._report.less(
                f"export as {form}, {events:,} events",
                "s",
                OURS,
                time.perf_counter() - began,
            )
        self._memory("memory after exports")

    def post(self, program: str, events: int) -> None:
        """Import by HTTP, as both servers can."""
        body = self._file.read_bytes()
        seconds, _ = fetch(
            self._server.address, post(self._server.address, "/api/0/import", body)
        )
        self._report.less(f"POST /import, {events:,} events", "s", program, seconds)
        seconds, _ = fetch(
            self._server.address, get(self._server.address, "/api/0/export")
        )
        self._report.less(f"GET /export, {events:,} events", "s", program, seconds)

    def _memory(self, name: str) -> None:
        found = self._server.memory()
        if found is not None:
            self._report.less(name, "MB", OURS, found.now)


def measure(sizes: Sizes) -> Report:
    """Measure imports and exports."""
    report = Report(f"Import and export of {sizes.events:,} events")
    with directories(["files", "large", OURS, THEIRS]) as homes:
        large, small = homes["files"] / "large.json", homes["files"] / "small.json"
        export_file(large, sizes.events)
        export_file(small, sizes.compared_events)
        began = time.perf_counter()
        assert json.loads(large.read_bytes())["buckets"]
        report.less(
            f"import, {sizes.events:,} events",
            "s",
            LIMIT,
            time.perf_counter() - began,
        )
        server = servers.start_ours(homes["large"])
        try:
            run = Run(server, large, report)
            run.imports(sizes.events)
            run.exports(sizes.events, sizes.forms)
        finally:
            server.stop()
        starters = {OURS: servers.start_ours} if sizes.compared_events else {}
        if starters and servers.activitywatch_python() is not None:
            starters[THEIRS] = servers.start_activitywatch
        for program, start in starters.items():
            server = start(homes[program])
            try:
                Run(server, small, report).post(program, sizes.compared_events)
            finally:
                server.stop()
    report.notes.append(
        "Imports and exports are commands, from start to end of the process, through"
        " a running server; memory is that server's."
    )
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(prog="benchmarks.transfer")
    parser.add_argument("--events", type=int, metavar="N")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else USUAL
    if given.events is not None:
        sizes = Sizes(given.events, min(given.events, sizes.compared_events))
    publish(measure(sizes), given.json)


if __name__ == "__main__":
    main()
