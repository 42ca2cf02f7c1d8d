"""What a benchmark found: rows, as a table for people and JSON for programs."""

import json
import os
import platform
import statistics
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from benchmarks.servers import ROOT

LIBRARIES: Final = ("aiohttp", "apsw", "backports.zstd", "numpy", "PyNaCl", "uvloop")


@dataclass(slots=True)
class Row:
    """One measurement of several programs, repeated."""

    name: str
    unit: str
    more_is_better: bool
    values: dict[str, list[float]] = field(default_factory=dict)
    """The value of each round, by program."""

    def add(self, program: str, value: float) -> None:
        """Add the value of one round."""
        self.values.setdefault(program, []).append(value)

    def median(self, program: str) -> float | None:
        """Return the median of a program's rounds; None: it was not measured."""
        found = self.values.get(program)
        return statistics.median(found) if found else None

    def ratio(self, program: str, other: str) -> float | None:
        """Return how many times better `program` is than `other`.

        The median of the rounds' ratios, where both ran in the same rounds:
        what the machine did besides then cancels out.
        """
        mine, theirs = self.values.get(program), self.values.get(other)
        if not mine or not theirs or not min(mine) or not min(theirs):
            return None
        if len(mine) == len(theirs):
            ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
        else:
            ratio = statistics.median(mine) / statistics.median(theirs)
        return ratio if self.more_is_better else 1 / ratio


@dataclass(slots=True)
class Report:
    """The rows of one benchmark."""

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, name: str, unit: str, *, more_is_better: bool) -> Row:
        """Return the row of this name and unit; make it first."""
        for row in self.rows:
            if (row.name, row.unit) == (name, unit):
                return row
        row = Row(name, unit, more_is_better)
        self.rows.append(row)
        return row

    def more(self, name: str, unit: str, program: str, value: float) -> None:
        """Add a value of which more is better."""
        self.row(name, unit, more_is_better=True).add(program, value)

    def less(self, name: str, unit: str, program: str, value: float) -> None:
        """Add a value of which less is better."""
        self.row(name, unit, more_is_better=False).add(program, value)

    def table(self) -> str:
        """Return a Markdown table: medians, and how our server compares."""
        programs = list(dict.fromkeys(p for row in self.rows for p in row.values))
        others = [p for p in programs if p not in {"ours", "no work"}]
        compared = others if "ours" in programs else []
        lines = [
            ["measured", *programs, *(f"ours / {other}" for other in compared)],
            *(
                [
                    f"{row.name} ({row.unit})",
                    *(_number(row.median(program)) for program in programs),
                    *(_times(row.ratio("ours", other)) for other in compared),
                ]
                for row in self.rows
            ),
        ]
        widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
        lines.insert(1, [*("-" * width for width in widths)])
        shown = [
            "| "
            + " | ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            + " |"
            for line in lines
        ]
        return "\n".join(
            [f"{self.title}: {_machine_line()}", "", *shown, "", *self.notes]
        )

    def as_json(self) -> dict[str, Any]:
        """Return everything, each round included."""
        programs = {p for row in self.rows for p in row.values} - {"ours"}
        return {
            "title": self.title,
            "machine": machine(),
            "notes": self.notes,
            "rows": [
                {
                    "name": row.name,
                    "unit": row.unit,
                    "more_is_better": row.more_is_better,
                    "rounds": row.values,
                    "medians": {p: row.median(p) for p in row.values},
                    "ours_times_better_than": {
                        p: row.ratio("ours", p) for p in programs if p in row.values
                    },
                }
                for row in self.rows
            ],
        }


def publish(report: Report, path: Path | None) -> None:
    """Print the table; write the JSON if a file is named."""
    print(report.table(), flush=True)
    if path is not None:
        path.write_text(json.dumps(report.as_json(), indent=1) + "\n", "utf-8")


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        ),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "commit": _commit(),
    }


def _machine_line() -> str:
    facts = machine()
    return (
        f"{facts['cores']} cores ({facts['cpu']}), {facts['system']},"
        f" Python {facts['python']}, commit {facts['commit']}, {facts['date']}"
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit, with a plus if the sources differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],  # noqa: S607 - whichever git the person has
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "awserver", "client")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{_number(ratio)}x"
