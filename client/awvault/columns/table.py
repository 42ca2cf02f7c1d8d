"""Events as NumPy columns: the form in which they are read, sealed and queried.

Data is dictionary-encoded: `texts` holds each distinct JSON text once, `data`
says which one a row has. About 15 % of ActivityWatch's events are distinct.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

TOMBSTONE: Final = 1
"""Flag: this revision deletes the event."""

PAIR: Final = 2
"""Flag: the activity API was given start and end as a pair, and gives it back."""

_TEXT_OVERHEAD_BYTES: Final = 80
"""What a `bytes` in a list costs beside its content, about."""

Rows = NDArray[np.bool_] | NDArray[np.int64] | slice


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventTable:
    """Rows of events, one array per column, all of one length.

    `start` and `stored_at` are microseconds since 1970, UTC; `duration` is
    microseconds. A duration of -1 means that the event has no end, a
    `stored_at` of -1 that none is kept. `texts[data[i]]` is row i's data.
    Nobody changes a table: operations return new ones.
    """

    id: NDArray[np.int64]
    revision: NDArray[np.uint32]
    start: NDArray[np.int64]
    duration: NDArray[np.int64]
    stored_at: NDArray[np.int64]
    flags: NDArray[np.uint8]
    data: NDArray[np.uint32]
    texts: Sequence[bytes]

    @classmethod
    def empty(cls) -> Self:
        """Return a table without rows."""
        return cls(
            id=np.empty(0, np.int64),
            revision=np.empty(0, np.uint32),
            start=np.empty(0, np.int64),
            duration=np.empty(0, np.int64),
            stored_at=np.empty(0, np.int64),
            flags=np.empty(0, np.uint8),
            data=np.empty(0, np.uint32),
            texts=[],
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.id)

    def end(self) -> NDArray[np.int64]:
        """Return each row's end; the start, where there is no duration."""
        return self.start + np.maximum(self.duration, 0)

    def versions(self) -> NDArray[np.void]:
        """Return each row's (id, revision) as one value; no two rows share one."""
        pairs = np.empty(len(self), dtype=[("id", np.int64), ("revision", np.uint32)])
        pairs["id"], pairs["revision"] = self.id, self.revision
        return pairs

    @property
    def nbytes(self) -> int:
        """Bytes that the table holds in memory, about."""
        texts = sum(map(len, self.texts)) + _TEXT_OVERHEAD_BYTES * len(self.texts)
        columns = (
            self.id,
            self.revision,
            self.start,
            self.duration,
            self.stored_at,
            self.flags,
            self.data,
        )
        return texts + sum(column.nbytes for column in columns)

    def take(self, rows: Rows | NDArray[np.intp]) -> Self:
        """Return the rows that a mask, indices or a slice choose. Texts are shared."""
        return type(self)(
            id=self.id[rows],
            revision=self.revision[rows],
            start=self.start[rows],
            duration=self.duration[rows],
            stored_at=self.stored_at[rows],
            flags=self.flags[rows],
            data=self.data[rows],
            texts=self.texts,
        )

    @classmethod
    def concat(cls, tables: Sequence["EventTable"]) -> "EventTable":
        """Return the rows of all tables, in their order."""
        if not tables:
            return cls.empty()
        if len(tables) == 1:
            return tables[0]
        texts: list[bytes] = []
        data: list[NDArray[Any]] = []
        for table in tables:
            data.append(table.data + np.uint32(len(texts)))
            texts.extend(table.texts)
        return cls(
            id=np.concatenate([table.id for table in tables]),
            revision=np.concatenate([table.revision for table in tables]),
            start=np.concatenate([table.start for table in tables]),
            duration=np.concatenate([table.duration for table in tables]),
            stored_at=np.concatenate([table.stored_at for table in tables]),
            flags=np.concatenate([table.flags for table in tables]),
            data=np.concatenate(data),
            texts=texts,
        )

    def sorted_by_start(self) -> Self:
        """Return the rows by (start, id), as they lie in a record."""
        order = np.lexsort((self.id, self.start))
        if np.array_equal(order, np.arange(len(order))):
            return self
        return self.take(order)

    def compacted(self) -> Self:
        """Return the same rows with each text once, and none that no row has."""
        used = np.unique(self.data)
        numbers: dict[bytes, int] = {}
        renumbered = np.zeros(len(self.texts), dtype=np.uint32)
        for old in used.tolist():
            renumbered[old] = numbers.setdefault(self.texts[old], len(numbers))
        return type(self)(
            id=self.id,
            revision=self.revision,
            start=self.start,
            duration=self.duration,
            stored_at=self.stored_at,
            flags=self.flags,
            data=renumbered[self.data] if len(self.data) else self.data,
            texts=list(numbers),
        )

    def clipped(self, start: int | None, end: int | None) -> Self:
        """Return the rows cut to [start, end]; every row must overlap it."""
        begins = self.start
        ends = self.end()
        if start is not None:
            begins = np.maximum(begins, start)
        if end is not None:
            ends = np.minimum(ends, end)
        return type(self)(
            id=self.id,
            revision=self.revision,
            start=begins,
            duration=np.where(self.duration < 0, self.duration, ends - begins),
            stored_at=self.stored_at,
            flags=self.flags,
            data=self.data,
            texts=self.texts,
        )
