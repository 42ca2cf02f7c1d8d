"""`/api/0/settings`, from outside: what ActivityWatch's web interface keeps here."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from awvault import preferences
from awvault.preferences import KEY_CHARS_MAX, VALUE_BYTES_MAX
from awvault.testing import open_vault
from tests.integration.gateway.running import Api, make_bucket, running

SETTINGS = "/api/0/settings"

CLASSES = [
    {"id": 0, "name": ["Work", "Ümläute"], "rule": {"type": "regex", "regex": "a\\b"}},
    {
        "id": 1,
        "name": ["Uncategorized"],
        "rule": {"type": None},
        "data": {"score": 1.5},
    },
]


@pytest.mark.parametrize(
    "value",
    [CLASSES, {"b": 1, "a": 2}, "04:00", 14_400, 0.5, True, False, 0, "", [], {}],
    ids=repr,
)
async def test_a_setting_comes_back_as_it_was_sent(api: Api, value: Any) -> None:
    """Also what is false in Python: a list that was emptied is not one never set."""
    path = f"{SETTINGS}/classes"

    assert await api.ok("POST", path, value) == value

    assert await api.ok("GET", path) == value
    assert await api.ok("GET", SETTINGS) == {"classes": value}
    assert type(await api.ok("GET", path)) is type(value)


async def test_there_are_no_settings_at_first(api: Api) -> None:
    """A setting without a value is null, and not in the object of all."""
    for path in (SETTINGS, f"{SETTINGS}/"):
        assert (await api.get(path)).body == b"{}"
    answer = await api.get(f"{SETTINGS}/theme")
    assert (answer.status, answer.body) == (200, b"null")


async def test_all_settings_are_one_object_in_the_order_of_their_keys(api: Api) -> None:
    for key in ("views", "always_active_pattern", "%C3%A9t%C3%A9", "a%2Fb"):
        await api.ok("POST", f"{SETTINGS}/{key}", key)

    for path in (SETTINGS, f"{SETTINGS}/"):
        assert list((await api.ok("GET", path)).items()) == [
            ("a/b", "a%2Fb"),
            ("always_active_pattern", "always_active_pattern"),
            ("views", "views"),
            ("été", "%C3%A9t%C3%A9"),
        ]
    head = await api.call("HEAD", SETTINGS)
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize("how", ["DELETE", "POST null"])
async def test_a_setting_is_taken_away(api: Api, how: str) -> None:
    """By DELETE or with null; once more is no error; it can be set again."""
    path = f"{SETTINGS}/theme"
    await api.ok("POST", path, "dark")
    for _ in range(2):
        if how == "DELETE":
            assert (await api.delete(path)).status == 200
        else:
            assert (await api.call("POST", path, body=b" null\n")).body == b"null"

        assert await api.ok("GET", path) is None
        assert await api.ok("GET", SETTINGS) == {}

    await api.ok("POST", path, "light")
    assert await api.ok("GET", SETTINGS) == {"theme": "light"}


REFUSED = {
    "no JSON": (b"{", 400, "body: not valid JSON: "),
    "nothing": (b"", 400, "body: expected JSON, got nothing"),
    "two values": (b'1,"value":2', 400, "body: not valid JSON: expected nothing more"),
    "the end of an object": (b'1}{"a":2', 400, "body: not valid JSON: "),
    "no UTF-8": (b'"\xff"', 400, "body: expected UTF-8"),
    "not a number": (b'{"a":[NaN]}', 400, "value.a[0]: NaN, Infinity"),
    "too large a number": (b"1e999", 400, "value: NaN, Infinity"),
    "too deep": (b"[" * 64 + b"]" * 64, 400, "value"),
    "too long": (
        b'"%b"' % (b"x" * VALUE_BYTES_MAX),
        413,
        f"value: has {VALUE_BYTES_MAX + 2} bytes, at most {VALUE_BYTES_MAX} are kept",
    ),
    "far too long": (b'"%b"' % (b"x" * 2**20), 413, "the body is larger than"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_value_that_cannot_be_kept_is_refused(api: Api, name: str) -> None:
    """The answer says what is wrong, and the value before stays."""
    body, status, message = REFUSED[name]
    path = f"{SETTINGS}/theme"
    await api.ok("POST", path, "dark")

    answer = await api.call("POST", path, body=body)

    assert (answer.status, answer.message[: len(message)]) == (status, message)
    assert await api.ok("GET", SETTINGS) == {"theme": "dark"}


async def test_the_largest_value_and_the_longest_key_are_kept(api: Api) -> None:
    """With the key that takes the most bytes, of which none is wide in JSON's text."""
    key = "%01" * KEY_CHARS_MAX
    value = "x" * (VALUE_BYTES_MAX - 2)

    await api.ok("POST", f"{SETTINGS}/{key}", value)

    assert await api.ok("GET", SETTINGS) == {"\x01" * KEY_CHARS_MAX: value}


async def test_a_key_that_cannot_be_kept_is_refused(api: Api) -> None:
    for key in ("k" * (KEY_CHARS_MAX + 1), "%F0%9F%99%82" * (KEY_CHARS_MAX + 1)):
        answer = await api.post(f"{SETTINGS}/{key}", 1)
        assert answer.status == 400
        assert answer.message == f"key: a key has 1 to {KEY_CHARS_MAX} characters"
    for path in (SETTINGS, f"{SETTINGS}/"):
        answer = await api.post(path, 1)
        assert answer.status == 400
        assert answer.message.startswith("key: name the setting")
    assert await api.ok("GET", SETTINGS) == {}


async def test_there_are_at_most_so_many_settings(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is taken away makes room for another."""
    monkeypatch.setattr(preferences, "KEYS_MAX", 5)
    for at in range(5):
        await api.ok("POST", f"{SETTINGS}/k{at}", 1)

    answer = await api.post(f"{SETTINGS}/another", 1)

    assert answer.status == 400
    assert answer.message == "key: there are 5 keys: delete one first"
    await api.ok("POST", f"{SETTINGS}/k2", 2)
    await api.delete(f"{SETTINGS}/k3")
    await api.ok("POST", f"{SETTINGS}/another", 1)
    expected = {"another": 1, "k0": 1, "k1": 1, "k2": 2, "k4": 1}
    assert await api.ok("GET", SETTINGS) == expected


async def test_all_settings_together_have_a_limit(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so has the number of keys that were ever used."""
    monkeypatch.setattr(preferences, "TOTAL_BYTES_MAX", 100)
    monkeypatch.setattr(preferences, "CHANGES_MAX", 2)
    await api.ok("POST", f"{SETTINGS}/one", "x" * 50)

    answer = await api.post(f"{SETTINGS}/two", "x" * 50)
    assert answer.status == 413
    assert answer.message == "value: all values together may have 100 bytes"
    assert await api.ok("GET", SETTINGS) == {"one": "x" * 50}

    await api.ok("POST", f"{SETTINGS}/two", 1)
    answer = await api.post(f"{SETTINGS}/three", 1)
    assert answer.status == 400
    assert answer.message == "key: 2 keys were used: use one of those"


async def test_other_methods_are_not_allowed(api: Api) -> None:
    answer = await api.call("PUT", f"{SETTINGS}/theme", 1)
    assert answer.status == 405
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, POST"
    assert (await api.delete(SETTINGS)).status == 405


async def test_a_web_page_of_another_site_changes_no_setting(api: Api) -> None:
    for method in ("POST", "DELETE"):
        answer = await api.call(
            method, f"{SETTINGS}/theme", 1, headers={"Origin": "https://evil.example"}
        )
        assert answer.status == 403


async def test_settings_are_there_after_a_restart(tmp_path: Path) -> None:
    """From the journal and from records; a change of what lies in a record, too."""
    for at in range(3):
        async with running(tmp_path / "vault") as api:
            await api.ok("POST", f"{SETTINGS}/theme", at)
            await api.ok("POST", f"{SETTINGS}/new{at}", at)
        async with await open_vault(tmp_path / "vault") as vault:
            if at != 1:
                await vault.seal_now()
        async with running(tmp_path / "vault") as api:
            assert await api.ok("GET", SETTINGS) == {
                "theme": at,
                **{f"new{i}": i for i in range(at + 1)},
            }


async def test_settings_are_no_bucket(api: Api) -> None:
    """They are in no list, cannot be reached by their name, and nobody takes it."""
    await make_bucket(api)
    await api.ok("POST", f"{SETTINGS}/theme", "dark")
    path = "/api/0/buckets/awvault.preferences"

    assert list(await api.ok("GET", "/api/0/buckets")) == ["window"]
    event = {"timestamp": "2024-03-01T10:00:00Z", "data": {}}
    for method, further, value in (
        ("GET", "", None),
        ("DELETE", "?force=1", None),
        ("GET", "/events", None),
        ("GET", "/events/count", None),
        ("POST", "/events", event),
        ("POST", "/heartbeat?pulsetime=1", event),
    ):
        answer = await api.call(method, path + further, value)
        assert (answer.status, answer.message) == (
            404,
            "There's no bucket named awvault.preferences",
        )
    body = {"type": "t", "client": "c", "hostname": "h"}
    answer = await api.post(path, body)
    assert answer.status == 400
    assert answer.message == 'id: "awvault.preferences" is kept for preferences'
    assert await api.ok("GET", SETTINGS) == {"theme": "dark"}


async def test_settings_that_are_set_at_once_are_all_there(tmp_path: Path) -> None:
    """Also where many set one: one of their values counts, and stays."""
    async with running(tmp_path / "vault") as api:
        await asyncio.gather(
            *(api.ok("POST", f"{SETTINGS}/k{at % 4}", at) for at in range(40))
        )
        found = await api.ok("GET", SETTINGS)
        assert {key: value % 4 for key, value in found.items()} == {
            f"k{at}": at for at in range(4)
        }
    async with running(tmp_path / "vault") as api:
        assert await api.ok("GET", SETTINGS) == found


async def test_half_a_surrogate_pair_is_kept(api: Api) -> None:
    """Titles on Windows hold them, so category rules may."""
    text = b'"\\ud83d"'
    await api.call("POST", f"{SETTINGS}/rule", body=text)

    assert (await api.get(f"{SETTINGS}/rule")).body == text
    assert json.loads((await api.get(SETTINGS)).body) == {"rule": "\ud83d"}
