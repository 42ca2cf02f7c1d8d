"""An import is known by its events: killed and run again, it adds nothing twice."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awvault.columns.timestamps import render
from awvault.errors import InvalidInputError
from awvault.incoming import NewRows
from awvault.service import ExportRequest, ImportResult, ignore_progress
from awvault.testing import open_vault
from awvault.transfer import jsonstream
from awvault.transfer.databases import database_parts
from awvault.transfer.exporting import export_lines, read_pages
from awvault.transfer.formats import Tally
from awvault.transfer.importing import Importer
from awvault.transfer.jsonstream import JsonStream
from awvault.transfer.parts import EventsPart
from awvault.transfer.sources import file_parts
from awvault.vault import Vault
from tests.helpers.processes import Home, Root, home

START = 1_700_000_000_000_000

EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "timestamp": st.integers(0, 3).map(lambda s: render(START + s * 10**6)),
            "duration": st.sampled_from([0, 1, 1.0, 2.5, 2.500001, -1]),
            "data": st.sampled_from(
                [{}, {"a": 1}, {"a": 1.0}, {"a": True}, {"b": 1, "a": 2}]
            ),
        }
    ),
    max_size=8,
)


def export_of(events: list[Any], bucket: str = "b", kind: str = "t") -> bytes:
    return json.dumps({"buckets": {bucket: {"type": kind, "events": events}}}).encode()


async def import_into(
    vault: Vault, body: bytes, *, step: int = 1 << 16
) -> ImportResult:
    pieces = [body[at : at + step] for at in range(0, len(body), step)]

    async def read() -> bytes:
        return pieces.pop(0) if pieces else b""

    importer = Importer(vault, ignore_progress)
    return await importer.run(file_parts(read))


async def shown(vault: Vault, bucket: str = "b") -> Counter[tuple[int, int, bytes]]:
    table = await vault.read_async(bucket)
    return Counter(
        zip(
            table.start.tolist(),
            table.duration.tolist(),
            (table.texts[at] for at in table.data.tolist()),
            strict=True,
        )
    )


@asynccontextmanager
async def vault_with_buckets(directory: Path, *names: str) -> AsyncIterator[Vault]:
    async with await open_vault(directory) as vault:
        for name in names:
            await vault.create_bucket(name, type="t")
        yield vault


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(EVENTS, min_size=1, max_size=3), st.data())
def test_what_was_imported_is_found_again(
    tmp_path: Path, files: list[list[Any]], data: st.DataObject
) -> None:
    """Any files, in any order, some of them again: the second time adds nothing."""

    async def run(vault: Vault, number: int) -> None:
        bucket = f"b{number}"
        for events in files:
            await import_into(vault, export_of(events, bucket))
        before = await shown(vault, bucket)
        # Each event of the file is there, or a longer one is.
        for event in files[-1]:
            begins = [key[0] for key in before]
            assert any(render(begin) == event["timestamp"] for begin in begins)
        for events in data.draw(st.permutations(files)):
            result = await import_into(vault, export_of(events, bucket))
            assert result.events_added == 0
            assert result.events_present + result.events_extended == len(events)
        assert sum((await shown(vault, bucket)).values()) == sum(before.values())

    RUNS.append(0)
    asyncio.run(_in_one_vault(tmp_path, run))


RUNS: list[int] = []


async def _in_one_vault(directory: Path, run: Any) -> None:
    async with await open_vault(directory / "vault") as vault:
        await run(vault, len(RUNS))


async def test_equal_events_of_a_file_are_counted(tmp_path: Path) -> None:
    """Two that are equal make two, by value and not by spelling."""
    body = export_of(
        [
            {"timestamp": render(START), "duration": 1, "data": {"a": 1, "b": 2}},
            {"timestamp": render(START), "duration": 1.0, "data": {"b": 2.0, "a": 1}},
        ]
    )
    async with await open_vault(tmp_path / "vault") as vault:
        first = await import_into(vault, body)
        second = await import_into(vault, body)

    assert (first.events_added, first.events_present) == (2, 0)
    assert (second.events_added, second.events_present) == (0, 2)


async def test_an_extension_is_a_correction(tmp_path: Path) -> None:
    """The event keeps its id; a difference below a millisecond is none."""
    event = {"timestamp": render(START), "duration": 1, "data": {"a": 1}}
    async with await open_vault(tmp_path / "vault") as vault:
        await import_into(vault, export_of([event]))
        (before,) = vault.read("b").id.tolist()
        near = await import_into(vault, export_of([event | {"duration": 1.0005}]))
        longer = await import_into(vault, export_of([event | {"duration": 5}]))
        shorter = await import_into(vault, export_of([event]))
        after = vault.read("b")

    assert (near.events_extended, near.events_present) == (0, 1)
    assert (longer.events_extended, longer.events_added) == (1, 0)
    assert (shorter.events_extended, shorter.events_present) == (0, 1)
    assert (after.id.tolist(), after.duration.tolist()) == ([before], [5_000_000])


@pytest.mark.parametrize("form", ["activitywatch", "lines"])
async def test_an_event_without_an_end_is_found_in_either_form(
    tmp_path: Path, form: str
) -> None:
    """ActivityWatch's form has a duration of 0 for it; no round adds it again."""
    other = NewRows(
        starts=[START], durations=[0 if form == "lines" else -1], texts=[b"{}"]
    )
    one = NewRows(starts=[START], durations=[-1], texts=[b"{}"])
    async with (
        vault_with_buckets(tmp_path / "one", "b") as vault,
        vault_with_buckets(tmp_path / "other", "b") as here,
    ):
        await vault.insert_rows("b", one)
        await here.insert_rows("b", other)
        for _ in range(2):
            asked = ExportRequest(form=form)
            lines = [line async for line in export_lines(vault, asked)]
            result = await import_into(here, b"\n".join(lines))
            assert (result.events_added, result.events_present) == (0, 1)
        events = await shown(here)

    assert list(events) == [(START, other.durations[0], b"{}")]


async def test_a_filter_stands_before_the_comparison(tmp_path: Path) -> None:
    """What it takes out is counted; what it changes is found again as it is here."""

    def rule(action: str, text: str) -> bytes:
        return b'[{"action":"drop","text":"secret"},{"action":"%b","text":"%b"}]' % (
            action.encode(),
            text.encode(),
        )

    body = export_of(
        [
            {"timestamp": render(START), "data": {"title": "secret"}},
            {"timestamp": render(START + 1), "data": {"title": "open"}},
        ]
    )
    async with await open_vault(tmp_path / "vault") as vault:
        await vault.preferences.set("privacy_filters", rule("redact", "open"))
        first = await import_into(vault, body)
        second = await import_into(vault, body)
        found = await shown(vault)
        await vault.preferences.set("privacy_filters", rule("drop", "open"))
        nothing = await import_into(vault, body)

    assert (first.events_added, first.events_filtered) == (1, 1)
    assert (second.events_added, second.events_present) == (0, 1)
    assert list(found) == [(START + 1, 0, b'{"title":"REDACTED"}')]
    assert (nothing.events_added, nothing.events_filtered) == (0, 2)


async def test_what_came_before_a_filter_is_here_already(tmp_path: Path) -> None:
    """A filter that is set later doubles nothing; what goes on is stored by it."""
    events = [
        {"timestamp": render(START + at), "duration": 1, "data": {"title": title}}
        for at, title in enumerate(["bank", "open"])
    ]
    after = {"timestamp": render(START + 9), "data": {"title": "bank"}}
    rule = b'[{"action":"redact","text":"bank"}]'
    async with await open_vault(tmp_path / "vault") as vault:
        await import_into(vault, export_of(events))
        await vault.preferences.set("privacy_filters", rule)
        again = await import_into(vault, export_of([*events, after]))
        before = await shown(vault)
        longer = await import_into(
            vault, export_of([event | {"duration": 2} for event in events])
        )
        found = await shown(vault)

    assert (again.events_added, again.events_present) == (1, 2)
    assert (again.events_changed, again.events_extended) == (1, 0)
    assert before[START, 1_000_000, b'{"title":"bank"}'] == 1
    assert (longer.events_added, longer.events_extended) == (0, 2)
    assert longer.events_changed == 1
    assert sorted(found) == [
        (START, 2_000_000, b'{"title":"REDACTED"}'),
        (START + 1, 2_000_000, b'{"title":"open"}'),
        (START + 9, 0, b'{"title":"REDACTED"}'),
    ]


@pytest.mark.parametrize("form", ["activitywatch", "lines"])
async def test_what_an_export_holds_is_counted(tmp_path: Path, form: str) -> None:
    """In events and buckets, however the lines are divided, whatever data say."""
    text = b'{"b":"},\\n{","timestamp":[{"timestamp":"2020"},{"event":1}]}'
    async with vault_with_buckets(tmp_path / "vault", "a", "b", "none") as vault:
        for name, count in (("a", 3), ("b", 1)):
            starts = [START + at for at in range(count)]
            rows = NewRows(starts=starts, durations=[0] * count, texts=[text] * count)
            await vault.insert_rows(name, rows)
        tally = Tally(form)
        async for line in export_lines(vault, ExportRequest(form=form)):
            tally.add(line)

    assert str(tally) == "4 events of 3 buckets"


# -- reading ------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet='"\\{}[],: a\u00fc\n'),
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(st.text(alphabet='"\\{}[],: b', max_size=4), inside)
    ),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.text(alphabet='"\\{}ab', max_size=3), st.lists(JSON)),
    st.integers(1, 40),
    st.sampled_from([None, 0, 2]),
)
def test_a_stream_is_read_as_the_whole_would_be(
    value: dict[str, list[Any]], step: int, indent: int | None
) -> None:
    """However it is cut into pieces, each element is where it was."""
    body = json.dumps(value, indent=indent).encode()

    async def run() -> dict[str, list[Any]]:
        pieces = [body[at : at + step] for at in range(0, len(body), step)]

        async def read() -> bytes:
            return pieces.pop(0) if pieces else b""

        stream = JsonStream(read)
        found: dict[str, list[Any]] = {}
        async for name in stream.members():
            found[name] = []
            async for elements in stream.elements():
                for offset, element in elements.elements():
                    assert body[offset : offset + len(element)] == element
                    found[name].append(json.loads(element))
        await stream.end()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "READ_BYTES_MIN", 1)
        patch.setattr(jsonstream, "VALUE_WINDOW_BYTES", 2)
        patch.setattr(jsonstream, "ELEMENTS_WINDOW_BYTES", 3)
        assert asyncio.run(run()) == value


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=40) | st.text(alphabet='{}[]":,b\\', max_size=30).map(str.encode)
)
def test_no_bytes_break_the_reader(end: bytes) -> None:
    """Whatever follows a good beginning, the answer is an error that says where."""
    body = b'{"buckets":{"b":{"type":"t","events":[' + end

    async def run() -> None:
        pieces = [body]

        async def read() -> bytes:
            return pieces.pop() if pieces else b""

        async for _ in file_parts(read):
            pass

    with contextlib.suppress(InvalidInputError):
        asyncio.run(run())


# -- reading a bucket in pages ------------------------------------------------


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60)), max_size=12),
        max_size=5,
    ),
    st.none() | st.integers(-5, 60),
    st.none() | st.integers(-5, 60),
)
def test_pages_are_what_one_read_would_be(
    tmp_path: Path,
    batches: list[list[tuple[int, int]]],
    start: int | None,
    end: int | None,
) -> None:
    """Each row once, oldest first, whatever lies in records and in the journal."""
    RUNS.append(0)

    async def run(vault: Vault, number: int) -> None:
        bucket = f"p{number}"
        await vault.create_bucket(bucket, type="t")
        for batch in batches:
            await vault.insert_rows(
                bucket,
                NewRows(
                    starts=[row[0] for row in batch],
                    durations=[row[1] for row in batch],
                    texts=[b"{}"] * len(batch),
                ),
            )
            await vault.seal_now()
        whole = await vault.read_async(bucket, start=start, end=end, order="oldest")
        pages = list(read_pages(vault.view(bucket), start=start, end=end, rows_max=4))
        assert [i for page in pages for i in page.id.tolist()] == whole.id.tolist()

    asyncio.run(_in_one_vault(tmp_path, run))


# -- killed -------------------------------------------------------------------


def test_a_killed_import_is_repeated(tmp_path: Path) -> None:
    """SIGKILL in the middle, of the command and of the server: nothing is doubled."""
    count = 40_000
    file = tmp_path / "export.json"
    file.write_bytes(
        export_of(
            [
                {"timestamp": render(START + at * 10**6), "data": {"n": at % 1_000}}
                for at in range(count)
            ]
        )
    )
    with home(tmp_path / "home", root=Root.FORKED) as where:
        assert where.run("init").status == 0
        # By itself, and then through aw-server, which is killed.
        for through_server in (False, True):
            server = where.serve() if through_server else None
            process = subprocess.Popen(
                [*where.root.program("awvault"), "import", str(file)],
                env=where.environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            _wait_for_growth(where)
            if server is None:
                process.send_signal(signal.SIGKILL)
            else:
                server.kill()
            status = process.wait(60)
            assert status != 0
        done = where.run("import", str(file), "--json")
        again = where.run("import", str(file), "--json")
        verified = where.run("verify")

    assert done.status == 0, done.stderr
    first, second = json.loads(done.stdout), json.loads(again.stdout)
    assert first["events_added"] + first["events_present"] == count
    assert (second["events_added"], second["events_present"]) == (0, count)
    assert verified.status == 0


def _wait_for_growth(where: Home) -> None:
    """Wait until more of the import is on the disk than was there."""

    def size() -> int:
        return sum(path.stat().st_size for path in where.data_dir.glob("vault.db*"))

    before = size()
    give_up = time.monotonic() + 60
    while size() < before + 20_000:
        assert time.monotonic() < give_up
        time.sleep(0.002)


# -- ActivityWatch's databases ------------------------------------------------


def rust_database(path: Path, *, version: int = 6) -> apsw.Connection:
    """Make a database as ActivityWatch's Rust server has it."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL")
    data = ", data TEXT NOT NULL DEFAULT '{}'" if version >= 3 else ""
    connection.execute(
        "CREATE TABLE buckets (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " name TEXT UNIQUE NOT NULL, type TEXT NOT NULL, client TEXT NOT NULL,"
        f" hostname TEXT NOT NULL, created TEXT NOT NULL{data})"
    )
    connection.execute(
        "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT,"
        " bucketrow INTEGER NOT NULL, starttime INTEGER NOT NULL,"
        " endtime INTEGER NOT NULL, data TEXT NOT NULL,"
        " FOREIGN KEY (bucketrow) REFERENCES buckets(id))"
    )
    connection.pragma("user_version", version)
    for name in ("one", "two"):
        connection.execute(
            "INSERT INTO buckets (name, type, client, hostname, created)"
            " VALUES (?, 't', 'c', 'h', '2024-01-01T00:00:00.123456789+00:00')",
            (name,),
        )
    for at in range(10):
        connection.execute(
            "INSERT INTO events (bucketrow, starttime, endtime, data)"
            " VALUES (?, ?, ?, ?)",
            (
                1 + at % 2,
                START * 1_000 + at * 10**9 + 1_499,
                START * 1_000 + at * 10**9 + 1_499 + 2_500_000_000,
                json.dumps({"n": at}),
            ),
        )
    return connection


def test_a_database_of_the_rust_server_is_read_while_it_is_open(
    tmp_path: Path,
) -> None:
    """Found by itself, read beside a writer that goes on, and left as it was."""
    with home(tmp_path / "home", root=Root.FORKED) as where:
        assert where.run("init").status == 0
        folder = tmp_path / "home/.local/share/activitywatch/aw-server-rust"
        folder.mkdir(parents=True)
        server = rust_database(folder / "sqlite.db")
        server.execute("BEGIN IMMEDIATE")
        done = where.run("import", "--from-activitywatch", "--json")
        server.execute("COMMIT")
        file = where.run("import", str(folder / "sqlite.db"), "--json")
        shown = where.run("events", "one", "--json")
        server.close()
        (tmp_path / "old.db").unlink(missing_ok=True)
        rust_database(tmp_path / "old.db", version=1).close()
        old = where.run("import", str(tmp_path / "old.db"), "--json")

    assert done.status == 0, done.stderr
    result = json.loads(done.stdout)
    assert [b["events_added"] for b in result["buckets"]] == [5, 5]
    for again in (file, old):
        assert again.status == 0, again.stderr
        assert json.loads(again.stdout)["events_present"] == 10
    newest = json.loads(shown.stdout)[0]
    assert newest["timestamp"] == "2023-11-14T22:13:28.000001Z"
    assert (newest["duration"], newest["data"]) == (2.5, {"n": 8})


async def test_a_database_on_a_read_only_disk_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would make files beside one that has a write-ahead log."""
    folder = tmp_path / "folder"
    folder.mkdir()
    rust_database(folder / "sqlite.db").close()
    monkeypatch.setattr(os, "access", lambda *_: False)

    parts = [part async for part in database_parts(folder / "sqlite.db")]

    assert sum(len(part.starts) for part in parts if isinstance(part, EventsPart)) == 10
    assert [path.name for path in folder.iterdir()] == ["sqlite.db"]


def test_what_is_no_database_of_activitywatch_is_said(tmp_path: Path) -> None:
    """Another database, no database, none at all, one with a wrong event."""
    other = tmp_path / "other.db"
    connection = apsw.Connection(str(other))
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"SQLite format 3\0" + bytes(2_000))
    wrong = tmp_path / "wrong.db"
    connection = rust_database(wrong)
    connection.execute("UPDATE events SET data = '[1]' WHERE id = 7")
    connection.close()
    with home(tmp_path / "home", root=Root.FORKED) as where:
        assert where.run("init").status == 0
        for arguments, says in (
            ((str(other),), b"no database of ActivityWatch"),
            ((str(broken),), b"broken.db"),
            ((str(wrong),), b'bucket "one", event 7, data: expected an object'),
            (("--from-activitywatch",), b"there is no database"),
            (("--from-activitywatch", str(other)), b"one of the three"),
            ((), b"one of the three"),
            (("ftp://localhost",), b"expected one such as http://localhost:5600"),
            (("http://192.0.2.1:5600",), b"another machine"),
            (("http://127.0.0.1:9",), b"does not answer"),
        ):
            done = where.run("import", *arguments)
            assert done.status in {1, 2, 3}, arguments
            assert says in done.stderr, (arguments, done.stderr)
            assert b"internal" not in done.stderr
        # A database through standard input cannot be read.
        assert where.run("import", "-", stdin=other.read_bytes()).status == 1


async def test_an_export_of_a_range_is_whole_events(tmp_path: Path) -> None:
    """What overlaps the range, not cut to it: it can be imported beside the rest."""
    async with vault_with_buckets(tmp_path, "b") as vault:
        await vault.insert_rows(
            "b",
            NewRows(
                starts=[0, 10_000_000, 20_000_000],
                durations=[15_000_000, 1_000_000, 1_000_000],
                texts=[b"{}"] * 3,
            ),
        )
        request = ExportRequest(start=12_000_000, end=19_999_999)
        lines = [json.loads(line) async for line in export_lines(vault, request)]
    events = [line["event"] for line in lines if "event" in line]
    assert [event["duration"] for event in events] == [15.0]
    assert lines[-1] == {"end": {"buckets": 1, "events": 1}}
