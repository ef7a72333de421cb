"""Enrolment: what a gateway with a key does, and what operators do about who came by one."""

from __future__ import annotations

import re
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from fastapi import Path, Request
from msgspec import Meta, Struct
from pydantic import BaseModel, ConfigDict, Field

from controller.api import answers
from controller.api.access import Context, Ctx, Operator, Viewer, admit, bearer
from controller.api.answers import Cursor, Force, Limit, Page, broken_assertions, page, time_text
from controller.api.bodies import read_body
from controller.api.errors import Forbidden, MalformedBody, Unauthorized
from controller.enrol_request import Asked, AskedUplink
from controller.enrolling import Enrolling, KeyRefused
from controller.inventory.model import Gateway
from controller.segment_admission import kept_out
from controller.store.enroll import Enrolment, proves

router = answers.router(tag="enrolment")

MAX_REQUEST_BYTES = 16 << 10
RENEWED_GRACE_SECONDS = 86_400.0
"""A gateway's former token stays good for so long after it was renewed."""

SCHEME = "leyline-key"
_KEY = re.compile(r"([0-9a-z]{12})\.([0-9A-Za-z]{43})", re.ASCII)

Name = Annotated[str, Path(max_length=63)]
NodeId = Annotated[str, Meta(pattern="^[0-9a-f]{10}$")]
Word = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
WordOrNone = Annotated[str, Meta(pattern="^([a-z0-9][a-z0-9-]{0,62})?$")]


class NewToken(Struct, forbid_unknown_fields=True):
    """A token that the gateway has made: `leyline_ID_SECRET`. Its secret stays there."""

    id: Annotated[str, Meta(pattern="^[0-9a-z]{12}$")]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class NewUplink(Struct, forbid_unknown_fields=True):
    name: Word
    node_id: NodeId
    interface: Annotated[str, Meta(min_length=1, max_length=15)]


class EnrolRequest(Struct, forbid_unknown_fields=True):
    """`name` "": the controller chooses."""

    token: NewToken
    uplinks: Annotated[list[NewUplink], Meta(min_length=1, max_length=8)]
    name: WordOrNone = ""


class Renewal(Struct, forbid_unknown_fields=True):
    token: NewToken


class EnrolAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"gateway": "berlin-2", "state": "pending", "network": "8056c2e21c000001", "approved_at": None}
        }
    )
    gateway: str
    state: str
    network: str
    approved_at: str | None


class EnrolmentAnswer(EnrolAnswer):
    kept_out: str = Field("", description="Why the segment does not let it in yet, and the way out; empty: not known.")


class InvitationAnswer(BaseModel):
    """What a key is for."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"fabric": "demo", "network": "8056c2e21c000001", "site": "berlin", "role": "spoke"}
        }
    )
    fabric: str
    network: str
    site: str
    role: str


class RevokeAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"gateway": "berlin-2", "was": "approved", "revision": 8, "gateways": ["hub-1"], "key": None}
        }
    )
    gateway: str
    was: str
    revision: int
    changes: list[dict[str, Any]] = []
    gateways: list[str] = []
    assertions: list[dict[str, Any]] | None = None
    key: str | None = None
    node_ids: list[str] = Field(default=[], description="Its members of the segment.")
    unconfirmed: list[str] = Field(default=[], description="Those of them that ZeroTier has not confirmed to be out.")
    reason: str = Field(default="", description="Why not.")


class ApproveAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"example": {"gateway": "berlin-2", "revision": 8, "changes": [], "gateways": ["hub-1"]}}
    )
    gateway: str
    revision: int
    changes: list[dict[str, Any]] = []
    gateways: list[str] = []


def key_of(request: Request) -> tuple[str, str]:
    """(id, secret) of the request's enrolment key. Raises Unauthorized."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    found = _KEY.fullmatch(text.strip())
    if scheme.lower() != SCHEME or found is None:
        raise Unauthorized("no enrolment key; send the header `Authorization: Leyline-Key ID.SECRET`")
    return found[1], found[2]


def _network(context: Context) -> str:
    fabric = context.store.state().inventory.fabric
    return "" if fabric is None else fabric.network


def _answer(context: Context, enrolment: Enrolment) -> EnrolAnswer:
    return EnrolAnswer(
        gateway=enrolment.gateway,
        state="pending" if enrolment.approved_at is None else "approved",
        network=_network(context),
        approved_at=time_text(enrolment.approved_at),
    )


@router.get("/enroll", summary="What an enrolment key is for, as long as it lets somebody in")
def read_invitation(request: Request, context: Ctx) -> InvitationAnswer:
    """Asked with the key itself: `Authorization: Leyline-Key ID.SECRET`."""
    key = Enrolling(context.controller).let_in(*key_of(request))
    fabric = context.store.state().inventory.fabric
    if fabric is None or not fabric.network:
        raise KeyRefused("the fabric has no ZeroTier network any more: declare it, then try again")
    return InvitationAnswer(fabric=fabric.name, network=fabric.network, site=key.site, role=key.role)


@router.post("/enroll", status_code=201, summary="Enrol: ask to become a gateway, with an enrolment key")
async def enrol(request: Request, context: Ctx) -> EnrolAnswer:
    """Body: token (id and SHA-256 of one that the gateway has made), uplinks, name. The same again is the same."""
    public, secret = key_of(request)
    enrolling = Enrolling(context.controller)
    await anyio.to_thread.run_sync(enrolling.proven, public, secret)  # Before a byte of a stranger's body is read.
    asked = _decoded(await read_body(request, MAX_REQUEST_BYTES), EnrolRequest)
    came_from = request.client.host if request.client is not None else ""
    uplinks = tuple(AskedUplink(each.node_id, each.interface, each.name) for each in asked.uplinks)
    wanted = Asked(asked.name, uplinks, asked.token.id, asked.token.sha256, came_from)

    def answer() -> EnrolAnswer:
        return _answer(context, enrolling.request(public, secret, wanted))

    return await anyio.to_thread.run_sync(answer)


@router.get("/enroll/{name}", summary="Whether a gateway that has enrolled is approved")
def read_enrolment(request: Request, context: Ctx, name: Name) -> EnrolmentAnswer:
    """Asked with the token that the gateway has made. 401: it was refused, or was put out."""
    public, secret = bearer(request)
    enrolling = Enrolling(context.controller)
    waits = enrolling.by_token(public)
    if waits is not None and waits.approved_at is None and proves(waits.token_sha256, secret) and waits.gateway == name:
        return EnrolmentAnswer(**_answer(context, waits).model_dump())
    # Once it is approved its token is one like others; whoever has none that is good learns of nobody's enrolment.
    if admit(context, context.store.token(public), secret).token.gateway != name:
        raise Forbidden("only the gateway itself may ask this")
    gateway = context.store.state().by_key["gateways"].get(name)
    answer = _answer(context, enrolling.found(name))
    why = kept_out(context.segment.status(), gateway) if isinstance(gateway, Gateway) else ""
    return EnrolmentAnswer(**answer.model_dump(), kept_out=why)


@router.get("/enrolments", response_model=Page, summary="List: who came by a key; those who wait have no approved_at")
def list_enrolments(context: Ctx, _: Viewer, limit: Limit = 100, cursor: Cursor = None) -> Page:
    rows = Enrolling(context.controller).enrolments()
    return page(rows, lambda each: (each.gateway,), shown, limit, cursor)


def shown(enrolment: Enrolment) -> dict[str, Any]:
    return {
        "gateway": enrolment.gateway,
        "state": "pending" if enrolment.approved_at is None else "approved",
        "site": enrolment.body["site"],
        "role": enrolment.body["role"],
        "node_ids": list(enrolment.node_ids),
        "came_from": enrolment.came_from,
        "key": enrolment.key_id,
        "ephemeral": enrolment.ephemeral,
        "requested_at": time_text(enrolment.requested_at),
        "approved_at": time_text(enrolment.approved_at),
        "approved_by": enrolment.approved_by,
    }


@router.post("/gateways/{name}/approve", summary="Approve a gateway that has enrolled: it becomes one of the fabric")
def approve(context: Ctx, caller: Operator, name: Name, force: Force = False) -> ApproveAnswer:
    """One revision. A second time changes nothing."""
    outcome = Enrolling(context.controller).approve(name, actor=caller.actor, force=force)
    if outcome is None:
        return ApproveAnswer(gateway=name, revision=context.store.state().revision)
    return ApproveAnswer(gateway=name, revision=outcome.revision, changes=outcome.changes, gateways=outcome.gateways)


@router.post("/gateways/{name}/revoke", response_model_exclude_none=True, summary="Put a gateway out, or refuse one")
def revoke(context: Ctx, caller: Operator, name: Name) -> RevokeAnswer:
    """Its tokens are revoked, and it leaves every plan and the segment; so does what only it was for. One revision.

    Assertions do not stand in the way. `key`: the enrolment key that it came by, revoked too while it was usable. Hubs
    hear of it at once; ZeroTier is waited for, three seconds at most.
    """
    done = Enrolling(context.controller).revoke(name, actor=caller.actor)
    if done.outcome is None:
        return RevokeAnswer(gateway=name, was="pending", revision=context.store.state().revision, key=done.key)
    unconfirmed, reason = context.segment.unconfirmed(done.node_ids)
    return RevokeAnswer(
        gateway=name,
        was="approved",
        revision=done.outcome.revision,
        changes=done.outcome.changes,
        gateways=done.outcome.gateways,
        assertions=broken_assertions(done.outcome),
        key=done.key,
        node_ids=list(done.node_ids),
        unconfirmed=unconfirmed,
        reason=reason,
    )


@router.post("/gateways/{name}/token/renew", status_code=201, summary="A gateway's next token, asked for by itself")
async def renew(request: Request, context: Ctx, name: Name) -> dict[str, Any]:
    """Body: token (id and SHA-256 of one that the gateway has made). The former one is good for another day."""
    public, secret = bearer(request)
    token = await anyio.to_thread.run_sync(context.store.token, public)
    former = admit(context, token, secret).token
    if former.gateway != name:
        raise Forbidden("only the gateway itself may renew its token")
    wanted = _decoded(await read_body(request, MAX_REQUEST_BYTES), Renewal).token
    enrolling = Enrolling(context.controller)

    def renewed() -> dict[str, Any]:
        token = enrolling.renew(former, wanted.id, wanted.sha256, RENEWED_GRACE_SECONDS)
        return {"id": token.id, "created_at": time_text(token.created_at), "expires_at": time_text(token.expires_at)}

    return await anyio.to_thread.run_sync(renewed)


def _decoded(data: bytes, kind: Any) -> Any:
    """Raises MalformedBody."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(str(error)) from None
