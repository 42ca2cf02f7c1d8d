"""Two clients, the network between them and a host that can lie, and what must hold.

A scene has an account with two clients of this program, whose every byte to the
host passes a proxy that keeps a copy. `caught` shows one lie to one of them and
asserts what threats are judged by:

1. the exact alarm, with the log that it is about and the numbers in it;
2. that nothing wrong got in: what the client shows is as before;
3. that no secret left: none of the account's keys is in the traffic or on the host;
4. that pins and heads did not move, and that all goes on once the host is honest.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from awserver.records import ZERO_HASH, ClientId, Head, SealedRecord, Seq
from awserver.service.base import Caller
from awserver.wire import ClientHead, HeadsAnswer
from awvault.columns.compress import pack
from awvault.columns.payload import NextIds, encode_payload
from awvault.crypto.envelope import seal_record
from awvault.crypto.padding import FLOOR_LOCAL_BYTES, pad
from awvault.protocol.account import Pin
from awvault.sync.alarms import Name
from tests.helpers.canaries import Needle, Search, bytes_needles, text_needles
from tests.helpers.fault_proxy import LOOPBACK, FaultProxy
from tests.helpers.lying_host import Lie, LyingHost, lying_host
from tests.helpers.owners import resign
from tests.helpers.randomness import Seeded
from tests.helpers.syncing import Meeting, Member, meeting
from tests.helpers.tables import Row, payload, table
from tests.helpers.vaults import Shown, bucket, insert, read

BUCKET: Final = "window"
CANARY: Final = "xylophone quartz zeppelin"
"""Part of every event's data."""


@dataclass(frozen=True)
class State:
    """What a client believes, and what it shows."""

    heads: Mapping[ClientId, Head]
    pin: Pin
    epochs: frozenset[int]
    shown: tuple[Shown, ...]


@dataclass
class Scene:
    """The owner's two clients, and everything between them."""

    host: LyingHost
    proxy: FaultProxy
    met: Meeting
    one: Member
    two: Member
    clock: int = 0
    members: list[Member] = field(default_factory=list)

    async def record(self, member: Member, *, count: int = 1) -> None:
        """Let a client store events, seal them as one record, and make a round."""
        await self.store(member, count=count)
        done = await member.seal_and_sync()
        assert [alarm.name for alarm in done.alarms] == []

    async def store(self, member: Member, *, count: int = 1) -> None:
        """Let a client store events that nobody else has."""
        if BUCKET not in member.vault.buckets():
            await bucket(member.vault, BUCKET)
        rows = []
        for _ in range(count):
            self.clock += 10
            text = b'{"app":"%s","n":%d}' % (CANARY.encode(), self.clock)
            rows.append((float(self.clock), 1.0, text))
        await insert(member.vault, *rows, name=BUCKET)

    async def join(self, label: str) -> Member:
        """Add a client to the account; it has seen nothing of the logs yet."""
        member = await self.met.join(label)
        self.members.append(member)
        return member

    def state(self, member: Member) -> State:
        """Return all that a client believes and shows."""
        account = member.vault.replica.account
        return State(
            heads=dict(member.vault.replica.heads()),
            pin=account.pin,
            epochs=frozenset(member.vault.keys.standing.ring),
            shown=tuple(shown(member)),
        )

    async def caught(
        self,
        victim: Member,
        lie: Lie,
        name: Name,
        *,
        client: ClientId | None,
        says: str = "",
    ) -> None:
        """Lie to a client for a round: what must hold holds, see above."""
        before = self.state(victim)
        with self.host.lying(lie):
            done = await victim.sync()
            again = await victim.sync()

        about = None if client is None else client.hex()
        for round_ in (done, again):
            assert [(one.name, one.client_id) for one in round_.alarms] == [
                (name, about)
            ], round_.alarms
        assert says in done.alarms[0].sentence, done.alarms[0].sentence
        assert done.alarms[0].repair
        assert self.state(victim) == before
        await self.goes_on()
        incidents = [one.name for one in victim.remote.incidents]
        assert name in incidents

    async def goes_on(self) -> None:
        """Every client sees what every other stores: the host is honest again."""
        everyone = [self.one, self.two, *self.members]
        for member in everyone:
            await self.store(member)
            await member.seal_and_sync()
        for member in everyone:
            done = await member.sync()
            # That other recovery words count is news of the owner's, and no lie.
            names = {alarm.name for alarm in done.alarms} - {"recovery-changed"}
            assert names == set()
        views = [shown(member) for member in everyone]
        assert all(view == views[0] for view in views)
        assert len(views[0]) == self.clock // 10
        self.no_secret_left()

    def no_secret_left(self) -> None:
        """Assert that no key and no word of an event is on the way or on the host."""
        search = Search(needles(self))
        search.check("the traffic", self.proxy.sent())
        search.check("the host's database", self.host.dump())
        assert b"/api/1/heads" in self.proxy.sent("up")


def needles(scene: Scene) -> dict[str, list[Needle]]:
    """Return the forms of every secret of the account, and of its events."""
    opened = scene.met.account.opened
    secrets = {
        "passphrase key": opened.owner.reveal(),
        "master key": opened.master.reveal(),
        **{f"epoch key {n}": key.reveal() for n, key in opened.ring.items()},
    }
    for number, member in enumerate([scene.one, scene.two, *scene.members]):
        keys = member.vault.keys
        secrets[f"seed of client {number}"] = keys.client_key.reveal()
        secrets[f"journal key {number}"] = keys.journal_key.reveal()
    found = {name: list(bytes_needles(name, raw)) for name, raw in secrets.items()}
    for name, text in (
        ("passphrase", scene.met.account.passphrase),
        ("an event", CANARY),
        ("a bucket", "aw-watcher-" + BUCKET),
    ):
        found[name] = list(text_needles(name, text))
    return found


def shown(member: Member) -> list[Shown]:
    """Return every event that a client shows, by its start."""
    names = member.vault.buckets()
    return sorted(event for name in names for event in read(member.vault, name))


def sealed_by(
    member: Member, text: bytes, *, epoch: int = 0, **header: Any
) -> SealedRecord:
    """Return a record that a client might seal next, with one event, and did not.

    With `header`, it is signed anew under a header that was changed so.
    """
    keys = member.vault.keys
    head = member.vault.replica.heads().get(keys.client_id)
    seq = 0 if head is None else head.seq + 1
    number = keys.client_numbers[keys.client_id]
    told = replace_fields(
        payload(
            (number * 2**40 + 1, table(Row(id=number * 2**40 + 900 + seq, text=text)))
        ),
        document=member.vault.replica.account.pin,
        next_ids=NextIds(1000 + seq, 2),
    )
    record = seal_record(
        keys.standing.ring[epoch],
        keys.client_key,
        account_id=keys.account_id,
        client_id=keys.client_id,
        epoch=epoch,
        seq=Seq(seq),
        prev=ZERO_HASH if head is None else head.hash,
        plaintext=pad(pack(encode_payload(told)), floor=FLOOR_LOCAL_BYTES),
        random=Seeded(text.hex()),
    )
    return resign(keys.client_key, record, **header) if header else record


@asynccontextmanager
async def scene(root: Path) -> AsyncIterator[Scene]:
    """Give two clients that have met at a host, with an event of each."""
    with FaultProxy(0) as proxy:
        between = f"http://{LOOPBACK}:{proxy.port}"
        async with lying_host(root / "host", also_origins=(between,)) as host:
            proxy.retarget(host.port)
            async with meeting(root / "clients", between) as (met, one):
                two = await met.join("second")
                made = Scene(host=host, proxy=proxy, met=met, one=one, two=two)
                await one.sync()
                await made.record(one)
                await made.record(two)
                await one.sync()
                yield made


# -- lies ----------------------------------------------------------------------


class Heads(Lie):
    """Names other heads than there are."""

    def __init__(
        self,
        alter: Callable[[list[ClientHead]], list[ClientHead]],
        *,
        to: ClientId | None = None,
    ) -> None:
        self._alter = alter
        self._to = to

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        if self._to is not None and caller.client_id != self._to:
            return honest
        told = self._alter(list(honest.heads))
        return HeadsAnswer(heads=told, version=honest.version, entries=honest.entries)


class Records(Lie):
    """Gives other records of one log than there are."""

    def __init__(
        self,
        client: ClientId,
        alter: Callable[[list[SealedRecord]], list[SealedRecord]],
    ) -> None:
        self._client = client
        self._alter = alter

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        return self._alter(list(honest)) if client == self._client else honest


class Documents(Lie):
    """Gives other account documents than there are."""

    def __init__(
        self,
        alter: Callable[[int, list[bytes]], list[bytes]],
        *,
        to: ClientId | None = None,
    ) -> None:
        self._alter = alter
        self._to = to

    def documents(self, caller: Caller, after: int, honest: list[bytes]) -> list[bytes]:
        if self._to is not None and caller.client_id != self._to:
            return honest
        return self._alter(after, list(honest))


class Blob(Lie):
    """Gives another keys blob than there is."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob

    def keys_blob(self, caller: Caller, honest: bytes) -> bytes:
        return self._blob


def cut_off(
    client: ClientId, head: Head | None, *, to: ClientId | None = None
) -> "CutOff":
    """Return a lie: the log ends at `head`, or is not there at all."""
    return CutOff(client, head, to)


class CutOff(Lie):
    """A log ends earlier than it does, for one client or for all."""

    def __init__(
        self, client: ClientId, head: Head | None, to: ClientId | None
    ) -> None:
        self._client = client
        self._head = head
        self._to = to

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        if self._to not in {None, caller.client_id}:
            return honest
        told = []
        for one in honest.heads:
            if one.client_id != self._client.hex():
                told.append(one)
            elif self._head is not None:
                told.append(
                    replace(one, seq=self._head.seq, hash=self._head.hash.hex())
                )
        return replace(honest, heads=told)

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        if client != self._client or self._to not in {None, caller.client_id}:
            return honest
        last = -1 if self._head is None else self._head.seq
        return [record for record in honest if record.header.seq <= last]
