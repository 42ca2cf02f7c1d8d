"""The recovery key: what it opens, what it replaces, and what is cut meanwhile."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from awvault.crypto.keys import Passphrase, RecoveryKey
from awvault.errors import (
    LoginRefusedError,
    NoAnswerError,
    NoRemoteError,
    TransportError,
    WeakPassphraseError,
    WrongPassphraseError,
)
from awvault.recovering import Owner, Recovery
from awvault.testing import CHEAP, PASSPHRASE
from tests.helpers.fault_proxy import End, Fault
from tests.helpers.machines import NEW_PASSPHRASE, Network, network

NEW = Passphrase(NEW_PASSPHRASE)


def recovery_of(net: Network, key: RecoveryKey, **changes: Any) -> Recovery:
    owner = Owner(url=net.url, insecure=False, username="alice", recovery=key)
    return Recovery(replace(owner, **changes), profile=CHEAP, connect=net.connect)


async def refused(net: Network, key: RecoveryKey) -> None:
    with pytest.raises(LoginRefusedError, match="with this recovery key"):
        await recovery_of(net, key).prepare()


async def test_who_forgot_the_passphrase_gets_in_with_the_words(
    tmp_path: Path,
) -> None:
    """Both secrets are new then: what was typed or known before opens nothing."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        words = await laptop.register()

        recovery = recovery_of(net, words)
        new_words = await recovery.prepare()
        assert await net.stored_documents() == 2
        await recovery.reset(NEW, new_words)

        await refused(net, words)
        with pytest.raises(LoginRefusedError):
            await net.enter("desk", passphrase=PASSPHRASE)
        await net.enter("desk", passphrase=NEW_PASSPHRASE)
        await recovery_of(net, new_words).prepare()
        # The machine that was there takes it over, and keeps its events.
        assert await laptop.accounts.check_passphrase(NEW) is True


@pytest.mark.parametrize("change", ["words", "username"])
async def test_other_words_are_refused_and_change_nothing(
    tmp_path: Path, change: str
) -> None:
    """Those of another account, and those of nobody, look alike."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            words = await laptop.register()
        async with net.machine("other") as other:
            others = await other.register(username="bob")

        recovery = (
            recovery_of(net, others)
            if change == "words"
            else recovery_of(net, words, username="bob")
        )
        with pytest.raises(LoginRefusedError):
            await recovery.prepare()
        with pytest.raises(LoginRefusedError):
            await recovery.reset(NEW, others)

        assert await net.stored_documents() == 4


async def test_a_weak_passphrase_is_refused_before_a_byte_is_sent(
    tmp_path: Path,
) -> None:
    """As at every other place where a host keeps what it opens."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        words = await laptop.register()
        net.proxy.forget()

        with pytest.raises(WeakPassphraseError):
            await recovery_of(net, words).reset(Passphrase("plum"), words)

        assert net.proxy.sent("up") == b""


async def test_new_words_take_the_place_of_the_old(tmp_path: Path) -> None:
    """The passphrase stays; another client does not even notice."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        words = await laptop.register()
        new = await laptop.accounts.prepare_recovery_key(Passphrase(PASSPHRASE))
        await recovery_of(net, words).prepare()

        await laptop.accounts.set_recovery_key(Passphrase(PASSPHRASE), new)

        assert not laptop.accounts.has_new_secret
        await refused(net, words)
        await recovery_of(net, new).prepare()
        await net.enter("desk")
    async with network(tmp_path) as net, net.machine("laptop"):
        pass


async def test_new_words_take_the_passphrase(tmp_path: Path) -> None:
    """And a host: without one, nothing could use them."""
    async with network(tmp_path) as net, net.machine("laptop") as laptop:
        with pytest.raises(NoRemoteError):
            await laptop.accounts.prepare_recovery_key(Passphrase(PASSPHRASE))
        await laptop.register()
        with pytest.raises(WrongPassphraseError):
            await laptop.accounts.prepare_recovery_key(NEW)


@pytest.mark.parametrize("after", [0, 600])
async def test_a_lost_answer_is_found_out(tmp_path: Path, after: int) -> None:
    """At once if the host can be asked; else either pair of secrets opens it."""
    async with network(tmp_path) as net:
        async with net.machine("laptop") as laptop:
            words = await laptop.register()
        recovery = recovery_of(net, words)
        new_words = await recovery.prepare()
        original = recovery._put
        connections = 1 if after else None

        async def lossy(*args: object) -> bool:
            net.proxy.set(
                Fault(
                    end=End.RESET,
                    direction="down",
                    after=after,
                    connections=connections,
                )
            )
            return await original(*args)  # type: ignore[arg-type]

        recovery._put = lossy  # type: ignore[method-assign,assignment]
        if after:
            await recovery.reset(NEW, new_words)
        else:
            with pytest.raises((NoAnswerError, TransportError)):
                await recovery.reset(NEW, new_words)
        net.proxy.heal()

        if await net.stored_documents() == 3:
            await recovery_of(net, new_words).prepare()
            await net.enter("desk", passphrase=NEW_PASSPHRASE)
        else:
            assert not after
            await recovery_of(net, words).prepare()
            await net.enter("desk", passphrase=PASSPHRASE)
