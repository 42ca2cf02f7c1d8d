"""Buckets: made once, hidden, and made again under the same name."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from awvault.errors import BucketNotFoundError, InvalidInputError, LimitError
from awvault.incoming import (
    BUCKET_DATA_BYTES_MAX,
    BUCKET_TEXT_CHARS_MAX,
    RESTORED,
    NewRows,
)
from awvault.testing import open_vault
from awvault.vault import Vault
from tests.helpers.vaults import A, B, Shown, bucket, contents, insert, read, us


async def test_a_bucket_is_as_it_was_made(tmp_path: Path) -> None:
    """Every field comes back, after a restart and out of a record too."""
    async with await open_vault(tmp_path / "v") as vault:
        assert await vault.create_bucket(
            "spaces and ünïcode / slashes",
            type="t",
            client="c",
            hostname="h",
            data=b'{"k": [1, 2.5, "x"]}',
            created_us=us(0),
        )
        made = vault.bucket("spaces and ünïcode / slashes")
        assert made.created == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        assert (made.type, made.client, made.hostname) == ("t", "c", "h")
        assert made.data == {"k": [1, 2.5, "x"]}
        before = contents(vault)
    async with await open_vault(tmp_path / "v") as vault:
        assert contents(vault) == before
        assert await vault.seal_now() == 1
        assert vault.facts().journal_rows == 0
    async with await open_vault(tmp_path / "v") as vault:
        assert contents(vault) == before


async def test_making_a_bucket_twice_changes_nothing(vault: Vault) -> None:
    """The second time says so, and the first one stays."""
    before = vault.bucket("b")
    assert not await vault.create_bucket("b", type="other", hostname="other")
    assert vault.bucket("b") == before


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_hidden_bucket_is_gone_from_view(tmp_path: Path, sealed: bool) -> None:
    """No call finds it or its events, now and after a restart."""
    async with await open_vault(tmp_path / "v") as vault:
        await bucket(vault)
        (event_id,) = await insert(vault, (0, 1, A))
        if sealed:
            await vault.seal_now()
        await vault.hide_bucket("b")
        if sealed:
            await vault.seal_now()
    async with await open_vault(tmp_path / "v") as vault:
        assert vault.buckets() == {}
        for call in (
            lambda: vault.read("b"),
            lambda: vault.count("b"),
            lambda: vault.event("b", event_id),
            lambda: vault.bucket("b"),
            lambda: vault.last_updated("b"),
        ):
            with pytest.raises(BucketNotFoundError):
                call()
        with pytest.raises(BucketNotFoundError):
            await vault.hide_bucket("b")
        with pytest.raises(BucketNotFoundError):
            await insert(vault, (0, 1, A))
        assert vault.facts().hidden_buckets == 1


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_name_used_again_is_another_bucket(
    tmp_path: Path, sealed: bool
) -> None:
    """It begins empty, and the old events never come back, however often."""
    async with await open_vault(tmp_path / "v") as vault:
        for generation in range(4):
            await bucket(vault, kind=f"kind-{generation}")
            assert read(vault) == []
            assert vault.last_updated("b") is None
            await insert(vault, (generation, 1, A), (generation, 2, B))
            if sealed:
                await vault.seal_now()
            if generation < 3:
                await vault.hide_bucket("b")
    async with await open_vault(tmp_path / "v") as vault:
        assert read(vault) == [Shown(3, 1, A), Shown(3, 2, B)]
        assert vault.bucket("b").type == "kind-3"
        assert vault.facts().hidden_buckets == 3


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_deleted_bucket_comes_back(tmp_path: Path, sealed: bool) -> None:
    """With its events, its fields and its name, and it stays after a restart."""
    async with await open_vault(tmp_path / "v") as vault:
        await vault.create_bucket("b", type="t", client="c", data=b'{"k":1}')
        await insert(vault, (0, 1, A), (1, 1, B))
        before = contents(vault)
        if sealed:
            await vault.seal_now(whole=True)
        await vault.hide_bucket("b")
        ((number, hidden),) = vault.hidden_buckets().items()
        assert (hidden.id, hidden.type) == ("b", "t")
        assert vault.hidden_view(number).count(start=None, end=None) == 2
        assert await vault.show_bucket(number) == "b"
        assert contents(vault) == before
        assert vault.hidden_buckets() == {}
        with pytest.raises(InvalidInputError, match=f"number {number}$"):
            await vault.show_bucket(number)
    async with await open_vault(tmp_path / "v") as vault:
        assert contents(vault) == before


async def test_a_bucket_that_comes_back_leaves_a_used_name_alone(vault: Vault) -> None:
    """A watcher has made its bucket again: the old one gets another name."""
    for generation in range(3):
        await insert(vault, (generation, 1, A))
        await vault.hide_bucket("b")
        await bucket(vault)
    first, second, third = vault.hidden_buckets()

    assert await vault.show_bucket(first) == "b-restored"
    assert await vault.show_bucket(second) == "b-restored-2"
    with pytest.raises(InvalidInputError, match='there is a bucket "b" already'):
        await vault.show_bucket(third, name="b")
    assert await vault.show_bucket(third, name="other") == "other"

    assert read(vault) == []
    assert read(vault, "b-restored") == [Shown(0, 1, A)]
    assert read(vault, "b-restored-2") == [Shown(1, 1, A)]
    assert read(vault, "other") == [Shown(2, 1, A)]


async def test_a_long_name_makes_room_for_what_comes_behind_it(vault: Vault) -> None:
    """The name of a bucket that comes back keeps to the limit."""
    name = "x" * BUCKET_TEXT_CHARS_MAX
    await bucket(vault, name)
    await vault.hide_bucket(name)
    await bucket(vault, name)
    (number,) = vault.hidden_buckets()

    shown = await vault.show_bucket(number)

    assert shown == "x" * (BUCKET_TEXT_CHARS_MAX - len(RESTORED)) + RESTORED


async def test_what_is_said_of_a_bucket_can_be_changed(tmp_path: Path) -> None:
    """Only what is named changes; the events stay, and so does the change."""
    async with await open_vault(tmp_path / "v") as vault:
        await vault.create_bucket("b", type="t", client="c", hostname="h")
        await insert(vault, (0, 1, A))
        rows = vault.facts().journal_rows
        await vault.update_bucket("b", type="t")
        assert vault.facts().journal_rows == rows, "nothing changed, nothing stored"
        await vault.update_bucket("b", hostname="other", data=b'{ "k": 1 }')
        with pytest.raises(LimitError):
            await vault.update_bucket("b", client="x" * (BUCKET_TEXT_CHARS_MAX + 1))
        with pytest.raises(BucketNotFoundError):
            await vault.update_bucket("nobody", type="t")
    async with await open_vault(tmp_path / "v") as vault:
        now = vault.bucket("b")
        assert (now.type, now.client, now.hostname) == ("t", "c", "other")
        assert now.data == {"k": 1}
        assert read(vault) == [Shown(0, 1, A)]


async def test_last_updated_is_the_end_of_the_newest_event(vault: Vault) -> None:
    """Newest by start; an event without an end ends where it starts."""
    assert vault.last_updated("b") is None
    await insert(vault, (0, 1000, A), (100, 10, A))
    assert vault.last_updated("b") == us(110)
    await vault.seal_now()
    assert vault.last_updated("b") == us(110)
    (newest,) = await insert(vault, (200, -1, A))
    assert vault.last_updated("b") == us(200)
    await vault.delete_event("b", newest)
    assert vault.last_updated("b") == us(110)


@pytest.mark.parametrize("name", ["id", "type", "client", "hostname"])
async def test_texts_have_a_limit(vault: Vault, name: str) -> None:
    """Each is kept up to the limit, and refused by name beyond it."""
    for length, fits in (
        (BUCKET_TEXT_CHARS_MAX, True),
        (BUCKET_TEXT_CHARS_MAX + 1, False),
    ):
        fields = {"type": "t", name: "x" * length}
        bucket_id = fields.pop("id", f"{name}-{length}")
        if fits:
            assert await vault.create_bucket(bucket_id, **fields)  # type: ignore[arg-type]
            continue
        with pytest.raises(LimitError) as caught:
            await vault.create_bucket(bucket_id, **fields)  # type: ignore[arg-type]
        assert caught.value.field == name
        assert bucket_id not in vault.buckets()


async def test_a_bucket_needs_a_name_and_data_that_is_an_object(vault: Vault) -> None:
    """An empty id, half a character and other data are refused."""
    with pytest.raises(InvalidInputError):
        await vault.create_bucket("", type="t")
    with pytest.raises(InvalidInputError):
        await vault.create_bucket("\ud800", type="t")
    for data in (b"[]", b"{", b'"x"', b'{"a":%s}' % (b"1" * BUCKET_DATA_BYTES_MAX)):
        with pytest.raises(InvalidInputError):
            await vault.create_bucket("x", type="t", data=data)
    assert list(vault.buckets()) == ["b"]


async def test_events_of_a_missing_bucket_are_refused(vault: Vault) -> None:
    """The error carries the name that was asked for."""
    with pytest.raises(BucketNotFoundError) as caught:
        await vault.insert_rows(
            "nowhere", NewRows(starts=[us(0)], durations=[0], texts=[A])
        )
    assert caught.value.bucket_id == "nowhere"
