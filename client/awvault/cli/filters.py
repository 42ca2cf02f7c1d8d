"""`awvault filter`: what is kept out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from awvault.cli import options
from awvault.cli.context import run_with_vault

if TYPE_CHECKING:
    from awvault.service import FiltersInfo

RULES_BYTES_MAX: Final = 1024 * 1024
EXAMPLES: Final = 3

file_type = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@click.group("filter", epilog="Example: awvault filter test rules.json")
def filter_command() -> None:
    """Rules that drop events, or replace part of them, before they are stored."""


@filter_command.command("list", epilog="Example: awvault filter list")
@options.vault_options
@options.json_option
@click.pass_context
def list_command(ctx: click.Context, as_json: bool) -> None:
    """List the rules in force, and what each has done.

    The counts begin anew with each start of aw-server, and with each change of the
    rules.
    """
    from awvault.cli.output import print_json

    found = run_with_vault(ctx, lambda service: service.filters())
    if as_json:
        print_json(found)
    else:
        _print_rules(found)


@filter_command.command("set", epilog="Example: awvault filter set rules.json")
@click.argument("file", type=file_type)
@options.vault_options
@options.json_option
@click.pass_context
def set_command(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Let the rules in FILE take the place of the account's.

    FILE holds a JSON array; with -, it is read from standard input. An empty array
    takes all rules away. Those in config.toml stay.
    """
    from awvault.cli.output import print_json
    from awvault.service import FiltersRequest

    request = FiltersRequest(rules=_read_rules(file))
    found = run_with_vault(ctx, lambda service: service.set_filters(request))
    if as_json:
        print_json(found)
    else:
        _print_rules(found)


@filter_command.command("test", epilog="Example: awvault filter test rules.json")
@click.argument("file", type=file_type, required=False)
@click.option(
    "--bucket", "buckets", multiple=True, metavar="ID", help="Only this bucket."
)
@click.option("--show", is_flag=True, help="Show some of the events.")
@options.vault_options
@options.json_option
@click.pass_context
def test_command(
    ctx: click.Context,
    file: Path | None,
    buckets: Sequence[str],
    show: bool,
    as_json: bool,
) -> None:
    """Say what the rules in FILE would have done to what is stored.

    Nothing is changed. Without FILE it is the rules in force.
    """
    from awvault.cli.output import note, print_json, print_table, printable
    from awvault.service import FilterTestRequest, counted

    request = FilterTestRequest(
        rules=None if file is None else _read_rules(file),
        buckets=list(buckets),
        examples=EXAMPLES if show else 0,
    )
    result = run_with_vault(ctx, lambda service: service.try_filters(request))
    if as_json:
        print_json(result)
        return
    for number, rule in enumerate(result.rules, start=1):
        print(f"rule {number}: {printable(rule)}")
    print_table(
        ("rule", "bucket", "events"),
        [(row.rule, row.bucket, row.events) for row in result.tested],
    )
    for row in result.tested:
        for example in row.examples:
            print(printable(f"rule {row.rule}, {row.bucket}: {example}"))
    print(
        f"of {counted(result.events, 'event')}, {result.dropped} would be dropped and"
        f" {result.redacted} changed"
    )
    if result.dropped or result.redacted:
        note("what is stored stays as it is: rules are for what comes in from now on")


def _print_rules(found: "FiltersInfo") -> None:
    from awvault.cli.output import note, print_table

    if found.problem is not None:
        note(found.problem)
    print_table(
        ("rule", "of", "dropped", "changed", "too slow", "says"),
        [
            (
                row.number,
                "this machine" if row.source == "config" else "the account",
                row.dropped,
                row.redacted,
                row.too_slow,
                row.rule,
            )
            for row in found.rules
        ],
    )


def _read_rules(file: Path) -> str:
    from awvault.errors import Error

    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(RULES_BYTES_MAX + 1)
        else:
            with file.open("rb") as source:
                raw = source.read(RULES_BYTES_MAX + 1)
    except OSError as error:
        raise Error(f'cannot read "{file}": {error.strerror or error}') from error
    if len(raw) > RULES_BYTES_MAX:
        raise Error(f'"{file}" is larger than {RULES_BYTES_MAX} bytes')
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Error(f'"{file}" is not UTF-8: byte {error.start} is none') from None
