"""ActivityWatch's query language, over columns."""

from awvault.query.asking import Period, parse_periods
from awvault.query.budget import Budget
from awvault.query.errors import (
    QueryError,
    QueryFunctionError,
    QueryInterpretError,
    QueryParseError,
)
from awvault.query.running import Answer, run_query

__all__ = [
    "Answer",
    "Budget",
    "Period",
    "QueryError",
    "QueryFunctionError",
    "QueryInterpretError",
    "QueryParseError",
    "parse_periods",
    "run_query",
]
