"""What the variables of a query hold: JSON values, lists of events, durations.

No value is ever changed: functions return new ones. A list of events is a set of
columns; what the events say lies once in a pool that all lists of a query share,
so that whatever looks into data looks at each distinct one once.
"""

from collections.abc import Callable, Hashable, Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from awvault.columns import jsontext
from awvault.columns.table import EventTable
from awvault.columns.timestamps import DURATION_US_MAX
from awvault.query.budget import LOOP_EVENTS, MADE_BYTES, Budget
from awvault.query.errors import QueryFunctionError, QueryInterpretError

NO_ID: Final = -1
"""In the column of ids: the event was made by the query, and is not stored."""

LIST_VALUES_MAX: Final = 250_000
"""Values in a list or dict, with those inside them; a list of events is one."""

LIST_EVENTS_MAX: Final = 10_000_000
"""Events in lists that a list or dict holds, together."""

LIST_DEPTH_MAX: Final = 100
"""Lists and dicts inside each other."""

Value = Any
"""None, bool, int, float, str, a list or dict of values, `Events` or `Seconds`."""

Data = dict[str, Value]
Ints = NDArray[np.int64]

_EXACT_SUM_MAX: Final = 2.0**53


class Seconds:
    """A duration in microseconds; in JSON it is a number of seconds."""

    __slots__ = ("us",)

    def __init__(self, us: int) -> None:
        self.us = us

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seconds) and other.us == self.us

    def __hash__(self) -> int:
        return hash(("seconds", self.us))

    def __str__(self) -> str:
        return str(timedelta(microseconds=self.us))


class Pool:
    """The distinct data of one query, each with a number."""

    def __init__(self, budget: Budget) -> None:
        """Start empty; what is read counts against `budget`."""
        self.budget = budget
        self._held: list[bytes | Data] = []
        """Each as it came, or as it was read first."""
        self._by_text: dict[bytes, int] = {}
        self._identities: dict[Hashable, int] = {}
        self._same = np.empty(0, np.int64)
        self.holds_events = False
        """Whether there may be lists of events inside of data."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._held)

    def text(self, text: bytes) -> int:
        """Return the number of data given as compact JSON."""
        number = self._by_text.get(text)
        if number is None:
            self.budget.take_data(len(text))
            number = self._by_text[text] = len(self._held)
            self._held.append(text)
        return number

    def add(self, value: Data) -> int:
        """Return the number of data that a function made."""
        self.budget.take_data(MADE_BYTES)
        self._held.append(value)
        return len(self._held) - 1

    def value(self, number: int) -> Data:
        """Return data; nobody may change it."""
        value = self._held[number]
        if isinstance(value, bytes):
            value = self._held[number] = jsontext.decode(value)
        return value

    def values(self, numbers: Sequence[int]) -> list[Data]:
        """Return what `value` returns for each number."""
        held = self._held
        return [
            value if type(value := held[number]) is dict else self.value(number)
            for number in numbers
        ]

    def sameness(self, data: Ints) -> Ints:
        """Return a number for each, which is equal exactly where data is equal."""
        if len(self._same) < len(self):
            missing = len(self) - len(self._same)
            self._same = np.concatenate([self._same, np.full(missing, -1, np.int64)])
        same = self._same
        new = [number for number in self.used(data) if same[number] < 0]
        for number, value in zip(new, self.values(new), strict=True):
            key = identity(value)
            same[number] = self._identities.setdefault(key, len(self._identities))
        return same[data]

    def used(self, data: Ints) -> list[int]:
        """Return the numbers that occur in a column, each once, ascending."""
        if not len(data):
            return []
        found: list[int] = np.flatnonzero(np.bincount(data)).tolist()
        return found

    def mapped(self, data: Ints, change: Callable[[Data], Data]) -> Ints:
        """Return a column of changed data; `change` sees each distinct one once.

        What `change` gives back as it was stays the same data.
        """
        lookup = np.zeros(len(self), np.int64)
        used = self.used(data)
        for number, before in zip(used, self.values(used), strict=True):
            after = change(before)
            lookup[number] = number if after is before else self.add(after)
        return lookup[data]

    def chosen(self, data: Ints, holds: Callable[[Data], bool]) -> NDArray[np.bool_]:
        """Return for which rows `holds` is true; it sees each distinct data once."""
        lookup = np.zeros(len(self), np.bool_)
        used = self.used(data)
        for number, value in zip(used, self.values(used), strict=True):
            lookup[number] = holds(value)
        return lookup[data]


class Events:
    """A list of events, one array per column, all of one length.

    `start` and `duration` are microseconds, `data` numbers of the pool; `id` is
    `NO_ID` for events that no bucket has. Nobody changes the arrays.
    """

    __slots__ = ("_weight", "data", "duration", "id", "pool", "start")

    def __init__(
        self,
        pool: Pool,
        *,
        id: Ints,  # noqa: A002 - the field's name
        start: Ints,
        duration: Ints,
        data: Ints,
    ) -> None:
        pool.budget.take_events(len(id))
        self.pool = pool
        self.id = id
        self.start = start
        self.duration = duration
        self.data = data
        self._weight: int | None = None

    @classmethod
    def empty(cls, pool: Pool) -> "Events":
        """Return a list without events."""
        none = np.empty(0, np.int64)
        return cls(pool, id=none, start=none, duration=none, data=none)

    @classmethod
    def of_table(cls, pool: Pool, table: EventTable) -> "Events":
        """Return the rows of a table as events; without an end, they last 0."""
        lookup = np.zeros(max(len(table.texts), 1), np.int64)
        if len(table):
            for number in np.flatnonzero(np.bincount(table.data)).tolist():
                lookup[number] = pool.text(table.texts[number])
        return cls(
            pool,
            id=table.id,
            start=table.start,
            duration=np.maximum(table.duration, 0),
            data=lookup[table.data],
        )

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.id)

    def end(self) -> Ints:
        """Return where each event ends."""
        return self.start + self.duration

    def weight(self) -> int:
        """Return the number of events, with those inside of data as often as there."""
        if not self.pool.holds_events:
            return len(self)
        if self._weight is None:
            weight = len(self)
            for number, count in counted(self.data):
                for value in self.pool.value(number).values():
                    if isinstance(value, Events):
                        weight += count * value.weight()
            self._weight = weight
        return self._weight

    def take(
        self, rows: Ints | NDArray[np.intp] | NDArray[np.bool_] | slice
    ) -> "Events":
        """Return the events that indices, a mask or a slice choose."""
        return Events(
            self.pool,
            id=self.id[rows],
            start=self.start[rows],
            duration=self.duration[rows],
            data=self.data[rows],
        )

    def with_data(self, data: Ints) -> "Events":
        """Return the same events with other data."""
        return Events(
            self.pool, id=self.id, start=self.start, duration=self.duration, data=data
        )

    def joined(self, other: "Events") -> "Events":
        """Return these events, and the others after them."""
        if not len(other):
            return self
        if not len(self):
            return other
        return Events(
            self.pool,
            id=np.concatenate([self.id, other.id]),
            start=np.concatenate([self.start, other.start]),
            duration=np.concatenate([self.duration, other.duration]),
            data=np.concatenate([self.data, other.data]),
        )

    def by_start(self) -> "Events":
        """Return the events by start; equal ones stay in their order."""
        if not len(self) or bool((np.diff(self.start) >= 0).all()):
            return self
        return self.take(np.argsort(self.start, kind="stable"))


def counted(data: Ints) -> list[tuple[int, int]]:
    """Return the numbers that occur in a column, ascending, and how often each does."""
    if not len(data):
        return []
    if int(data.max()) > 8 * len(data):  # few of many
        numbers, counts = np.unique(data, return_counts=True)
    else:
        every = np.bincount(data)
        numbers = np.flatnonzero(every)
        counts = every[numbers]
    return list(zip(numbers.tolist(), counts.tolist(), strict=True))


def identity(value: Value) -> Hashable:
    """Return a key that two values share exactly if they are equal.

    Equal as in ActivityWatch's server: the order of keys is of no account, and
    1, 1.0 and true are one.
    """
    if isinstance(value, str):  # as most are
        return value
    if isinstance(value, dict):
        try:
            return "{", frozenset(value.items())
        except TypeError:  # a list or dict is inside
            items = [(name, identity(item)) for name, item in value.items()]
            return "{", frozenset(items)
    if isinstance(value, list):
        return "[", tuple([identity(item) for item in value])
    known: Hashable = value
    return known


def checked(value: Value, budget: Budget) -> Value:
    """Return a list or dict as it is; raises if it holds too much.

    A list may hold another many times, so a few statements could make one that
    nobody can go through.
    """
    count = events = 0
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        count += 1
        events += item.weight() if isinstance(item, Events) else 0
        if not count % LOOP_EVENTS:
            budget.check()
        if (
            count > LIST_VALUES_MAX
            or events > LIST_EVENTS_MAX
            or depth > LIST_DEPTH_MAX
        ):
            raise QueryInterpretError(
                f"a list or dict holds more than {LIST_VALUES_MAX} values,"
                f" {LIST_EVENTS_MAX} events, or {LIST_DEPTH_MAX} others inside each"
                " other"
            )
        if isinstance(item, list):
            stack += [(inner, depth + 1) for inner in item]
        elif isinstance(item, dict):
            stack += [(inner, depth + 1) for inner in item.values()]
    return value


def total(durations: Ints) -> int:
    """Return the sum of durations; raises where it is longer than all of time."""
    if not len(durations):
        return 0
    if len(durations) * float(durations.max()) < _EXACT_SUM_MAX:
        return int(durations.sum())
    return checked_sum(durations.tolist())


def totals(durations: Ints, groups: Ints, count: int) -> Ints:
    """Return the sum of durations of each of `count` groups."""
    if not len(durations):
        return np.zeros(count, np.int64)
    if len(durations) * float(durations.max()) < _EXACT_SUM_MAX:
        # In floats, which are exact up to there.
        sums: Ints = np.bincount(groups, weights=durations, minlength=count).astype(
            np.int64
        )
        return sums
    slow = [0] * count
    for group, duration in zip(groups.tolist(), durations.tolist(), strict=True):
        slow[group] = checked_sum([slow[group], duration])
    return np.array(slow, np.int64)


def checked_sum(durations: Sequence[int]) -> int:
    """Return the sum of durations; raises where it is longer than all of time."""
    added = sum(durations)
    if added > DURATION_US_MAX:
        raise QueryFunctionError(
            "the durations add up to more than the years that are kept"
        )
    return added
