"""The account document, and the keys blob."""

from aiohttp import web

from awserver import errors
from awserver.http import parameters
from awserver.http.answers import binary_answer, json_answer
from awserver.http.bodies import JsonForm
from awserver.http.calls import Call, Endpoint, Parameter
from awserver.records import SEQ_MAX
from awserver.wire import (
    API_PATH,
    BINARY_TYPE,
    DOCUMENTS_JSON_BYTES_MAX,
    DocumentRequest,
    RestoreRequest,
    VersionAnswer,
    encode_documents,
)

DOCUMENT = JsonForm(DocumentRequest, bytes_max=DOCUMENTS_JSON_BYTES_MAX)
RESTORE = JsonForm(RestoreRequest, bytes_max=DOCUMENTS_JSON_BYTES_MAX)

_REFUSALS = (
    errors.DocumentConflictError,
    errors.DocumentInvalidError,
    errors.NotSupportedError,
    errors.ProofRefusedError,
    errors.RateLimitedError,
    errors.SignatureInvalidError,
    errors.StoreReadOnlyError,
    errors.SuiteUnknownError,
)


async def read(call: Call) -> web.StreamResponse:
    """Answer account documents, oldest first."""
    caller = await call.caller()
    after = parameters.number(call.request, "after", default=0)
    documents = await call.service.documents.read(caller, after=after)
    return binary_answer(encode_documents(documents))


async def read_keys(call: Call) -> web.StreamResponse:
    """Answer the newest keys blob."""
    caller = await call.caller()
    return binary_answer(await call.service.documents.keys_blob(caller))


async def put(call: Call) -> web.StreamResponse:
    """Store the next version of the account document."""
    caller = await call.caller()
    request = await call.json(DOCUMENT)
    answer = await call.service.documents.put(caller, request, address=call.address)
    return json_answer(answer, status=201)


async def restore(call: Call) -> web.StreamResponse:
    """Put back versions that this host lost."""
    request = await call.json(RESTORE)
    answer = await call.service.documents.restore(request, address=call.address)
    return json_answer(answer, status=201)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path=f"{API_PATH}/documents",
        summary="Account documents, oldest first.",
        handler=read,
        token=True,
        parameters=(
            Parameter(
                name="after",
                about="only versions above this",
                default=0,
                most=SEQ_MAX,
            ),
        ),
        answer=BINARY_TYPE,
    ),
    Endpoint(
        method="GET",
        path=f"{API_PATH}/keys",
        summary="The newest keys blob.",
        handler=read_keys,
        token=True,
        answer=BINARY_TYPE,
    ),
    Endpoint(
        method="POST",
        path=f"{API_PATH}/documents",
        summary="Store the next version of the account document, with a fresh proof.",
        handler=put,
        token=True,
        body=DOCUMENT,
        statuses=(201,),
        answer=VersionAnswer,
        errors=_REFUSALS,
    ),
    Endpoint(
        method="POST",
        path=f"{API_PATH}/documents/restore",
        summary="Put back account documents that the host lost.",
        handler=restore,
        body=RESTORE,
        statuses=(201,),
        answer=VersionAnswer,
        errors=(
            *_REFUSALS,
            errors.AccountDeletingError,
            errors.AccountDisabledError,
            errors.RegistrationClosedError,
            errors.UsernameTakenError,
        ),
    ),
)
