"""The benchmarks run, at a tiny size; no figure is judged."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gateway, host, sync, transfer, vault
from benchmarks.client import AnswerError, fetch, get, run_kept, run_load
from benchmarks.report import Report, publish
from benchmarks.servers import activitywatch_python
from benchmarks.workload import EVENTS_PER_DAY, heartbeats, json_events, make_events

TINY = gateway.Sizes(
    fill_events=300,
    rounds=1,
    heartbeat_seconds=0.05,
    batch_requests=((1, 3), (100, 2)),
    read_rounds=1,
    export_rounds=1,
    query_rounds=1,
)


TINY_HOST = host.Sizes(
    body_bytes=(256,),
    connections=(2,),
    requests=32,
    rounds=1,
    accounts=(3, 5),
    active=2,
    growth_rounds=1,
    prelogins=4,
    polls=9,
)


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, int]]:
    """Listen, and give each connection the next of these answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        yield ("127.0.0.1", listener.getsockname()[1])
        thread.join()


def test_the_workload_is_the_same_each_time_and_in_order() -> None:
    """One seed gives the same events, oldest first, none beyond the next one."""
    first, second = make_events(EVENTS_PER_DAY + 50), make_events(EVENTS_PER_DAY + 50)
    assert json_events(first) == json_events(second)
    assert json_events(first) != json_events(make_events(len(first), seed=1))
    ends = first.start_ms + first.duration_ms
    assert np.all(np.diff(first.start_ms) >= 0)
    assert np.all(ends[:-1] <= first.start_ms[1:])
    assert all(json.loads(body)["data"]["title"] for body in json_events(first)[:20])
    assert len(heartbeats(7, seed=1)) == 7


def test_the_client_reads_answers_of_every_framing() -> None:
    """A body with a length, one in chunks, and one that the end closes."""
    head = b"HTTP/1.1 200 OK\r\n"
    with answering(
        head + b"Content-Length: 3\r\n\r\nabc",
        head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        head + b"\r\nabc",
    ) as address:
        for _ in range(3):
            assert fetch(address, get(address, "/"))[1] == b"abc"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    ],
    ids=["another status", "cut short"],
)
def test_the_client_counts_no_answer_that_is_wrong(answer: bytes) -> None:
    """A load ends with an error when one answer is not a whole 200."""
    with answering(answer) as address, pytest.raises(AnswerError):
        run_load(address, [[get(address, "/")]])


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n\r\nabc",
    ],
    ids=["another status", "cut short", "no length"],
)
def test_a_connection_that_is_kept_counts_no_wrong_answer(answer: bytes) -> None:
    """As for connections of one request each."""
    with answering(answer) as address, pytest.raises(AnswerError):
        run_kept(address, [[get(address, "/")]])


def test_a_connection_that_is_kept_carries_every_request() -> None:
    """One after the other; each answer has its time."""
    answer = b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for _ in range(3):
                    assert connection.recv(65536).endswith(b"\r\n\r\n")
                    connection.sendall(answer[:30])
                    connection.sendall(answer[30:])

        thread = threading.Thread(target=serve)
        thread.start()
        address = ("127.0.0.1", listener.getsockname()[1])
        load = run_kept(address, [[get(address, "/")] * 3], status=201)
        thread.join()
    assert len(load.latencies) == 3


def test_a_report_compares_round_by_round(tmp_path: Path) -> None:
    """Above 1 is in our favour, whether more or less of the unit is better."""
    report = Report("Title")
    for ours, theirs in ((10.0, 1.0), (30.0, 2.0), (100.0, 50.0)):
        report.more("speed", "x/s", "ours", ours)
        report.more("speed", "x/s", "theirs", theirs)
        report.less("time", "s", "ours", theirs)
        report.less("time", "s", "theirs", ours)
    publish(report, tmp_path / "report.json")
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [row["ours_times_better_than"] for row in rows] == [{"theirs": 10.0}] * 2
    assert rows[0]["medians"] == {"ours": 30.0, "theirs": 2.0}
    assert "| speed (x/s) | 30.0 |   2.00 |         10.0x |" in report.table()


def test_the_servers_are_measured_side_by_side() -> None:
    """Each row has a value of each server that can have one."""
    names = [
        name
        for name in gateway.STARTERS
        if name != "activitywatch" or activitywatch_python() is not None
    ]
    report = gateway.measure_started(names, TINY)
    rows = {row.name: row.values for row in report.rows}
    assert list(rows["heartbeats, 8 clients"]) == names
    full = {name for name in names if name not in gateway.LIMITS}
    for name in (
        "GET 1000 events",
        "web interface's query, 1 day",
        "export 300 events",
        "disk",
    ):
        assert set(rows[name]) == full
    assert all(value > 0 for row in rows.values() for v in row.values() for value in v)


def test_a_vault_is_measured() -> None:
    """The vault's benchmark fills, reads, starts and verifies."""
    report = vault.measure(vault.Sizes(events=2_000, days_read=1, repeats=1))
    assert {"Argon2id alone", "awvault verify, through the server"} <= {
        row.name for row in report.rows
    }


def test_imports_and_exports_are_measured() -> None:
    """Each row has a figure."""
    report = transfer.measure(
        transfer.Sizes(events=600, compared_events=0, forms=("csv",))
    )
    names = {row.name.partition(",")[0] for row in report.rows}
    assert {"import", "the same import again", "export as csv"} <= names
    assert all(row.values for row in report.rows)


def test_a_host_is_measured() -> None:
    """Beside its limits, by the number of its accounts, and when nobody asks."""
    report, growth = host.measure(TINY_HOST)
    rows = {row.name: row.values for row in report.rows}
    appends = rows["append 256 B, 2 connections"]
    assert set(appends) == {*host.STARTERS, host.RAW}
    assert all(value > 0 for values in appends.values() for value in values)
    assert rows["memory of an idle host"][host.OURS][0] > 10
    grown = {row.name: row.values for row in growth.rows}
    assert set(grown["prelogin, 32 connections"]) == {"3 accounts", "5 accounts"}


def test_syncs_are_measured() -> None:
    """Of a long history and of short records, each client's first and second."""
    report = sync.measure(sync.Sizes(events=2_000, minutes=4, clients=2))
    rows = {row.name: row.values for row in report.rows}
    for name in ("2,000 events", "4 minutes"):
        assert set(rows[f"{name}: first sync"]) == {
            sync.OURS,
            sync.ALONE,
            sync.DOWNLOAD,
        }
        assert len(rows[f"{name}: sync of one more day"][sync.OURS]) == 2
    assert all(value > 0 for row in rows.values() for v in row.values() for value in v)
