"""A random walk over the vault, beside a model that is a dict.

Whatever order inserts, heartbeats, corrections, deletions, hidden buckets,
seals, failed writes and restarts come in, the vault shows what the model says:
by reading, counting and looking up, before and after it is opened again.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import apsw
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from awserver.errors import StorageError
from awvault.incoming import NewRows
from awvault.testing import COMPOSITION, open_vault
from awvault.vault import Vault
from tests.helpers.vaults import SECOND, T0, ids, texts

WALKS: Final = int(os.environ.get("DURABILITY_WALKS", "60"))
STEPS_OF_A_WALK: Final = 40

NAMES: Final = ("window", "web", "afk")
TEXTS: Final = (b'{"a":1}', b'{"a":2}', b'{"b":"x"}')

names = st.sampled_from(NAMES)
data = st.sampled_from(TEXTS)
# Few and close together, so that ties, overlaps and merges are common.
starts = st.integers(0, 40).map(lambda s: T0 + s * SECOND)
durations = st.sampled_from([-1, 0, 1, SECOND, 5 * SECOND, 30 * SECOND])
lengths = st.sampled_from([0, SECOND, 2 * SECOND])
pulsetimes = st.sampled_from([0, SECOND, 10 * SECOND])
steps = st.sampled_from(
    [
        "begin",
        "work",
        "worked",
        "commit",
        "committed",
        "collected",
        "record-sealed",
        "records-inserted",
        "index-inserted",
        "journal-deleted",
        "stored",
    ]
)


@dataclass(slots=True)
class Known:
    """An event of the model."""

    id: int
    start: int
    duration: int
    text: bytes

    @property
    def end(self) -> int:
        return self.start + max(self.duration, 0)

    def row(self) -> tuple[int, int, int, bytes]:
        return self.id, self.start, self.duration, self.text


@dataclass(slots=True)
class Model:
    """What a reader must see: by bucket, the events by id."""

    buckets: dict[str, dict[int, Known]] = field(default_factory=dict)
    last: dict[str, int | None] = field(default_factory=dict)
    """By bucket, what the last heartbeat made, until anything else is written."""

    def newest(self, name: str) -> Known | None:
        events = self.buckets[name]
        number = self.last.get(name)
        if number is not None:
            return events[number]
        return max(events.values(), key=lambda e: (e.start, e.id), default=None)

    def select(self, name: str, start: int | None, end: int | None) -> list[Known]:
        """Return what overlaps a range, newest first; ties as they were inserted."""
        if start is not None and end is not None and start > end:
            return []
        found = [
            event
            for event in self.buckets[name].values()
            if (start is None or event.end >= start)
            and (end is None or event.start <= end)
        ]
        return sorted(found, key=lambda event: (-event.start, event.id))


class Fault:
    """Fails the next passing of one step."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.struck: str | None = None

    def __call__(self, name: str) -> None:
        if name == self.name:
            self.name, self.struck = None, name
            raise apsw.FullError("database or disk is full")


class VaultMachine(RuleBasedStateMachine):
    """The walk."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="walk-"))
        self.fault = Fault()
        self.model = Model()
        self.given: set[int] = set()
        self.counter = itertools.count()
        self.vault = self._open()

    def _open(self) -> Vault:
        composition = replace(COMPOSITION, step=self.fault, probe=self.fault)
        return self.runner.run(
            open_vault(self.directory / "v", composition=composition)
        )

    def teardown(self) -> None:
        with contextlib.suppress(StorageError):
            self.runner.run(self.vault.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    def run(self, work: Any) -> Any:
        """Run one request; None if a fault struck it, with memory settled."""

        async def main() -> Any:
            try:
                return await work
            except (StorageError, apsw.FullError):
                return None
            finally:
                await self.vault.settle()

        return self.runner.run(main())

    def _adopt(self, name: str) -> None:
        """After a fault either state may be on disk: the model takes what is there.

        Only what the failed request touched may differ.
        """
        before = self.model.buckets.get(name)
        if name not in self.vault.buckets():
            self.model.buckets.pop(name, None)
            return
        table = self.vault.read(name)
        now = {
            event_id: Known(event_id, start, duration, text)
            for event_id, start, duration, text in zip(
                ids(table),
                table.start.tolist(),
                table.duration.tolist(),
                texts(table),
                strict=True,
            )
        }
        assert before is None or len(now.keys() ^ before.keys()) <= 3
        self.model.buckets[name] = now
        self.model.last.clear()
        self.given |= now.keys()

    # -- what owners and watchers do -----------------------------------------

    @initialize()
    def first(self) -> None:
        self.create("window")

    @rule(name=names)
    def create(self, name: str) -> None:
        kind = "web.tab.current" if name == "web" else name
        made = self.run(self.vault.create_bucket(name, type=kind))
        if made is None:
            self._adopt(name)
            return
        assert made is (name not in self.model.buckets)
        if made:
            self.model.buckets[name] = {}
            self.model.last[name] = None

    @rule(name=names)
    def hide(self, name: str) -> None:
        if name not in self.model.buckets:
            return

        async def hide() -> bool:
            await self.vault.hide_bucket(name)
            return True

        if self.run(hide()) is None:
            self._adopt(name)
            return
        del self.model.buckets[name]

    @rule(
        name=names,
        rows=st.lists(st.tuples(starts, durations, data), min_size=1, max_size=3),
    )
    def insert(self, name: str, rows: list[tuple[int, int, bytes]]) -> None:
        if name not in self.model.buckets:
            return
        columns = [list(column) for column in zip(*rows, strict=True)]
        numbers = self.run(
            self.vault.insert_rows(
                name,
                NewRows(starts=columns[0], durations=columns[1], texts=columns[2]),
            )
        )
        if numbers is None:
            self._adopt(name)
            return
        assert not self.given & set(numbers), "an id was given again"
        self.given |= set(numbers)
        for number, (start, duration, text) in zip(numbers, rows, strict=True):
            self.model.buckets[name][number] = Known(number, start, duration, text)
        self.model.last[name] = None

    @rule(name=names, start=starts, duration=lengths, text=data, pulsetime=pulsetimes)
    def beat(
        self, name: str, start: int, duration: int, text: bytes, pulsetime: int
    ) -> None:
        if name not in self.model.buckets:
            return
        row = self.run(
            self.vault.heartbeat(
                name, start=start, duration=duration, text=text, pulsetime_us=pulsetime
            )
        )
        if row is None:
            self._adopt(name)
            return
        last = self.model.newest(name)
        if (
            last is not None
            and last.text == text
            and last.start <= start <= last.end + pulsetime
        ):
            last.duration = max(last.duration, start - last.start + duration)
            expected = last
        else:
            assert row.id not in self.given, "an id was given again"
            self.given.add(row.id)
            expected = Known(row.id, start, duration, text)
            self.model.buckets[name][row.id] = expected
        self.model.last[name] = row.id
        assert (row.id, row.start, row.duration, row.text) == expected.row()

    @rule(
        name=names,
        pick=st.integers(0, 30),
        start=starts,
        duration=durations,
        text=data,
    )
    def correct(
        self, name: str, pick: int, start: int, duration: int, text: bytes
    ) -> None:
        events = self.model.buckets.get(name)
        if not events:
            return
        number = sorted(events)[pick % len(events)]
        row = self.run(
            self.vault.correct(name, number, start=start, duration=duration, text=text)
        )
        if row is None:
            self._adopt(name)
            return
        events[number] = Known(number, start, duration, text)
        self.model.last[name] = None

    @rule(name=names, pick=st.integers(0, 30))
    def delete(self, name: str, pick: int) -> None:
        events = self.model.buckets.get(name)
        if not events:
            return
        number = sorted(events)[pick % len(events)]
        deleted = self.run(self.vault.delete_event(name, number))
        if deleted is None:
            self._adopt(name)
            return
        assert deleted
        del events[number]
        self.model.last[name] = None

    # -- what happens to it --------------------------------------------------

    @rule()
    def seal(self) -> None:
        failed = self.run(self.vault.seal_now()) is None
        # Nothing that is shown changes. A failed write reloads the state, and
        # with it what the last heartbeats were is forgotten.
        if failed and self.fault.struck not in {"collected", "record-sealed"}:
            self.model.last.clear()

    @rule()
    def reopen(self) -> None:
        self.fault.name = None
        self.runner.run(self.vault.close())
        self.vault = self._open()
        self.model.last.clear()

    @precondition(lambda self: self.fault.name is None)
    @rule(name=steps)
    def arm(self, name: str) -> None:
        self.fault.name = name

    # -- what must hold ------------------------------------------------------

    @rule(
        name=names,
        start=st.none() | starts,
        end=st.none() | starts,
        limit=st.none() | st.integers(0, 5),
    )
    def query(
        self, name: str, start: int | None, end: int | None, limit: int | None
    ) -> None:
        if name not in self.model.buckets:
            return
        expected = self.model.select(name, start, end)
        assert self.vault.count(name, start=start, end=end) == len(expected)
        table = self.vault.read(name, start=start, end=end, limit=limit)
        assert ids(table) == [event.id for event in expected[:limit]]

    @invariant()
    def shows_the_model(self) -> None:
        assert set(self.vault.buckets()) == set(self.model.buckets)
        for name, events in self.model.buckets.items():
            table = self.vault.read(name)
            shown = list(
                zip(
                    ids(table),
                    table.start.tolist(),
                    table.duration.tolist(),
                    texts(table),
                    strict=True,
                )
            )
            everything = self.model.select(name, None, None)
            assert shown == [event.row() for event in everything]
            assert self.vault.count(name) == len(events)
            for number, event in events.items():
                row = self.vault.event(name, number)
                assert row is not None
                assert (row.id, row.start, row.duration, row.text) == event.row()


VaultMachine.TestCase.settings = settings(
    max_examples=WALKS,
    stateful_step_count=STEPS_OF_A_WALK,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


TestVault = pytest.mark.timeout(600)(VaultMachine.TestCase)
