"""What goes wrong -> problem+json (RFC 9457). HTTP status codes live in this file and nowhere else.

Inside, exceptions say what is wrong; `PROBLEMS` says what that is over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from controller.enrol_request import EnrolmentRefused
from controller.enroll_key import BadAddress
from controller.enrolling import KeyRefused, Unknown
from controller.inventory.findings import Finding, InventoryRefused
from controller.rotating import HubUnknown, RotationRefused
from controller.segment import NotToAdopt, SegmentBusy, SegmentUnmanaged
from controller.service import AssertionsBroken, RemovalsGuarded
from controller.store.engine import StoreUnavailable
from speaker.report import ReportUnreadable

log = structlog.get_logger()

RETRY_SECONDS = 2
MEDIA_TYPE = "application/problem+json"


class ApiError(Exception):
    """Something that the caller did, or asked for, that cannot be."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadRequest(ApiError):
    """The request cannot be read."""


class UnknownParameter(ApiError):
    """The query names a parameter that the endpoint does not have."""


class MalformedBody(ApiError):
    """The body is no JSON."""


class BodyTooLarge(ApiError):
    """The body is longer than the bound of its endpoint."""


class Unauthorized(ApiError):
    """No token, or one that is unknown, expired or revoked."""


class Forbidden(ApiError):
    """A token, but not for this."""


class NotFound(ApiError):
    """There is no such thing."""


class AlreadyExists(ApiError):
    """POST of something that stands already."""


class PreconditionFailed(ApiError):
    """If-Match names another state than the current one."""


class NoCommonPlanVersion(ApiError):
    """The speaker reads no plan version that this controller writes."""


class TooManyAsks(ApiError):
    """The gateway's list of open asks is full."""


class AskRefused(ApiError):
    """The gateway answered that it cannot."""


class NoAnswer(ApiError):
    """The gateway did not answer an ask in time."""


@dataclass(frozen=True)
class Problem:
    """One row of the table."""

    status: int
    slug: str
    title: str
    headers: Mapping[str, str] = field(default_factory=dict)


PROBLEMS: dict[type[Exception], Problem] = {
    BadRequest: Problem(400, "bad-request", "The request cannot be read"),
    UnknownParameter: Problem(422, "unknown-parameter", "There is no such parameter"),
    MalformedBody: Problem(400, "malformed-body", "The body is not the JSON that is expected here"),
    ReportUnreadable: Problem(422, "report-unreadable", "The body is no report of a version known here"),
    BodyTooLarge: Problem(413, "body-too-large", "The body is too large"),
    Unauthorized: Problem(
        401, "unauthorized", "A valid token is needed", {"WWW-Authenticate": 'Bearer realm="leyline"'}
    ),
    Forbidden: Problem(403, "forbidden", "This token may not do that"),
    KeyRefused: Problem(403, "key-refused", "This enrolment key lets nobody in"),
    NotFound: Problem(404, "not-found", "There is no such thing"),
    Unknown: Problem(404, "enrolment-unknown", "There is no such enrolment, key or gateway"),
    EnrolmentRefused: Problem(409, "enrolment-refused", "This gateway cannot be enrolled so"),
    BadAddress: Problem(422, "bad-address", "No enrolment key can be made for this URL"),
    HubUnknown: Problem(404, "hub-unknown", "There is no such hub"),
    RotationRefused: Problem(409, "rotation-refused", "The key of this hub is not changed now"),
    AlreadyExists: Problem(409, "already-exists", "It exists already"),
    RemovalsGuarded: Problem(409, "removals-guarded", "More would be removed than is allowed"),
    AssertionsBroken: Problem(409, "assertions-broken", "What must hold would not hold any more"),
    PreconditionFailed: Problem(412, "precondition-failed", "It has changed meanwhile"),
    NoCommonPlanVersion: Problem(406, "no-common-plan-version", "Speaker and controller share no plan version"),
    InventoryRefused: Problem(422, "inventory-refused", "The fabric would not be sound"),
    RequestValidationError: Problem(422, "invalid-parameters", "A parameter is invalid"),
    SegmentUnmanaged: Problem(409, "segment-unmanaged", "There is no segment to keep"),
    SegmentBusy: Problem(
        409, "segment-busy", "The segment is being kept just now", {"Retry-After": str(RETRY_SECONDS)}
    ),
    NotToAdopt: Problem(422, "not-to-adopt", "That cannot be adopted"),
    TooManyAsks: Problem(
        429, "too-many-asks", "The gateway has too many open asks", {"Retry-After": str(RETRY_SECONDS)}
    ),
    AskRefused: Problem(502, "ask-refused", "The gateway cannot answer that"),
    NoAnswer: Problem(504, "no-answer", "The gateway did not answer in time"),
    StoreUnavailable: Problem(
        503, "store-unavailable", "The database cannot serve now", {"Retry-After": str(RETRY_SECONDS)}
    ),
}

INTERNAL = Problem(500, "internal-error", "The controller failed; its log says more")


def install(app: FastAPI) -> None:
    """Every error of `app` becomes a problem, FastAPI's own included."""
    for kind in PROBLEMS:
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unknown)


def problem_response(problem: Problem, detail: str, findings: list[Finding] | None = None) -> JSONResponse:
    body: dict[str, Any] = {
        "type": f"urn:leyline:problem:{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "findings": [asdict(finding) for finding in findings or []],
    }
    return JSONResponse(body, problem.status, headers=dict(problem.headers), media_type=MEDIA_TYPE)


def response_of(error: Exception) -> JSONResponse:
    """For code that runs outside FastAPI's handlers. KeyError when the table does not know the error."""
    detail, findings = _detail(error)
    return problem_response(PROBLEMS[type(error)], detail, findings)


def _detail(error: Exception) -> tuple[str, list[Finding]]:
    match error:
        case InventoryRefused():
            count = len(error.findings)
            return f"{count} finding{'' if count == 1 else 's'}; nothing was changed", error.findings
        case AssertionsBroken():
            count = len(error.findings)
            return f"it breaks {count} assertion{'' if count == 1 else 's'}; nothing was changed", error.findings
        case RemovalsGuarded():
            return error.finding.message, [error.finding]
        case RequestValidationError():
            said = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
            return "; ".join(said), []
        case _:
            return str(error), []


async def _known(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, StoreUnavailable):
        log.warning("the database cannot serve", reason=str(error))
    if isinstance(error, RequestValidationError) and any(each["type"] == "json_invalid" for each in error.errors()):
        error = MalformedBody(_detail(error)[0])
    return response_of(error)


async def _http(_: Request, error: Exception) -> JSONResponse:
    """Starlette's own: no such route, wrong method."""
    assert isinstance(error, HTTPException)
    slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, f"http-{error.status_code}")
    return problem_response(Problem(error.status_code, slug, str(error.detail), error.headers or {}), str(error.detail))


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    """Our bug. Starlette raises it again after the answer, so the log has the traceback."""
    log.error("request failed", method=request.method, path=request.url.path, error=type(error).__name__)
    return problem_response(INTERNAL, "nothing was changed by a request that ends like this")
