"""`awvault export` and `awvault import`."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from awvault.cli import options
from awvault.cli.context import run_with_vault
from awvault.cli.parameters import TIME

if TYPE_CHECKING:
    from awvault.service import ExportRequest, ImportResult, Service
    from awvault.transfer.formats import Tally
    from awvault.transfer.jsonstream import Read
    from awvault.transfer.parts import Part

READ_BYTES: Final = 512 * 1024
PROGRESS_EVENTS: Final = 1_000

FORMS: Final = ("lines", "activitywatch", "csv", "parquet")

Source = Callable[[], "AsyncIterator[Part]"]


@click.command("export", epilog="Example: awvault export --output history.jsonl")
@click.option(
    "--output",
    default="-",
    metavar="FILE",
    help="Write to FILE (0600), which must not exist. Default: -, standard output.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    default="lines",
    help="JSON lines (the default), what ActivityWatch imports, CSV, or Parquet.",
)
@click.option(
    "--bucket",
    "buckets",
    multiple=True,
    metavar="BUCKET",
    help="Only this; repeatable.",
)
@click.option(
    "--start", type=TIME, metavar="TIME", help="Only what ends then or later."
)
@click.option(
    "--end", type=TIME, metavar="TIME", help="Only what starts then or before."
)
@click.option(
    "--every",
    type=click.Choice(["hour", "day", "week"]),
    help="Go on, and write to --to again and again.",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="With --every: the directory to write to; it must exist.",
)
@click.option(
    "--keep",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="With --every: how many exports stay there. Default: 14.",
)
@options.vault_options
@click.pass_context
def export_command(  # noqa: PLR0917 - click passes options by name
    ctx: click.Context,
    output: str,
    form: str,
    buckets: tuple[str, ...],
    start: int | None,
    end: int | None,
    every: str | None,
    to: Path | None,
    keep: int | None,
) -> None:
    """Write buckets and their events to a file.

    What is written is not encrypted. `awvault import` reads the formats lines and
    activitywatch; events come whole, also where only a part lies in the range.
    """
    from awvault.cli.output import note
    from awvault.service import ExportRequest
    from awvault.transfer.formats import check_form, request_for

    check_form(form)
    request = request_for(
        ExportRequest(buckets=list(buckets), start=start, end=end), form
    )
    if (every is None) != (to is None) or (keep is not None and every is None):
        raise click.UsageError("--every, --to and --keep go together")
    if every is not None and to is not None:
        if output != "-":
            raise click.UsageError("give --output or --every, not both")
        _export_regularly(ctx, request, form, to=to, every=every, keep=keep)
        return
    if output == "-":
        if form == "parquet" and sys.stdout.isatty():
            raise click.UsageError("Parquet is not for a terminal: give --output")
        run_with_vault(
            ctx, lambda service: _export(service, request, form, sys.stdout.buffer)
        )
        return
    with _new_file(Path(output)) as file:
        tally = run_with_vault(
            ctx, lambda service: _export(service, request, form, file)
        )
    note(f"{output} holds {tally}, not encrypted")


@click.command("import", epilog="Example: awvault import aw-buckets-export.json")
@click.argument("source", metavar="[FILE|URL]", required=False)
@click.option(
    "--from-activitywatch",
    is_flag=True,
    help="Read the databases in ActivityWatch's own folder.",
)
@click.option(
    "--insecure", is_flag=True, help="Allow plain http to another machine's server."
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The key that the server at URL asks for is in FILE.",
)
@options.vault_options
@options.json_option
@click.pass_context
def import_command(
    ctx: click.Context,
    source: str | None,
    from_activitywatch: bool,
    insecure: bool,
    api_key_file: Path | None,
    as_json: bool,
) -> None:
    """Read events from ActivityWatch, or from an export; twice adds nothing more.

    FILE is what ActivityWatch or `awvault export` wrote, or a database of
    ActivityWatch's server; with -, standard input. URL is a running server, such as
    http://localhost:5600. An import that was interrupted is simply repeated.
    """
    if (source is None) != from_activitywatch:
        raise click.UsageError(
            "give a file, a URL, or --from-activitywatch: one of the three"
        )
    if source is not None and "://" in source:
        result, error = _import_server(
            ctx, source, insecure=insecure, key_file=api_key_file
        )
    elif source is not None:
        with _opened(source) as file:
            parts = _file_source(file, source)
            result, error = run_with_vault(ctx, lambda service: _import(service, parts))
    else:
        result, error = run_with_vault(
            ctx, lambda service: _import(service, _databases_source())
        )
    if error is not None:
        from awvault.cli.output import note
        from awvault.service import counted

        if result.buckets:
            note(
                f"added {counted(result.events_added, 'event')} and"
                f" {counted(result.buckets_created, 'bucket')} before what is wrong;"
                f" here already: {counted(result.events_present, 'event')}"
            )
        raise error
    _print_result(result, as_json=as_json)


def _print_result(result: "ImportResult", *, as_json: bool) -> None:
    from awvault.cli.output import print_json, print_table
    from awvault.service import counted

    if as_json:
        print_json(result)
        return
    if result.buckets:
        print_table(
            ("bucket", "read", "new", "here already", "extended", "dropped", "changed"),
            [
                (
                    bucket.id + (" (new)" if bucket.created else ""),
                    bucket.events_read,
                    bucket.events_added,
                    bucket.events_present,
                    bucket.events_extended,
                    bucket.events_filtered,
                    bucket.events_changed,
                )
                for bucket in result.buckets
            ],
        )
    print(
        f"added {counted(result.events_added, 'event')} and"
        f" {counted(result.buckets_created, 'bucket')}; here already:"
        f" {counted(result.events_present, 'event')}"
    )
    if result.events_adjusted:
        print(
            f"{counted(result.events_adjusted, 'event')} had a negative duration,"
            " which is 0 now"
        )


def _import_server(
    ctx: click.Context, url: str, *, insecure: bool, key_file: Path | None
) -> "tuple[ImportResult, Exception | None]":
    from uuid import UUID

    from awvault.apikeys import read_api_key
    from awvault.transfer.servers import ActivityWatchServer

    key = None if key_file is None else read_api_key(key_file)
    server = ActivityWatchServer(url, insecure=insecure, key=key)

    async def work(service: "Service") -> "tuple[ImportResult, Exception | None]":
        device_id = await server.device_id()
        status = await service.status()
        if device_id == str(UUID(status.client_id)):
            raise click.ClickException(
                f"{server.url} is the server of this very vault: what it has is here;"
                " name another server, such as ActivityWatch's"
            )
        return await _import(service, server.parts)

    return run_with_vault(ctx, work)


def _export_regularly(
    ctx: click.Context,
    request: "ExportRequest",
    form: str,
    *,
    to: Path,
    every: str,
    keep: int | None,
) -> None:
    """Export again and again, until Ctrl-C. The first one that fails ends it."""
    from awvault.cli.output import note
    from awvault.settings import EXPORT_KEEP_DEFAULT
    from awvault.transfer.folders import PERIODS, ExportFolder
    from awvault.transfer.scheduled import LOOK_SECONDS, export_to

    folder = ExportFolder(to, form=form)
    while True:
        try:
            now = time.time()
            wait = folder.seconds_until(PERIODS[every], now=now)
            if wait <= 0:
                run_with_vault(
                    ctx,
                    lambda service: export_to(
                        folder, service, request, form, now=time.time()
                    ),
                )
                folder.prune(EXPORT_KEEP_DEFAULT if keep is None else keep)
                note(f"exported to {to}, not encrypted; the next time in a {every}")
                continue
        except OSError as error:
            raise _file_error(to, error) from error
        # The clock is looked at again: a machine that slept did not count.
        time.sleep(min(wait, LOOK_SECONDS))


async def _export(
    service: "Service", request: "ExportRequest", form: str, file: BinaryIO
) -> "Tally":
    from awvault.cli.output import json_text, progress_shown
    from awvault.service import Progress
    from awvault.transfer.formats import Tally, writer_for

    tally = Tally(form)
    shown = 0
    plain = file.isatty()
    with progress_shown("export") as show:
        lines = service.export_lines(request)
        async with contextlib.aclosing(lines):
            with writer_for(form, file) as write:
                async for line in lines:
                    write(json_text(line).encode("utf-8") if plain else line)
                    tally.add(line)
                    if tally.events - shown >= PROGRESS_EVENTS:
                        shown = tally.events
                        show(Progress(phase="events", done=shown))
    file.flush()
    return tally


async def _import(
    service: "Service", source: Source
) -> "tuple[ImportResult, Exception | None]":
    """Import what `source` gives; return what it did, and why the source ended."""
    from awvault.cli.output import progress_shown
    from awvault.transfer.sources import Upload

    upload = Upload(source())
    with progress_shown("import") as show:
        result = await service.import_parts(upload.lines(), show)
    return result, upload.error


def _file_source(file: BinaryIO, name: str) -> Source:
    """Return what gives the parts of a file, whatever it is."""

    def parts() -> "AsyncIterator[Part]":
        from awvault.transfer.databases import database_parts
        from awvault.transfer.sources import SQLITE_HEADER, file_parts

        if name != "-" and file.read(len(SQLITE_HEADER)) == SQLITE_HEADER:
            return database_parts(Path(name))
        if name != "-":
            file.seek(0)
        return file_parts(_reading(file))

    return parts


def _databases_source() -> Source:
    """Return what gives the parts of ActivityWatch's own databases."""
    from awvault.cli.output import note
    from awvault.transfer.databases import FOLDER, database_parts, find_databases

    paths = find_databases()
    if not paths:
        raise click.ClickException(
            f"there is no database of {FOLDER}'s servers in its folder of this user"
        )

    async def parts() -> "AsyncIterator[Part]":
        for path in paths:
            note(f"reading {path}")
            async for part in database_parts(path):
                yield part

    return parts


def _reading(file: BinaryIO) -> "Read":
    """Return what reads on; reading may block, so not in the event loop."""

    async def read() -> bytes:
        return await asyncio.to_thread(file.read, READ_BYTES)

    return read


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file that gets its name only once it is whole."""
    from awvault.transfer.folders import new_private_file

    if path.exists():
        raise click.ClickException(
            f'"{path}" exists already: name another file, or move that one away'
        )
    try:
        with new_private_file(path) as file:
            yield file
    except OSError as error:
        raise _file_error(path, error) from error


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
