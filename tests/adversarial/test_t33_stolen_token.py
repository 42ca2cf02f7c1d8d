"""T33: a token without the client's key stores nothing.

The adversary has a good session of the account, from a proxy's log say, and no
key: whatever they append is refused, and costs its owner nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec
import pytest

from awserver.records import RecordHash, SealedRecord, Seq
from awserver.wire import UsageAnswer
from awvault.crypto.keys import ClientKey
from tests.helpers.hosts import Member, Visitor
from tests.helpers.owners import resign
from tests.helpers.randomness import fixed

SIGNATURE: Final = (403, "signature-invalid")
THIEF: Final = ClientKey(fixed("thief"))


def other_signature(member: Member, first: SealedRecord) -> SealedRecord:
    return resign(THIEF, member.record(b"x", after=first))


def no_signature(member: Member, first: SealedRecord) -> SealedRecord:
    return replace(member.record(b"x", after=first), signature=bytes(64))


def other_client(member: Member, first: SealedRecord) -> SealedRecord:
    record = member.record(b"x", after=first, client=1)
    return resign(member.client_keys[1], record, client_id=member.client_id(0))


def signature_of_another_record(member: Member, first: SealedRecord) -> SealedRecord:
    return replace(member.record(b"x", after=first), signature=first.signature)


def changed_header(member: Member, first: SealedRecord) -> SealedRecord:
    record = member.record(b"x", after=first)
    header = replace(record.header, commitment=fixed("other"))
    return replace(record, header=header, header_bytes=header.encode())


@pytest.mark.parametrize(
    "forge",
    [
        other_signature,
        no_signature,
        other_client,
        signature_of_another_record,
        changed_header,
    ],
)
async def test_a_record_without_its_clients_signature_is_refused(
    member: Member,
    mine: Visitor,
    forge: Callable[[Member, SealedRecord], SealedRecord],
) -> None:
    """Nothing is stored, and nothing counts against the owner."""
    first = member.record(b"first")
    assert (await mine.append(member.client_id(), [first])).status == 201
    before = await state(mine, member)

    refused = await mine.append(member.client_id(), [forge(member, first)])

    assert refused.code == SIGNATURE
    assert await state(mine, member) == before
    # The place is still free for who holds the key.
    second = member.record(b"second", after=first)
    assert (await mine.append(member.client_id(), [second])).status == 201


async def test_a_good_record_does_not_carry_a_bad_one(
    member: Member, mine: Visitor
) -> None:
    """Of one append all records are taken, or none."""
    first = member.record(b"first")
    before = await state(mine, member)
    forged = other_signature(member, first)

    for batch in ([first, forged], [first, *[forged] * 9]):
        refused = await mine.append(member.client_id(), batch)

        assert refused.code == SIGNATURE
        assert await state(mine, member) == before


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (lambda m, f: m.record(b"x", after=m.record(b"y", after=f)), "seq-conflict"),
        (lambda m, f: m.record(b"x"), "seq-conflict"),
        (
            lambda m, f: resign(
                m.client_keys[0],
                m.record(b"x", after=f),
                prev=RecordHash(fixed("another past")),
            ),
            "chain-broken",
        ),
        (
            lambda m, f: resign(m.client_keys[0], m.record(b"x", after=f), epoch=1),
            "epoch-unknown",
        ),
        (
            lambda m, f: resign(
                m.client_keys[0], m.record(b"x", after=f), seq=Seq(2**63 - 1)
            ),
            "seq-conflict",
        ),
    ],
    ids=["gap", "other-at-a-seq", "other-past", "future-epoch", "far-away"],
)
async def test_what_its_own_client_signed_must_fit(
    member: Member,
    mine: Visitor,
    forge: Callable[[Member, SealedRecord], SealedRecord],
    code: str,
) -> None:
    """A stolen key cannot break the order: no gap, no other past, no future epoch."""
    first = member.record(b"first")
    assert (await mine.append(member.client_id(), [first])).status == 201
    before = await state(mine, member)

    refused = await mine.append(member.client_id(), [forge(member, first)])

    assert refused.code[1] == code
    assert 400 <= refused.status < 500
    assert await state(mine, member) == before


async def test_a_client_that_nobody_added_is_refused(
    member: Member, mine: Visitor
) -> None:
    """A log is of a client in the account document, and a thief is in none."""
    record = member.record(b"x")
    theirs = resign(THIEF, record, client_id=THIEF.client_id)
    before = await state(mine, member)

    refused = await mine.append(THIEF.client_id, [theirs])

    assert refused.code == (403, "client-unknown")
    assert await state(mine, member) == before


async def test_a_record_of_another_account_is_refused(
    member: Member, mine: Visitor
) -> None:
    """With one's own session nothing gets into, or out of, another account."""
    bob = Member("bob", username="bob")
    theirs = await bob.register(Visitor(mine.http, mine.url))
    before = await state(mine, member)

    foreign = await mine.append(bob.client_id(), [bob.record(b"x")])
    moved = await theirs.append(member.client_id(), [member.record(b"x")])

    assert foreign.code == moved.code == (400, "malformed-record")
    assert await state(mine, member) == before


async def test_the_document_is_not_changed_with_a_token_alone(
    member: Member, mine: Visitor
) -> None:
    """An edit, and the end of the account, take a fresh proof of the passphrase."""
    document = member.signed(member.next())
    edit = await member.document_request(mine, document, by="client")
    end = await member.delete_request(mine, by="client")

    refused = [
        await mine.post("/documents", msgspec.structs.replace(edit, by="login")),
        await mine.post("/account/delete", msgspec.structs.replace(end, by="login")),
    ]

    assert [one.code for one in refused] == [(401, "proof-refused")] * 2
    assert len((await mine.get("/documents?after=0")).documents()) == 1


async def state(mine: Visitor, member: Member) -> tuple[bytes, UsageAnswer, bytes]:
    """Return all that an append could have changed."""
    log = await mine.get(f"/logs/{member.client_id().hex()}?after=-1")
    usage = (await mine.get("/usage")).as_(UsageAnswer)
    return (await mine.get("/heads")).body, usage, log.body
