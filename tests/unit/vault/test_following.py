"""New events of a bucket, as they come."""

import asyncio
from pathlib import Path

import pytest

from awvault.errors import BucketNotFoundError
from awvault.events import Event
from awvault.testing import open_vault
from awvault.vault import Vault
from tests.helpers.clients import account_of, exchange


class Follower:
    """Takes what `follow` yields, in the background."""

    def __init__(self, vault: Vault, bucket_id: str) -> None:
        self.texts: list[object] = []
        self._came = asyncio.Condition()
        self.task = asyncio.create_task(self._follow(vault, bucket_id))

    async def _follow(self, vault: Vault, bucket_id: str) -> None:
        async for event in vault.follow(bucket_id):
            async with self._came:
                self.texts.append(event.data["text"])
                self._came.notify_all()

    async def wait_for(self, texts: list[object]) -> None:
        async with asyncio.timeout(20), self._came:
            await self._came.wait_for(lambda: len(self.texts) >= len(texts))
        assert self.texts == texts


def note(text: str) -> Event:
    return Event.now({"text": text})


async def test_what_is_stored_here_comes_once(tmp_path: Path) -> None:
    """Only what is new, in order, also when it is sealed or corrected later."""
    async with await open_vault(tmp_path / "vault") as vault:
        await vault.insert("notes", note("old"))
        follower = Follower(vault, "notes")
        await asyncio.sleep(0)  # let it mark where it begins
        (first,) = await vault.insert("notes", note("one"))
        await vault.insert("notes", [note("two"), note("three")])
        await follower.wait_for(["one", "two", "three"])

        await vault.seal_now(whole=True)
        await vault.delete_event("notes", first)
        await vault.insert("notes", note("four"))
        await follower.wait_for(["one", "two", "three", "four"])
    await asyncio.wait_for(follower.task, 20)


async def test_what_another_client_sealed_comes_once(tmp_path: Path) -> None:
    """A record that was verified brings its events, however often it is offered."""
    async with account_of(tmp_path) as (owner, one):
        two = await owner.join("two")
        await owner.adopt(one)
        await one.insert("notes", note("before"))
        await exchange(one, two)
        follower = Follower(two, "notes")
        await asyncio.sleep(0)

        for text in ("a", "b"):
            await one.insert("notes", note(text))
            await exchange(one, two)
        await exchange(one, two)
        await two.insert("notes", note("c"))

        await follower.wait_for(["a", "b", "c"])


async def test_a_bucket_that_is_not_there_cannot_be_followed(tmp_path: Path) -> None:
    """It is said at once, and not waited for."""
    async with await open_vault(tmp_path / "vault") as vault:
        with pytest.raises(BucketNotFoundError):
            await anext(vault.follow("missing"))
