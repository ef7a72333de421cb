"""Tokens: made, listed, revoked. The text of one is in the answer that makes it, and nowhere else."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from controller.api import answers
from controller.api.access import Admin, AnyCaller, Context, Ctx, Operator, allow
from controller.api.answers import Cursor, Limit, Page, page, time_text
from controller.api.errors import BadRequest, NotFound
from controller.store.tokens import Role, Token

router = answers.router(tag="tokens")

YEAR_SECONDS = 366 * 86400
GATEWAY_TOKEN_SECONDS = 90 * 86400
"""Of a gateway's token where nobody says otherwise; its agent renews it well before."""
ROTATED_GRACE_SECONDS = 3600
ExpiresIn = Annotated[int | None, Field(ge=1, le=10 * YEAR_SECONDS, description="Seconds; null: it does not expire.")]
Note = Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", description="What it is for.")]


class NewToken(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"role": "operator", "note": "ci", "expires_in": 2592000}}
    )
    role: Literal["viewer", "operator", "admin"]
    note: Note = ""
    expires_in: ExpiresIn = None


class NewGatewayToken(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"note": "installed by ansible"}})
    note: Note = ""
    expires_in: ExpiresIn = GATEWAY_TOKEN_SECONDS


class Rotation(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"grace_seconds": 3600}})
    grace_seconds: int = Field(
        default=ROTATED_GRACE_SECONDS, ge=0, le=30 * 86400, description="How long the former token stays good."
    )


class TokenAnswer(BaseModel):
    """`token` is shown this once; the controller keeps only its hash."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"token": "leyline_ID_SECRET", "id": "ID", "role": "operator"}}
    )
    token: str
    id: str
    role: Role
    gateway: str | None = None
    note: str = ""
    expires_at: str | None = None


def shown(token: Token, context: Context) -> dict[str, Any]:
    """All but the hash. `last_used_at` also from memory: it is stored once a minute."""
    used = max(filter(None, (token.last_used_at, context.used.get(token.id))), default=None)
    return {
        "id": token.id,
        "role": token.role,
        "gateway": token.gateway,
        "note": token.note,
        "state": state(token, time.time()),
        "created_at": time_text(token.created_at),
        "created_by": token.created_by,
        "expires_at": time_text(token.expires_at),
        "revoked_at": time_text(token.revoked_at),
        "last_used_at": time_text(used),
    }


def state(token: Token, now: float) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "usable" if token.usable(now) else "expired"


def _answer(text: str, token: Token) -> TokenAnswer:
    return TokenAnswer(
        token=text,
        id=token.id,
        role=token.role,
        gateway=token.gateway,
        note=token.note,
        expires_at=time_text(token.expires_at),
    )


def _expiry(expires_in: int | None) -> float | None:
    return None if expires_in is None else time.time() + expires_in


@router.post("/tokens", status_code=201, summary="Create: token; its text is shown this once")
def create_token(context: Ctx, caller: Admin, data: NewToken) -> TokenAnswer:
    text, token = context.controller.issue_token(
        data.role, actor=caller.actor, note=data.note, expires_at=_expiry(data.expires_in)
    )
    return _answer(text, token)


@router.get("/tokens", response_model=Page, summary="List: tokens, oldest first, without their secrets")
def list_tokens(context: Ctx, _: Admin, limit: Limit = 100, cursor: Cursor = None) -> Page:
    rows = context.store.tokens()
    return page(rows, lambda each: (each.created_at, each.id), lambda each: shown(each, context), limit, cursor)


@router.delete("/tokens/{public}", summary="Revoke a token, at once and for good")
def revoke_token(context: Ctx, caller: Admin, public: str) -> dict[str, Any]:
    token = context.controller.revoke_token(public, actor=caller.actor)
    if token is None:
        raise NotFound(f"there is no token {public}; the id is the part between the two underscores")
    return shown(token, context)


@router.post(
    "/tokens/{public}/rotate", status_code=201, summary="Replace: token; the new one's text is shown this once"
)
def rotate_token(context: Ctx, caller: AnyCaller, public: str, data: Rotation | None = None) -> TokenAnswer:
    """The same role and note, for as long as the former was made for. One's own, or an admin's anybody's."""
    if caller.token.id != public:
        allow(caller, "admin")
    former = context.store.token(public)
    if former is None:
        raise NotFound(f"there is no token {public}; the id is the part between the two underscores")
    if former.role == "gateway":
        raise BadRequest(f"gateways renew their tokens by themselves; POST /gateways/{former.gateway}/token makes one")
    if not former.usable(time.time()):
        raise BadRequest(f"token {public} is {state(former, time.time())}: make a new one instead")
    grace = (data or Rotation()).grace_seconds
    return _answer(*context.controller.rotate_token(former, actor=caller.actor, grace_seconds=grace))


@router.post(
    "/gateways/{name}/token", status_code=201, summary="Create: the token of a gateway; its text is shown this once"
)
def create_gateway_token(context: Ctx, caller: Operator, name: str, data: NewGatewayToken | None = None) -> TokenAnswer:
    """Former tokens of the gateway stay good until they are revoked, so that one can be replaced in two steps."""
    data = data or NewGatewayToken()
    if name not in context.store.state().by_key["gateways"]:
        raise NotFound(f"there is no gateway {name}")
    text, token = context.controller.issue_token(
        "gateway", actor=caller.actor, gateway=name, note=data.note, expires_at=_expiry(data.expires_in)
    )
    return _answer(text, token)


@router.get("/whoami", summary="What this token is")
def whoami(context: Ctx, caller: AnyCaller) -> dict[str, Any]:
    return shown(caller.token, context)
