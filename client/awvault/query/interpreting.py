"""A program, statement by statement."""

from typing import Final

from awvault.query.asking import Period
from awvault.query.errors import QueryInterpretError, QueryParseError, shown
from awvault.query.functions import FUNCTIONS, Context, call
from awvault.query.parsing import (
    RETURN,
    Call,
    DictOf,
    ListOf,
    Literal,
    Node,
    Program,
    Variable,
)
from awvault.query.snapshot import Snapshot
from awvault.query.values import Pool, Value, checked

NO_RESULT: Final = "Query doesn't assign the RETURN variable, nothing to respond"


def interpret(
    program: Program, period: Period, *, name: str, snapshot: Snapshot, pool: Pool
) -> Value:
    """Return what a program returns for one period; raises `QueryError`."""
    variables: dict[str, Value] = {
        "True": True,
        "False": False,
        "true": True,
        "false": False,
        "NAME": name,
        "STARTTIME": period.start_text,
        "ENDTIME": period.end_text,
    }
    context = Context(snapshot, pool, variables)
    for statement in program.statements:
        if isinstance(statement, QueryParseError):
            raise statement
        pool.budget.check()
        value = _value(context, statement.value)
        if statement.target is not None:
            variables[statement.target] = value
    if RETURN not in variables:
        raise QueryParseError(NO_RESULT)
    return variables[RETURN]


def _value(context: Context, node: Node) -> Value:
    match node:
        case Literal():
            return node.value
        case Variable():
            try:
                return context.variables[node.name]
            except KeyError:
                raise QueryInterpretError(
                    f"Tried to reference variable '{shown(node.name)}' which is not"
                    " defined"
                ) from None
        case ListOf():
            items = [_value(context, item) for item in node.items]
            return checked(items, context.pool.budget)
        case DictOf():
            members = {key: _value(context, item) for key, item in node.items}
            return checked(members, context.pool.budget)
        case Call():
            if node.name not in FUNCTIONS:
                raise QueryInterpretError(
                    f"Tried to call function '{shown(node.name)}' which doesn't exist"
                )
            arguments = [_value(context, item) for item in node.arguments]
            return call(context, node.name, arguments)
