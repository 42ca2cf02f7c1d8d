"""`awvault status` and `awvault usage`."""

import click

from awvault.cli import options
from awvault.cli.context import run_with_store, run_with_vault


@click.command("status", epilog="Example: awvault status --json")
@options.vault_options
@options.json_option
@click.pass_context
def status_command(ctx: click.Context, as_json: bool) -> None:
    """Say what is here and in what state."""
    from awvault.cli.output import print_fields, print_json
    from awvault.service import bytes_text, counted

    status = run_with_vault(ctx, lambda service: service.status())
    if as_json:
        print_json(status)
        return
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
        ]
    )
    for problem in status.problems:
        print(f"\nDamaged: {problem}.")
    if status.machine_holds_passphrase:
        print(
            "\nThis machine holds its own passphrase, in"
            f" {status.passphrase_file}.\n"
            "That protects copies of the data directory, not this machine."
        )


@click.command("usage", epilog="Example: awvault usage")
@options.vault_options
@options.json_option
@click.pass_context
def usage_command(ctx: click.Context, as_json: bool) -> None:
    """Count records and bytes."""
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
