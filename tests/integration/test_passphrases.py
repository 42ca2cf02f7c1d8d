"""Which passphrase is found, where there are several places to look."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from awvault.crypto.keys import Passphrase
from awvault.passphrases import (
    KEYRING_SERVICE,
    PassphraseError,
    Source,
    entry_name,
    find_passphrase,
    generated_file,
    lookup_keyring,
)
from awvault.settings import Overrides, Settings, read_settings


class Person:
    """Somebody at a terminal, who answers in order."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.seen: list[str] = []

    def ask(self, prompt: str) -> str:
        self.seen.append(prompt)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)

    def tell(self, message: str) -> None:
        self.seen.append(message)


def nothing(_service: str, _name: str) -> str | None:
    return None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose directories are all under `tmp_path`."""
    return read_settings(
        Overrides(data_dir=tmp_path / "vault"),
        environment={"AWVAULT_CONFIG_DIR": str(tmp_path / "config")},
    )


def test_the_keyring_comes_before_the_generated_file(settings: Settings) -> None:
    """And is asked for the name that belongs to this data directory."""
    find_passphrase(settings, vault_exists=False, terminal=None, lookup=nothing)
    asked: list[tuple[str, str]] = []

    def lookup(service: str, name: str) -> str:
        asked.append((service, name))
        return "from the keyring"

    found = find_passphrase(settings, vault_exists=True, terminal=None, lookup=lookup)

    assert found.source is Source.KEYRING
    assert found.passphrase == Passphrase("from the keyring")
    assert asked == [(KEYRING_SERVICE, entry_name(settings.data_dir))]


def test_a_keyring_that_fails_is_the_same_as_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine without a desktop each backend fails in its own way."""

    def fail(_service: str, _name: str) -> str:
        raise RuntimeError("no backend")

    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=fail))
    assert lookup_keyring("awvault", "name") is None

    working = SimpleNamespace(get_password=lambda service, name: f"{service}/{name}")
    monkeypatch.setitem(sys.modules, "keyring", working)
    assert lookup_keyring("awvault", "name") == "awvault/name"


def test_a_generated_passphrase_is_found_again(settings: Settings) -> None:
    """It is written before it is returned, and never written twice."""
    first = find_passphrase(settings, vault_exists=False, terminal=None, lookup=nothing)
    again = find_passphrase(settings, vault_exists=False, terminal=None, lookup=nothing)

    assert first.generated
    assert not again.generated
    assert first.passphrase == again.passphrase
    assert first.path == again.path == generated_file(settings)
    assert "/config/" in str(first.path)


def test_nothing_is_generated_where_somebody_can_answer(settings: Settings) -> None:
    """A person chooses; a new passphrase is typed twice, a known one once."""
    person = Person("mine", "mine", "mine")

    new = find_passphrase(settings, vault_exists=False, terminal=person, lookup=nothing)
    known = find_passphrase(
        settings, vault_exists=True, terminal=person, lookup=nothing
    )

    assert new.source is known.source is Source.PROMPT
    assert new.passphrase == known.passphrase == Passphrase("mine")
    assert not generated_file(settings).exists()
    assert any("Nobody can reset it" in line for line in person.seen)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([], id="end-of-input"),
        pytest.param([""], id="empty"),
        pytest.param(["a", "b"] * 3, id="never-the-same"),
        pytest.param(["x" * 1025], id="too-long"),
    ],
)
def test_no_vault_is_made_of_a_bad_answer(
    settings: Settings, answers: list[str]
) -> None:
    """Each is an error, and its message quotes nothing that was typed."""
    with pytest.raises(PassphraseError) as caught:
        find_passphrase(
            settings, vault_exists=False, terminal=Person(*answers), lookup=nothing
        )

    assert not any(answer in str(caught.value) for answer in answers if len(answer) > 9)


def test_a_link_that_leads_nowhere_is_not_taken_for_absence(
    settings: Settings, tmp_path: Path
) -> None:
    """Else a new passphrase would be generated beside an old vault."""
    file = generated_file(settings)
    file.parent.mkdir(parents=True)
    file.symlink_to(tmp_path / "moved away")

    with pytest.raises(PassphraseError, match="cannot read"):
        find_passphrase(settings, vault_exists=False, terminal=None, lookup=nothing)


def test_a_pipe_is_not_a_passphrase_file(tmp_path: Path) -> None:
    """It is refused at once, and not waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    settings = read_settings(
        Overrides(data_dir=tmp_path / "vault", passphrase_file=pipe), environment={}
    )

    with pytest.raises(PassphraseError, match="not a plain file"):
        find_passphrase(settings, vault_exists=False, terminal=None, lookup=nothing)
