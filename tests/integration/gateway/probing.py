"""One request after the other, to ActivityWatch's server and to ours.

Each server lives through all of them, so each has its own events, with ids of its
own; a step names an event by the number `n` in its data.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from aiohttp import ServerDisconnectedError

from tests.integration.gateway.running import Answer, Api

NOW_SECONDS: Final = 3_600
"""A time that is this near to the present is one that the server gave."""

NO_ANSWER: Final = 0
"""The status of a connection that was closed without an answer."""

_EVENT_ID: Final = re.compile(r"<(\w+):(\d+)>")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request, and the difference that its answers show, if there is one.

    `<b:5>` in a path, or as an id in the body, is the id of the event of bucket `b`
    whose data is `{"n": 5}`.
    """

    method: str
    path: str
    value: Any = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    differs: str = ""
    """Which entry of the table; empty: the answers are the same."""

    def __str__(self) -> str:
        sent = self.value if self.body is None else self.body
        shown = "" if sent is None else repr(sent)
        return f"{self.method} {self.path} {shown} {dict(self.headers) or ''}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What counts of an answer."""

    status: int
    kind: str
    """The type of its content, without parameters."""
    allow: str
    """The methods that it names, in one order."""
    origin: str
    """The origin that it lets read it."""
    value: Any
    """What its body says, with what each server makes up taken out."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The answers of both to one step."""

    step: Step
    theirs: Seen
    ours: Seen

    @property
    def kinds(self) -> set[str]:
        """Return in what the answers differ."""
        theirs, ours = self.theirs, self.ours
        if theirs.status != ours.status:
            return {f"{theirs.status} {ours.status}"}
        found = set()
        if theirs.allow != ours.allow:
            found.add("allow")
        if theirs.origin != ours.origin:
            found.add("origin")
        if _shape(theirs.value) != _shape(ours.value) or theirs.kind != ours.kind:
            found.add("shape")
        elif theirs.value != ours.value:
            found.add("words" if theirs.status >= 400 else "value")
        return found

    def __str__(self) -> str:
        return f"{self.step}\n    theirs: {self.theirs}\n    ours:   {self.ours}"


def bucket(name: str, tail: str = "", **parameters: object) -> str:
    """Return the path of a bucket, or of something below it."""
    query = "&".join(
        f"{key}={quote(str(value), safe='')}"
        for key, value in parameters.items()
        if value is not None
    )
    path = f"/api/0/buckets/{quote(name, safe='')}{tail}"
    return f"{path}?{query}" if query else path


class Side:
    """One of the two servers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._hostname = ""

    async def start(self) -> None:
        info = await self._api.ok("GET", "/api/0/info")
        self._hostname = info["hostname"]

    async def ask(self, step: Step) -> Seen:
        path = step.path
        for place in _EVENT_ID.finditer(step.path):
            path = path.replace(place[0], str(await self._event_id(*place.groups())))
        value = step.value
        if isinstance(value, dict) and isinstance(value.get("id"), str):
            named = _EVENT_ID.fullmatch(value["id"])
            assert named is not None
            value = value | {"id": await self._event_id(*named.groups())}
        try:
            answer = await self._api.call(
                step.method, path, value, body=step.body, headers=dict(step.headers)
            )
        except ServerDisconnectedError:
            return Seen(NO_ANSWER, "", "", "", None)
        return self._seen(answer)

    async def _event_id(self, name: str, number: str) -> int:
        events = await self._api.ok("GET", bucket(name, "/events"))
        (found,) = [e["id"] for e in events if e["data"] == {"n": int(number)}]
        assert isinstance(found, int)
        return found

    def _seen(self, answer: Answer) -> Seen:
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        try:
            value = self._plain(json.loads(answer.body))
        except ValueError:
            # Pages, and what is empty.
            value = bool(answer.body)
        allow = answer.headers.get("Allow", "") if answer.status < 500 else ""
        return Seen(
            answer.status,
            kind,
            ", ".join(sorted(allow.replace(" ", "").split(","))),
            answer.headers.get("Access-Control-Allow-Origin", ""),
            value,
        )

    def _plain(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._plain(item) for item in value]
        if isinstance(value, dict):
            is_event = {"id", "timestamp", "duration"} <= value.keys()
            return {
                key: "<id>"
                if is_event and key == "id" and isinstance(item, int)
                else self._plain(item)
                for key, item in value.items()
            }
        return self._plain_text(value) if isinstance(value, str) else value

    def _plain_text(self, text: str) -> str:
        if text == self._hostname:
            return "<hostname>"
        if _UUID.fullmatch(text):
            return "<uuid>"
        if re.fullmatch(r"v\d+\.\d+\S*", text):
            return "<version>"
        return "<now>" if _is_now(text) else text


async def probe(theirs: Api, ours: Api, steps: Iterator[Step]) -> list[Compared]:
    """Send every step to both, and return what came."""
    sides = Side(theirs), Side(ours)
    for side in sides:
        await side.start()
    found = []
    for step in steps:
        seen = [await side.ask(step) for side in sides]
        found.append(Compared(step, *seen))
    return found


def _is_now(text: str) -> bool:
    if not re.match(r"\d{4}-\d\d-\d\dT", text):
        return False
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return abs(datetime.now(UTC) - moment) < timedelta(seconds=NOW_SECONDS)


def _shape(value: Any) -> Any:
    """Return the types of a value: of objects the keys, of arrays the first item."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shape(item) for item in value[:1]] if value else []
    return type(value).__name__
