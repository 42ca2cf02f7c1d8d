"""Sessions: from a proof to a token, and the end of one."""

import re
from typing import Final

from aiohttp import web

from awserver import errors
from awserver.http.answers import empty_answer, json_answer
from awserver.http.bodies import JsonForm
from awserver.http.calls import Call, Endpoint
from awserver.wire import (
    API_PATH,
    SESSION_ID_BYTES,
    PreloginAnswer,
    PreloginRequest,
    SessionAnswer,
    SessionRequest,
    SessionsAnswer,
)

PRELOGIN = JsonForm(PreloginRequest)
SESSION = JsonForm(SessionRequest)

CURRENT: Final = "current"
_ID: Final = re.compile(f"[0-9a-f]{{{2 * SESSION_ID_BYTES}}}")


async def prelogin(call: Call) -> web.StreamResponse:
    """Answer salt and nonce, for any name alike."""
    request = await call.json(PRELOGIN)
    return json_answer(
        await call.service.sessions.prelogin(request, address=call.address)
    )


async def create(call: Call) -> web.StreamResponse:
    """Begin a session for whoever proves a key."""
    request = await call.json(SESSION)
    answer = await call.service.sessions.create(request, address=call.address)
    return json_answer(answer, status=201)


async def list_sessions(call: Call) -> web.StreamResponse:
    """List the account's sessions."""
    caller = await call.caller()
    return json_answer(await call.service.sessions.list(caller))


async def end(call: Call) -> web.StreamResponse:
    """End one session."""
    caller = await call.caller()
    session_id = call.request.match_info["id"]
    if session_id != CURRENT and not _ID.fullmatch(session_id):
        raise errors.SessionUnknownError("there is no such session")
    await call.service.sessions.end(caller, session_id)
    return empty_answer()


ENDPOINTS = (
    Endpoint(
        method="POST",
        path=f"{API_PATH}/prelogin",
        summary="The salt of the passphrase, and a nonce for one proof.",
        handler=prelogin,
        body=PRELOGIN,
        answer=PreloginAnswer,
        errors=(errors.RateLimitedError,),
    ),
    Endpoint(
        method="POST",
        path=f"{API_PATH}/sessions",
        summary="Begin a session, with a proof.",
        handler=create,
        body=SESSION,
        statuses=(201,),
        answer=SessionAnswer,
        errors=(
            errors.AccountDisabledError,
            errors.ProofRefusedError,
            errors.RateLimitedError,
        ),
    ),
    Endpoint(
        method="GET",
        path=f"{API_PATH}/sessions",
        summary="Every session of the account.",
        handler=list_sessions,
        token=True,
        answer=SessionsAnswer,
    ),
    Endpoint(
        method="DELETE",
        path=f"{API_PATH}/sessions/{{id}}",
        summary="End a session; `current` is the one of the request.",
        handler=end,
        token=True,
        statuses=(204,),
        errors=(errors.SessionUnknownError,),
    ),
)
