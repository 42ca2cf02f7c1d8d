"""Read everything from a running server that speaks ActivityWatch's API.

A range of time is no way to page: ActivityWatch's servers cut events to the range,
add a millisecond to its end, and one of them misses what began a day before it. So
a page is the newest events that start at or before a moment, a number of them; the
next page begins at the oldest start of this one. What such a page may have cut, an
event that reaches its end, is asked for once more by its id, which gives it whole.
"""

import asyncio
import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from awvault.apikeys import ApiKey
from awvault.columns import timestamps
from awvault.errors import Error, InvalidInputError, TransportError
from awvault.transfer.activitywatch import put_events, shown
from awvault.transfer.parts import BucketPart, Parts, Rows, bucket_part

PAGE_EVENTS: Final = 5_000
PAGE_EVENTS_MAX: Final = 200_000
"""A page grows to this where more events than fit in it start at one moment."""

AGAIN_US: Final = 10_000
"""A page may begin so much later than where it was asked to end."""

ANSWER_BYTES_MAX: Final = 256 * 1024 * 1024
ANSWER_SECONDS_MAX: Final = 120.0
"""The Python server takes seconds for a page of a large bucket."""

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class ServerUnreachableError(TransportError):
    """The server does not answer."""


class ServerRefusedError(Error):
    """The server answers something else than an ActivityWatch server does."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class _Event(msgspec.Struct, gc=False):
    id: int
    timestamp: msgspec.Raw
    duration: float
    data: msgspec.Raw


_EVENT: Final = msgspec.json.Decoder(_Event)
_RAWS: Final = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class _Known:
    """An event of a page: what tells it from others, and its text."""

    id: int
    start: int
    end: int
    text: bytes


class ActivityWatchServer:
    """One server, asked from a thread; a connection for each request."""

    def __init__(
        self, url: str, *, insecure: bool = False, key: ApiKey | None = None
    ) -> None:
        """Ask the server at `url`, with `key` where it asks for one.

        `insecure`: plain http to another machine.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidInputError("URL", "expected one such as http://localhost:5600")
        if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
            raise InvalidInputError(
                "URL", "expected an address alone, such as http://localhost:5600"
            )
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not insecure:
            raise InvalidInputError(
                "URL",
                f'"{shown(parts.hostname)}" is another machine, and all would come'
                " from it unencrypted: --insecure allows it",
            )
        self._parts = parts
        self._headers = {"Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key.reveal()}"
        self.url = f"{parts.scheme}://{parts.netloc}"

    async def device_id(self) -> str | None:
        """Return what the server calls itself; None: it does not say."""
        found = _loaded(await self._get("/api/0/info"))
        return str(found.get("device_id")) if isinstance(found, dict) else None

    async def parts(self) -> Parts:
        """Yield everything that the server has."""
        buckets = _loaded(await self._get("/api/0/buckets/"))
        if not isinstance(buckets, dict):
            raise self._strange()
        for bucket_id, described in buckets.items():
            place = f'bucket "{shown(bucket_id)}"'
            if not isinstance(described, dict):
                raise self._strange()
            try:
                yield _bucket(bucket_id, described)
                async for part in self._events(bucket_id):
                    yield part
            except InvalidInputError as error:
                raise error.within(place) from None

    async def _events(self, bucket_id: str) -> Parts:
        """Yield a bucket's events, the newest page first."""
        path = f"/api/0/buckets/{quote(bucket_id, safe='')}/events"
        rows = Rows(bucket_id)
        limit = PAGE_EVENTS
        before: int | None = None
        # The starts of events that the next page may show once more, by their ids.
        seen: dict[int, int] = {}
        while True:
            query = f"?limit={limit}"
            if before is not None:
                query += f"&end={quote(timestamps.render(before), safe='')}"
            page = await asyncio.to_thread(_page, await self._get(path + query))
            new = [event for event in page if event.id not in seen]
            for at, event in enumerate(new):
                if before is not None and event.end >= before:
                    whole = await self._get(f"{path}/{event.id}")
                    new[at] = await asyncio.to_thread(_one, whole)
            # Oldest first, so that equal starts keep the order they had.
            new.sort(key=lambda event: (event.start, event.id))
            text = b"[%b]" % b",".join([event.text for event in new])
            await asyncio.to_thread(put_events, text, rows)
            if rows.is_full():
                yield rows.take()
            if len(page) < limit:
                break
            oldest = min(event.start for event in page)
            seen |= {event.id: event.start for event in page}
            # The servers may keep parts of a microsecond, which we do not see.
            if before is not None and oldest + 1 >= before:
                limit *= 2
                if limit > PAGE_EVENTS_MAX:
                    raise InvalidInputError(
                        "events",
                        f"more than {PAGE_EVENTS_MAX} start at one moment,"
                        f" {timestamps.render(oldest)}",
                    )
                continue
            limit = PAGE_EVENTS
            before = oldest + 1
            near = before + AGAIN_US
            seen = {e: start for e, start in seen.items() if start <= near}
        if rows.starts:
            yield rows.take()

    async def _get(self, path: str) -> bytes:
        return await asyncio.to_thread(self._get_now, path)

    def _get_now(self, path: str) -> bytes:
        parts = self._parts
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                host,
                parts.port,
                timeout=ANSWER_SECONDS_MAX,
                context=ssl.create_default_context(),
            )
        else:
            connection = http.client.HTTPConnection(
                host, parts.port, timeout=ANSWER_SECONDS_MAX
            )
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            body = answer.read(ANSWER_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnreachableError(
                f"{self.url} does not answer: {_said(error)}"
            ) from error
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.UNAUTHORIZED:
            raise ServerRefusedError(
                f"{self.url} asks for a key, and this is not it"
                if "Authorization" in self._headers
                else f"{self.url} asks for a key",
                hint="give the key's file with --api-key-file, or read its database:"
                " awvault import --from-activitywatch",
            )
        if answer.status != http.HTTPStatus.OK or len(body) > ANSWER_BYTES_MAX:
            raise ServerRefusedError(
                f"{self.url} answers {path.partition('?')[0]} with {answer.status}",
                hint="is an ActivityWatch server there?",
            )
        return body

    def _strange(self) -> ServerRefusedError:
        return ServerRefusedError(
            f"{self.url} does not answer as an ActivityWatch server does",
            hint="is an ActivityWatch server there?",
        )


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def _loaded(body: bytes) -> object:
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        raise ServerRefusedError(
            "the server's answer is not JSON", hint="is an ActivityWatch server there?"
        ) from None
    return value


def _bucket(bucket_id: str, described: dict[str, Any]) -> BucketPart:
    def text(name: str) -> str:
        value = described.get(name)
        return value if isinstance(value, str) else ""

    return bucket_part(
        bucket_id,
        type=text("type"),
        client=text("client"),
        hostname=text("hostname"),
        created=(
            timestamps.parse(text("created"), field="created")
            if text("created")
            else None
        ),
        data=json.dumps(described.get("data") or {}).encode("ascii"),
    )


def _page(body: bytes) -> list[_Known]:
    try:
        return [_known(bytes(raw)) for raw in _RAWS.decode(body)]
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        value = _loaded(body)
    if not isinstance(value, list):
        raise InvalidInputError("events", "expected an array")
    return [_known(json.dumps(each).encode("ascii")) for each in value]


def _one(body: bytes) -> _Known:
    return _known(body.strip())


def _known(text: bytes) -> _Known:
    """Return what is known of an event; its start as `put_events` reads it."""
    try:
        event = _EVENT.decode(text)
        event_id, duration = event.id, event.duration
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        value = _loaded(text)
        if not isinstance(value, dict) or not isinstance(value.get("id"), int):
            raise InvalidInputError(
                "events", "expected objects that have an id"
            ) from None
        event_id, duration = value["id"], float(value.get("duration") or 0)
    rows = Rows("")
    put_events(b"[%b]" % text, rows)
    start = rows.starts[0]
    return _Known(event_id, start, start + max(round(duration * 1e6), 0), text)
