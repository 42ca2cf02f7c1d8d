"""From journal rows to records: how a tail is divided, and sealed.

Pure but for the randomness that is passed in, and slow enough (milliseconds)
to run beside the event loop. Events of web buckets go into records of their
own: a page chooses its own title, and must not share a compressed frame with
the owner's other data (docs/threat-model.md, T38).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import numpy as np

from awserver.records import ZERO_HASH, Head, SealedRecord, Seq
from awvault.columns.compress import pack
from awvault.columns.payload import (
    ZONES_MAX,
    BucketVersion,
    NextIds,
    Payload,
    encode_payload,
)
from awvault.columns.table import EventTable
from awvault.columns.zones import IndexRow, index_row_of
from awvault.crypto.envelope import seal_record
from awvault.crypto.padding import FLOOR_LOCAL_BYTES, FLOOR_REMOTE_BYTES, pad
from awvault.journal import Tail
from awvault.protocol.mentions import Mention
from awvault.unlocked import Unlocked

RECORD_EVENTS_MAX: Final = 8192
"""Events of one record: about 90 KB sealed, where AEAD and zstd are fastest."""

RECORD_TEXT_BYTES_MAX: Final = 512 * 1024
"""Distinct data of one record, before compression, so that it stays below 1 MiB."""

RECORD_BUCKET_BYTES_MAX: Final = 128 * 1024
"""Names and data of the buckets of one record, beside its events' data."""

JOURNAL_BYTES_WORTH: Final = 256 * 1024
"""Journal bytes that are worth a record."""

JOURNAL_BYTES_MAX: Final = 8 * 1024 * 1024
"""Journal bytes that no request leaves behind, where records wait for their slot."""

LIVE_SECONDS: Final = 15 * 60.0
"""How often a live client seals what is closed."""

WEB_TYPE_PREFIX: Final = "web."
"""Bucket types whose content pages choose: web.tab.current and its kin."""

Random = Callable[[int], bytes]
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealPlan:
    """When closed events become records, and how small a record may be.

    Whoever knows the schedule of uploads chooses one of those below. Whatever the
    plan, a journal that outgrows its limits is sealed.
    """

    floor_bytes: int
    """The smallest size of a record."""
    by_growth: bool
    """Whether events are sealed when they are worth a record, or a day old."""
    every_seconds: float | None
    """How often what is closed is sealed, however little it is; None: it waits."""
    journal_bytes_max: int
    """Journal bytes at which a request seals before it answers."""


LOCAL: Final = SealPlan(
    floor_bytes=FLOOR_LOCAL_BYTES,
    by_growth=True,
    every_seconds=None,
    journal_bytes_max=JOURNAL_BYTES_WORTH,
)
"""No host watches: a record is made when it is worth one."""

LIVE: Final = SealPlan(
    floor_bytes=FLOOR_LOCAL_BYTES,
    by_growth=False,
    every_seconds=LIVE_SECONDS,
    journal_bytes_max=JOURNAL_BYTES_WORTH,
)
"""The host may know when its owner is at the computer: soon, and no larger than
need be."""

SLOTS: Final = SealPlan(
    floor_bytes=FLOOR_REMOTE_BYTES,
    by_growth=False,
    every_seconds=None,
    journal_bytes_max=JOURNAL_BYTES_MAX,
)
"""Two records at each slot, idle or not, and none between (`Vault.seal_slot`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecord:
    """A record ready to be stored, with its index row."""

    record: SealedRecord
    index_row: IndexRow
    sealed_index_row: bytes


def divide(
    tail: Tail,
    *,
    web_buckets: frozenset[int],
    seen: Mention,
    next_ids: NextIds,
    both: bool = False,
) -> Iterator[Payload]:
    """Yield the payloads that hold a tail, none larger than a record may be.

    With `both`, at least two: of web buckets and of all others, empty or not.
    """
    for apart in (False, True):
        zones = [z for z in tail.zones if (z[0] in web_buckets) is apart]
        own = [v for v in tail.bucket_versions if (v.bucket_id in web_buckets) is apart]
        parts = list(zip_longest(_parts(zones), _version_parts(own), fillvalue=()))
        for part, versions in parts or ([((), ())] if both else []):
            yield Payload(
                seen=seen.as_payload(),
                document=seen.document,
                next_ids=next_ids,
                buckets=list(versions),
                zones=list(part),
            )


def _version_parts(versions: list[BucketVersion]) -> Iterator[list[BucketVersion]]:
    part: list[BucketVersion] = []
    part_bytes = 0
    for version in versions:
        names = (version.name, version.type, version.client, version.hostname)
        cost = len(version.data) + sum(len(name.encode()) for name in names)
        if part and part_bytes + cost > RECORD_BUCKET_BYTES_MAX:
            yield part
            part, part_bytes = [], 0
        part.append(version)
        part_bytes += cost
    if part:
        yield part


def _parts(
    zones: list[tuple[int, EventTable]],
) -> Iterator[list[tuple[int, EventTable]]]:
    part: list[tuple[int, EventTable]] = []
    events = text_bytes = 0
    for bucket_id, whole in zones:
        table = whole.sorted_by_start()
        at = 0
        while at < len(table):
            rows, cost = _fitting(
                table,
                at,
                RECORD_EVENTS_MAX - events,
                RECORD_TEXT_BYTES_MAX - text_bytes,
            )
            if part and (rows == 0 or len(part) == ZONES_MAX):
                yield part
                part, events, text_bytes = [], 0, 0
                continue
            rows = max(rows, 1)  # a single event always fits a record of its own
            part.append((bucket_id, table.take(np.arange(at, at + rows))))
            at, events, text_bytes = at + rows, events + rows, text_bytes + cost
    if part:
        yield part


def split(
    table: EventTable, *, rows_max: int, text_bytes_max: int
) -> Iterator[EventTable]:
    """Yield a table in parts, in order; a part has at least one row."""
    at = 0
    while at < len(table):
        rows = max(_fitting(table, at, rows_max, text_bytes_max)[0], 1)
        if rows == len(table):
            yield table
        else:
            yield table.take(np.arange(at, at + rows)).compacted()
        at += rows


def _fitting(
    table: EventTable, at: int, rows_max: int, bytes_max: int
) -> tuple[int, int]:
    """Return how many rows from `at` fit, and the bytes of their distinct texts."""
    rows_max = min(rows_max, len(table) - at)
    every_text = sum(map(len, table.texts))
    if every_text <= bytes_max:
        return rows_max, every_text
    seen: set[int] = set()
    cost = 0
    for row, text in enumerate(table.data[at : at + rows_max].tolist()):
        added = 0 if text in seen else len(table.texts[text])
        if cost + added > bytes_max:
            return row, cost
        seen.add(text)
        cost += added
    return rows_max, cost


def seal_payloads(
    payloads: Iterable[Payload],
    keys: Unlocked,
    head: Head | None,
    *,
    floor_bytes: int,
    random: Random,
    step: Step,
    compression: bool = True,
) -> list[NewRecord]:
    """Seal payloads as the records that follow `head` in the client's log."""
    standing = keys.standing
    epoch = standing.account.document.epoch
    records = []
    for payload in payloads:
        record = seal_record(
            standing.ring[epoch],
            keys.client_key,
            account_id=keys.account_id,
            client_id=keys.client_id,
            epoch=epoch,
            seq=Seq(0 if head is None else head.seq + 1),
            prev=ZERO_HASH if head is None else head.hash,
            plaintext=pad(
                pack(encode_payload(payload), compression=compression),
                floor=floor_bytes,
            ),
            random=random,
        )
        step("record-sealed")
        index_row = index_row_of(payload, writer=keys.client_number)
        records.append(
            NewRecord(
                record=record,
                index_row=index_row,
                sealed_index_row=keys.seal_index_row(record.hash, index_row, random),
            )
        )
        head = Head(seq=record.header.seq, hash=record.hash)
    return records
