"""What is wrong with a query, in the words of ActivityWatch's server.

`kind` is the name that its server gives as `type`; clients show `message`.
"""

from typing import ClassVar, Final

from awvault.errors import Error

ECHO_CHARS_MAX: Final = 200
"""What is repeated of a query is cut to this length."""


class QueryError(Error):
    """A query cannot be answered, and its author can change that."""

    kind: ClassVar[str] = "QueryException"


class QueryParseError(QueryError):
    """The text is no program."""

    kind = "QueryParseException"


class QueryInterpretError(QueryError):
    """A statement names what is not there, or the whole takes too much."""

    kind = "QueryInterpretException"


class QueryFunctionError(QueryError):
    """A function cannot work with what it was given."""

    kind = "QueryFunctionException"


def shown(text: str) -> str:
    """Return `text` as a message may repeat it."""
    if len(text) <= ECHO_CHARS_MAX:
        return text
    return f"{text[:ECHO_CHARS_MAX]}…"
