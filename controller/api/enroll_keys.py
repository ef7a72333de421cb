"""Enrolment keys: made, listed, revoked. The text of one is in the answer that makes it, and nowhere else."""

from __future__ import annotations

import hashlib
import ssl
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from controller.api import answers
from controller.api.access import Context, Ctx, Operator
from controller.api.answers import Cursor, Limit, Page, page, time_text
from controller.api.tokens import GATEWAY_TOKEN_SECONDS, Note
from controller.enroll_key import MAX_URL, checked, render
from controller.enrolling import Enrolling
from controller.store.enroll import EnrollKey, NewKey

router = answers.router("/enroll-keys", "enrolment")

DAY_SECONDS = 86_400
OF_NEWCOMERS = {"role", "circuit_classes", "uses", "approve", "ephemeral", "gone_seconds"}
ClassName = Annotated[str, Field(min_length=1, max_length=63)]


class NewEnrollKey(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"site": "berlin", "uses": 1, "expires_in": 86400, "url": "https://leyline.example"}
        },
    )
    site: str | None = Field(default=None, max_length=63, description="Of who comes by it: a new gateway.")
    gateway: str | None = Field(default=None, max_length=63, description="Or: who comes by it is this declared one.")
    role: Literal["spoke", "hub"] = "spoke"
    circuit_classes: list[ClassName] = Field(
        default=["fiber"],
        min_length=1,
        max_length=8,
        description="Of the first uplink, the second, ...",
    )
    expires_in: int = Field(default=DAY_SECONDS, ge=60, le=90 * DAY_SECONDS, description="Seconds.")
    uses: int = Field(default=1, ge=1, le=1000)
    approve: bool = Field(default=False, description="Who comes by it needs no approval.")
    ephemeral: bool = Field(default=False, description="Who comes by it goes when it is gone for `gone_seconds`.")
    gone_seconds: int = Field(default=3_600, ge=60, le=30 * DAY_SECONDS)
    token_seconds: int = Field(
        default=GATEWAY_TOKEN_SECONDS,
        ge=3_600,
        le=366 * DAY_SECONDS,
        description="Of the gateway's token.",
    )
    note: Note = ""
    url: str | None = Field(
        default=None, max_length=MAX_URL, description="How gateways reach the controller; null: as this request did."
    )
    fingerprint: str | None = Field(
        default=None, max_length=100, description="SHA-256 of the certificate there; null: of the controller's own."
    )

    @model_validator(mode="after")
    def _of_one(self) -> NewEnrollKey:
        if (self.site is None) == (self.gateway is None):
            raise ValueError("say one of site and gateway")
        vain = sorted(self.model_fields_set & OF_NEWCOMERS) if self.gateway is not None else []
        if vain:
            raise ValueError(f"what a declared gateway is stands in the inventory: leave out {', '.join(vain)}")
        return self


class EnrollKeyAnswer(BaseModel):
    """`key` is shown this once; the controller keeps only the hash of its secret."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"key": "leyline-key.1.ID.SECRET...", "id": "ID", "site": "berlin"}}
    )
    key: str
    id: str
    site: str
    gateway: str | None = None
    url: str
    fingerprint: str
    expires_at: str | None


def shown(key: EnrollKey) -> dict[str, Any]:
    """All but the hash."""
    return {
        "id": key.id,
        "state": key.state(time.time()),
        "site": key.site,
        "gateway": key.gateway,
        "role": key.role,
        "circuit_classes": list(key.circuit_classes),
        "uses": key.uses,
        "used": key.used,
        "approve": key.approve,
        "ephemeral": key.ephemeral,
        "gone_seconds": key.gone_seconds,
        "token_seconds": key.token_seconds,
        "note": key.note,
        "created_at": time_text(key.created_at),
        "created_by": key.created_by,
        "expires_at": time_text(key.expires_at),
        "revoked_at": time_text(key.revoked_at),
    }


@router.post("", status_code=201, summary="Create: enrolment key; its text is shown this once")
def create_key(request: Request, context: Ctx, caller: Operator, data: NewEnrollKey) -> EnrollKeyAnswer:
    """A gateway that has the text enrols itself by POST /enroll."""
    url, fingerprint = checked(data.url or str(request.base_url), data.fingerprint or own_fingerprint(context))
    new = NewKey(
        site=data.site or "",
        gateway=data.gateway,
        role=data.role,
        circuit_classes=tuple(data.circuit_classes),
        expires_at=time.time() + data.expires_in,
        ephemeral=data.ephemeral,
        gone_seconds=data.gone_seconds,
        approve=data.approve,
        token_seconds=data.token_seconds,
        uses=data.uses,
        note=data.note,
    )
    secret, key = Enrolling(context.controller).make_key(new, actor=caller.actor)
    return EnrollKeyAnswer(
        key=render(key.id, secret, url, fingerprint),
        id=key.id,
        site=key.site,
        gateway=key.gateway,
        url=url,
        fingerprint=fingerprint,
        expires_at=time_text(key.expires_at),
    )


@router.get("", response_model=Page, summary="List: enrolment keys, oldest first, without their secrets")
def list_keys(context: Ctx, _: Operator, limit: Limit = 100, cursor: Cursor = None) -> Page:
    keys = Enrolling(context.controller).keys()
    return page(keys, lambda each: (each.created_at, each.id), shown, limit, cursor)


@router.delete("/{public}", summary="Revoke an enrolment key, at once and for good")
def revoke_key(context: Ctx, caller: Operator, public: str) -> dict[str, Any]:
    """Gateways that came by it stay: POST /gateways/{name}/revoke puts one out."""
    return shown(Enrolling(context.controller).revoke_key(public, actor=caller.actor))


def own_fingerprint(context: Context) -> str:
    """Of the certificate that this controller serves; "" when it serves none, or it cannot be read any more."""
    path = context.settings.tls_certificate
    if path is None:
        return ""
    try:
        return certificate_fingerprint(Path(path).read_text())
    except (OSError, ValueError):
        return ""


def certificate_fingerprint(pem: str) -> str:
    """SHA-256 of the first certificate in `pem`, which is the server's own. Raises ValueError."""
    end = "-----END CERTIFICATE-----"
    start = pem.find("-----BEGIN CERTIFICATE-----")
    first = pem[max(start, 0) :].partition(end)[0] + end
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
