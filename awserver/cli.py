"""`aw-server`: the composition root, and the only door here to the vault.

The vault is imported inside a function, once the command line is known to ask
for localhost mode: the host itself never needs it.
"""

import asyncio
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from awserver.errors import OperatorError, ServerError
from awserver.logs import configure_logging

if TYPE_CHECKING:
    from awserver.settings import HostSettings
    from awvault.opening import Composition

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

PROGRAM: Final = "aw-server"
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130
"""What a shell reports for a program that Ctrl-C ended."""
QUOTA_DEFAULT: Final = "default"
"""The quota of an account that has none of its own."""
QUOTA_BYTES_MAX: Final = 2**63 - 1
"""The largest number that the database holds."""


def _print_version(
    ctx: click.Context, _parameter: click.Parameter, value: bool
) -> None:
    if value and not ctx.resilient_parsing:
        from awserver import __version__

        click.echo(f"{PROGRAM} {__version__}")
        ctx.exit()


@click.group(
    invoke_without_command=True,
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
    "--webui",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Serve the built files of a web interface at / (AWVAULT_WEBUI).",
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
    webui: Path | None,
    log_level: str | None,
) -> int:
    """Keep your activity data, sealed, on this machine.

    Runs in the foreground, answers ActivityWatch's watchers on
    http://127.0.0.1:5600, and says when it is ready. Ctrl-C ends it; nothing that
    was stored is lost.

    The commands are for whoever runs a host, which keeps the sealed data of others.
    """
    if ctx.invoked_subcommand is not None:
        _refuse_options_before(ctx)
        return 0
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
            webui=webui,
            log_level=log_level,
        )
    )
    configure_logging(settings.log_level)
    return serve(settings, ctx.find_object(Composition) or PRODUCT)


def _refuse_options_before(ctx: click.Context) -> None:
    """Refuse options of localhost mode that stand before a command's name."""
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(str(parameter.name))
        if source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{parameter.opts[0]} before the name of a command is for aw-server"
                " itself",
                ctx,
            )


# -- a host --------------------------------------------------------------------


def _host_options(command: Decorated) -> Decorated:
    """Add the options that say which host."""
    for option in reversed(
        (
            click.option(
                "--config",
                type=click.Path(path_type=Path, dir_okay=False),
                metavar="FILE",
                help="Read settings from FILE (AWSERVER_CONFIG).",
            ),
            click.option(
                "--listen",
                metavar="ADDRESS:PORT",
                help="Where to listen (AWSERVER_LISTEN). Default: 127.0.0.1:5601.",
            ),
            click.option(
                "--data-dir",
                type=click.Path(path_type=Path, file_okay=False),
                metavar="DIR",
                help="Where the host's data lies (AWSERVER_DATA_DIR).",
            ),
            click.option(
                "--origin",
                "origins",
                multiple=True,
                metavar="URL",
                help="An address by which people know this host; may be repeated.",
            ),
            click.option(
                "--registration",
                type=click.Choice(["closed", "invite", "open"]),
                help="Who may make an account. Default: closed.",
            ),
            click.option(
                "--quota-bytes",
                type=click.IntRange(min=0),
                metavar="BYTES",
                help="What one account may store. Default: no limit.",
            ),
            click.option(
                "--trusted-proxy",
                "trusted_proxies",
                multiple=True,
                metavar="ADDRESS",
                help="Believe X-Forwarded-For from here; may be repeated.",
            ),
            click.option(
                "--log-level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                help="What to log on standard error. Default: info.",
            ),
        )
    ):
        command = option(command)
    return command


_json_option: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for other programs."
)


def _host_settings(given: Mapping[str, Any]) -> "HostSettings":
    from awserver.settings import Overrides, read_settings

    return read_settings(Overrides(**given))


@contextlib.contextmanager
def _of_host() -> Iterator[None]:
    """Say of the host's errors what whoever runs it can do, without the vault."""
    try:
        yield
    except ServerError as error:
        raise OperatorError(
            str(error), hint="docs/operations/host.md says how to restore a backup"
        ) from error


@program.command(
    "host",
    epilog="Example: aw-server host --listen 127.0.0.1:5601"
    " --origin https://sync.example.org --registration invite",
)
@_host_options
def host_command(**given: Any) -> int:
    """Keep the sealed data of accounts, for their clients.

    Runs in the foreground and says when it is ready. It speaks plain HTTP: let a
    reverse proxy speak TLS.
    """
    from awserver.app import serve

    settings = _host_settings(given)
    configure_logging(settings.log_level)
    with _of_host():
        return serve(settings)


@program.group("admin")
def admin_group() -> None:
    """Look after a host. Works while it runs."""


@admin_group.command(
    "invite", epilog="Example: aw-server admin invite --data-dir /var/lib/aw-server"
)
@_host_options
@_json_option
def invite_command(as_json: bool, **given: Any) -> int:
    """Make an invitation: a code with which one person makes one account.

    It is printed once, and cannot be shown again.
    """
    from awserver.app import make_invite

    settings = _host_settings(given)
    with _of_host():
        code = asyncio.run(make_invite(settings))
    if as_json:
        _print_json({"code": code})
    else:
        click.echo(code)
    if settings.registration.value == "closed":
        _hint("it serves where the host runs with --registration invite or open")
    return 0


@admin_group.command(
    "backup", epilog="Example: aw-server admin backup /backup/host-2026-11-24.db"
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_host_options
def backup_command(file: Path, **given: Any) -> int:
    """Write a copy of the host's database to FILE, which must not exist."""
    from awserver.app import make_backup

    with _of_host():
        asyncio.run(make_backup(_host_settings(given), file))
    return 0


@admin_group.group("accounts")
def accounts_group() -> None:
    """Look at the accounts of a host."""


@accounts_group.command("list", epilog="Example: aw-server admin accounts list --json")
@_host_options
@_json_option
def accounts_list_command(as_json: bool, **given: Any) -> int:
    """List the accounts, and what each has stored."""
    from awserver.app import list_accounts

    with _of_host():
        found = asyncio.run(list_accounts(_host_settings(given)))
    if as_json:
        _print_json({"accounts": found})
        return 0
    columns = ("account", "username", "clients", "entries", "stored_bytes", "standing")
    rows = [columns, *(tuple(str(one[name]) for name in columns) for one in found)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    for row in rows:
        line = "  ".join(
            text.ljust(width) for text, width in zip(row, widths, strict=True)
        )
        click.echo(line.rstrip())
    return 0


_account_argument: Final = click.argument("account", metavar="ACCOUNT")
"""A username, or an id as `list` prints it."""


@accounts_group.command(
    "show", epilog="Example: aw-server admin accounts show alice --json"
)
@_account_argument
@_host_options
@_json_option
def accounts_show_command(account: str, as_json: bool, **given: Any) -> int:
    """Show what the host knows of ACCOUNT, a username or an id."""
    from awserver.app import show_account

    with _of_host():
        found = asyncio.run(show_account(_host_settings(given), account))
    _print_account(found, as_json=as_json)
    return 0


@accounts_group.command(
    "disable", epilog="Example: aw-server admin accounts disable alice"
)
@_account_argument
@_host_options
@_json_option
def accounts_disable_command(account: str, as_json: bool, **given: Any) -> int:
    """Stop serving ACCOUNT; what it stored stays.

    Its clients are told so at their next request, and go on without the host.
    """
    return _set_standing(account, "DISABLED", as_json=as_json, given=given)


@accounts_group.command(
    "enable", epilog="Example: aw-server admin accounts enable alice"
)
@_account_argument
@_host_options
@_json_option
def accounts_enable_command(account: str, as_json: bool, **given: Any) -> int:
    """Serve ACCOUNT again."""
    return _set_standing(account, "ACTIVE", as_json=as_json, given=given)


def _set_standing(
    account: str, name: str, *, as_json: bool, given: Mapping[str, Any]
) -> int:
    from awserver.app import set_standing
    from awserver.storage.base import Standing

    with _of_host():
        found = asyncio.run(
            set_standing(_host_settings(given), account, Standing[name])
        )
    _print_account(found, as_json=as_json)
    return 0


def _read_quota(
    ctx: click.Context, parameter: click.Parameter, value: str
) -> int | None:
    """Read a number of bytes, or the word for what the host has for everyone."""
    if value == QUOTA_DEFAULT:
        return None
    return click.IntRange(0, QUOTA_BYTES_MAX)(value, parameter, ctx)


@accounts_group.command(
    "set-quota", epilog="Example: aw-server admin accounts set-quota alice 1000000000"
)
@_account_argument
@click.argument("quota", metavar="BYTES", callback=_read_quota)
@_host_options
@_json_option
def accounts_set_quota_command(
    account: str, quota: int | None, as_json: bool, **given: Any
) -> int:
    """Set what ACCOUNT may store: a number of bytes, or "default".

    The latter is what the host has set for everyone. What is stored already stays,
    whatever the quota.
    """
    from awserver.app import set_quota

    with _of_host():
        found = asyncio.run(set_quota(_host_settings(given), account, quota))
    _print_account(found, as_json=as_json)
    return 0


@accounts_group.command(
    "delete", epilog="Example: aw-server admin accounts delete alice"
)
@_account_argument
@click.option("--yes", is_flag=True, help="Do not ask for the username again.")
@_host_options
def accounts_delete_command(account: str, yes: bool, **given: Any) -> int:
    """Delete ACCOUNT and every record that it stored here, for good.

    Asks for the username again. What its owner's machines hold stays there.
    """
    from awserver.app import delete_account, show_account

    settings = _host_settings(given)
    with _of_host():
        found = asyncio.run(show_account(settings, account))
        if not yes:
            _confirm_deletion(found)
        # By its id: the name could be another's by now.
        asyncio.run(delete_account(settings, str(found["account"])))
    click.echo(f"deleted {found['username']} ({found['account']})")
    return 0


def _confirm_deletion(found: Mapping[str, str | int | None]) -> None:
    if not sys.stdin.isatty():
        raise OperatorError(
            "nobody can be asked here whether to delete the account",
            hint="--yes deletes it without asking",
        )
    click.echo(
        f"{found['username']} has {found['entries']} records here, of"
        f" {found['stored_bytes']} bytes. Once they are deleted nobody can bring them"
        " back but a machine of its owner that has them.",
        err=True,
    )
    typed = click.prompt("Type the username to delete it", err=True)
    if typed != found["username"]:
        raise OperatorError("that is another name: nothing was deleted")


def _print_account(found: Mapping[str, str | int | None], *, as_json: bool) -> None:
    if as_json:
        _print_json(found)
        return
    width = max(map(len, found))
    for name, value in found.items():
        shown = QUOTA_DEFAULT if name == "quota_bytes" and value is None else value
        click.echo(f"{name + ':':<{width + 1}} {shown}")


@program.command("healthcheck", epilog="Example: aw-server healthcheck")
@click.option(
    "--url",
    metavar="URL",
    help="The host's address. Default: where its settings say that it listens.",
)
@_host_options
def healthcheck_command(url: str | None, **given: Any) -> int:
    """Exit with 0 if a host serves, else with 1 or, if nothing answers, 3."""
    from awserver.healthcheck import check

    result = check(url or f"http://{_host_settings(given).listen}")
    click.echo(result.words)
    return result.exit_status


@program.group("config")
def config_group() -> None:
    """Look at the settings of a host."""


@config_group.command("show", epilog="Example: aw-server config show --json")
@_host_options
@_json_option
def config_show_command(as_json: bool, **given: Any) -> int:
    """Print every setting of a host, and where it was said."""
    settings = _host_settings(given)
    shown = settings.shown()
    if as_json:
        _print_json(
            {
                key: {"value": value, "source": settings.sources[key]}
                for key, value in shown.items()
            }
        )
        return 0
    for key, value in shown.items():
        click.echo(f"{key} = {value}  ({settings.sources[key]})")
    return 0


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


# -- errors --------------------------------------------------------------------


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
    if isinstance(error, OperatorError):
        _complain(str(error))
        if error.hint is not None:
            _hint(error.hint)
        return EXIT_FAILED
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
