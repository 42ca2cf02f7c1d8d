"""`awvault verify`, `awvault host-view` and `awvault doctor`."""

from typing import TYPE_CHECKING

import click

from awvault.cli import options
from awvault.cli.context import exit_with, run_with_store, run_with_vault, settings_of

if TYPE_CHECKING:
    from awvault.service import (
        HostVerified,
        HostView,
        Service,
        VerifyRequest,
        VerifyResult,
    )


@click.command("verify", epilog="Example: awvault verify")
@click.option("--full", is_flag=True, help="On the host, check bodies too.")
@click.option("--no-host", is_flag=True, help="Check only what is stored here.")
@options.vault_options
@options.json_option
@click.pass_context
def verify_command(
    ctx: click.Context, full: bool, no_host: bool, as_json: bool
) -> None:
    """Open everything that is stored, and say what was checked.

    Every account document, every record with its signature and its place in the
    chain, every journal row, every index row. Where there is a host, all documents
    and records there too, and with --full their bodies. Exit status 4: something is
    wrong; 3: the host could not be checked.
    """
    from awvault.cli.output import print_fields, print_json, printable
    from awvault.service import EXIT_INTEGRITY, EXIT_UNREACHABLE, VerifyRequest

    request = VerifyRequest(host=not no_host, full=full)
    result = run_with_vault(ctx, lambda service: _verify(service, request))
    host = result.host
    findings = [*result.findings, *(() if host is None else host.findings)]
    if as_json:
        print_json(result)
    else:
        print_fields(
            [
                ("account documents", result.documents),
                ("records opened", result.records),
                ("signatures", result.signatures),
                ("links of the chain", result.chain_links),
                ("events in records", result.events),
                ("journal rows opened", result.journal_rows),
                ("events in the journal", result.journal_events),
                ("index rows", result.index_rows),
                *_host_fields(host),
                ("found wrong", len(findings)),
            ]
        )
        for finding in findings:
            print(f"{printable(finding.where)}: {printable(finding.problem)}")
    if findings:
        exit_with(ctx, EXIT_INTEGRITY)
    if host is not None and host.unreachable is not None:
        exit_with(ctx, EXIT_UNREACHABLE)


def _host_fields(host: "HostVerified | None") -> list[tuple[str, object]]:
    from awvault.cli.output import printable

    if host is None:
        return []
    if host.unreachable is not None:
        return [("host", f"not checked: {printable(host.unreachable)}")]
    return [
        ("documents on the host", host.documents),
        ("records on the host", host.records),
        ("bodies of them", host.bodies),
    ]


async def _verify(service: "Service", request: "VerifyRequest") -> "VerifyResult":
    from awvault.cli.output import progress_shown

    with progress_shown("verify") as show:
        return await service.verify(request, show)


@click.command("host-view", epilog="Example: awvault host-view --json")
@click.option("--local", is_flag=True, help="Show this store, and ask no host.")
@options.vault_options
@options.json_option
@click.pass_context
def host_view_command(ctx: click.Context, local: bool, as_json: bool) -> None:
    """Show what the host keeps of the account, fetched from there now.

    Without a host, or with --local: what a host of this store would know, from its
    tables alone; that needs no passphrase. Who has a copy of the data directory sees
    more than a host: the journal and the index, which `awvault usage` counts. Exit
    status 3: the host does not answer.
    """
    from awserver.documents import LOCAL_USERNAME
    from awvault.cli.output import print_json

    view = run_with_store(ctx, lambda service: service.host_view())
    # An account of this machine alone has no host, whatever the passphrase opens.
    is_known = any(account.username != LOCAL_USERNAME for account in view.accounts)
    if is_known and not local:
        view = run_with_vault(ctx, lambda service: service.hosted_view())
    if as_json:
        print_json(view)
        return
    _print_host_view(view)


def _print_host_view(view: "HostView") -> None:
    from awvault.cli.output import print_fields, print_table, printable
    from awvault.service import bytes_text, counted

    if view.host is None:
        print("A host of this store knows, for each account:\n")
    else:
        print(f"{printable(view.host)} keeps:\n")
    for account in view.accounts:
        print_fields(
            [
                ("account", account.account_id),
                ("username", account.username),
                ("entries", counted(account.entries, "sealed record")),
                ("stored", bytes_text(account.stored_bytes)),
                ("account documents", account.document_versions),
                ("their size", bytes_text(account.document_bytes)),
                ("epoch", account.epoch),
                ("wrapped keys", bytes_text(account.keys_blob_bytes)),
                ("salt", account.salt),
                ("login public key", account.login_public),
                ("recovery public key", account.recovery_login_public),
                ("signing public key", account.signing_public),
            ]
        )
        print()
        print_table(
            ("client", "number", "public key"),
            [(c.client_id, c.number, c.public_key) for c in account.client_keys],
        )
        if not account.clients:
            print("\nno client has stored a record yet")
            continue
        print()
        print_table(
            ("client", "records", "bytes", "newest record"),
            [
                (c.client_id, c.records, c.stored_bytes, f"{c.head_seq} {c.head_hash}")
                for c in account.clients
            ],
        )
        for client in account.clients:
            if client.sizes is None:
                continue
            print(f"\nrecords of {client.client_id} by size (padded):")
            print_table(
                ("bytes", "records"),
                [(size.stored_bytes, size.records) for size in client.sizes],
            )
    if view.host is not None:
        quota = view.quota_bytes
        print(f"\nquota: {'none' if quota is None else bytes_text(quota)}")
        print(f"{counted(len(view.sessions), 'session')} but for the one that asked")
        if view.sessions:
            print_table(
                ("session", "client", "created", "seen"),
                [
                    (one.id, one.client_id, one.created, one.seen)
                    for one in view.sessions
                ],
            )
    print(
        "\nA host that is reached over a network also knows the network addresses"
        "\nand the times of requests. It knows nothing else."
        "\n\nWho has a copy of this disk also sees the journal and the index, sealed:"
        "\nhow many rows they have, and their sizes. `awvault usage` counts them."
    )


@click.command("doctor", epilog="Example: awvault doctor")
@options.vault_options
@options.json_option
@click.pass_context
def doctor_command(ctx: click.Context, as_json: bool) -> None:
    """Look for what is wrong on this machine, and say what to do.

    Needs no passphrase. Exit status 1: something must be mended.
    """
    import asyncio

    from awvault.cli.diagnosis import diagnose
    from awvault.cli.output import print_json, printable
    from awvault.service import EXIT_FAILED

    checks = asyncio.run(diagnose(settings_of(ctx)))
    if as_json:
        print_json(checks)
    else:
        for check in checks:
            print(f"{check.outcome:<4}  {check.name}: {printable(check.detail)}")
            if check.hint:
                print(f"      {printable(check.hint)}")
    if any(check.outcome == "fail" for check in checks):
        exit_with(ctx, EXIT_FAILED)
