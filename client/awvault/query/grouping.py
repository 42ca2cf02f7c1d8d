"""Functions that choose, order, group and count events."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from awvault.query.values import (
    NO_ID,
    Data,
    Events,
    Seconds,
    Value,
    checked_sum,
    identity,
    total,
    totals,
)


def filter_keyvals(
    events: Events, key: str, values: Sequence[Value], *, exclude: bool
) -> Events:
    """Return the events whose data has one of these values for a key, or the others."""
    wanted = {identity(value) for value in values}

    def holds(data: Data) -> bool:
        return (key in data and identity(data[key]) in wanted) is not exclude

    return events.take(events.pool.chosen(events.data, holds))


def filter_matching(events: Events, key: str, matches: Callable[[str], bool]) -> Events:
    """Return the events whose data has a text for a key, and it matches."""

    def holds(data: Data) -> bool:
        value = data.get(key)
        return isinstance(value, str) and matches(value)

    return events.take(events.pool.chosen(events.data, holds))


def sort_by_timestamp(events: Events) -> Events:
    """Return the events, the earliest first."""
    return events.by_start()


def sort_by_duration(events: Events) -> Events:
    """Return the events, the longest first."""
    return events.take(np.argsort(-events.duration, kind="stable"))


def sum_durations(events: Events) -> Seconds:
    """Return how long the events last together."""
    return Seconds(total(events.duration))


def merge_events_by_keys(events: Events, keys: Sequence[Value]) -> Events:
    """Return one event for each combination of values of some keys.

    It begins where the first of them does, lasts as long as all of them together,
    and has those keys alone. Keys that data does not have are passed over.
    """
    if not keys:
        return events
    names = [key for key in keys if isinstance(key, str)]
    pool = events.pool
    groups: dict[Hashable, int] = {}
    lookup = np.zeros(len(pool), np.int64)
    used = pool.used(events.data)
    for number, data in zip(used, pool.values(used), strict=True):
        key = tuple([identity(data[name]) for name in names if name in data])
        lookup[number] = groups.setdefault(key, len(groups))
    group = lookup[events.data]
    _, first = np.unique(group, return_index=True)
    duration = totals(events.duration, group, len(groups))
    order = np.argsort(first, kind="stable")
    rows = first[order]
    merged = [
        pool.add({name: data[name] for name in names if name in data})
        for data in pool.values(events.data[rows].tolist())
    ]
    return Events(
        pool,
        id=np.full(len(rows), NO_ID, np.int64),
        start=events.start[rows],
        duration=duration[order],
        data=np.array(merged, np.int64),
    )


def chunk_events_by_key(events: Events, key: str, *, pulsetime_us: int) -> Events:
    """Return one event for each run of events with one value for a key.

    It has that value, and its events as `subevents`. The runs end at the first
    event without the key; whether a gap ends one is measured, as ActivityWatch's
    server does it, from the end of the last event of all.
    """
    pool = events.pool
    pool.holds_events = True
    if not len(events):
        return events
    numbers = events.data.tolist()
    missing = [at for at, number in enumerate(numbers) if key not in pool.value(number)]
    kept = events.take(slice(0, missing[0] if missing else len(events)))
    late = kept.start - int(events.end()[-1]) >= pulsetime_us
    begins: list[int] = []
    before: Hashable = None
    for at, number in enumerate(numbers[: len(kept)]):
        kind = identity(pool.value(number)[key])
        if not begins or kind != before or late[at]:
            begins.append(at)
        before = kind
    ends = [*begins[1:], len(kept)]
    durations = []
    data = []
    for begin, end in zip(begins, ends, strict=bool(begins)):
        part = kept.take(slice(begin, end))
        # Chunks of chunks could hold one event more often than can be written.
        pool.budget.take_events(part.weight())
        durations.append(checked_sum(part.duration.tolist()))
        value = pool.value(numbers[begin])[key]
        data.append(pool.add({key: value, "subevents": part}))
    return Events(
        pool,
        id=np.full(len(begins), NO_ID, np.int64),
        start=kept.start[begins] if begins else kept.start,
        duration=np.array(durations, np.int64),
        data=np.array(data, np.int64),
    )
