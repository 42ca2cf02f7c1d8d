"""`awvault sync` and `awvault repair`."""

from typing import TYPE_CHECKING

import click

from awvault.cli import options
from awvault.cli.context import exit_with, run_with_vault

if TYPE_CHECKING:
    from awvault.service import AlarmInfo, RepairResult, Service, SyncResult


@click.command("sync", epilog="Example: awvault sync")
@options.vault_options
@options.json_option
@click.pass_context
def sync_command(ctx: click.Context, as_json: bool) -> None:
    """Exchange records with the host, now.

    Seals everything, uploads it, and brings what other clients uploaded.
    aw-server does this by itself, by the schedule that is set. Unless that is live,
    two records go with each sync, idle or not, so that the host cannot tell whether
    anything happened. Exit status 3: the host does not answer; 4: it was caught at
    something.
    """
    from awvault.cli.output import print_fields, print_json

    result = run_with_vault(ctx, _sync)
    if as_json:
        print_json(result)
    else:
        print_fields(
            [
                ("records received", result.pulled_records),
                ("events in them", result.pulled_events),
                ("records sent", _sent(result)),
            ]
        )
        if result.unreadable_records:
            print(
                f"\n{result.unreadable_records} of the records received were sealed by"
                " a faulty client, and nobody can read them."
            )
        print_alarms(result.alarms)
    exit_with(ctx, status_of(result.alarms))


def _sent(result: "SyncResult") -> str:
    if result.schedule == "live" or not result.pushed_records:
        return str(result.pushed_records)
    return (
        f"{result.pushed_records} (two each time, idle or not, so that the host cannot"
        " tell whether anything happened)"
    )


@click.command("repair", epilog="Example: awvault repair")
@options.vault_options
@options.json_option
@click.pass_context
def repair_command(ctx: click.Context, as_json: bool) -> None:
    """Put back on the host what it lost.

    Account documents, and records of every client, byte for byte as they were
    verified here. Nothing on the host is overwritten. Exit status 3: the host does
    not answer; 4: something could not be put back, or is wrong still.
    """
    from awvault.cli.output import print_fields, print_json, printable
    from awvault.service import EXIT_INTEGRITY

    result = run_with_vault(ctx, _repair)
    if as_json:
        print_json(result)
    else:
        print_fields(
            [
                ("account documents put back", result.documents),
                ("records put back", result.records),
                ("logs they are of", result.logs),
            ]
        )
        for conflict in result.conflicts:
            print(f"left as it is: {printable(conflict)}")
        print_alarms(result.alarms)
    if result.conflicts:
        exit_with(ctx, EXIT_INTEGRITY)
    exit_with(ctx, status_of(result.alarms))


async def _sync(service: "Service") -> "SyncResult":
    from awvault.cli.output import progress_shown

    with progress_shown("sync") as show:
        return await service.sync(show)


async def _repair(service: "Service") -> "RepairResult":
    from awvault.cli.output import progress_shown

    with progress_shown("repair") as show:
        return await service.repair(show)


def status_of(alarms: "list[AlarmInfo]") -> int:
    """Return the exit status that alarms stand for."""
    from awvault.service import EXIT_DONE, EXIT_FAILED, EXIT_INTEGRITY

    if any(alarm.integrity for alarm in alarms):
        return EXIT_INTEGRITY
    return EXIT_FAILED if alarms else EXIT_DONE


def print_alarms(alarms: "list[AlarmInfo]") -> None:
    """Print what the host was caught at, and what to do."""
    from awvault.cli.output import printable

    for alarm in alarms:
        whose = "" if not alarm.client_label else f' of client "{alarm.client_label}"'
        print(f"\n{alarm.name}{printable(whose)}, since {alarm.since}:")
        print(f"  {printable(alarm.sentence)}")
        print(f"  {printable(alarm.repair)}")
