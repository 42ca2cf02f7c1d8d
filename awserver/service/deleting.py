"""The end of an account: marked at once, its rows deleted step by step.

The writer takes other works between two steps, so nobody waits for long. What a
stop of the program leaves is gone on with at the next start.
"""

import asyncio
import logging

from awserver.errors import ServerError
from awserver.records import AccountId
from awserver.storage.base import AccountStore

log = logging.getLogger(__name__)


class Deleter:
    """Deletes the rows of accounts that are marked, one account after another."""

    def __init__(self, accounts: AccountStore) -> None:
        """Delete in `accounts`; nothing is done before `resume` or `start`."""
        self._accounts = accounts
        self._lock = asyncio.Lock()  # held while one account's rows go
        self._tasks: dict[AccountId, asyncio.Task[None]] = {}

    async def resume(self) -> None:
        """Go on with every deletion that did not come to its end."""
        for account in await self._accounts.deletions():
            self.start(account)

    def start(self, account: AccountId) -> asyncio.Task[None]:
        """Delete the rows of a marked account; return the task that does."""
        task = self._tasks.get(account)
        if task is None:
            task = asyncio.create_task(self._delete(account))
            self._tasks[account] = task
            task.add_done_callback(lambda _: self._tasks.pop(account, None))
        return task

    async def _delete(self, account: AccountId) -> None:
        try:
            async with self._lock:
                while await self._accounts.delete_some(account):
                    pass
        except ServerError as error:
            # The mark stays, so nobody sees a part of it; `resume` tries again.
            log.warning("a deletion was interrupted", extra={"code": error.code})

    async def close(self) -> None:
        """Stop between two steps."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
