"""`awvault query`."""

import codecs
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from awvault.cli import options
from awvault.cli.context import run_with_vault
from awvault.cli.parameters import PERIOD

if TYPE_CHECKING:
    from awvault.service import QueryRequest, Service

QUERY_BYTES_MAX: Final = 1024 * 1024
"""Of a file; a query has no more characters."""


@click.command(
    "query",
    epilog="Example: awvault query day.query --period 2026-11-24",
)
@click.argument("file", metavar="FILE")
@click.option(
    "--period",
    "periods",
    type=PERIOD,
    multiple=True,
    default=("today",),
    metavar="DAY|START/END",
    help="What to ask it for: a day here, such as 2026-11-24, today or yesterday; or"
    " two dates or times. Repeatable. Default: today.",
)
@options.vault_options
@options.json_option
@click.pass_context
def query_command(
    ctx: click.Context, file: str, periods: tuple[str, ...], as_json: bool
) -> None:
    """Answer a query in ActivityWatch's language, from FILE.

    With -, the query is read from standard input. A day alone is one of this
    machine, midnight to midnight; of START/END, what has no offset is UTC.
    """
    from awvault.service import QueryRequest

    request = QueryRequest(query=_read(file), periods=list(periods))
    run_with_vault(ctx, lambda service: _answer(service, request, as_json=as_json))


def _read(file: str) -> str:
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(QUERY_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as source:
                raw = source.read(QUERY_BYTES_MAX + 1)
    except OSError as error:
        raise click.UsageError(f'cannot read "{file}": {error.strerror}') from None
    if len(raw) > QUERY_BYTES_MAX:
        raise click.UsageError(f'"{file}" is larger than {QUERY_BYTES_MAX} bytes')
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f'"{file}" is not UTF-8: byte {error.start} is wrong'
        ) from None


async def _answer(
    service: "Service", request: "QueryRequest", *, as_json: bool
) -> None:
    import msgspec

    from awvault.cli.output import printable_json

    held: list[str] = []
    # A character may lie in two pieces.
    decoder = codecs.getincrementaldecoder("utf-8")()
    pieces = service.query(request)
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            text = decoder.decode(msgspec.json.decode(piece, type=bytes))
            if as_json:
                sys.stdout.write(printable_json(text))
            else:
                held.append(text)
    if as_json:
        print()
        return
    for result in json.loads("".join(held)):
        for line in json.dumps(result, indent=2, ensure_ascii=False).split("\n"):
            print(printable_json(line))
