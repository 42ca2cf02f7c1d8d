"""The text of a query to a program.

    program    statements, each ended by ";"; the last may be without
    statement  NAME = value | return value | NAME(values)
    value      "text" | 'text' | 12 | 1.5 | NAME | NAME(values) | [values]
               | {"key": value, ...} | (value)

In a text only the quote that encloses it is escaped, by a backslash; any other
backslash stands for itself, as regexes need it. From "#" to the end of its line is
a comment.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from awvault.query.errors import QueryParseError, shown

TEXT_CHARS_MAX: Final = 1024 * 1024
"""Characters of a query."""

STATEMENTS_MAX: Final = 4_096
"""Statements of a query."""

DEPTH_MAX: Final = 64
"""Lists, dicts and calls inside each other."""

VALUES_MAX: Final = 200_000
"""Values that stand in a query, those inside of lists and dicts too."""

NUMBER_CHARS_MAX: Final = 300
"""Digits of a number."""

RETURN: Final = "RETURN"
"""The variable that is the result."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A text or a number."""

    value: str | int | float


@dataclass(frozen=True, slots=True)
class Variable:
    """What a variable holds."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """What a function returns."""

    name: str
    arguments: Sequence["Node"]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list."""

    items: Sequence["Node"]


@dataclass(frozen=True, slots=True)
class DictOf:
    """An object."""

    items: Sequence[tuple[str, "Node"]]


Node = Literal | Variable | Call | ListOf | DictOf


@dataclass(frozen=True, slots=True)
class Statement:
    """Give a variable a value; without a target, only work it out."""

    target: str | None
    value: Node


@dataclass(frozen=True, slots=True)
class Program:
    """What a query says.

    A statement that is none stands as its error, which counts once it is reached:
    what comes before it may fail in another way.
    """

    statements: Sequence[Statement | QueryParseError]
    texts: frozenset[str]
    """Every text that stands in the query."""


def parse_program(text: str) -> Program:
    """Return the program; raises `QueryParseError` for one that is too large."""
    if len(text) > TEXT_CHARS_MAX:
        raise QueryParseError(
            f"the query has {len(text)} characters, at most {TEXT_CHARS_MAX} are read"
        )
    parts = _split(text)
    if len(parts) > STATEMENTS_MAX:
        raise QueryParseError(
            f"the query has {len(parts)} statements, at most {STATEMENTS_MAX} are read"
        )
    count = _Count()
    statements: list[Statement | QueryParseError] = []
    for part in parts:
        try:
            statements.append(_statement(part, count))
        except TooLargeError:
            raise
        except QueryParseError as error:
            statements.append(error)
    return Program(statements, frozenset(count.texts))


class TooLargeError(QueryParseError):
    """The query as a whole is too large."""


class _Count:
    """What stands in the program so far."""

    def __init__(self) -> None:
        self.values = 0
        self.texts: set[str] = set()

    def value(self) -> None:
        self.values += 1
        if self.values > VALUES_MAX:
            raise TooLargeError(
                f"the query holds more than {VALUES_MAX} values: split it"
            )


# A quote after a backslash does not end a text, whatever is before the backslash.
_STRING: Final = re.compile(r"\"(?:[^\"]|(?<=\\)\")*+\"|'(?:[^']|(?<=\\)')*+'")
_BETWEEN: Final = re.compile(r"[^\"'#;]+")
_COMMENT: Final = re.compile(r"#[^\n]*")
_NAME: Final = re.compile(r"[^\W\d]\w*")
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_ASSIGNED: Final = re.compile(r"([^\W\d]\w*)\s*=")
_RETURNED: Final = re.compile(r"return\b(?!\s*=)")


def _split(text: str) -> list[str]:
    """Return the statements, without comments, spaces around them, and empty ones."""
    found: list[str] = []
    pieces: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        if character == ";":
            found.append("".join(pieces).strip())
            pieces.clear()
            at += 1
            continue
        if character == "#":
            match = _COMMENT.match(text, at)
        elif character in "\"'":
            match = _STRING.match(text, at)
        else:
            match = _BETWEEN.match(text, at)
        end = len(text) if match is None else match.end()
        if character != "#":
            pieces.append(text[at:end])
        at = end
    found.append("".join(pieces).strip())
    return [statement for statement in found if statement]


def _statement(text: str, count: _Count) -> Statement:
    if assigned := _ASSIGNED.match(text):
        if assigned.end() == len(text):
            raise QueryParseError("Nothing to assign")
        return Statement(assigned[1], _whole(text, assigned.end(), count))
    if returned := _RETURNED.match(text):
        return Statement(RETURN, _whole(text, returned.end(), count))
    before, assigns, _ = text.partition("=")
    if not before.strip():
        raise QueryParseError("Cannot assign to a non-variable")
    reader = _Reader(text, 0, count)
    try:
        value = reader.value(0)
    except QueryParseError:
        _Reader(before.rstrip(), 0, count).value(
            0
        )  # of the variable alone, if it is that
        raise
    if isinstance(value, Call) and reader.at_end():
        return Statement(None, value)
    if not assigns:
        raise QueryParseError("Nothing to assign")
    if reader.rest() == text[len(before) :]:
        raise QueryParseError("Cannot assign to a non-variable")
    raise QueryParseError("Invalid syntax for assignment variable")


def _whole(text: str, at: int, count: _Count) -> Node:
    reader = _Reader(text, at, count)
    value = reader.value(0)
    if not reader.at_end():
        raise QueryParseError("Invalid syntax for value to assign")
    return value


class _Reader:
    """Reads values from one statement, from left to right."""

    def __init__(self, text: str, at: int, count: _Count) -> None:
        self._text = text
        self._at = at
        self._count = count

    def rest(self) -> str:
        """Return what has not been read, without the spaces before it."""
        self._next()
        return self._text[self._at :]

    def at_end(self) -> bool:
        """Say whether everything has been read."""
        return self._next() == ""

    def value(self, depth: int) -> Node:
        """Read one value."""
        self._count.value()
        if depth > DEPTH_MAX:
            raise TooLargeError(
                f"the query is nested too deeply: at most {DEPTH_MAX} lists, dicts"
                " and calls inside each other"
            )
        character = self._next()
        match character:
            case '"' | "'":
                return Literal(self._string())
            case "[":
                return ListOf(self._list(depth))
            case "{":
                return DictOf(self._dict(depth))
            case "(":
                return self._enclosed(depth)
        if number := _NUMBER.match(self._text, self._at):
            return Literal(self._number(number))
        return self._named(depth)

    def _enclosed(self, depth: int) -> Node:
        self._at += 1
        value = self.value(depth + 1)
        if self._next() != ")":
            raise self._wrong()
        self._at += 1
        return value

    def _named(self, depth: int) -> Node:
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise self._wrong()
        self._at = name.end()
        if self._next() != "(":
            return Variable(name[0])
        return Call(name[0], self._arguments(depth))

    def _next(self) -> str:
        """Return the next character that is no space; "" at the end."""
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _wrong(self) -> QueryParseError:
        return QueryParseError(f"Syntax error: {shown(self.rest())}")

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise QueryParseError("Failed to parse string")
        self._at = match.end()
        quote = match[0][0]
        text = match[0][1:-1].replace(f"\\{quote}", quote)
        self._count.texts.add(text)
        return text

    def _number(self, match: re.Match[str]) -> int | float:
        if len(match[0]) > NUMBER_CHARS_MAX:
            raise QueryParseError(f"a number has more than {NUMBER_CHARS_MAX} digits")
        self._at = match.end()
        return float(match[0]) if match[1] else int(match[0])

    def _list(self, depth: int) -> list[Node]:
        begin = self._at
        self._at += 1
        items: list[Node] = []
        while (character := self._next()) != "]" or items:
            if not character:
                self._at = begin
                raise self._wrong()
            if character in {"]", ","} and items:
                raise QueryParseError("List expected a value, got nothing")
            items.append(self.value(depth + 1))
            if not self._goes_on("]", begin):
                return items
        self._at += 1
        return items

    def _dict(self, depth: int) -> list[tuple[str, Node]]:
        begin = self._at
        self._at += 1
        items: list[tuple[str, Node]] = []
        while (character := self._next()) != "}" or items:
            if not character:
                self._at = begin
                raise self._wrong()
            if character not in {'"', "'"}:
                if not (character.isalnum() or character in "_[{(}"):
                    raise self._wrong()
                raise QueryParseError("Key in dict is not a str")
            key = self._string()
            if self._next() != ":":
                raise QueryParseError("Key in dict is not followed by a :")
            self._at += 1
            if self._next() in {"}", ""}:
                raise QueryParseError("Dict expected a value, got nothing")
            items.append((key, self.value(depth + 1)))
            if not self._goes_on("}", begin):
                return items
        self._at += 1
        return items

    def _arguments(self, depth: int) -> list[Node]:
        begin = self._at
        self._at += 1
        arguments: list[Node] = []
        while (character := self._next()) != ")":
            if not character:
                raise _unclosed()
            arguments.append(self.value(depth + 1))
            if not self._goes_on(")", begin):
                return arguments
        self._at += 1
        return arguments

    def _goes_on(self, closing: str, begin: int) -> bool:
        """Read what follows a value of a list, dict or call: a comma, or its end."""
        character = self._next()
        if not character:
            if closing == ")":
                raise _unclosed()
            self._at = begin
        if character not in {",", closing} or not character:
            raise self._wrong()
        self._at += 1
        return character == ","


def _unclosed() -> QueryParseError:
    return QueryParseError("Invalid syntax for value to assign")
