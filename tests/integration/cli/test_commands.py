"""Every command of awvault, with aw-server running and without."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.integration.cli.harness import DEADLINE_SECONDS, Dialog, Machine


def test_add_and_events(vault: Machine) -> None:
    """What is added comes back, newest first, with its time and duration."""
    vault.ok("add", "notes", '{"text": "one"}', "--type", "note", "--timestamp",
             "2026-01-02T03:04:05.000006+01:00", "--duration", "1.5")  # fmt: skip
    vault.ok("add", "notes", "-", "--timestamp", "2026-01-02", stdin='{"text": "two"}')

    events = vault.ok("events", "notes", "--json").json()

    assert [(e["timestamp"], e["duration"], e["data"]) for e in events] == [
        ("2026-01-02T02:04:05.000006Z", 1.5, {"text": "one"}),
        ("2026-01-02T00:00:00Z", None, {"text": "two"}),
    ]
    shown = vault.ok("events", "notes", "--limit", "1").out
    assert "1.500 s" in shown
    assert '{"text": "one"}' in shown
    assert "two" not in shown


def test_events_of_a_range(vault: Machine) -> None:
    """--start and --end choose by time, --limit keeps the newest."""
    vault.ok("add", "notes", "{}", "--type", "note", "--timestamp", "2026-01-01")
    for day in range(2, 6):
        vault.ok("add", "notes", "{}", "--timestamp", f"2026-01-0{day}T12:00:00Z")

    def days(*options: str) -> list[str]:
        events = vault.ok("events", "notes", "--json", *options).json()
        return [event["timestamp"][8:10] for event in events]

    assert days() == ["05", "04", "03", "02", "01"]
    assert days("--start", "2026-01-03", "--end", "2026-01-04T12:00") == ["04", "03"]
    assert days("--limit", "2") == ["05", "04"]
    assert days("--limit", "0") == []


def test_buckets(vault: Machine) -> None:
    """The list says what each bucket is, and how many events it has."""
    assert vault.ok("buckets", "--json").json() == []
    vault.ok("add", "notes", "{}", "--type", "note", "--timestamp", "2026-01-01",
             "--duration", "60")  # fmt: skip

    (bucket,) = vault.ok("buckets", "--json").json()

    assert (bucket["id"], bucket["type"], bucket["events"]) == ("notes", "note", 1)
    assert bucket["last_updated"] == "2026-01-01T00:01:00Z"
    assert "notes" in vault.ok("buckets").out


def test_a_deleted_bucket_comes_back(machine: Machine) -> None:
    """With aw-server and without: it is listed, and one command brings it back."""
    machine.ok("init")
    with machine.server() as server:
        for count in (1, 2):
            for number in range(count):
                machine.ok("add", "notes", str({}), "--type", f"n{number}")
            server.delete("/api/0/buckets/notes?force=1")
        machine.ok("add", "notes", "{}", "--type", "note")
        one, two = machine.ok("buckets", "--deleted", "--json").json()
        assert [(b["id"], b["events"]) for b in (one, two)] == [
            ("notes", 1),
            ("notes", 2),
        ]
        unclear = machine.awvault("undelete", "notes")
        assert unclear.status == 1
        assert "2 deleted buckets" in unclear.err
        assert "awvault buckets --deleted" in unclear.err
        # Another bucket that was called like the number of this one.
        other = f"/api/0/buckets/{one['number']}"
        server.request(other, {"type": "note", "client": "c", "hostname": "h"})
        server.delete(f"{other}?force=1")
        back = machine.ok("undelete", str(one["number"]))
        assert back.out == "notes-restored: 1 event\n"
        assert 'there is a bucket "notes" again' in back.err
    assert str(two["number"]) in machine.ok("buckets", "--deleted").out
    back = machine.ok("undelete", "notes", "--name", "old", "--json")
    assert back.json() == {"bucket": "old", "before": "notes", "events": 2}
    (left,) = machine.ok("buckets", "--deleted", "--json").json()
    assert left["id"] == str(one["number"])
    assert {b["id"] for b in machine.ok("buckets", "--json").json()} == {
        "notes",
        "notes-restored",
        "old",
    }
    assert machine.awvault("undelete", "nobody").status == 1


def test_the_history_of_events(machine: Machine) -> None:
    """An event that was corrected and deleted is listed with all that it was."""
    machine.ok("init")
    with machine.server() as server:
        machine.ok("add", "notes", '{"text": "one"}', "--type", "note", "--timestamp",
                   "2026-01-01")  # fmt: skip
        (event,) = machine.ok("events", "notes", "--json").json()
        server.request(
            "/api/0/buckets/notes/events",
            {**event, "duration": 0, "data": {"text": "two"}},
        )
        server.delete(f"/api/0/buckets/notes/events/{event['id']}")
        through = machine.ok("events", "notes", "--history", "--json").json()
    assert machine.ok("events", "notes", "--json").json() == []
    found = machine.ok("events", "notes", "--history", "--json").json()
    assert found == through
    assert [(e["change"], e["current"], e["data"]) for e in found] == [
        ("original", False, {"text": "one"}),
        ("correction", False, {"text": "two"}),
        ("deletion", True, {}),
    ]
    assert {e["id"] for e in found} == {event["id"]}
    assert found[0]["client"]
    shown = machine.ok("events", "notes", "--history").out
    assert "* deletion" in shown.splitlines()[2]


def test_an_event_that_is_not_deleted_does_not_come_back(vault: Machine) -> None:
    """Which is said, with where to look."""
    for text in ("kept", "one"):
        data = json.dumps({"text": text})
        vault.ok("add", "notes", data, "--type", "note", "--timestamp", "2026-01-01")
    found = vault.ok("events", "notes", "--json").json()
    unknown = vault.awvault("undelete", "notes", "--event", str(found[0]["id"]))
    assert unknown.status == 1
    assert f'"notes" has no deleted event {found[0]["id"]}' in unknown.err
    assert "awvault events BUCKET --history" in unknown.err
    both = vault.awvault("undelete", "notes", "--event", "1", "--name", "n")
    assert both.status == 2
    assert vault.awvault("undelete", "nobody", "--event", "1").status == 1


def test_a_deleted_event_comes_back_while_it_runs(machine: Machine) -> None:
    """As it was last, under its id, each time it is deleted; the rest stays."""
    machine.ok("init")
    with machine.server() as server:
        for text in ("kept", "one"):
            machine.ok("add", "notes", json.dumps({"text": text}), "--type", "note",
                       "--timestamp", "2026-01-01")  # fmt: skip
        before = machine.ok("events", "notes", "--json").json()
        (event,) = (e for e in before if e["data"] == {"text": "one"})
        corrected = {**event, "duration": 7, "data": {"text": "two"}}
        server.request("/api/0/buckets/notes/events", corrected)
        expected = machine.ok("events", "notes", "--json").json()
        gone = f"/api/0/buckets/notes/events/{event['id']}"
        for _ in range(2):
            server.delete(gone)
            assert len(machine.ok("events", "notes", "--json").json()) == 1
            back = machine.ok("undelete", "notes", "--event", str(event["id"]))
            assert back.out == "notes: 1 event back\n"
            assert machine.ok("events", "notes", "--json").json() == expected
        server.delete(gone)
    # Sealed meanwhile or not, and without the server.
    back = machine.ok("undelete", "notes", "--event", str(event["id"]), "--json")
    assert back.json() == {"bucket": "notes", "before": "notes", "events": 1}
    assert machine.ok("events", "notes", "--json").json() == expected
    changes = machine.ok("events", "notes", "--history", "--json").json()
    assert [e["change"] for e in changes if e["id"] == event["id"]] == [
        "original",
        "correction",
        *("deletion", "correction") * 3,
    ]


def test_a_file_that_exists_is_not_written_over(machine: Machine) -> None:
    """What to do is said, and not where the options are explained."""
    machine.ok("init")
    file = machine.home / "history.jsonl"
    machine.ok("export", "--output", file)
    again = machine.awvault("export", "--output", file)
    assert again.status == 1
    assert "exists already: name another file, or move that one away" in again.err
    assert "--help" not in again.err


def test_a_key_for_the_gateway(machine: Machine) -> None:
    """One command makes it and says what to write where; then it is asked for."""
    made = machine.ok("api-key", "new").out
    path = machine.config_dir / "api-key"
    key = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"api_key_file = '{path}'" in made
    assert f'[auth]\n    api_key = "{key}"\n' in made
    client = machine.home / "config/activitywatch/aw-server-rust/config.toml"
    assert str(client) in made
    assert not client.exists()
    assert "cannot send a key" in made
    again = machine.awvault("api-key", "new")
    assert again.status == 1
    assert "already" in again.err
    assert path.read_text().strip() == key
    assert key in machine.ok("api-key", "show").out

    (machine.config_dir / "config.toml").write_text(
        f"api_key_file = '{path}'\ncors_origins = ['https://a.example']\n"
    )
    with machine.server() as server:
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{server.url}/api/0/info", headers={"Origin": "https://a.example"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            allowed = answer.headers["Access-Control-Allow-Origin"]
        assert allowed == "https://a.example"
        assert server.request("/api/0/info")["device_id"]
        with pytest.raises(urllib.error.HTTPError) as caught:
            server.request("/api/0/buckets/")
        caught.value.close()
        assert caught.value.code == 401
        told = machine.ok("status", "--json").json()["server"]
        assert told["refused_without_key"] == 1
        assert told["last_refused"] >= told["started"]
        assert "1 request did not show the API key" in machine.ok("status").out
        server.headers["Authorization"] = f"Bearer {key}"
        assert server.request("/api/0/buckets/") == {}
        # The commands have their own way in.
        assert machine.ok("buckets", "--json").json() == []
    assert key not in machine.log()
    assert machine.log().count("do not show the API key") == 1


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("", 0o600, "0 characters"),
        ("\n", 0o600, "0 characters"),
        ("short", 0o600, "5 characters"),
        ("a key with spaces in it", 0o600, "a space"),
        ("a-key-that-is-long-enough", 0o644, "open to other users"),
        (None, 0o600, "cannot read API key file"),
    ],
)
def test_a_key_that_cannot_be_used_ends_the_start(
    machine: Machine, content: str | None, mode: int, said: str
) -> None:
    """A gateway that seems to ask for a key asks for one, or does not run."""
    path = machine.home / "key"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    machine.environment["AWVAULT_API_KEY_FILE"] = str(path)

    done = machine.run("aw-server", "--port", "0")

    assert done.status == 1
    assert said in done.err
    assert "hint" in done.err
    assert content is None or len(content) < 10 or content not in done.err


def test_status(vault: Machine, request: pytest.FixtureRequest) -> None:
    """It says that this machine holds its own passphrase, and who serves."""
    vault.ok("add", "notes", "{}", "--type", "note")

    status = vault.ok("status", "--json").json()

    assert status["data_dir"] == str(vault.data_dir)
    assert (status["buckets"], status["events"]) == (1, 1)
    assert status["machine_holds_passphrase"] is True
    assert status["passphrase_file"] == str(vault.generated_files[0])
    running = "through" in request.node.callspec.id
    assert (status["server"] is not None) is running
    shown = vault.ok("status").out
    assert "not this machine" in shown
    assert len(status["account_id"]) == 32


def test_verify(vault: Machine) -> None:
    """It counts what it opened, and finds nothing wrong."""
    for text in ("one", "two"):
        vault.ok("add", "notes", json.dumps({"text": text}), "--type", "note")

    result = vault.ok("verify", "--json").json()

    assert result["findings"] == []
    assert result["documents"] == 1
    assert result["events"] + result["journal_events"] == 2
    assert "journal rows opened" in vault.ok("verify").out


def test_usage_and_host_view(vault: Machine) -> None:
    """Sizes and counts; and what a host knows holds nothing of the events."""
    vault.ok("add", "canary-bucket", '{"text": "canary-text"}', "--type", "canary-type")

    usage = vault.ok("usage", "--json").json()
    view = vault.ok("host-view", "--json")

    assert usage["documents"] == 1
    assert usage["journal_rows"] >= 1
    assert usage["file_bytes"] > 0
    (account,) = view.json()["accounts"]
    assert account["username"] == "local"
    assert account["entries"] == usage["records"]
    (key,) = account["client_keys"]
    text = vault.ok("host-view").out
    for name in ("salt", "login_public", "recovery_login_public", "signing_public"):
        assert bytes.fromhex(account[name])
        assert account[name] in text
    assert len(bytes.fromhex(key["public_key"])) == 32
    assert key["public_key"] in text
    for shown in (view.out, text, vault.ok("usage").out):
        assert "canary" not in shown


def test_doctor(vault: Machine) -> None:
    """Every check has an outcome, and a healthy machine has no failure."""
    checks = vault.ok("doctor", "--json").json()

    outcomes = {check["name"]: check["outcome"] for check in checks}
    assert "fail" not in outcomes.values(), checks
    assert {"data directory", "files", "clock", "database", "journal"} <= set(outcomes)

    vault.data_dir.chmod(0o755)
    (found,) = [
        check
        for check in vault.ok("doctor", "--json").json()
        if check["name"] == "data directory"
    ]
    assert (found["outcome"], found["hint"]) == ("warn", f"chmod 700 {vault.data_dir}")


def test_one_of_something_is_singular(machine: Machine) -> None:
    """And what there is none of gets no table."""
    machine.ok("init")
    assert "client " not in machine.ok("usage").out
    machine.ok("add", "notes", "{}", "--type", "note")
    export = machine.ok("export").out
    (machine.home / "other").mkdir()
    other = Machine(machine.home / "other")
    other.ok("init")

    assert other.ok("import", "-", stdin=export).out.endswith(
        "\nadded 1 event and 1 bucket; here already: 0 events\n"
    )
    assert re.search(r"journal: +2 rows, 1 event to seal", other.ok("status").out)


def test_free_space_has_one_unit(machine: Machine) -> None:
    """In doctor as in usage."""
    machine.ok("init")
    units = [
        re.search(r"free[a-z ]*: +[0-9.]+ (\w+)", machine.ok(command).out)
        for command in ("doctor", "usage")
    ]
    assert len({unit.group(1) for unit in units if unit}) == 1
    assert all(units)


def test_doctor_looks_at_the_port_that_is_served(machine: Machine) -> None:
    """Not at the port of the settings, where another program may be."""
    machine.ok("init")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        machine.environment["AWVAULT_PORT"] = str(port)

        foreign = port_check(machine)
        with machine.server() as server:
            served = port_check(machine)

    assert (foreign["name"], foreign["outcome"]) == (f"port {port}", "warn")
    assert "stop it" in foreign["hint"]
    assert (served["name"], served["outcome"]) == (
        f"port {server.url.rpartition(':')[2]}",
        "ok",
    )
    assert f"(pid {server.process.pid}) serves this vault" in served["detail"]


def port_check(machine: Machine) -> dict[str, str]:
    (found,) = [
        check
        for check in machine.ok("doctor", "--json").json()
        if check["name"].startswith("port ")
    ]
    return dict(found)


def test_doctor_says_of_a_passphrase_what_it_looked_at(machine: Machine) -> None:
    """It has no key, so it does not know whether the passphrase is the right one."""
    machine.ok("init")
    wrong = machine.home / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("wrong")

    (found,) = [
        check
        for check in machine.ok("doctor", "--json", "--passphrase-file", wrong).json()
        if check["name"] == "passphrase file"
    ]

    assert found["outcome"] == "ok"
    assert found["detail"].startswith(f"{wrong}: readable by you alone")
    assert "not tried" in found["detail"]


def test_doctor_fails_where_something_must_be_mended(vault: Machine) -> None:
    """A passphrase file that others can read is one such thing."""
    vault.generated_files[0].chmod(0o644)

    done = vault.awvault("doctor")

    assert done.status == 1
    assert "fail  passphrase file" in done.out
    assert "chmod 600" in done.out


def test_export_and_import_into_a_fresh_vault(vault: Machine, tmp_path: Path) -> None:
    """The events are equal, their buckets too; twice adds nothing."""
    for at, data in enumerate(
        [
            '{"b": 1, "a": [1.5, "\\ud83d", "ü"]}',
            "{}",
            "{}",
            '{"n": 12345678901234567890}',
        ]
    ):
        duration = ["--duration", "0.25"] if at % 2 else []
        start = f"2026-01-01T00:00:0{at // 2}"
        vault.ok(
            "add", "notes", data, "--type", "note", "--timestamp", start, *duration
        )
    vault.ok("add", "notes", "{}", "--timestamp", "2026-01-01T00:00:01",
             "--duration", "0.25")  # fmt: skip
    vault.ok("add", "more", "{}", "--type", "other")
    file = tmp_path / "export.jsonl"
    vault.ok("export", "--output", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (tmp_path / "other").mkdir()
    other = Machine(tmp_path / "other")
    other.ok("init")

    first = other.ok("import", file, "--json").json()
    second = other.ok("import", "-", "--json", stdin=file.read_bytes()).json()

    assert counts(first) == (2, 6, 0)
    assert counts(second) == (0, 0, 6)
    for bucket in ("notes", "more"):
        assert without_ids(other, bucket) == without_ids(vault, bucket)
    theirs, ours = other.ok("buckets", "--json"), vault.ok("buckets", "--json")
    assert theirs.json() == ours.json()
    assert export_lines(other) == export_lines(vault)


def counts(result: dict[str, int]) -> tuple[int, ...]:
    keys = ("buckets_created", "events_added", "events_present")
    return tuple(result[key] for key in keys)


def without_ids(machine: Machine, bucket: str) -> list[object]:
    events = machine.ok("events", bucket, "--json").json()
    return [{k: v for k, v in event.items() if k != "id"} for event in events]


def export_lines(machine: Machine) -> list[object]:
    found = []
    for line in machine.ok("export").out.splitlines():
        decoded = json.loads(line)
        decoded.get("event", {}).pop("id", None)
        found.append(decoded)
    return found


def test_an_export_of_one_bucket(vault: Machine) -> None:
    """--bucket chooses; a bucket that is not there fails before any output."""
    vault.ok("add", "one", "{}", "--type", "note")
    vault.ok("add", "two", "{}", "--type", "note")

    lines = [
        json.loads(line)
        for line in vault.ok("export", "--bucket", "two").out.splitlines()
    ]

    assert [list(line) for line in lines] == [
        ["format", "version"], ["bucket"], ["event"], ["end"],
    ]  # fmt: skip
    done = vault.awvault("export", "--bucket", "three")
    assert (done.status, done.out) == (1, "")
    assert '"three"' in done.err


HEADER = b'{"format":"awvault-lines","version":1}'
BUCKET = b'{"bucket":{"id":"fresh","type":"note"}}'
EVENT = b'{"event":{"bucket":"fresh","timestamp":"2026-01-01T00:00:00Z","data":{}}}'
END = b'{"end":{"buckets":1,"events":1}}'


def test_a_wrong_import_says_what_is_wrong(machine: Machine) -> None:
    """Exit 1 with the line; the vault goes on, and a right file still goes in."""
    machine.ok("init")
    empty = machine.awvault("import", "-", stdin=b"\n".join([HEADER, BUCKET, b"{"]))
    assert empty.status == 1
    assert "added 0 events and 1 bucket before what is wrong" in empty.err
    for lines, says in (
        ([], "empty"),
        ([b"hello"], "byte 0"),
        ([HEADER.replace(b"awvault-lines", b"other")], "awvault-lines"),
        ([HEADER.replace(b"1}", b"2}")], "version 2"),
        ([HEADER, BUCKET, EVENT], "cut off"),
        ([HEADER, BUCKET, END], "counts 1 bucket and 1 event,"),
        ([HEADER, BUCKET, b"{", EVENT, END], "line 3"),
        ([HEADER, BUCKET, EVENT, END, END], "after the end"),
        ([HEADER, EVENT.replace(b"fresh", b"absent"), END], "absent"),
        ([HEADER, BUCKET, changed("duration", b"-1"), END], "negative"),
        ([HEADER, BUCKET, changed("duration", b"1e999999999"), END], "seconds"),
        ([HEADER, BUCKET, changed("further", b"1"), END], "further"),
        ([HEADER, BUCKET, changed("data", b"[1]"), END], "line 3"),
        ([HEADER, BUCKET, changed("data", b"[" * 10_000), END], "line 3"),
        ([HEADER, BUCKET, changed("data", b'"' + b"x" * 3_000_000), END], "line 3"),
    ):
        done = machine.awvault("import", "-", stdin=b"\n".join(lines))
        assert done.status == 1, lines
        assert says in done.err
        assert "Traceback" not in done.err

    result = machine.ok(
        "import", "-", "--json", stdin=b"\n".join([HEADER, BUCKET, EVENT, END])
    ).json()
    # The one before was cut off only after its event.
    assert result["events_added"] + result["events_present"] == 1


def changed(name: str, value: bytes) -> bytes:
    """Return the event with one field more, or another one."""
    field = b'"%s":%s' % (name.encode(), value)
    if name == "data":
        return EVENT.replace(b'"data":{}', field)
    return EVENT.replace(b'"data"', field + b',"data"')


def test_errors_and_their_exit_statuses(vault: Machine) -> None:
    """One line of error, a hint where one helps, nothing on standard output."""
    for arguments, status, says in (
        (("events", "nowhere"), 1, '"nowhere"'),
        (("add", "nowhere", "{}"), 1, "--type"),
        (("add", "nowhere", "{}"), 1, 'there is no bucket "nowhere"'),
        (("export", "--bucket", "nowhere"), 1, 'there is no bucket "nowhere"'),
        (("add", "notes", "[1]", "--type", "note"), 1, "object"),
        (("add", "notes", '{"a": NaN}', "--type", "note"), 1, ""),
        (("add", "notes", "{}", "--timestamp", "yesterday"), 2, "yesterday"),
        (("add", "notes", "{}", "--duration", "-1"), 2, "negative"),
        (("frobnicate",), 2, "frobnicate"),
        (("events",), 2, "BUCKET"),
        (("import", "/nowhere/file"), 1, "/nowhere/file"),
        (("init",), 1, "already"),
    ):
        done = vault.awvault(*arguments)
        assert (done.status, done.out) == (status, ""), (arguments, done)
        assert done.err.startswith("awvault: error: ")
        assert says in done.err
        assert "Traceback" not in done.err


def test_without_arguments_the_help_is_shown(machine: Machine) -> None:
    """As text, and not as one line of error."""
    done = machine.awvault()
    assert (done.status, done.out) == (2, "")
    assert done.err == machine.ok("--help").out


def test_add_on_a_terminal(machine: Machine) -> None:
    """Without DATA it waits for nobody; with - a person may type it."""
    machine.ok("init")
    missing = Dialog(machine, "awvault", "add", "notes", "--type", "note")
    assert missing.end() == 2
    assert "error: DATA is missing" in missing.shown

    typed = Dialog(machine, "awvault", "add", "notes", "-", "--type", "note")
    typed.type('{"text": "typed"}')
    typed.press(b"\x04")
    assert typed.end() == 0
    (event,) = machine.ok("events", "notes", "--json").json()
    assert event["data"] == {"text": "typed"}


def test_bad_json_is_placed_by_line_and_column(machine: Machine) -> None:
    """In the words of the gateway."""
    machine.ok("init")
    done = machine.awvault(
        "add", "notes", "-", "--type", "note", stdin='{"a": 1,\n "b": ?}'
    )
    assert done.status == 1
    assert "expected a value at line 2, column 7" in done.err


def test_commands_need_a_vault(machine: Machine) -> None:
    """Only init and aw-server make one."""
    for command in (["status"], ["buckets"], ["verify"], ["usage"], ["host-view"]):
        done = machine.awvault(*command)
        assert done.status == 1
        assert "there is no vault" in done.err
        assert "check the spelling" in done.err
        assert "awvault init" in done.err
    del machine.environment["AWVAULT_DATA_DIR"]
    assert (
        "`aw-server --testing` makes one" in machine.awvault("status", "--testing").err
    )
    assert not machine.data_dir.exists()


def test_usage_host_view_and_doctor_need_no_passphrase(machine: Machine) -> None:
    """They read the store's tables and the file system, and no key."""
    machine.ok("init")
    machine.generated_files[0].unlink()

    for command in ("usage", "host-view", "doctor"):
        assert machine.awvault(command).status == 0
    assert machine.awvault("status").status == 1


def test_an_unknown_setting_is_an_error(machine: Machine) -> None:
    """In the file as in the environment; the message names it."""
    machine.config_dir.mkdir(parents=True)
    config = machine.config_dir / "config.toml"
    config.write_text("prot = 5600\n")
    done = machine.awvault("status")
    assert done.status == 1
    assert 'unknown key "prot"' in done.err

    config.write_text("port: 5600\n")
    done = machine.awvault("status")
    assert f'"{config}" is not valid TOML' in done.err
    assert "hint: a line is a key and a value" in done.err

    config.unlink()
    done = machine.run("awvault", "status", environment={"AWVAULT_PROT": "1"})
    assert done.status == 1
    assert 'unknown environment variable "AWVAULT_PROT"' in done.err


def test_settings_from_the_file(machine: Machine) -> None:
    """config.toml counts where neither option nor environment says anything."""
    elsewhere = machine.home / "elsewhere"
    machine.config_dir.mkdir(parents=True)
    (machine.config_dir / "config.toml").write_text(f'data_dir = "{elsewhere}"\n')
    machine.ok("init")
    assert machine.data_dir.exists()
    del machine.environment["AWVAULT_DATA_DIR"]

    machine.ok("init")

    assert (elsewhere / "vault.db").exists()
    assert len(machine.generated_files) == 2


def test_two_vaults_have_two_passphrases(machine: Machine) -> None:
    """The generated file belongs to one data directory."""
    machine.ok("init")
    machine.ok("init", "--data-dir", machine.home / "second")
    machine.ok("status", "--data-dir", machine.home / "second")
    machine.ok("--data-dir", machine.home / "second", "status")

    one, two = (file.read_text() for file in machine.generated_files)
    assert one != two


def test_a_holder_that_does_not_answer_is_named(machine: Machine) -> None:
    """Exit 1 with its pid and start time; when it goes on, so do commands."""
    machine.ok("init")
    with machine.server() as server:
        server.signal(signal.SIGSTOP)
        done = machine.awvault("status")
        assert done.status == 1
        assert str(server.process.pid) in done.err
        assert "hint" in done.err
        doctor = machine.awvault("doctor")
        assert doctor.status == 1
        assert str(server.process.pid) in doctor.out

        server.signal(signal.SIGCONT)
        machine.ok("status")


def test_commands_at_the_same_time_wait_for_each_other(machine: Machine) -> None:
    """Several adds at once, without aw-server: each one is stored."""
    machine.ok("init")
    machine.ok("add", "notes", "{}", "--type", "note")
    running = [
        subprocess.Popen(
            machine.command("awvault", "add", "notes", "{}"),
            env=machine.environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(4)
    ]

    assert [process.wait(DEADLINE_SECONDS) for process in running] == [0] * 4
    assert len(machine.ok("events", "notes", "--json").json()) == 5


def test_escape_codes_do_not_reach_the_terminal(machine: Machine) -> None:
    """A title cannot move the cursor, in the table or in JSON."""
    machine.ok("init")
    machine.ok("add", "notes", json.dumps({"title": "a\x1b[2Jb\u202ec\x9bd"}),
               "--type", "no\x1bte")  # fmt: skip

    for arguments, shown in (
        (("events", "notes"), "title"),
        (("events", "notes", "--json"), "title"),
        (("buckets",), "no\\x1bte"),
        (("buckets", "--json"), "no\\u001bte"),
        (("export",), "title"),
    ):
        dialog = Dialog(machine, "awvault", *arguments)
        assert dialog.end() == 0
        for character in ("\x1b", "\u202e", "\x9b"):
            assert character not in dialog.shown
        assert shown in dialog.shown


def test_json_stays_json_on_a_terminal(machine: Machine) -> None:
    """What is escaped there still means the same."""
    machine.ok("init")
    title = "a\x1b[2Jb\u202ec\x9bd\U000e0001"
    machine.ok("add", "notes", json.dumps({"title": title}), "--type", "note")

    dialog = Dialog(machine, "awvault", "events", "notes", "--json")
    assert dialog.end() == 0

    (event,) = json.loads(dialog.shown)
    assert event["data"]["title"] == title


def test_a_reader_that_goes_away_ends_the_command_quietly(machine: Machine) -> None:
    """`awvault events … | head -1` complains about nothing."""
    machine.ok("init")
    header = '{"format":"awvault-lines","version":1}'
    bucket = '{"bucket":{"id":"notes","type":"note"}}'
    event = '{"event":{"bucket":"notes","timestamp":"2026-01-01T00:00:00Z","data":%s}}'
    data = json.dumps({"text": "x" * 500})
    lines = [header, bucket, *[event % data] * 2000]
    lines.append('{"end":{"buckets":1,"events":2000}}')
    machine.ok("import", "-", stdin="\n".join(lines))

    process = subprocess.Popen(
        machine.command("awvault", "events", "notes"),
        env=machine.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stream:
        assert stream.read() == b""
    assert process.wait(DEADLINE_SECONDS) == 1


def test_ctrl_c_ends_a_command_cleanly(machine: Machine) -> None:
    """Status 130, no traceback, and the vault is free again."""
    machine.ok("init")
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        machine.command("awvault", "import", "-"),
        env=machine.environment,
        stdin=read_end,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(read_end)
    bucket = b'{"bucket":{"id":"notes","type":"note"}}\n'
    os.write(write_end, b'{"format":"awvault-lines","version":1}\n' + bucket * 512)
    wait_until_held(machine)

    process.send_signal(signal.SIGINT)
    os.close(write_end)

    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")
    machine.ok("status")


def wait_until_held(machine: Machine) -> None:
    control = machine.data_dir / "control.json"
    while not control.exists():
        os.sched_yield()


def test_an_existing_file_is_not_overwritten(machine: Machine) -> None:
    """And an export that fails leaves no file at all."""
    machine.ok("init")
    file = machine.home / "export.jsonl"
    file.write_text("precious")
    done = machine.awvault("export", "--output", file)
    assert done.status == 1
    assert file.read_text() == "precious"

    gone = machine.home / "gone.jsonl"
    assert machine.awvault("export", "--output", gone, "--bucket", "x").status == 1
    assert list(machine.home.glob("gone*")) == []
