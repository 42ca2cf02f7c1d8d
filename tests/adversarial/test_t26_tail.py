"""T26: a host leaves out the newest records of a log.

Whoever has seen them notices at once; whoever has not, as soon as a record of
another client speaks of them.
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from awserver.records import Head, Seq
from awvault.protocol.account import KeysBlob
from awvault.protocol.edits import SetRecoveryKey, new_recovery_key
from awvault.sync.alarms import Name
from awvault.testing import CHEAP
from tests.adversarial.scenes import Scene, cut_off, scene, shown
from tests.helpers.syncing import Member


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        await made.record(made.one)
        await made.record(made.one)
        yield made


def head_at(act: Scene, seq: int) -> Head:
    """Return the head that the first client's log had at a seq."""
    at = act.one.vault.replica.hash_at(act.one.client_id, Seq(seq))
    assert at is not None
    return Head(seq=Seq(seq), hash=at)


@pytest.mark.parametrize("left", [2, 1, 0])
async def test_who_has_seen_the_tail_notices_at_once(act: Scene, left: int) -> None:
    """It is named: how many records were verified, and how many are offered now."""
    await act.two.sync()
    head = head_at(act, left - 1) if left else None

    await act.caught(
        act.two,
        cut_off(act.one.client_id, head),
        Name.LOG_ROLLED_BACK,
        client=act.one.client_id,
        says=f"verified up to 3 before, now offered {left}",
    )


async def test_who_has_not_notices_at_the_first_mention(act: Scene) -> None:
    """A third client's record names what the host does not show."""
    three = await act.join("third")
    head = head_at(act, 0)
    lie = cut_off(act.one.client_id, head, to=act.two.client_id)

    with act.host.lying(lie):
        quiet = await act.two.sync()
        assert [alarm.name for alarm in quiet.alarms] == []
        await three.sync()
        await act.store(three)
        await three.seal_and_sync()

        done = await act.two.sync()

        assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
            (Name.LOG_WITHHELD, act.one.client_id.hex())
        ]
        sentence = done.alarms[0].sentence
        assert "3" in sentence
        assert "1" in sentence
        # What the third client stored is shown all the same.
        assert three.client_id in act.two.vault.replica.heads()
    await act.goes_on()


async def test_a_log_that_is_gone_is_missed_by_who_never_saw_it(act: Scene) -> None:
    """The same where nothing at all of the log is shown."""
    three = await act.join("third")
    four = await act.join("fourth")
    lie = cut_off(act.one.client_id, None, to=four.client_id)

    with act.host.lying(lie):
        await three.sync()
        await act.store(three)
        await three.seal_and_sync()
        done = await four.sync()

    assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
        (Name.LOG_WITHHELD, act.one.client_id.hex())
    ]
    assert act.one.client_id not in four.vault.replica.heads()
    await act.goes_on()


async def test_who_never_saw_it_misses_what_the_document_names(act: Scene) -> None:
    """The owner signed how far the log went: no other client has to speak of it."""
    await act.two.sync()
    named = act.two.vault.replica.heads()[act.one.client_id]
    await name_heads(act, act.two)
    three = await act.join("third")
    assert (act.one.client_id, named) in three.vault.replica.account.document.heads
    lie = cut_off(act.one.client_id, head_at(act, 0), to=three.client_id)

    with act.host.lying(lie):
        done = await three.sync()

    assert [(alarm.name, alarm.client_id) for alarm in done.alarms] == [
        (Name.LOG_WITHHELD, act.one.client_id.hex())
    ]
    await act.goes_on()


async def name_heads(act: Scene, member: Member) -> None:
    """Let the owner make a new document on a client: it names what that has verified.

    The edit is a new recovery key; any would do.
    """
    account = act.met.account
    edit = SetRecoveryKey(
        recovery=new_recovery_key(account.opened, secrets.token_bytes)
    ).run(
        account.opened,
        heads=member.vault.replica.heads(),
        profile=CHEAP,
        random=secrets.token_bytes,
    )
    assert edit.keys_blob is not None
    account.documents.append(edit.document)
    account.keys_blob = edit.keys_blob
    account.opened = replace(
        account.opened, account=edit.account, blob=KeysBlob.decode(edit.keys_blob)
    )
    await act.met.put_document()


async def test_the_own_tail_is_put_back(act: Scene) -> None:
    """A client whose own records are gone says so, and uploads them again."""
    before = shown(act.one)
    lie = cut_off(act.one.client_id, head_at(act, 0))

    with act.host.lying(lie):
        done = await act.one.sync()

    assert [alarm.name for alarm in done.alarms] == [Name.OWN_LOG_SHORTENED]
    assert shown(act.one) == before
    await act.goes_on()
