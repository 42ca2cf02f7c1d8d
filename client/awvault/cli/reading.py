"""`awvault buckets` and `awvault events`."""

import contextlib
import json
import sys
from typing import TYPE_CHECKING

import click

from awvault.cli import options
from awvault.cli.context import run_with_vault
from awvault.cli.parameters import TIME

if TYPE_CHECKING:
    from awvault.service import EventsRequest, Service


@click.command("buckets", epilog="Example: awvault buckets --json")
@options.vault_options
@options.json_option
@click.pass_context
def buckets_command(ctx: click.Context, as_json: bool) -> None:
    """List the buckets."""
    from awvault.cli.output import print_json, print_table

    buckets = run_with_vault(ctx, lambda service: service.buckets())
    if as_json:
        print_json(buckets)
        return
    print_table(
        ("bucket", "type", "events", "newest ends at"),
        [(b.id, b.type, b.events, b.last_updated or "-") for b in buckets],
    )


@click.command(
    "events",
    epilog="Example: awvault events aw-watcher-afk_laptop --start 2026-11-24 --limit 5",
)
@click.argument("bucket")
@click.option(
    "--start", type=TIME, metavar="TIME", help="Only what ends then or later."
)
@click.option(
    "--end", type=TIME, metavar="TIME", help="Only what starts then or before."
)
@click.option(
    "--limit", type=click.IntRange(0), metavar="N", help="Only the newest N events."
)
@options.vault_options
@options.json_option
@click.pass_context
def events_command(
    ctx: click.Context,
    bucket: str,
    start: int | None,
    end: int | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List the events of a bucket, newest first.

    TIME is a date or a time as in ISO 8601; without an offset it is UTC.
    """
    from awvault.service import EventsRequest

    request = EventsRequest(bucket=bucket, start=start, end=end, limit=limit)
    run_with_vault(ctx, lambda service: _list(service, request, as_json=as_json))


async def _list(service: "Service", request: "EventsRequest", *, as_json: bool) -> None:
    from awvault.cli.output import json_text

    # The array is written as it comes: a bucket may hold a million events.
    separator = "["
    events = service.events(request)
    async with contextlib.aclosing(events):
        async for item in events:
            if as_json:
                sys.stdout.write(f"{separator}\n{json_text(item)}")
                separator = ","
            else:
                print(_line(item))
    if as_json:
        sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


def _line(item: bytes) -> str:
    from awvault.cli.output import printable

    event = json.loads(item)
    duration = "" if event["duration"] is None else f"{event['duration']:.3f} s"
    data = json.dumps(event["data"], ensure_ascii=False)
    return f"{event['timestamp']:<27}  {duration:>14}  {printable(data)}"
