"""Queries as the web interface sends them, and others that use every function."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

CLASSES: Final[list[list[Any]]] = [
    [["Work"], {"type": "regex", "regex": "Docs|libreoffice|code"}],
    [
        ["Work", "Programming"],
        {"type": "regex", "regex": r"GitHub|vim|\.py\b", "ignore_case": False},
    ],
    [
        ["Media", "Video"],
        {"type": "regex", "regex": "youtube|VLC", "ignore_case": True},
    ],
    [["Comms"], {"type": "regex", "regex": "^Slack$", "select_keys": ["app"]}],
    [["Odd"], {"type": "regex", "regex": "inbox", "priority": 25}],
    [["Nothing"], {"type": "none"}],
]

BROWSERS: Final[Mapping[str, Sequence[str]]] = {
    "firefox": ["Firefox", "firefox", "Firefox Beta"],
    "chrome": ["Google Chrome", "Chromium"],
}


def desktop_query(
    *,
    window: str = "aw-watcher-window_",
    afk: str = "aw-watcher-afk_",
    browsers: Mapping[str, str] | None = None,
    classes: Sequence[Any] = CLASSES,
    only: Sequence[Sequence[str]] = (),
    audible: bool = True,
) -> str:
    """Return what the page of one day asks: the active window, by title and class."""
    lines = [
        f'events = flood(query_bucket(find_bucket("{window}")));',
        f'not_afk = flood(query_bucket(find_bucket("{afk}")));',
        'not_afk = filter_keyvals(not_afk, "status", ["not-afk"]);',
        "browser_events = [];",
    ]
    for name, bucket in (browsers or {}).items():
        lines += [
            f'events_{name} = flood(query_bucket("{bucket}"));',
            f"names = {json.dumps(BROWSERS[name])};",
            f'window_{name} = filter_keyvals(events, "app", names);',
            f"events_{name} = filter_period_intersect(events_{name}, window_{name});",
            f"events_{name} = split_url_events(events_{name});",
            f"browser_events = concat(browser_events, events_{name});",
            "browser_events = sort_by_timestamp(browser_events);",
        ]
    if browsers and audible:
        lines += [
            'audible_events = filter_keyvals(browser_events, "audible", [true]);',
            "not_afk = period_union(not_afk, audible_events);",
        ]
    lines.append("events = filter_period_intersect(events, not_afk);")
    # As JavaScript writes them, but for the backslashes, which are written once.
    written = json.dumps(list(classes)).replace("\\\\", "\\")
    lines.append(f"events = categorize(events, {written});")
    if only:
        lines.append(
            f'events = filter_keyvals(events, "$category", {json.dumps(only)});'
        )
    lines += [
        'title_events = merge_events_by_keys(events, ["app", "title"]);',
        "title_events = sort_by_duration(title_events);",
        'app_events = sort_by_duration(merge_events_by_keys(title_events, ["app"]));',
        'cat_events = sort_by_duration(merge_events_by_keys(events, ["$category"]));',
        "app_events = limit_events(app_events, 100);",
        "title_events = limit_events(title_events, 100);",
        "duration = sum_durations(events);",
        "browser_events = split_url_events(browser_events);",
        'browser_urls = merge_events_by_keys(browser_events, ["url"]);',
        "browser_urls = limit_events(sort_by_duration(browser_urls), 100);",
        'browser_domains = merge_events_by_keys(browser_events, ["$domain"]);',
        "browser_domains = limit_events(sort_by_duration(browser_domains), 100);",
        "browser_duration = sum_durations(browser_events);",
        (
            'RETURN = {"events": events, "window": {"app_events": app_events,'
            ' "title_events": title_events, "cat_events": cat_events,'
            ' "active_events": not_afk, "duration": duration},'
            ' "browser": {"domains": browser_domains, "urls": browser_urls,'
            ' "duration": browser_duration}};'
        ),
    ]
    return "\n".join(lines)


SLOW_PATTERN: Final = "^(a|aa)+$"
SLOW_TEXT: Final = "a" * 60 + "b"
"""A text for which `SLOW_PATTERN` has more ways to fail than there is time."""

PREPARED: Final = """
w = query_bucket("w"); a = query_bucket("a"); b = query_bucket("b");
ws = sort_by_timestamp(w); as = sort_by_timestamp(a);
fw = flood(w); fa = flood(a); fb = flood(b);
titled = filter_keyvals_regex(w, "title", ".");
apps = filter_keyvals(ws, "app", ["code", "Firefox"]);
"""

EVERYTHING: Final[Mapping[str, str]] = {
    "query_bucket": "w",
    "flood": "fw",
    "flood none": "flood(w, 0)",
    "flood much": "flood(w, 120)",
    "flood twice": "flood(fw)",
    "intersect": "filter_period_intersect(w, a)",
    "intersect flooded": "filter_period_intersect(fw, fa)",
    "intersect mixed": "filter_period_intersect(fw, a)",
    "intersect other": "filter_period_intersect(w, fa)",
    "period_union": "period_union(w, a)",
    "period_union flooded": "period_union(fw, fa)",
    "union": "union_no_overlap(ws, as)",
    "union unsorted": "union_no_overlap(w, a)",
    "union flooded": "union_no_overlap(fw, fa)",
    "merge two": 'merge_events_by_keys(w, ["app", "title"])',
    "merge numbers": 'merge_events_by_keys(w, ["n"])',
    "merge none": "merge_events_by_keys(w, [])",
    "sort_by_duration": "sort_by_duration(w)",
    "chunk newest": 'chunk_events_by_key(w, "app")',
    "chunk": 'chunk_events_by_key(apps, "app")',
    "subwatcher": 'merge_subwatcher_fields(w, b, ["url", "title"])',
    "subwatcher wins": 'merge_subwatcher_fields(w, b, ["url", "title"], "sub_wins")',
    "subwatcher flooded": 'merge_subwatcher_fields(fw, fb, ["url"])',
    "sums": "[sum_durations(w), sum_durations(fw), query_bucket_eventcount(NAMED)]",
    "split_url": "split_url_events(b)",
    "limit": "limit_events(w, 3)",
    "simplify": 'simplify_window_titles(titled, "title")',
    "simplify other": 'simplify_window_titles(apps, "app")',
    "categorize": f"categorize(w, {json.dumps(CLASSES[:1] + CLASSES[2:])})",
    "tag": 'tag(w, [["Work", {"regex": "GitHub|code"}], ["b", {"regex": "You.ube"}]])',
    "exclude": 'exclude_keyvals(w, "n", [1, "x"])',
    "filter": 'filter_keyvals(w, "app", ["Firefox", "x"])',
    "regex": 'filter_keyvals_regex(titled, "title", "^a|x$")',
    "concat": "concat(w, a)",
    "values": '[NAME, STARTTIME, ENDTIME, true, False, "x", 12, {}, {"k": [1]}, nop()]',
}
"""Expressions over the variables of `PREPARED`, by what they show."""


def everything_query() -> str:
    """Return one query that uses every function, each by itself."""
    lines = [PREPARED]
    results = {}
    for at, (name, expression) in enumerate(EVERYTHING.items()):
        variable = f"r{'_' * at}"
        lines.append(f"{variable} = {expression.replace('NAMED', json.dumps('w'))};")
        results[name] = variable
    pairs = ", ".join(f"{json.dumps(name)}: {v}" for name, v in results.items())
    return "\n".join([*lines, f"RETURN = {{{pairs}}};"])
