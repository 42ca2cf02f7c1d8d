"""`awvault export` and `awvault import`."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from awvault.cli import options
from awvault.cli.context import run_with_vault

if TYPE_CHECKING:
    from awvault.service import ExportRequest, ImportResult, Service

LINE_BYTES_MAX: Final = 2 * 1024 * 1024
"""More than any line of an export has; what is read before it is looked at."""
PROGRESS_LINES: Final = 1_000
READ_LINES: Final = 256


@click.command("export", epilog="Example: awvault export --output history.jsonl")
@click.option(
    "--output",
    default="-",
    metavar="FILE",
    help="Write to FILE (0600), which must not exist. Default: -, standard output.",
)
@click.option(
    "--bucket",
    "buckets",
    multiple=True,
    metavar="BUCKET",
    help="Only this; repeatable.",
)
@options.vault_options
@click.pass_context
def export_command(ctx: click.Context, output: str, buckets: tuple[str, ...]) -> None:
    """Write buckets and their events as JSON lines.

    What is written is not encrypted. `awvault import` reads it.
    """
    from awvault.cli.output import note
    from awvault.service import ExportRequest

    request = ExportRequest(buckets=list(buckets))
    if output == "-":
        run_with_vault(
            ctx, lambda service: _export(service, request, sys.stdout.buffer)
        )
        return
    with _new_file(Path(output)) as file:
        count = run_with_vault(ctx, lambda service: _export(service, request, file))
    note(f"{count} lines are in {output}, not encrypted")


@click.command("import", epilog="Example: awvault import history.jsonl")
@click.argument("file", metavar="FILE")
@options.vault_options
@options.json_option
@click.pass_context
def import_command(ctx: click.Context, file: str, as_json: bool) -> None:
    """Read what `awvault export` wrote; with -, from standard input.

    Events that are here already are not added again, so an import that was
    interrupted is simply repeated.
    """
    from awvault.cli.output import print_json
    from awvault.service import counted

    with _opened(file) as source:
        result = run_with_vault(ctx, lambda service: _import(service, source))
    if as_json:
        print_json(result)
        return
    print(
        f"added {counted(result.events_added, 'event')} and"
        f" {counted(result.buckets_created, 'bucket')}; here already:"
        f" {counted(result.events_present, 'event')}"
    )


async def _export(service: "Service", request: "ExportRequest", file: BinaryIO) -> int:
    from awvault.cli.output import json_text, progress_shown
    from awvault.service import Progress

    count = 0
    plain = file.isatty()
    with progress_shown("export") as show:
        lines = service.export_lines(request)
        async with contextlib.aclosing(lines):
            async for line in lines:
                shown = json_text(line).encode("utf-8") if plain else line
                file.write(shown + b"\n")
                count += 1
                if count % PROGRESS_LINES == 0:
                    show(Progress(phase="lines", done=count))
    file.flush()
    return count


async def _import(service: "Service", source: BinaryIO) -> "ImportResult":
    from awvault.cli.output import progress_shown

    with progress_shown("import") as show:
        return await service.import_lines(_lines(source), show)


async def _lines(source: BinaryIO) -> AsyncIterator[bytes]:
    """Yield lines without their newlines; reading may block, so not in the loop."""

    def read() -> list[bytes]:
        found = []
        for _ in range(READ_LINES):
            line = source.readline(LINE_BYTES_MAX)
            if not line:
                break
            found.append(line.removesuffix(b"\n").removesuffix(b"\r"))
        return found

    while lines := await asyncio.to_thread(read):
        for line in lines:
            yield line


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file that gets its name only once it is whole."""
    if path.exists():
        raise click.UsageError(f'"{path}" exists already')
    aside = path.with_name(path.name + ".part")
    try:
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise _file_error(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise _file_error(path, error) from error
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise _file_error(Path(name), error) from error
    with file:
        yield file


def _file_error(path: Path, error: OSError) -> click.ClickException:
    return click.ClickException(f'"{path}": {error.strerror or error}')
