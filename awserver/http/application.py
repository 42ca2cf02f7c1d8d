"""Every endpoint, on an application of its own or on another's."""

from typing import Final

from aiohttp import web

from awserver.errors import MethodNotAllowedError, NotFoundError, ServerError
from awserver.http import (
    accounts,
    changes,
    documents,
    health,
    logs,
    openapi,
    sessions,
    usage,
)
from awserver.http.answers import text_answer
from awserver.http.calls import Api, Endpoint, Route, expect_of, route_of
from awserver.http.problems import NOTHING_HERE, problem_for
from awserver.wire import API_PATH

# Of paths that begin alike, the first that fits is taken: appends come most often.
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *logs.ENDPOINTS,
    *changes.ENDPOINTS,
    *sessions.ENDPOINTS,
    *documents.ENDPOINTS,
    *accounts.ENDPOINTS,
    *usage.ENDPOINTS,
    *health.ENDPOINTS,
    *openapi.ENDPOINTS,
)

Application = web.Application

HOME: Final = (
    "This is a host of sealed records. Whoever runs it cannot read them.\n"
    f"The API is described at {openapi.PATH}.\n"
)
GATEWAY_ELSEWHERE: Final = (
    "ActivityWatch's API is not served by a host, which cannot read events: run the"
    " gateway, aw-server, on the machine of the watchers"
)


def create_application(api: Api) -> web.Application:
    """Return a host as an application; serve it with `create_runner`."""
    app = web.Application()
    add_api(app, api)
    app.router.add_route("GET", "/", _home)
    app.router.add_route(
        "*", "/api/0", _refusing(api, NotFoundError(GATEWAY_ELSEWHERE))
    )
    app.router.add_route(
        "*", "/api/0/{path:.*}", _refusing(api, NotFoundError(GATEWAY_ELSEWHERE))
    )
    app.router.add_route("*", "/{path:.*}", _refusing(api, NotFoundError(NOTHING_HERE)))
    return app


def add_api(app: web.Application, api: Api) -> None:
    """Add every endpoint to an application, which may have others.

    What is under /api/1 and no endpoint is answered too. Long polls end when the
    application shuts down.
    """
    api.description = openapi.describe(ENDPOINTS)
    by_path: dict[str, list[Endpoint]] = {}
    for endpoint in ENDPOINTS:
        by_path.setdefault(endpoint.path, []).append(endpoint)
    for path, endpoints in by_path.items():
        resource = app.router.add_resource(path)
        methods = []
        for endpoint in endpoints:
            route = route_of(api, endpoint)
            expect = expect_of(api, endpoint)
            resource.add_route(endpoint.method, route, expect_handler=expect)
            methods.append(endpoint.method)
            if endpoint.method == "GET":
                resource.add_route("HEAD", route, expect_handler=expect)
                methods.append("HEAD")
        allow = ", ".join(sorted(methods))
        resource.add_route("*", _refusing(api, MethodNotAllowedError(allow=allow)))
    app.router.add_route(
        "*", f"{API_PATH}/{{path:.*}}", _refusing(api, NotFoundError(NOTHING_HERE))
    )

    async def stop_polls(_app: web.Application) -> None:
        api.polls.stop()

    app.on_shutdown.append(stop_polls)


async def _home(_request: web.Request) -> web.StreamResponse:
    return text_answer(HOME)


def _refusing(api: Api, error: ServerError) -> Route:
    async def route(request: web.Request) -> web.StreamResponse:
        try:
            if api.check is not None:
                api.check(request)
        except ServerError as refused:
            return problem_for(refused)
        return problem_for(error)

    return route
