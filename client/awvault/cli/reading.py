"""`awvault buckets`, `awvault undelete` and `awvault events`."""

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Final

import click

from awvault.cli import options
from awvault.cli.context import run_with_vault
from awvault.cli.parameters import TIME

if TYPE_CHECKING:
    from awvault.service import EventsRequest, Service

EVENT_ID_MAX: Final = 2**63 - 1


@click.command("buckets", epilog="Example: awvault buckets --json")
@click.option("--deleted", is_flag=True, help="Those that were deleted.")
@options.vault_options
@options.json_option
@click.pass_context
def buckets_command(ctx: click.Context, deleted: bool, as_json: bool) -> None:
    """List the buckets.

    A bucket that was deleted is hidden, and `awvault undelete` brings it back.
    """
    from awvault.cli.output import print_json, print_table

    if deleted:
        hidden = run_with_vault(ctx, lambda service: service.deleted_buckets())
        if as_json:
            print_json(hidden)
            return
        print_table(
            ("number", "bucket", "type", "events", "newest ends at"),
            [(b.number, b.id, b.type, b.events, b.last_updated or "-") for b in hidden],
        )
        return
    buckets = run_with_vault(ctx, lambda service: service.buckets())
    if as_json:
        print_json(buckets)
        return
    print_table(
        ("bucket", "type", "events", "newest ends at"),
        [(b.id, b.type, b.events, b.last_updated or "-") for b in buckets],
    )


@click.command("undelete", epilog="Example: awvault undelete aw-watcher-afk_laptop")
@click.argument("bucket")
@click.option("--name", metavar="NAME", help="The name it gets. Default: its own.")
@click.option(
    "--event",
    "event_ids",
    type=click.IntRange(0, EVENT_ID_MAX),
    multiple=True,
    metavar="ID",
    help="A deleted event of a bucket that is there; repeatable.",
)
@options.vault_options
@options.json_option
@click.pass_context
def undelete_command(
    ctx: click.Context,
    bucket: str,
    name: str | None,
    event_ids: tuple[int, ...],
    as_json: bool,
) -> None:
    """Bring a deleted bucket back, with its events; or deleted events.

    BUCKET is its name, or its number in `awvault buckets --deleted`. With --event
    it is a bucket that is there. `awvault events BUCKET --history` tells the IDs.
    """
    from awvault.cli.output import note, print_json, printable
    from awvault.service import UndeleteRequest, counted

    if event_ids and name is not None:
        raise click.UsageError("--name is for a bucket, and --event for events of one")
    # Each once, in the order given.
    request = UndeleteRequest(
        bucket=bucket, name=name, event_ids=list(dict.fromkeys(event_ids))
    )
    result = run_with_vault(ctx, lambda service: service.undelete(request))
    if as_json:
        print_json(result)
        return
    if name is None and result.bucket != result.before:
        note(f'there is a bucket "{result.before}" again, so this one has another name')
    if event_ids:
        print(f"{printable(result.bucket)}: {counted(result.events, 'event')} back")
        return
    print(f"{printable(result.bucket)}: {counted(result.events, 'event')}")


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
@click.option(
    "--history",
    is_flag=True,
    help="Every revision: originals, corrections and deletions.",
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
    history: bool,
    as_json: bool,
) -> None:
    """List the events of a bucket, newest first.

    TIME is a date or a time as in ISO 8601; without an offset it is UTC.
    """
    from awvault.service import EventsRequest

    request = EventsRequest(
        bucket=bucket, start=start, end=end, limit=limit, history=history
    )
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
    line = f"{event['timestamp']:<27}  {duration:>14}"
    if "revision" in event:
        mark = "*" if event["current"] else " "
        who = event["client"] or "-"
        line += f"  {event['id']:>16}  {mark} {event['change']:<10}  {who:<12}"
    return printable(f"{line}  {data}")
