"""Privacy filters: rules that drop an event, or replace part of it, before it is kept.

A rule is a JSON object, in the form of ActivityWatch's setting `privacy_filters`:

    {"action": "drop" | "redact", "enabled": true,
     "bucket_prefix": …, "field": "title", "pattern": "(?i)bank", "replacement": …}

and may say more: `bucket`, `bucket_type`, `text` (what is looked for, where no
pattern is), `incognito`, and `redact` (the fields to replace). All that a rule says
must hold. docs/guide/privacy-filters.md says what each means.

Nothing here fails open. A rule that is not understood is refused as a whole, and a
pattern that takes too long counts as found.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from awvault.columns import jsontext
from awvault.errors import InvalidInputError, LimitError
from awvault.regexes import RegexError, compile_regex, weight_of

KEY: Final = "privacy_filters"
"""The preference that holds the rules, and the key in config.toml."""

RULES_MAX: Final = 200
TEXT_CHARS_MAX: Final = 1_000
"""Characters of any text in a rule."""

REPLACEMENT: Final = "REDACTED"
"""What stands in the place of what is replaced, where a rule names nothing else."""

PATTERN_WEIGHT_MAX: Final = 10_000
"""What one pattern may weigh (`awvault.regexes`): 30 milliseconds to compile."""

PATTERNS_WEIGHT_MAX: Final = 200_000
"""What all patterns together may weigh."""

PATTERN_SECONDS_MAX: Final = 0.1
"""How long one pattern may look at one text."""

EVENT_SECONDS_MAX: Final = 1.0
"""How long all patterns together may look at one event, as the thread's own time."""

TIMEOUTS_MAX: Final = 20
"""Patterns that may take too long in one request; then it is refused."""

CACHED_TEXTS_MAX: Final = 8_192
"""Texts of which it is remembered what the rules do to them."""

CACHED_BYTES_MAX: Final = 4_096
"""Longer texts are looked at each time they come."""

PRIVATE_FIELDS: Final = ("title", "url")
"""What a rule for private windows replaces, where it names nothing else."""

_WHERE: Final = re.compile(r"(.*?)(?: - at `\$(?:\[(\d+)\])?\.?(.*?)`)?", re.DOTALL)


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule, as it was written."""

    action: Literal["drop", "redact"]
    enabled: bool = True
    bucket: str | None = None
    """The bucket's id."""
    bucket_prefix: str | None = None
    """What the bucket's id begins with."""
    bucket_type: str | None = None
    field: str | None = None
    """Where in the data `pattern` or `text` is looked for; None: everywhere."""
    pattern: str | None = None
    """A regular expression, found anywhere in a value."""
    text: str | None = None
    """A text, found anywhere in a value, in capitals or not."""
    incognito: bool | None = None
    """True: only events of private windows."""
    replacement: str | None = None
    redact: list[str] | None = None
    """The fields whose values are replaced; None: those that were looked at."""


class FiltersTooSlowError(LimitError):
    """The patterns take too long for all that one request brings."""

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            KEY,
            f"a pattern took too long {TIMEOUTS_MAX} times, so none of this is"
            " stored: `awvault filter list` says which rule it is",
        )


def parse_rules(json_text: bytes) -> tuple[Rule, ...]:
    """Return the rules of a JSON array, or raise `InvalidInputError` naming one."""
    try:
        rules = msgspec.json.decode(json_text, type=list[Rule])
    except msgspec.ValidationError as error:
        raise _unlike_a_rule(error) from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise InvalidInputError(KEY, "is not valid JSON") from None
    return _checked(rules)


def convert_rules(value: object) -> tuple[Rule, ...]:
    """Return the rules of a list of tables, as `parse_rules` of an array."""
    try:
        rules = msgspec.convert(value, type=list[Rule])
    except msgspec.ValidationError as error:
        raise _unlike_a_rule(error) from None
    return _checked(rules)


def render_rule(rule: Rule) -> bytes:
    """Return a rule as JSON, without what it does not say."""
    said = {k: v for k, v in msgspec.structs.asdict(rule).items() if v is not None}
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _checked(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    if len(rules) > RULES_MAX:
        raise LimitError(KEY, f"there are {len(rules)} rules, at most {RULES_MAX}")
    _check_weight(rules)
    for number, rule in enumerate(rules, start=1):
        try:
            _check(rule)
        except InvalidInputError as error:
            raise _of_rule(number, f"{error.field}: {error}") from None
    return tuple(rules)


def _check_weight(rules: Sequence[Rule]) -> None:
    """Refuse patterns that would take seconds to compile, before any is."""
    weight = sum(
        min(weight_of(rule.pattern), PATTERN_WEIGHT_MAX)
        for rule in rules
        if rule.pattern is not None
    )
    if weight > PATTERNS_WEIGHT_MAX:
        raise LimitError(
            KEY,
            f"the patterns repeat too much: together they weigh {weight}, at most"
            f" {PATTERNS_WEIGHT_MAX}",
        )


def _check(rule: Rule) -> None:
    """Refuse a rule that would not do what whoever wrote it meant."""
    for name, value in msgspec.structs.asdict(rule).items():
        _check_length(name, value)
    if rule.pattern is not None:
        _check_pattern(rule.pattern)
        if rule.text is not None:
            raise InvalidInputError("text", "a rule has a pattern or a text, not both")
    if rule.incognito is False:
        raise InvalidInputError("incognito", "can only be true")
    looks = rule.pattern is not None or rule.text is not None
    if rule.field is not None and not looks:
        raise InvalidInputError("field", "needs a pattern or a text to look for")
    if not (
        looks or rule.bucket or rule.bucket_prefix or rule.bucket_type or rule.incognito
    ):
        raise InvalidInputError("action", "the rule does not say for which events")
    if rule.redact == [] or (
        rule.action == "redact" and not (looks or rule.incognito or rule.redact)
    ):
        raise InvalidInputError("redact", "must name the fields to replace")


def _check_length(name: str, value: object) -> None:
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and not 1 <= len(text) <= TEXT_CHARS_MAX:
            raise InvalidInputError(name, f"has 1 to {TEXT_CHARS_MAX} characters")


def _check_pattern(pattern: str) -> None:
    try:
        compile_regex(pattern, weight_max=PATTERN_WEIGHT_MAX)
    except RegexError as error:
        raise InvalidInputError(
            "pattern", f"is no regular expression: {error}"
        ) from None


def _of_rule(number: int, message: str) -> InvalidInputError:
    return InvalidInputError(KEY, f"rule {number}: {message}")


def _unlike_a_rule(error: msgspec.ValidationError) -> InvalidInputError:
    """Return msgspec's words with the rule's number in place of its path."""
    found = _WHERE.fullmatch(str(error))
    if found is None or found[2] is None:
        return InvalidInputError(KEY, "must be an array of rules, each an object")
    message = found[1][:1].lower() + found[1][1:]
    if found[3] == "action":
        # The only one with choices; they are not in msgspec's words.
        message = 'must be "drop" or "redact"'
    if found[3]:
        message = f"{found[3]}: {message}"
    return _of_rule(int(found[2]) + 1, message)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rules do to one text."""

    text: bytes | None
    """The data that is kept; None: the event is dropped."""
    hits: tuple[int, ...] = ()
    """The rules that did it: the one that drops, or those that replace something."""
    timeouts: tuple[int, ...] = ()
    """Which of them did because their pattern took too long."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event would be kept."""

    bucket_id: str
    """What the bucket is called on this client."""
    name: str
    """What its own client calls it."""
    type: str


@dataclass(slots=True)
class RuleSet:
    """Rules that are in force, and what they have done."""

    rules: Sequence[Rule] = ()
    dropped: Counter[int] = field(default_factory=Counter)
    """Events, by the rule's place."""
    redacted: Counter[int] = field(default_factory=Counter)
    timeouts: Counter[int] = field(default_factory=Counter)
    """Events for which a rule counted as found because its pattern took too long."""
    _places: dict[Place, "PlaceRules"] = field(default_factory=dict)

    def at(self, place: Place) -> "PlaceRules":
        """Return the rules for one bucket."""
        found = self._places.get(place)
        if found is None:
            if len(self._places) >= CACHED_TEXTS_MAX:
                self._places.clear()
            found = self._places[place] = PlaceRules(self.rules, place)
        return found

    def count(self, outcome: Outcome) -> None:
        """Count what was done to one event."""
        counter = self.dropped if outcome.text is None else self.redacted
        for hit in outcome.hits:
            counter[hit] += 1
        for rule in outcome.timeouts:
            self.timeouts[rule] += 1


class PlaceRules:
    """Those of the rules that can be for events of one bucket.

    Safe to use from several threads.
    """

    def __init__(self, rules: Sequence[Rule], place: Place) -> None:
        """Choose by what the rules say of the bucket."""
        self._rules = [
            _Compiled(at, rule)
            for at, rule in enumerate(rules)
            if rule.enabled and _is_for(rule, place)
        ]
        self._known: dict[bytes, Outcome] = {}

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return bool(self._rules)

    def is_quick(self, text: bytes) -> bool:
        """Say whether `apply` returns at once: it can take EVENT_SECONDS_MAX."""
        return text in self._known or not any(rule.may_be_slow for rule in self._rules)

    def apply(self, text: bytes) -> Outcome:
        """Return what becomes of an event with this data.

        Raises `InvalidInputError` for what is no JSON object.
        """
        known = self._known.get(text)
        if known is not None:
            return known
        outcome = self._apply(jsontext.compact(text))
        if not outcome.timeouts and len(text) <= CACHED_BYTES_MAX:
            if len(self._known) >= CACHED_TEXTS_MAX:
                self._known.clear()
            self._known[text] = outcome
        return outcome

    def apply_all(self, texts: Sequence[bytes]) -> list[Outcome]:
        """Return what becomes of each; of several, the one that is wrong is named."""
        found = []
        timeouts = 0
        for at, text in enumerate(texts):
            try:
                outcome = self.apply(text)
            except InvalidInputError as error:
                if len(texts) == 1:
                    raise
                raise error.within(f"[{at}]") from None
            timeouts += len(outcome.timeouts)
            if timeouts > TIMEOUTS_MAX:
                raise FiltersTooSlowError
            found.append(outcome)
        return found

    def _apply(self, text: bytes) -> Outcome:
        # Every rule sees what was sent: none hides anything from another.
        data = jsontext.decode(text)
        until = time.thread_time() + EVENT_SECONDS_MAX
        found: list[tuple[_Compiled, _Match]] = []
        timeouts: list[int] = []
        for rule in self._rules:
            match = rule.match(data, until)
            if not match.found:
                continue
            if match.timed_out:
                timeouts.append(rule.at)
            if rule.drops:
                return Outcome(None, (rule.at,), tuple(timeouts))
            found.append((rule, match))
        if not found:
            return Outcome(text)
        # What is replaced already, as in an event that comes back, is no change.
        hits = tuple(rule.at for rule, match in found if rule.changes(data, match))
        if not hits:
            return Outcome(text, (), tuple(timeouts))
        for rule, match in found:
            rule.redact(data, match)
        return Outcome(jsontext.encode(data), hits, tuple(timeouts))


def _is_for(rule: Rule, place: Place) -> bool:
    """Say whether a rule is for a bucket, under either of the names it has."""
    names = place.bucket_id, place.name
    return (
        (rule.bucket is None or rule.bucket in names)
        and (
            rule.bucket_prefix is None
            or any(name.startswith(rule.bucket_prefix) for name in names)
        )
        and (rule.bucket_type is None or rule.bucket_type == place.type)
    )


@dataclass(slots=True)
class _Match:
    """What a rule has found in one event's data."""

    found: bool
    timed_out: bool = False
    slots: list["_Slot"] = field(default_factory=list)
    """Where it was found."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """A value, and where it lies."""

    holder: dict[str, Any]
    key: str

    @property
    def value(self) -> object:
        return self.holder[self.key]


class _Compiled:
    """One rule, ready to be used."""

    def __init__(self, at: int, rule: Rule) -> None:
        self.at = at
        self.drops = rule.action == "drop"
        self._field = rule.field
        self._incognito = bool(rule.incognito)
        self._replacement = (
            REPLACEMENT if rule.replacement is None else rule.replacement
        )
        self._redact = rule.redact
        if rule.redact is None and rule.pattern is None and rule.text is None:
            self._redact = list(PRIVATE_FIELDS)
        self.may_be_slow = rule.pattern is not None
        self._search: Callable[[str, float], bool] | None = None
        if rule.pattern is not None:
            search = compile_regex(rule.pattern, weight_max=PATTERN_WEIGHT_MAX).search
            self._search = lambda text, seconds: (
                search(text, timeout=seconds) is not None
            )
        elif rule.text is not None:
            wanted = rule.text.casefold()
            self._search = lambda text, _: wanted in text.casefold()

    def match(self, data: dict[str, Any], until: float) -> _Match:
        """Say whether the rule is for an event with this data, and where.

        Once a text took too long, or the thread's clock is past `until`, it counts
        as found in all that is left.
        """
        if self._incognito and not _is_private(data):
            return _Match(found=False)
        if self._search is None:
            return _Match(found=True)
        match = _Match(found=False)
        for slot in _slots(data, self._field):
            if match.timed_out or self._is_in(slot.value, until, match):
                match.found = True
                match.slots.append(slot)
        return match

    def _is_in(self, value: object, until: float, match: _Match) -> bool:
        search = self._search
        if search is None:
            return True
        for text in _texts(value):
            seconds = min(PATTERN_SECONDS_MAX, until - time.thread_time())
            match.timed_out = self.may_be_slow and seconds <= 0
            try:
                if match.timed_out or search(text, seconds):
                    return True
            except TimeoutError:
                match.timed_out = True
                return True
        return False

    def changes(self, data: dict[str, Any], match: _Match) -> bool:
        """Say whether `redact` would change anything."""
        return any(slot.value != self._replacement for slot in self._named(data, match))

    def redact(self, data: dict[str, Any], match: _Match) -> None:
        """Replace what the rule names, or else where it found something."""
        for slot in self._named(data, match):
            slot.holder[slot.key] = self._replacement

    def _named(self, data: dict[str, Any], match: _Match) -> list[_Slot]:
        if self._redact is None:
            return match.slots
        return [slot for name in self._redact for slot in _slots(data, name)]


def _is_private(data: Mapping[str, object]) -> bool:
    value = data.get("incognito")
    return value is True or (isinstance(value, str) and value.casefold() == "true")


def _slots(data: dict[str, Any], path: str | None) -> Iterator[_Slot]:
    """Yield every value that a path can mean; without a path, all of the outermost.

    "a.b" is the member "b" of "a", and also a member that is called "a.b". In an
    array it means that of every element.
    """
    if path is None:
        yield from (_Slot(data, key) for key in list(data))
        return
    if path in data:
        yield _Slot(data, path)
    at = path.find(".")
    while at >= 0:
        inner = data.get(path[:at])
        for item in inner if isinstance(inner, list) else [inner]:
            if isinstance(item, dict):
                yield from _slots(item, path[at + 1 :])
        at = path.find(".", at + 1)


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in a value; of what is no text, its JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield json.dumps(value)
