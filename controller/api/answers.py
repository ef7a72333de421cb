"""The shapes of answers that several endpoints share: changes, pages, ETags, times."""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from controller.api.errors import BadRequest, PreconditionFailed
from controller.api.strict import StrictRoute
from controller.policy.whatif import some
from controller.service import Outcome

T = TypeVar("T")

PREFIX = "/api/v1"

DryRun = Annotated[bool, Query(description="Say what would change, and change nothing.")]
AllowRemovals = Annotated[
    int | None, Query(ge=0, description="Allow so many sites or gateways to be removed; beyond 10 % it must be said.")
]
Force = Annotated[bool, Query(description="Change it even if that breaks assertions; the audit log says so.")]
IfMatch = Annotated[str | None, Header(description="Change only what still has this ETag; else 412.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Items per page.")]
Cursor = Annotated[str | None, Query(description="`next` of the page before.", max_length=1000)]

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "findings"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "object": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "file": {"type": ["string", "null"]},
                    "line": {"type": ["integer", "null"]},
                    "field": {"type": "string"},
                },
            },
        },
    },
    "example": {
        "type": "urn:leyline:problem:inventory-refused",
        "title": "The fabric would not be sound",
        "status": 422,
        "detail": "1 finding; nothing was changed",
        "findings": [
            {
                "object": "prefix berlin/global/10.9.0.0/24",
                "code": "prefix-outside-allocation",
                "message": "no allocation of berlin covers it: add one, or correct the prefix",
                "file": None,
                "line": None,
                "field": "",
            }
        ],
    },
}
PROBLEM: dict[str, Any] = {
    "description": "A problem (RFC 9457)",
    "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}},
}
PROBLEMS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 403, 404, 409, 412, 422, 503), PROBLEM)


class ChangeAnswer(BaseModel):
    """What a change did, or with `dry_run` would do."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "revision": 7,
                "dry_run": False,
                "changes": [{"action": "add", "object": "prefix berlin/global/10.1.2.0/24", "fields": {}}],
                "gateways": ["berlin-1"],
                "item": {"site": "berlin", "prefix": "10.1.2.0/24", "tenant": "global"},
            }
        }
    )
    revision: int
    dry_run: bool
    changes: list[dict[str, Any]]
    gateways: list[str]
    item: dict[str, Any] | None = None
    assertions: Annotated[
        list[dict[str, Any]] | None,
        Field(description="Those that do not hold: what breaks each, and `by` which change (none: it was so before)."),
    ] = None
    paths: Annotated[
        dict[str, Any] | None,
        Field(description="Of a dry run: which sites would use other paths to which prefixes; the first 100 rows."),
    ] = None


class Page(BaseModel):
    """A part of a list. `next` is the cursor of the next part; null when this is the last."""

    items: list[dict[str, Any]]
    next: str | None


def router(path: str = "", tag: str = "") -> APIRouter:
    """For endpoints under PREFIX + `path`."""
    # Any content type is taken for JSON: there are no cookies that a foreign page could ride on.
    return APIRouter(
        prefix=PREFIX + path, tags=[tag], responses=PROBLEMS, strict_content_type=False, route_class=StrictRoute
    )


def change_answer(outcome: Outcome, item: dict[str, Any] | None = None) -> ChangeAnswer:
    return ChangeAnswer(
        revision=outcome.revision,
        dry_run=outcome.dry_run,
        changes=outcome.changes,
        gateways=outcome.gateways,
        item=item,
        assertions=broken_assertions(outcome),
        paths=None if outcome.paths is None else asdict(outcome.paths),
    )


def broken_assertions(outcome: Outcome) -> list[dict[str, Any]] | None:
    """None when all hold."""
    found = [{"assertion": each.assertion, "what": some(each.what), "by": some(each.by)} for each in outcome.broken]
    return found or None


def page(
    rows: Sequence[T], order: Callable[[T], Any], show: Callable[[T], dict[str, Any]], limit: int, cursor: str | None
) -> Page:
    """The part of `rows`, sorted by `order`, that comes after `cursor`. Rows may come and go between two pages."""
    start = 0
    if cursor is not None:
        after = decode_cursor(cursor)
        try:
            start = bisect_right(rows, after, key=order)
        except TypeError:
            raise BadRequest("this cursor belongs to another list") from None
    part = rows[start : start + limit]
    more = start + limit < len(rows)
    return Page(items=[show(each) for each in part], next=encode_cursor(order(part[-1])) if more else None)


def encode_cursor(place: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(text: str) -> Any:
    """Raises BadRequest."""
    try:
        return _tuples(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
    except (binascii.Error, ValueError, RecursionError):
        raise BadRequest("this cursor is not one that a list has given") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def number_cursor(text: str | None) -> int | None:
    """Of lists that are numbered, newest first. Raises BadRequest."""
    if text is None:
        return None
    found = decode_cursor(text)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 2**63:
        raise BadRequest("this cursor belongs to another list")
    return found


def tags_of(header: str | None) -> list[str]:
    """The entity tags of If-Match or If-None-Match, without quotes and weakness."""
    if not header:
        return []
    return [each.strip().removeprefix("W/").strip('"') for each in header.split(",")]


def require_match(if_match: str | None, current: str | None) -> None:
    """Raises PreconditionFailed. `current` is the ETag of what stands there, None when nothing does."""
    if if_match is None:
        return
    wanted = tags_of(if_match)
    if current is None:
        raise PreconditionFailed("it does not exist")
    if "*" not in wanted and current.strip('"') not in wanted:
        raise PreconditionFailed(f"its ETag is now {current}: read it again, and decide again")


def with_etag(response: Response, tag: str) -> None:
    response.headers["ETag"] = tag


def time_text(at: float | None) -> str | None:
    """RFC 3339, UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
