"""One request on its way: who asks, what they sent, and what it may take."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec
from aiohttp import HttpVersion11, web

from awserver.errors import HostBusyError, InvalidRequestError, ServerError
from awserver.http.bodies import (
    SHARED_BYTES_MAX,
    SHARED_BYTES_OPEN_MAX,
    SMALL_BYTES_MAX,
    BodyForm,
    JsonForm,
    Room,
)
from awserver.http.guards import Addresses, Polls, network_of, token_of
from awserver.http.problems import problem_for
from awserver.service.base import Caller, Service

T = TypeVar("T")

NO_SERVICE_RETRY_SECONDS: Final = 1

Check = Callable[[web.Request], None]
Ready = Callable[[], Awaitable[None]]


async def _always() -> None:
    """Be ready."""


@dataclass(slots=True, kw_only=True)
class Api:
    """What every request needs."""

    service: Service | None
    """None: not yet, or no more; requests are told to try again."""
    addresses: Addresses = field(default_factory=Addresses)
    ready: Ready = _always
    """Raises unless the host can answer."""
    check: Check | None = None
    """Looks at every request first: the gateway's guard, in localhost mode."""
    polls: Polls = field(default_factory=Polls)
    room: Room = field(default_factory=lambda: Room(bytes_max=SHARED_BYTES_MAX))
    open_room: Room = field(
        default_factory=lambda: Room(bytes_max=SHARED_BYTES_OPEN_MAX)
    )
    description: bytes = b""
    """The OpenAPI document; `application.add_api` makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One of the query."""

    name: str
    about: str
    default: int
    most: int
    least: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A method and a path: what they take, and what they answer."""

    method: str
    path: str
    summary: str
    handler: "Handler"
    token: bool = False
    """Whether it takes a token."""
    body: BodyForm | None = None
    parameters: tuple[Parameter, ...] = ()
    statuses: tuple[int, ...] = (200,)
    answer: "type[msgspec.Struct] | str | None" = None
    """A type of `awserver.wire`, or the media type of anything else."""
    errors: tuple[type[ServerError], ...] = ()
    """What it raises beside what every address does."""


def service_of(api: Api) -> Service:
    """Return the service; raises `HostBusyError` while there is none."""
    if api.service is None:
        raise HostBusyError(retry_seconds=NO_SERVICE_RETRY_SECONDS)
    return api.service


class Call:
    """One request. Its handler asks it for what it needs, in this order."""

    __slots__ = ("_caller", "_held", "api", "request")

    def __init__(self, api: Api, request: web.Request) -> None:
        """Take a request that was routed."""
        self.api = api
        self.request = request
        self._caller: Caller | None = None
        self._held: tuple[Room, object, int] | None = None

    @property
    def service(self) -> Service:
        """All of the host but its network."""
        return service_of(self.api)

    @property
    def address(self) -> str:
        """Whoever asks, for rate limits."""
        return self.api.addresses.of(self.request)

    async def caller(self) -> Caller:
        """Return whose token this came with; raises `SessionInvalidError`."""
        caller = await service_of(self.api).sessions.find(token_of(self.request))
        self._caller = caller
        return caller

    async def json(self, form: JsonForm[T]) -> T:
        """Return the body as a type."""
        form.check_headers(self.request)
        await self._make_room(form)
        return await form.read(self.request)

    async def chunks(self, form: BodyForm) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        form.check_headers(self.request)
        data = form.arrived(self.request)
        if data is not None:
            yield data
            return
        await self._make_room(form)
        async for chunk in form.chunks(self.request):
            yield chunk

    async def _make_room(self, form: BodyForm) -> None:
        """Wait until what the body may take is free; `close` gives it back."""
        length = self.request.content_length
        size = form.bytes_max if length is None else length
        if size <= SMALL_BYTES_MAX:
            return
        if self._caller is None:
            room, owner = self.api.open_room, network_of(self.address)
        else:
            room, owner = self.api.room, str(self._caller.account_id.hex())
        await room.take(owner, size)
        self._held = (room, owner, size)

    def close(self) -> None:
        """Give back what the request held."""
        if self._held is not None:
            room, owner, size = self._held
            self._held = None
            room.give_back(owner, size)


Handler = Callable[[Call], Awaitable[web.StreamResponse]]
Route = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def route_of(api: Api, endpoint: Endpoint) -> Route:
    """Return the endpoint's handler as aiohttp calls it."""
    handler = endpoint.handler

    async def route(request: web.Request) -> web.StreamResponse:
        call = Call(api, request)
        try:
            if api.check is not None:
                api.check(request)
            return await handler(call)
        except ConnectionError:
            raise  # nobody is there to be answered
        except Exception as error:  # noqa: BLE001 - every error gets its answer here
            return problem_for(error)
        finally:
            call.close()

    return route


def expect_of(
    api: Api, endpoint: Endpoint
) -> Callable[[web.Request], Awaitable[web.StreamResponse | None]]:
    """Return what asks for a body only if the headers are no reason to refuse it."""

    async def expect(request: web.Request) -> web.StreamResponse | None:
        try:
            if api.check is not None:
                api.check(request)
            _check_expectation(request)
            if endpoint.token:
                await service_of(api).sessions.find(token_of(request))
            if endpoint.body is not None:
                endpoint.body.check_headers(request)
        except Exception as error:  # noqa: BLE001 - every error gets its answer here
            answer = problem_for(error)
            answer.force_close()
            return answer
        if request.version >= HttpVersion11:
            await request.writer.write(CONTINUE)
            # What was written so far is no part of the answer.
            request.writer.output_size = 0
        return None

    return expect


def _check_expectation(request: web.Request) -> None:
    if request.headers.get("Expect", "").lower() != "100-continue":
        raise InvalidRequestError("the only expectation met is 100-continue")
