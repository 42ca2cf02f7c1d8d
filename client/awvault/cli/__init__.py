"""The command `awvault`: one module for each group of commands."""

import sys


def main() -> None:
    """Run the command that the shell was given, and exit with its status."""
    from awvault.cli.program import run

    sys.exit(run(sys.argv[1:]))
