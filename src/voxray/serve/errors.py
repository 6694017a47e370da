"""Every failure is one JSON body: {"error": {"code", "message"}}; codes never change.

`Problem` is raised by the service itself; refusals of trust keep their own codes (`trust.CODES`).
What is not foreseen is logged in full and told as `internal`, without its text.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..trust import Refused

log = logging.getLogger("voxray.serve")
STATUS = {
    "bad-request": 400, "text-empty": 400, "format-unsupported": 400, "unsupported": 400,
    "language-unsupported": 400,
    "audio-unreadable": 422, "invalid": 422,
    "key-missing": 401, "origin-denied": 403, "host-denied": 421,
    "url-denied": 403, "url-unreachable": 422,
    "voice-unknown": 404, "model-unknown": 404, "job-unknown": 404, "not-found": 404,
    "method-not-allowed": 405, "body-timeout": 408, "voice-exists": 409,
    "body-too-large": 413, "text-too-long": 413, "encoding-unsupported": 415,
    "type-unsupported": 415,
    "queue-full": 429, "key-busy": 429, "too-many": 429, "key-guessing": 429,
    "reader-slow": 408, "internal": 500, "not-ready": 503, "shutting-down": 503,
}  # fmt: skip
REFUSED = {
    "key-unknown": 401, "key-expired": 401, "key-revoked": 401,
    "quota-rate": 429, "quota-characters": 429,
    "records-unavailable": 503, "records-altered": 503, "policy-broken": 503,
    "mark-unavailable": 503, "credentials-broken": 422, "audio-unreadable": 422,
}  # fmt: skip  # all others: 403
BY_STATUS = {404: "not-found", 405: "method-not-allowed"}
MINUTE, HOUR = 60, 3600


class Problem(ValueError):
    """What the client is told: a code for programs, one line for people."""

    def __init__(self, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after = code, message, retry_after
        self.status = STATUS[code]


def problem_of(error: BaseException) -> Problem:
    """What is told of any failure."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Refused):
        told = Problem("bad-request", str(error).rsplit(" [", 1)[0])
        told.code, told.status = error.code, REFUSED.get(error.code, 403)
        told.retry_after = {"quota-rate": MINUTE, "quota-characters": HOUR}.get(error.code)
        if told.status == 503:  # the line names folders: that is for the log
            log.error("refused", extra={"fields": {"code": error.code, "reason": str(error)}})
            told.message = "the service cannot keep its records; nothing is said"
        return told
    if isinstance(error, RequestValidationError):
        return Problem("invalid", _first_fault(error))
    if isinstance(error, ValueError):
        return Problem("bad-request", " ".join(str(error).split()))
    log.error("failed", exc_info=error)
    return Problem("internal", "the service failed; its log says why")


def body(problem: Problem) -> dict[str, Any]:
    """The JSON body."""
    return {"error": {"code": problem.code, "message": problem.message}}


def response(problem: Problem) -> JSONResponse:
    """The whole response."""
    headers = {"X-Voxray-Error": problem.code}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body(problem), problem.status, headers)


async def on_error(_request: Request, error: Exception) -> Response:
    """FastAPI's handler of every exception."""
    if isinstance(error, HTTPException):
        code = BY_STATUS.get(error.status_code, "bad-request")
        told = Problem(code, str(error.detail))
        told.status = error.status_code
        return response(told)
    return response(problem_of(error))


def _first_fault(error: RequestValidationError) -> str:
    faults = error.errors()
    if not faults:
        return "the request is not valid"
    where = ".".join(str(part) for part in faults[0]["loc"] if part != "body")
    said = str(faults[0]["msg"])
    return f"{where}: {said[0].lower()}{said[1:]}" if where else said
