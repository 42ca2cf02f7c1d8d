"""Users' regular expressions: what matches, and never for longer than allowed.

A pattern of plain words, as most categories are, is looked for without a regex
engine. Any other runs in `regex`, which can be stopped, and lets other threads run.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from awvault.query.budget import Budget
from awvault.query.errors import QueryFunctionError, shown
from awvault.regexes import RegexError, compile_regex, weight_of

PATTERN_CHARS_MAX: Final = 10_000
"""Characters of one pattern."""

PATTERN_WEIGHT_MAX: Final = 50_000
"""What one pattern may weigh (`awvault.regexes`): up to 0.2 seconds to compile."""

_WEIGHT_BYTES: Final = 100
"""What a unit of weight counts as data of the query."""

MATCH_SECONDS_MAX: Final = 1.0
"""Seconds for one pattern and one text. Ordinary ones take microseconds."""

WORDS_UNCHECKED_MAX: Final = 64
"""Words that are looked for in a text without a look at the clock."""

_WORD_BYTES: Final = 100
"""What a word counts as data of the query."""

Matcher = Callable[[str], bool]

# What stands for itself, and "|" between such words.
_WORDS: Final = re.compile(r"(?:[^\\.^$*+?{}\[\]()|]|\\[^\w\s]|\|)*")
_PIECE: Final = re.compile(r"\\.|[^\\]", re.DOTALL)
# Letters beyond ASCII that are ASCII letters in another case.
_ODD_CASES: Final = frozenset("\u0130\u0131\u017f\u212a")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, ready to be looked for."""

    matches: Matcher
    """Says whether it is found in a text; raises where that takes too long."""
    words: Sequence[str] = ()
    """If there are any, one of them in a text is all that it asks for."""
    words_in_any_case: Sequence[str] = ()
    """The same, in small letters, of texts that are `foldable`."""


def compiled(pattern: str, budget: Budget, *, ignore_case: bool = False) -> Pattern:
    """Return a pattern that can be looked for.

    Raises `QueryFunctionError` for what is no pattern, or too large a one.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        raise QueryFunctionError(
            f"a regex has {len(pattern)} characters, at most {PATTERN_CHARS_MAX} are"
            " compiled"
        )
    expression = partial(_expression, pattern, budget, ignore_case=ignore_case)
    if not _WORDS.fullmatch(pattern):
        return Pattern(expression())
    if not ignore_case:
        words = _words(pattern, budget)
        return Pattern(_of_words(words, budget), words=words)
    if not pattern.isascii():
        return Pattern(expression())
    words = _words(pattern.lower(), budget)
    return Pattern(_in_any_case(words, expression, budget), words_in_any_case=words)


def foldable(text: str) -> bool:
    """Say whether a text's small letters are all that its ASCII letters match."""
    return text.isascii() or _ODD_CASES.isdisjoint(text)


def _words(pattern: str, budget: Budget) -> list[str]:
    words = [""]
    for piece in _PIECE.findall(pattern):
        if piece == "|":
            words.append("")
        else:
            words[-1] += piece[-1]
    budget.take_data(_WORD_BYTES * len(words))
    return words


def _of_words(words: Sequence[str], budget: Budget) -> Matcher:
    are_many = len(words) > WORDS_UNCHECKED_MAX

    def found(text: str) -> bool:
        if are_many:
            budget.check()
        return any([word in text for word in words])  # noqa: C419 - faster

    return found


def _in_any_case(
    words: Sequence[str], expression: Callable[[], Matcher], budget: Budget
) -> Matcher:
    in_small = _of_words(words, budget)
    slow: list[Matcher] = []

    def found(text: str) -> bool:
        if not foldable(text):
            if not slow:
                slow.append(expression())
            return slow[0](text)
        return in_small(text.lower())

    return found


def _expression(pattern: str, budget: Budget, *, ignore_case: bool) -> Matcher:
    budget.take_data(_WEIGHT_BYTES * min(weight_of(pattern), PATTERN_WEIGHT_MAX))
    try:
        search = compile_regex(
            pattern, weight_max=PATTERN_WEIGHT_MAX, ignore_case=ignore_case
        ).search
    except RegexError as error:
        raise QueryFunctionError(
            f"the regex '{shown(pattern)}' is not valid: {shown(str(error))}"
        ) from None

    def found(text: str) -> bool:
        seconds = min(MATCH_SECONDS_MAX, budget.seconds_left())
        try:
            return search(text, timeout=seconds) is not None
        except TimeoutError:
            budget.check()
            raise QueryFunctionError(
                f"the regex '{shown(pattern)}' takes longer than"
                f" {MATCH_SECONDS_MAX:g} seconds for one text: it tries too many ways"
                " to match, as nested repeats such as (a+)+ do"
            ) from None

    return found
