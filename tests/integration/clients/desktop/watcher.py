"""Stands in for ActivityWatch's watchers of windows and of absence.

Those need a desktop session. This one asks the X server what they ask it, the
title of the active window and the idle time, and sends what it saw through
ActivityWatch's own client, queued, as they do: `watcher.py PORT SECONDS`.
"""

import sys
import time
from datetime import UTC, datetime
from typing import Any

from aw_client import ActivityWatchClient
from aw_core.models import Event
from Xlib import X, display

POLL_SECONDS = 0.1
COMMIT_SECONDS = 0.5
"""How long the client merges heartbeats before it sends them; usually 10."""
AFK_SECONDS = 0.7
"""Without a key for this long, nobody is there; usually 180."""


class Screen:
    """What can be seen on the X screen."""

    def __init__(self) -> None:
        self._display = display.Display()
        self._root = self._display.screen().root

    def active_window(self) -> dict[str, str] | None:
        """Return application and title of the active window."""
        active = self._property(self._root, "_NET_ACTIVE_WINDOW")
        if active is None:
            return None
        window = self._display.create_resource_object("window", active[0])
        title = self._property(window, "_NET_WM_NAME")
        _, app = window.get_wm_class()
        return {"app": app, "title": bytes(title).decode()}

    def idle_seconds(self) -> float:
        """Return how long no key was pressed and no mouse was moved."""
        idle = self._root.screensaver_query_info().idle
        return float(idle) / 1000

    def _property(self, window: Any, name: str) -> Any:
        found = window.get_full_property(
            self._display.intern_atom(name), X.AnyPropertyType
        )
        return None if found is None else found.value


def main() -> None:
    """Watch for as long as the command line says."""
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    client = ActivityWatchClient(
        "aw-watcher-window", host="127.0.0.1", port=port, testing=True
    )
    host = client.client_hostname
    windows, afk = f"aw-watcher-window_{host}", f"aw-watcher-afk_{host}"
    client.create_bucket(windows, "currentwindow", queued=True)
    client.create_bucket(afk, "afkstatus", queued=True)
    screen = Screen()
    end = time.monotonic() + seconds
    with client:
        sys.stdout.write("watching\n")
        sys.stdout.flush()
        while time.monotonic() < end:
            now = datetime.now(UTC)
            away = screen.idle_seconds() >= AFK_SECONDS
            seen = {
                windows: (screen.active_window(), POLL_SECONDS + 1),
                afk: ({"status": "afk" if away else "not-afk"}, AFK_SECONDS + 1),
            }
            for bucket, (data, pulsetime) in seen.items():
                if data is not None:
                    client.heartbeat(
                        bucket,
                        Event(timestamp=now, data=data),
                        pulsetime=pulsetime,
                        queued=True,
                        commit_interval=COMMIT_SECONDS,
                    )
            time.sleep(POLL_SECONDS)
        # The queue has a thread of its own, which is not waited for at the end.
        while client.request_queue._persistqueue.size:
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
