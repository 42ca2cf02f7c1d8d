"""The library on a machine without a gateway: a host, an account, a script."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from awvault import Event, Vault
from awvault.errors import (
    BucketNotFoundError,
    InvalidInputError,
    LoginRefusedError,
    NoRemoteError,
    TransportError,
    VaultLockedError,
)
from awvault.hosted import open_at_host
from awvault.testing import COMPOSITION, PASSPHRASE, open_vault
from tests.helpers.hosts import RunningHost, running_host
from tests.helpers.syncing import USERNAME, Member, meeting


@contextlib.asynccontextmanager
async def account(root: Path) -> AsyncIterator[tuple[RunningHost, Member]]:
    """Give a host, and a client that has an account there."""
    async with (
        running_host(root / "host") as host,
        meeting(root / "clients", host.url) as (_, member),
    ):
        yield host, member


async def script(
    url: str, data_dir: Path, *, passphrase: str = PASSPHRASE, username: str = USERNAME
) -> Vault:
    return await open_at_host(
        url,
        username=username,
        passphrase=passphrase,
        passphrase_file=None,
        data_dir=data_dir,
        composition=COMPOSITION,
    )


async def texts(vault: Vault, bucket_id: str) -> list[object]:
    return [event.data["text"] async for event in vault.events(bucket_id)]


def note(text: str) -> Event:
    return Event.now({"text": text})


async def test_a_script_reads_and_writes_the_history_of_all(tmp_path: Path) -> None:
    """It sees what others stored, and they see what it stores."""
    async with account(tmp_path) as (host, member):
        await member.vault.insert("notes", note("from the desk"))
        await member.seal_and_sync()

        async with await script(host.url, tmp_path / "script") as vault:
            assert await texts(vault, "notes") == ["from the desk"]
            await vault.insert("script", note("from a script"))
            await vault.sync()

        await member.sync()
        assert await texts(member.vault, "script") == ["from a script"]


async def test_a_script_is_one_client_however_often_it_runs(tmp_path: Path) -> None:
    """Later openings go on with the same log, also when the host is away."""
    async with account(tmp_path) as (host, member):
        async with await script(host.url, tmp_path / "script") as vault:
            client = vault.keys.client_id
            await vault.insert("script", note("one"))
            await vault.sync()
        url = host.url

        async with await script(url, tmp_path / "script") as vault:
            assert vault.keys.client_id == client
        await member.sync()
        assert len(member.vault.replica.account.clients) == 2

    async with await script(url, tmp_path / "script") as vault:
        assert await texts(vault, "script") == ["one"]
        await vault.insert("script", note("two"))
        with pytest.raises(TransportError):
            await vault.sync()


async def test_new_events_of_others_come_by_themselves(tmp_path: Path) -> None:
    """`follow` yields what another client uploads, without a call of `sync`."""
    async with account(tmp_path) as (host, member):
        await member.vault.insert("notes", note("before"))
        await member.seal_and_sync()
        async with await script(host.url, tmp_path / "script") as vault:
            news = vault.follow("notes")
            first = asyncio.ensure_future(anext(news))
            await asyncio.sleep(0)

            await member.vault.insert("notes", note("after"))
            await member.seal_and_sync()

            async with asyncio.timeout(20):
                assert (await first).data == {"text": "after"}


@pytest.mark.parametrize("other", [{"passphrase": "wrong"}, {"username": "nobody"}])
async def test_a_wrong_secret_adds_no_client(
    tmp_path: Path, other: dict[str, str]
) -> None:
    """Nothing is made, and the right one still works in the same directory."""
    async with account(tmp_path) as (host, member):
        with pytest.raises(LoginRefusedError):
            await script(host.url, tmp_path / "script", **other)
        await member.sync()
        assert len(member.vault.replica.account.clients) == 1

        async with await script(host.url, tmp_path / "script") as vault:
            with pytest.raises(BucketNotFoundError):
                vault.bucket("notes")


async def test_a_directory_belongs_to_one_account(tmp_path: Path) -> None:
    """A vault of another host is not taken, and not written to."""
    async with account(tmp_path) as (host, _):
        async with await script(host.url, tmp_path / "script"):
            with pytest.raises(VaultLockedError):
                await script(host.url, tmp_path / "script")
        with pytest.raises(InvalidInputError, match="another account or host"):
            await script(host.url, tmp_path / "script", username="bob")


async def test_a_vault_without_a_host_says_so(tmp_path: Path) -> None:
    """`sync` is for vaults that were opened at a host."""
    async with await open_vault(tmp_path / "vault") as vault:
        with pytest.raises(NoRemoteError):
            await vault.sync()


@pytest.mark.parametrize(
    ("where", "more", "field"),
    [
        ("https://example.org", {}, "username"),
        ("https://example.org", {"username": "Alice"}, "username"),
        ("http://example.org", {"username": "alice"}, "url"),
        ("https://example.org", {"username": "alice"}, "passphrase"),
        ("here", {"username": "alice"}, "username"),
    ],
)
async def test_what_is_missing_is_named(
    where: str, more: dict[str, str], field: str
) -> None:
    """Before anything is sent or made."""
    with pytest.raises(InvalidInputError) as caught:
        await Vault.open(where, **more)  # type: ignore[arg-type]
    assert caught.value.field == field
