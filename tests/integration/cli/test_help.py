"""Help is fast, complete, and documented."""

import subprocess
import sys
from pathlib import Path

import pytest

from awvault.cli.program import COMMANDS
from tests.integration.cli.harness import Machine

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
HEAVY = ("aiohttp", "apsw", "argon2", "asyncio", "nacl", "numpy", "rich", "uvloop")


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
def test_every_help_ends_with_an_example(machine: Machine, command: str | None) -> None:
    """Also that of the program itself."""
    done = machine.awvault(*([command] if command else []), "--help")

    assert done.status == 0
    assert done.out.splitlines()[-1].strip().startswith("Example: awvault")


def test_every_command_and_option_is_in_the_reference(machine: Machine) -> None:
    """docs/reference/cli.md has a heading per command and names its options."""
    text = REFERENCE.read_text("utf-8")
    for command in COMMANDS:
        assert f"### awvault {command}\n" in text
        for word in machine.awvault(command, "--help").out.split():
            if word.startswith("--"):
                assert f"`{word.rstrip(',')}" in text, (command, word)
    for word in machine.run("aw-server", "--help").out.split():
        if word.startswith("--"):
            assert f"`{word}" in text, word


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
