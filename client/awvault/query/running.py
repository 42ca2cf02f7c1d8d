"""Queries run one after the other in one thread, beside everything else.

What they do in Python and NumPy holds the interpreter for moments only: it is made
to change between threads more often than usual, so that a heartbeat that comes
meanwhile is answered at once.
"""

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

from awvault.query.asking import Period
from awvault.query.budget import Budget
from awvault.query.errors import QueryInterpretError
from awvault.query.interpreting import interpret
from awvault.query.parsing import Program, parse_program
from awvault.query.snapshot import Snapshot
from awvault.query.values import Pool, Value
from awvault.query.writing import Writer, blocks
from awvault.vault import Vault

PARSED_AT_ONCE_CHARS_MAX: Final = 16_384
"""Up to here a query is parsed on the event loop: a millisecond or two."""

WAITING_MAX: Final = 64
"""Queries that may wait for the one that runs."""

AT_ONCE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Up to here the answer is written in the thread; what is beyond, as it is sent."""

ANSWER_BYTES_MAX: Final = 512 * 1024 * 1024
"""Bytes of the text of an answer."""

SWITCH_SECONDS: Final = 0.000_5
"""How long one thread may hold the interpreter while another wants it."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """The results of a query, one for each period, as the text of a JSON array."""

    text: bytes
    """The whole text, or its beginning."""
    rest: Iterator[bytes] | None
    """What follows, in pieces that take time to make; None: nothing."""

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the pieces of the text, each made in a thread.

        Raises `QueryError` where to make them takes too long.
        """
        yield self.text
        while self.rest is not None:
            piece = await asyncio.to_thread(_next, self.rest)
            if piece is None:
                return
            yield piece


def _next(pieces: Iterator[bytes]) -> bytes | None:
    with _without_collections():
        return next(pieces, None)


class _Thread:
    """The thread, made when the first query comes.

    The end of the process does not wait for it, as it would for an executor's.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] | None = None
        self.waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        if self._work is None:
            self._work = SimpleQueue()
            Thread(
                target=_serve, args=(self._work,), name="awvault-query", daemon=True
            ).start()
        future: Future[T] = Future()
        self._work.put((work, future))
        return await asyncio.wrap_future(future)


def _serve(queue: "SimpleQueue[tuple[Callable[[], Any], Future[Any]]]") -> None:
    _prepare()
    while True:
        work, future = queue.get()
        if future.set_running_or_notify_cancel():
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - for whoever waits
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
        # Nothing of a query stays while there is no other.
        del work, future


_THREAD: Final = _Thread()


def _prepare() -> None:
    """Make ready what is the whole process's, before its first query."""
    sys.setswitchinterval(SWITCH_SECONDS)
    # The modules and what else is there stay. To look at them again in each full
    # collection would hold everything up for tens of milliseconds.
    gc.freeze()


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Look for no garbage: a query makes many objects, and no cycles of them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


async def run_query(
    vault: Vault,
    text: str,
    periods: Sequence[Period],
    *,
    name: str = "",
    budget: Budget | None = None,
) -> Answer:
    """Return the results of a query for each period; raises `QueryError`.

    `periods` are those of `parse_periods`. It sees the vault as it is when it is
    asked. Where whoever asked is gone, cancel it: it then ends soon.
    """
    if _THREAD.waiting >= WAITING_MAX:
        raise QueryInterpretError(
            f"{WAITING_MAX} queries are waiting already: try again later"
        )
    budget = budget or Budget()
    _THREAD.waiting += 1
    try:
        if len(text) <= PARSED_AT_ONCE_CHARS_MAX:
            program = parse_program(text)
        else:
            program = await _THREAD.run(partial(parse_program, text))
        await vault.settle()
        period_texts = {t for p in periods for t in (p.start_text, p.end_text)}
        snapshot = Snapshot.of(vault, program.texts | period_texts | {name})
        return await _THREAD.run(
            partial(_run, program, periods, name, snapshot, budget)
        )
    except BaseException:
        budget.cancel()
        raise
    finally:
        _THREAD.waiting -= 1


def _run(
    program: Program,
    periods: Sequence[Period],
    name: str,
    snapshot: Snapshot,
    budget: Budget,
) -> Answer:
    budget.begin()
    with _without_collections():
        pool = Pool(budget)
        try:
            results = [
                interpret(program, period, name=name, snapshot=snapshot, pool=pool)
                for period in periods
            ]
            return _written(results, budget)
        except RecursionError:
            raise QueryInterpretError(
                "the query makes lists inside of lists too deeply"
            ) from None


def _written(results: Sequence[Value], budget: Budget) -> Answer:
    writer = Writer(budget)
    writer.size(list(results), bytes_max=ANSWER_BYTES_MAX)
    pieces = blocks(writer.pieces(list(results)), budget)
    begun = []
    size = 0
    for piece in pieces:
        begun.append(piece)
        size += len(piece)
        if size > AT_ONCE_BYTES_MAX:
            return Answer(b"".join(begun), pieces)
    return Answer(b"".join(begun), None)
