"""One process per data directory: the lock, and how to reach who holds it.

Whoever holds `vault.lock` is the only process that opens `vault.db`, for reading
too. `control.json` says who that is and, once it listens, where other processes
of the same user can ask it to do their work (control.py). The kernel frees the
lock when its process dies, however it dies; a `control.json` that stays behind
is worth nothing without the lock, and the next holder replaces it.
"""

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from filelock import FileLock, Timeout

from awvault.errors import Error, VaultLockedError

DATABASE_FILE: Final = "vault.db"
LOCK_FILE: Final = "vault.lock"
CONTROL_FILE: Final = "control.json"
CONTROL_BYTES_MAX: Final = 4096
TOKEN_BYTES: Final = 32


class ControlToken:
    """The secret that opens the control listener. It does not print."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if len(text) != 2 * TOKEN_BYTES or not text.isascii():
            raise ValueError(f"control token must be {2 * TOKEN_BYTES} hex digits")
        self._text = text

    @classmethod
    def generate(cls) -> "ControlToken":
        """Return a new one, of 256 bits."""
        return cls(secrets.token_hex(TOKEN_BYTES))

    def reveal(self) -> str:
        """Return the hex digits, for `control.json` and the request header."""
        return self._text

    def matches(self, offered: str) -> bool:
        """Tell whether `offered` is this token, in constant time."""
        return secrets.compare_digest(
            self._text.encode("ascii"), offered.encode("utf-8", "replace")
        )

    def __repr__(self) -> str:
        return "<ControlToken redacted>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a data directory, as its control.json says."""

    pid: int
    started: datetime
    # Where it takes requests. None: it does not, or not yet.
    port: int | None = None
    token: ControlToken | None = None


class _ControlFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bytes of control.json."""

    pid: int
    started: datetime
    port: int | None = None
    token: str | None = None


class DirectoryUnusableError(Error):
    """The data directory cannot be locked or written."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class NoVaultError(Error):
    """The data directory has no vault."""

    def __init__(self, path: Path) -> None:
        super().__init__(f'there is no vault in "{path}"')
        self.hint = "make one with `awvault init`, or start `aw-server`"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The files of one vault, by name. Looking at them takes no lock."""

    path: Path

    @property
    def database(self) -> Path:
        """The sealed data."""
        return self.path / DATABASE_FILE

    @property
    def lock_file(self) -> Path:
        """Empty; who has it locked owns the directory."""
        return self.path / LOCK_FILE

    @property
    def control_file(self) -> Path:
        """Who holds the lock, and where to ask."""
        return self.path / CONTROL_FILE

    def has_vault(self) -> bool:
        """Tell whether a database is here."""
        return self.database.exists()

    def holder(self) -> Holder | None:
        """Return what control.json says. None: it is absent or unreadable.

        It may be stale: only a lock that cannot be taken shows that its writer,
        or somebody, is alive.
        """
        try:
            raw = self._read_control_file()
            control = msgspec.json.decode(raw, type=_ControlFile)
            token = None if control.token is None else ControlToken(control.token)
        except (OSError, ValueError):
            # msgspec's errors are ValueErrors.
            return None
        return Holder(
            pid=control.pid, started=control.started, port=control.port, token=token
        )

    def _read_control_file(self) -> bytes:
        """Return the content of control.json; raises `PermissionError`.

        What is sent to the holder is plaintext, so a file that somebody else
        could have put there, or changed, is not believed.
        """
        descriptor = os.open(
            self.control_file,
            os.O_RDONLY
            | getattr(os, "O_NOFOLLOW", 0)
            | getattr(os, "O_NONBLOCK", 0)
            | getattr(os, "O_CLOEXEC", 0),
        )
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if sys.platform != "win32" and (
                status.st_uid not in {os.geteuid(), self.path.stat().st_uid}
                or stat.S_IMODE(status.st_mode) & 0o022
            ):
                raise PermissionError(f'"{self.control_file}" is open to others')
            return file.read(CONTROL_BYTES_MAX + 1)

    @contextlib.contextmanager
    def acquire(self) -> Iterator["HeldDirectory"]:
        """Hold the directory for as long as the context lasts.

        Raises `VaultLockedError`, naming the holder, if another process has it,
        and `DirectoryUnusableError` if the lock file cannot be made. Never waits.
        """
        if not self.path.is_dir():
            # The lock would make it, parents and all, open to others.
            raise DirectoryUnusableError(
                f'cannot lock "{self.lock_file}": there is no such directory'
            )
        # A soft lock (a file that merely exists) would outlive SIGKILL. Where the
        # file system has no real locks, say so instead of pretending.
        lock = FileLock(
            self.lock_file,
            timeout=0,
            mode=0o600,
            thread_local=False,
            fallback_to_soft=False,
        )
        try:
            lock.acquire()
        except Timeout:
            raise self.locked_error() from None
        except OSError as error:
            raise DirectoryUnusableError(
                f'cannot lock "{self.lock_file}": {error.strerror or error}',
                hint="the data directory must be writable, and on a file system"
                " that can lock files",
            ) from error
        try:
            held = HeldDirectory(self)
            try:
                yield held
            finally:
                held.withdraw()
        finally:
            lock.release()

    def locked_error(self) -> VaultLockedError:
        """Return the error that names who holds the lock now."""
        holder = self.holder()
        return VaultLockedError(
            str(self.path),
            pid=None if holder is None else holder.pid,
            started=None if holder is None else holder.started,
        )


class HeldDirectory:
    """A data directory that this process holds."""

    def __init__(self, directory: DataDirectory) -> None:
        self.directory = directory
        self.started = datetime.now(UTC).replace(microsecond=0)
        # Written at once: whoever finds the lock taken can name this process even
        # if it never listens, or is still deriving keys.
        self.announce()

    def announce(self) -> None:
        """Say who holds the directory, and that no requests are taken."""
        self._write(_ControlFile(pid=os.getpid(), started=self.started))

    def publish(self, *, port: int, token: ControlToken) -> None:
        """Say where this process takes requests."""
        self._write(
            _ControlFile(
                pid=os.getpid(), started=self.started, port=port, token=token.reveal()
            )
        )

    def withdraw(self) -> None:
        """Remove control.json, before the lock goes."""
        self.directory.control_file.unlink(missing_ok=True)

    def _write(self, control: _ControlFile) -> None:
        # Written aside and renamed: a reader sees the old one, the new one, or
        # none, and never a part. The name aside is fixed, so that a killed
        # process leaves at most one behind; only the holder of the lock writes.
        aside = self.directory.path / (CONTROL_FILE + ".new")
        try:
            aside.unlink(missing_ok=True)
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(control))
            aside.replace(self.directory.control_file)
        except OSError as error:
            raise DirectoryUnusableError(
                f'cannot write "{self.directory.control_file}":'
                f" {error.strerror or error}",
            ) from error
