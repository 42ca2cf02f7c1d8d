"""What functions do with when events are: fill gaps, intersect, unite.

The results are those of ActivityWatch's server to the microsecond. It cuts every
start that it works out to milliseconds, as it cuts every start that it is sent, so
this does too; starts that are an event's own stay as they are.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from awvault.query.budget import LOOP_EVENTS, Budget
from awvault.query.values import Data, Events, Ints, Pool, identity

START_RESOLUTION_US: Final = 1_000
"""Starts that are worked out are cut to this."""

OVERLAP_TRIMMED_US: Final = 100_000
"""Events that overlap by less are taken to touch, where gaps are filled."""


def _cut(start: int) -> int:
    return start - start % START_RESOLUTION_US


# -- gaps ------------------------------------------------------------------------


def flood(events: Events, pulsetime_us: int) -> Events:
    """Fill gaps of at most `pulsetime_us` between events.

    Neighbours of equal data grow over the gap, others meet in its middle. Then no
    two overlap: the later one counts, and equal ones become one. What lasts no time
    goes.
    """
    events = events.take(np.lexsort((events.duration, events.start)))
    same = events.pool.sameness(events.data)
    starts: list[int] = events.start.tolist()
    durations: list[int] = events.duration.tolist()
    _fill(starts, durations, same.tolist(), pulsetime_us, events.pool.budget)
    start = np.array(starts, np.int64)
    duration = np.array(durations, np.int64)
    lasting = np.flatnonzero(duration > 0)
    flooded = Events(
        events.pool,
        id=events.id[lasting],
        start=start[lasting],
        duration=duration[lasting],
        data=events.data[lasting],
    )
    return _without_overlaps(flooded, same[lasting])


def _fill(
    starts: list[int],
    durations: list[int],
    same: Sequence[int],
    pulsetime_us: int,
    budget: Budget,
) -> None:
    """Go over the neighbours in order; each pair sees what the one before it did.

    This loop is most of a query's time, so the present event is held in variables.
    """
    if not starts:
        return
    start, duration, kind = starts[0], durations[0], same[0]
    for at in range(1, len(starts)):
        if not at % LOOP_EVENTS:
            budget.check()
        end = start + duration
        next_start, next_duration, next_kind = starts[at], durations[at], same[at]
        gap = next_start - end
        if gap and gap <= pulsetime_us:
            next_end = next_start + next_duration
            if kind != next_kind:
                if gap > -OVERLAP_TRIMMED_US:
                    # To the even microsecond where a half is left.
                    half = gap >> 1
                    half += gap & half & 1
                    middle = end + half
                    durations[at - 1] = middle - start
                    next_start = middle - middle % 1_000
                    next_duration = next_end - middle
            elif gap < 0:
                first, last = min(start, next_start), max(end, next_end)
                starts[at - 1], durations[at - 1] = first, last - first
                next_start, next_duration = last - last % 1_000, 0
            elif duration >= next_duration:
                durations[at - 1] = next_end - start
                next_start, next_duration = next_end - next_end % 1_000, 0
            else:
                durations[at - 1] = 0
                next_start, next_duration = start, next_end - start
            starts[at], durations[at] = next_start, next_duration
        start, duration, kind = next_start, next_duration, next_kind


def _without_overlaps(events: Events, same: Ints) -> Events:
    """Let the later of two events count where they overlap, and unite equal ones."""
    if len(events) < 2:
        return events
    room = np.diff(events.start)
    overlaps = events.duration[:-1] > room
    if not overlaps.any():
        return events
    if not (overlaps & ((room <= 0) | (same[:-1] == same[1:]))).any():
        duration = events.duration.copy()
        np.minimum(duration[:-1], room, out=duration[:-1])
        return Events(
            events.pool,
            id=events.id,
            start=events.start,
            duration=duration,
            data=events.data,
        )
    starts, durations = events.start.tolist(), events.duration.tolist()
    kinds = same.tolist()
    kept: list[int] = []
    for at, start in enumerate(starts):
        if not at % LOOP_EVENTS:
            events.pool.budget.check()
        while kept and starts[kept[-1]] + durations[kept[-1]] > start:
            last = kept[-1]
            if kinds[last] == kinds[at]:
                end = max(starts[last] + durations[last], start + durations[at])
                durations[last] = end - starts[last]
                break
            durations[last] = start - starts[last]
            if durations[last] > 0:
                kept.append(at)
                break
            kept.pop()
        else:
            kept.append(at)
    rows = np.array(kept, np.int64)
    return Events(
        events.pool,
        id=events.id[rows],
        start=events.start[rows],
        duration=np.array(durations, np.int64)[rows],
        data=events.data[rows],
    )


# -- intersections and unions ----------------------------------------------------


def filter_period_intersect(events: Events, filters: Events) -> Events:
    """Return the parts of events during which there is an event of `filters`."""
    events, filters = events.by_start(), filters.by_start()
    if _follow_each_other(events) and _follow_each_other(filters):
        rows, others = _pairs_at_once(events, filters)
    else:
        rows, others = _pairs_in_turn(events, filters)
    start = np.maximum(events.start[rows], filters.start[others])
    end = np.minimum(events.end()[rows], filters.end()[others])
    return Events(
        events.pool,
        id=events.id[rows],
        start=start,
        duration=end - start,
        data=events.data[rows],
    )


def _follow_each_other(events: Events) -> bool:
    return bool((np.diff(events.start) >= events.duration[:-1]).all())


def _pairs_at_once(events: Events, filters: Events) -> tuple[Ints, Ints]:
    """Return which events meet which filters, where neither overlap themselves."""
    lasting = filters.duration > 0
    if not lasting.all():
        return _pairs_in_turn(events, filters)
    ends = filters.end()
    first = np.searchsorted(ends, events.start, side="right")
    last = np.searchsorted(filters.start, events.end(), side="left")
    # An event without duration meets the first filter that touches it.
    moments = np.flatnonzero(events.duration == 0)
    at = np.searchsorted(ends, events.start[moments], side="left")
    meets = at < len(ends)
    meets[meets] = filters.start[at[meets]] <= events.start[moments][meets]
    first[moments] = at
    last[moments] = at + meets
    counts = np.maximum(last - first, 0)
    rows = np.repeat(np.arange(len(events)), counts)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    others = np.arange(len(rows)) - before + np.repeat(first, counts)
    return rows.astype(np.int64), others.astype(np.int64)


def _pairs_in_turn(events: Events, filters: Events) -> tuple[Ints, Ints]:
    """Return which events meet which filters, going along both lists once.

    Of two that meet, the one that ends first is done with; of events that overlap,
    some are passed over that way.
    """
    starts, ends = events.start.tolist(), events.end().tolist()
    other_starts, other_ends = filters.start.tolist(), filters.end().tolist()
    rows: list[int] = []
    others: list[int] = []
    at = other = steps = 0
    while at < len(starts) and other < len(other_starts):
        steps += 1
        if not steps % LOOP_EVENTS:
            events.pool.budget.check()
        start, end = starts[at], ends[at]
        other_start, other_end = other_starts[other], other_ends[other]
        if _meet(start, end, other_start, other_end):
            rows.append(at)
            others.append(other)
            if end <= other_end:
                at += 1
            else:
                other += 1
        elif end <= other_start:
            at += 1
        else:
            other += 1
    return np.array(rows, np.int64), np.array(others, np.int64)


def _meet(start: int, end: int, other_start: int, other_end: int) -> bool:
    """Say whether two periods have time in common, or one that has none touches."""
    room = min(end, other_end) - max(start, other_start)
    return room > 0 or (room == 0 and (start == end or other_start == other_end))


def period_union(events: Events, others: Events) -> Events:
    """Return the periods in which there is any event, without data."""
    both = events.joined(others).by_start()
    if not len(both):
        return both
    reached = np.maximum.accumulate(both.end())
    begins = np.flatnonzero(np.append(True, both.start[1:] > reached[:-1]))
    last = np.append(begins[1:], len(both)) - 1
    return Events(
        both.pool,
        id=both.id[begins],
        start=both.start[begins],
        duration=reached[last] - both.start[begins],
        data=np.full(len(begins), both.pool.add({}), np.int64),
    )


def union_no_overlap(events: Events, others: Events) -> Events:
    """Return the events, and of the others what lies between them.

    Both lists are gone along as they are, so they should be by time.
    """
    if not len(events) or not len(others):
        return events.joined(others)
    both = events.joined(others)
    rows = list(
        zip(range(len(both)), both.start.tolist(), both.end().tolist(), strict=True)
    )
    left = rows[: len(events)]
    right = rows[: len(events) - 1 : -1]
    found: list[tuple[int, int, int]] = []
    at = steps = 0
    while at < len(left) and right:
        steps += 1
        if not steps % LOOP_EVENTS:
            events.pool.budget.check()
        row, start, end = left[at]
        other, other_start, other_end = right[-1]
        if not _overlaps(start, end, other_start, other_end):
            if start <= other_start:
                found.append((row, start, end))
                at += 1
            else:
                found.append((other, other_start, other_end))
                right.pop()
        elif start <= other_start:
            found.append((row, start, end))
            at += 1
            right.pop()
            if other_start < end < other_end:
                cut = _cut(end)
                right.append((other, cut, cut + other_end - end))
        else:
            right.pop()
            if other_start < start < other_end:
                found.append((other, other_start, start))
                right.append((other, start, other_end))
            else:
                found.append((other, other_start, other_end))
    found += left[at:]
    found += reversed(right)
    table = np.array(found, np.int64)
    return Events(
        both.pool,
        id=both.id[table[:, 0]],
        start=table[:, 1],
        duration=table[:, 2] - table[:, 1],
        data=both.data[table[:, 0]],
    )


def _overlaps(start: int, end: int, other_start: int, other_end: int) -> bool:
    return (
        start <= other_start < end
        or start < other_end <= end
        or (other_start <= start and end <= other_end)
    )


# -- what other watchers know ----------------------------------------------------


def merge_subwatcher_fields(
    events: Events, others: Events, keys: Sequence[str], *, others_win: bool
) -> Events:
    """Return the events, cut where `others` change, with their fields for `keys`.

    Where several of the others are, the one that began last counts.
    """
    if not len(others) or not keys:
        return events
    return _Enriching(events, others, keys, others_win=others_win).run()


class _Enriching:
    """One run of `merge_subwatcher_fields`."""

    def __init__(
        self, events: Events, others: Events, keys: Sequence[str], *, others_win: bool
    ) -> None:
        others = others.by_start()
        self._events = events
        self._others = others
        self._keys = keys
        self._others_win = others_win
        self._starts: list[int] = others.start.tolist()
        self._ends: list[int] = others.end().tolist()
        # No event before this place ends as late as that.
        self._reached: list[int] = np.maximum.accumulate(others.end()).tolist()
        self._known: dict[tuple[int, int], int] = {}
        self._rows: list[int] = []
        self._found: list[tuple[int, int, int]] = []

    def run(self) -> Events:
        events, pool = self._events, self._events.pool
        columns = (events.start.tolist(), events.end().tolist(), events.data.tolist())
        for row, (start, end, data) in enumerate(zip(*columns, strict=True)):
            pool.budget.check()
            self._one(row, start, end, data)
        found = np.array(self._found, np.int64).reshape(-1, 3)
        return Events(
            pool,
            id=events.id[self._rows] if self._rows else np.empty(0, np.int64),
            start=found[:, 0],
            duration=found[:, 1],
            data=found[:, 2],
        )

    def _one(self, row: int, start: int, end: int, data: int) -> None:
        first = bisect_left(self._reached, start + 1)
        last = bisect_left(self._starts, end)
        near = [at for at in range(first, last) if self._ends[at] > start]
        if not near:
            self._add(row, start, end - start, data)
            return
        points = {start, end}
        for at in near:
            points.add(max(start, self._starts[at]))
            points.add(min(end, self._ends[at]))
        edges = sorted(points)
        began = len(self._found)
        for left, right in pairwise(edges):
            self._events.pool.budget.check()  # to find the best looks at all near
            enriched = data
            best = self._best(near, left, right)
            if best is not None:
                enriched = self._enriched(data, int(self._others.data[best]))
            cut = _cut(left) if left != start else left
            if len(self._found) > began:
                before_start, before_duration, before_data = self._found[-1]
                if before_start + before_duration == cut and self._same(
                    before_data, enriched
                ):
                    self._found[-1] = (
                        before_start,
                        before_duration + right - left,
                        before_data,
                    )
                    continue
            self._add(row, cut, right - left, enriched)

    def _add(self, row: int, start: int, duration: int, data: int) -> None:
        self._rows.append(row)
        self._found.append((start, duration, data))

    def _best(self, near: Sequence[int], left: int, right: int) -> int | None:
        best = None
        for at in near:
            if not _meet(left, right, self._starts[at], self._ends[at]):
                continue
            rank = self._starts[at], self._ends[at]
            if best is None or rank > (self._starts[best], self._ends[best]):
                best = at
        return best

    def _enriched(self, data: int, other: int) -> int:
        known = self._known.get((data, other))
        if known is not None:
            return known
        pool = self._events.pool
        before, fields = pool.value(data), pool.value(other)
        added: Data = {
            key: fields[key]
            for key in self._keys
            if key in fields and (self._others_win or key not in before)
        }
        number = pool.add(before | added) if added else data
        self._known[data, other] = number
        return number

    def _same(self, one: int, two: int) -> bool:
        pool: Pool = self._events.pool
        return one == two or identity(pool.value(one)) == identity(pool.value(two))
