"""Changes: wait until there is something new in the account."""

from aiohttp import web

from awserver import errors
from awserver.http import parameters
from awserver.http.answers import json_answer
from awserver.http.calls import Call, Endpoint, Parameter
from awserver.records import SEQ_MAX
from awserver.wire import API_PATH, CHANGES_WAIT_SECONDS_MAX, ChangesAnswer


async def get_changes(call: Call) -> web.StreamResponse:
    """Answer as soon as something differs from what the caller knows."""
    caller = await call.caller()
    entries = parameters.number(call.request, "entries", default=0)
    version = parameters.number(call.request, "version", default=0)
    seconds = parameters.number(
        call.request, "wait", default=0, most=CHANGES_WAIT_SECONDS_MAX
    )
    changes = call.service.changes
    if seconds and not call.api.polls.stopping:
        with call.api.polls.waiting(call.request):
            return json_answer(
                await changes.wait(
                    caller, entries=entries, version=version, seconds=seconds
                )
            )
    # At once: also where the host stops, so that a client asks the next one.
    return json_answer(
        await changes.wait(caller, entries=entries, version=version, seconds=0)
    )


ENDPOINTS = (
    Endpoint(
        method="GET",
        path=f"{API_PATH}/changes",
        summary="Wait for something new in the account.",
        handler=get_changes,
        token=True,
        parameters=(
            Parameter(
                name="entries",
                about="as the last answer said",
                default=0,
                most=SEQ_MAX,
            ),
            Parameter(
                name="version",
                about="as the last answer said",
                default=0,
                most=SEQ_MAX,
            ),
            Parameter(
                name="wait",
                about="seconds to wait for a change",
                default=0,
                most=CHANGES_WAIT_SECONDS_MAX,
            ),
        ),
        answer=ChangesAnswer,
        errors=(errors.RateLimitedError,),
    ),
)
