"""From what SQLite and the system say to the errors that this program raises.

* no room, SQLITE_FULL or ENOSPC, EDQUOT, EFBIG: `StorageFullError`
* a damaged file, or one that is no database: `StorageCorruptError`
* a lock that another process does not release: `StorageBusyError`
* anything else of SQLite or the system: `StorageError`
* errors of other kinds stay as they are
"""

import errno
from pathlib import Path
from typing import Final

import apsw

from awserver.errors import (
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
)

# A quota, and a limit on the size of a file, are met as a full disk is: by room.
_FULL_ERRNOS: Final = frozenset(
    {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
)


def typed_error(
    error: BaseException, path: Path, connection: apsw.Connection | None = None
) -> BaseException:
    """Return the error to raise for `error`, new at each call, or `error` itself.

    SQLite does not say why an I/O error happened; its `connection` knows the
    system's errno, until something else is done with it.
    """
    if not isinstance(error, apsw.Error | OSError):
        return error
    typed = _typed(error, path, _errno(error, connection))
    typed.__cause__ = error
    return typed


def _errno(error: apsw.Error | OSError, connection: apsw.Connection | None) -> int:
    if isinstance(error, OSError):
        return error.errno or 0
    if connection is not None and isinstance(error, apsw.IOError | apsw.CantOpenError):
        return connection.system_errno
    return 0


def _typed(error: apsw.Error | OSError, path: Path, number: int) -> StorageError:
    if isinstance(error, apsw.FullError) or number in _FULL_ERRNOS:
        return StorageFullError(
            f'there is no room for "{path.name}" in "{path.parent}": free some space'
            " on that disk; what was stored is intact"
        )
    reason = error.strerror if isinstance(error, OSError) else str(error)
    match error:
        case apsw.CorruptError() | apsw.NotADBError():
            return StorageCorruptError(
                f'"{path}" is damaged: restore it from a backup, and keep this file'
            )
        case apsw.BusyError() | apsw.LockedError():
            return StorageBusyError(
                f'another process holds "{path}": end it, or try again'
            )
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError():
            text = (
                f'cannot open "{path}" for writing: {reason}; look at who owns the'
                " file and its directory, and whether the disk is read-only"
            )
        case apsw.ConstraintError():
            text = f"the database refuses the change: {reason}"
        case apsw.IOError() | OSError():
            text = f'cannot read or write "{path}": {reason}'
        case _:
            text = f"the database failed: {reason}"
    return StorageError(text)
