"""What an account has stored, and may store."""

from aiohttp import web

from awserver.http.answers import json_answer
from awserver.http.calls import Call, Endpoint
from awserver.wire import API_PATH, UsageAnswer


async def get_usage(call: Call) -> web.StreamResponse:
    """Answer records and bytes."""
    caller = await call.caller()
    return json_answer(await call.service.logs.usage(caller))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path=f"{API_PATH}/usage",
        summary="What the account has stored, and may store.",
        handler=get_usage,
        token=True,
        answer=UsageAnswer,
    ),
)
