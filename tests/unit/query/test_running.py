"""The thread in which queries run, and what an answer may be."""

import asyncio
import gc
import json
import threading
from pathlib import Path

import pytest

from awvault.query import Budget, Period, QueryInterpretError, run_query, running
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
    with pytest.raises(QueryInterpretError, match="the answer would have about"):
        run('w = query_bucket("w"); RETURN = {"a": [w, w, w, w], "b": [w, w, w, w]};')


def test_a_large_answer_is_written_as_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond what is written at once, the text comes in pieces."""
    monkeypatch.setattr(running, "AT_ONCE_BYTES_MAX", 20)
    answer = run('w = query_bucket("w"); RETURN = [w, "x", sum_durations(w)];')

    assert answer.rest is not None
    (((event,), text, total),) = json.loads(b"".join(answer))
    assert (event["data"], text, total) == ({"a": 1}, "x", 1.0)


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
    assert b"".join(answer) == b"[2]"


async def test_the_end_of_the_process_waits_for_no_query(tmp_path: Path) -> None:
    """The thread is one that may be cut off."""
    async with await open_vault(tmp_path / "vault") as vault:
        await run_query(vault, "RETURN = 1;", [PERIOD])
    (thread,) = [t for t in threading.enumerate() if t.name == "awvault-query"]
    assert thread.daemon
