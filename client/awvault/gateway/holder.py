"""The place where requests find the vault once it is unlocked.

The gateway listens before the passphrase has been turned into a key, which
takes a second, and while the vault is lent to a command that moves it to another
account. Requests that come in between wait here and are not refused: ActivityWatch's
client drops a heartbeat for ever on the first error.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from awvault.vault import Vault


DRAIN_SECONDS_MAX: Final = 30.0
"""How long requests that have the vault may take to end when it is taken back."""


class VaultUnavailableError(Exception):
    """The vault did not open, so no request can be answered."""


class VaultHolder:
    """Gives the vault to whoever asks, at once or as soon as it is there."""

    __slots__ = ("_changed", "_error", "_idle", "_users", "current")

    def __init__(self, vault: "Vault | None" = None) -> None:
        """Hold `vault`, or nothing yet."""
        self.current: Vault | None = vault
        """The vault, once unlocked. Reading this is the fast path."""
        self._error: BaseException | None = None
        self._changed = asyncio.Event()
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def vault(self) -> "Vault":
        """Return the vault, waiting for it; raises `VaultUnavailableError`."""
        while (vault := self.current) is None:
            if self._error is not None:
                raise VaultUnavailableError(
                    "the vault could not be opened"
                ) from self._error
            await self._changed.wait()
        return vault

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """Say that a request has the vault; enter before anything is awaited."""
        self._users += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    async def take_back(self) -> None:
        """Let requests wait from now on, and those that have the vault end.

        One that does not end in time finds the vault closed.
        """
        self.current = None
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS_MAX):
                await self._idle.wait()

    def set(self, vault: "Vault") -> None:
        """Hold the unlocked vault and let every waiting request go on."""
        self.current = vault
        self._changed.set()

    def fail(self, error: BaseException) -> None:
        """Refuse every waiting and later request, because of `error`."""
        self.current = None
        self._error = error
        self._changed.set()
