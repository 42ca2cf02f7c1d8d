"""`awvault query`, through a running server and without one."""

import contextlib
import json
from pathlib import Path

import pytest

from tests.integration.cli.harness import Machine

DAY = "2026-01-01/2026-01-02"
NEXT = "2026-01-02T00:00:00+00:00/2026-01-03"
TOTAL = 'RETURN = sum_durations(query_bucket("notes"));'


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A vault with one event."""
    machine = Machine(tmp_path_factory.mktemp("query"))
    machine.ok("init")
    data = json.dumps({"title": "a\x1b[2Jb é"})
    machine.ok("add", "notes", data, "--type", "note", "--timestamp",
               "2026-01-01T10:00:00", "--duration", "90.5")  # fmt: skip
    return machine


@pytest.mark.parametrize("served", [True, False], ids=["served", "alone"])
def test_a_query_is_answered_for_each_period(
    vault: Machine, tmp_path: Path, served: bool
) -> None:
    """From a file and from standard input, with aw-server and without."""
    file = tmp_path / "total.query"
    file.write_text(TOTAL)

    with vault.server() if served else contextlib.nullcontext():
        both = vault.ok("query", file, "--period", DAY, "--period", NEXT, "--json")
        shown = vault.ok("query", "-", "--period", DAY, stdin=TOTAL)
        wrong = vault.awvault("query", "-", "--period", DAY, stdin="RETURN = x;")

    assert both.out == "[90.5,0.0]\n"
    assert shown.out == "90.5\n"
    assert wrong.status == 1
    assert "Tried to reference variable 'x' which is not defined" in wrong.err


def test_a_day_is_one_of_this_machine(vault: Machine) -> None:
    """From midnight to midnight there; without a period it is today."""
    ask = "RETURN = [STARTTIME, ENDTIME];"

    def asked(zone: str, *periods: str) -> list[list[str]]:
        given = [word for period in periods for word in ("--period", period)]
        done = vault.run(
            "awvault", "query", "-", "--json", *given,
            stdin=ask, environment={"TZ": zone},
        )  # fmt: skip
        assert done.status == 0, done.err
        found = done.json()
        assert isinstance(found, list)
        return found

    assert asked("Europe/Berlin", "2026-10-25", "2026-01-01") == [
        ["2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"],
        ["2026-01-01T00:00:00+01:00", "2026-01-02T00:00:00+01:00"],
    ]
    (usual,), (today, yesterday) = asked("UTC"), asked("UTC", "today", "yesterday")
    assert usual[0].endswith("T00:00:00+00:00")
    assert yesterday[1] == today[0]
    # Unless it became another day meanwhile.
    assert usual in (today, yesterday)


def test_nothing_that_does_not_print_is_printed(vault: Machine) -> None:
    """Titles are chosen by others: an escape code in one stays an escape."""
    query = 'RETURN = query_bucket("notes");'
    for option in ((), ("--json",)):
        out = vault.ok("query", "-", "--period", DAY, *option, stdin=query).out
        assert "\x1b" not in out
        events = json.loads(out)
        (event,) = events[0] if option else events
        assert event["data"] == {"title": "a\x1b[2Jb é"}


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("-", "--period", "2026-13-01"), b"", "is neither a day, such as 2026-11-24"),
        (("-", "--period", "9999-12-31"), b"", "is neither a day, such as 2026-11-24"),
        (("-", "--period", "2026-01-02/2026-01-01"), b"", "its end is before its"),
        (("-", "--period", "soon/2026-01-01"), b"", "date or time, such as 2026-11-24"),
        (("-", "--period", DAY), b"\xff", "is not UTF-8: byte 0 is wrong"),
        (("-", "--period", DAY), b" " * (2**20 + 1), "is larger than 1048576 bytes"),
        (("missing", "--period", DAY), b"", 'cannot read "missing"'),
    ],
    ids=["no day", "the last day", "reversed", "no time", "utf-8", "large", "missing"],
)
def test_what_cannot_be_asked_is_a_usage_error(
    vault: Machine, arguments: tuple[str, ...], stdin: bytes, message: str
) -> None:
    """Status 2, and what is wrong."""
    done = vault.awvault("query", *arguments, stdin=stdin)

    assert done.status == 2
    assert message in done.err
