"""Every route of a host, over a real socket, with honest proofs."""

from awserver.wire import (
    AppendAnswer,
    ChangesAnswer,
    ClientsAnswer,
    HeadsAnswer,
    InfoAnswer,
    SessionAnswer,
    SessionsAnswer,
    UsageAnswer,
)
from tests.helpers.hosts import Member, RunningHost, Visitor


async def test_a_host_says_little_of_itself(host: RunningHost) -> None:
    """Anyone learns which API it is and who may register, and no version."""
    answer = await host.visitor.get("/info")

    assert answer.as_(InfoAnswer) == InfoAnswer(api=1, registration="open")
    assert answer.headers["Server"] == "aw-server"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_account_keeps_its_documents_there(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """What was registered, and each edit, comes back byte for byte."""
    assert (await session.get("/documents")).documents() == alice.documents
    assert (await session.get("/keys")).body == alice.keys_blob()

    document = alice.sign(alice.next())
    request = await alice.document_request(host.visitor, document)
    put = await session.post("/documents", request)

    assert (put.status, put.body) == (201, b'{"version":2}')
    assert (await session.get("/documents?after=1")).documents() == [document]
    assert (await session.get("/documents?after=2")).documents() == []
    assert (await session.get("/documents")).documents() == alice.documents


async def test_a_log_is_appended_and_read(alice: Member, session: Visitor) -> None:
    """Records come back as they were sent, all or in part."""
    records = alice.records(b"one", b"two", b"three")
    client = alice.client_id()

    first = await session.append(client, records[:2])
    again = await session.append(client, records[:2])
    second = await session.append(client, records[1:])

    assert (first.status, again.status, second.status) == (201, 200, 201)
    assert [one.as_(AppendAnswer).new for one in (first, again, second)] == [2, 0, 1]
    head = second.as_(AppendAnswer).head
    assert (head.seq, head.hash) == (2, records[2].hash.hex())
    assert await session.read(client) == records
    assert await session.read(client, after=0) == records[1:]
    assert await session.read(client, after=2) == []
    assert await session.read(client, after=2**63 - 1) == []
    assert await session.read(client, query="&max_bytes=1") == records[:1]
    assert await session.read(client, query="&bodies=0") == [
        record.without_body() for record in records
    ]
    assert await session.read(alice.client_id(1)) == []


async def test_what_an_account_has_is_counted(alice: Member, session: Visitor) -> None:
    """Heads, clients, usage and changes agree with what was appended."""
    records = alice.records(b"one", b"two")
    stored_bytes = sum(len(record.encode()) for record in records)
    await session.append(alice.client_id(), records)

    heads = (await session.get("/heads")).as_(HeadsAnswer)
    clients = (await session.get("/clients")).as_(ClientsAnswer).clients
    usage = (await session.get("/usage")).as_(UsageAnswer)
    changes = (await session.get("/changes")).as_(ChangesAnswer)

    (head,) = heads.heads
    assert (head.client_id, head.seq) == (alice.client_id().hex(), 1)
    assert head.hash == records[1].hash.hex()
    assert (head.entries, head.stored_bytes) == (2, stored_bytes)
    assert (heads.version, heads.entries) == (1, 2)
    assert [(c.number, c.entries, c.head_seq) for c in clients] == [
        (0, 2, 1),
        (1, 0, None),
    ]
    assert usage == UsageAnswer(entries=2, stored_bytes=stored_bytes, quota_bytes=None)
    assert changes == ChangesAnswer(entries=2, version=1)


async def test_a_session_begins_by_each_key_and_ends(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """Passphrase, recovery key and client key give a token; it ends when told to."""
    for by in ("login", "recovery", "client"):
        request = await alice.session_request(host.visitor, by=by, client=1)
        answer = await host.visitor.post("/sessions", request)
        given = answer.as_(SessionAnswer)
        assert (answer.status, given.version) == (201, 1)
        assert given.account_id == alice.account_id.hex()

    found = (await session.get("/sessions")).as_(SessionsAnswer).sessions
    assert [one.client_id for one in found].count(alice.client_id(1).hex()) == 3
    (current,) = [one for one in found if one.current]
    assert current.client_id == alice.client_id(0).hex()
    assert current.created.endswith(":00:00Z")

    other = next(one for one in found if not one.current)
    ended = await session.call("DELETE", f"/api/1/sessions/{other.id}")
    assert (ended.status, ended.body) == (204, b"")
    assert len((await session.get("/sessions")).as_(SessionsAnswer).sessions) == 3

    assert (await session.call("DELETE", "/api/1/sessions/current")).status == 204
    assert (await session.get("/usage")).code == (401, "session-invalid")


async def test_lost_documents_are_put_back(host: RunningHost, alice: Member) -> None:
    """A host that lost an account takes its documents from any of its clients."""
    alice.sign(alice.next())

    request = await alice.restore_request(host.visitor)
    answer = await host.visitor.post("/documents/restore", request)

    assert (answer.status, answer.body) == (201, b'{"version":2}')
    session = await alice.log_in(host.visitor)
    assert (await session.get("/documents")).documents() == alice.documents


async def test_a_deleted_account_is_gone(
    host: RunningHost, alice: Member, session: Visitor
) -> None:
    """After its end, nothing of an account is found, and its name is free."""
    await session.append(alice.client_id(), alice.records(b"one"))

    request = await alice.delete_request(host.visitor)
    answer = await session.post("/account/delete", request)

    assert (answer.status, answer.body) == (204, b"")
    assert (await session.get("/usage")).code == (401, "session-invalid")
    await Member(name="other").register(host.visitor)


async def test_health_is_said(host: RunningHost) -> None:
    """Whoever watches over a host learns that it lives and serves."""
    for path, words in (("/healthz", b"ok\n"), ("/readyz", b"ready\n")):
        answer = await host.visitor.call("GET", path)
        assert (answer.status, answer.body) == (200, words)
