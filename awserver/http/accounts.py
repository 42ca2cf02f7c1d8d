"""Accounts: what anyone may know, making one, ending one."""

from aiohttp import web

from awserver import errors
from awserver.config import Registration
from awserver.http.answers import empty_answer, json_answer
from awserver.http.bodies import JsonForm
from awserver.http.calls import Call, Endpoint
from awserver.wire import (
    API_PATH,
    DOCUMENTS_JSON_BYTES_MAX,
    DeleteRequest,
    InfoAnswer,
    RegisterRequest,
    SessionAnswer,
)

REGISTER = JsonForm(RegisterRequest, bytes_max=DOCUMENTS_JSON_BYTES_MAX)
DELETE = JsonForm(DeleteRequest)


async def get_info(call: Call) -> web.StreamResponse:
    """Say which API this is, and who may register."""
    return json_answer(call.service.accounts.info())


async def register(call: Call) -> web.StreamResponse:
    """Make an account and begin a session."""
    if call.service.accounts.info().registration == Registration.CLOSED.value:
        # Before a body of many megabytes is read.
        raise errors.RegistrationClosedError("this host takes no new accounts")
    request = await call.json(REGISTER)
    answer = await call.service.accounts.register(request, address=call.address)
    return json_answer(answer, status=201)


async def delete(call: Call) -> web.StreamResponse:
    """Delete the account and all it has stored."""
    caller = await call.caller()
    request = await call.json(DELETE)
    await call.service.accounts.delete(caller, request, address=call.address)
    return empty_answer()


ENDPOINTS = (
    Endpoint(
        method="GET",
        path=f"{API_PATH}/info",
        summary="Which API this is, and who may register.",
        handler=get_info,
        answer=InfoAnswer,
    ),
    Endpoint(
        method="POST",
        path=f"{API_PATH}/accounts",
        summary="Make an account, and begin a session.",
        handler=register,
        body=REGISTER,
        statuses=(201,),
        answer=SessionAnswer,
        errors=(
            errors.AccountDeletingError,
            errors.AccountExistsError,
            errors.DocumentInvalidError,
            errors.InviteInvalidError,
            errors.ProofRefusedError,
            errors.RateLimitedError,
            errors.RegistrationClosedError,
            errors.SignatureInvalidError,
            errors.SuiteUnknownError,
            errors.UsernameTakenError,
        ),
    ),
    Endpoint(
        method="POST",
        path=f"{API_PATH}/account/delete",
        summary="Delete the account and all it has stored.",
        handler=delete,
        token=True,
        body=DELETE,
        statuses=(204,),
        errors=(
            errors.NotSupportedError,
            errors.ProofRefusedError,
            errors.RateLimitedError,
        ),
    ),
)
