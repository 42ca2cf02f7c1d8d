"""The one thread that writes: group commit, and fences.

The thread takes all that waits, begins a transaction, runs each work in a
savepoint of its own, commits once, which is one fsync, and only then says that
they are done. It never waits for more to come: what arrives while it commits
is the next group, so a lone write is as quick as the disk, and the more are
waiting, the cheaper each becomes.

Works of one kind may be done jointly, by one function for all that follow one
another, in one savepoint. Where that fails as a whole, each is tried by itself.
"""

import asyncio
import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import apsw

from awserver.errors import FenceBrokenError, StorageError
from awserver.storage.sqlite.checkpoints import Checkpointer
from awserver.storage.sqlite.failures import typed_error

Item = TypeVar("Item")
T = TypeVar("T")

Transaction = apsw.Connection
"""A connection inside a transaction: what a work is given."""

Probe = Callable[[str], None]
"""Called with "begin", "work", "worked", "commit" and "committed" on the writer's
thread. Tests raise there, or end the process."""


@dataclass(frozen=True, slots=True)
class Refused:
    """In place of a result: this item is not done, and has changed nothing."""

    error: BaseException


Joint = Callable[[Transaction, Sequence[Item]], Sequence[T | Refused]]
"""Does the same with each of some items; returns a result for each, in order."""

GROUP_WORKS_MAX: Final = 512
"""Works that share one commit."""


@dataclass(slots=True)
class Fence:
    """Ties writes that build on one another.

    Once one of them has failed, whether by itself or with its commit, those
    that were submitted after it fail with `FenceBrokenError`, untried. A fence
    does not mend: begin anew from what is stored, with a new one.
    """

    broken: BaseException | None = None


@dataclass(slots=True, eq=False)
class _Work(Generic[T]):
    # What it will do, or has returned, may hold what a person did: asyncio's debug
    # mode prints works.
    run: Callable[[Transaction], T] = field(repr=False)
    joint: Joint[Any, T] | None
    item: Any = field(repr=False)
    fence: Fence | None
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[T]"
    value: T | None = field(default=None, repr=False)
    error: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Note why the work is not done; the first reason stands."""
        if self.error is None:
            self.error = error
        if self.fence is not None and self.fence.broken is None:
            self.fence.broken = self.error

    def resolve(self) -> None:
        if self.future.done():  # whoever waited was cancelled
            return
        if self.error is None:
            self.future.set_result(self.value)  # type: ignore[arg-type]
        elif isinstance(self.error, StopIteration):
            # It means something else to whoever awaits, and a future refuses it.
            failure = RuntimeError("a work raised StopIteration")
            failure.__cause__ = self.error
            self.future.set_exception(failure)
        else:
            self.future.set_exception(self.error)


class Writer:
    """Runs works on `connection`, which only its thread uses once started."""

    def __init__(
        self,
        connection: apsw.Connection,
        checkpointer: Checkpointer,
        *,
        path: Path,
        probe: Probe | None,
    ) -> None:
        """Take the one connection that writes to `path`."""
        self._connection = connection
        self._checkpointer = checkpointer
        self._path = path
        self._probe: Probe = probe if probe is not None else lambda _: None
        self._queue: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # held to add to the queue
        self._closing = False
        self._thread = threading.Thread(
            target=self._run_until_closed, name="database-writer", daemon=True
        )

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def submit(
        self, run: Callable[[Transaction], T], fence: Fence | None
    ) -> "asyncio.Future[T]":
        """Queue a work; its future belongs to the running loop."""
        return self._queue_work(run, None, None, fence)

    def submit_jointly(self, joint: Joint[Item, T], item: Item) -> "asyncio.Future[T]":
        """Queue an item; those of the same function may be done together."""

        def run(tx: Transaction) -> T:
            (result,) = joint(tx, [item])
            if isinstance(result, Refused):
                raise result.error
            return result

        return self._queue_work(run, joint, item, None)

    def _queue_work(
        self,
        run: Callable[[Transaction], T],
        joint: Joint[Any, T] | None,
        item: object,
        fence: Fence | None,
    ) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        work = _Work(
            run=run,
            joint=joint,
            item=item,
            fence=fence,
            loop=loop,
            future=loop.create_future(),
        )
        with self._lock:
            if self._closing:
                raise StorageError(f'the database "{self._path}" is closed')
            self._queue.put(work)
        return work.future

    def stop(self) -> None:
        """Commit what was submitted, then end the thread. Blocks."""
        with self._lock:
            if not self._closing:
                self._closing = True
                self._queue.put(None)
        self._thread.join()

    def _run_until_closed(self) -> None:
        open_for_work = True
        while open_for_work:
            group, open_for_work = self._next_group()
            if group:
                self._commit(group)
                _resolve(group)
                self._checkpointer.finish(self._connection)

    def _next_group(self) -> tuple[list[_Work[Any]], bool]:
        """Wait for a work; return it with all that wait, and whether more may come."""
        group: list[_Work[Any]] = []
        work = self._queue.get()
        while work is not None:
            group.append(work)
            if len(group) == GROUP_WORKS_MAX:
                return group, True
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _commit(self, group: list[_Work[Any]]) -> None:
        """Run works and commit them together; their errors are noted, not raised."""
        try:
            self._roll_back()  # in case it failed the last time
            self._probe("begin")
            self._connection.execute("BEGIN IMMEDIATE")
            for joint, works in itertools.groupby(group, lambda work: work.joint):
                self._run_works(joint, list(works))
            self._probe("commit")
            self._connection.execute("COMMIT")
            self._probe("committed")
        except BaseException as error:  # noqa: BLE001 - the thread must go on
            failures = [self._typed(error) for _ in group]
            for work, failure in zip(group, failures, strict=True):
                work.fail(failure)
            # SQLite may have rolled back by itself, on a full disk for one.
            with contextlib.suppress(apsw.Error):
                self._roll_back()

    def _run_works(
        self, joint: Joint[Any, Any] | None, works: list[_Work[Any]]
    ) -> None:
        """Run works that follow one another, of one kind or of none."""
        if joint is not None and len(works) > 1 and self._ran_jointly(joint, works):
            return
        for work in works:
            self._run_in_savepoint(work)

    def _ran_jointly(self, joint: Joint[Any, Any], works: list[_Work[Any]]) -> bool:
        """Run works in one savepoint; say whether that went well as a whole."""
        self._connection.execute("SAVEPOINT work")
        try:
            self._probe("work")
            results = joint(self._connection, [work.item for work in works])
            self._probe("worked")
        except BaseException:
            if not self._connection.in_transaction:
                raise  # the whole transaction is gone, and the others with it
            self._connection.execute("ROLLBACK TO work")
            results = None
        self._connection.execute("RELEASE work")
        if results is None:
            return False
        for work, result in zip(works, results, strict=True):
            if isinstance(result, Refused):
                work.fail(self._typed(result.error))
            else:
                work.value = result
        return True

    def _run_in_savepoint(self, work: _Work[Any]) -> None:
        if work.fence is not None and work.fence.broken is not None:
            work.error = FenceBrokenError(work.fence.broken)
            return
        self._connection.execute("SAVEPOINT work")
        try:
            self._probe("work")
            work.value = work.run(self._connection)
            self._probe("worked")
        except BaseException as error:
            work.fail(self._typed(error))
            if not self._connection.in_transaction:
                raise  # the whole transaction is gone, and the others with it
            self._connection.execute("ROLLBACK TO work")
        # Fails if the work ended the transaction it was given, before others run
        # without one.
        self._connection.execute("RELEASE work")

    def _typed(self, error: BaseException) -> BaseException:
        return typed_error(error, self._path, self._connection)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _resolve(group: list[_Work[Any]]) -> None:
    """Tell each loop, once, that its works are done."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Work[Any]]] = {}
    for work in group:
        by_loop.setdefault(work.loop, []).append(work)
    for loop, works in by_loop.items():
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve_works, works)


def _resolve_works(works: list[_Work[Any]]) -> None:
    for work in works:
        work.resolve()
