"""Help is fast, complete, and documented."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from awserver import cli as aw_server
from awvault.cli import program as awvault
from awvault.cli.program import COMMANDS
from tests.integration.cli.harness import Machine

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
HEAVY = ("aiohttp", "apsw", "argon2", "nacl", "numpy", "rich", "uvloop")


@pytest.mark.parametrize(
    "script",
    [
        "from awvault.cli.program import run; run(['--help'])",
        "from awvault.cli.program import run; run(['events', '--help'])",
        "from awvault.cli.program import run; run(['--version'])",
        "from awserver.cli import run; run(['--help'])",
    ],
)
def test_help_loads_no_heavy_module(script: str) -> None:
    """Nobody waits for a web server and NumPy to read a list of commands."""
    script += f"; import sys; print([m for m in {HEAVY!r} if m in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "[]"


def test_asking_a_running_server_loads_no_heavy_module(machine: Machine) -> None:
    """A command that only asks needs neither the store nor the keys."""
    machine.ok("init")
    script = (
        "from awvault.cli.program import run; import sys; run(['status']);"
        "print([m for m in ('aiohttp', 'apsw', 'argon2', 'nacl', 'numpy')"
        " if m in sys.modules])"
    )
    with machine.server():
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env=machine.environment,
            check=False,
        )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_every_help_ends_with_an_example(
    capsys: pytest.CaptureFixture[str], command: str | None
) -> None:
    """Also that of the program itself."""
    assert awvault.run([*([command] if command else []), "--help"]) == 0

    last = capsys.readouterr().out.splitlines()[-1]
    assert last.strip().startswith("Example: awvault")


def options_of(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (name for name in parameter.opts if name.startswith("--"))


def test_every_command_and_option_is_in_the_reference() -> None:
    """docs/reference/cli.md has a heading per command and names its options."""
    text = REFERENCE.read_text("utf-8")
    context = click.Context(awvault.program)
    for name in COMMANDS:
        command = awvault.program.get_command(context, name)
        assert command is not None
        parts = (
            {f"{name} {word}": part for word, part in command.commands.items()}
            if isinstance(command, click.Group)
            else {name: command}
        )
        for whole, part in parts.items():
            assert f"### awvault {whole}\n" in text
            for option in options_of(part):
                assert f"`{option}" in text, (whole, option)
    for option in (*options_of(awvault.program), *options_of(aw_server.program)):
        assert f"`{option}" in text, option


def test_every_setting_is_in_the_reference() -> None:
    """As key of the file and as variable of the environment."""
    from awvault.settings import ENVIRONMENT_KEYS, FILE_KEYS

    text = REFERENCE.read_text("utf-8")
    for key in FILE_KEYS:
        assert f"`{key}`" in text
    for key in ENVIRONMENT_KEYS:
        assert f"`AWVAULT_{key.upper()}`" in text


def test_shells_can_complete_commands(machine: Machine) -> None:
    """The way click does it, for bash, zsh and fish."""
    done = machine.run(
        "awvault",
        environment={
            "_AWVAULT_COMPLETE": "bash_complete",
            "COMP_WORDS": "awvault ho",
            "COMP_CWORD": "1",
        },
    )
    assert done.out == "plain,host-view\n"
