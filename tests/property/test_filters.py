"""Rules against a reading of the same rules that is as plain as can be."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awvault import filters
from awvault.columns import jsontext
from awvault.errors import InvalidInputError
from awvault.filters import (
    REPLACEMENT,
    Place,
    Rule,
    RuleSet,
    convert_rules,
    parse_rules,
    render_rule,
)

# Few words, so that rules meet events.
WORDS = ("a", "bank", "Bank X", "x.y", "title", "TRUE")
words = st.sampled_from(WORDS)
fields = st.sampled_from(["title", "url", "app", "tab.title", "incognito"])
scalars = words | st.booleans() | st.none() | st.integers(0, 3)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["title", "b"]), inner, max_size=2)
    ),
    max_leaves=4,
)
datas = st.dictionaries(
    st.sampled_from(["title", "url", "app", "tab", "tab.title", "incognito"]),
    values,
    max_size=4,
)
places = st.builds(
    Place,
    bucket_id=st.sampled_from(["w", "w-synced-from-z", "web"]),
    name=st.sampled_from(["w", "web"]),
    type=st.sampled_from(["t", "web.tab.current"]),
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """Return a rule that is allowed."""
    rule: dict[str, Any] = {"action": draw(st.sampled_from(["drop", "redact"]))}
    if draw(st.booleans()):
        rule["enabled"] = draw(st.booleans())
    looks = draw(st.booleans())
    if looks:
        # Patterns without special characters mean what they say, but for capitals.
        kind = draw(st.sampled_from(["pattern", "text"]))
        rule[kind] = draw(st.sampled_from(["a", "bank", "BANK", "true", "1"]))
        if draw(st.booleans()):
            rule["field"] = draw(fields)
    for name, known in (
        ("bucket", ["w", "web"]),
        ("bucket_prefix", ["w", "we", "w-s"]),
        ("bucket_type", ["t"]),
        ("incognito", [True]),
        ("replacement", ["-"]),
    ):
        if draw(st.integers(0, 3)) == 0:
            rule[name] = draw(st.sampled_from(known))
    if draw(st.integers(0, 3)) == 0:
        rule["redact"] = draw(st.lists(fields, min_size=1, max_size=2))
    if not looks and not rule.keys() & {"bucket", "bucket_prefix", "bucket_type"}:
        rule["incognito"] = True
    if not looks and not rule.get("incognito"):
        rule.setdefault("redact", ["title"])
    return rule


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in leaves(item)]
    if isinstance(value, list):
        return [text for item in value for text in leaves(item)]
    return [value if isinstance(value, str) else json.dumps(value)]


def addresses(data: Any, field: str) -> list[tuple[Any, str]]:
    """Return (object, key) of everything a field can mean."""
    found = [(data, field)] if field in data else []
    parts = field.split(".")
    for cut in range(1, len(parts)):
        inner = data.get(".".join(parts[:cut]))
        for item in inner if isinstance(inner, list) else [inner]:
            if isinstance(item, dict):
                found += addresses(item, ".".join(parts[cut:]))
    return found


def expected(
    given_rules: list[dict[str, Any]], place: Place, data: dict[str, Any]
) -> dict[str, Any] | None:
    """Return what is kept of `data`; None: nothing."""
    where = []
    for rule in given_rules:
        names = {place.bucket_id, place.name}
        holds = rule.get("enabled", True)
        holds &= rule.get("bucket") in {None, *names}
        prefix = rule.get("bucket_prefix", "")
        holds &= any(name.startswith(prefix) for name in names)
        holds &= rule.get("bucket_type", place.type) == place.type
        if rule.get("incognito"):
            private = data.get("incognito")
            holds &= private is True or (
                isinstance(private, str) and private.lower() == "true"
            )
        if not holds:
            continue
        wanted = rule.get("pattern", rule.get("text"))
        spots = [
            (holder, key)
            for field in ([rule["field"]] if "field" in rule else list(data))
            for holder, key in (
                addresses(data, field) if "field" in rule else [(data, field)]
            )
            if wanted is not None
            and any(
                wanted in text if "pattern" in rule else wanted.lower() in text.lower()
                for text in leaves(holder[key])
            )
        ]
        if wanted is not None and not spots:
            continue
        if rule["action"] == "drop":
            return None
        where.append((rule, wanted, spots))
    for rule, wanted, spots in where:
        names_of = rule.get("redact", ["title", "url"] if wanted is None else None)
        for holder, key in (
            spots
            if names_of is None
            else [spot for field in names_of for spot in addresses(data, field)]
        ):
            holder[key] = rule.get("replacement", REPLACEMENT)
    return data


@given(st.lists(rules(), max_size=3), places, datas)
def test_rules_do_what_they_say(
    given_rules: list[dict[str, Any]], place: Place, data: dict[str, Any]
) -> None:
    """Also the second time, when the outcome is remembered."""
    rule_set = RuleSet(convert_rules(given_rules))
    text = json.dumps(data).encode()
    want = expected(given_rules, place, json.loads(text))

    for _ in range(2):
        outcome = rule_set.at(place).apply(text)

        if want is None:
            assert outcome.text is None
            assert outcome.hits
        else:
            assert outcome.text is not None
            assert jsontext.decode(outcome.text) == want
            assert outcome.hits or want == data


@given(st.lists(rules(), max_size=3))
def test_a_rule_is_read_back_as_it_was_written(given_rules: list[Any]) -> None:
    parsed = parse_rules(json.dumps(given_rules).encode())

    again = b"[%b]" % b",".join(map(render_rule, parsed))

    assert parse_rules(again) == parsed == convert_rules(given_rules)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted(Rule.__struct_fields__)) | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=50)
@given(anything | st.lists(anything, max_size=3))
def test_what_is_no_rule_is_refused_and_nothing_else_is_raised(value: Any) -> None:
    text = json.dumps(value).encode()
    with contextlib.suppress(InvalidInputError):
        convert_rules(value)
    with contextlib.suppress(InvalidInputError):
        parse_rules(text)


@given(st.text(alphabet="()[]{}*+?|\\^$.,:<>=!P&d1a-i", max_size=14))
def test_any_pattern_is_taken_or_refused(pattern: str) -> None:
    """And one that is taken can be used."""
    try:
        parsed = convert_rules([{"action": "drop", "pattern": pattern}])
    except InvalidInputError:
        return
    RuleSet(parsed).at(Place("b", "b", "t")).apply(b'{"title":"aa1-"}')


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ({"tab.title": "x"}, {"tab.title": "-"}),
        ({"tab": {"title": "x", "url": "x"}}, {"tab": {"title": "-", "url": "x"}}),
        (
            {"tab": [{"title": "x"}, {"title": "y"}, 1]},
            {"tab": [{"title": "-"}, {"title": "y"}, 1]},
        ),
        ({"tab": {"title": ["y", {"a": "x"}]}}, {"tab": {"title": "-"}}),
        ({"title": "x", "tab": "x"}, {"title": "x", "tab": "x"}),
    ],
)
def test_what_a_field_can_mean(data: dict[str, Any], kept: dict[str, Any]) -> None:
    """In every form that a watcher could give it."""
    rule = {"action": "redact", "field": "tab.title", "text": "x", "replacement": "-"}
    place = Place("b", "b", "t")

    outcome = RuleSet(convert_rules([rule])).at(place).apply(json.dumps(data).encode())

    assert outcome.text is not None
    assert jsontext.decode(outcome.text) == kept


def test_a_pattern_that_took_too_long_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine may have been busy: it is not remembered."""
    rule = {"action": "drop", "field": "title", "pattern": "^(a|aa|a?)+$"}
    rules = RuleSet(convert_rules([rule])).at(Place("b", "b", "t"))
    text = json.dumps({"title": "a" * 60 + "!"}).encode()
    monkeypatch.setattr(filters, "PATTERN_SECONDS_MAX", 0.01)
    assert rules.apply(text).timeouts == (0,)
    kept = json.dumps({"title": "b"}).encode()

    assert rules.apply(kept) is rules.apply(kept)
    assert rules.apply(text) is not rules.apply(text)


SLOW = {"pattern": "^(a|aa|a?)+$"}
SLOW_TEXT = "a" * 60 + "!"


def test_a_pattern_that_took_too_long_counts_as_found_in_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a rule costs its time once for an event, and not for each value."""
    monkeypatch.setattr(filters, "PATTERN_SECONDS_MAX", 0.02)
    rules = RuleSet(convert_rules([SLOW | {"action": "redact"}]))
    data = {"a": "b", "slow": SLOW_TEXT, "more": [SLOW_TEXT], "z": "b"}

    outcome = rules.at(Place("b", "b", "t")).apply(json.dumps(data).encode())

    assert outcome.text is not None
    assert jsontext.decode(outcome.text) == {
        "a": "b",
        "slow": REPLACEMENT,
        "more": REPLACEMENT,
        "z": REPLACEMENT,
    }


def test_all_patterns_together_have_a_time_for_an_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that were not looked for by then count as found."""
    monkeypatch.setattr(filters, "PATTERN_SECONDS_MAX", 0.02)
    monkeypatch.setattr(filters, "EVENT_SECONDS_MAX", 0.05)
    slow = [SLOW | {"action": "redact", "field": "slow"}] * 30
    later = {"action": "redact", "field": "title", "pattern": "nowhere"}
    rules = RuleSet(convert_rules([*slow, later]))
    data = {"slow": SLOW_TEXT, "title": "b", "app": "c"}
    began = time.thread_time()

    outcome = rules.at(Place("b", "b", "t")).apply(json.dumps(data).encode())

    assert time.thread_time() - began < 0.3
    assert outcome.timeouts == tuple(range(31))
    assert outcome.text is not None
    assert jsontext.decode(outcome.text) == {
        "slow": REPLACEMENT,
        "title": REPLACEMENT,
        "app": "c",
    }
