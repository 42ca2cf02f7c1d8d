"""T20: recovery: mistyped words, the words of another account, a reset by the host."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from awserver.service.base import Caller
from awserver.wire import API_PATH
from awvault.crypto.keys import Passphrase, RecoveryKey
from awvault.crypto.recovery import read_recovery_words, recovery_words
from awvault.errors import (
    DocumentError,
    LoginRefusedError,
    RecoveryWordsError,
)
from awvault.protocol.account import KeysBlob
from awvault.protocol.document import hash_keys_blob
from awvault.recovering import Owner, Recovery
from awvault.testing import CHEAP, PASSPHRASE
from tests.helpers.hosts import visitor
from tests.helpers.lying_host import Lie, LyingHost, lying_host
from tests.helpers.machines import NEW_PASSPHRASE, Machine, Network
from tests.helpers.randomness import fixed
from tests.helpers.refusals import refusal

NEW = Passphrase(NEW_PASSPHRASE)


@dataclass
class Scene:
    host: LyingHost
    net: Network
    alice: Machine
    words: RecoveryKey

    def recovery(self, key: RecoveryKey, username: str = "alice") -> Recovery:
        owner = Owner(url=self.net.url, insecure=False, username=username, recovery=key)
        return Recovery(owner, profile=CHEAP, connect=self.net.connect)

    async def nothing_changed(self) -> None:
        """The account opens with what opened it, at its host and here."""
        self.host.lie = Lie()
        await self.recovery(self.words).prepare()
        assert not await self.alice.accounts.check_passphrase(Passphrase(PASSPHRASE))
        assert self.alice.accounts.account.document.version == 2


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with registered(tmp_path) as made:
        yield made


class Direct(Network):
    """A network without a proxy: the host itself keeps what it was asked."""

    @property
    def url(self) -> str:
        return self.host.url


@asynccontextmanager
async def registered(root: Path) -> AsyncIterator[Scene]:
    async with lying_host(root / "host") as host:
        net = Direct(host, None, root)  # type: ignore[arg-type]
        async with net.machine("alice") as alice:
            yield Scene(host, net, alice, await alice.register())


@pytest.mark.parametrize("place", range(1, 25))
def test_t20_a_word_that_was_taken_for_another_is_noticed(place: int) -> None:
    """255 times of 256; here each word but one would be the 256th, and none is."""
    words = recovery_words(RecoveryKey(fixed("t20")))
    words[place - 1] = "abandon" if words[place - 1] != "abandon" else "ability"

    error = refusal(RecoveryWordsError, lambda: read_recovery_words(" ".join(words)))

    assert "belong together" in str(error)


async def test_t20_the_words_of_another_account_open_nothing(scene: Scene) -> None:
    """An honest host refuses them before it gives out anything wrapped."""
    async with scene.net.machine("bob") as bob:
        others = await bob.register(username="bob")
        scene.host.requests.clear()

        for key, username in ((others, "alice"), (scene.words, "bob")):
            with pytest.raises(LoginRefusedError):
                await scene.recovery(key, username).reset(NEW, others)

        asked = {path for _, path in scene.host.requests}
        assert asked == {f"{API_PATH}/prelogin", f"{API_PATH}/sessions"}
    await scene.nothing_changed()


class AnotherBlob(Lie):
    """Serves another keys blob than the one that the owner signed."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob

    def keys_blob(self, caller: Caller, honest: bytes) -> bytes:
        return self._blob


async def test_t20_a_slot_of_another_account_is_no_slot(scene: Scene) -> None:
    """The blob is held against the signed document before anything is opened."""
    keys = scene.alice.vault.keys
    honest = await scene.alice.vault.store.keys_blob(keys.account_id)
    assert honest is not None
    mine = KeysBlob.decode(honest)
    async with scene.net.machine("bob") as bob:
        await bob.register(username="bob")
        theirs = await bob.vault.store.keys_blob(bob.vault.keys.account_id)
        assert theirs is not None
    forged = replace(mine, recovery_slot=KeysBlob.decode(theirs).recovery_slot)
    scene.host.requests.clear()
    for blob in (forged.encode(), theirs):
        assert hash_keys_blob(blob) != keys.account.document.keys_blob_hash
        scene.host.lie = AnotherBlob(blob)

        with pytest.raises(DocumentError) as caught:
            await scene.recovery(scene.words).prepare()
        assert type(caught.value) is DocumentError
        with pytest.raises(DocumentError):
            await scene.recovery(scene.words).reset(NEW, scene.words)

    assert ("POST", f"{API_PATH}/documents") not in scene.host.requests
    await scene.nothing_changed()


async def test_t20_a_host_has_no_way_to_reset(scene: Scene) -> None:
    """Without a proof by one of the owner's secrets, no request changes an account."""
    async with visitor(scene.host.url) as somebody:
        answer = await somebody.get("/openapi.json")
    paths = json.loads(answer.body)["paths"]
    changing = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if method in {"post", "put", "patch", "delete"}
    }

    assert changing == {
        f"POST {API_PATH}/prelogin",
        f"POST {API_PATH}/accounts",
        f"POST {API_PATH}/sessions",
        f"DELETE {API_PATH}/sessions/{{id}}",
        f"POST {API_PATH}/documents",
        f"POST {API_PATH}/documents/restore",
        f"POST {API_PATH}/logs/{{client}}",
        f"POST {API_PATH}/account/delete",
    }
    for path in paths:
        assert not {"reset", "recover", "forgot"} & set(path.split("/"))
    await scene.nothing_changed()


async def test_t20_the_words_that_were_used_are_worth_nothing(scene: Scene) -> None:
    """Whoever saw them typed cannot use them after their owner has."""
    recovery = scene.recovery(scene.words)
    new = await recovery.prepare()
    await recovery.reset(NEW, new)

    with pytest.raises(LoginRefusedError):
        await scene.recovery(scene.words).prepare()

    assert await scene.alice.accounts.check_passphrase(NEW) is True
    assert scene.alice.accounts.account.document.version == 3
