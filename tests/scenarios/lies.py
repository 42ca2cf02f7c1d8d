"""What a host may lie about, one lie at a time, in a random walk.

Each lie notes in `told` whether it was told: a host that was not asked has not
lied. `caught` says whether who was lied to must notice, as far as that does not
depend on what it has seen before.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import msgspec
from aiohttp import web

from awserver.records import ClientId, RecordHash, SealedRecord
from awserver.service.base import Caller
from awserver.wire import AppendAnswer, ClientHead, HeadInfo, HeadsAnswer
from tests.helpers.lying_host import Handler, Lie


def flipped(data: bytes, bit: int) -> bytes:
    at = bit % (len(data) * 8)
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


@dataclass
class Told(Lie):
    """A lie about the log of one client."""

    client: ClientId
    told: bool = field(default=False, init=False)


@dataclass
class Shorter(Told):
    """The log ends earlier than it does: after `seq`."""

    seq: int
    hash: RecordHash | None
    """None: it has no records at all."""

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        told: list[ClientHead] = []
        for head in honest.heads:
            if head.client_id != self.client.hex() or head.seq <= self.seq:
                told.append(head)
                continue
            self.told = True
            if self.hash is not None:
                changed = msgspec.structs.replace(
                    head, seq=self.seq, hash=self.hash.hex(), entries=self.seq + 1
                )
                told.append(changed)
        return msgspec.structs.replace(honest, heads=told)

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        if client != self.client:
            return honest
        return [record for record in honest if record.header.seq <= self.seq]


@dataclass
class Longer(Told):
    """The log has more records than it has."""

    more: int

    def heads(self, caller: Caller, honest: HeadsAnswer) -> HeadsAnswer:
        name = self.client.hex()
        known = {head.client_id: head for head in honest.heads}
        before = known.get(name)
        self.told = True
        known[name] = ClientHead(
            client_id=name,
            seq=(-1 if before is None else before.seq) + self.more,
            hash="ab" * 32,
            entries=(0 if before is None else before.entries) + self.more,
            stored_bytes=0 if before is None else before.stored_bytes,
        )
        return msgspec.structs.replace(honest, heads=list(known.values()))


Change = Callable[[list[SealedRecord], int], list[SealedRecord]]


@dataclass
class Altered(Told):
    """The records come otherwise than they were sealed."""

    change: Change
    pick: int

    def records(
        self, caller: Caller, client: ClientId, honest: list[SealedRecord]
    ) -> list[SealedRecord]:
        if client != self.client or not honest:
            return honest
        changed = self.change(honest, self.pick)
        self.told = self.told or changed != honest
        return changed


def flip_body(records: list[SealedRecord], pick: int) -> list[SealedRecord]:
    return _one(records, pick, _with_other_body)


def flip_signature(records: list[SealedRecord], pick: int) -> list[SealedRecord]:
    return _one(
        records, pick, lambda r, bit: replace(r, signature=flipped(r.signature, bit))
    )


def without_body(records: list[SealedRecord], pick: int) -> list[SealedRecord]:
    return _one(records, pick, lambda r, _: replace(r, body=None))


def doubled(records: list[SealedRecord], pick: int) -> list[SealedRecord]:
    at = pick % len(records)
    return [*records[: at + 1], *records[at:]]


def left_out(records: list[SealedRecord], pick: int) -> list[SealedRecord]:
    """Leave one out of the middle; the last is another lie."""
    if len(records) < 2:
        return records
    at = pick % (len(records) - 1)
    return [*records[:at], *records[at + 1 :]]


def swapped(records: list[SealedRecord], pick: int) -> list[SealedRecord]:
    if len(records) < 2:
        return records
    at = pick % (len(records) - 1)
    return [*records[:at], records[at + 1], records[at], *records[at + 2 :]]


CHANGES: Sequence[Change] = (
    flip_body,
    flip_signature,
    without_body,
    doubled,
    left_out,
    swapped,
)


def _one(
    records: list[SealedRecord],
    pick: int,
    change: Callable[[SealedRecord, int], SealedRecord],
) -> list[SealedRecord]:
    at = pick % len(records)
    return [*records[:at], change(records[at], pick), *records[at + 1 :]]


def _with_other_body(record: SealedRecord, bit: int) -> SealedRecord:
    assert record.body is not None
    return replace(record, body=flipped(record.body, bit))


@dataclass
class Deaf(Told):
    """The host says that it has stored what it throws away."""

    async def append(
        self,
        client: ClientId,
        records: Sequence[SealedRecord],
        append: Callable[[], Awaitable[AppendAnswer]],
    ) -> AppendAnswer:
        self.told = True
        last = records[-1]
        head = HeadInfo(seq=last.header.seq, hash=last.hash.hex())
        return AppendAnswer(head=head, new=len(records))


@dataclass
class Forgetful(Told):
    """The host stores, and answers that something else ends the log now."""

    async def append(
        self,
        client: ClientId,
        records: Sequence[SealedRecord],
        append: Callable[[], Awaitable[AppendAnswer]],
    ) -> AppendAnswer:
        honest = await append()
        self.told = True
        head = HeadInfo(seq=honest.head.seq, hash="cd" * 32)
        return AppendAnswer(head=head, new=honest.new)


class Noise(Lie):
    """The host fails at every `every`-th request, in one way or another."""

    def __init__(self, every: int, kind: int) -> None:
        self.every = every
        self.kind = kind
        self._count = 0

    async def http(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._count += 1
        if self._count % self.every:
            return await handler(request)
        match self.kind % 4:
            case 0:
                return web.Response(status=500, text="no")
            case 1:
                return web.Response(
                    text="<p>Log in to this network</p>", content_type="text/html"
                )
            case 2:
                return web.Response(status=302, headers={"Location": "/elsewhere"})
        return web.json_response({"heads": "?"})
