"""Run every attack and every mutant, and print what came of each: `make attacks`.

    python -m tests.adversarial.attacks [T09 T26 ...]

A row is one attack of docs/threat-model.md: whether all its tests pass on the
product ("withstood"), and how many of its mutants, the product with one defence
taken out, a test noticed. At the end: whether a host's answers take as long for
names that it knows as for others. The exit status is 1 if anything is not as it
must be.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from tests.adversarial.mutants import TESTS_FAILED, Mutant, make_tree, run_test
from tests.adversarial.test_mutants import MUTANTS, TEST_FILES

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
MODEL: Final = ROOT / "docs" / "threat-model.md"


@dataclass
class Attack:
    """One number of the threat model."""

    number: str
    title: str
    is_here: bool
    """Whether this version has what would be attacked, or what defends it."""
    files: list[Path]
    mutants: list[Mutant]
    passed: bool | None = None
    seconds: float = 0.0
    alive: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        if not self.files:
            return "tests elsewhere" if self.is_here else "not in this version"
        return "[green]withstood[/]" if self.passed else "[bold red]NOT WITHSTOOD[/]"

    @property
    def killed(self) -> str:
        total = len(self.mutants)
        if not total:
            return "-"
        dead = total - len(self.alive)
        return f"{dead} of {total}" if self.alive else f"[green]{dead} of {total}[/]"

    @property
    def is_well(self) -> bool:
        return self.passed is not False and not self.alive


def attacks(chosen: Sequence[str]) -> list[Attack]:
    """Return the attacks of the threat model, in its order."""
    found = []
    for section in MODEL.read_text("utf-8").split("\n#### ")[1:]:
        heading, _, text = section.partition("\n")
        number, _, title = heading.partition(": ")
        if chosen and number not in chosen:
            continue
        found.append(
            Attack(
                number=number,
                title=title,
                is_here="Not in this version" not in text,
                files=[p for p in TEST_FILES if p.stem.split("_")[1].upper() == number],
                mutants=[one for one in MUTANTS if one.attack == number],
            )
        )
    return found


def withstood(attack: Attack) -> bool:
    """Run an attack's tests on the product."""
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *map(str, attack.files),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stdout[-4_000:] + done.stderr)
    return done.returncode == 0


def is_noticed(mutant: Mutant) -> bool:
    """Whether a test fails on the product without this defence."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        make_tree(mutant.edits, tree)
        done = run_test(mutant.test, tree)
    return done.returncode == TESTS_FAILED and "\nFAILED " in f"\n{done.stdout}"


def table_of(found: Sequence[Attack]) -> Table:
    table = Table(title="what hosts and networks can do")
    for heading in ("", "attack", "verdict", "mutants killed", "s"):
        table.add_column(heading, justify="right" if heading == "s" else "left")
    for attack in found:
        table.add_row(
            attack.number,
            attack.title,
            attack.verdict,
            attack.killed,
            f"{attack.seconds:.0f}" if attack.files else "",
        )
    return table


def main() -> int:
    """Print the table; 1: something was not withstood, or a mutant lives."""
    found = attacks([one.upper() for one in sys.argv[1:]])
    console = Console()
    steps = sum(bool(one.files) + len(one.mutants) for one in found)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task("attacks", total=steps)
        for attack in found:
            begun = time.monotonic()
            progress.update(task, description=f"{attack.number} {attack.title}")
            if attack.files:
                attack.passed = withstood(attack)
                progress.advance(task)
            for mutant in attack.mutants:
                progress.update(
                    task, description=f"{attack.number} without: {mutant.name}"
                )
                if not is_noticed(mutant):
                    attack.alive.append(mutant.name)
                progress.advance(task)
            attack.seconds = time.monotonic() - begun
    console.print(table_of(found))
    for attack in found:
        for name in attack.alive:
            console.print(f"[red]{attack.number}: no test notices:[/] {name}")
    timed = True
    if any(one.number == "T13" for one in found):
        console.print("T13, the times of a host's answers:")
        timed = not subprocess.run(
            [sys.executable, "-m", "tests.adversarial.timing"], cwd=ROOT, check=False
        ).returncode
    return int(not (timed and all(one.is_well for one in found)))


if __name__ == "__main__":
    sys.exit(main())
