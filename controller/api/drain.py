"""Drain and undrain a gateway: changes like any other, but for what they say in the answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import ConfigDict, Field

from controller.api import answers
from controller.api.access import Caller, Context, Ctx, Operator
from controller.api.answers import ChangeAnswer, DryRun, broken_assertions
from controller.api.errors import NotFound
from controller.inventory.drain import drained, left_behind
from controller.inventory.fields import closest
from controller.service import Wanted
from controller.store.state import State

router = answers.router(tag="gateways")

Name = Annotated[str, Path(max_length=63)]


class DrainAnswer(ChangeAnswer):
    """As of every change; without `changes` it was so already, and `revision` is the former one."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "revision": 7,
                "dry_run": False,
                "changes": [{"action": "change", "object": "gateway berlin-1", "fields": {"drained": [None, True]}}],
                "gateways": ["berlin-1", "hub-1"],
                "gateway": "berlin-1",
                "drained": True,
                "plan_digest": "0123456789abcdef",
                "warnings": [],
            }
        }
    )
    gateway: str
    drained: bool = Field(description="What is declared now; the gateway's report says when it is done.")
    plan_digest: str | None = Field(description="Of the plan that says so; none on a dry run.")
    warnings: list[str] = Field(description="What has no other way. The change is made all the same.")


@router.post("/gateways/{name}/drain", response_model_exclude_none=True, summary="Take a gateway out of traffic")
def drain_gateway(context: Ctx, caller: Operator, name: Name, dry_run: DryRun = False) -> DrainAnswer:
    """Its paths get the lowest preference and GRACEFUL_SHUTDOWN (RFC 8326); it forwards as long as anybody sends."""
    return _change(context, caller, name, drain=True, dry_run=dry_run)


@router.post(
    "/gateways/{name}/undrain", response_model_exclude_none=True, summary="Bring a drained gateway back into traffic"
)
def undrain_gateway(context: Ctx, caller: Operator, name: Name, dry_run: DryRun = False) -> DrainAnswer:
    return _change(context, caller, name, drain=False, dry_run=dry_run)


def _change(context: Context, caller: Caller, name: str, *, drain: bool, dry_run: bool) -> DrainAnswer:
    def edit(state: State) -> Wanted:
        known = state.by_key["gateways"]
        if name not in known:
            raise NotFound(f"there is no gateway {name}{closest(name, list(known))}")
        return Wanted(drained(state.inventory, name, drain))

    action = "drain" if drain else "undrain"
    outcome = context.controller.change(
        edit, actor=caller.actor, action=action, subject=f"gateway {name}", dry_run=dry_run
    )
    return DrainAnswer(
        revision=outcome.revision,
        dry_run=outcome.dry_run,
        changes=outcome.changes,
        gateways=outcome.gateways,
        assertions=broken_assertions(outcome),
        gateway=name,
        drained=drain,
        plan_digest=None if dry_run else context.store.digests().get(name),
        warnings=list(left_behind(outcome.state.inventory, name)) if drain else [],
    )
