"""The frame of `awvault`: its list of commands, its options, its errors.

A command's module is loaded when that command runs, and what it needs is
imported inside its function: `awvault --help` loads click and little else.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from awvault.cli import options

if TYPE_CHECKING:
    from awvault.opening import Composition

EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130
"""What a shell reports for a program that Ctrl-C ended."""

PROGRAM: Final = "awvault"

# Each command: the module that has it, and its line in the list of commands.
COMMANDS: Final = {
    "init": ("setup", "Make the vault."),
    "status": ("state", "Say what is here and in what state."),
    "usage": ("state", "Count records and bytes."),
    "buckets": ("reading", "List the buckets."),
    "undelete": ("reading", "Bring a deleted bucket or event back."),
    "events": ("reading", "List the events of a bucket."),
    "query": ("querying", "Ask about the history in ActivityWatch's query language."),
    "add": ("writing", "Store one event."),
    "export": ("transfer", "Write buckets and events to a file, once or regularly."),
    "import": ("transfer", "Read what ActivityWatch has, or what export wrote."),
    "filter": ("filters", "What is kept out: list, set, test."),
    "verify": ("checking", "Open everything that is stored, and say what was checked."),
    "sync": ("syncing", "Exchange records with the host, now."),
    "repair": ("syncing", "Put back on the host what it lost."),
    "host-view": ("checking", "Show what the host keeps and can tell from it."),
    "doctor": ("checking", "Look for what is wrong, and say what to do."),
    "register": ("account", "Make the account known to a host."),
    "login": ("account", "Make this machine a client of an account at a host."),
    "logout": ("account", "Leave the host, or delete the account there."),
    "remote": ("account", "Show which host keeps the account."),
    "clients": ("account", "The clients of the account."),
    "sessions": ("account", "The account's sessions at its host."),
    "recovery": ("recovery", "Make a new recovery key, or use the one you have."),
    "api-key": ("apikey", "The key that programs show to aw-server, where one is set."),
    "service": ("service", "Run aw-server at login, in the background."),
    "passphrase": ("passphrase", "Change the passphrase, or prove it."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names, in the order in which a person meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"awvault.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("-", "_") + "_command")
        assert isinstance(command, click.Command)  # noqa: S101 - our own table
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _print_version(
    ctx: click.Context, _parameter: click.Parameter, value: bool
) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"{PROGRAM} {version('aw-server-e2ee')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
    epilog="Example: awvault events aw-watcher-window_laptop --limit 10",
)
@options.vault_options
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and exit.",
)
def program() -> None:
    """Own your data: the vault that aw-server keeps, and what is in it.

    Every command works while aw-server runs, through it, and while it does not.
    """


def run(arguments: Sequence[str], *, composition: "Composition | None" = None) -> int:
    """Run one command and return its exit status. Prints its errors."""
    try:
        result: Any = program.main(
            args=list(arguments),
            prog_name=PROGRAM,
            standalone_mode=False,
            obj=composition,
        )
        # A reader that is gone is noticed here, and not when Python ends.
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except click.Abort:
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        return _usage_error(error)
    except BrokenPipeError:
        # Nobody reads any more (`awvault events … | head`). Python would
        # complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the last place to say something
        return _failed(error)
    return result if isinstance(result, int) else 0


def _usage_error(error: click.ClickException) -> int:
    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(message, file=sys.stderr)
        return int(error.exit_code)
    # "DATA is missing" begins with a name, "Missing argument" with a word.
    if message[1:2].islower():
        message = message[:1].lower() + message[1:]
    complain(message.rstrip("."))
    context = getattr(error, "ctx", None)
    if isinstance(context, click.Context):
        hint(f"see `{context.command_path} --help`")
    return int(error.exit_code)


def _failed(error: Exception) -> int:
    from awvault.service import describe

    failure = describe(error)
    if failure is not None:
        complain(failure.message)
        for line in failure.hints:
            hint(line)
        return failure.exit_status
    if os.environ.get("AWVAULT_LOG_LEVEL") == "debug":
        traceback.print_exception(error)
    # The message of an error that nobody foresaw could quote what is in the vault.
    complain(f"internal error: {type(error).__name__}")
    hint("AWVAULT_LOG_LEVEL=debug shows where; look at it before you share it")
    return EXIT_FAILED


def complain(message: str) -> None:
    """Print an error."""
    from awvault.cli.output import printable

    print(f"{PROGRAM}: error: {printable(message)}", file=sys.stderr)


def hint(message: str) -> None:
    """Print what to do about an error."""
    from awvault.cli.output import printable

    print(f"{PROGRAM}: hint: {printable(message)}", file=sys.stderr)
