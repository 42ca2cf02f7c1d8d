"""What an owner prefers: ActivityWatch's settings, for all clients of an account.

A preference is a key and a JSON value. Each client keeps its changes as events of
a bucket of its own that no list shows, one event for each key, corrected in place:

    {"key": KEY, "value": VALUE}    and without "value" where it was deleted

Over all clients the newest change of a key counts; of two at one microsecond, that
of the client with the higher number. A change is later than every one that it was
made in sight of, so a clock that is wrong does not keep it from counting.

One that is dated more than a year ahead counts only where no other does, or else a
single change at the end of time would count for ever.
"""

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import numpy as np

from awserver.errors import StorageCorruptError
from awvault import filters
from awvault.columns import jsontext
from awvault.columns.payload import COUNTER_BITS
from awvault.columns.table import EventTable
from awvault.errors import IntegrityError, InvalidInputError, LimitError, PayloadError
from awvault.vault import Vault
from awvault.view import BucketView

KEY_CHARS_MAX: Final = 128

VALUE_BYTES_MAX: Final = jsontext.EVENT_DATA_BYTES_MAX - 1024
"""Bytes of one value as compact JSON: with its key it is the data of one event."""

KEYS_MAX: Final = 1_000
"""Keys that have a value."""

CHANGES_MAX: Final = 10_000
"""Keys that were changed, deleted ones too; then a deleted one makes room."""

NEEDED_KEYS: Final = frozenset({filters.KEY, "classes", "views"})
"""Keys for which there is always room."""

TOTAL_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of all values."""

AHEAD_US_MAX: Final = 366 * 24 * 3600 * 1_000_000
"""How far ahead of this machine's clock a change may be dated and count as any."""

VALUE: Final = "value"
"""The field named when a value is wrong."""

log = logging.getLogger(__name__)

_UNREADABLE: Final = (IntegrityError, PayloadError, StorageCorruptError)

_REFUSED: Final = (InvalidInputError, ValueError, RecursionError)
"""What is raised for an event that holds no preference which could be kept."""


class _Data(msgspec.Struct):
    """The data of one event."""

    key: str
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode: Final = msgspec.json.Decoder(_Data).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What one event says."""

    event_id: int
    at_us: int
    key: str
    value: bytes | None
    """None: the key was deleted."""

    @property
    def order(self) -> tuple[int, int]:
        """The later of two. An id begins with its client's number."""
        return self.at_us, self.event_id

    def rank(self, limit_us: int) -> tuple[bool, int, int]:
        """Return what is highest of the change that counts: late ones come last."""
        return self.at_us <= limit_us, *self.order


@dataclass(slots=True)
class _Found:
    """What was read."""

    sealed: list[_Change] = field(default_factory=list)
    journal: list[_Change] = field(default_factory=list)
    unreadable: set[tuple[int, int]] = field(default_factory=set)
    """From when to when, in microseconds, there are changes that cannot be read."""


class Preferences:
    """The preferences of a vault's account. Belongs to the event loop.

    Call `load` before `all` and `get`: these read what is new, and the first time
    that is everything.
    """

    def __init__(self, vault: Vault) -> None:
        """Read and write preferences in `vault`."""
        self._vault = vault
        self._mark: tuple[object, int, int] | None = None
        self._since: dict[int, int] = {}
        """How many of the state's records were read, by bucket."""
        self._sealed: dict[int, _Change] = {}
        """What records say, by event."""
        self._newest: dict[str, _Change] = {}
        self._own: dict[str, int] = {}
        """This client's event of each key that it has changed."""
        self._events: Counter[str] = Counter()
        """In how many events each key is: at most one of each client."""
        self._unreadable: set[tuple[int, int]] = set()
        self._limit_us = 0
        """What was later than this when it was read counts last."""
        self._ahead: set[str] = set()
        """Keys of which a later change does not count."""

    # -- reading -------------------------------------------------------------

    async def load(self) -> None:
        """Read what is new, without holding up the event loop."""
        await self._vault.settle()
        mark, before = self._vault.preferences_mark(), self._mark
        if mark == before:
            return
        views, since = self._unread(mark)
        found = await asyncio.to_thread(_read, views, since)
        if self._mark is before:
            self._take(mark, views, found)

    def all(self) -> dict[str, bytes]:
        """Return every key with its value as compact JSON, by key."""
        self._refresh()
        return {
            key: change.value
            for key, change in sorted(self._newest.items())
            if change.value is not None
        }

    def get(self, key: str) -> bytes | None:
        """Return the value of a key as compact JSON; None: it has none."""
        self._refresh()
        change = self._newest.get(key)
        return None if change is None else change.value

    def is_certain(self, key: str) -> bool:
        """Say whether no damaged record can hold a newer change of a key."""
        self._refresh()
        change = self._newest.get(key)
        return self._unreadable_until(change) <= (0 if change is None else change.at_us)

    def is_ahead(self, key: str) -> bool:
        """Say whether a change of a key is dated too far ahead to count."""
        self._refresh()
        return key in self._ahead

    def _unreadable_until(self, change: _Change | None) -> int:
        """Return the latest time at which there may be one that counts instead."""
        counts_first = change is not None and change.at_us <= self._limit_us
        return max(
            (
                end
                for start, end in self._unreadable
                if start <= self._limit_us or not counts_first
            ),
            default=0,
        )

    @property
    def mark(self) -> tuple[object, int, int]:
        """What compares equal as long as no preference has changed."""
        return self._vault.preferences_mark()

    def _refresh(self) -> None:
        mark = self._vault.preferences_mark()
        if mark != self._mark:
            views, since = self._unread(mark)
            self._take(mark, views, _read(views, since))

    def _unread(
        self, mark: tuple[object, int, int]
    ) -> tuple[Sequence[BucketView], dict[int, int]]:
        """Return the buckets as they are now, and what of each was read."""
        if self._mark is None or mark[0] is not self._mark[0]:
            # Another state may number its records otherwise.
            self._since, self._sealed, self._unreadable = {}, {}, set()
        return self._vault.preferences_views(), dict(self._since)

    def _take(
        self,
        mark: tuple[object, int, int],
        views: Sequence[BucketView],
        found: _Found,
    ) -> None:
        self._mark = mark
        self._since = {view.bucket_id: mark[2] for view in views}
        self._sealed.update((change.event_id, change) for change in found.sealed)
        self._unreadable |= found.unreadable
        self._limit_us = self._vault.now_us() + AHEAD_US_MAX
        changes = self._sealed | {change.event_id: change for change in found.journal}
        mine = self._vault.keys.client_number
        self._newest, self._own = {}, {}
        self._events = Counter(change.key for change in changes.values())
        latest: dict[str, _Change] = {}
        for change in sorted(changes.values(), key=lambda change: change.order):
            latest[change.key] = change
            known = self._newest.get(change.key)
            if known is None or known.rank(self._limit_us) < change.rank(
                self._limit_us
            ):
                self._newest[change.key] = change
            if change.event_id >> COUNTER_BITS == mine:
                self._own[change.key] = change.event_id
        ahead = {key for key, change in latest.items() if change != self._newest[key]}
        if ahead - self._ahead:
            log.warning("a preference was changed more than a year ahead of this clock")
        self._ahead = ahead

    # -- changing ------------------------------------------------------------

    async def set(self, key: str, json_text: bytes) -> bytes:
        """Give a key a value; return it as compact JSON. It is on disk then.

        Raises `InvalidInputError` for a key or a value that cannot be kept.
        """
        check_key(key)
        value = _compact(json_text)
        if key == filters.KEY:
            filters.parse_rules(value)
        await self.load()
        values = self.all()
        values[key] = value
        if len(values.keys() - NEEDED_KEYS) > KEYS_MAX:
            raise LimitError("key", f"there are {KEYS_MAX} keys: delete one first")
        if sum(map(len, values.values())) > TOTAL_BYTES_MAX:
            raise LimitError(
                VALUE, f"all values together may have {TOTAL_BYTES_MAX} bytes"
            )
        await self._change(key, value)
        return value

    async def delete(self, key: str) -> bool:
        """Let a key have no value any more; False: it had none."""
        await self.load()
        if self.get(key) is None:
            return False
        await self._change(key, None)
        return True

    async def _change(self, key: str, value: bytes | None) -> None:
        known = self._newest.get(key)
        if known is not None and known.value == value and self.is_certain(key):
            await self._vault.flush()
            return
        event_id = self._own.get(key)
        if known is None and key not in NEEDED_KEYS:
            event_id = self._room()
        text = b'{"key":%b' % json.dumps(key, ensure_ascii=False).encode()
        text += b"}" if value is None else b',"value":%b}' % value
        await self._vault.note_preference(
            text,
            after_us=max(
                0 if known is None else known.at_us, self._unreadable_until(known)
            ),
            event_id=event_id,
        )
        if key == filters.KEY:
            log.warning("the privacy filters were set on this machine")
        await self.load()
        self._refresh()
        if known is not None and self._newest.get(key) == known:
            raise LimitError(
                "key",
                "the change is stored, but the one before still counts, for it is"
                " dated later: set this machine's clock, and try again",
            )

    def _room(self) -> int | None:
        """Return the event to use for a new key; None: a new one.

        Where there are no more, that of a deleted key which no other client wrote:
        without it that key still has no value.
        """
        if len(self._newest.keys() - NEEDED_KEYS) < CHANGES_MAX:
            return None
        deleted = [
            change
            for key, change in self._newest.items()
            if change.value is None
            and self._own.get(key) == change.event_id
            and self._events[key] == 1
            and key not in NEEDED_KEYS
        ]
        if not deleted:
            raise LimitError("key", f"{CHANGES_MAX} keys were used: use one of those")
        return min(deleted, key=lambda change: change.order).event_id


def check_key(key: str) -> None:
    """Refuse a key that cannot be kept."""
    if not 1 <= len(key) <= KEY_CHARS_MAX:
        raise LimitError("key", f"a key has 1 to {KEY_CHARS_MAX} characters")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            "key", "holds half of a surrogate pair, which is no character"
        ) from None


def _compact(json_text: bytes) -> bytes:
    """Return a value as compact JSON, or refuse it."""
    try:
        value = jsontext.compact_value(json_text)
        if len(value) > VALUE_BYTES_MAX:
            raise LimitError(
                "data", f"has {len(value)} bytes, at most {VALUE_BYTES_MAX} are kept"
            )
        jsontext.compact(b'{"value":%b}' % value)  # it lies one level deeper there
    except InvalidInputError as error:
        place = VALUE + error.field.removeprefix("data").removeprefix(".value")
        raise type(error)(place, str(error)) from None
    return value


def _read(views: Sequence[BucketView], since: Mapping[int, int]) -> _Found:
    """Read the journal, and of each bucket the records after those read before."""
    found = _Found()
    for view in views:
        found.journal += _changes(
            view.with_zones(view.zones[:0]).read(start=None, end=None)
        )
        _read_records(view, since.get(view.bucket_id, 0), found)
    return found


def _read_records(view: BucketView, first: int, found: _Found) -> None:
    """Read records of a bucket, the newest first.

    A change that was corrected lies in many of them. What counts of an event is in
    one place, so a zone that is of that event alone need not be opened any more.
    """
    known = {change.event_id for change in found.journal}
    for at in np.flatnonzero(view.zones["record"] >= first)[::-1].tolist():
        zones = view.zones[at : at + 1]
        (zone,) = zones
        if zone["id_min"] == zone["id_max"] and int(zone["id_min"]) in known:
            continue
        sealed = replace(view, tables=(), zones=zones)
        try:
            changes = list(_changes(sealed.read(start=None, end=None)))
        except _UNREADABLE:
            log.exception("preferences in a damaged record cannot be read")
            found.unreadable.add((int(zone["start_min"]), int(zone["end_max"])))
            continue
        found.sealed += changes
        known |= {change.event_id for change in changes}


def _changes(table: EventTable) -> Iterator[_Change]:
    for event_id, start, data in zip(
        table.id.tolist(), table.start.tolist(), table.data.tolist(), strict=True
    ):
        said = _said(table.texts[data])
        if said is None:
            continue  # no program of this kind wrote it
        value = None if said.value is msgspec.UNSET else bytes(said.value)
        yield _Change(event_id=event_id, at_us=start, key=said.key, value=value)


def _said(text: bytes) -> _Data | None:
    """Return what an event says; None: it is no change of a preference.

    Another client's program may have written what this one would refuse: that is no
    change either, and what was said before it counts.
    """
    try:
        said = _data(text)
        check_key(said.key)
        if said.value is not msgspec.UNSET:
            said.value = msgspec.Raw(_compact(bytes(said.value)))
    except _REFUSED:
        return None
    return said


def _data(text: bytes) -> _Data:
    with contextlib.suppress(msgspec.MsgspecError, UnicodeError):
        return _decode(text)
    # msgspec does not read half a surrogate pair.
    said = jsontext.decode(text)
    key = said.get("key")
    if not isinstance(key, str):
        raise InvalidInputError("key", "is no text")
    if VALUE not in said:
        return _Data(key=key)
    return _Data(key=key, value=msgspec.Raw(json.dumps(said[VALUE]).encode()))
