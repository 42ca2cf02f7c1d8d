"""Functions that add to what events say: categories, tags, the parts of addresses."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlparse

from awvault.query.budget import Budget
from awvault.query.errors import QueryFunctionError
from awvault.query.patterns import Matcher, Pattern, compiled, foldable
from awvault.query.values import Data, Events, Seconds, Value

UNCATEGORIZED: Final = "Uncategorized"

LEVEL_RANK: Final = 10
"""What each level of a category counts; a rule's priority lies between levels."""

_WWW: Final = "www."
_COUNT_BEFORE: Final = re.compile(r"^\([0-9]+\)\s*")
_FRAMES: Final = re.compile(r"FPS:\s+[0-9.]+")
_UNSAVED_DOT: Final = re.compile(r"^(?:●|\*)\s*")


@dataclass(frozen=True, slots=True)
class Rule:
    """When an event belongs to a class."""

    name: Value
    pattern: Pattern | None
    """None: never."""
    keys: tuple[str, ...] | None
    """The keys whose values are looked at; None: all."""
    priority: int | None

    @property
    def rank(self) -> int:
        """What the class counts against others that match too."""
        if self.priority is not None:
            return self.priority
        return LEVEL_RANK * len(self.name)


class _Matching:
    """Which of some rules match, each distinct text being looked at once.

    The answer is a number in which each rule that matches has set its bit.
    """

    def __init__(self, rules: Sequence[Rule], budget: Budget) -> None:
        self._budget = budget
        groups: dict[tuple[str, ...] | None, list[tuple[Pattern, int]]] = {}
        for at, rule in enumerate(rules):
            if rule.pattern is not None:
                groups.setdefault(rule.keys, []).append((rule.pattern, 1 << at))
        self._groups = [
            (keys, _matching_texts(_distinct(patterns), budget))
            for keys, patterns in groups.items()
        ]

    def of(self, data: Data) -> int:
        """Return the rules that match data."""
        self._budget.check()
        found = 0
        for keys, texts in self._groups:
            for value in (
                data.values()
                if keys is None
                else [data[key] for key in keys if key in data]
            ):
                if isinstance(value, str):
                    found |= texts(value)
        return found


def _distinct(patterns: Sequence[tuple[Pattern, int]]) -> list[tuple[Pattern, int]]:
    """Return each pattern once, with the bits of all rules that have it."""
    bits: dict[int, tuple[Pattern, int]] = {}
    for pattern, bit in patterns:
        _, before = bits.get(id(pattern), (pattern, 0))
        bits[id(pattern)] = pattern, before | bit
    return list(bits.values())


def _matching_texts(
    patterns: Sequence[tuple[Pattern, int]], budget: Budget
) -> Callable[[str], int]:
    """Return what tells which patterns, each with its bit, are found in a text."""
    words = [(word, bit) for pattern, bit in patterns for word in pattern.words]
    in_any_case = [
        (word, bit) for pattern, bit in patterns for word in pattern.words_in_any_case
    ]
    others = [
        (pattern.matches, bit)
        for pattern, bit in patterns
        if not pattern.words and not pattern.words_in_any_case
    ]
    every = [(pattern.matches, bit) for pattern, bit in patterns if not pattern.words]
    known: dict[str, int] = {}

    def matching(text: str) -> int:
        found = known.get(text)
        if found is None:
            budget.check()
            found = _bits(words, text)
            if not in_any_case:
                found |= _matched(others, text)
            elif foldable(text):
                found |= _bits(in_any_case, text.lower()) | _matched(others, text)
            else:
                found |= _matched(every, text)
            known[text] = found
        return found

    return matching


def _bits(words: Sequence[tuple[str, int]], text: str) -> int:
    found = 0
    for word, bit in words:
        if word in text:
            found |= bit
    return found


def _matched(matchers: Sequence[tuple[Matcher, int]], text: str) -> int:
    found = 0
    for matches, bit in matchers:
        if matches(text):
            found |= bit
    return found


def categorize(events: Events, classes: Value) -> Events:
    """Give each event the category whose rule matches, the most special one.

    Of several, the one of the highest rank: ten for each level, or its rule's
    `priority`; of equal rank the last.
    """
    # A category without a level is none.
    rules = [rule for rule in _rules(classes, events.pool.budget) if rule.name]
    for rule in rules:
        if not isinstance(rule.name, list | str):
            raise QueryFunctionError("the name of a category must be a list of texts")
    rules.sort(key=lambda rule: rule.rank)
    matching = _Matching(rules, events.pool.budget).of
    names = [[UNCATEGORIZED], *(list(rule.name) for rule in rules)]

    def change(data: Data) -> Data:
        # The highest bit is the rule of the highest rank.
        return data | {"$category": names[matching(data).bit_length()]}

    return events.with_data(events.pool.mapped(events.data, change))


def tag(events: Events, classes: Value) -> Events:
    """Give each event the names of all classes whose rules match."""
    rules = _rules(classes, events.pool.budget)
    matching = _Matching(rules, events.pool.budget).of

    def change(data: Data) -> Data:
        found = matching(data)
        names = [rule.name for at, rule in enumerate(rules) if found >> at & 1]
        return data | {"$tags": names}

    return events.with_data(events.pool.mapped(events.data, change))


def _rules(classes: Value, budget: Budget) -> list[Rule]:
    found = []
    known: dict[tuple[str, bool], Pattern] = {}
    for item in classes:
        if not isinstance(item, list) or len(item) != 2:
            raise QueryFunctionError(
                "a class must be a list of two: its name, and its rule as a dict"
            )
        budget.check()  # to compile thousands of patterns takes seconds
        name, rule = item
        _check_name(name)
        if not isinstance(rule, dict):
            raise QueryFunctionError(
                'the rule of a class must be a dict, such as {"regex": "Firefox"}'
            )
        found.append(_rule(name, rule, known, budget))
    return found


def _check_name(name: Value) -> None:
    """Refuse events as a name: each event that matches would hold them all."""
    stack = [name]
    while stack:
        item = stack.pop()
        if isinstance(item, Events | Seconds):
            raise QueryFunctionError("the name of a class must be a text, or texts")
        if isinstance(item, list | dict):
            stack += item.values() if isinstance(item, dict) else item


def _rule(
    name: Value, rule: Data, known: dict[tuple[str, bool], Pattern], budget: Budget
) -> Rule:
    """Return a rule; `known` are the patterns that were compiled before."""
    priority = rule.get("priority", rule.get("weight"))
    given = "priority" in rule or "weight" in rule
    if given and (isinstance(priority, bool) or not isinstance(priority, int)):
        raise QueryFunctionError("priority/weight must be an integer")
    regex = rule.get("regex")
    if regex and not isinstance(regex, str):
        raise QueryFunctionError("the regex of a rule must be a text")
    keys = rule.get("select_keys") or None
    if keys is not None and not isinstance(keys, list):
        raise QueryFunctionError("the select_keys of a rule must be a list")
    ignore_case = bool(rule.get("ignore_case"))
    pattern = known.get((regex, ignore_case)) if regex else None
    if regex and pattern is None:
        pattern = compiled(regex, budget, ignore_case=ignore_case)
        known[regex, ignore_case] = pattern
    return Rule(
        name=name,
        pattern=pattern,
        keys=keys if keys is None else tuple(k for k in keys if isinstance(k, str)),
        priority=priority if given else None,
    )


def split_url_events(events: Events) -> Events:
    """Add the parts of each `url`."""
    return events.with_data(events.pool.mapped(events.data, _with_url_parts))


def _with_url_parts(data: Data) -> Data:
    url = data.get("url")
    if not isinstance(url, str):
        return data
    try:
        parts = urlparse(url)
    except ValueError:
        return data  # such as http://[ab: there are no parts to give
    domain = parts.netloc.removeprefix(_WWW) if parts.netloc else parts.scheme
    return data | {
        "$protocol": parts.scheme,
        "$domain": domain,
        "$path": parts.path,
        "$params": parts.params,
        "$options": parts.query,
        "$identifier": parts.fragment,
    }


def simplify_window_titles(events: Events, key: str) -> Events:
    """Take out of titles what changes while one does the same.

    A number in parentheses before it; and in titles of windows the frames per
    second, and the mark of a file that is not saved.
    """

    def change(data: Data) -> Data:
        title = data.get(key)
        if not isinstance(title, str):
            return data
        simple = _COUNT_BEFORE.sub("", title)
        if key == "title" and "app" in data:
            simple = _FRAMES.sub("FPS: ...", simple)
            simple = _UNSAVED_DOT.sub("", simple)
        return data if simple == title else data | {key: simple}

    return events.with_data(events.pool.mapped(events.data, change))
