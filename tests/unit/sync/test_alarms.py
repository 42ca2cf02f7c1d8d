"""Alarms: what each error is called, and that each is explained."""

import re
from pathlib import Path

import pytest

from awserver.records import ClientId
from awvault import errors
from awvault.sync.alarms import NOT_INTEGRITY, Alarms, Name, is_integrity

DOCS = Path(__file__).parents[3] / "docs"
CLIENT = ClientId(b"c" * 16)


def test_every_alarm_is_explained() -> None:
    """In the protocol, and for whoever must do something about it."""
    incidents = (DOCS / "operations" / "incidents.md").read_text("utf-8")
    rules = (DOCS / "protocol" / "sync.md").read_text("utf-8")
    explained = set(re.findall(r"^### ([a-z-]+)$", incidents, re.MULTILINE))

    assert explained == set(Name)
    assert set(re.findall(r"^\| `([a-z]+-[a-z-]+)` \|", rules, re.MULTILINE)) == set(
        Name
    )


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (errors.RollbackError("x", verified=2, offered=1), Name.LOG_ROLLED_BACK),
        (errors.ForkError("x"), Name.LOG_FORKED),
        (errors.WithheldError("x", mentioned=2, offered=1), Name.LOG_WITHHELD),
        (errors.SignatureError("x"), Name.LOG_INVALID),
        (errors.GapError(expected=1, got=2), Name.LOG_INVALID),
        (errors.MalformedError("x"), Name.LOG_INVALID),
        (errors.VaultDamagedError("x"), Name.LOG_DAMAGED_HERE),
        (errors.UnsupportedSuiteError("x"), Name.UPDATE_NEEDED),
    ],
)
def test_what_is_wrong_with_a_log_has_its_name(error: errors.Error, name: Name) -> None:
    """And says whose log, with the error's own words and what to do."""
    alarms = Alarms()
    alarms.add_log_error(CLIENT, error)
    (found,) = alarms.all()

    assert (found.name, found.client_id) == (name, CLIENT.hex())
    assert found.sentence == str(error)
    assert found.repair
    assert alarms.of_log(CLIENT)
    assert not alarms.of_log(ClientId(b"d" * 16))


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (errors.RollbackError("x", verified=2, offered=1), Name.DOCUMENTS_ROLLED_BACK),
        (errors.ForkError("x"), Name.DOCUMENTS_FORKED),
        (errors.WithheldError("x", mentioned=2, offered=1), Name.DOCUMENTS_WITHHELD),
        (errors.DocumentError("x"), Name.DOCUMENTS_INVALID),
        (errors.SignatureError("x"), Name.DOCUMENTS_INVALID),
        (errors.NewSecretNeededError(epoch=1), Name.NEW_SECRET_NEEDED),
        (errors.UnsupportedSuiteError("x"), Name.UPDATE_NEEDED),
    ],
)
def test_what_is_wrong_with_the_documents_has_its_name(
    error: errors.Error, name: Name
) -> None:
    """It is about the account, and about no log."""
    alarms = Alarms()
    alarms.add_document_error(error)
    (found,) = alarms.all()

    assert (found.name, found.client_id) == (name, None)


def test_one_alarm_of_a_kind_for_each_log() -> None:
    """The first that was found counts."""
    alarms = Alarms()
    for text in ("first", "second"):
        alarms.add_log_error(CLIENT, errors.ChainError(text))

    assert [alarm.sentence for alarm in alarms.all()] == ["first"]


def test_what_a_person_must_do_is_no_lie_of_the_host() -> None:
    """Exit status 4 is for what the host stores or shows."""
    alarms = Alarms()
    for name in Name:
        alarms.add(name, "x")

    assert {a.name for a in alarms.all() if not is_integrity(a)} == NOT_INTEGRITY
