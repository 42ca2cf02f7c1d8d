"""Functions that add to what events say: categories, tags, the parts of addresses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlparse

from awvault.query.budget import Budget
from awvault.query.errors import QueryFunctionError
from awvault.query.patterns import Matcher, matcher
from awvault.query.values import Data, Events, Value

UNCATEGORIZED: Final = "Uncategorized"

LEVEL_RANK: Final = 10
"""What each level of a category counts; a rule's priority lies between levels."""

_WWW: Final = "www."
_COUNT_BEFORE: Final = re.compile(r"^\([0-9]+\)\s*")
_FRAMES: Final = re.compile(r"FPS:\s+[0-9.]+")
_UNSAVED_DOT: Final = re.compile(r"^(?:●|\*)\s*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rule:
    """When an event belongs to a class."""

    matches: Matcher | None
    """None: never."""
    keys: Sequence[Value]
    """The keys whose values are looked at; empty: all."""
    priority: int | None
    known: dict[str, bool]
    """What was found out about each text."""

    def holds(self, data: Data) -> bool:
        """Say whether a text of the data matches."""
        matches = self.matches
        if matches is None:
            return False
        known = self.known
        values = (
            [data[key] for key in self.keys if isinstance(key, str) and key in data]
            if self.keys
            else data.values()
        )
        for value in values:
            if isinstance(value, str):
                found = known.get(value)
                if found is None:
                    found = known[value] = matches(value)
                if found:
                    return True
        return False


def categorize(events: Events, classes: Value) -> Events:
    """Give each event the category whose rule matches, the most special one.

    Of several, the one of the highest rank: ten for each level, or its rule's
    `priority`; of equal rank the last.
    """
    rules = [
        (category, rule.priority if rule.priority is not None else rank, rule)
        for category, rule in _rules(classes, events.pool.budget)
        if (rank := LEVEL_RANK * _levels(category))
    ]

    def change(data: Data) -> Data:
        found: Value = [UNCATEGORIZED]
        highest: int | None = None
        for category, rank, rule in rules:
            if (highest is None or rank >= highest) and rule.holds(data):
                found, highest = category, rank
        return data | {"$category": found}

    return events.with_data(events.pool.mapped(events.data, change))


def tag(events: Events, classes: Value) -> Events:
    """Give each event the names of all classes whose rules match."""
    rules = _rules(classes, events.pool.budget)

    def change(data: Data) -> Data:
        return data | {"$tags": [name for name, rule in rules if rule.holds(data)]}

    return events.with_data(events.pool.mapped(events.data, change))


def _levels(category: Value) -> int:
    return len(category) if isinstance(category, list | str) else 0


def _rules(classes: Value, budget: Budget) -> list[tuple[Value, Rule]]:
    found = []
    for item in classes:
        if not isinstance(item, list) or len(item) != 2:
            raise QueryFunctionError(
                "a class must be a list of two: its name, and its rule as a dict"
            )
        name, rule = item
        if not isinstance(rule, dict):
            raise QueryFunctionError(
                'the rule of a class must be a dict, such as {"regex": "Firefox"}'
            )
        found.append((name, _rule(rule, budget)))
    return found


def _rule(rule: Data, budget: Budget) -> Rule:
    priority = rule.get("priority", rule.get("weight"))
    given = "priority" in rule or "weight" in rule
    if given and (isinstance(priority, bool) or not isinstance(priority, int)):
        raise QueryFunctionError("priority/weight must be an integer")
    pattern = rule.get("regex")
    if pattern and not isinstance(pattern, str):
        raise QueryFunctionError("the regex of a rule must be a text")
    keys = rule.get("select_keys") or []
    if not isinstance(keys, list):
        raise QueryFunctionError("the select_keys of a rule must be a list")
    return Rule(
        matches=(
            matcher(pattern, budget, ignore_case=bool(rule.get("ignore_case")))
            if pattern
            else None
        ),
        keys=keys,
        priority=priority if given else None,
        known={},
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
