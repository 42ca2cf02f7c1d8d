"""Regular expressions that somebody else may have written, compiled within limits.

To compile one holds the interpreter, and the engine writes out what a group in
braces repeats: `(?:a{9999}b){9999}` would take all memory there is. So what a
pattern weighs is known before it is compiled.
"""

import re
from typing import Final

import regex

from awvault.errors import Error

CACHED_WEIGHT_MAX: Final = 1_000
"""Lighter ones the engine keeps for the next time, some hundred of them."""

# Each way in which a count can be written; the engine reads digits of ASCII only.
_COUNT: Final = re.compile(r"\{([0-9]*)(?:,([0-9]*))?\}")
_COUNT_DIGITS_MAX: Final = 9
_COUNT_MAX: Final = 10**_COUNT_DIGITS_MAX
_VERBOSE: Final = re.compile(r"\(\?[a-zA-Z0-9]*x")
# Before a count, these are, or end, one character or class; all else may be a group.
_ENDS_CHARACTER: Final = re.compile(r"[A-Za-z0-9_.\]]")


class RegexError(Error):
    """A pattern is no regular expression, or too large a one."""


def weight_of(pattern: str) -> int:
    """Return how much a pattern is at most when its repeats are written out.

    A unit takes about 3 microseconds to compile and 300 bytes of memory. The weight
    is the number of characters and of those that are repeated one by one, times all
    the counts of what may be a group: whether one lies in another is not looked at.
    """
    characters, repeats = len(pattern), 1
    for found in _COUNT.finditer(pattern):
        fewest, most = found.groups()
        count = max(_count(fewest), _count(most or ""))
        if _ENDS_CHARACTER.fullmatch(pattern, found.start() - 1, found.start()):
            characters += count
        else:
            repeats = min(repeats * count, _COUNT_MAX)
    return characters * repeats


def compile_regex(
    pattern: str, *, weight_max: int, ignore_case: bool = False
) -> "regex.Pattern[str]":
    """Return a pattern compiled; raises `RegexError` saying what is wrong with it."""
    if _VERBOSE.search(pattern) and "{" in pattern:
        # There, spaces and comments may stand in the midst of a count.
        raise RegexError("it has braces and the flag x: leave one of them out")
    weight = weight_of(pattern)
    if weight > weight_max:
        raise RegexError(
            "it repeats too much: its characters times the numbers in its braces are"
            f" {weight}, at most {weight_max}"
        )
    flags = regex.VERSION0 | (regex.IGNORECASE if ignore_case else 0)
    try:
        return regex.compile(pattern, flags, cache_pattern=weight <= CACHED_WEIGHT_MAX)
    except (
        regex.error,
        ValueError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        raise RegexError(str(error) or "it is too large") from None


def _count(digits: str) -> int:
    digits = digits.lstrip("0")
    return _COUNT_MAX if len(digits) > _COUNT_DIGITS_MAX else int(digits or 1)
