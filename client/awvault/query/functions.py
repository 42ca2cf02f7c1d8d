"""The functions that a query may call, and the checks of what they are given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from awvault.columns import timestamps
from awvault.errors import InvalidInputError
from awvault.query import grouping, labelling, periods
from awvault.query.errors import QueryFunctionError, QueryInterpretError, shown
from awvault.query.patterns import compiled
from awvault.query.snapshot import Snapshot
from awvault.query.values import Events, Pool, Seconds, Value, checked

PULSETIME_SECONDS: Final = 5
"""Seconds of a gap that `flood` fills where it is not told, and chunks span."""

PULSETIME_SECONDS_MAX: Final = 100 * 366 * 86_400

_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Context:
    """Where a query runs."""

    snapshot: Snapshot
    pool: Pool
    variables: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a function takes at one place."""

    kind: type | None
    """list, str or int; None: anything."""
    events: bool = False
    """A list must be one of events."""
    values: bool = False
    """A list must not be one of events."""


EVENTS: Final = Parameter(list, events=True)
VALUES: Final = Parameter(list, values=True)
LIST: Final = Parameter(list)
TEXT: Final = Parameter(str)
NUMBER: Final = Parameter(int)
ANY: Final = Parameter(None)


@dataclass(frozen=True, slots=True)
class Function:
    """One function: what it takes, and what it does."""

    run: Callable[..., Value]
    """Takes a `Context` and the arguments."""
    required: Sequence[Parameter] = ()
    optional: Sequence[Parameter] = ()
    more: bool = False
    """Whether it takes any number of further arguments."""


def call(context: Context, name: str, arguments: Sequence[Value]) -> Value:
    """Return what a function returns; raises a `QueryError` for what it cannot take."""
    function = FUNCTIONS[name]
    for at, parameter in enumerate(function.required):
        if at >= len(arguments):
            raise _wrong_count(name)
        check(arguments[at], parameter)
    parameters = [*function.required, *function.optional]
    if len(arguments) > len(parameters) and not function.more:
        raise _wrong_count(name)
    given = list(arguments)
    for at, parameter in enumerate(parameters[: len(given)]):
        if parameter.events:
            given[at] = _events(context.pool, given[at])
        elif parameter.values:
            given[at] = _values(given[at])
    return function.run(context, *given)


def _wrong_count(name: str) -> QueryInterpretError:
    return QueryInterpretError(
        f"Tried to call function {name} with invalid amount of arguments"
    )


def check(value: Value, parameter: Parameter) -> None:
    """Raise if a value is not of the type that is taken."""
    kind = parameter.kind
    if kind is None or isinstance(value, kind) or (kind is list and is_events(value)):
        return
    raise QueryFunctionError(
        f"Variable '{shown(said(value))}' passed to function call is of invalid type."
        f" Expected {kind} but was {type_of(value)}"
    )


def is_events(value: Value) -> bool:
    """Say whether a value is a list of events."""
    return isinstance(value, Events)


def said(value: Value) -> str:
    """Return a value as messages repeat it."""
    if isinstance(value, Events):
        return f"[{len(value)} events]"
    if isinstance(value, list):
        return f"[{', '.join(_inside(item) for item in value[:20])}]"
    if isinstance(value, dict):
        items = [f"{key!r}: {_inside(item)}" for key, item in [*value.items()][:20]]
        return f"{{{', '.join(items)}}}"
    return str(value)


def _inside(value: Value) -> str:
    return repr(value) if isinstance(value, str) else said(value)


def type_of(value: Value) -> str:
    """Return the type of a value as ActivityWatch's server calls it."""
    if isinstance(value, Events):
        return str(list)
    if isinstance(value, Seconds):
        return "<class 'datetime.timedelta'>"
    return str(type(value))


def _events(pool: Pool, value: Value) -> Events:
    if isinstance(value, Events):
        return value
    if value:
        raise QueryFunctionError(
            f"Variable '{shown(said(value))}' passed to function call is a list, but"
            " not one of events"
        )
    return Events.empty(pool)


def _values(value: Value) -> list[Value]:
    if isinstance(value, Events):
        if len(value):
            raise QueryFunctionError(
                f"Variable '{said(value)}' passed to function call is a list of"
                " events, where one of other values is expected"
            )
        return []
    values: list[Value] = value
    return values


# -- buckets -----------------------------------------------------------------------


def _find_bucket(context: Context, part: str, hostname: Value = None) -> str:
    for bucket_id, host in context.snapshot.hostnames.items():
        if part in bucket_id and (not hostname or host == hostname):
            return bucket_id
    raise QueryFunctionError(
        f"Unable to find bucket matching '{shown(part)}' (hostname filter set to"
        f" '{shown(said(hostname))}')"
    )


def _query_bucket(context: Context, bucket_id: str) -> Events:
    _check_bucket(context, bucket_id)
    start, end = _period(context)
    table = context.snapshot.read(bucket_id, start=start, end=end)
    return Events.of_table(context.pool, table)


def _query_bucket_eventcount(context: Context, bucket_id: str) -> int:
    _check_bucket(context, bucket_id)
    start, end = _period(context)
    return context.snapshot.count(bucket_id, start=start, end=end)


def _query_bucket_names(context: Context) -> list[str]:
    return list(context.snapshot.hostnames)


def _check_bucket(context: Context, bucket_id: str) -> None:
    if bucket_id not in context.snapshot.hostnames:
        raise QueryFunctionError(f"There's no bucket named '{shown(bucket_id)}'")


def _period(context: Context) -> tuple[int, int]:
    """Return the period: a query may have given STARTTIME and ENDTIME other values."""
    found = []
    for name in ("STARTTIME", "ENDTIME"):
        value = context.variables[name]
        try:
            if not isinstance(value, str):
                raise InvalidInputError(name, "is no text")  # noqa: TRY301
            found.append(timestamps.parse(value, field=name))
        except InvalidInputError:
            raise QueryFunctionError(
                "Unable to parse starttime/endtime for query_bucket"
            ) from None
    return found[0], found[1]


# -- events ------------------------------------------------------------------------


def _filter_keyvals_regex(
    context: Context, events: Events, key: str, pattern: str
) -> Events:
    matches = compiled(pattern, context.pool.budget).matches
    return grouping.filter_matching(events, key, matches)


def _limit_events(context: Context, events: Value, count: int) -> Value:
    if is_events(events):
        return events.take(slice(count))
    context.pool.budget.take_events(len(events))
    return events[:count]


def _concat(context: Context, events: Value, others: Value) -> Value:
    if is_events(events) or is_events(others):
        pool = context.pool
        return _events(pool, events).joined(_events(pool, others))
    context.pool.budget.take_events(len(events) + len(others))
    return checked(events + others, context.pool.budget)


def _flood(_: Context, events: Events, pulsetime: Value = PULSETIME_SECONDS) -> Events:
    if not isinstance(pulsetime, int | float):
        raise _wrong_count("flood")
    if not pulsetime <= PULSETIME_SECONDS_MAX:
        raise QueryFunctionError(
            f"flood takes a pulsetime of at most {PULSETIME_SECONDS_MAX} seconds"
        )
    return periods.flood(events, round(pulsetime * _SECOND_US))


def _merge_subwatcher_fields(
    _: Context,
    events: Events,
    others: Events,
    keys: list[Value],
    conflict: Value = "base_wins",
) -> Events:
    if conflict not in ("base_wins", "sub_wins"):
        raise QueryFunctionError(
            "conflict must be 'base_wins' or 'sub_wins', got"
            f" {shown(_inside(conflict))}"
        )
    return periods.merge_subwatcher_fields(
        events,
        others,
        [key for key in keys if isinstance(key, str)],
        others_win=conflict == "sub_wins",
    )


def _contains(_: Context, values: Value, value: Value) -> bool:
    if is_events(values):
        return False
    if isinstance(values, list | dict):
        return value in values if isinstance(values, list) else value in list(values)
    raise QueryFunctionError(
        f"contains takes a list or a dict, and '{shown(said(values))}' is neither"
    )


def _plain(function: Callable[..., Value], **options: Any) -> Callable[..., Value]:
    """Return a function that needs nothing of where the query runs."""

    def run(_: Context, *arguments: Value) -> Value:
        return function(*arguments, **options)

    return run


FUNCTIONS: Final[Mapping[str, Function]] = {
    "find_bucket": Function(_find_bucket, (TEXT,), (ANY,)),
    "query_bucket": Function(_query_bucket, (TEXT,)),
    "query_bucket_eventcount": Function(_query_bucket_eventcount, (TEXT,)),
    "query_bucket_names": Function(_query_bucket_names),
    "filter_keyvals": Function(
        _plain(grouping.filter_keyvals, exclude=False), (EVENTS, TEXT, VALUES)
    ),
    "exclude_keyvals": Function(
        _plain(grouping.filter_keyvals, exclude=True), (EVENTS, TEXT, VALUES)
    ),
    "filter_keyvals_regex": Function(_filter_keyvals_regex, (EVENTS, TEXT, TEXT)),
    "filter_period_intersect": Function(
        _plain(periods.filter_period_intersect), (EVENTS, EVENTS)
    ),
    "period_union": Function(_plain(periods.period_union), (EVENTS, EVENTS)),
    "limit_events": Function(_limit_events, (LIST, NUMBER)),
    "merge_events_by_keys": Function(
        _plain(grouping.merge_events_by_keys), (EVENTS, VALUES)
    ),
    "merge_subwatcher_fields": Function(
        _merge_subwatcher_fields, (EVENTS, EVENTS, VALUES), (ANY,)
    ),
    "chunk_events_by_key": Function(
        _plain(
            grouping.chunk_events_by_key, pulsetime_us=PULSETIME_SECONDS * _SECOND_US
        ),
        (EVENTS, TEXT),
    ),
    "sort_by_timestamp": Function(_plain(grouping.sort_by_timestamp), (EVENTS,)),
    "sort_by_duration": Function(_plain(grouping.sort_by_duration), (EVENTS,)),
    "sum_durations": Function(_plain(grouping.sum_durations), (EVENTS,)),
    "concat": Function(_concat, (LIST, LIST)),
    "union_no_overlap": Function(_plain(periods.union_no_overlap), (EVENTS, EVENTS)),
    "flood": Function(_flood, (EVENTS,), (ANY,)),
    "split_url_events": Function(_plain(labelling.split_url_events), (EVENTS,)),
    "simplify_window_titles": Function(
        _plain(labelling.simplify_window_titles), (EVENTS, TEXT)
    ),
    "categorize": Function(_plain(labelling.categorize), (EVENTS, VALUES)),
    "tag": Function(_plain(labelling.tag), (EVENTS, VALUES)),
    "contains": Function(_contains, (ANY, ANY)),
    "nop": Function(lambda _: 1),
    # It prints nothing: what a log holds, everybody with the log can read.
    "print": Function(lambda *_: None, more=True),
}
"""Every function by its name; docs/reference/query.md describes each."""
