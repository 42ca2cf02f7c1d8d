"""Put what a source holds into the vault; twice adds nothing more.

Event ids belong to whoever gave them, so an event is known again by what it says:
its bucket, start, data (compared by value, not by spelling) and duration. Equal
events are counted: a source with two of them makes two, and a second import finds
both. Each event of the source is matched with one event that was here and is not
matched yet; where there is none, it is added.

A source that is still recorded into shows the same event longer each time. So
where no event is equal, one that differs only in its duration is the same event:
it stays, or is corrected to the longer of the two.

ActivityWatch's form has no events without an end: such an event has a duration of 0
there. So one that has no end and one that lasts for 0 are the same event too.

What a privacy filter changes is looked for as it would be stored, and then as the
source says it: an event that came before the filter was set is here already.

So nothing has to be remembered of an import: killed at any moment and run again,
it goes on where it was. docs/decisions/0028-an-import-is-known-by-its-events.md.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from awvault.columns import jsontext
from awvault.columns.table import EventTable
from awvault.errors import BucketNotFoundError, InvalidInputError
from awvault.events import NO_DURATION
from awvault.filtering import KeptRows
from awvault.incoming import NewRows
from awvault.service import BucketImported, ImportResult, OnProgress, Progress
from awvault.transfer.parts import BucketPart, EventsPart, Part

if TYPE_CHECKING:
    from awvault.vault import Vault

LONGER_US_MIN: Final = 1_000
"""Servers round durations differently; what differs by less is equally long."""

KEYS_MAX: Final = 65_536
"""Distinct data whose keys are remembered from one part to the next."""

_CHUNK_BITS: Final = 16


class IdSet:
    """A set of event ids. Ids come in runs, so a bit each is enough."""

    def __init__(self) -> None:
        self._chunks: dict[int, bytearray] = {}

    def add(self, event_id: int) -> None:
        """Put an id in."""
        chunk = self._chunks.get(event_id >> _CHUNK_BITS)
        if chunk is None:
            chunk = self._chunks[event_id >> _CHUNK_BITS] = bytearray(
                1 << (_CHUNK_BITS - 3)
            )
        at = event_id & ((1 << _CHUNK_BITS) - 1)
        chunk[at >> 3] |= 1 << (at & 7)

    def __contains__(self, event_id: int) -> bool:
        chunk = self._chunks.get(event_id >> _CHUNK_BITS)
        at = event_id & ((1 << _CHUNK_BITS) - 1)
        return chunk is not None and bool(chunk[at >> 3] & (1 << (at & 7)))


@dataclass(slots=True)
class _Counts:
    """What became of one bucket."""

    created: bool
    read: int = 0
    added: int = 0
    present: int = 0
    extended: int = 0
    filtered: int = 0
    changed: int = 0
    adjusted: int = 0


@dataclass(slots=True)
class _Matched:
    """Which rows of a part have no match, and which events they make longer."""

    missing: list[int] = field(default_factory=list)
    longer: list[tuple[int, int]] = field(default_factory=list)
    """(position in the part, id of the event)."""
    unfiltered: int = 0
    """How many were found only as they were before a filter changed them."""


class _Here(NamedTuple):
    """An event that is here already."""

    id: int
    start: int
    duration: int
    text: bytes


class Importer:
    """One import under way. What was added stays, should it fail half-way."""

    def __init__(self, vault: "Vault", on_progress: OnProgress) -> None:
        self._vault = vault
        self._on_progress = on_progress
        # Events that one of the source stands for already.
        self._taken = IdSet()
        self._keys: dict[bytes, Hashable] = {}
        self._buckets: dict[str, _Counts] = {}
        self._events_seen = 0

    async def run(self, parts: AsyncIterator[Part]) -> ImportResult:
        """Take every part, and return what became of it.

        An error of the source passes through; what it yielded before is here.
        """
        async for part in parts:
            if isinstance(part, BucketPart):
                await self._create(part)
            else:
                await self._take(part)
        return self.result()

    def result(self) -> ImportResult:
        """Return what became of the parts that were taken so far."""
        buckets = [
            BucketImported(
                id=bucket_id,
                created=counts.created,
                events_read=counts.read,
                events_added=counts.added,
                events_present=counts.present,
                events_extended=counts.extended,
                events_filtered=counts.filtered,
                events_changed=counts.changed,
                events_adjusted=counts.adjusted,
            )
            for bucket_id, counts in self._buckets.items()
        ]
        return ImportResult(
            buckets_created=sum(bucket.created for bucket in buckets),
            events_added=sum(bucket.events_added for bucket in buckets),
            events_present=sum(bucket.events_present for bucket in buckets),
            events_extended=sum(bucket.events_extended for bucket in buckets),
            events_filtered=sum(bucket.events_filtered for bucket in buckets),
            events_changed=sum(bucket.events_changed for bucket in buckets),
            events_adjusted=sum(bucket.events_adjusted for bucket in buckets),
            buckets=buckets,
        )

    async def _create(self, part: BucketPart) -> None:
        """Make a bucket, unless one is shown by its name, whosever it is.

        What another client of the account recorded is already here by the name that
        an export gave it: making one's own of that name would show it twice.
        """
        await self._vault.settle()
        created = False
        if part.id not in self._vault.buckets():
            created = await self._vault.create_bucket(
                part.id,
                type=part.type,
                client=part.client,
                hostname=part.hostname,
                data=part.data.encode(),
                created_us=part.created,
            )
        self._counts(part.id).created |= created

    def _counts(self, bucket_id: str) -> _Counts:
        return self._buckets.setdefault(bucket_id, _Counts(created=False))

    async def _take(self, part: EventsPart) -> None:
        """Add what the part holds and the vault does not."""
        counts = self._counts(part.bucket)
        read = len(part.starts)
        rows = NewRows(
            starts=part.starts,
            durations=part.durations,
            texts=part.texts,
            flags=part.flags,
            stored_at=part.stored_at,
        )
        try:
            kept = await self._vault.filters.rows(part.bucket, rows)
            wanted = len(kept.rows.starts)
            if wanted:
                await self._merge(part.bucket, kept, counts)
        except BucketNotFoundError:
            # Of a source that names none, or deleted since the import began.
            raise InvalidInputError(
                "bucket", f'there is no bucket "{part.bucket}", nor does it come first'
            ) from None
        counts.read += read
        counts.filtered += read - wanted
        counts.adjusted += part.adjusted
        self._events_seen += read
        self._on_progress(Progress(phase="events", done=self._events_seen))

    async def _merge(self, bucket_id: str, kept: KeptRows, counts: _Counts) -> None:
        rows = kept.rows
        present = await self._vault.read_async(
            bucket_id, start=min(rows.starts), end=max(rows.starts)
        )
        matched = await asyncio.to_thread(self._match, kept, present)
        ids = await self._vault.insert_rows(
            bucket_id, rows if not len(present) else _taken(rows, matched.missing)
        )
        for event_id in ids:
            self._taken.add(event_id)
        for at, event_id in matched.longer:
            await self._vault.correct(
                bucket_id,
                event_id,
                start=rows.starts[at],
                duration=rows.durations[at],
                text=rows.texts[at],
                flags=0 if rows.flags is None else rows.flags[at],
            )
        counts.changed += len(kept.sent) - matched.unfiltered
        counts.added += len(ids)
        counts.extended += len(matched.longer)
        counts.present += len(rows.starts) - len(ids) - len(matched.longer)

    def _match(self, kept: KeptRows, present: EventTable) -> _Matched:
        """Find for each row an event that was here before this import."""
        rows = kept.rows
        if not len(present):
            return _Matched(missing=list(range(len(rows.starts))))
        starts = np.array(rows.starts, dtype=np.int64)
        here = present.take(np.isin(present.start, starts))
        events = [
            _Here(event_id, start, duration, here.texts[data])
            for event_id, start, duration, data in zip(
                here.id.tolist(),
                here.start.tolist(),
                here.duration.tolist(),
                here.data.tolist(),
                strict=True,
            )
            if event_id not in self._taken
        ]
        found = self._match_texts(range(len(rows.starts)), rows, events)
        changed = [at for at in found.missing if at in kept.sent]
        if changed:
            texts = [kept.sent.get(at, text) for at, text in enumerate(rows.texts)]
            sent = self._match_texts(changed, replace(rows, texts=texts), events)
            still = set(sent.missing)
            found.missing = [
                at for at in found.missing if at not in kept.sent or at in still
            ]
            found.longer += sent.longer
            longer = {at for at, _ in sent.longer}
            found.unfiltered = len(changed) - len(still | longer)
        return found

    def _match_texts(
        self, places: Iterable[int], rows: NewRows, events: list[_Here]
    ) -> _Matched:
        """Find an event for those of the rows that are at `places`."""
        events = [event for event in events if event.id not in self._taken]
        # Nearly always the same text is meant; to compare by value is dear.
        rest = self._match_equal(
            places,
            list(zip(rows.starts, rows.durations, rows.texts, strict=True)),
            [((e.start, e.duration, e.text), e) for e in events],
        )
        events = [event for event in events if event.id not in self._taken]
        if not rest or not events:
            return _Matched(missing=rest)
        keys = {at: self._key(rows.texts[at]) for at in rest}
        rest = self._match_equal(
            rest,
            {at: (rows.starts[at], rows.durations[at], keys[at]) for at in rest},
            [((e.start, e.duration, self._key(e.text)), e) for e in events],
        )
        return self._match_longer(rest, keys, rows, events)

    def _match_equal(
        self,
        places: Iterable[int],
        identities: Sequence[Hashable] | Mapping[int, Hashable],
        events: list[tuple[Hashable, _Here]],
    ) -> list[int]:
        """Take an equal event for each place; return the places that have none."""
        free: dict[Hashable, list[int]] = {}
        for identity, event in events:
            free.setdefault(identity, []).append(event.id)
        rest = []
        for at in places:
            candidates = free.get(identities[at])
            if candidates:
                self._taken.add(candidates.pop(0))
            else:
                rest.append(at)
        return rest

    def _match_longer(
        self,
        rest: list[int],
        keys: Mapping[int, Hashable],
        rows: NewRows,
        events: list[_Here],
    ) -> _Matched:
        """Match rows that are equal to none with events of another duration."""
        alike: dict[Hashable, list[_Here]] = {}
        for event in events:
            if event.id not in self._taken:
                identity = (event.start, self._key(event.text))
                alike.setdefault(identity, []).append(event)
        found = _Matched()
        for at in rest:
            candidates = alike.get((rows.starts[at], keys[at]), [])
            same = _alike(rows.durations[at], candidates)
            if same is None:
                found.missing.append(at)
                continue
            candidates.remove(same)
            self._taken.add(same.id)
            if same.duration >= 0 and (
                rows.durations[at] - same.duration >= LONGER_US_MIN
            ):
                found.longer.append((at, same.id))
        return found

    def _key(self, text: bytes) -> Hashable:
        key = self._keys.get(text)
        if key is None:
            if len(self._keys) >= KEYS_MAX:
                self._keys.clear()
            key = self._keys[text] = jsontext.equality_key(text)
        return key


def _alike(duration: int, candidates: list[_Here]) -> _Here | None:
    """Return which of these an event is that has another duration than each.

    Without an end it is one that lasts for 0, as ActivityWatch's form has it, and
    the other way round. Else it is the longest of those that have an end.
    """
    if duration == NO_DURATION:
        wanted = [event for event in candidates if event.duration == 0]
    elif duration == 0:
        wanted = [event for event in candidates if event.duration == NO_DURATION]
        wanted = wanted or candidates
    else:
        wanted = [event for event in candidates if event.duration >= 0]
    return max(wanted, key=lambda event: event.duration, default=None)


def _taken(rows: NewRows, places: list[int]) -> NewRows:
    flags, stored_at = rows.flags, rows.stored_at
    return NewRows(
        starts=[rows.starts[at] for at in places],
        durations=[rows.durations[at] for at in places],
        texts=[rows.texts[at] for at in places],
        flags=None if flags is None else [flags[at] for at in places],
        stored_at=None if stored_at is None else [stored_at[at] for at in places],
    )
