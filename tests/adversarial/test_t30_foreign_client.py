"""T30: a client that the owner did not add, and a revoked one after its end.

A host can store whatever it likes; what counts is what the owner signed. Ignored,
with a warning where there is something to warn of.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from awserver.records import ZERO_HASH, ClientId, Head, SealedRecord, Seq
from awserver.service.base import Caller
from awserver.wire import ClientHead, HeadsAnswer
from awvault.crypto.envelope import seal_record
from awvault.crypto.keys import ClientKey, derive_account_signing_key
from awvault.sync.alarms import Name
from tests.adversarial.scenes import Documents, Scene, scene, sealed_by, shown
from tests.helpers.lying_host import Lie
from tests.helpers.randomness import Seeded, fixed


@pytest.fixture
async def act(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


class Extra(Lie):
    """Shows a log more, or records more at the end of one."""

    def __init__(self, record: SealedRecord) -> None:
        self._record = record
        self.asked = 0

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        header = self._record.header
        told = [
            head for head in honest.heads if head.client_id != header.client_id.hex()
        ]
        told.append(
            ClientHead(
                client_id=header.client_id.hex(),
                seq=header.seq,
                hash=self._record.hash.hex(),
                entries=header.seq + 1,
                stored_bytes=1000,
            )
        )
        return structs.replace(honest, heads=told)

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        if client != self._record.header.client_id:
            return honest
        self.asked += 1
        return [*honest, self._record]


async def test_a_log_of_a_client_that_nobody_added_is_ignored(
    act: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Though it be sealed under the account's own key, as a thief of it might."""
    thief = ClientKey(fixed("thief"))
    keys = act.one.vault.keys
    record = seal_record(
        keys.standing.ring[0],
        thief,
        account_id=keys.account_id,
        client_id=thief.client_id,
        epoch=0,
        seq=Seq(0),
        prev=ZERO_HASH,
        plaintext=bytes(512),
        random=Seeded("thief"),
    )
    before = act.state(act.two)
    lie = Extra(record)

    with act.host.lying(lie), caplog.at_level(logging.WARNING):
        done = await act.two.sync()

    assert done.alarms == []
    assert act.state(act.two) == before
    assert lie.asked == 0
    assert "that the owner did not add" in caplog.text
    await act.goes_on()


async def test_a_document_that_adds_a_client_is_the_owners_or_nobodys(
    act: Scene,
) -> None:
    """A host that adds a client of its own has no key to sign that with."""
    chain = act.met.account.opened.account
    document = chain.document
    key = ClientKey(fixed("the host's own client"))
    extra = replace(
        document.clients[-1],
        number=document.clients[-1].number + 1,
        public=key.public,
        added_version=document.version + 1,
    )
    forged = replace(
        document,
        version=document.version + 1,
        prev=chain.newest.hash,
        clients=(*document.clients, extra),
    ).sign(derive_account_signing_key(type(act.met.account.opened.master)(bytes(32))))

    await act.caught(
        act.two,
        Documents(lambda after, honest: [*honest, forged] if honest else []),
        Name.DOCUMENTS_INVALID,
        client=None,
    )


async def test_records_after_the_end_of_a_revoked_client_are_ignored(
    act: Scene,
) -> None:
    """The owner said where the log ends, and whoever has the old key adds nothing."""
    await act.two.sync()
    ended = act.two.vault.replica.heads()[act.one.client_id]
    late = sealed_by(act.one, b'{"app":"after the end"}')
    await revoke(act, act.one.client_id, ended)
    assert (await act.two.sync()).alarms == []
    before = shown(act.two)

    with act.host.lying(Extra(late)):
        done = await act.two.sync()

    assert done.alarms == []
    assert shown(act.two) == before
    assert act.two.vault.replica.heads()[act.one.client_id] == ended
    # A new client reads it up to its end, and no further.
    three = await act.join("third")
    with act.host.lying(Extra(late)):
        assert (await three.sync()).alarms == []
    assert three.vault.replica.heads()[act.one.client_id] == ended


async def test_a_revoked_client_uploads_nothing_to_an_honest_host(act: Scene) -> None:
    """An honest host takes nothing beyond the end, whoever brings it."""
    await act.two.sync()
    ended = act.two.vault.replica.heads()[act.one.client_id]
    late = sealed_by(act.one, b'{"app":"after the end"}')
    await revoke(act, act.one.client_id, ended)
    await act.two.sync()

    with pytest.raises(Exception, match="beyond its end") as refused:
        await act.two.host.append(act.one.client_id, [late])

    assert getattr(refused.value, "code", "") == "client-revoked"


async def revoke(act: Scene, client: ClientId, final: Head) -> None:
    """Let the owner sign that a client ends with a record."""
    account = act.met.account
    chain = account.opened.account
    document = chain.document
    clients = tuple(
        replace(entry, revoked=True, final=final)
        if entry.client_id == client
        else entry
        for entry in document.clients
    )
    heads = dict(document.heads)
    heads[client] = final
    account.documents.append(
        replace(
            document,
            version=document.version + 1,
            prev=chain.newest.hash,
            clients=clients,
            heads=tuple(sorted(heads.items())),
        ).sign(derive_account_signing_key(account.opened.master))
    )
    account.reopen()
    await act.met.put_document()
