"""`aw-server`: the composition root, and the only door here to the vault.

The vault is imported inside a function, once the command line is known to ask
for localhost mode: the host itself never needs it.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from awserver.logs import configure_logging

if TYPE_CHECKING:
    from awvault.opening import Composition

PROGRAM: Final = "aw-server"
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130
"""What a shell reports for a program that Ctrl-C ended."""


def _print_version(
    ctx: click.Context, _parameter: click.Parameter, value: bool
) -> None:
    if value and not ctx.resilient_parsing:
        from awserver import __version__

        click.echo(f"{PROGRAM} {__version__}")
        ctx.exit()


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
    epilog="Example: aw-server --port 5700 --data-dir ~/vault",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Loopback address to listen on. Default: 127.0.0.1.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Default: 5600, with --testing 5666.",
)
@click.option(
    "--testing",
    is_flag=True,
    help="Its own data directory and port; deleting buckets is easy.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the vault lies (AWVAULT_DATA_DIR).",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read the passphrase from FILE (AWVAULT_PASSPHRASE_FILE).",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What to log on standard error. Default: info.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and exit.",
)
@click.pass_context
def program(
    ctx: click.Context,
    host: str | None,
    port: int | None,
    testing: bool,
    data_dir: Path | None,
    passphrase_file: Path | None,
    log_level: str | None,
) -> int:
    """Keep your activity data, sealed, on this machine.

    Runs in the foreground, answers ActivityWatch's watchers on
    http://127.0.0.1:5600, and says when it is ready. Ctrl-C ends it; nothing that
    was stored is lost.
    """
    from awvault.localhost import serve
    from awvault.opening import PRODUCT, Composition
    from awvault.settings import Overrides, read_settings

    settings = read_settings(
        Overrides(
            host=host,
            port=port,
            testing=testing,
            data_dir=data_dir,
            passphrase_file=passphrase_file,
            log_level=log_level,
        )
    )
    configure_logging(settings.log_level)
    return serve(settings, ctx.find_object(Composition) or PRODUCT)


def run(arguments: Sequence[str], *, composition: "Composition | None" = None) -> int:
    """Run the command and return its exit status. Prints its errors."""
    try:
        result = program.main(
            args=list(arguments),
            prog_name=PROGRAM,
            standalone_mode=False,
            obj=composition,
        )
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except click.Abort:
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        message = error.format_message()
        if message[1:2].islower():
            message = message[:1].lower() + message[1:]
        _complain(message.rstrip("."))
        _hint(f"see `{PROGRAM} --help`")
        return int(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last place to say something
        return _failed(error)
    return result if isinstance(result, int) else 0


def main() -> None:
    """Run the command that the shell was given, and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def _failed(error: Exception) -> int:
    from awvault.service import describe

    failure = describe(error)
    if failure is not None:
        _complain(failure.message)
        for line in failure.hints:
            _hint(line)
        return failure.exit_status
    if os.environ.get("AWVAULT_LOG_LEVEL") == "debug":
        traceback.print_exception(error)
    # The message of an error that nobody foresaw could quote what is in the vault.
    _complain(f"internal error: {type(error).__name__}")
    _hint("AWVAULT_LOG_LEVEL=debug shows where; look at it before you share it")
    return EXIT_FAILED


def _complain(message: str) -> None:
    print(f"{PROGRAM}: error: {_printable(message)}", file=sys.stderr)


def _hint(message: str) -> None:
    print(f"{PROGRAM}: hint: {_printable(message)}", file=sys.stderr)


def _printable(message: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in message)
