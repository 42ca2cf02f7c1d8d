"""Small files that their owner alone can read, written whole or not at all."""

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Final

ASIDE_SUFFIX: Final = ".new"
"""Of a file that is being written and takes another's place once it is whole."""


def write_private(path: Path, content: bytes) -> None:
    """Write a new file, durable on return. Raises OSError, also where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except OSError:
        # Half a secret must not be found by the next start.
        path.unlink(missing_ok=True)
        raise


def replace_private(path: Path, content: bytes) -> None:
    """Write a file in the place of one that may be there. Raises OSError."""
    aside = path.with_name(path.name + ASIDE_SUFFIX)
    aside.unlink(missing_ok=True)
    write_private(aside, content)
    aside.replace(path)
    sync_directory(path.parent)


def read_private(path: Path, bytes_max: int) -> bytes | None:
    """Return a file's bytes; None: there is none. Raises OSError.

    One that is larger than `bytes_max` was not written by us: EFBIG.
    """
    try:
        with path.open("rb") as file:
            content = file.read(bytes_max + 1)
    except FileNotFoundError:
        return None
    if len(content) > bytes_max:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def others_can_change(status: os.stat_result) -> bool:
    """Say whether another user of this machine, who is not root, can change a file.

    A group may: many systems give each user one of their own. Always False where
    the system has no such users.
    """
    if sys.platform == "win32":
        return False
    return bool(status.st_mode & stat.S_IWOTH) or (
        status.st_uid not in {0, os.geteuid()}
    )


def sync_directory(path: Path) -> None:
    """Make names in a directory durable, where the system can."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
