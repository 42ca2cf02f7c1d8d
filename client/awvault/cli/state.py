"""`awvault status` and `awvault usage`."""

import time
from typing import TYPE_CHECKING

import click

from awvault.cli import options
from awvault.cli.context import run_with_store, run_with_vault, settings_of
from awvault.cli.syncing import print_alarms

if TYPE_CHECKING:
    from awvault.service import Check, ClientStatus, RemoteStatus, Status


@click.command("status", epilog="Example: awvault status --json")
@options.vault_options
@options.json_option
@click.pass_context
def status_command(ctx: click.Context, as_json: bool) -> None:
    """Say what is here and in what state."""
    from awvault.cli.output import UNSETTLED, print_fields, print_json
    from awvault.service import bytes_text, counted

    status = run_with_vault(ctx, lambda service: service.status())
    if as_json:
        print_json(status)
        return
    exports = _exports(ctx)
    server = "not running"
    if status.server is not None:
        server = (
            f"{status.server.url} (pid {status.server.pid},"
            f" since {status.server.started})"
        )
    print_fields(
        [
            ("data directory", status.data_dir),
            ("aw-server", server),
            ("account", status.account_id),
            ("client", f"{status.client_id} (number {status.client_number})"),
            (
                "account document",
                f"version {status.document_version}, {status.document_hash}",
            ),
            ("epoch", status.epoch),
            ("buckets", status.buckets),
            ("events", status.events),
            (
                "records",
                f"{status.records} ({bytes_text(status.stored_bytes)})",
            ),
            (
                "journal",
                (
                    f"{counted(status.journal_rows, 'row')},"
                    f" {counted(status.journal_events, 'event')} to seal"
                ),
            ),
            ("passphrase from", status.passphrase_source),
            *_remote_fields(status.remote),
            *((check.name, check.detail) for check in exports if check.outcome == "ok"),
        ]
    )
    _print_clients(status)
    if status.remote is not None:
        print_alarms(status.remote.alarms)
        if status.remote.attempt_pending:
            print(f"\n{UNSETTLED}")
    if status.server is not None and status.server.refused_without_key:
        print(
            "\nTo be looked at:"
            f" {counted(status.server.refused_without_key, 'request')} did not show the"
            f" API key, the last at {status.server.last_refused}, and nothing of them"
            " was stored. `awvault api-key show` says what clients need."
        )
    for check in exports:
        if check.outcome != "ok":
            print(f"\nTo be looked at: {check.name}: {check.detail}. {check.hint}.")
    for problem in status.problems:
        print(f"\nTo be looked at: {problem}.")
    if status.machine_holds_passphrase:
        print(
            "\nThis machine holds its own passphrase, in"
            f" {status.passphrase_file}.\n"
            "That protects copies of the data directory, not this machine."
        )


def _exports(ctx: click.Context) -> "list[Check]":
    """Return what there is to say of scheduled exports: nothing if there are none."""
    settings = settings_of(ctx)
    if settings.export_to is None:
        return []
    # Only then: it loads what is slow to load.
    from awvault.transfer.scheduled import check_exports

    return list(check_exports(settings, now=time.time()))


def _remote_fields(remote: "RemoteStatus | None") -> list[tuple[str, object]]:
    from awvault.service import counted

    if remote is None:
        return [("host", "none: nothing leaves this machine")]
    fields: list[tuple[str, object]] = [
        ("host", f"{remote.url} (as {remote.username})"),
        ("schedule", remote.schedule),
        ("state", _STATES[remote.state]),
        ("last sync", remote.last_sync or "never"),
        ("next upload", remote.next_upload or "none is planned"),
        ("to upload", counted(remote.pending_records, "record")),
    ]
    if remote.schedule == "live" and remote.next_upload is None:
        del fields[4]
    if remote.failure is not None:
        fields.append(("last failure", remote.failure))
    return fields


# What the states of `RemoteStatus` mean.
_STATES = {
    "new": "not met yet",
    "synced": "in sync",
    "unreachable": "the host does not answer; it is tried again",
    "failed": "the last round failed",
    "attention": "something is to be done, see below",
    "alarm": "the host was caught at something, see below",
}


def _print_clients(status: "Status") -> None:
    from awvault.cli.output import print_table

    if len(status.clients) < 2 and status.remote is None:
        return
    print()
    print_table(
        ("client", "number", "label", "records", "newest record", "last seen"),
        [
            (
                client.client_id[:8],
                client.number,
                client.label,
                client.records,
                "" if client.head_hash is None else client.head_hash[:16],
                _last_seen(client),
            )
            for client in status.clients
        ],
    )


def _last_seen(client: "ClientStatus") -> str:
    if client.own:
        return "this one"
    seen = client.last_seen or "never"
    if client.revoked:
        return f"{seen} (revoked)"
    return f"{seen} (silent)" if client.silent else seen


@click.command("usage", epilog="Example: awvault usage")
@options.vault_options
@click.option(
    "--host", "of_host", is_flag=True, help="Ask the host what it keeps, instead."
)
@options.json_option
@click.pass_context
def usage_command(ctx: click.Context, of_host: bool, as_json: bool) -> None:
    """Count records and bytes."""
    if of_host:
        _print_host_usage(ctx, as_json=as_json)
    else:
        _print_usage(ctx, as_json=as_json)


def _print_host_usage(ctx: click.Context, *, as_json: bool) -> None:
    from awvault.cli.output import print_fields, print_json
    from awvault.service import bytes_text

    usage = run_with_vault(ctx, lambda service: service.host_usage())
    if as_json:
        print_json(usage)
        return
    quota = usage.quota_bytes
    print_fields(
        [
            ("host", usage.url),
            ("records", f"{usage.entries} ({bytes_text(usage.stored_bytes)})"),
            ("quota", "none" if quota is None else bytes_text(quota)),
        ]
    )


def _print_usage(ctx: click.Context, *, as_json: bool) -> None:
    from awvault.cli.output import print_fields, print_json, print_table
    from awvault.service import bytes_text, counted

    usage = run_with_store(ctx, lambda service: service.usage())
    if as_json:
        print_json(usage)
        return
    print_fields(
        [
            ("records", f"{usage.records} ({bytes_text(usage.stored_bytes)})"),
            (
                "journal",
                (
                    f"{counted(usage.journal_rows, 'row')}"
                    f" ({bytes_text(usage.journal_bytes)})"
                ),
            ),
            (
                "index",
                f"{counted(usage.index_rows, 'row')} ({bytes_text(usage.index_bytes)})",
            ),
            ("account documents", usage.documents),
            ("files", bytes_text(usage.file_bytes)),
            ("free on this disk", bytes_text(usage.free_bytes)),
        ]
    )
    if usage.clients:
        print()
        print_table(
            ("client", "records", "bytes"),
            [(c.client_id, c.records, c.stored_bytes) for c in usage.clients],
        )
