"""From a proof to a session: which keys, for how long, and what a refusal tells."""

import asyncio
import base64
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Final

import pytest
from msgspec import structs

from awserver.config import Rate
from awserver.errors import (
    ProofRefusedError,
    RateLimitedError,
    SessionInvalidError,
    SessionUnknownError,
)
from awserver.proofs import Action
from awserver.service.known import KnownDocuments
from awserver.service.proving import Prover
from awserver.service.secrets import HostSecret, Nonces, read_token
from awserver.service.times import SESSION_HOURS_MAX, Clock
from awserver.storage.base import FoundAccount
from awserver.storage.sqlite.accounts import SqliteAccountStore
from awserver.storage.sqlite.logs import SqliteLogStore
from awserver.wire import PreloginRequest, SessionRequest
from tests.helpers.services import ADDRESS, SETTINGS, Host
from tests.helpers.tenants import Key, Tenant

FORGED: Final = {
    "origin": "https://evil.example",
    "action": Action.DELETE,
    "username": "bob",
    "nonce": bytes(32),
    "client_nonce": bytes(32),
    "client_id": bytes(16),
    "salt": bytes(16),
    "body": b"body",
}


@pytest.fixture
async def ada(host: Host) -> Tenant:
    tenant = Tenant()
    await host.register(tenant)
    return tenant


async def create(host: Host, request: SessionRequest) -> None:
    await host.service.sessions.create(request, address=host.address())


# -- which keys -----------------------------------------------------------------


@pytest.mark.parametrize("by", ["login", "recovery", "client"])
async def test_each_key_makes_a_session(host: Host, ada: Tenant, by: str) -> None:
    """Of the account, for the client that asks."""
    caller = await host.login(ada, by=by, client=1)
    assert (caller.account_id, caller.client_id) == (ada.account_id, ada.client_id(1))


@pytest.mark.parametrize("by", ["login", "recovery"])
async def test_a_client_that_is_about_to_be_added_logs_in(
    host: Host, ada: Tenant, by: str
) -> None:
    """By the passphrase or the recovery key; its own key proves nothing yet."""
    caller = await host.login(ada, by=by, client=7)
    assert caller.client_id == ada.client_id(7)
    with pytest.raises(ProofRefusedError):
        await host.login(ada, by="client", client=7)


async def test_another_clients_key_does_not_serve(host: Host, ada: Tenant) -> None:
    """Each client proves its own key."""
    with pytest.raises(ProofRefusedError):
        await host.login(ada, by="client", client=0, key=ada.client_key(1))


async def test_a_key_that_is_not_named_does_not_serve(host: Host) -> None:
    """Where the document has no recovery key, the zeros in its place are none."""
    bob = Tenant(name="bob", recovery=False)
    await host.register(bob)
    with pytest.raises(ProofRefusedError):
        await host.login(bob, by="recovery")


@pytest.mark.parametrize("by", ["login", "client"])
@pytest.mark.parametrize("field", sorted(FORGED))
async def test_a_proof_is_bound_to_everything(
    host: Host, ada: Tenant, by: str, field: str
) -> None:
    """T10: another origin, another action, another nonce: refused."""
    with pytest.raises(ProofRefusedError):
        await host.login(ada, by=by, **{field: FORGED[field]})


@pytest.mark.parametrize("action", sorted(set(Action) - {Action.LOGIN}))
async def test_a_signature_for_one_action_serves_no_other(
    host: Host, ada: Tenant, action: Action
) -> None:
    """Not even for a session by another key."""
    with pytest.raises(ProofRefusedError):
        await host.login(ada, action=action)


async def test_a_session_by_one_key_is_not_one_by_another(
    host: Host, ada: Tenant
) -> None:
    """The request says which key is due; another's signature is refused."""
    request = ada.session_request(await host.nonce("ada"))
    with pytest.raises(ProofRefusedError):
        await create(host, structs.replace(request, by="recovery"))
    await create(host, request)


async def test_of_twenty_tries_with_one_nonce_one_succeeds(
    host: Host, ada: Tenant
) -> None:
    """T09: at once; and none does later."""
    request = ada.session_request(await host.nonce("ada"), by="client")
    outcomes = await asyncio.gather(
        *(create(host, request) for _ in range(20)), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(one, ProofRefusedError) for one in outcomes) == 19
    host.clock.turn(seconds=59)
    with pytest.raises(ProofRefusedError):
        await create(host, request)


async def test_a_clock_that_goes_back_makes_no_nonce_young(
    host: Host, ada: Tenant
) -> None:
    """What was too old once stays too old."""
    request = ada.session_request(await host.nonce("ada"))
    host.clock.turn(minutes=5)
    with pytest.raises(ProofRefusedError):
        await create(host, request)
    host.clock.turn(minutes=-5)
    with pytest.raises(ProofRefusedError):
        await create(host, request)


# -- what a refusal tells ---------------------------------------------------------


async def test_a_name_that_nobody_has_has_a_salt(host: Host, ada: Tenant) -> None:
    """T13: stable, of the same form, and another for each name."""

    async def salt(username: str) -> bytes:
        request = PreloginRequest(username=username)
        answer = await host.service.sessions.prelogin(request, address=host.address())
        assert len(answer.nonce) == 32
        return answer.salt

    assert await salt("ada") == ada.newest.document.salt
    decoys = [await salt("bob"), await salt("bob"), await salt("eve")]
    assert decoys[0] == decoys[1] != decoys[2]
    assert {len(one) for one in decoys} == {len(await salt("ada"))}


class Work:
    """Counts what is called, as whoever measures time would see it."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            name = getattr(argument, "__qualname__", "")
            if name in {"Connection.execute", "blake2b", "compare_digest"}:
                self.calls[name] += 1
        elif event == "call" and frame.f_code.co_name == "verify_signature":
            self.calls["verify_signature"] += 1

    async def of(self, act: Callable[[], Awaitable[object]]) -> Counter[str]:
        self.calls.clear()
        sys.setprofile(self)
        try:
            with pytest.raises(ProofRefusedError):
                await act()
        finally:
            sys.setprofile(None)
        return Counter(self.calls)


async def test_whatever_is_wrong_costs_the_same_work(host: Host, ada: Tenant) -> None:
    """T13: the same statements, hashes and verifications, for a name there is not too.

    Time is not measured here, for it depends on the machine: what takes time is.
    """
    await host.login(ada)  # what is known of the account is in memory
    nobody = Tenant(name="nobody")
    revoked = Tenant(name="bob", recovery=False)
    revoked.sign(revoked.next(clients=revoked.revoked(1)))
    await host.register(revoked)
    await host.login(revoked)
    old = await host.nonce("ada")
    host.clock.turn(seconds=61)
    cases = {
        "unknown name": nobody.session_request(await host.nonce("nobody")),
        "wrong key": ada.session_request(await host.nonce("ada"), key=Key.of("x")),
        "old nonce": ada.session_request(old),
        "nonce of another": ada.session_request(await host.nonce("eve")),
        "no such client": ada.session_request(
            await host.nonce("ada"), by="client", client=9
        ),
        "revoked client": revoked.session_request(
            await host.nonce("bob"), by="client", client=1
        ),
        "no recovery key": revoked.session_request(
            await host.nonce("bob"), by="recovery"
        ),
        "other origin": ada.session_request(
            await host.nonce("ada"), origin="https://evil.example"
        ),
    }
    work = Work()
    done = {
        name: await work.of(lambda request=request: create(host, request))  # type: ignore[misc]
        for name, request in cases.items()
    }
    verified = {name: calls.pop("verify_signature") for name, calls in done.items()}
    assert len({frozenset(calls.items()) for calls in done.values()}) == 1, done
    # An old nonce is noticed beside a good signature, which stops at its origin.
    right = {"old nonce", "nonce of another"}
    assert {verified[name] for name in cases if name not in right} == {2}


# -- how long -------------------------------------------------------------------


async def test_a_session_lives_while_it_is_used(host: Host, ada: Tenant) -> None:
    """Thirty days after its last use it has ended; a use is noted by the hour."""
    used, unused = await host.token(ada), await host.token(ada)
    sessions = host.service.sessions
    host.clock.turn(hours=SESSION_HOURS_MAX)
    caller = await sessions.find(used)
    await seen(host, used, hours=SESSION_HOURS_MAX)
    host.clock.turn(hours=1)
    assert await sessions.find(used) == caller
    for _ in range(2):
        with pytest.raises(SessionInvalidError):
            await sessions.find(unused)
    listed = (await sessions.list(caller)).sessions
    assert [one.current for one in listed] == [True]
    host.clock.turn(hours=SESSION_HOURS_MAX + 1)
    with pytest.raises(SessionInvalidError):
        await sessions.find(used)


async def seen(host: Host, token: str, *, hours: int) -> None:
    """Wait until the use of a session in this hour is noted."""
    token_hash = read_token(token).token_hash
    while True:
        with host.database.reading() as tx:
            rows = tx.execute(
                "SELECT seen_hour - created_hour FROM sessions WHERE token_hash = ?",
                (token_hash,),
            ).fetchall()
        if rows == [(hours,)]:
            return
        await asyncio.sleep(0)


async def test_sessions_are_listed_by_the_hour(host: Host, ada: Tenant) -> None:
    """Newest first, with their clients, and which one asks."""
    host.clock.turn(hours=1, minutes=59)
    caller = await host.login(ada, client=1)
    listed = (await host.service.sessions.list(caller)).sessions
    assert [(one.client_id, one.created, one.seen, one.current) for one in listed] == [
        (ada.client_id(1).hex(), "2027-01-15T09:00:00Z", "2027-01-15T09:00:00Z", True),
        (ada.client_id(0).hex(), "2027-01-15T08:00:00Z", "2027-01-15T08:00:00Z", False),
    ]
    assert len({one.id for one in listed}) == 2


async def test_a_session_is_ended_at_once(host: Host, ada: Tenant) -> None:
    """T15: by its id or as the current one; by its own account alone."""
    bob = Tenant(name="bob")
    sessions, theirs = host.service.sessions, await host.register(bob)
    mine, other = await host.token(ada), await host.token(ada)
    caller = await sessions.find(mine)
    id_ = read_token(other).token_hash[:8].hex()
    with pytest.raises(SessionUnknownError):
        await sessions.end(theirs, id_)
    await sessions.find(other)
    await sessions.end(caller, id_)
    with pytest.raises(SessionInvalidError):
        await sessions.find(other)
    for unknown in (id_, "", "00", "zz" * 8, "current " * 2):
        with pytest.raises(SessionUnknownError):
            await sessions.end(caller, unknown)
    await sessions.end(caller, "current")
    with pytest.raises(SessionInvalidError):
        await sessions.find(mine)


async def test_a_token_is_whole_or_nothing(host: Host, ada: Tenant) -> None:
    """Any other text, and another account's id before the same secret, is refused."""
    token = await host.token(ada)
    bob = Tenant(name="bob")
    await host.register(bob)
    other = await host.token(bob)
    for wrong in (
        "",
        token[:-1],
        token + "A",
        token[:-4],
        token + "====",
        token.swapcase(),
        token.replace(token[5], "\N{GREEK SMALL LETTER ALPHA}"),
        other[:21] + token[21:],
        "A" * 64,
    ):
        with pytest.raises(SessionInvalidError):
            await host.service.sessions.find(wrong)
    await host.service.sessions.find(token)


async def test_no_token_lies_in_the_database(host: Host, ada: Tenant) -> None:
    """T15: only hashes do."""
    token = await host.token(ada)
    await host.database.checkpoint()
    secret = base64.urlsafe_b64decode(token)[16:]
    files = [file.read_bytes() for file in host.database.path.parent.iterdir()]
    for secret_form in (secret, secret.hex().encode(), token.encode()):
        assert not any(secret_form in content for content in files)
    assert any(read_token(token).token_hash in content for content in files)


# -- how often ------------------------------------------------------------------


async def guess(host: Host, tenant: Tenant, address: str, **how: Any) -> None:
    nonce = await host.nonce(tenant.newest.document.username)
    request = tenant.session_request(nonce, key=Key.of("guess"), **how)
    await host.service.sessions.create(request, address=address)


async def guesses_until_limited(
    host: Host, tenant: Tenant, address: Callable[[int], str], **how: Any
) -> int:
    """Return how many guesses are answered before there were too many."""
    for count in range(200):
        try:
            await guess(host, tenant, address(count), **how)
        except ProofRefusedError:
            continue
        except RateLimitedError:
            return count
    return 200


async def test_guesses_are_few_from_many_addresses_too(host: Host, ada: Tenant) -> None:
    """T14: for one name, whether it is there or not; then the owner waits too."""
    nobody = Tenant(name="nobody")
    limit = host_limit("account")
    for tenant in (ada, nobody):
        assert (
            await guesses_until_limited(host, tenant, lambda n: f"203.0.113.{n}")
            == limit
        )
    request = ada.session_request(await host.nonce("ada"))
    with pytest.raises(RateLimitedError):
        await create(host, request)
    # By a client's key, which cannot be guessed, the owner gets in.
    await host.login(ada, by="client")
    host.clock.turn(minutes=1)
    await host.login(ada)


async def test_guesses_are_few_from_one_address(host: Host, ada: Tenant) -> None:
    """T14: of an IPv6 network all addresses count as one."""
    tenants = [Tenant(name=f"n{n}") for n in range(200)]
    limit = host_limit("address")

    async def many(address: Callable[[int], str]) -> int:
        for count, tenant in enumerate(tenants):
            try:
                await guess(host, tenant, address(count))
            except ProofRefusedError:
                continue
            except RateLimitedError:
                return count
        return len(tenants)

    assert await many(lambda _: ADDRESS) == limit
    assert await many(lambda n: f"2001:db8:1:2::{n:x}") == limit
    assert await many(lambda n: f"2001:db8:{n:x}::1") == len(tenants)


async def test_an_owner_who_logs_in_often_is_not_limited(
    host: Host, ada: Tenant
) -> None:
    """Proofs that succeed do not count for the name."""
    for _ in range(2 * host_limit("account")):
        await host.login(ada)
        host.clock.turn(seconds=2)  # nonces count: one every two seconds


def host_limit(kind: str) -> int:
    rate = getattr(SETTINGS.proofs, kind)
    assert isinstance(rate, Rate)
    return rate.burst


# -- what happens in between ----------------------------------------------------


class DeletedOnceFound(SqliteAccountStore):
    """The store, where each account is deleted just after it was found."""

    async def find(self, username: str) -> FoundAccount | None:
        found = await super().find(username)
        if found is not None:
            await self.delete(found.account_id, nonce=None, grant=None)
        return found


async def test_an_account_that_is_deleted_meanwhile_was_never_there(
    host: Host, ada: Tenant
) -> None:
    """A proof of it is refused as one for a name that nobody has, and its salt gone."""
    logs = SqliteLogStore(host.database)
    clock = Clock(host.clock)
    secret = HostSecret(bytes(32))
    nonces = Nonces(secret, clock=clock, random=host.random)
    prover = Prover(
        accounts=DeletedOnceFound(host.database, logs),
        known=KnownDocuments(logs),
        secret=secret,
        nonces=nonces,
        origins=SETTINGS.origins,
    )
    subject = await prover.subject("ada")
    assert subject.newest is None
    assert subject.salt != ada.newest.document.salt
    request = ada.session_request(nonces.make("ada"))
    with pytest.raises(ProofRefusedError):
        prover.check(
            request,
            subject,
            action=Action.LOGIN,
            by="login",
            signature=request.signature,
        )
