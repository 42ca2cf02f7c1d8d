"""How a handler becomes a route: guards before it, one place for errors after it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import HttpVersion11, web

from awvault.gateway import reading
from awvault.gateway.answers import answer_for, empty_answer, error_answer
from awvault.gateway.guards import Guards
from awvault.gateway.holder import VaultHolder
from awvault.gateway.refusals import Refusal
from awvault.gateway.settings import GatewaySettings
from awvault.vault import Vault

METHOD_NOT_ALLOWED: Final = "the method is not allowed here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What handlers need beside the request and the vault."""

    holder: VaultHolder
    settings: GatewaySettings
    guards: Guards


Answer = web.StreamResponse
Handler = Callable[[web.Request, Vault, Gateway], Awaitable[Answer]]
Route = Callable[[web.Request], Awaitable[Answer]]
CheckBody = Callable[[web.Request], None]


def check_usual_body(request: web.Request) -> None:
    """Raise a `Refusal` if the headers say that the body is no JSON, or too long."""
    reading.check_body_headers(request, bytes_max=reading.BODY_BYTES_MAX)


def add_routes(
    app: web.Application,
    gateway: Gateway,
    path: str,
    handlers: Mapping[str, Handler],
    *,
    refusal: str = METHOD_NOT_ALLOWED,
    or_slash: bool = False,
    is_open: bool = False,
    check_body: CheckBody = check_usual_body,
) -> None:
    """Serve `path`: each handler under its method, HEAD as GET, OPTIONS.

    Any other method gets a 405 with `refusal` as its message. With `or_slash`,
    the same is served with a slash behind it: one of ActivityWatch's servers
    redirects there, the other does not, and some clients follow no redirect.
    A handler wants the key, where one is set, unless the path `is_open`.
    `check_body` says whether a body that waits for a 100 may come.
    """
    if or_slash:
        add_routes(
            app,
            gateway,
            f"{path}/",
            handlers,
            refusal=refusal,
            is_open=is_open,
            check_body=check_body,
        )
    methods = {*handlers, "OPTIONS"} | ({"HEAD"} if "GET" in handlers else set())
    allow = {"Allow": ", ".join(sorted(methods))}

    async def otherwise(request: web.Request) -> Answer:
        if request.method != "OPTIONS":
            raise Refusal(405, refusal, headers=allow)
        answer = empty_answer(200)
        answer.headers.update(allow)
        answer.headers.update(gateway.guards.preflight_headers(request.headers))
        return answer

    expect = _expect(gateway, is_open=is_open, check_body=check_body)
    resource = app.router.add_resource(path)
    for method, handler in handlers.items():
        route = _guarded(
            gateway,
            _unlocked(gateway, handler),
            writes=method != "GET",
            is_open=is_open,
        )
        resource.add_route(method, route, expect_handler=expect)
        if method == "GET":
            resource.add_route("HEAD", route, expect_handler=expect)
    expect = _expect(gateway, is_open=True, check_body=check_body)
    resource.add_route("*", guarded(gateway, otherwise), expect_handler=expect)


def guarded(gateway: Gateway, handler: Route) -> Route:
    """Return a route that checks the Host, and turns errors into answers.

    The handler may read, needs no vault, and shows nothing that wants the key.
    """
    return _guarded(gateway, handler, writes=False, is_open=True)


def _guarded(gateway: Gateway, handler: Route, *, writes: bool, is_open: bool) -> Route:
    guards = gateway.guards

    async def route(request: web.Request) -> Answer:
        headers = request.headers
        try:
            guards.check_host(headers)
            if writes:
                guards.check_write(headers)
            if not is_open:
                guards.check_key(headers)
            answer = await handler(request)
        except (asyncio.CancelledError, ConnectionError):
            raise  # nobody is there to be answered
        except Exception as error:  # noqa: BLE001 - every error gets its answer here
            answer = answer_for(error, data_dir=gateway.settings.data_dir)
        if "Origin" in headers and not answer.prepared:
            answer.headers.update(guards.cors_headers(headers))
        return answer

    return route


def _unlocked(gateway: Gateway, handler: Handler) -> Route:
    holder = gateway.holder

    async def route(request: web.Request) -> Answer:
        vault = holder.current
        if vault is None:
            vault = await holder.vault()
        with holder.using():
            # After a failed write, nothing is answered from memory until it is
            # loaded again.
            await vault.settle()
            return await handler(request, vault, gateway)

    return route


def _expect(
    gateway: Gateway, *, is_open: bool, check_body: CheckBody
) -> Callable[[web.Request], Awaitable[Answer | None]]:
    """Return what asks for a body only if the headers are no reason to refuse it."""

    async def expect(request: web.Request) -> Answer | None:
        expected = request.headers.get("Expect", "").lower()
        if expected != "100-continue":
            return error_answer(417, "the only expectation met is 100-continue")
        try:
            gateway.guards.check_host(request.headers)
            if request.method != "GET":
                gateway.guards.check_write(request.headers)
            if not is_open:
                gateway.guards.check_key(request.headers)
            check_body(request)
        except Refusal as refusal:
            return answer_for(refusal, data_dir="")
        if request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # What was written so far is no part of the answer.
            request.writer.output_size = 0
        return None

    return expect
