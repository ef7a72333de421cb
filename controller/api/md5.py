"""MD5 keys of hubs: how they and their sessions stand, and changing one. A key itself is in plans and in no answer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from controller.api import answers
from controller.api.access import Ctx, Operator, Viewer
from controller.api.answers import time_text
from controller.rotating import HubKey, Rotating

router = answers.router(tag="md5")

Name = Annotated[str, Path(max_length=63)]
Force = Annotated[bool, Query(description="Change it though gateways may lose their last session.")]


class RotateAnswer(BaseModel):
    """The sessions of `waited_for` with the hub restart now; GET /md5-keys says when they are back."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "hub": "hub-1",
                "key": True,
                "changed_at": "2026-11-22T14:00:00Z",
                "gateways": ["berlin-1", "hub-1"],
                "waited_for": ["berlin-1"],
                "away": [],
            }
        }
    )
    hub: str
    key: bool = Field(description="Whether the hub has one now; not where the fabric wants none.")
    changed_at: str
    gateways: list[str] = Field(description="Those with a new plan.")
    waited_for: list[str] = Field(description="Those whose sessions with the hub restart.")
    away: list[str] = Field(description="Those that were off: they get the key with their plan.")


@router.get("/md5-keys", summary="Which hubs have MD5 keys since when, and how their sessions stand")
def read_keys(context: Ctx, _: Viewer) -> dict[str, Any]:
    """`missing`: sessions that the hub waits for and that are not up, as both ends say. `troubles`: by gateway."""
    found = Rotating(context.controller).keys()
    return {"wanted": found.wanted, "hubs": [_shown(each) for each in found.hubs], "troubles": found.troubles}


def _shown(each: HubKey) -> dict[str, Any]:
    standing = each.standing
    return {
        "hub": each.hub,
        "key": each.has_key,
        "changed_at": time_text(each.changed_at),
        "sessions": len(standing.gateways),
        "missing": [{"gateway": missing.gateway, "reason": missing.reason} for missing in standing.missing],
        "away": list(standing.away),
    }


@router.post("/gateways/{name}/rotate-md5", summary="Change the MD5 key of a hub")
def rotate(context: Ctx, caller: Operator, name: Name, force: Force = False) -> RotateAnswer:
    """A new key, its first one, or none any more: as `md5` of the fabric says. No revision.

    The hub's sessions restart, under graceful restart. 409 while a session of another hub is down, or a gateway does
    not take plans.
    """
    done = Rotating(context.controller).rotate(name, actor=caller.actor, force=force)
    return RotateAnswer(
        hub=done.hub,
        key=done.has_key,
        changed_at=time_text(done.changed_at) or "",
        gateways=done.gateways,
        waited_for=done.waited_for,
        away=done.away,
    )
