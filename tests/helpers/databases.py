"""Databases for tests: a file that is there, a table to write to, a fault."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from awserver.storage.sqlite.database import Database, Probe, Transaction


class InjectedError(Exception):
    """What a test makes fail."""


@dataclass(slots=True)
class Fault:
    """A probe that raises at the nth passing of a point, once armed."""

    point: str
    error: Callable[[], BaseException] = InjectedError
    nth: int = 1
    armed: bool = False
    passed: list[str] = field(default_factory=list)

    def __call__(self, point: str) -> None:
        if not self.armed:
            return
        self.passed.append(point)
        if point == self.point and self.passed.count(point) == self.nth:
            raise self.error()

    def count(self, point: str) -> int:
        return self.passed.count(point)


@asynccontextmanager
async def database(
    path: Path, probe: Probe | None = None, *, create: bool = True
) -> AsyncIterator[Database]:
    """Open a database with a table `notes` of unique numbers."""
    opened = Database.open(path, create=create, probe=probe)
    try:
        if create:
            await opened.write(create_notes)
        if isinstance(probe, Fault):
            probe.armed = True
        yield opened
    finally:
        await opened.close()


def create_notes(tx: Transaction) -> None:
    tx.execute("CREATE TABLE notes (number INTEGER PRIMARY KEY, text BLOB) STRICT")


def insert(number: int, text: bytes = b"") -> Callable[[Transaction], int]:
    """Return a work that notes a number and returns it."""

    def work(tx: Transaction) -> int:
        tx.execute("INSERT INTO notes VALUES (?, ?)", (number, text))
        return number

    return work


def failing(number: int, error: BaseException) -> Callable[[Transaction], int]:
    """Return a work that notes a number and then raises."""

    def work(tx: Transaction) -> int:
        insert(number)(tx)
        raise error

    return work


def numbers(opened: Database) -> list[int]:
    """Return what a reader sees."""
    with opened.reading() as tx:
        return [
            int(number)
            for (number,) in tx.execute("SELECT number FROM notes ORDER BY number")
        ]
