"""Made-up events with the statistics of ActivityWatch's: seeded, and quick.

Two in three are windows, one in three browser tabs, a few away-or-not. Times are
to the microsecond, ten active hours a day. An event's data are new, or those of
an earlier event, mostly a recent one: how often each comes is distributed like
words in a text, and in two days 15 % (tabs: 46 %) are distinct.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from awvault.columns.table import EventTable

SECOND: Final = 1_000_000
"""Microseconds."""

DAY: Final = 86_400 * SECOND
MORNING: Final = 1_709_276_400 * SECOND
"""The first event: 2024-03-01T07:00:00Z."""

EVENTS_PER_DAY: Final = 1_890
FIRST_ID: Final = (1 << 40) + 1
ACTIVE_HOURS: Final = 10

_VOCABULARY_WORDS: Final = 3_000
_LOOK_BACK_ROWS: Final = 2_000
_CONSONANTS: Final = "bdfgklmnprstvz"
_VOWELS: Final = "aeio"
_APPS: Final = ("Firefox", "Code", "Alacritty", "Slack", "Thunderbird", "Zotero")
_HOSTS: Final = ("github.com", "docs.python.org", "news.example", "mail.example")

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityBucket:
    """One bucket and its events, by start."""

    name: str
    type: str
    client: str
    table: EventTable


def activity(
    events: int, *, days: float | None = None, seed: int = 1
) -> list[ActivityBucket]:
    """Return three buckets that hold `events` events in all, spread over `days`.

    Without `days`, as many as a person takes for them. Ids ascend with time
    across the buckets, as heartbeats get them.
    """
    rng = np.random.default_rng(seed)
    if days is None:
        days = max(events / EVENTS_PER_DAY, 0.05)
    afk = events // 50
    tabs = events // 3
    windows = events - afk - tabs
    words = _vocabulary(rng)
    made = [
        (
            ("aw-watcher-window_laptop", "currentwindow", "aw-watcher-window"),
            _rows(rng, windows, days, new=0.12, median=1.3, spread=1.63, zero=0.35),
            _window_texts(rng, words, windows),
        ),
        (
            ("aw-watcher-web-firefox_laptop", "web.tab.current", "aw-client-web"),
            _rows(rng, tabs, days, new=0.41, median=1.3, spread=1.7, zero=0.05),
            _tab_texts(rng, words, tabs),
        ),
        (
            ("aw-watcher-afk_laptop", "afkstatus", "aw-watcher-afk"),
            _rows(rng, afk, days, new=0.0, median=5.6, spread=1.6, zero=0.0),
            [b'{"status":"not-afk"}', b'{"status":"afk"}'],
        ),
    ]
    every_start = np.concatenate([start for _, (start, _, _), _ in made])
    every_id = np.empty(len(every_start), dtype=np.int64)
    every_id[np.argsort(every_start, kind="stable")] = np.arange(
        FIRST_ID, FIRST_ID + len(every_start)
    )
    buckets = []
    at = 0
    for (name, kind, client), (start, duration, source), texts in made:
        rows = len(start)
        if kind == "afkstatus":
            data = np.arange(rows) % 2
        else:
            data = np.unique(source, return_inverse=True)[1]
        buckets.append(
            ActivityBucket(
                name=name,
                type=kind,
                client=client,
                table=EventTable(
                    id=every_id[at : at + rows],
                    revision=np.zeros(rows, dtype=np.uint32),
                    start=start,
                    duration=duration,
                    stored_at=np.full(rows, -1, dtype=np.int64),
                    flags=np.zeros(rows, dtype=np.uint8),
                    data=data.astype(np.uint32),
                    texts=texts[: int(data.max()) + 1] if rows else [],
                ),
            )
        )
        at += rows
    return buckets


def window_events(events: int, *, seed: int = 1) -> EventTable:
    """Return the window bucket alone, with that many events."""
    return activity(events * 8 // 5 + 50, seed=seed)[0].table.take(slice(0, events))


def _rows(
    rng: np.random.Generator,
    rows: int,
    days: float,
    *,
    new: float,
    median: float,
    spread: float,
    zero: float,
) -> tuple[Times, Times, Times]:
    """Return starts, durations, and for each row the first one with its data."""
    seconds = np.minimum(rng.lognormal(median, spread, rows), 1_500)
    seconds[rng.random(rows) < zero] = 0
    # A watcher polls each second: the next event begins a little after that.
    gaps = 1.0 + rng.gamma(2.0, 0.01, rows)
    breaks = rng.random(rows) < 0.1
    gaps[breaks] += rng.exponential(60, int(breaks.sum()))
    active = days * ACTIVE_HOURS * 3_600
    needed = float(seconds.sum() + gaps.sum())
    if needed < active:
        gaps[breaks] *= 1 + (active - needed) / max(float(gaps[breaks].sum()), 1.0)
    else:
        seconds *= active / needed
        gaps *= active / needed
    duration = (seconds * SECOND).astype(np.int64)
    step = (gaps * SECOND).astype(np.int64)
    start = np.cumsum(step)
    start[1:] += np.cumsum(duration)[:-1]
    start += start // (ACTIVE_HOURS * 3_600 * SECOND) * (14 * 3_600 * SECOND)
    return MORNING + start, duration, _sources(rng, rows, new)


def _sources(rng: np.random.Generator, rows: int, new: float) -> Times:
    """Return for each row the row whose data it has; new ones have their own."""
    at = np.arange(rows)
    far = np.log(np.clip(at, 1, _LOOK_BACK_ROWS))
    back = np.exp(rng.random(rows) ** 1.3 * far)
    parents = np.maximum(at - 1 - back.astype(np.int64), 0)
    parents = np.where(rng.random(rows) < new, at, parents)
    while True:
        grandparents = parents[parents]
        if np.array_equal(grandparents, parents):
            return parents
        parents = grandparents


def _vocabulary(rng: np.random.Generator) -> list[str]:
    syllables = [one + other for one in _CONSONANTS for other in _VOWELS]
    return [
        "".join(rng.choice(syllables, size=size))
        for size in rng.integers(2, 5, _VOCABULARY_WORDS)
    ]


def _phrases(
    rng: np.random.Generator, words: list[str], count: int, size: int
) -> list[str]:
    ranks = rng.zipf(1.3, (count, size)) % len(words)
    return [" ".join([words[rank] for rank in row]) for row in ranks.tolist()]


def _window_texts(
    rng: np.random.Generator, words: list[str], count: int
) -> list[bytes]:
    apps = (rng.zipf(1.5, count) % len(_APPS)).tolist()
    return [
        f'{{"app":"{_APPS[app]}","title":"{phrase} - {_APPS[app]}"}}'.encode()
        for app, phrase in zip(apps, _phrases(rng, words, count, 5), strict=True)
    ]


def _tab_texts(rng: np.random.Generator, words: list[str], count: int) -> list[bytes]:
    hosts = (rng.zipf(1.5, count) % len(_HOSTS)).tolist()
    return [
        (
            f'{{"url":"https://{_HOSTS[host]}/{phrase.replace(" ", "/")}/{at}",'
            f'"title":"{phrase}","audible":false,"incognito":false,"tabCount":9}}'
        ).encode()
        for at, (host, phrase) in enumerate(
            zip(hosts, _phrases(rng, words, count, 4), strict=True)
        )
    ]
