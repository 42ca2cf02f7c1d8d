"""Forgets what is too old to be of use, every minute."""

import asyncio
import logging
from typing import Final

from awserver.errors import ServerError
from awserver.service.deleting import Deleter
from awserver.service.secrets import Nonces
from awserver.service.times import Clock
from awserver.storage.base import AccountStore

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 60.0


class Sweeper:
    """Sweeps a store while it is open."""

    def __init__(
        self,
        accounts: AccountStore,
        *,
        deleter: Deleter,
        nonces: Nonces,
        clock: Clock,
        seconds: float = SWEEP_SECONDS,
    ) -> None:
        """Sweep `accounts`; nothing is done before `start`."""
        self._accounts = accounts
        self._deleter = deleter
        self._nonces = nonces
        self._clock = clock
        self._seconds = seconds
        self._hour = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a sweep at once."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self.sweep()
            except ServerError as error:
                log.warning("a sweep was interrupted", extra={"code": error.code})
            await asyncio.sleep(self._seconds)

    async def sweep(self) -> None:
        """Forget old nonces, and once an hour old sessions and invitations.

        Deletions that a failure interrupted are gone on with.
        """
        await self._accounts.forget_nonces(below=self._nonces.oldest())
        await self._deleter.resume()
        hour = self._clock.hour()
        if hour > self._hour:
            await self._accounts.forget_sessions(
                seen_hour_min=self._clock.seen_hour_min()
            )
            await self._accounts.forget_invites(hour=hour)
            self._hour = hour

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
