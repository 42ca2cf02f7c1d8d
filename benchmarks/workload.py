"""Events as a window watcher makes them, from a seed; and the requests that send them.

The shape follows published statistics of real histories: ten active hours a day,
3,333 events a day, a third of them without length, half shorter than about a
second, some tens of seconds; the data of an event has about 75 bytes, and few
titles make most of the events. Times have milliseconds, as ActivityWatch's
client sends them.
"""

import json
import random
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

EVENTS_PER_DAY: Final = 3_333
FIRST_DAY: Final = "2025-03-03T09:00:00.000"
DAY_MS: Final = 24 * 3600 * 1000
ACTIVE_MS: Final = 10 * 3600 * 1000

_ZERO_SHARE: Final = 0.35
_LENGTH_MEDIAN_MS: Final = 3_500
_LENGTH_SIGMA: Final = 1.5
# Rank of the title: about an eighth of two days' titles are distinct, and one in
# twenty of a month's.
_ZIPF: Final = 1.35
_RANK_MAX: Final = 2**40

_APPS: Final = (
    "firefox",
    "code",
    "gnome-terminal-server",
    "thunderbird",
    "slack",
    "evince",
    "libreoffice-writer",
    "nautilus",
    "spotify",
    "gimp",
)
_SYLLABLES: Final = tuple(
    consonant + vowel for consonant in "bdfgklmnprstvwz" for vowel in "aeiou"
)


@dataclass(frozen=True, slots=True)
class Events:
    """Events of one bucket, oldest first: a column each, all of one length."""

    start_ms: npt.NDArray[np.int64]
    """Milliseconds since 1970, UTC."""
    duration_ms: npt.NDArray[np.int64]
    texts: list[bytes]
    """The data of each event: a JSON object. Equal ones are one object."""

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.texts)

    def days(self, first: int, count: int = 1) -> tuple[str, str]:
        """Return where `count` days from day `first` on begin and end, in ISO 8601."""
        begin = np.datetime64(FIRST_DAY, "ms").astype(np.int64) + first * DAY_MS
        return _iso(begin), _iso(begin + count * DAY_MS - 1)


def make_events(count: int, *, seed: int = 2016) -> Events:
    """Return `count` events from 3 March 2025 on, the same ones for one seed."""
    generator = np.random.default_rng(seed)
    index = np.arange(count)
    slot = ACTIVE_MS / EVENTS_PER_DAY
    jitter = generator.integers(0, int(slot), count)
    start = (
        np.datetime64(FIRST_DAY, "ms").astype(np.int64)
        + index // EVENTS_PER_DAY * DAY_MS
        + (index % EVENTS_PER_DAY * slot).astype(np.int64)
        + jitter
    )
    length = generator.lognormal(np.log(_LENGTH_MEDIAN_MS), _LENGTH_SIGMA, count)
    length[generator.random(count) < _ZERO_SHARE] = 0
    # No event lasts beyond the next one.
    room = np.diff(start, append=start[-1:] + int(slot)) if count else start
    rank = np.minimum(generator.zipf(_ZIPF, count), _RANK_MAX)
    distinct, which = np.unique(rank, return_inverse=True)
    known = [_data(int(number)) for number in distinct]
    return Events(
        start_ms=start,
        duration_ms=np.minimum(length.astype(np.int64), room),
        texts=[known[number] for number in which.tolist()],
    )


def _data(rank: int) -> bytes:
    """Return the data of the title of this rank."""
    source = random.Random(rank)
    words = [
        "".join(source.choices(_SYLLABLES, k=source.randint(1, 4)))
        for _ in range(source.randint(2, 9))
    ]
    title = f"{' '.join(words).capitalize()} - {rank % 1000}"
    app = _APPS[min(int(source.expovariate(0.5)), len(_APPS) - 1)]
    return json.dumps({"app": app, "title": title}).encode()


def _iso(milliseconds: np.int64) -> str:
    return f"{np.datetime64(int(milliseconds), 'ms')}Z"


def json_events(events: Events) -> list[bytes]:
    """Return each event as the JSON object that a watcher posts."""
    stamps = np.datetime_as_string(events.start_ms.astype("datetime64[ms]"))
    return [
        b'{"timestamp":"%s+00:00","duration":%.3f,"data":%s}'
        % (stamp.encode(), duration / 1000, text)
        for stamp, duration, text in zip(
            stamps.tolist(), events.duration_ms.tolist(), events.texts, strict=True
        )
    ]


def heartbeats(count: int, *, seed: int) -> list[bytes]:
    """Return `count` heartbeats, a second apart; every fifth brings another title."""
    titles = make_events(count // 5 + 1, seed=seed).texts
    start = np.datetime64(FIRST_DAY, "ms").astype(np.int64)
    stamps = np.datetime_as_string(
        (start + np.arange(count) * 1000 + 250).astype("datetime64[ms]")
    ).tolist()
    return [
        b'{"timestamp":"%s+00:00","duration":0,"data":%s}'
        % (stamp.encode(), titles[at // 5])
        for at, stamp in enumerate(stamps)
    ]


def batches(events: list[bytes], size: int) -> list[bytes]:
    """Return bodies of `size` events each; the last one may be shorter."""
    return [
        b"[" + b",".join(events[at : at + size]) + b"]"
        for at in range(0, len(events), size)
    ]
