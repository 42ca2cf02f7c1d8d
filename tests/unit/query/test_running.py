"""The thread in which queries run, and what an answer may be."""

import asyncio
import gc
import json
import threading
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from awvault.columns import timestamps
from awvault.query import (
    Budget,
    Period,
    QueryInterpretError,
    run_query,
    running,
    writing,
)
from awvault.query.parsing import parse_program
from awvault.testing import open_vault
from tests.helpers.query_oracle import Bucket, History

PERIOD = Period.parse("2024-01-01/2024-01-02", field="period")


def run(text: str, *, seconds_max: float = 30.0) -> running.Answer:
    past = History([Bucket("w", [(History().start, 1_000_000, {"a": 1})])])
    return running._run(
        parse_program(text),
        [past.period()],
        "",
        past.snapshot(),
        Budget(seconds_max=seconds_max),
    )


def test_an_answer_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that is too large to send is an error, before anything is sent."""
    monkeypatch.setattr(running, "ANSWER_BYTES_MAX", 500)
    assert run('RETURN = query_bucket("w");').rest is None
    with pytest.raises(
        QueryInterpretError, match="the answer would have more than 500 bytes"
    ):
        run('w = query_bucket("w"); RETURN = {"a": [w, w, w, w], "b": [w, w, w, w]};')


NESTED = 'c = query_bucket("w");' + 'c = chunk_events_by_key(concat(c, c), "a");' * 9


async def whole(answer: running.Answer) -> Any:
    return json.loads(b"".join([piece async for piece in answer.pieces()]))


@pytest.mark.parametrize("kept", [0, 150, 4_096])
async def test_a_large_answer_is_written_as_it_is_sent(
    monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Beyond what is written at once, the text comes in pieces, each in a thread."""
    text = NESTED + 'w = query_bucket("w"); RETURN = [w, c, "x", sum_durations(w)];'
    expected = await whole(run(text))
    assert run(text).rest is None
    monkeypatch.setattr(running, "AT_ONCE_BYTES_MAX", 20)
    monkeypatch.setattr(writing, "BLOCK_BYTES", 100)
    monkeypatch.setattr(writing, "KEPT_BYTES_MAX", kept)
    threads = set()
    encode = timestamps.render_many

    def seen(*args: Any) -> Any:
        threads.add(threading.current_thread())
        return encode(*args)

    answer = run(text)
    monkeypatch.setattr("awvault.query.writing.render_many", seen)
    assert answer.rest is not None
    assert await whole(answer) == expected
    assert threading.current_thread() not in threads
    assert threads
    ((_, nested, *others),) = expected
    assert others == ["x", 1.0]
    for _ in range(9):
        nested = nested[0]["data"]["subevents"]
        assert len(nested) == 2


async def test_a_large_answer_takes_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events inside of events are not put together before they are sent."""
    monkeypatch.setattr(running, "AT_ONCE_BYTES_MAX", 100_000)
    text = NESTED + 'c = chunk_events_by_key(concat(c, c), "a");' * 5 + "RETURN = c;"
    tracemalloc.start()
    try:
        answer = run(text)
        size = 0
        async for piece in answer.pieces():
            size += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 2_000_000
    assert peak < 1_500_000, (size, peak)


async def test_the_seconds_of_a_query_end_while_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it takes to write counts; what a reader takes does not."""
    monkeypatch.setattr(running, "AT_ONCE_BYTES_MAX", 20)
    monkeypatch.setattr(writing, "BLOCK_BYTES", 100)
    past = History([Bucket("w", [(History().start, 1_000_000, {"a": 1})])])
    clock = Clock()
    monkeypatch.setattr("awvault.query.budget.time", clock)
    budget = Budget(seconds_max=30)
    program = parse_program(NESTED + "RETURN = c;")
    answer = running._run(program, [past.period()], "", past.snapshot(), budget)
    pieces = answer.pieces()
    for _ in range(5):
        await anext(pieces)
        clock.now += 100  # the reader
    budget._end = clock.now - 100
    with pytest.raises(QueryInterpretError, match="takes longer than 30 seconds"):
        await anext(pieces)


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


def test_chunks_inside_of_chunks_end_somewhere() -> None:
    """Deeper than the interpreter goes is an error of the query."""
    chunks = 'c = chunk_events_by_key(c, "a");' * 1_500
    with pytest.raises(QueryInterpretError, match="lists inside of lists too deeply"):
        run(f'c = query_bucket("w"); {chunks} RETURN = c;')


def test_garbage_is_looked_for_again_afterwards() -> None:
    """Also after a query that failed; and not, if it was not before."""
    with pytest.raises(QueryInterpretError):
        run("RETURN = 1;", seconds_max=0)
    assert gc.isenabled()
    gc.disable()
    try:
        run("RETURN = 1;")
        assert not gc.isenabled()
    finally:
        gc.enable()


async def test_so_many_queries_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is refused, and told to try again; later ones are answered."""
    monkeypatch.setattr(running, "WAITING_MAX", 2)
    async with await open_vault(tmp_path / "vault") as vault:
        asked = [run_query(vault, "RETURN = 1;", [PERIOD]) for _ in range(3)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        answer = await run_query(vault, "RETURN = 2;", [PERIOD])

    assert [isinstance(r, QueryInterpretError) for r in results] == [False, False, True]
    assert "try again later" in str(results[2])
    assert await whole(answer) == [2]


async def test_the_end_of_the_process_waits_for_no_query(tmp_path: Path) -> None:
    """The thread is one that may be cut off."""
    async with await open_vault(tmp_path / "vault") as vault:
        await run_query(vault, "RETURN = 1;", [PERIOD])
    (thread,) = [t for t in threading.enumerate() if t.name == "awvault-query"]
    assert thread.daemon


def test_lists_of_lists_hold_no_other_thread_up() -> None:
    """To look for one in another compares what doubles with each statement."""
    doubled = "".join(
        f"{name} = [1];" + f"{name} = [{name}, {name}];" * 60 for name in "ab"
    )
    ticks = [time.monotonic()]
    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.002):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        with pytest.raises(QueryInterpretError, match="a list or dict holds more than"):
            run(doubled + "RETURN = contains([a], b);")
    finally:
        ticks.append(time.monotonic())
        done.set()
        thread.join()
    assert max(b - a for a, b in pairwise(ticks)) < 1
