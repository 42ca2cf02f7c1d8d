"""Read what an export wrote; twice adds nothing more.

Event ids belong to the vault that gave them, so an event is known again by what
it says: its bucket, start, duration and data (compared by value, not by
spelling). Equal events are counted: an export with two of them makes two, and a
second import finds both. Each event of the file is matched with one event that
was here and is not matched yet; where there is none, it is added.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from awvault.columns import jsontext
from awvault.columns.table import PAIR, EventTable
from awvault.errors import InvalidInputError
from awvault.incoming import NewRows
from awvault.service import ImportResult, OnProgress, Progress, counted
from awvault.transfer import lines
from awvault.transfer.exporting import rows_of

if TYPE_CHECKING:
    from awvault.vault import Vault

BATCH_EVENTS: Final = 8_192
BATCH_BYTES: Final = 16 * 1024 * 1024
"""What is held before it is added: one of the two, whichever comes first."""

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
class _Batch:
    """Events of one bucket, on their way in."""

    bucket: str = ""
    starts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    stored_at: list[int] = field(default_factory=list)
    size: int = 0

    def put(self, event: lines.EventLine) -> None:
        """Take one more event."""
        start, duration = event.start_us(), event.duration_us()
        text = jsontext.compact(bytes(event.data))
        self.bucket = event.bucket
        self.starts.append(start)
        self.durations.append(duration)
        self.texts.append(text)
        self.flags.append(PAIR if event.pair else 0)
        self.stored_at.append(event.stored_us())
        self.size += len(text)

    def is_full(self) -> bool:
        """Tell whether it should go in now."""
        return len(self.starts) >= BATCH_EVENTS or self.size >= BATCH_BYTES


class Importer:
    """One import under way. What was added stays, should it fail half-way."""

    def __init__(self, vault: "Vault", on_progress: OnProgress) -> None:
        self._vault = vault
        self._on_progress = on_progress
        # Events that a line of the file stands for already.
        self._taken = IdSet()
        self._batch = _Batch()
        self._line_number = 0
        self._buckets_seen = 0
        self._events_seen = 0
        self._buckets_created = 0
        self._added = 0
        self._present = 0

    async def run(self, source: AsyncIterator[bytes]) -> ImportResult:
        """Import `source`, lines without their newlines.

        Raises `InvalidInputError`, naming the line, for the first that is wrong.
        """
        ended = False
        async for line in source:
            self._line_number += 1
            if self._line_number > 1 and not line:
                continue
            try:
                ended = await self._take(line, ended=ended)
            except InvalidInputError as error:
                # What came before the wrong line goes in: it is acknowledged by
                # nobody, and a second import of the mended file finds it.
                raise InvalidInputError(
                    "line", f"line {self._line_number}: {error}"
                ) from error
        if self._line_number == 0:
            raise InvalidInputError("file", "the file is empty")
        await self._flush()
        if not ended:
            raise InvalidInputError(
                "end",
                "the file ends without its end line: it was cut off;"
                f" here now: {counted(self._events_seen, 'event')} of it",
            )
        return ImportResult(
            buckets_created=self._buckets_created,
            events_added=self._added,
            events_present=self._present,
        )

    async def _take(self, raw: bytes, *, ended: bool) -> bool:
        """Take one line; tell whether it was the last."""
        if ended:
            raise InvalidInputError("line", "comes after the end line")
        if self._line_number == 1:
            lines.decode_header(raw)
            return False
        line = lines.decode_line(raw)
        if isinstance(line, lines.EventLine):
            if line.bucket != self._batch.bucket or self._batch.is_full():
                await self._flush()
            self._batch.put(line)
            self._events_seen += 1
            return False
        await self._flush()
        if isinstance(line, lines.BucketLine):
            await self._create(line)
            self._buckets_seen += 1
            return False
        if (line.buckets, line.events) != (self._buckets_seen, self._events_seen):
            raise InvalidInputError(
                "end",
                f"the end line counts {counted(line.buckets, 'bucket')} and"
                f" {counted(line.events, 'event')}, the file has"
                f" {self._buckets_seen} and {self._events_seen}",
            )
        return True

    async def _create(self, line: lines.BucketLine) -> None:
        created = await self._vault.create_bucket(
            line.id,
            type=line.type,
            client=line.client,
            hostname=line.hostname,
            data=bytes(line.data),
            created_us=(
                None
                if line.created is None
                else lines.to_microseconds(line.created, field="created")
            ),
        )
        self._buckets_created += int(created)

    async def _flush(self) -> None:
        """Add what the batch holds and the vault does not."""
        batch, self._batch = self._batch, _Batch()
        if not batch.starts:
            return
        present = await self._vault.read_async(
            batch.bucket, start=min(batch.starts), end=max(batch.starts)
        )
        missing = await asyncio.to_thread(self._match, batch, present)
        ids = await self._vault.insert_rows(
            batch.bucket,
            NewRows(
                starts=[batch.starts[at] for at in missing],
                durations=[batch.durations[at] for at in missing],
                texts=[batch.texts[at] for at in missing],
                flags=[batch.flags[at] for at in missing],
                stored_at=[batch.stored_at[at] for at in missing],
            ),
        )
        for event_id in ids:
            self._taken.add(event_id)
        self._added += len(missing)
        self._present += len(batch.starts) - len(missing)
        self._on_progress(Progress(phase="events", done=self._events_seen))

    def _match(self, batch: _Batch, present: EventTable) -> list[int]:
        """Return the positions in the batch that have no match in the vault."""
        free: dict[Hashable, list[int]] = {}
        keys = _keys(present.texts)
        for event_id, start, duration, _, _, data in rows_of(present):
            if event_id not in self._taken:
                free.setdefault((start, duration, keys[data]), []).append(event_id)
        missing = []
        wanted = zip(batch.starts, batch.durations, _keys(batch.texts), strict=True)
        for at, identity in enumerate(wanted):
            candidates = free.get(identity)
            if candidates:
                self._taken.add(candidates.pop())
            else:
                missing.append(at)
        return missing


def _keys(texts: Iterable[bytes]) -> list[Hashable]:
    known: dict[bytes, Hashable] = {}
    found = []
    for text in texts:
        key = known.get(text)
        if key is None:
            key = known[text] = jsontext.equality_key(text)
        found.append(key)
    return found
