"""`awvault filter`, and what the other commands make of privacy filters."""

import json
from pathlib import Path
from typing import Any, Final

from tests.integration.cli.harness import Machine

CANARY: Final = "canary-7f3a"
DROP: Final = {"action": "drop", "field": "title", "pattern": "(?i)CANARY"}
REDACT: Final = {"action": "redact", "field": "title", "text": "bank"}


def export_of(*titles: str) -> bytes:
    """Return an export of one bucket with these events."""
    lines: list[dict[str, Any]] = [
        {"format": "awvault-lines", "version": 1},
        {"bucket": {"id": "notes", "type": "note"}},
        *(
            {
                "event": {
                    "bucket": "notes",
                    "timestamp": f"2026-01-01T00:00:{at:02}Z",
                    "duration": 1,
                    "data": {"title": title},
                }
            }
            for at, title in enumerate(titles)
        ),
        {"end": {"buckets": 1, "events": len(titles)}},
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_filters_are_tried_set_and_in_force(vault: Machine, tmp_path: Path) -> None:
    """Whichever process has the vault; nothing is shown unless somebody asks."""
    vault.ok("import", "-", stdin=export_of("a", CANARY, CANARY, "bank"))
    file = tmp_path / "rules.json"
    file.write_text(json.dumps([DROP, REDACT]))

    tried = vault.ok("filter", "test", file)
    shown = vault.ok("filter", "test", file, "--show", "--json").json()
    assert "the account" in vault.ok("filter", "set", file).out
    dropped = vault.awvault("add", "notes", json.dumps({"title": CANARY}))
    again = vault.ok("import", "-", "--json", stdin=export_of("b", CANARY, "my Bank"))
    table = vault.ok("import", "-", stdin=export_of("b", CANARY, "my Bank")).out

    assert "of 4 events, 2 would be dropped and 1 changed" in tried.out
    assert "what is stored stays as it is" in tried.err
    assert CANARY not in tried.out
    assert shown["tested"] == [
        {
            "rule": 1,
            "bucket": "notes",
            "events": 2,
            "examples": [json.dumps({"title": CANARY}, separators=(",", ":"))],
        },
        {
            "rule": 2,
            "bucket": "notes",
            "events": 1,
            "examples": ['{"title":"bank"}'],
        },
    ]
    # The bank of before is there still, and what was redacted on its way in is done.
    assert "2 would be dropped and 1 changed" in vault.ok("filter", "test", file).out
    assert dropped.status == 1
    assert "a privacy filter drops this event: it is not kept" in dropped.err
    assert again.json()["events_filtered"] == 1
    assert again.json()["events_changed"] == 1
    assert table.split("\n")[0].split()[-2:] == ["dropped", "changed"]
    assert table.split("\n")[1].split()[-2:] == ["1", "1"]
    events = vault.ok("events", "notes", "--json").json()
    assert sorted(event["data"]["title"] for event in events) == [
        "REDACTED",
        "a",
        "b",
        "bank",
        CANARY,
        CANARY,
    ]


def test_a_rule_that_would_not_work_is_refused(machine: Machine) -> None:
    """When it is set, or tried; those before stay."""
    machine.ok("init")
    machine.ok("filter", "set", "-", stdin=json.dumps([DROP]))
    for what in ("set", "test"):
        refused = machine.awvault("filter", what, "-", stdin='[{"action": "drop"}]')
        assert refused.status == 1
        assert "rule 1: action: the rule does not say for which" in refused.err
    for action in ('"dorp"', "1"):
        rules = '[{"action": %s, "text": "x"}]' % action  # noqa: UP031 - braces
        refused = machine.awvault("filter", "set", "-", stdin=rules)
        assert refused.status == 1
        assert 'rule 1: action: must be "drop" or "redact"' in refused.err
    (row,) = machine.ok("filter", "list", "--json").json()["rules"]
    assert json.loads(row["rule"]) == DROP | {"enabled": True}


def test_the_rules_of_a_machine(machine: Machine) -> None:
    """Those in config.toml count beside the account's; a bad one ends the start."""
    machine.ok("init")
    config = machine.config_dir / "config.toml"
    config.write_text('[[privacy_filters]]\naction = "drop"\ntext = "canary"\n')
    machine.ok("filter", "set", "-", stdin=json.dumps([REDACT]))
    machine.ok("import", "-", stdin=export_of("a", CANARY))
    with machine.server() as server:
        beat = {"timestamp": "2026-01-01T00:00:00Z", "data": {"title": CANARY}}
        path = "/api/0/buckets/notes/heartbeat?pulsetime=1"
        assert server.request(path, beat)["id"] is None
        found = machine.ok("filter", "list", "--json").json()["rules"]
        assert [(r["number"], r["source"], r["dropped"]) for r in found] == [
            (1, "config", 1),
            (2, "account", 0),
        ]
        assert "this machine" in machine.ok("filter", "list").out
    events = machine.ok("events", "notes", "--json").json()
    assert [event["data"]["title"] for event in events] == ["a"]
    config.write_text('[[privacy_filters]]\naction = "drop"\nfield = "title"\n')
    for program in ("awvault", "aw-server"):
        refused = machine.run(program, *(["status"] if program == "awvault" else []))
        assert refused.status == 1
        assert "rule 1: field: needs a pattern or a text" in refused.err
        assert str(config) in refused.err
