"""What a user of the library gives, and what comes of it."""

import socket
from pathlib import Path
from typing import Any

import pytest

from awvault.errors import InvalidInputError
from awvault.events import Event
from awvault.testing import open_vault


@pytest.mark.parametrize(
    ("given", "got"),
    [
        ({"a": 1}, "got dict"),
        ("text", "got str"),
        (7, "got int"),
        ([Event.now(), {"a": 1}], "got dict in it"),
    ],
)
async def test_what_is_no_event_is_refused(
    tmp_path: Path, given: Any, got: str
) -> None:
    """The error says what is expected, and no bucket is made."""
    async with await open_vault(tmp_path / "vault") as vault:
        with pytest.raises(InvalidInputError, match="expected an Event") as caught:
            await vault.insert("win", given)
        assert str(caught.value).endswith(got)
        assert vault.buckets() == {}


async def test_a_bucket_of_the_library_names_this_machine(tmp_path: Path) -> None:
    """As one that `awvault add` makes does."""
    async with await open_vault(tmp_path / "vault") as vault:
        await vault.insert("notes", Event.now({"text": "one"}))
        assert vault.bucket("notes").hostname == socket.gethostname()


async def test_lone_surrogates_are_kept(tmp_path: Path) -> None:
    """Titles have them; they come back as they were."""
    data = {"title": "a\ud83d", "\ude00": [1]}
    async with await open_vault(tmp_path / "vault") as vault:
        await vault.insert("notes", Event.now(data))
        (event,) = [event async for event in vault.events("notes")]
        assert event.data == data
