"""What callers give the vault, and whether it can be kept.

Checked once, here; further in, types are the proof.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from awvault.columns import jsontext
from awvault.columns.timestamps import TIME_US_MAX, TIME_US_MIN
from awvault.errors import InvalidInputError, LimitError

REQUEST_EVENTS_MAX: Final = 200_000
"""Events of one request."""

BUCKET_TEXT_CHARS_MAX: Final = 512
"""Characters of a bucket's id, type, client and hostname, each."""

BUCKET_DATA_BYTES_MAX: Final = 64 * 1024
"""Bytes of a bucket's own data, as compact JSON."""

RESTORED: Final = "-restored"
"""Behind the name of a bucket that comes back where its name was used again."""

PREFERENCES: Final = "awvault.preferences"
"""Name and type of each client's bucket of preferences, which no list shows."""

PULSETIME_US_MAX: Final = 366 * 24 * 3600 * 1_000_000

TEXT_CACHE_ENTRIES_MAX: Final = 8_192
TEXT_CACHED_BYTES_MAX: Final = 4_096
"""Longer texts are compacted each time they come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRows:
    """Events to insert: one sequence per column, all of one length.

    `starts` and `durations` are microseconds, -1 where there is no end;
    `texts` are JSON objects as they were received; `flags` may be absent.
    `stored_at` is for events that were stored elsewhere before, -1 where that
    is not known; buckets that do not keep it drop it.
    """

    starts: Sequence[int]
    durations: Sequence[int]
    texts: Sequence[bytes]
    flags: Sequence[int] | None = None
    stored_at: Sequence[int] | None = None

    def check_count(self) -> None:
        """Refuse more events than one request may have."""
        if len(self.starts) > REQUEST_EVENTS_MAX:
            raise LimitError(
                "events",
                f"the request has {len(self.starts)} events, at most"
                f" {REQUEST_EVENTS_MAX} are taken at once: send them in parts",
            )

    def check_spans(self) -> None:
        """Refuse the first row whose times no calendar has, naming its place."""
        spans = zip(self.starts, self.durations, strict=True)
        for at, (start, duration) in enumerate(spans):
            check_span(start, duration, place=f"[{at}].")


def check_span(start: int, duration: int, *, place: str = "") -> None:
    """Refuse times that no calendar has, naming the field."""
    if not TIME_US_MIN <= start <= TIME_US_MAX:
        raise InvalidInputError(
            f"{place}timestamp", "the timestamp must lie in the years 1 to 9999"
        )
    if duration < -1:
        raise InvalidInputError(
            f"{place}duration",
            f"the duration is {duration / 1e6} s, it must not be negative",
        )
    if start + duration > TIME_US_MAX:
        raise InvalidInputError(
            f"{place}duration", "the event must end before the year 10000"
        )


def check_pulsetime(pulsetime_us: int) -> None:
    """Refuse a pulsetime that is negative, or longer than a year."""
    if not 0 <= pulsetime_us <= PULSETIME_US_MAX:
        raise InvalidInputError(
            "pulsetime",
            f"pulsetime is {pulsetime_us / 1e6} s, it must be 0 to"
            f" {PULSETIME_US_MAX // 1_000_000} s",
        )


def check_bucket_texts(bucket_id: str, *texts: str) -> None:
    """Refuse an id, and a type, client and hostname, that cannot be kept."""
    if not bucket_id:
        raise InvalidInputError("id", "a bucket needs an id of at least one character")
    if bucket_id == PREFERENCES:
        raise InvalidInputError("id", f'"{PREFERENCES}" is kept for preferences')
    names = ("id", "type", "client", "hostname")
    for name, text in zip(names, (bucket_id, *texts), strict=False):
        if len(text) > BUCKET_TEXT_CHARS_MAX:
            raise LimitError(
                name,
                f"{name} has {len(text)} characters, at most"
                f" {BUCKET_TEXT_CHARS_MAX} are kept",
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInputError(
                name, f"{name} holds half of a surrogate pair, which is no character"
            ) from None


def free_name(name: str, used: Collection[str]) -> str:
    """Return `name`, or where it is used, the first like it that is not."""
    found, number = name, 1
    while found in used:
        behind = RESTORED if number == 1 else f"{RESTORED}-{number}"
        found = f"{name[: BUCKET_TEXT_CHARS_MAX - len(behind)]}{behind}"
        number += 1
    return found


def compact_bucket_data(data: bytes) -> bytes:
    """Return a bucket's data as compact JSON, or refuse it."""
    text = jsontext.compact(data)
    if len(text) > BUCKET_DATA_BYTES_MAX:
        raise LimitError(
            "data",
            f"bucket data has {len(text)} bytes, at most"
            f" {BUCKET_DATA_BYTES_MAX} are kept",
        )
    return text


class CompactTexts:
    """Events' data as compact JSON; most texts come again, so the last are kept."""

    def __init__(self) -> None:
        """Start empty."""
        self._known: dict[bytes, bytes] = {}

    def one(self, text: bytes) -> bytes:
        """Return the compact form of a JSON object, or refuse it."""
        known = self._known.get(text)
        if known is not None:
            return known
        compact = jsontext.compact(text)
        if len(text) <= TEXT_CACHED_BYTES_MAX:
            if len(self._known) >= TEXT_CACHE_ENTRIES_MAX:
                self._known.clear()
            self._known[text] = compact
        return compact

    def many(self, texts: Sequence[bytes]) -> list[bytes]:
        """Return each text's compact form; of several, the wrong one is named."""
        known = self._known
        found = []
        for at, text in enumerate(texts):
            hit = known.get(text)
            if hit is None:
                try:
                    hit = self.one(text)
                except InvalidInputError as error:
                    if len(texts) == 1:
                        raise
                    raise error.within(f"[{at}]") from None
            found.append(hit)
        return found


def same_data(one: bytes, other: bytes) -> bool:
    """Say whether two compact texts are of equal value."""
    return one == other or jsontext.equality_key(one) == jsontext.equality_key(other)
