"""T32: at a host nothing that is stored changes, whatever is asked of it.

The same as in `test_t32_immutable.py`, over HTTP, with a good session and the
client's own key: an honest host has no request that changes a record.
"""

import asyncio
import threading
from collections import Counter
from itertools import product
from typing import Final

import apsw
import pytest

from awserver.records import SealedRecord
from awserver.wire import HeadsAnswer
from tests.helpers.hosts import Member, Visitor
from tests.helpers.lying_host import LyingHost

AT_ONCE: Final = 50
HELD_SECONDS_MAX: Final = 20.0
METHODS: Final = ("PUT", "PATCH", "DELETE")


async def stored(member: Member, mine: Visitor) -> list[SealedRecord]:
    return await mine.read(member.client_id())


async def test_fifty_appends_at_one_seq_store_one(
    member: Member, mine: Visitor
) -> None:
    """Of fifty records that want one place, one gets it and the others a 409."""
    rivals = [member.record(b"%d" % n) for n in range(AT_ONCE)]

    answers = await asyncio.gather(
        *(mine.append(member.client_id(), [rival]) for rival in rivals)
    )

    assert Counter(answer.status for answer in answers) == {201: 1, 409: AT_ONCE - 1}
    (winner,) = [
        rival
        for rival, answer in zip(rivals, answers, strict=True)
        if answer.status == 201
    ]
    assert await stored(member, mine) == [winner]
    refused = next(answer for answer in answers if answer.status == 409)
    assert refused.code == (409, "seq-conflict")
    assert refused.problem.expected_seq == 1


async def test_the_same_bytes_again_are_one_record(
    member: Member, mine: Visitor
) -> None:
    """Whoever got no answer sends it again: nothing is there twice."""
    records = [first := member.record(b"a"), member.record(b"b", after=first)]

    answers = await asyncio.gather(
        *(mine.append(member.client_id(), records) for _ in range(8))
    )

    assert Counter(answer.status for answer in answers) == {201: 1, 200: 7}
    assert await stored(member, mine) == records


async def test_other_bytes_at_a_seq_are_refused(member: Member, mine: Visitor) -> None:
    """A record stays what it is, though its own client signs another."""
    first, other = member.record(b"first"), member.record(b"other")
    assert (await mine.append(member.client_id(), [first])).status == 201

    alone = await mine.append(member.client_id(), [other])
    with_more = await mine.append(
        member.client_id(), [other, member.record(b"next", after=other)]
    )

    assert alone.code == with_more.code == (409, "seq-conflict")
    assert await stored(member, mine) == [first]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *product(METHODS, ("/logs/{client}", "/documents", "/keys", "/heads")),
        *product(("PUT", "PATCH"), ("/sessions/current", "/accounts")),
        ("DELETE", "/accounts"),
        ("DELETE", "/logs/{client}/0"),
        ("POST", "/logs/{client}/0"),
        ("POST", "/keys"),
        ("POST", "/heads"),
    ],
)
async def test_no_method_changes_anything(
    member: Member, mine: Visitor, method: str, path: str
) -> None:
    """What would change or delete is not there: 405, or no such address."""
    first = member.record(b"first")
    assert (await mine.append(member.client_id(), [first])).status == 201
    address = "/api/1" + path.format(client=member.client_id().hex())

    refused = await mine.call(method, address, body=member.record(b"x").encode())

    assert refused.status in {404, 405}
    assert await stored(member, mine) == [first]
    assert (await mine.get("/documents?after=0")).documents() == member.documents


async def test_a_body_is_not_taken_out_by_sending_less(
    member: Member, mine: Visitor
) -> None:
    """A record that comes again without its body keeps the body that it has."""
    first = member.record(b"first")
    assert (await mine.append(member.client_id(), [first])).status == 201

    await mine.append(member.client_id(), [first.without_body()])

    assert await stored(member, mine) == [first]


async def test_a_record_comes_with_its_body(member: Member, mine: Visitor) -> None:
    """A header alone does not take the place that its body should have."""
    refused = await mine.append(
        member.client_id(), [member.record(b"x").without_body()]
    )

    assert 400 <= refused.status < 500
    assert await stored(member, mine) == []


async def test_no_answer_comes_before_the_commit(
    member: Member, mine: Visitor, host: LyingHost
) -> None:
    """201 is said once the record is in the file, and not a moment earlier."""
    reached, go_on = threading.Event(), threading.Event()

    def hold(step: str) -> None:
        if step == "commit":
            reached.set()
            assert go_on.wait(HELD_SECONDS_MAX)

    first = member.record(b"first")
    host.probe = hold
    appending = asyncio.create_task(mine.append(member.client_id(), [first]))
    await asyncio.to_thread(reached.wait, HELD_SECONDS_MAX)
    try:
        # The host answers others meanwhile, and this one not.
        assert (await mine.get("/heads")).as_(HeadsAnswer).heads == []
        assert not appending.done()
    finally:
        go_on.set()

    assert (await appending).status == 201
    assert await stored(member, mine) == [first]


async def test_a_commit_that_fails_is_not_answered_as_if_it_had_not(
    member: Member, mine: Visitor, host: LyingHost
) -> None:
    """Where the disk refuses, the host says so, has nothing, and goes on later."""
    first = member.record(b"first")

    def refuse(step: str) -> None:
        if step == "commit":
            raise apsw.IOError("no disk")

    host.probe = refuse
    refused = await mine.append(member.client_id(), [first])
    host.probe = lambda _step: None

    assert refused.status in {500, 503}
    assert await stored(member, mine) == []
    assert (await mine.append(member.client_id(), [first])).status == 201
