"""What a pattern weighs, and which are not compiled."""

import time

import pytest
import regex

from awvault.regexes import RegexError, compile_regex, weight_of

BOMBS = [
    "(?:a{9999}b){9999}",
    "(?x)(?:a{ 9999 }b){ 9999 }",
    "(?ix:(?:a{9#\n999}b){9 9 9 9})",
    "(?:" + "[ab].?" * 1_000 + "){9999}",
    "(?:a{0009999}b){" + "0" * 30 + "9999}",
    "(?:a{9999,}b){1,9999}",
    r"((?:\){9999}){9999})",
    "(?:a{" + "9" * 5_000 + "}b)",
]


@pytest.mark.parametrize("pattern", BOMBS, ids=range(len(BOMBS)))
def test_what_repeats_too_much_is_not_compiled(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However its counts are written; the engine does not see it."""
    monkeypatch.delattr(regex, "compile")
    began = time.perf_counter()
    with pytest.raises(RegexError, match=r"repeats too much|braces and the flag x"):
        compile_regex(pattern, weight_max=100_000)
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    "pattern",
    [
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        r"(?:\d{1,3}\.){3}\d{1,3}|\d{4}-\d{2}-\d{2}T\d{2}:\d{2}",
        r"(?x) a  # no braces",
        r"(?P<x>a){3} \p{L}{2,}",
    ],
)
def test_ordinary_repeats_weigh_little(pattern: str) -> None:
    """Addresses, dates and the like are far from what is refused."""
    assert weight_of(pattern) < 1_000
    compile_regex(pattern, weight_max=1_000)


def test_the_engine_out_of_memory_is_an_error_of_the_pattern(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has no words of its own then."""

    def compile_it(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(regex, "compile", compile_it)
    with pytest.raises(RegexError, match="it is too large"):
        compile_regex("a", weight_max=1)
