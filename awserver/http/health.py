"""Whether the host lives, and whether it can answer."""

from aiohttp import web

from awserver import errors
from awserver.http.answers import text_answer
from awserver.http.calls import Call, Endpoint, service_of


async def healthz(_call: Call) -> web.StreamResponse:
    """Say that the process answers."""
    return text_answer("ok\n")


async def readyz(call: Call) -> web.StreamResponse:
    """Say whether the database can be read."""
    if call.api.polls.stopping:
        raise errors.HostBusyError(retry_seconds=1)
    service_of(call.api)
    await call.api.ready()
    return text_answer("ready\n")


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/healthz",
        summary="Whether the process answers.",
        handler=healthz,
        answer="text/plain",
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        summary="Whether the host can serve.",
        handler=readyz,
        answer="text/plain",
        errors=(errors.HostBusyError,),
    ),
)
