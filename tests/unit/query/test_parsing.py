"""The text of queries: what it may be, and what is said where it is wrong."""

from typing import Any

import pytest

from awvault.query import QueryError, QueryParseError
from awvault.query.parsing import (
    DEPTH_MAX,
    STATEMENTS_MAX,
    TEXT_CHARS_MAX,
    VALUES_MAX,
    parse_program,
)
from tests.helpers.query_oracle import History, ours


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("RETURN = 1;", 1),
        ("RETURN=1", 1),
        ("return 1;", 1),
        ("return(1);", 1),
        ("return = 2; RETURN = return;", 2),
        ("RETURN = 1.5;", 1.5),
        ("RETURN = 'it';", "it"),
        ("RETURN = 'a;b=c # d';", "a;b=c # d"),
        (r'RETURN = "a\"b";', 'a"b'),
        (r"RETURN = 'a\'b';", "a'b"),
        (r'RETURN = "\w\\.";', r"\w\\."),
        ("RETURN = [];", []),
        ("RETURN = [ ];", []),
        ("RETURN = {};", {}),
        ("RETURN = { };", {}),
        ('RETURN = [1, "a", [true], {"k": False}];', [1, "a", [True], {"k": False}]),
        ('RETURN = {"a": {"b": [1]},\n "c": 2\n};', {"a": {"b": [1]}, "c": 2}),
        ("a_1 = 1; RETURN = [a_1, a_1];", [1, 1]),
        ("é = 1; RETURN = é;", 1),
        ("True = 3; RETURN = True;", 3),
        ("# first\nRETURN = 1; # last", 1),
        (";;RETURN = 1;;", 1),
        ("RETURN = nop();", 1),
        ("RETURN = nop ( ) ;", 1),
        ("RETURN = limit_events([1, 2, 3], 2);", [1, 2]),
        ("RETURN = concat([1], [2],);", [1, 2]),
        ("print(1, [2]); RETURN = print();", None),
        ("RETURN = 123456789012345678901234567890;", 123456789012345678901234567890),
        ('RETURN = ["\\ud83d"];', ["\\ud83d"]),
        ('RETURN = "\ud83d";', "\ud83d"),
    ],
)
def test_a_query_means(text: str, result: Any) -> None:
    """Each form of statement and value has its meaning."""
    assert ours(text, History()) == result


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", "Parse", "Query doesn't assign the RETURN variable, nothing to respond"),
        ("a = 1;", "Parse", "Query doesn't assign the RETURN variable, nothing to"),
        ("a =;", "Parse", "Nothing to assign"),
        ("a;", "Parse", "Nothing to assign"),
        ("1 = 2;", "Parse", "Cannot assign to a non-variable"),
        ("= 2;", "Parse", "Cannot assign to a non-variable"),
        ("nop() = 2;", "Parse", "Cannot assign to a non-variable"),
        ("a b = 2;", "Parse", "Invalid syntax for assignment variable"),
        ("a = b c;", "Parse", "Invalid syntax for value to assign"),
        ("a = nop(1;", "Parse", "Invalid syntax for value to assign"),
        ("a = nop(1", "Parse", "Invalid syntax for value to assign"),
        ("a = %;", "Parse", "Syntax error: %"),
        ("% = 1;", "Parse", "Syntax error: %"),
        ("a = [1, 2;", "Parse", "Syntax error: [1, 2"),
        ("a = [1 2];", "Parse", "Syntax error: 2]"),
        ("a = (1 2);", "Parse", "Syntax error: 2)"),
        ("a = [1,];", "Parse", "List expected a value, got nothing"),
        ("a = {1: 2};", "Parse", "Key in dict is not a str"),
        ('a = {"b": 1,};', "Parse", "Key in dict is not a str"),
        ('a = {"b"};', "Parse", "Key in dict is not followed by a :"),
        ('a = {"b": };', "Parse", "Dict expected a value, got nothing"),
        ("a = {,};", "Parse", "Syntax error: ,}"),
        ("a = {", "Parse", "Syntax error: {"),
        ('a = "b;', "Parse", "Failed to parse string"),
        ("a = b;", "Interpret", "Tried to reference variable 'b' which is not defined"),
        ("a = b();", "Interpret", "Tried to call function 'b' which doesn't exist"),
        ("b(); a =;", "Interpret", "Tried to call function 'b' which doesn't exist"),
        (f"a = {'1' * 400};", "Parse", "a number has more than 300 digits"),
        (f"a = {'[' * 70}{']' * 70};", "Parse", "the query is nested too deeply"),
    ],
)
def test_what_is_wrong_is_said(text: str, kind: str, message: str) -> None:
    """A wrong query is refused with its kind and a sentence."""
    with pytest.raises(QueryError) as caught:
        ours(text, History())

    assert caught.value.kind == f"Query{kind}Exception"
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "a" * (TEXT_CHARS_MAX + 1),
        "a=1;" * (STATEMENTS_MAX + 1),
        f"a=[{'1,' * VALUES_MAX}1];",
        f"a={'nop(' * (DEPTH_MAX + 2)}{')' * (DEPTH_MAX + 2)};",
    ],
    ids=["characters", "statements", "values", "depth"],
)
def test_a_query_has_limits(text: str) -> None:
    """A query that is too large is refused before anything of it runs."""
    with pytest.raises(QueryParseError):
        parse_program(text)
