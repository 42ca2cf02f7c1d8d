"""`awvault init`."""

import asyncio

import click

from awvault.cli import options
from awvault.cli.context import composition_of, settings_of


@click.command(
    "init",
    epilog="Example: awvault init --passphrase-file ~/secrets/vault-passphrase",
)
@options.vault_options
@click.pass_context
def init_command(ctx: click.Context) -> None:
    """Make the vault, with a passphrase that you choose.

    Asks for the passphrase on a terminal. Where nobody can answer, one is
    generated, as `aw-server` does at its first start.
    """
    from awvault.cli.output import note, print_fields
    from awvault.operations import init

    settings = settings_of(ctx)
    made = asyncio.run(init(settings, composition=composition_of(ctx)))
    for line in made.notes:
        note(line)
    print_fields(
        [
            ("data directory", made.data_dir),
            ("account", made.account_id),
            ("client", made.client_id),
        ]
    )
