"""`awvault service`: run `aw-server` at login."""

import asyncio
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from awvault.cli import options
from awvault.cli.context import settings_of

if TYPE_CHECKING:
    from awvault.settings import Settings
    from awvault.units import Command

# What an option of aw-server says, so that the environment need not.
_SAID_BY_OPTIONS: Final = frozenset(
    {
        "AWVAULT_DATA_DIR",
        "AWVAULT_PASSPHRASE_FILE",
        "AWVAULT_WEBUI",
    }
)

ANSWER_SECONDS_MAX: Final = 2.0
"""How long a running aw-server may take to say where it is."""


@click.group("service", epilog="Example: awvault service install")
def service_command() -> None:
    """Run aw-server at login, in the background."""


@service_command.command(
    "install", epilog="Example: awvault service install --print launchd"
)
@click.option(
    "--print",
    "form",
    type=click.Choice(["systemd", "launchd", "windows"]),
    help="Print the files for a system, and write nothing.",
)
@click.option("--replace", is_flag=True, help="Write over files that say otherwise.")
@options.vault_options
@click.pass_context
def install_command(ctx: click.Context, form: str | None, replace: bool) -> None:
    """Write what lets systemd start aw-server at login.

    A unit for the service and one for its port, with the settings that are in force
    now. systemd then listens in its place, so that a restart refuses nobody. Nothing
    is started. On macOS and Windows, --print shows what to hand to the system.
    """
    from awvault.cli.output import note
    from awvault.settings import SettingsError, check_webui

    settings = settings_of(ctx)
    check_webui(settings)
    if form is None and not sys.platform.startswith("linux"):
        raise SettingsError(
            "only the units of systemd are written by this command",
            hint="--print launchd and --print windows show files for other systems",
        )
    command = _command(settings)
    if form is not None:
        click.echo(_shown(command, form), nl=False)
    else:
        for path in _write_units(command, replace=replace):
            click.echo(path)
        note("start it now, and at each login:")
        note("  systemctl --user daemon-reload")
        note(f"  systemctl --user enable --now {command.name}.service")
    for line in (*_warnings(settings), *asyncio.run(_differences(settings))):
        note(line)


def _command(settings: "Settings") -> "Command":
    """Return how to start aw-server as it would be started here and now."""
    from awvault.settings import ENVIRONMENT_PREFIX, SettingsError
    from awvault.units import Command

    if settings.port == 0:
        raise SettingsError("a service needs a port of its own, and the port is 0")
    scripts = Path(sysconfig.get_path("scripts"))
    program = shutil.which("aw-server", path=str(scripts)) or shutil.which("aw-server")
    if program is None:
        raise SettingsError(
            "the command aw-server is nowhere",
            hint=f"install this program: aw-server should be in {scripts}",
        )
    arguments: list[str] = ["--testing"] if settings.testing else []
    # A directory that is named is not made with its parents, as the usual one is.
    data_dir = None if settings.data_dir_is_default else settings.data_dir
    for option, path in (
        ("--data-dir", data_dir),
        ("--passphrase-file", settings.passphrase_file),
        ("--webui", settings.webui),
    ):
        if path is not None:
            arguments += [option, str(path)]
    return Command(
        name="aw-server-testing" if settings.testing else "aw-server",
        # Links are kept: that of an upgraded program leads to the new one.
        program=os.path.abspath(program),  # noqa: PTH100 - resolve() follows links
        arguments=tuple(arguments),
        environment={
            name: value
            for name, value in os.environ.items()
            if name.startswith(ENVIRONMENT_PREFIX)
            and name not in _SAID_BY_OPTIONS
            and value
        },
        host=settings.host,
        port=settings.port,
    )


def _shown(command: "Command", form: str) -> str:
    from awvault import units

    if form == "launchd":
        return units.launchd_agent(command)
    if form == "windows":
        return units.windows_task(command)
    return (
        f"# {command.name}.socket\n{units.systemd_socket(command)}\n"
        f"# {command.name}.service\n{units.systemd_service(command)}"
    )


def _write_units(command: "Command", *, replace: bool) -> list[Path]:
    """Write the two units; return their paths. Raises `SettingsError`."""
    from awvault import units
    from awvault.files import replace_private
    from awvault.settings import SettingsError

    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    folder = Path(config) / "systemd" / "user"
    files = {
        folder / f"{command.name}.socket": units.systemd_socket(command).encode(),
        folder / f"{command.name}.service": units.systemd_service(command).encode(),
    }
    try:
        for path, content in files.items():
            if path.exists() and path.read_bytes() != content and not replace:
                raise SettingsError(
                    f'"{path}" exists and says otherwise',
                    hint="--replace writes over it; --print systemd shows the new one",
                )
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            replace_private(path, content)
    except OSError as error:
        raise SettingsError(
            f'cannot write to "{folder}": {error.strerror or error}'
        ) from error
    return list(files)


async def _differences(settings: "Settings") -> list[str]:
    """Say where an aw-server that runs now has other settings than the service."""
    from awvault.cli.context import holder_client
    from awvault.errors import Error
    from awvault.processes import DataDirectory

    directory = DataDirectory(settings.data_dir)
    try:
        client = await holder_client(directory, seconds=ANSWER_SECONDS_MAX)
        server = None if client is None else (await client.status()).server
    except Error:
        return []
    if server is None or server.url.rpartition(":")[2] == str(settings.port):
        return []
    return [
        f"the aw-server that runs now is at {server.url},",
        f"and the service will be at port {settings.port}: if that is not meant,",
        "write the port into config.toml, and run this again with --replace",
    ]


def _warnings(settings: "Settings") -> list[str]:
    """Say what would keep a service from starting: nobody can be asked there."""
    from awvault.passphrases import (
        KEYRING_SERVICE,
        entry_name,
        generated_file,
        lookup_keyring,
    )
    from awvault.processes import DataDirectory

    if (
        not DataDirectory(settings.data_dir).has_vault()
        or settings.passphrase_file is not None
        or generated_file(settings).exists()
        or lookup_keyring(KEYRING_SERVICE, entry_name(settings.data_dir)) is not None
    ):
        return []
    return [
        f"the passphrase of the vault in {settings.data_dir} is typed so far,",
        "and a service can ask nobody: put it into a file for you alone (mode 0600),",
        "and name that with --passphrase-file here, or put it into the keyring",
    ]
