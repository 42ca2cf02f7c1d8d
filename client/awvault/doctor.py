"""What can be checked from outside: files, disk, clock, lock, port.

Nothing here opens the database or needs a key; store_service.py has the checks
of whoever holds the database.
"""

import contextlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from awvault.passphrases import (
    PassphraseError,
    check_private,
    generated_file,
)
from awvault.ports import find_holder, is_listening
from awvault.processes import DataDirectory
from awvault.service import Check, bytes_text
from awvault.settings import Settings

FREE_BYTES_WARN: Final = 500 * 1024 * 1024
FREE_BYTES_FAIL: Final = 20 * 1024 * 1024
CLOCK_SECONDS_MIN: Final = 1_767_225_600
"""2026-01-01: this program is newer than that."""
CLOCK_AHEAD_SECONDS_MAX: Final = 24 * 3600
"""A file written further in the future than this means that the clock was moved."""


def check_outside(settings: Settings) -> Iterator[Check]:
    """Yield what is found without opening the database."""
    directory = DataDirectory(settings.data_dir)
    yield _data_dir(settings)
    if settings.data_dir.is_dir():
        yield _files(directory)
        yield _space(settings.data_dir)
    yield _passphrase_file(settings)
    yield _clock(directory)


def _data_dir(settings: Settings) -> Check:
    path = settings.data_dir
    name = "data directory"
    try:
        status = path.stat()
    except OSError as error:
        return Check(
            name=name,
            outcome="fail",
            detail=f"{path}: {error.strerror or error}",
            hint="`awvault init` makes it, if the name is right",
        )
    if not stat.S_ISDIR(status.st_mode):
        return Check(name=name, outcome="fail", detail=f"{path} is not a directory")
    if not os.access(path, os.W_OK | os.X_OK):
        return Check(
            name=name,
            outcome="fail",
            detail=f"{path} is not writable",
            hint="it must belong to the user who runs this",
        )
    if sys.platform != "win32" and stat.S_IMODE(status.st_mode) & 0o077:
        return Check(
            name=name,
            outcome="warn",
            detail=f"{path} is open to other users"
            f" (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"chmod 700 {path}",
        )
    return Check(name=name, outcome="ok", detail=str(path))


def _files(directory: DataDirectory) -> Check:
    """Look at the modes of the files: they are sealed, but nobody else's."""
    name = "files"
    if not directory.has_vault():
        return Check(
            name=name,
            outcome="warn",
            detail="there is no vault yet",
            hint="`awvault init` or `aw-server` makes one",
        )
    if sys.platform == "win32":
        return Check(name=name, outcome="ok", detail="a vault is there")
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for path in sorted(directory.path.iterdir()):
            # A file may be gone by now: a log that was folded in.
            with contextlib.suppress(OSError):
                if stat.S_IMODE(path.lstat().st_mode) & 0o077:
                    found.append(path)
    if found:
        return Check(
            name=name,
            outcome="fail" if directory.control_file in found else "warn",
            detail="open to other users: " + ", ".join(path.name for path in found),
            hint=f"chmod -R go= {directory.path}",
        )
    return Check(name=name, outcome="ok", detail="only you can read them")


def _space(path: Path) -> Check:
    free = shutil.disk_usage(path).free
    outcome = "ok"
    if free < FREE_BYTES_WARN:
        outcome = "fail" if free < FREE_BYTES_FAIL else "warn"
    return Check(
        name="free space",
        outcome=outcome,
        detail=bytes_text(free),
        hint=""
        if outcome == "ok"
        else "make room: a full disk stores nothing new, and loses nothing old",
    )


def _passphrase_file(settings: Settings) -> Check:
    name = "passphrase file"
    path = settings.passphrase_file or generated_file(settings)
    if not os.path.lexists(path):
        if settings.passphrase_file is not None:
            return Check(
                name=name,
                outcome="fail",
                detail=f"{path} does not exist",
                hint="it is named by an option, by the environment or by config.toml",
            )
        return Check(
            name=name,
            outcome="ok",
            detail=f"no {path}: the passphrase comes from the keyring or a prompt",
        )
    try:
        check_private(path, path.stat())
    except OSError as error:
        return Check(
            name=name, outcome="fail", detail=f"{path}: {error.strerror or error}"
        )
    except PassphraseError as error:
        return Check(
            name=name, outcome="fail", detail=str(error), hint=error.hint or ""
        )
    if path.resolve().is_relative_to(settings.data_dir):
        return Check(
            name=name,
            outcome="fail",
            detail=f"{path} lies in the data directory, and in every copy of it",
            hint="move it out, and name it with --passphrase-file",
        )
    return Check(
        name=name,
        outcome="ok",
        detail=f"{path}: readable by you alone; whether it opens the vault was not"
        " tried",
    )


def _clock(directory: DataDirectory) -> Check:
    name = "clock"
    now = time.time()
    if now < CLOCK_SECONDS_MIN:
        return Check(
            name=name,
            outcome="fail",
            detail="is years behind",
            hint="set the clock: events get their times from it",
        )
    written = 0.0
    with contextlib.suppress(OSError):
        written = directory.database.stat().st_mtime
    if written > now + CLOCK_AHEAD_SECONDS_MAX:
        return Check(
            name=name,
            outcome="warn",
            detail=f"the vault was written {(written - now) / 3600:.0f} hours"
            " in the future",
            hint="the clock was moved back, or was ahead once",
        )
    return Check(name=name, outcome="ok", detail="plausible")


def check_port(settings: Settings) -> Check:
    """Look at who has the port, where no aw-server serves this vault."""
    name = f"port {settings.port}"
    if not is_listening(settings.host, settings.port):
        return Check(
            name=name,
            outcome="ok",
            detail="free: aw-server does not run there",
        )
    found = find_holder(settings.host, settings.port)
    who = f'"{found.program}" (pid {found.pid})' if found.pid else "another program"
    answers = ""
    if found.ours:
        answers = ", an aw-server that does not serve this vault"
    elif found.api_version is not None:
        answers = f", which answers as an ActivityWatch server {found.api_version}"
    return Check(
        name=name,
        outcome="warn",
        detail=f"taken by {who}{answers}",
        hint="watchers talk to that program and not to this vault: stop it, and start"
        " aw-server",
    )
