"""The place where requests find the vault once it is unlocked.

The gateway listens before the passphrase has been turned into a key, which
takes a second. Requests that come in between wait here and are not refused:
ActivityWatch's client drops a heartbeat for ever on the first error.
"""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from awvault.vault import Vault


class VaultUnavailableError(Exception):
    """The vault did not open, so no request can be answered."""


class VaultHolder:
    """Gives the vault to whoever asks, at once or as soon as it is there."""

    __slots__ = ("_changed", "_error", "current")

    def __init__(self, vault: "Vault | None" = None) -> None:
        """Hold `vault`, or nothing yet."""
        self.current: Vault | None = vault
        """The vault, once unlocked. Reading this is the fast path."""
        self._error: BaseException | None = None
        self._changed = asyncio.Event()

    async def vault(self) -> "Vault":
        """Return the vault, waiting for it; raises `VaultUnavailableError`."""
        while (vault := self.current) is None:
            if self._error is not None:
                raise VaultUnavailableError(
                    "the vault could not be opened"
                ) from self._error
            await self._changed.wait()
        return vault

    def set(self, vault: "Vault") -> None:
        """Hold the unlocked vault and let every waiting request go on."""
        self.current = vault
        self._changed.set()

    def fail(self, error: BaseException) -> None:
        """Refuse every waiting and later request, because of `error`."""
        self.current = None
        self._error = error
        self._changed.set()
