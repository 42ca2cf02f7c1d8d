"""The file of a login that is under way: the client that is about to be added.

It is there from before the host hears of that client until a vault has its key. A
key signs one log: so the file goes as soon as there is such a vault, whoever opens
it, and no later login finds the key there.
"""

import contextlib
from pathlib import Path
from typing import Final

import msgspec

from awserver.documents import KEYS_BLOB_BYTES_MAX
from awserver.records import ClientId
from awserver.wire import Hex16, Username
from awvault.files import read_private, replace_private, sync_directory

PENDING_FILE: Final = "login.json"
"""Its name in a data directory; sealed, but for the names in it."""

PENDING_BYTES_MAX: Final = 2 * KEYS_BLOB_BYTES_MAX


class PendingLogin(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True
):
    """The client of a login that is under way; nothing in it is secret as it is."""

    origin: str
    username: Username
    account_id: Hex16
    client_id: Hex16
    keystore: bytes

    @property
    def client(self) -> ClientId:
        """The client that is about to be added."""
        return ClientId(bytes.fromhex(self.client_id))


def read_pending(file: Path) -> PendingLogin | None:
    """Return what a file holds; None: there is none, or it is worth nothing.

    Raises OSError.
    """
    content = read_private(file, PENDING_BYTES_MAX)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=PendingLogin)
    except ValueError:
        # Written whole or not at all, so not by us.
        return None


def write_pending(file: Path, pending: PendingLogin) -> None:
    """Write the file, durable on return. Raises OSError."""
    replace_private(file, msgspec.json.encode(pending))


def forget_pending(file: Path) -> None:
    """Remove the file, durable on return. Raises OSError."""
    file.unlink(missing_ok=True)
    sync_directory(file.parent)


def forget_if_opened(directory: Path, client_id: ClientId) -> None:
    """Remove the file of a login whose vault is there and was opened.

    The login was cut at its very end. Where the file cannot be read or removed it
    stays: a login asks the host too whether its key was used.
    """
    file = directory / PENDING_FILE
    with contextlib.suppress(OSError):
        pending = read_pending(file)
        if pending is not None and pending.client == client_id:
            forget_pending(file)
