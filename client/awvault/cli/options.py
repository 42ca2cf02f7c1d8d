"""Options that every command takes, before or after its name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_KEY: Final = "awvault.options."


def _remember(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
    # `meta` is one for a whole command line; what comes later counts.
    if value is not None and value is not False:
        ctx.meta[f"{_KEY}{parameter.name}"] = value


def vault_options(command: Decorated) -> Decorated:
    """Add the options that say which vault."""
    for option in reversed(
        (
            click.option(
                "--data-dir",
                type=click.Path(path_type=Path, file_okay=False),
                metavar="DIR",
                expose_value=False,
                callback=_remember,
                help="Where the vault lies (AWVAULT_DATA_DIR).",
            ),
            click.option(
                "--passphrase-file",
                type=click.Path(path_type=Path, dir_okay=False),
                metavar="FILE",
                expose_value=False,
                callback=_remember,
                help="Read the passphrase from FILE (AWVAULT_PASSPHRASE_FILE).",
            ),
            click.option(
                "--testing",
                is_flag=True,
                expose_value=False,
                callback=_remember,
                help="Use the vault of `aw-server --testing`.",
            ),
        )
    ):
        command = option(command)
    return command


def chosen(ctx: click.Context, name: str) -> Any:
    """Return what one of those options said; None: nothing."""
    return ctx.meta.get(_KEY + name)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for other programs."
)
