"""Watchers that send heartbeats as ActivityWatch's client does, and keep count.

That client opens a connection for each heartbeat, sends headers and body apart,
and drops the event for ever if it gets no answer, or an error.
"""

import http.client
import itertools
import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

BUCKET: Final = "aw-watcher-window_box"
ANSWER_SECONDS_MAX: Final = 30.0
"""How long a heartbeat may wait; a real watcher waits without end."""


@dataclass
class Traffic:
    """What several watchers have sent, and what became of it."""

    port: int
    answered: set[int] = field(default_factory=set)
    """The numbers of the heartbeats that were answered with 200."""
    refused: list[str] = field(default_factory=list)
    """Connections that were refused, or ended without an answer."""
    errors: list[str] = field(default_factory=list)
    """Answers other than 200."""
    threads: list[threading.Thread] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def send_all(self) -> None:
        while not self._stopped.is_set():
            number = next(self._numbers)
            try:
                status, body = heartbeat(self.port, number)
            except OSError as error:
                with self._changed:
                    self.refused.append(f"{number}: {error!r}")
                continue
            with self._changed:
                if status == http.HTTPStatus.OK:
                    self.answered.add(number)
                    self._changed.notify_all()
                else:
                    self.errors.append(f"{number}: {status} {body!r}")

    def wait_for(self, more: int) -> None:
        """Return when so many more heartbeats were answered."""
        with self._changed:
            aim = len(self.answered) + more
            assert self._changed.wait_for(
                lambda: len(self.answered) >= aim, ANSWER_SECONDS_MAX
            ), (len(self.answered), self.refused[-3:], self.errors[-3:])

    def stop(self) -> None:
        """Send nothing more than what is under way."""
        self._stopped.set()

    def join(self) -> None:
        """Return when nothing is under way any more."""
        for thread in self.threads:
            thread.join()


@contextmanager
def traffic(port: int, *, watchers: int = 3) -> Iterator[Traffic]:
    """Send heartbeats for as long as the context lasts."""
    sent = Traffic(port)
    sent.threads += [threading.Thread(target=sent.send_all) for _ in range(watchers)]
    for thread in sent.threads:
        thread.start()
    try:
        yield sent
    finally:
        sent.stop()
        sent.join()


def heartbeat(port: int, number: int) -> tuple[int, bytes]:
    """Send one heartbeat on a connection of its own; return status and body."""
    return call(
        port,
        "POST",
        f"/api/0/buckets/{BUCKET}/heartbeat?pulsetime=0",
        {
            "timestamp": f"2024-03-01T10:{number // 60 % 60:02}:{number % 60:02}Z",
            "duration": 0,
            "data": {"n": number},
        },
    )


def make_bucket(port: int) -> None:
    body = {"type": "currentwindow", "client": "aw-watcher-window", "hostname": "box"}
    assert call(port, "POST", f"/api/0/buckets/{BUCKET}", body)[0] == 200


def stored(port: int) -> set[int]:
    """Return the numbers of the heartbeats that are stored."""
    url = f"http://127.0.0.1:{port}/api/0/buckets/{BUCKET}/events"
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS_MAX) as answer:
        return {event["data"]["n"] for event in json.load(answer)}


def call(port: int, method: str, path: str, body: Any) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=ANSWER_SECONDS_MAX
    )
    try:
        connection.request(
            method,
            path,
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(repr(error)) from error
    finally:
        connection.close()
