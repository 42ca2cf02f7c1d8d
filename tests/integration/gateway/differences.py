"""Where the gateway differs from ActivityWatch's two servers, and why.

One table, which docs/reference/activitywatch-differences.md repeats word for word.
Of the Python server every difference that the probe finds is one of these.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tests.integration.gateway.probing import Compared

MILLISECOND: Final = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One row of the table."""

    what: str
    python: str
    rust: str
    here: str
    why: str
    fits: Callable[[Compared], bool] | None = None
    """Says of a comparison that this is what it shows; None: its step says so."""
    is_probed: bool = True
    """Whether the Python server, as it is on the package index, shows it."""

    def row(self) -> str:
        cells = (self.what, self.python, self.rust, self.here, self.why)
        return f"| {' | '.join(cells)} |"


def statuses(theirs: set[int], ours: set[int]) -> Callable[[Compared], bool]:
    return lambda c: c.theirs.status in theirs and c.ours.status in ours


def _lenient(c: Compared) -> bool:
    return (
        c.theirs.status in {200, 304}
        and c.ours.status == 400
        and "/query" not in c.step.path
    )


def _words(c: Compared) -> bool:
    return c.kinds == {"words"} and "message" in c.ours.value


def _validation(c: Compared) -> bool:
    return (
        (c.theirs.status, c.ours.status) == (400, 400)
        and set(c.theirs.value) == {"errors", "message"}
        and set(c.ours.value) == {"message"}
    )


def _page(c: Compared) -> bool:
    return (
        c.theirs.kind == "text/html"
        and c.theirs.status == 404
        and c.ours.status == 404
        and set(c.ours.value) == {"message"}
    )


def _options(c: Compared) -> bool:
    return (
        c.step.method == "OPTIONS"
        and c.kinds <= {"shape", "origin"}
        and c.theirs.value is c.ours.value is False
        and (c.kinds == {"shape"} or _extension(c))
    )


def _extension(c: Compared) -> bool:
    origin = c.step.headers.get("Origin", "")
    return (
        origin.startswith("chrome-extension://")
        and c.theirs.origin == ""
        and c.ours.origin == origin
    )


def _inserted(c: Compared) -> bool:
    return (
        c.step.method == "POST"
        and c.step.path.endswith("/events")
        and (c.theirs.status, c.ours.status) == (200, 200)
        and c.theirs.value is None
        and isinstance(c.ours.value, list)
    )


def _deleted(c: Compared) -> bool:
    return (
        c.step.method == "DELETE"
        and (c.theirs.status, c.ours.status) == (200, 200)
        and c.theirs.value == {}
        and "hidden" in c.ours.value["message"]
    )


def _milliseconds(c: Compared) -> bool:
    return (
        c.kinds == {"value"}
        and not _has_an_end(c)
        and _about_equal(c.theirs.value, c.ours.value, tolerance=MILLISECOND)
    )


def _range_end(c: Compared) -> bool:
    return (
        c.kinds == {"value"}
        and _has_an_end(c)
        # One for the end, and one where the start has lost its microseconds.
        and _about_equal(c.theirs.value, c.ours.value, tolerance=2 * MILLISECOND)
    )


def _export(c: Compared) -> bool:
    return (
        c.step.path.endswith("/export")
        and (c.theirs.status, c.ours.status) == (200, 200)
        and (c.theirs.kind, c.ours.kind) == ("text/html", "application/json")
        and _by_time(c.theirs.value) == _by_time(c.ours.value)
    )


def _by_time(value: Any) -> Any:
    """Return an export with the events of each bucket in one order."""
    if not isinstance(value, dict):
        return value  # a HEAD has none
    return {
        name: exported | {"events": sorted(exported["events"], key=str)}
        for name, exported in value["buckets"].items()
    }


def _has_an_end(c: Compared) -> bool:
    return "end=" in c.step.path or "/query" in c.step.path


def _about_equal(theirs: Any, ours: Any, *, tolerance: float) -> bool:
    """Say whether times are equal to the millisecond, and durations to `tolerance`."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return theirs.keys() == ours.keys() and all(
            _about_equal(theirs[key], ours[key], tolerance=tolerance) for key in theirs
        )
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(
            _about_equal(one, other, tolerance=tolerance)
            for one, other in zip(theirs, ours, strict=True)
        )
    if isinstance(theirs, float) and isinstance(ours, float):
        return abs(theirs - ours) <= tolerance + 1e-9
    if isinstance(theirs, str) and re.match(r"\d{4}-\d\d-\d\dT", theirs):
        apart = datetime.fromisoformat(theirs) - datetime.fromisoformat(ours)
        return abs(apart.total_seconds()) <= MILLISECOND
    return bool(theirs == ours)


DIFFERENCES: Final[dict[str, Difference]] = {
    "malformed": Difference(
        what="malformed input",
        python="500",
        rust="400 for a time; an unreadable `limit` is none",
        here="400 with the name of the field",
        why="a client learns what to mend; one that retries on a 500 would never end",
        fits=statuses({500}, {400}),
    ),
    "lenient": Difference(
        what=(
            "a negative duration or pulsetime; null, NaN, `true` or a string where"
            " they have no meaning"
        ),
        python="stored, or taken for something else",
        rust="`timestamp` and `data` must be there",
        here="400",
        why="nothing could be made of it later; no watcher sends it",
        fits=_lenient,
    ),
    "words": Difference(
        what="the text of a `message`",
        python="for 404 with a list of other addresses",
        rust="its own",
        here="what was wrong, and where",
        why="clients go by the status; deleting without `force` has the same words",
        fits=_words,
    ),
    "validation": Difference(
        what="a heartbeat that is not as it must be",
        python="400 with `errors` and `message`",
        rust="?",
        here="400 with `message`",
        why="one form for all errors; clients go by the status",
        fits=_validation,
    ),
    "pages": Difference(
        what="an address that is none",
        python="404 as a page; GET of any address has a route",
        rust="?",
        here="404 as JSON",
        why="one form for all errors",
        fits=_page,
    ),
    "options": Difference(
        what="OPTIONS",
        python="names a content type for its empty body",
        rust="?",
        here="names none",
        why="there is no content",
        fits=_options,
    ),
    "slash": Difference(
        what="`/buckets` and `/query` without a slash behind it",
        python="308 to the same with one",
        rust="served",
        here="served",
        why="some clients follow no redirect",
    ),
    "log": Difference(
        what="GET `/log`",
        python="500",
        rust="not there",
        here="200 `[]`",
        why="an array is what the address once gave, and no log is kept",
    ),
    "swagger": Difference(
        what="the pages `/api/` and `/api/swagger.json`",
        python="a description of the routes",
        rust="not there",
        here="404",
        why="no client reads them; the routes are in this manual",
    ),
    "local": Difference(
        what="a bucket with `hostname` `!local`",
        python="0.12 keeps `!local`; later the host name, and `device_id` in `data`",
        rust="?",
        here="the host name, and `device_id` in `data`",
        why="watchers in a browser do not know them",
    ),
    "said": Difference(
        what="`created` and `data` in a new bucket, or an imported one",
        python="ignored, but for `created` of an import",
        rust="kept",
        here="kept",
        why="nothing that was sent is lost",
    ),
    "any-id": Difference(
        what="a bucket id with a slash, `%2F` in the address",
        python="404 and 405",
        rust="?",
        here="a bucket like any other",
        why="an id is any text",
    ),
    "put": Difference(
        what="PUT of a bucket",
        python="500; 404 if there is none",
        rust="not there",
        here="200 `{}`, each field may be missing; 404 if there is none",
        why="it is what the route was meant to do",
    ),
    "deleted": Difference(
        what="DELETE of a bucket",
        python="destroys it; `{}`",
        rust="destroys it, without `force`; empty",
        here="hides it, and says so; wants `force=1` unless testing",
        why=(
            "records are immutable, and a person may want it back; clients ignore the"
            " body"
        ),
        fits=_deleted,
    ),
    "inserted": Difference(
        what="the answer to POST `/events`",
        python="`null`",
        rust="the events with their ids, for an array; no single event",
        here="the events with their ids, as an array, for an array and a single event",
        why="what is stored can be referred to; the Python client ignores it",
        fits=_inserted,
    ),
    "upsert": Difference(
        what="POST `/events` with an `id`",
        python=(
            "changes that event, of whatever bucket, and moves it here; if there is"
            " none, nothing is stored"
        ),
        rust="inserts, or replaces",
        here="corrects that event of this bucket; any other id is a new event",
        why="no event is lost, and none of another bucket is touched",
    ),
    "event-ids": Difference(
        what="an event's id that is no number, or a huge one",
        python="404 as a page, 405 or 500",
        rust="500 for any event that is not there",
        here="404 `null`, and `success` 0 for DELETE",
        why="there is no such event",
    ),
    "milliseconds": Difference(
        what="the precision of times",
        python="milliseconds",
        rust="nanoseconds",
        here="microseconds",
        why="what clients send; it comes back as it was sent",
        fits=_milliseconds,
    ),
    "range-end": Difference(
        what="events cut at the `end` of a range",
        python="1 ms too long; one that starts at `end` lasts 1 ms",
        rust="exact",
        here="exact",
        why="sums over adjoining ranges are right",
        fits=_range_end,
    ),
    "backwards": Difference(
        what="a `start` after `end`",
        python="events around both, with a negative duration",
        rust="`/events/count` ignores both",
        here="no event",
        why="nothing lies in such a range",
    ),
    "long": Difference(
        what="an event that began more than 24 hours before `start`",
        python="not found",
        rust="found",
        here="found",
        why="it overlaps the range",
    ),
    "order": Difference(
        what="events of equal time",
        python="the last inserted first",
        rust="the first inserted first",
        here="the first inserted first",
        why=(
            "ActivityWatch's own client tests for it"
            " ([0011](../decisions/0011-equal-timestamps-keep-insertion-order.md))"
        ),
    ),
    "plus": Difference(
        what="a `+` in a time that was not escaped",
        python="500",
        rust="400",
        here="taken for what was meant",
        why="a time has no space before its offset",
    ),
    "times": Difference(
        what="the forms of a time",
        python="ISO 8601 without a small `z`; 500 near the year 1",
        rust="in a range only RFC 3339 with an offset, else 400",
        here="ISO 8601, any offset or none for UTC, the years 1 to 9999",
        why="what one of the two takes is taken",
    ),
    "by-id": Difference(
        what="what a heartbeat extends",
        python="overwrites the newest event of the bucket, whichever it is",
        rust="the last event, by its id",
        here="the last event, by its id; after another write the newest one",
        why="no event is destroyed by a heartbeat",
    ),
    "remade": Difference(
        what="a heartbeat to a bucket that was deleted and made again",
        python="500",
        rust="?",
        here="stored",
        why="a heartbeat is never refused for what came before",
    ),
    "true": Difference(
        what="`true` and 1 in the data of two heartbeats",
        python="equal",
        rust="not equal",
        here="not equal",
        why=("they are not the same data ([0012](../decisions/0012-true-is-not-1.md))"),
    ),
    "query-text": Difference(
        what="the text of a query",
        python="no fractions; a list that does not end is an empty one",
        rust="has operators and `if`; all numbers are fractions",
        here="fractions; a list that does not end is a 400; [more](query.md)",
        why="a number is a number, and half a query is none",
    ),
    "export": Difference(
        what="an export",
        python="called a page, `text/html`; the newest event first",
        rust="without a type; with the ids of events",
        here="`application/json`; the oldest event first",
        why="it is JSON, and it is written as it is read, however long it is",
        fits=_export,
    ),
    "import-again": Difference(
        what="an import into a bucket that is there",
        python="500; buckets that came before it stay",
        rust="adds the events that are not there",
        here="adds the events that are not there",
        why="an import that was cut off is repeated",
    ),
    "import-less": Difference(
        what="an import that lacks `client`, `hostname`, `created`, `id` or `events`",
        python="500",
        rust="?",
        here="taken; `type` must be there",
        why="nothing is lost for what is not there",
    ),
    "settings": Difference(
        what="settings",
        python="not in 0.12; later in a file, where an empty value deletes a key",
        rust="in its database; POST is a 201",
        here="sealed, as all data; POST is a 200 with the value, `null` deletes a key",
        why="the web interface takes either, and `false` and 0 are values",
    ),
    "hosts": Difference(
        what="the `Host` header",
        python="`[::1]` and capitals are refused",
        rust="checked only on 127.0.0.1",
        here="`[::1]` and capitals are taken; always checked",
        why="they name this machine as well",
    ),
    "extension": Difference(
        what="the origin of ActivityWatch's extension for Chrome",
        python="not named in CORS",
        rust="named",
        here="named",
        why="it needs no permission for the host then",
        fits=_extension,
    ),
    "sites": Difference(
        what="a write from a page of another site",
        python="done, if it needs no preflight",
        rust="?",
        here="403",
        why="CORS keeps a page from reading, not from writing",
        fits=lambda c: c.ours.status == 403 and "Origin" in c.step.headers,
    ),
    "connections": Difference(
        what="connections",
        python="closed after each answer",
        rust="?",
        here="kept",
        why="a new one costs more than a heartbeat",
        is_probed=False,
    ),
    "key": Difference(
        what="a key",
        python="none",
        rust="`api_key` in its configuration",
        here="`api_key_file`, a file; the same header, open routes and refusal",
        why="a secret does not belong into a file that is shared",
        is_probed=False,
    ),
    "fields": Difference(
        what="fields of a bucket",
        python="`name`, `last_updated` in the list",
        rust="`metadata`, `events`, `last_updated`; no `name`",
        here="as in Python",
        why="the web interface takes either",
        is_probed=False,
    ),
    "filters": Difference(
        what="the setting `privacy_filters`",
        python="a setting like any other",
        rust="rules that drop or replace; one with a bad pattern is kept, and matches"
        " nothing",
        here="the same rules and more; one that would not work is a 400",
        why="what was to be kept out cannot be taken back",
        is_probed=False,
    ),
    "acknowledged": Difference(
        what="when a write is answered",
        python="before it is on disk",
        rust="up to 15 s before it is on disk",
        here="once it is on disk",
        why="acknowledged means stored",
        is_probed=False,
    ),
}


def named(compared: Compared) -> str | None:
    """Return which row of the table a difference is; None: none."""
    if compared.step.differs:
        return compared.step.differs
    for name, difference in DIFFERENCES.items():
        if difference.fits is not None and difference.fits(compared):
            return name
    return None
