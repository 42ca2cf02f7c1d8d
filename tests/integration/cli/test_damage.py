"""A damaged file is found, named, and no reason to look away from the rest."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

from tests.integration.cli.harness import PASSPHRASE, Machine

EVENTS = 10_000
"""More than one record holds, so that two are sealed at once."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine whose vault has sealed records, journal rows and an index."""
    machine = with_passphrase_file(Machine(tmp_path_factory.mktemp("original")))
    (machine.home / "passphrase").write_text(PASSPHRASE)
    (machine.home / "passphrase").chmod(0o600)
    machine.ok("init")
    lines = ['{"format":"awvault-lines","version":1}']
    lines.append('{"bucket":{"id":"notes","type":"note"}}')
    start = datetime(2026, 1, 1, tzinfo=UTC)
    lines += [
        json.dumps(
            {
                "event": {
                    "bucket": "notes",
                    "timestamp": (start + timedelta(minutes=at)).isoformat(),
                    "duration": 30,
                    "data": {"number": at},
                }
            }
        )
        for at in range(EVENTS)
    ]
    lines.append(json.dumps({"end": {"buckets": 1, "events": EVENTS}}))
    machine.ok("import", "-", stdin="\n".join(lines))
    machine.ok("add", "notes", '{"text": "in the journal"}')
    return machine


@pytest.fixture
def full(original: Machine, tmp_path: Path) -> Machine:
    """A copy of it, to be damaged."""
    shutil.copytree(original.home, tmp_path, dirs_exist_ok=True)
    return with_passphrase_file(Machine(tmp_path))


def with_passphrase_file(machine: Machine) -> Machine:
    machine.environment["AWVAULT_PASSPHRASE_FILE"] = str(machine.home / "passphrase")
    return machine


def change(path: Path, *statements: str) -> None:
    """Change the file behind the program's back, past its triggers."""
    database = apsw.Connection(str(path))
    triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for (name,) in triggers.fetchall():
        database.execute(f'DROP TRIGGER "{name}"')
    for statement in statements:
        database.execute(statement)
        assert database.changes(), statement
    database.close()


def test_a_whole_vault_has_nothing_wrong(full: Machine) -> None:
    """Every event is counted once, in a record or in the journal."""
    result = full.ok("verify", "--json").json()

    assert result["findings"] == []
    assert result["records"] >= 1
    assert result["signatures"] == result["records"] + result["documents"]
    assert result["index_rows"] == result["records"]
    assert result["events"] + result["journal_events"] == EVENTS + 1


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        pytest.param(
            "UPDATE bodies SET body = CAST(X'00' || substr(body, 2) AS BLOB)"
            " WHERE seq = 0",
            "record 0",
            id="body-changed",
        ),
        pytest.param("DELETE FROM bodies WHERE seq = 0", "record 0", id="body-gone"),
        pytest.param(
            "UPDATE records SET signature = CAST(X'00' || substr(signature, 2) AS BLOB)"
            " WHERE seq = 0",
            "record 0",
            id="signature-changed",
        ),
        pytest.param(
            "DELETE FROM records WHERE seq = 0", "record 0", id="first-record-gone"
        ),
        pytest.param(
            "UPDATE index_rows SET sealed = CAST(X'00' || substr(sealed, 2) AS BLOB)"
            " WHERE seq = 0",
            "index row",
            id="index-changed",
        ),
        pytest.param(
            "DELETE FROM index_rows WHERE seq = 0", "index row", id="index-gone"
        ),
        pytest.param(
            "UPDATE journal SET sealed = CAST(X'00' || substr(sealed, 2) AS BLOB)",
            "journal row",
            id="journal-changed",
        ),
    ],
)
def test_damage_is_named(full: Machine, statement: str, where: str) -> None:
    """Exit status 4, the place, and everything else is still counted."""
    change(full.data_dir / "vault.db", statement)

    done = full.awvault("verify", "--json")

    assert done.status == 4, done.err
    assert "Traceback" not in done.err
    if done.out:
        findings = done.json()["findings"]
        assert any(where in f"{f['where']} {f['problem']}" for f in findings), findings
    else:
        # Too damaged to open: the error itself names the place.
        assert where in done.err


def test_a_lost_index_is_made_again(full: Machine) -> None:
    """It is a cache: every event is still there."""
    change(full.data_dir / "vault.db", "DELETE FROM index_rows")

    (bucket,) = full.ok("buckets", "--json").json()

    assert bucket["events"] == EVENTS + 1


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(b"not a database"), id="other-file"),
        pytest.param(
            lambda path: change(path, "DELETE FROM documents"), id="no-documents"
        ),
        pytest.param(lambda path: change(path, "DELETE FROM keys_blobs"), id="no-keys"),
        pytest.param(
            lambda path: change(path, "UPDATE keys_blobs SET blob = X'00112233'"),
            id="other-keys",
        ),
    ],
)
def test_a_file_that_cannot_be_opened_is_not_a_wrong_passphrase(
    full: Machine, damage: Callable[[Path], object]
) -> None:
    """It is an error of its own, and doctor does not crash on it."""
    for aside in full.data_dir.glob("vault.db-*"):
        aside.unlink()
    damage(full.data_dir / "vault.db")

    done = full.awvault("status")

    assert done.status in {1, 4}
    assert done.err.startswith("awvault: error: ")
    assert "internal error" not in done.err
    assert "passphrase" not in done.err
    assert "internal error" not in full.awvault("doctor").err
