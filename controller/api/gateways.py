"""The gateways' side: plan by long poll, report, answers; and what operators ask of and see about them.

The handlers that gateways use are `async` and hold no thread, connection or transaction while they
wait; every look at the database is a short call in a few threads of their own.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import anyio.to_thread
import msgspec
from fastapi import Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from controller.api import answers
from controller.api.access import Context as AppContext
from controller.api.access import Ctx, Viewer, admit, allow, bearer
from controller.api.answers import PROBLEMS, Cursor, Limit, Page, page, tags_of, time_text
from controller.api.bodies import read_body
from controller.api.errors import AskRefused, Forbidden, NoAnswer, NoCommonPlanVersion, NotFound
from controller.api.tokens import state as token_state
from controller.inventory.model import Gateway
from controller.store.store import Polled, StoredReport
from controller.store.tokens import Token
from speaker.plan import version_of
from speaker.report import (
    MAX_ANSWER_BYTES,
    MAX_REPORT_BYTES,
    NO_PLAN,
    Envelope,
    ReportUnreadable,
    decode_answer,
    decode_report,
    encode,
)

router = answers.router(tag="gateways")

T = TypeVar("T")

Name = Annotated[str, Path(max_length=63)]
Wait = Annotated[float, Query(ge=0, le=3600, description="Seconds to wait for news; the controller may cap it.")]
PlanVersions = Annotated[
    str | None, Header(alias="Leyline-Plan-Versions", description='What the speaker reads: "1, 2, 3".')
]
IfNoneMatch = Annotated[str | None, Header(description="The digest of the plan that the speaker has.")]


async def in_thread(context: AppContext, call: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(call, limiter=context.poll_threads)


def _common_version(header: str | None, plan: bytes | None) -> None:
    """Raises NoCommonPlanVersion when the speaker does not read the plan that it is about to get."""
    if header is None or plan is None:
        return
    version = version_of(plan)
    versions = {int(each) for each in re.findall(r"[0-9]{1,9}", header)}
    if version not in versions:
        raise NoCommonPlanVersion(
            f"the gateway's plan is of version {version}, the speaker reads {header!r}: upgrade the older one"
        )


def _check_gateway(token: Token, name: str) -> bool:
    """Whether the token is the gateway's own. Raises Forbidden when it is another gateway's, or a viewer's."""
    if token.role != "gateway":
        if token.role == "viewer":
            raise Forbidden("a plan may hold session passwords: this needs the role operator")
        return False
    if token.gateway != name:
        raise Forbidden(f"this token is for gateway {token.gateway}, not for {name}")
    return True


@router.get(
    "/gateways/{name}/plan",
    summary="The plan of a gateway, by long poll",
    responses={
        200: {
            "description": "The plan has moved, or there are asks: speaker.report.Envelope",
            "content": {
                "application/json": {"example": {"digest": "0123456789abcdef", "plan": None, "asks": []}},
            },
        },
        304: {"description": "Nothing new within `wait` seconds"},
        406: PROBLEMS[404],
    },
)
async def read_plan(
    request: Request,
    context: Ctx,
    name: Name,
    wait: Wait = 0.0,
    if_none_match: IfNoneMatch = None,
    versions: PlanVersions = None,
) -> Response:
    """Answers at once when the digest is another than If-None-Match, or when there are asks."""
    public, secret = bearer(request)
    known = next(iter(tags_of(if_none_match)), "")
    deadline = time.monotonic() + min(wait, context.settings.max_wait_seconds)
    with context.board.polling(name) as poll:
        while True:
            poll.wake.clear()  # Before the look, so that what happens during it is not lost.
            found = await in_thread(context, lambda: context.store.poll(public, name, known))
            own = _check_gateway(admit(context, found.token, secret).token, name)
            if found.digest is None:
                raise NotFound(f"there is no gateway {name}")
            _common_version(versions, found.body)
            asks = context.board.take_asks(name) if own and not await request.is_disconnected() else ()
            if found.body is not None or asks:
                plan = NO_PLAN if found.body is None else msgspec.Raw(found.body)
                return _plan_answer(found, encode(Envelope(found.digest, plan, asks)))
            left = deadline - time.monotonic()
            if left <= 0 or not own or poll.displaced or context.board.closed:
                return _plan_answer(found, None)
            try:
                async with asyncio.timeout(left):
                    await poll.wake.wait()
            except TimeoutError:
                return _plan_answer(found, None)


def _plan_answer(found: Polled, body: bytes | None) -> Response:
    headers = {"ETag": f'"{found.digest}"', "Cache-Control": "no-store"}
    if body is None:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


async def _gateway_body(request: Request, context: AppContext, name: str, most: int) -> bytes:
    """The body of what a gateway posts about itself. Raises Unauthorized and Forbidden before a byte is read."""
    public, secret = bearer(request)
    token = await in_thread(context, lambda: context.store.token(public))
    if not _check_gateway(admit(context, token, secret).token, name):
        raise Forbidden("only the gateway itself may say this")
    return await read_body(request, most)


@router.post("/gateways/{name}/report", status_code=204, summary="What the gateway says back")
async def post_report(request: Request, context: Ctx, name: Name) -> Response:
    """Body: speaker.report.Report. The last one is kept."""
    body = await _gateway_body(request, context, name, MAX_REPORT_BYTES)
    report = decode_report(body)
    if report.gateway != name:
        raise ReportUnreadable(f"this is a report of {report.gateway}, sent as {name}")
    if not await in_thread(context, lambda: context.store.save_report(name, encode(report), time.time())):
        raise NotFound(f"there is no gateway {name}")
    return Response(status_code=204)


@router.post("/gateways/{name}/answers", status_code=204, summary="The gateway's answer to an ask")
async def post_answer(request: Request, context: Ctx, name: Name) -> Response:
    """Body: speaker.report.Answer. 404 when nobody waits for it any more."""
    body = await _gateway_body(request, context, name, MAX_ANSWER_BYTES)
    context.board.answer(name, decode_answer(body))
    return Response(status_code=204)


class NewAsk(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"kind": "routes", "arguments": {"family": "ipv4", "limit": "100"}}},
    )
    kind: str = Field(min_length=1, max_length=40)
    arguments: dict[str, str] = Field(default_factory=dict, max_length=20)


@router.post(
    "/gateways/{name}/asks",
    summary="Ask a gateway something; waits up to 5 s for its answer",
    responses={429: PROBLEMS[404], 502: PROBLEMS[404], 504: PROBLEMS[404]},
)
async def ask(request: Request, context: Ctx, name: Name, data: NewAsk) -> Response:
    """-> the body of the gateway's answer, in its own words; 502 when it says that it cannot."""
    public, secret = bearer(request)
    token = await in_thread(context, lambda: context.store.token(public))
    allow(admit(context, token, secret), "viewer")
    if name not in await in_thread(context, context.store.digests):
        raise NotFound(f"there is no gateway {name}")
    answer = await context.board.ask(name, data.kind, data.arguments)
    if answer is None:
        polls = "it polls this controller" if context.board.polls(name) else "it does not poll this controller now"
        raise NoAnswer(f"{name} did not answer; {polls}")
    if not answer.ok:
        said = answer.body.get("error") if isinstance(answer.body, dict) else None
        raise AskRefused(f"{name}: {said or 'no reason given'}")
    return Response(msgspec.json.encode(answer.body), media_type="application/json")


@router.get("/status/gateways", response_model=Page, summary="List: gateways with their last report and token")
def list_status(context: Ctx, _: Viewer, limit: Limit = 100, cursor: Cursor = None) -> Page:
    """`report` is speaker.report.Report as it was sent; `in_force`: the speaker carries out the current plan."""
    state = context.store.state()
    known: Mapping[str, Any] = state.by_key["gateways"]
    digests = context.store.digests()
    tokens: dict[str, list[Token]] = {}
    for token in context.store.tokens():
        if token.gateway is not None:
            tokens.setdefault(token.gateway, []).append(token)

    found = page(list(known.values()), lambda each: (each.key,), lambda each: {"gateway": each.key}, limit, cursor)
    names = [each["gateway"] for each in found.items]
    reports = context.store.reports(names)  # Of the page only: each may have a megabyte.
    found.items = [
        _status(context, known[name], digests.get(name), reports.get(name), tokens.get(name, [])) for name in names
    ]
    return found


@router.get("/status/gateways/{name}", summary="Read: a gateway with its last report and token")
def read_status(context: Ctx, _: Viewer, name: str) -> dict[str, Any]:
    found = context.store.state().by_key["gateways"].get(name)
    if not isinstance(found, Gateway):
        raise NotFound(f"there is no gateway {name}")
    tokens = [token for token in context.store.tokens() if token.gateway == name]
    return _status(context, found, context.store.digests().get(name), context.store.report(name), tokens)


def _status(
    context: AppContext, gateway: Gateway, digest: str | None, report: StoredReport | None, tokens: list[Token]
) -> dict[str, Any]:
    said = None if report is None else msgspec.json.decode(report.body)
    return {
        "gateway": gateway.name,
        "site": gateway.site,
        "role": gateway.role,
        "drained": bool(gateway.drained),
        "plan_digest": digest,
        "in_force": said is not None and said["plan_digest"] == digest,
        "polling": context.board.polls(gateway.name),
        "received_at": None if report is None else time_text(report.received_at),
        "report": said,
        "token": _token_status(context, tokens),
    }


def _token_status(context: AppContext, tokens: list[Token]) -> dict[str, Any]:
    """Of a gateway's tokens the one that lets it in, else the newest."""
    now = time.time()
    best = max(tokens, key=lambda each: (each.usable(now), each.created_at), default=None)
    if best is None:
        return {"state": "none", "id": None, "expires_at": None, "last_used_at": None, "usable": 0}
    used = [each.last_used_at for each in tokens] + [context.used.get(each.id) for each in tokens]
    return {
        "state": token_state(best, now),
        "id": best.id,
        "expires_at": time_text(best.expires_at),
        "last_used_at": time_text(max(filter(None, used), default=None)),
        "usable": sum(each.usable(now) for each in tokens),
    }
