"""Exports that are made again and again, by the command and by aw-server."""

import asyncio
import contextlib
import csv
import io
import json
import signal
import stat
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from awvault import localhost
from awvault.settings import Overrides, read_settings
from awvault.transfer.folders import PART, ExportFolder
from awvault.transfer.formats import FormatMissingError
from awvault.transfer.scheduled import check_exports
from tests.helpers.processes import Home, Root, home
from tests.helpers.waiting import until

DAY = 86_400
NOW = datetime(2026, 11, 24, 9, tzinfo=UTC).timestamp()


def write(folder: ExportFolder, content: bytes, *, now: float = NOW) -> None:
    with folder.new_file(now=now) as file:
        file.write(content)


def test_a_folder_holds_whole_files_of_its_owner(tmp_path: Path) -> None:
    """One gets its name when it is whole; what fails leaves nothing."""
    folder = ExportFolder(tmp_path, form="csv")
    write(folder, b"whole")
    with contextlib.suppress(ZeroDivisionError), folder.new_file(now=NOW + 1) as file:
        file.write(b"half")
        assert sorted(path.name[-5:] for path in tmp_path.iterdir()) == [PART, "Z.csv"]
        raise ZeroDivisionError

    (path,) = tmp_path.iterdir()
    assert path.name == "awvault-export-20261124T090000Z.csv"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"whole"


def test_when_an_export_is_due(tmp_path: Path) -> None:
    """A period after the newest; the future, and other files, say nothing."""
    folder = ExportFolder(tmp_path, form="lines")
    (tmp_path / "awvault-export-20991124T090000Z.jsonl").touch()
    (tmp_path / "awvault-export-99999999T999999Z.jsonl").touch()
    (tmp_path / "other").touch()
    assert folder.seconds_until(DAY, now=NOW) <= 0
    write(folder, b"", now=NOW - 3_600)
    write(folder, b"", now=NOW - 7_200)
    assert folder.seconds_until(DAY, now=NOW) == DAY - 3_600
    assert folder.seconds_until(3_600, now=NOW) == 0


def test_only_exports_are_removed(tmp_path: Path) -> None:
    """The oldest ones and torn ones; no link, no directory, no other file."""
    folder = ExportFolder(tmp_path, form="lines")
    for day in range(5):
        write(folder, b"%d" % day, now=NOW + day * DAY)
    others = {
        "awvault-export-20261124T090000Z.jsonl.bak",
        "awvault-export-20261124.jsonl",
        "history.jsonl",
        "other.part",
    }
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / "awvault-export-20201124T090000Z.jsonl.part").touch()
    (tmp_path / "awvault-export-20201124T090000Z.jsonl").mkdir()
    (tmp_path / "awvault-export-20211124T090000Z.jsonl").symlink_to(tmp_path)

    folder.prune(2)

    kept = {path.name for path in tmp_path.iterdir()} - others
    assert kept == {
        "awvault-export-20201124T090000Z.jsonl",
        "awvault-export-20211124T090000Z.jsonl",
        "awvault-export-20261127T090000Z.jsonl",
        "awvault-export-20261128T090000Z.jsonl",
    }


def exports(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.glob("awvault-export-*.jsonl"))
        if "2020" not in path.name
    ]


def test_the_command_goes_on_until_it_is_stopped(tmp_path: Path) -> None:
    """It exports at once where none is there, keeps N, and ends by Ctrl-C."""
    to = tmp_path / "to"
    to.mkdir()
    old = [f"awvault-export-2020112{day}T090000Z.jsonl" for day in (4, 5)]
    for name in old:
        (to / name).touch()
    with home(tmp_path / "home", root=Root.FORKED) as where:
        assert where.run("init").status == 0
        assert where.run("add", "notes", '{"a":1}', "--type", "t").status == 0
        process = subprocess.Popen(
            [
                *where.root.program("awvault"),
                *("export", "--every", "day", "--to", str(to), "--keep", "2"),
            ],
            env=where.environment(),
            stderr=subprocess.PIPE,
        )
        try:
            asyncio.run(until(lambda: len(exports(to)) == 1))
            asyncio.run(until(lambda: not (to / old[0]).exists()))
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
        gone = where.run("export", "--every", "day", "--to", str(tmp_path / "gone"))
        both = where.run("export", "--every", "day")

    assert process.returncode == 130
    assert b"not encrypted" in said
    assert [path.name for path in to.iterdir() if "2020" in path.name] == old[1:]
    (exported,) = exports(to)
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    assert json.loads(exported.read_bytes().splitlines()[-1])["end"]["events"] == 1
    assert (gone.status, both.status) == (1, 2)
    assert str(tmp_path / "gone").encode() in gone.stderr


def test_aw_server_exports_by_itself(tmp_path: Path) -> None:
    """Where the settings say so; it warns; what fails ends nothing."""
    to = tmp_path / "to"
    with home(tmp_path / "home", root=Root.FORKED) as where:
        where.variables["AWVAULT_EXPORT_TO"] = str(to)
        server = where.serve()
        asyncio.run(until(lambda: "failed" in server.stderr))
        assert where.run("buckets").status == 0
        told = where.run("status").stdout.decode()
        assert f"To be looked at: exports: {to}: No such file" in told
        server.terminate()
        to.mkdir()
        server = where.serve()
        asyncio.run(until(lambda: exports(to)))
        assert f"every day to {to}" in where.run("status").stdout.decode()
        server.terminate()

    assert "not encrypted" in server.stderr
    assert b"awvault-lines" in exports(to)[0].read_bytes()


def test_doctor_says_whether_exports_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing where none are asked for; else the last one, or what is wrong."""
    made = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
    to = tmp_path / "to"
    settings = replace(
        read_settings(Overrides(data_dir=tmp_path, port=0), environment={}),
        export_to=to,
    )

    def outcome(after_hours: float = 1, form: str = "lines") -> str:
        asked = replace(settings, export_format=form)
        (check,) = check_exports(asked, now=made + after_hours * 3600)
        return f"{check.outcome}: {check.detail}"

    assert list(check_exports(replace(settings, export_to=None), now=made)) == []
    assert outcome() == f"fail: {to}: No such file or directory"
    to.mkdir()
    assert outcome() == f"warn: none is in {to} yet"
    (to / "awvault-export-20260101T120000Z.jsonl").touch()
    assert outcome(1) == f"ok: every day to {to}, the last 1.0 h ago"
    assert outcome(49).startswith("warn: the newest")
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    assert outcome(form="parquet").startswith("fail: Parquet is written by polars")
    monkeypatch.setattr(localhost, "forbid_core_dumps", lambda: None)
    monkeypatch.setattr(localhost, "bind_socket", None)
    with pytest.raises(FormatMissingError):
        localhost.serve(replace(settings, export_format="parquet"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("EVERY", "minute"), ("KEEP", "0"), ("KEEP", "x"), ("FORMAT", "xml")],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    with home(tmp_path / "home", root=Root.FORKED) as where:
        where.variables[f"AWVAULT_EXPORT_{name}"] = value
        done = where.run("status")
    assert done.status == 1
    assert f"AWVAULT_EXPORT_{name}".encode() in done.stderr


# -- forms --------------------------------------------------------------------


def filled(where: Home) -> None:
    assert where.run("init").status == 0
    for arguments in (
        ("add", "a,b", '{"t":"=1+1, \\"x\\"\\n"}', "--type", "t",
         "--timestamp", "2026-01-01T00:00:00.5Z", "--duration", "1.25"),
        ("add", "a,b", '{"t":"ü"}', "--timestamp", "2026-01-01T00:00:01Z"),
    ):  # fmt: skip
        assert where.run(*arguments).status == 0


def test_csv_and_parquet_have_a_row_for_each_event(tmp_path: Path) -> None:
    """All of it, exactly; and a Parquet file that failed is none."""
    with home(tmp_path / "home", root=Root.FORKED) as where:
        filled(where)
        out = where.run("export", "--format", "csv").stdout.decode()
        file = tmp_path / "x.parquet"
        done = where.run("export", "--format", "parquet", "--output", str(file))
        missing = tmp_path / "y.parquet"
        failed = where.run(
            *("export", "--format", "parquet", "--bucket", "none"),
            *("--output", str(missing)),
        )

    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [row["bucket"] for row in rows] == ["a,b", "a,b"]
    assert [row["duration"] for row in rows] == ["1.25", ""]
    assert rows[0]["timestamp"] == "2026-01-01T00:00:00.500000+00:00"
    assert json.loads(rows[0]["data"]) == {"t": '=1+1, "x"\n'}
    assert done.status == 0, done.stderr
    table = pl.read_parquet(file)
    assert table.columns == ["bucket", "id", "timestamp", "duration", "data"]
    assert table["timestamp"][0] == datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC)
    assert [str(d) for d in table["duration"]] == ["0:00:01.250000", "None"]
    assert json.loads(table["data"][1]) == {"t": "ü"}
    assert failed.status == 1
    assert not missing.exists()


def test_parquet_without_polars_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is opened or written."""
    from awvault.transfer.formats import FormatMissingError, check_form

    monkeypatch.setitem(__import__("sys").modules, "polars", None)

    with pytest.raises(FormatMissingError, match="polars") as caught:
        check_form("parquet")
    assert "pip install" in caught.value.hint
