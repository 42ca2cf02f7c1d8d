"""Memory that never claims more than the disk holds.

A change is made in memory first and acknowledged when the database says that
it is on disk. When a write fails, memory may be ahead: the fence refuses every
write that was submitted after it, and the state is loaded again before the
next request is answered.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from awserver.errors import FenceBrokenError
from awserver.storage.sqlite.database import Database, Fence, Transaction
from awvault.errors import VaultClosedError
from awvault.state import State

log = logging.getLogger(__name__)


class DurableState:
    """The vault's state, and the one way to change it for good.

    Owned by the event loop's thread.
    """

    def __init__(self, database: Database, load: Callable[[], State]) -> None:
        """Keep what `load` returns; it runs in a thread."""
        self._db = database
        self._load = load
        self._fence = Fence()
        self._in_flight: set[asyncio.Future[None]] = set()
        self._recovery: asyncio.Task[None] | None = None
        self._stale = False
        """Whether memory may be ahead of the disk."""
        self._state: State | None = None
        self._closed = False
        self._shown = asyncio.Event()

    @property
    def current(self) -> State:
        """The state; it is another object after a failed write."""
        if self._state is None:
            raise VaultClosedError
        return self._state

    async def open(self) -> None:
        """Load the state for the first time."""
        self._state = await asyncio.to_thread(self._load)

    async def close(self) -> None:
        """Take no more writes, and wait for those under way."""
        self._closed = True
        self.note_shown()
        while self._in_flight:
            await asyncio.wait(self._in_flight)
        if self._recovery is not None:
            await asyncio.wait([self._recovery])

    async def settle(self) -> None:
        """Return once memory agrees with the disk: at once, but after a failure.

        Raises what keeps the state from being loaded again; the next call tries
        once more. Until one succeeds, nothing is answered from memory.
        """
        if self._closed:
            raise VaultClosedError
        while self._stale:
            await asyncio.shield(self._recover())

    @property
    def next_change(self) -> asyncio.Event:
        """What is set once there is more to see than now, or the vault closes.

        Take it before looking at the state, and wait for it after.
        """
        return self._shown

    def note_shown(self) -> None:
        """Wake who waits for something new."""
        self._shown.set()
        self._shown = asyncio.Event()

    def is_current(self, state: State) -> bool:
        """Say whether `state` is still the one in use, and in step."""
        return state is self._state and not self._stale

    async def write(self, work: Callable[[Transaction], None]) -> None:
        """Return once `work` is on disk. It is submitted before this awaits.

        A caller that is cancelled takes nothing back: the write goes on.
        """
        if self._closed:
            raise VaultClosedError
        future = self._db.submit(work, fence=self._fence)
        self._in_flight.add(future)
        future.add_done_callback(partial(self._written, self._fence))
        try:
            await asyncio.shield(future)
        except FenceBrokenError as error:
            raise error.cause from error

    async def barrier(self) -> None:
        """Return once all that the state shows now is on disk.

        What is submitted meanwhile is not waited for: under load there is
        always something in flight.
        """
        pending = set(self._in_flight)
        if not pending:
            return
        await asyncio.wait(pending)
        try:
            for future in pending:
                future.result()
        except FenceBrokenError as error:
            raise error.cause from error

    def _written(self, fence: Fence, future: asyncio.Future[None]) -> None:
        self._in_flight.discard(future)
        failed = future.cancelled() or future.exception() is not None
        if failed and fence is self._fence:
            log.warning("a write failed, the state is loaded again")
            self.distrust()

    def distrust(self) -> None:
        """Load the state again before the next request is answered."""
        self._stale = True
        self._recover()

    async def reload(self) -> None:
        """Load the state again: what is believed of the disk has changed."""
        self.distrust()
        await self.settle()

    def _recover(self) -> asyncio.Task[None]:
        """Return the attempt to load the state again: the one under way, or a new."""
        if self._recovery is None:
            loop = asyncio.get_running_loop()
            self._recovery = loop.create_task(self._load_again())
            self._recovery.add_done_callback(self._recovered)
        return self._recovery

    def _recovered(self, attempt: asyncio.Task[None]) -> None:
        self._recovery = None
        if not attempt.cancelled() and attempt.exception() is not None:
            log.error("state cannot be loaded again, requests fail until it can")

    async def _load_again(self) -> None:
        while self._in_flight:
            await asyncio.wait(self._in_flight)
        before = self.current
        state = await asyncio.to_thread(self._load)
        # An id that was given to a failed write was answered to nobody,
        # and yet it is never given twice.
        state.see_ids(next_event=before.next_event, next_bucket=before.next_bucket)
        state.journal.next_jid = max(state.journal.next_jid, before.journal.next_jid)
        self._state = state
        self._fence = Fence()
        self._stale = False
        log.info("state loaded again from the disk")
