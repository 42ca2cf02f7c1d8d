"""Who waits for something new in an account, and how they are woken.

What this process changes wakes them at once. What another process changes, or the
vault of localhost mode, is noticed by asking the store every two seconds, about the
accounts that somebody waits for.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from awserver.errors import RateLimitedError, ServerError, SessionInvalidError
from awserver.records import AccountId
from awserver.service.base import Caller, Changes
from awserver.service.times import Clock
from awserver.storage.base import AccountStore, ChangeState
from awserver.wire import CHANGES_WAIT_SECONDS_MAX, ChangesAnswer

log = logging.getLogger(__name__)

ACCOUNT_WAITS_MAX: Final = 64
"""Who may wait for one account at once."""

WAITS_MAX: Final = 20_000
"""Who may wait at once, for whatever account."""

POLL_SECONDS: Final = 2.0
POLL_ACCOUNTS_MAX: Final = 500
"""Accounts of one question to the store, so that the event loop is never long."""


@dataclass(slots=True, eq=False)
class _Waiter:
    """Somebody who has seen a state, and waits for another."""

    seen: ChangeState
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class HostChanges(Changes):
    """Waits on the accounts of a store. It belongs to one event loop."""

    def __init__(
        self,
        accounts: AccountStore,
        *,
        clock: Clock,
        poll_seconds: float = POLL_SECONDS,
        on_change: Callable[[AccountId], None] = lambda _: None,
    ) -> None:
        """Ask `accounts` what the state is; call `on_change` when notified."""
        self._accounts = accounts
        self._on_change = on_change
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._waiters: dict[AccountId, set[_Waiter]] = {}
        self._count = 0
        self._poller: asyncio.Task[None] | None = None

    async def wait(
        self, caller: Caller, *, entries: int, version: int, seconds: float
    ) -> ChangesAnswer:
        """See `Changes.wait`."""
        waiter = _Waiter(seen=ChangeState(entries=entries, version=version))
        account = caller.account_id
        self._add(account, waiter)
        try:
            async with asyncio.timeout(min(seconds, CHANGES_WAIT_SECONDS_MAX)):
                while (state := await self._state(caller)) == waiter.seen:
                    await waiter.woken.wait()
                    waiter.woken.clear()
        except TimeoutError:
            state = await self._state(caller)
        finally:
            self._remove(account, waiter)
        return ChangesAnswer(entries=state.entries, version=state.version)

    def notify(self, account: AccountId) -> None:
        """See `Changes.notify`."""
        self._on_change(account)
        for waiter in self._waiters.get(account, ()):
            waiter.woken.set()

    async def _state(self, caller: Caller) -> ChangeState:
        """Return what is, if the session still lives."""
        access = self._accounts.access(caller.account_id, caller.token_hash)
        states = await self._accounts.states([caller.account_id])
        state = states.get(caller.account_id)
        if (
            state is None
            or access is None
            or access.session.seen_hour < self._clock.seen_hour_min()
        ):
            raise SessionInvalidError
        return state

    def _add(self, account: AccountId, waiter: _Waiter) -> None:
        waiters = self._waiters.get(account, set())
        if len(waiters) >= ACCOUNT_WAITS_MAX or self._count >= WAITS_MAX:
            raise RateLimitedError(retry_seconds=CHANGES_WAIT_SECONDS_MAX)
        self._waiters.setdefault(account, waiters).add(waiter)
        self._count += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll_while_waited())

    def _remove(self, account: AccountId, waiter: _Waiter) -> None:
        waiters = self._waiters[account]
        waiters.remove(waiter)
        self._count -= 1
        if not waiters:
            del self._waiters[account]

    async def _poll_while_waited(self) -> None:
        await asyncio.sleep(self._poll_seconds)
        while self._waiters:
            accounts = list(self._waiters)
            for at in range(0, len(accounts), POLL_ACCOUNTS_MAX):
                await self._poll(accounts[at : at + POLL_ACCOUNTS_MAX])
                await asyncio.sleep(0)
            await asyncio.sleep(self._poll_seconds)

    async def _poll(self, accounts: Sequence[AccountId]) -> None:
        """Wake who waits for an account that is not as they saw it."""
        try:
            states = await self._accounts.states(accounts)
        except ServerError as error:
            log.warning("changes could not be looked for", extra={"code": error.code})
            return
        for account in accounts:
            for waiter in self._waiters.get(account, ()):
                if states.get(account) != waiter.seen:
                    waiter.woken.set()

    async def close(self) -> None:
        """Stop to ask; whoever waits is woken by its own end."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
