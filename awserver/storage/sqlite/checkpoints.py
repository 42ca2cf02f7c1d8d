"""Keeps the write-ahead log short, beside the commits.

SQLite begins the log anew when all of it was copied into the database before
a write starts. Under steady load that never happens by itself: while a
checkpoint copies, commits add to the log. So the copying is done here, on a
connection and a thread of its own, and what was added meanwhile, little, is
copied by the writer between two commits.
"""

import logging
import threading
from pathlib import Path
from typing import Final

import apsw

log = logging.getLogger(__name__)

PAGE_BYTES: Final = 4096
"""Bytes of one page of the database."""

WAL_BYTES_MAX: Final = 4 * 1024 * 1024
"""A longer write-ahead log is copied into the database."""

_WAL_PAGES_MAX: Final = WAL_BYTES_MAX // PAGE_BYTES


class Checkpointer:
    """Copies the write-ahead log into the database.

    `committed` and `finish` belong to the writer's thread. Checkpoints are
    passive: they wait for no reader. A log that a long read keeps from being
    reused is tried again each time it has grown by `WAL_BYTES_MAX`.
    """

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        """Use `connection`, which nobody else uses; it is closed by `close`."""
        self._connection = connection
        self._path = path
        self._lock = threading.Lock()  # held while the connection is used
        self._wanted = threading.Event()
        self._closing = False
        self._tail_is_left = False
        self._pages = 0
        self._react_pages = _WAL_PAGES_MAX
        self._thread = threading.Thread(
            target=self._run_until_closed, name="database-checkpoint", daemon=True
        )

    def start(self) -> None:
        """Begin to copy when asked."""
        self._thread.start()

    def committed(self, pages: int) -> None:
        """Note that the log has `pages` pages now."""
        if pages < self._pages:  # it was begun anew
            self._react_pages = _WAL_PAGES_MAX
            self._tail_is_left = False
        self._pages = pages
        if pages >= self._react_pages:
            self._react_pages = pages + _WAL_PAGES_MAX
            self._wanted.set()

    def finish(self, writer: apsw.Connection) -> None:
        """Copy what was added during the last checkpoint; between two commits."""
        if self._tail_is_left:
            self._tail_is_left = False
            self._checkpoint(writer)

    def run_now(self) -> None:
        """Copy as much as readers allow."""
        with self._lock:
            self._checkpoint(self._connection)

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._wanted.set()
        self._thread.join()
        self._connection.close()

    def _run_until_closed(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._closing:
                return
            with self._lock:
                # The second copies what was added while the first did its work.
                self._checkpoint(self._connection)
                self._tail_is_left = self._checkpoint(self._connection)

    def _checkpoint(self, connection: apsw.Connection) -> bool:
        """Copy; say whether all that was in the log at the start is copied."""
        try:
            pages, copied = connection.wal_checkpoint(
                mode=apsw.SQLITE_CHECKPOINT_PASSIVE
            )
        except apsw.BusyError:
            return False  # another process is at it
        except apsw.Error as error:
            # Nothing is lost: the log is as durable as the database.
            log.warning("checkpoint failed", extra={"kind": type(error).__name__})
            return False
        return pages == copied
