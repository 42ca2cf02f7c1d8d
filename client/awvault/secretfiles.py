"""Files that hold a secret: read only where nobody else could have read them."""

import os
import stat
import sys
from pathlib import Path
from typing import Final

from awvault.errors import Error


class SecretFileError(Error):
    """A file with a secret cannot be read, or must not be trusted."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


SHORT_BYTES_MAX: Final = 1024
"""Of a file with a code, or with recovery words."""


def read_secret_text(
    path: Path,
    *,
    what: str,
    bytes_max: int,
    hint: str,
    error: type[SecretFileError] = SecretFileError,
) -> str:
    """Return the content of `path` less one newline at the end.

    `what` is what such a file is called, and `hint` is for one that cannot be read.
    Content beyond `bytes_max` is cut to a length that is still beyond it. Raises
    `error` if the file is missing, not UTF-8, not a plain file, or open to others.
    """
    try:
        # O_NONBLOCK: opening a pipe without a writer must not hang here.
        descriptor = os.open(
            path,
            os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0),
        )
    except OSError as cause:
        raise error(
            f'cannot read {what} "{path}": {cause.strerror or cause}', hint=hint
        ) from cause
    with os.fdopen(descriptor, "rb") as file:
        # The opened file is checked, not the name, which could change meanwhile.
        check_private(path, os.fstat(file.fileno()), what=what, error=error)
        raw = file.read(bytes_max + 3)
    if raw.endswith(b"\n"):
        raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        # The cause would show bytes of the secret.
        raise error(f'{what} "{path}" is not UTF-8') from None


def read_short_secret(path: Path, *, what: str, hint: str) -> str:
    """Return a code or words from a file, without the space around them.

    Raises `SecretFileError` as `read_secret_text`, and if there is nothing or too
    much in the file.
    """
    text = read_secret_text(path, what=what, bytes_max=SHORT_BYTES_MAX, hint=hint)
    if len(text.encode()) > SHORT_BYTES_MAX:
        raise SecretFileError(
            f'{what} "{path}" is longer than {SHORT_BYTES_MAX} bytes', hint=hint
        )
    if not text.strip():
        raise SecretFileError(f'{what} "{path}" is empty', hint=hint)
    return text.strip()


def check_private(
    path: Path,
    status: os.stat_result,
    *,
    what: str,
    error: type[SecretFileError] = SecretFileError,
) -> None:
    """Raise `error` unless `path` is a plain file for its owner alone."""
    if not stat.S_ISREG(status.st_mode):
        raise error(f'{what} "{path}" is not a plain file')
    if sys.platform == "win32":
        return
    if status.st_uid not in {os.geteuid(), 0}:
        raise error(
            f'{what} "{path}" belongs to user {status.st_uid},'
            f" not to you ({os.geteuid()})",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise error(
            f'{what} "{path}" is open to other users (mode {mode:04o}, must be 0600)',
            hint=f"chmod 600 {path}; if others could log in here, they may have"
            " read it",
        )
