"""Errors as `application/problem+json` (RFC 9457), and what the operator's log gets.

A deliberate error says its code and what to do. Any other becomes `internal`
without a detail; where it happened is in the log, but never its text, which may
hold bytes of the request.
"""

import logging
import traceback
from http import HTTPStatus
from pathlib import PurePath
from typing import Final

from aiohttp import web

from awserver import errors
from awserver.errors import ServerError
from awserver.http.answers import problem_response
from awserver.wire import API_PATH, Problem

INTERNAL: Final = "internal error: whoever runs this host finds more in its log"
NOTHING_HERE: Final = f"there is nothing at this address: see {API_PATH}/openapi.json"
STORE_FAILED: Final = (
    "the store failed, and nothing of this was stored: whoever runs this host finds"
    " more in its log"
)

STORAGE_RETRY_SECONDS: Final = 5
"""How soon a client may try again where the database is merely busy."""

_FRAMES_MAX: Final = 8

log = logging.getLogger(__name__)


class BrokenOffError(ConnectionError):
    """An answer failed after it had begun: the connection ends with it."""


def problem_for(error: Exception) -> web.Response:
    """Return the answer to an error that a handler raised."""
    if not isinstance(error, ServerError) or type(error) is ServerError:
        log_failure(log, error)
        return _problem(ServerError.status, ServerError.code, INTERNAL)
    detail = str(error)
    if isinstance(error, errors.StorageError):
        # Its text names files, and is for the operator.
        log_failure(log, error)
        detail = STORE_FAILED
        if isinstance(error, errors.StorageFullError):
            detail = "there is no room left on this host; what is stored is intact"
    answer = _problem(error.status, error.code, detail, error)
    match error:
        case errors.RateLimitedError() | errors.HostBusyError():
            answer.headers["Retry-After"] = str(error.retry_seconds)
        case errors.StorageBusyError():
            answer.headers["Retry-After"] = str(STORAGE_RETRY_SECONDS)
        case errors.MethodNotAllowedError():
            answer.headers["Allow"] = error.allow
        case errors.ProofRefusedError() | errors.SessionInvalidError():
            answer.headers["WWW-Authenticate"] = "Bearer"
        case errors.BodyTimeoutError() | errors.LimitExceededError():
            # What is still to come of the body is not waited for.
            answer.force_close()
    return answer


def problem_for_status(status: int) -> web.Response:
    """Return the answer to what was no request, or found no route."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _problem(status, ServerError.code, INTERNAL)
    if status == HTTPStatus.NOT_FOUND:
        return _problem(status, errors.NotFoundError.code, NOTHING_HERE)
    return _problem(
        status, errors.InvalidRequestError.code, "the request is not valid HTTP"
    )


def _problem(
    status: int, code: str, detail: str, error: ServerError | None = None
) -> web.Response:
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = code
    problem = Problem(
        title=title,
        status=status,
        code=code,
        detail=detail,
        expected_seq=getattr(error, "expected_seq", None),
        got_seq=getattr(error, "got_seq", None),
        expected_version=getattr(error, "expected_version", None),
        got_version=getattr(error, "got_version", None),
    )
    return problem_response(problem, status=status)


def log_failure(logger: logging.Logger, error: BaseException) -> None:
    """Log what kind of error it was and where, and the text only of our own."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(
        f"{PurePath(f.filename).name}:{f.lineno}"
        for f in reversed(frames[-_FRAMES_MAX:])
    )
    facts = {"kind": type(error).__name__, "where": where or "unknown"}
    if isinstance(error, errors.StorageError):
        facts["reason"] = str(error)
    logger.error("request failed", extra=facts)
