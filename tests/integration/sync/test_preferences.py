"""Preferences of an account: the newest change of a key counts on every client."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from awvault import preferences
from awvault.columns.timestamps import TIME_US_MAX
from awvault.errors import LimitError
from awvault.filter_service import FilterService
from awvault.filtering import FiltersUnknownError
from awvault.filters import convert_rules
from awvault.service import ExportRequest
from awvault.testing import COMPOSITION, clock_ahead, open_vault
from awvault.transfer.exporting import export_lines
from awvault.vault import Vault
from awvault.verifying import verify
from tests.helpers.clients import account_of, exchange, seal_whole
from tests.helpers.databases import Fault, InjectedError
from tests.helpers.syncing import Meeting, Member, two_clients
from tests.helpers.vaults import A, bucket


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Meeting, Member, Member]]:
    async with two_clients(tmp_path) as found:
        yield found


async def meet(*members: Member) -> None:
    """Let each send what it has and read what the others had sent."""
    for member in (*members, *members):
        assert (await member.seal_and_sync()).alarms == []


async def shown(vault: Vault) -> dict[str, bytes]:
    await vault.preferences.load()
    return vault.preferences.all()


async def test_the_newest_change_of_a_key_counts_on_every_client(
    pair: tuple[Meeting, Member, Member],
) -> None:
    """Whoever made it; a deletion too; and other keys are left alone."""
    _, one, two = pair
    await one.vault.preferences.set("theme", b'"dark"')
    await one.vault.preferences.set("views", b"[1]")
    await meet(one, two)
    for member in (one, two):
        assert await shown(member.vault) == {"theme": b'"dark"', "views": b"[1]"}

    await two.vault.preferences.set("theme", b'"light"')
    await one.vault.preferences.delete("views")
    await meet(two, one)
    for member in (one, two):
        assert await shown(member.vault) == {"theme": b'"light"'}
        assert member.vault.preferences.get("views") is None

    await one.vault.preferences.set("theme", b'"auto"')
    await two.vault.preferences.set("views", b"[2]")
    await meet(one, two)
    for member in (one, two):
        assert await shown(member.vault) == {"theme": b'"auto"', "views": b"[2]"}


async def test_two_clients_that_have_not_met_agree_once_they_have(
    pair: tuple[Meeting, Member, Member],
) -> None:
    """The later of two changes counts on both, not the one that arrives later."""
    _, one, two = pair
    await two.vault.preferences.set("theme", b'"first"')
    await one.vault.preferences.set("theme", b'"second"')

    await meet(one, two)

    for member in (one, two):
        assert await shown(member.vault) == {"theme": b'"second"'}


async def test_the_later_of_two_changes_counts_whoever_made_the_first(
    pair: tuple[Meeting, Member, Member],
) -> None:
    """Times decide, and not how often; each client has one event, and corrects it."""
    _, one, two = pair
    await one.vault.preferences.set("theme", b"0")
    await meet(one, two)
    await two.vault.preferences.set("theme", b"1")
    await one.vault.preferences.set("theme", b"2")

    await meet(one, two)

    for member in (one, two):
        assert await shown(member.vault) == {"theme": b"2"}
    await two.vault.preferences.set("theme", b"3")
    await meet(two, one)
    for member in (one, two):
        assert await shown(member.vault) == {"theme": b"3"}
        views = member.vault.preferences_views()
        assert [len(view.read(start=None, end=None)) for view in views] == [1, 1]


async def test_preferences_are_read_anew_where_the_state_was_loaded_again(
    pair: tuple[Meeting, Member, Member],
) -> None:
    """Its records may be in another order then."""
    _, one, two = pair
    await one.vault.preferences.set("one", b"1")
    await two.vault.preferences.set("two", b"1")
    await meet(one, two)
    assert await shown(two.vault) == {"one": b"1", "two": b"1"}
    await one.vault.preferences.set("one", b"2")
    await meet(one, two)

    await two.vault._durable.reload()

    assert await shown(two.vault) == {"one": b"2", "two": b"1"}


async def test_preferences_are_no_bucket_of_any_client(
    pair: tuple[Meeting, Member, Member],
) -> None:
    """No list, no export and no count shows them; verify finds nothing wrong."""
    _, one, two = pair
    for member in (one, two):
        await member.record(0)
        await member.vault.preferences.set("theme", b'"dark"')
    await meet(one, two)

    for member in (one, two):
        vault = member.vault
        assert {name.partition("-")[0] for name in vault.buckets()} == {"window"}
        assert vault.facts().buckets == 2
        assert vault.hidden_buckets() == {}
        text = b"".join([line async for line in export_lines(vault, ExportRequest())])
        assert b"preferences" not in text
        assert b"theme" not in text
        checked = await verify(vault.database, vault.store, vault.keys, lambda _: None)
        assert checked.findings == []


async def test_a_clock_that_was_wrong_keeps_no_change_from_counting(
    tmp_path: Path,
) -> None:
    """A change is later than every one that it was made in sight of."""
    fast = replace(COMPOSITION, clock=clock_ahead(24 * 365))
    async with await open_vault(tmp_path / "v", composition=fast) as vault:
        await vault.preferences.set("theme", b"1")
        await vault.preferences.set("gone", b"1")
    async with await open_vault(tmp_path / "v") as vault:
        await vault.preferences.set("theme", b"2")
        await vault.preferences.delete("gone")
        assert await shown(vault) == {"theme": b"2"}
    async with await open_vault(tmp_path / "v") as vault:
        assert await shown(vault) == {"theme": b"2"}


async def test_a_change_in_sight_of_another_clients_is_later(tmp_path: Path) -> None:
    """Even where that client's clock is a year ahead."""
    fast = replace(COMPOSITION, clock=clock_ahead(24 * 365))
    async with account_of(tmp_path, composition=fast) as (account, one):
        account.composition = COMPOSITION
        two = await account.join("second")
        await account.adopt(one)
        await one.preferences.set("theme", b"1")
        await exchange(one, two)
        await two.preferences.set("theme", b"2")
        await exchange(one, two)
        for vault in (one, two):
            assert await shown(vault) == {"theme": b"2"}


async def test_a_preference_that_is_not_stored_is_not_shown(tmp_path: Path) -> None:
    """After a write that failed, the value before counts; a new try succeeds."""
    fault = Fault("commit")
    composition = replace(COMPOSITION, probe=fault)
    async with await open_vault(tmp_path / "v", composition=composition) as vault:
        await vault.preferences.set("theme", b"1")
        for change in (
            lambda: vault.preferences.set("theme", b"2"),
            lambda: vault.preferences.set("new", b"2"),
            lambda: vault.preferences.delete("theme"),
        ):
            fault.armed, fault.passed = True, []
            with pytest.raises(InjectedError):
                await change()
            fault.armed = False
            assert await shown(vault) == {"theme": b"1"}
        await vault.preferences.set("theme", b"3")
        assert await shown(vault) == {"theme": b"3"}


async def test_a_first_preference_may_fail_halfway(tmp_path: Path) -> None:
    """Its bucket is stored, and the change is not; the next goes on from there."""
    fault = Fault("commit", nth=2)
    composition = replace(COMPOSITION, probe=fault)
    async with await open_vault(tmp_path / "v", composition=composition) as vault:
        fault.armed = True
        with pytest.raises(InjectedError):
            await vault.preferences.set("theme", b"1")
        fault.armed = False
        assert await shown(vault) == {}
        await vault.preferences.set("theme", b"2")
        assert await shown(vault) == {"theme": b"2"}
        assert len(vault.preferences_views()) == 1


async def test_the_same_value_again_stores_nothing(tmp_path: Path) -> None:
    """The web interface may save all that it has."""
    async with await open_vault(tmp_path / "v") as vault:
        await vault.preferences.set("theme", b'{"a": 1}')
        rows = vault.facts().journal_rows
        await vault.preferences.set("theme", b'{"a":1}')
        await vault.preferences.delete("none")
        assert vault.facts().journal_rows == rows


async def test_a_damaged_record_hides_no_other_preference(tmp_path: Path) -> None:
    """What else there is, is shown; and it is known what may be older than it seems."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        for at, key in enumerate(("first", "theme", "last")):
            await vault.preferences.set(key, b"%d" % at)
            await seal_whole(vault)
    connection = apsw.Connection(str(path / "vault.db"))
    connection.execute("DROP TRIGGER bodies_no_update")
    connection.execute("UPDATE bodies SET body = zeroblob(length(body)) WHERE seq = 1")
    connection.close()
    async with await open_vault(path) as vault:
        assert await shown(vault) == {"first": b"0", "last": b"2"}
        preferences = vault.preferences
        assert not preferences.is_certain("theme")
        assert not preferences.is_certain("first")
        assert preferences.is_certain("last")

        await preferences.set("theme", b"3")
        await preferences.set("first", b"0")

        for key in ("theme", "first", "last"):
            assert preferences.is_certain(key)
        assert await shown(vault) == {"first": b"0", "last": b"2", "theme": b"3"}


async def test_what_was_read_before_a_seal_is_shown_after_it(tmp_path: Path) -> None:
    """Whether it lies in the journal, in a record that was read, or in a new one."""
    async with await open_vault(tmp_path / "v") as vault:
        for at in range(5):
            await vault.preferences.set(f"k{at % 3}", b"%d" % at)
            assert vault.preferences.get(f"k{at % 3}") == b"%d" % at
            await seal_whole(vault)
            assert vault.preferences.get(f"k{at % 3}") == b"%d" % at
        assert await shown(vault) == {"k0": b"3", "k1": b"4", "k2": b"2"}


async def test_privacy_filters_are_in_force_on_every_client(
    pair: tuple[Meeting, Member, Member],
) -> None:
    """Once they have come there; those of a machine's own file stay with it."""
    _, one, two = pair
    two.vault.filters.configure(
        convert_rules([{"action": "redact", "field": "app", "text": "mail"}])
    )
    for member in (one, two):
        await bucket(member.vault, "window")
    rule = b'[{"action":"drop","field":"title","pattern":"secret"}]'
    await one.vault.preferences.set("privacy_filters", rule)
    text = b'{"title":"a secret"}'
    assert await one.vault.filters.one("window", text) is None
    assert await two.vault.filters.one("window", text) == text

    await meet(one, two)

    assert await two.vault.filters.one("window", text) is None
    mail = b'{"app":"Mail"}'
    assert await one.vault.filters.one("window", mail) == mail
    assert await two.vault.filters.one("window", mail) == b'{"app":"REDACTED"}'
    # A bucket of another client goes by two names; a rule may mean either.
    label = next(iter(two.vault.buckets().keys() - {"window"}))
    for name in ("window", label):
        await one.vault.preferences.set(
            "privacy_filters", b'[{"action":"drop","bucket":"%b"}]' % name.encode()
        )
        await meet(one, two)
        assert await two.vault.filters.one(label, b'{"title":"x"}') is None


async def test_where_the_filters_cannot_be_read_nothing_is_let_in(
    tmp_path: Path,
) -> None:
    """A record that may hold newer ones is damaged: until they are set again."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await vault.preferences.set("privacy_filters", b"[]")
        await seal_whole(vault)
    connection = apsw.Connection(str(path / "vault.db"))
    connection.execute("DROP TRIGGER bodies_no_update")
    connection.execute("UPDATE bodies SET body = zeroblob(length(body))")
    connection.close()
    async with await open_vault(path) as vault:
        with pytest.raises(FiltersUnknownError, match="a damaged record may hold"):
            await vault.filters.one("b", A)
        with pytest.raises(FiltersUnknownError):
            await vault.filters.many("b", [A])

        await vault.preferences.set("privacy_filters", b"[]")

        assert await vault.filters.one("b", A) == A


async def test_a_record_of_changes_that_were_corrected_is_not_missed(
    tmp_path: Path,
) -> None:
    """What counts now lies in the newest; the others are not even opened."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        for at in range(4):
            await vault.preferences.set("theme", b"%d" % at)
            await seal_whole(vault)
    connection = apsw.Connection(str(path / "vault.db"))
    connection.execute("DROP TRIGGER bodies_no_update")
    connection.execute("UPDATE bodies SET body = zeroblob(length(body)) WHERE seq < 3")
    connection.close()
    async with await open_vault(path) as vault:
        assert await shown(vault) == {"theme": b"3"}
        assert vault.preferences.is_certain("theme")
        assert vault.preferences.is_certain("another")


@pytest.mark.parametrize("before", [True, False])
async def test_a_change_at_the_end_of_time_is_not_the_last(
    tmp_path: Path, *, before: bool
) -> None:
    """It counts where there is no other, and then every change after it does."""
    path = tmp_path / "v"
    poison = b'{"key":"privacy_filters","value":[]}'
    rules = b'[{"action":"drop","bucket":"b"}]'
    async with await open_vault(path) as vault:
        await bucket(vault)
        if before:
            await vault.preferences.set("privacy_filters", rules)
        for at_us in (TIME_US_MAX - 2, TIME_US_MAX - 1):
            await vault.note_preference(poison, after_us=at_us, event_id=None)
        assert await shown(vault) == {"privacy_filters": rules if before else b"[]"}
        assert await vault.filters.one("b", A) == (None if before else A)
        problems = await FilterService(vault).problems()
        assert [("a year ahead" in said) for said in problems] == [True] * before
        await seal_whole(vault)
    async with await open_vault(path) as vault:
        await vault.preferences.set("privacy_filters", rules + b" ")
        assert await shown(vault) == {"privacy_filters": rules}
        assert await vault.filters.one("b", A) is None
        await vault.preferences.delete("privacy_filters")
        assert await shown(vault) == {}


async def test_a_clock_that_is_years_behind_still_finds_the_newest(
    tmp_path: Path,
) -> None:
    """All changes are ahead of it then, and count in their order; so do its own."""
    path = tmp_path / "v"
    slow = replace(COMPOSITION, clock=clock_ahead(-24 * 365 * 50))
    async with await open_vault(path) as vault:
        await vault.preferences.set("theme", b"1")
        await vault.preferences.set("theme", b"2")
    async with await open_vault(path, composition=slow) as vault:
        assert await shown(vault) == {"theme": b"2"}
        await vault.preferences.set("theme", b"3")
        assert await shown(vault) == {"theme": b"3"}
    async with await open_vault(path) as vault:
        assert await shown(vault) == {"theme": b"3"}


async def test_used_keys_lock_nobody_out(
    pair: tuple[Meeting, Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted key makes room, unless another client wrote it too."""
    _, one, two = pair
    monkeypatch.setattr(preferences, "CHANGES_MAX", 4)
    monkeypatch.setattr(preferences, "KEYS_MAX", 4)
    await two.vault.preferences.set("theirs", b"1")
    await meet(two, one)
    ours = one.vault.preferences
    await ours.delete("theirs")
    for key in ("a", "b"):
        await ours.set(key, b"1")
        await ours.delete(key)
    await ours.set("c", b"1")
    await meet(one, two)
    assert await shown(two.vault) == {"c": b"1"}

    await ours.set("d", b"2")
    await ours.set("e", b"3")
    with pytest.raises(LimitError, match="4 keys were used"):
        await ours.set("f", b"4")
    await ours.set("e", b"4")
    for key in ("privacy_filters", "classes", "views"):
        await ours.set(key, b"[]")
    await meet(one, two)

    needed = {"privacy_filters": b"[]", "classes": b"[]", "views": b"[]"}
    for member in (one, two):
        found = await shown(member.vault)
        assert found == {"c": b"1", "d": b"2", "e": b"4"} | needed


NO_PREFERENCES = [
    b'{"key":"theme","value":1%b}' % (b"0" * 9_000),
    b'{"key":"theme","value":1e999}',
    b'{"key":"\\ud800","value":1e999}',
    b'{"key":"\\ud800","value":1}',
    b'{"key":1%b}' % (b"0" * 9_000),
    b'{"key":"%b","value":1}' % (b"k" * 129),
    b'{"key":"","value":1}',
    b'{"key":"theme","value":"%b"}' % (b"x" * (255 * 1024)),
    b'{"key":["theme"],"value":1}',
]


async def test_what_could_not_be_kept_is_no_preference(tmp_path: Path) -> None:
    """Whatever another program put there: all else goes on, sealed or not."""
    path = tmp_path / "v"
    async with await open_vault(path) as vault:
        await bucket(vault)
        await vault.preferences.set("theme", b"1")
        for text in NO_PREFERENCES:
            await vault.note_preference(text, after_us=0, event_id=None)
            assert await shown(vault) == {"theme": b"1"}
        assert await vault.filters.one("b", A) == A
        await seal_whole(vault)
    async with await open_vault(path) as vault:
        assert await shown(vault) == {"theme": b"1"}
        assert await vault.filters.one("b", A) == A
        await vault.preferences.set("theme", b"2")
        assert await shown(vault) == {"theme": b"2"}
