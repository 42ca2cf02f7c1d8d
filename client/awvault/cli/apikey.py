"""`awvault api-key`: make the gateway's key, and say what its clients need."""

from typing import TYPE_CHECKING

import click

from awvault.cli import options
from awvault.cli.context import settings_of

if TYPE_CHECKING:
    from awvault.apikeys import ApiKey
    from awvault.settings import Settings


@click.group("api-key", epilog="Example: awvault api-key new")
def api_key_command() -> None:
    """Make the key that programs show to aw-server, or print what they need.

    Without one, every program and every user of this machine can read your events
    from aw-server while it runs.
    """


@api_key_command.command("new", epilog="Example: awvault api-key new")
@options.vault_options
@click.pass_context
def new_command(ctx: click.Context) -> None:
    """Make a key, and say what to write where.

    Nothing changes until the setting names the key's file and aw-server starts again.
    """
    from awvault.apikeys import api_key_file, make_api_key
    from awvault.cli.output import printable
    from awvault.settings import CONFIG_FILE

    settings = settings_of(ctx)
    path = api_key_file(settings)
    key = make_api_key(path)
    print(f"The key is in {printable(str(path))}.")
    if settings.api_key_file is None:
        print(f"To ask for it, write into {settings.config_dir / CONFIG_FILE}\n")
        print(f"    api_key_file = '{printable(str(path))}'\n")
        print("and start aw-server again.")
    else:
        print("aw-server asks for it from its next start on.")
    _print_client_config(settings, key)


@api_key_command.command("show", epilog="Example: awvault api-key show")
@options.vault_options
@click.pass_context
def show_command(ctx: click.Context) -> None:
    """Say what ActivityWatch's clients need to show the key. Prints the key."""
    from awvault.apikeys import api_key_file, read_api_key

    settings = settings_of(ctx)
    _print_client_config(settings, read_api_key(api_key_file(settings)))


def _print_client_config(settings: "Settings", key: "ApiKey") -> None:
    from awvault.apikeys import client_config
    from awvault.cli.output import printable

    path, lines = client_config(settings, key)
    print(f"For ActivityWatch's clients, write into {printable(str(path))}\n")
    for line in lines:
        print(f"    {line}".rstrip())
    print(
        "\nActivityWatch's client library as it is on the package index (0.5.15), and"
    )
    print("so the watchers that use it, cannot send a key: what they send is refused,")
    print("and lost. `awvault status` counts what is refused.")
    print("\nOther programs send it as a header:\n")
    print(f"    Authorization: Bearer {key.reveal()}")
