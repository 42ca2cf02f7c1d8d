"""The composition root for tests: the product with a cheap Argon2id profile.

This module is the only way to the cheap profile. No setting and no environment
variable reaches it, and the profile is not written into a vault: one that was
made here opens only here.

    python -m awvault.testing aw-server --data-dir DIR --port 0
    python -m awvault.testing awvault --data-dir DIR status
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from awvault.crypto.passphrase import Profile
from awvault.opening import PRODUCT, Composition, open_for_library
from awvault.vault import Clock, Vault, wall_clock_us

CHEAP: Final = Profile(memory_kib=64, passes=1)
"""Argon2id with 64 KiB and one pass: for tests, and for nothing else."""

COMPOSITION: Final = replace(PRODUCT, profile=CHEAP)

PASSPHRASE: Final = "correct horse battery staple"  # noqa: S105 - for tests

KILL_VARIABLE: Final = "AWVAULT_TESTING_KILL_AT"
"""`name:count`: the process kills itself the count-th time it passes `name`."""

CLOCK_VARIABLE: Final = "AWVAULT_TESTING_CLOCK_HOURS"
"""How many hours the vault's clock is ahead of the machine's; -30 is behind."""


async def open_vault(
    data_dir: Path | str,
    *,
    passphrase: str = PASSPHRASE,
    composition: Composition = COMPOSITION,
) -> Vault:
    """Open the vault in `data_dir`, and make it where there is none."""
    return await open_for_library(
        Path(data_dir),
        passphrase=passphrase,
        passphrase_file=None,
        composition=composition,
    )


def killing_steps(where: str) -> Callable[[str], None]:
    """Return a step hook that kills this process at `name:count`."""
    name, _, count = where.partition(":")
    left = int(count or 1)

    def step(passed: str) -> None:
        nonlocal left
        if passed != name:
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return step


def clock_ahead(hours: float) -> Clock:
    """Return a clock that is wrong by so many hours."""
    ahead_us = round(hours * 3_600_000_000)
    return lambda: wall_clock_us() + ahead_us


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `aw-server` or `awvault` with the cheap profile."""
    from awserver import cli as server_cli
    from awvault.cli import program

    given = list(sys.argv[1:] if arguments is None else arguments)
    where = os.environ.pop(KILL_VARIABLE, None)
    composition = COMPOSITION
    if where is not None:
        step = killing_steps(where)
        composition = replace(composition, step=step, probe=step)
    hours = os.environ.pop(CLOCK_VARIABLE, None)
    if hours is not None:
        composition = replace(composition, clock=clock_ahead(float(hours)))
    match given:
        case ["aw-server", *rest]:
            return server_cli.run(rest, composition=composition)
        case ["awvault", *rest]:
            return program.run(rest, composition=composition)
    sys.stderr.write("usage: python -m awvault.testing {aw-server|awvault} ...\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
