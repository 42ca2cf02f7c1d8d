"""What functions do that no other server shows: limits, refusals, odd data."""

import time
from pathlib import Path
from typing import Any

import pytest

from awvault.columns.timestamps import DURATION_US_MAX
from awvault.query import (
    Budget,
    QueryError,
    QueryFunctionError,
    QueryInterpretError,
    functions,
    patterns,
)
from awvault.query.interpreting import interpret
from awvault.query.parsing import parse_program
from awvault.query.patterns import compiled
from awvault.query.values import Pool
from tests.helpers.query_oracle import Bucket, History, Row, ours
from tests.helpers.query_texts import SLOW_PATTERN, SLOW_TEXT

START = History().start


def rows(*data: dict[str, Any]) -> list[Row]:
    """Return an event of a second for each data, a minute apart."""
    return [(START + at * 60_000_000, 1_000_000, d) for at, d in enumerate(data)]


def history(*data: dict[str, Any]) -> History:
    return History([Bucket("w", rows(*data))])


def data_of(query: str, *data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the data of the result's events, the oldest first."""
    text = f'w = sort_by_timestamp(query_bucket("w")); RETURN = {query};'
    return [event["data"] for event in ours(text, history(*data))]


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        ('query_bucket("x")', "Function", "There's no bucket named 'x'"),
        ('query_bucket_eventcount("x")', "Function", "There's no bucket named 'x'"),
        (
            'find_bucket("x")',
            "Function",
            "Unable to find bucket matching 'x' (hostname filter set to 'None')",
        ),
        (
            'find_bucket("w", "moon")',
            "Function",
            "Unable to find bucket matching 'w' (hostname filter set to 'moon')",
        ),
        (
            "query_bucket(1)",
            "Function",
            (
                "Variable '1' passed to function call is of invalid type."
                " Expected <class 'str'> but was <class 'int'>"
            ),
        ),
        (
            'limit_events(w, "a")',
            "Function",
            (
                "Variable 'a' passed to function call is of invalid type."
                " Expected <class 'int'> but was <class 'str'>"
            ),
        ),
        (
            "concat(sum_durations(w), [])",
            "Function",
            (
                "Variable '0:00:01' passed to function call is of invalid type."
                " Expected <class 'list'> but was <class 'datetime.timedelta'>"
            ),
        ),
        (
            "limit_events(w, w)",
            "Function",
            (
                "Variable '[1 events]' passed to function call is of invalid type."
                " Expected <class 'int'> but was <class 'list'>"
            ),
        ),
        (
            "flood(1, 2, 3)",
            "Function",
            "Variable '1' passed to function call is of invalid type.",
        ),
        (
            "flood(w, 2, 3)",
            "Interpret",
            "Tried to call function flood with invalid amount of arguments",
        ),
        (
            "limit_events(w)",
            "Interpret",
            "Tried to call function limit_events with invalid amount of arguments",
        ),
        (
            'flood(w, "a")',
            "Interpret",
            "Tried to call function flood with invalid amount of arguments",
        ),
        ("flood(w, 99999999999)", "Function", "flood takes a pulsetime of at most"),
        ("flood([1])", "Function", "Variable '[1]' passed to function call is a list"),
        (
            "categorize(w, w)",
            "Function",
            "Variable '[1 events]' passed to function call is a list of events",
        ),
        ("concat(w, [1])", "Function", "Variable '[1]' passed to function call is a"),
        ("contains(1, 1)", "Function", "contains takes a list or a dict, and '1' is"),
        (
            'merge_subwatcher_fields(w, w, ["a"], "both")',
            "Function",
            "conflict must be 'base_wins' or 'sub_wins', got 'both'",
        ),
        ("categorize(w, [1])", "Function", "a class must be a list of two"),
        ("categorize(w, [[1, 1]])", "Function", "the rule of a class must be a dict"),
        (
            'categorize(w, [["a", {"regex": 1}]])',
            "Function",
            "the regex of a rule must be a text",
        ),
        (
            'categorize(w, [["a", {"regex": "a", "priority": true}]])',
            "Function",
            "priority/weight must be an integer",
        ),
        (
            'tag(w, [["a", {"regex": "a", "select_keys": "b"}]])',
            "Function",
            "the select_keys of a rule must be a list",
        ),
        ('filter_keyvals_regex(w, "a", "(")', "Function", "the regex '(' is not valid"),
        (
            'filter_keyvals_regex(w, "a", "((a{1000}){1000}){1000}")',
            "Function",
            "the regex '((a{1000}){1000}){1000}' is not valid: it repeats too much",
        ),
        (
            f'filter_keyvals_regex(w, "a", "{"(" * 2000}{")" * 2000}")',
            "Function",
            "the regex '(((((",
        ),
        (
            f'filter_keyvals_regex(w, "a", "{"a" * 10_001}")',
            "Function",
            "a regex has 10001 characters",
        ),
    ],
)
def test_a_function_says_what_it_cannot_take(
    query: str, kind: str, message: str
) -> None:
    """A wrong argument is refused with the kind and a sentence that names it."""
    with pytest.raises(QueryError) as caught:
        ours(f'w = query_bucket("w"); RETURN = {query};', history({"a": "x"}))

    assert caught.value.kind == f"Query{kind}Exception"
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("query", "result"),
    [
        ('find_bucket("window")', "window-home"),
        ('find_bucket("window", "work")', "window-work"),
        ('find_bucket("w", "")', "window-home"),
        ("query_bucket_names()", ["window-home", "window-work"]),
        ('query_bucket_eventcount("window-work")', 1),
        ("contains([1, 2], 2)", True),
        ('contains({"a": 1}, "b")', False),
        ('contains(query_bucket("window-work"), 1)', False),
        ('limit_events(query_bucket("window-home"), 5)', []),
        ("concat([1], [[2]])", [1, [2]]),
        ("sum_durations([])", 0.0),
    ],
)
def test_functions_of_buckets_and_lists(query: str, result: Any) -> None:
    """Buckets are found by a part of their id and by host; lists are plain values."""
    buckets = [
        Bucket("window-home", [], hostname="home"),
        Bucket("window-work", rows({}), hostname="work"),
    ]
    assert ours(f"RETURN = {query};", History(buckets)) == result


def test_a_query_may_choose_its_own_period() -> None:
    """Whoever assigns STARTTIME and ENDTIME reads that period."""
    text = (
        'STARTTIME = "2023-11-14T22:14:20Z"; ENDTIME = "2023-11-14T22:14:20.5Z";'
        ' RETURN = query_bucket("w");'
    )

    (event,) = ours(text, history({"n": 1}, {"n": 2}, {"n": 3}))

    assert event == {
        "data": {"n": 2},
        "duration": 0.5,
        "id": 2,
        "timestamp": "2023-11-14T22:14:20+00:00",
    }


@pytest.mark.parametrize("value", ["1", '"soon"'])
def test_a_period_that_is_none_is_refused(value: str) -> None:
    """STARTTIME must be a time."""
    with pytest.raises(QueryFunctionError, match="Unable to parse starttime/endtime"):
        ours(f'STARTTIME = {value}; RETURN = query_bucket("w");', history())


def test_functions_change_no_argument() -> None:
    """A variable holds what it was given, whatever is made of it afterwards."""
    text = """
    w = query_bucket("w"); x = categorize(w, [[["C"], {"regex": "a"}]]);
    y = period_union(w, w); z = split_url_events(w); RETURN = w;
    """

    (event,) = ours(text, history({"url": "https://a.example/"}))

    assert event["data"] == {"url": "https://a.example/"}


@pytest.mark.parametrize(
    ("query", "data", "result"),
    [
        ("split_url_events(w)", {"url": 5}, {"url": 5}),
        ("split_url_events(w)", {"url": "http://[a"}, {"url": "http://[a"}),
        ('simplify_window_titles(w, "title")', {"title": 5}, {"title": 5}),
        ('simplify_window_titles(w, "title")', {"app": "a"}, {"app": "a"}),
        ('merge_events_by_keys(w, ["k"])', {"k": {"a": [1]}}, {"k": {"a": [1]}}),
        ('merge_events_by_keys(w, ["k", [1]])', {"k": [[1]]}, {"k": [[1]]}),
        ('chunk_events_by_key(w, "other")', {"k": 1}, None),
        ('filter_keyvals_regex(w, "k", "5")', {"k": 5}, None),
    ],
)
def test_odd_data_is_no_error(
    query: str, data: dict[str, Any], result: dict[str, Any] | None
) -> None:
    """What a function does not expect of data is passed over, and stays as it is."""
    assert data_of(query, data) == ([] if result is None else [result])


def test_chunks_of_chunks_show_their_events() -> None:
    """Events inside of data are written as events, at any depth."""
    text = """
    w = query_bucket("w"); c = chunk_events_by_key(w, "k");
    c = chunk_events_by_key(c, "k"); m = merge_events_by_keys(c, ["subevents"]);
    RETURN = [c, m, filter_keyvals(c, "subevents", [w])];
    """

    chunks, merged, none = ours(text, history({"k": 1}))

    (outer,) = chunks
    (inner,) = outer["data"]["subevents"]
    (event,) = inner["data"]["subevents"]
    assert event["data"] == {"k": 1}
    assert merged[0]["data"] == {"subevents": [inner]}
    assert none == []


def test_sums_beyond_all_years_are_refused() -> None:
    """A sum of durations that no time could be is an error, not a wrong number."""
    long: Row = (History().start, DURATION_US_MAX // 3, {})
    past = History(
        [Bucket("w", [long] * 4)], end=History().start + DURATION_US_MAX // 2
    )

    for query in (
        "sum_durations(w)",
        'merge_events_by_keys(w, ["a"])',
        "merge_events_by_keys(concat(w, []), [1])",
    ):
        with pytest.raises(QueryFunctionError, match="the durations add up to more"):
            ours(f'w = query_bucket("w"); RETURN = {query};', past)


def test_long_sums_are_exact() -> None:
    """Beyond what a float holds exactly, sums are still right."""
    long: Row = (History().start, 2**53 + 1, {})
    past = History([Bucket("w", [long] * 3)], end=History().start + 2**54)

    (merged,) = ours('RETURN = merge_events_by_keys(query_bucket("w"), ["a"]);', past)

    assert merged["duration"] == 3 * (2**53 + 1) / 1e6


# -- limits ----------------------------------------------------------------------


def run(text: str, past: History, budget: Budget) -> None:
    interpret(
        parse_program(text),
        past.period(),
        name="",
        snapshot=past.snapshot(),
        pool=Pool(budget),
    )


def test_a_query_ends_when_its_time_is_over() -> None:
    """The limit of seconds counts from the start."""
    with pytest.raises(QueryInterpretError, match="takes longer than 0 seconds"):
        run("RETURN = 1;", History(), Budget(seconds_max=0))


def test_the_time_is_kept_where_many_events_overlap() -> None:
    """Also while one event is cut by thousands of others."""
    count = 2_000
    start = History().start
    past = History(
        [
            Bucket("w", [(start, 10 * count, {})]),
            Bucket("s", [(start + n, 9 * count, {"a": n}) for n in range(count)]),
        ]
    )
    text = (
        'w = query_bucket("w"); s = query_bucket("s");'
        'RETURN = merge_subwatcher_fields(w, s, ["a"]);'
    )
    began = time.monotonic()
    with pytest.raises(QueryInterpretError, match=r"takes longer than 0\.2 seconds"):
        run(text, past, Budget(seconds_max=0.2))
    assert time.monotonic() - began < 2


def test_rules_may_share_a_long_pattern() -> None:
    """It is compiled once, and looked for once in each text."""
    pattern = "|".join(f"w{n}" for n in range(1_700))
    rules = ",".join(f'["{n}", {{"regex": p}}]' for n in range(2_000))
    text = f'p = "{pattern}"; RETURN = tag(query_bucket("w"), [{rules}]);'
    began = time.monotonic()
    (event,) = ours(text, history({"a": "w7"}))
    assert len(event["data"]["$tags"]) == 2_000
    assert time.monotonic() - began < 2


def test_words_of_patterns_are_so_many() -> None:
    """They count as data of the query."""
    text = (
        f"""RETURN = tag(query_bucket("w"), [["x", {{"regex": "{"a|" * 2_000}"}}]]);"""
    )
    with pytest.raises(QueryInterpretError, match="more than 100000 bytes of data"):
        run(text, history({}), Budget(data_bytes_max=100_000))


@pytest.mark.parametrize("name", ["w", "[w]", '{"a": [w]}', "sum_durations(w)"])
@pytest.mark.parametrize("function", ["tag", "categorize"])
def test_the_name_of_a_class_is_no_list_of_events(name: str, function: str) -> None:
    """Each event that matches would hold them, and again each that holds those."""
    text = f'RETURN = {function}(w, [[{name}, {{"regex": "x"}}]]);'
    with pytest.raises(QueryFunctionError, match="the name of a class must be a text"):
        ours('w = query_bucket("w");' + text, history({"a": "x"}))


def test_a_query_that_nobody_waits_for_ends() -> None:
    """After `cancel`, and when whoever asked is gone."""
    cancelled = Budget()
    cancelled.cancel()
    for budget in (cancelled, Budget(wanted=lambda: False)):
        with pytest.raises(QueryInterpretError, match="the query was given up"):
            run("RETURN = 1;", History(), budget)


def test_a_query_makes_so_many_events() -> None:
    """Doubling a list again and again meets the limit of events."""
    text = 'w = query_bucket("w");' + "w = concat(w, w);" * 20 + "RETURN = 1;"
    with pytest.raises(QueryInterpretError, match="more than 1000 events in all"):
        run(text, history({}), Budget(events_max=1_000))


def test_a_query_reads_so_much_data() -> None:
    """Distinct data counts by its bytes."""
    past = history({"a": "x" * 100})
    with pytest.raises(QueryInterpretError, match="more than 100 bytes of data"):
        run('query_bucket("w");', past, Budget(data_bytes_max=100))


def test_a_query_makes_so_much_data() -> None:
    """What functions make of data counts too."""
    text = 'w = query_bucket("w");' + "w = tag(w, []);" * 9 + "RETURN = 1;"
    with pytest.raises(QueryInterpretError, match="makes more than 1000 bytes of data"):
        run(text, history({}), Budget(data_bytes_max=1_000))


def test_a_query_compiles_so_much() -> None:
    """Patterns with repeats count as data, by what they weigh."""
    rules = ",".join(f'["{n}", {{"regex": "(?:a{n}){{100}}"}}]' for n in range(10))
    text = f'RETURN = tag(query_bucket("w"), [{rules}]);'
    with pytest.raises(QueryInterpretError, match="more than 500000 bytes of data"):
        run(text, history({}), Budget(data_bytes_max=500_000))


@pytest.mark.parametrize(
    "text",
    [
        "a = [];" + "a = [a];" * 200 + "RETURN = 1;",
        "a = [1];" + "a = [a, a];" * 40 + "RETURN = 1;",
        'a = [1]; a = {"x": a, "y": a};' + 'a = {"x": a, "y": a};' * 40 + "RETURN = 1;",
        "a = [1];" + "a = concat([a], [a]);" * 40 + "RETURN = 1;",
        "a = [1];" + "a = concat(a, a);" * 40 + "RETURN = 1;",
        'c = query_bucket("w");'
        + 'c = concat(c, c); c = chunk_events_by_key(c, "a");' * 40
        + "RETURN = 1;",
    ],
    ids=["deep", "wide", "dicts", "lists", "long", "chunks"],
)
def test_lists_do_not_grow_beyond_all_bounds(text: str) -> None:
    """A few statements could make what nobody can go through: they are stopped."""
    with pytest.raises(
        QueryInterpretError, match=r"a list or dict holds|makes lists of"
    ):
        ours(text, history({"a": 1}))


# -- patterns --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "ignore_case", "text", "found"),
    [
        ("Fire|Chrome", False, "Firefox", True),
        ("Fire|Chrome", False, "firefox", False),
        ("fire|chrome", True, "FireFox", True),
        ("fire|chrome", True, "Ünïcode FireFox", True),
        (r"a\|b", False, "a|b", True),
        (r"a\|b", False, "b", False),
        (r"a\\|b", False, "xb", True),
        (r"\.py", False, "x.py", True),
        (r"\.py", False, "xpy", False),
        ("a|", False, "z", True),
        ("k", True, "\u212a", True),
        ("ß", True, "ß", True),
        ("É", True, "é", True),
        (r"\bmail\b", True, "My Mail", True),
        ("^x$", False, "xx", False),
        ("C++", False, "CC", True),
        ("x{2}", False, "xx", True),
    ],
)
def test_a_pattern_is_found(
    pattern: str, ignore_case: bool, text: str, found: bool
) -> None:
    """Plain words and expressions match as Python's expressions do."""
    assert compiled(pattern, Budget(), ignore_case=ignore_case).matches(text) is found


def test_a_pattern_that_takes_too_long_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pattern with too many ways to match is an error that says so."""
    monkeypatch.setattr(patterns, "MATCH_SECONDS_MAX", 0.05)
    text = f'RETURN = filter_keyvals_regex(query_bucket("w"), "t", "{SLOW_PATTERN}");'
    with pytest.raises(QueryFunctionError, match=r"takes longer than 0.05 seconds"):
        ours(text, history({"t": SLOW_TEXT}))


@pytest.mark.parametrize("ignore_case", [False, True])
def test_the_clock_is_looked_at_between_texts(ignore_case: bool) -> None:
    """Also where a pattern is of words alone, if they are many."""
    budget = Budget()
    pattern = compiled("a|" * 100 + "b", budget, ignore_case=ignore_case)
    assert pattern.matches("b")
    budget.cancel()
    with pytest.raises(QueryInterpretError, match="the query was given up"):
        pattern.matches("b")


def test_every_function_is_described() -> None:
    """The page of the query language has a row for each function."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "query.md"
    described = page.read_text(encoding="utf-8")

    for name in functions.FUNCTIONS:
        assert f"`{name}(" in described, name
