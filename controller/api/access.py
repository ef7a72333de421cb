"""Who calls, and what they may do. One look-up by primary key per request and no cache: revoked is revoked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry, Gauge

from controller.api.board import Board
from controller.api.errors import Forbidden, Unauthorized
from controller.api.settings import Settings
from controller.segment import Segment
from controller.service import Controller
from controller.store.store import Store
from controller.store.tokens import Role, Token, proves, split

_RANK: dict[Role, int] = {"viewer": 1, "operator": 2, "admin": 3}

POLL_THREADS = 8
"""For the gateways' look-ups and reports, of their own, so that a thousand gateways leave operators theirs."""


@dataclass
class Context:
    """What the handlers of one application share."""

    settings: Settings
    store: Store
    controller: Controller
    board: Board
    registry: CollectorRegistry
    revision: Gauge
    segment: Segment
    poll_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(POLL_THREADS))
    used: dict[str, float] = field(default_factory=dict)
    """Token -> when it was last used; written to the database once a minute. Known tokens only."""
    failed: bool = False
    """A task of the background has ended by a bug of ours: the process is to end, for without it nobody is woken."""


@dataclass(frozen=True)
class Caller:
    """Whoever the token says. `actor` is what revisions and the audit log call them."""

    token: Token

    @property
    def actor(self) -> str:
        return f"{self.token.role} {self.token.note or self.token.gateway or ''}".strip() + f" ({self.token.id})"


def context_of(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def bearer(request: Request) -> tuple[str, str]:
    """(public id, secret) of the request's token. Raises Unauthorized."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise Unauthorized("no token; send the header `Authorization: Bearer TOKEN`")
    found = split(text.strip())
    if found is None:
        raise Unauthorized("this is no token of Leyline's form; it reads leyline_ID_SECRET")
    return found


def admit(context: Context, token: Token | None, secret: str) -> Caller:
    """The caller, if the token is good. Raises Unauthorized."""
    if token is None or not proves(token, secret):
        raise Unauthorized("this token is unknown")
    now = time.time()
    if token.revoked_at is not None:
        raise Unauthorized(f"token {token.id} has been revoked")
    if not token.usable(now):
        raise Unauthorized(f"token {token.id} has expired")
    context.used[token.id] = now
    return Caller(token)


def allow(caller: Caller, least: Role) -> Caller:
    """Raises Forbidden when the caller's role is less than `least`. A gateway's token is good for gateways only."""
    if _RANK.get(caller.token.role, 0) < _RANK[least]:
        raise Forbidden(f"this needs the role {least}, and the token has {caller.token.role}")
    return caller


def identify(request: Request, context: Annotated[Context, Depends(context_of)]) -> Caller:
    """Whoever calls, any role."""
    public, secret = bearer(request)
    return admit(context, context.store.token(public), secret)


def needs(role: Role) -> Callable[[Caller], Caller]:
    def check(caller: Annotated[Caller, Depends(identify)]) -> Caller:
        return allow(caller, role)

    return check


Ctx = Annotated[Context, Depends(context_of)]
AnyCaller = Annotated[Caller, Depends(identify)]
Viewer = Annotated[Caller, Depends(needs("viewer"))]
Operator = Annotated[Caller, Depends(needs("operator"))]
Admin = Annotated[Caller, Depends(needs("admin"))]
