"""The segment: how the ZeroTier network is kept, and the operator's word about what was there before."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from controller.api import answers
from controller.api.access import Ctx, Operator, Viewer
from controller.api.answers import time_text

router = answers.router(tag="segment")

TIMES = ("last_pass", "settled_at", "read_at", "next_pass")

EXAMPLE: Any = {
    "network": "8056c2e21c000001",
    "condition": "held",
    "reason": "",
    "mtu": 1280,
    "segment_rules": "checked",
    "service": {"kind": "self-hosted", "url": "http://127.0.0.1:9993", "version": "1.14.1", "address": "8056c2e21c"},
    "last_pass": "2026-11-22T08:01:56Z",
    "settled_at": "2026-11-22T08:00:56Z",
    "read_at": "2026-11-22T08:01:56Z",
    "next_pass": "2026-11-22T08:02:56Z",
    "failed_in_a_row": 0,
    "error": "",
    "failures": {"total": 0, "items": []},
    "written": 0,
    "members": {"declared": 12, "in_service": 14, "without_node_id": ["client frr2"]},
    "pending": {"network": [], "leaving": [], "members": {"total": 0, "items": []}},
    "held": {
        "network": [],
        "total": 1,
        "members": [{"node_id": "a1b2c3d4e5", "object": "host nas", "differs": ["addresses"]}],
    },
    "conflicts": {"total": 0, "items": []},
    "unreadable": {"total": 0, "items": []},
    "strangers": {
        "revoked": 0,
        "total": 1,
        "items": [
            {
                "node_id": "c1b2c3d4e5",
                "name": "printer",
                "authorised": True,
                "revoked": False,
                "deleted_at": None,
                "addresses": ["10.42.9.9"],
            }
        ],
    },
    "rules": [],
    "summaries": {
        "total": 1,
        "items": [{"prefix": "10.1.0.0/16", "via": "10.42.0.1"}],
        "remarks": [],
        "left_out": {"total": 0, "items": []},
    },
}


class SegmentAnswer(BaseModel):
    """Lists are `{"total": N, "items": [...]}` with at most 100 items."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE}, extra="allow")
    network: str = Field(description="ZeroTier network id; empty: none is declared.")
    condition: str = Field(
        description="unmanaged, waiting (no pass yet), settled (as declared), busy (more to write), held (something"
        " waits for the operator), failing."
    )
    reason: str = Field(description="Why it is unmanaged.")
    last_pass: str | None = None
    settled_at: str | None = Field(None, description="When all was as declared last.")
    read_at: str | None = Field(
        None,
        description="When ZeroTier was read last. While it cannot be, what was read stays, and `members.in_service` is"
        " null.",
    )
    next_pass: str | None = Field(None, description="When the next pass is due, if nothing changes before.")


class AdoptBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"members": ["a1b2c3d4e5"]}})
    members: list[Annotated[str, Field(pattern="^[0-9a-f]{10}$")]] = Field(
        default_factory=list, max_length=10_000, description="Node ids of members that are declared."
    )
    every: bool = Field(False, description="All members that are declared.")
    network: bool = Field(False, description="The network's own settings: name, routes, MTU, no auto-assign.")


class AdoptAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"adopted": ["host nas"], "segment": EXAMPLE}})
    adopted: list[str] = Field(description="Objects that are Leyline's from now on.")
    segment: SegmentAnswer


@router.get("/segment", summary="How the ZeroTier network is kept")
def show_segment(context: Ctx, _: Viewer) -> SegmentAnswer:
    return _answer(context.segment.status())


@router.post("/segment/sync", summary="Compare the segment now, and write what differs")
def synchronise_segment(context: Ctx, _: Operator) -> SegmentAnswer:
    """Answers after the pass; what the ZeroTier service did wrong is in the answer."""
    context.segment.synchronise()
    return _answer(context.segment.status())


@router.post("/segment/adopt", summary="Make members, or the network's settings, Leyline's")
def adopt_of_segment(context: Ctx, caller: Operator, body: AdoptBody) -> AdoptAnswer:
    """What somebody else has set up is left alone until then. A pass follows at once."""
    node_ids = None if body.every else body.members
    adopted = context.segment.adopt(node_ids, network=body.network, actor=caller.actor)
    context.segment.synchronise()
    return AdoptAnswer(adopted=adopted, segment=_answer(context.segment.status()))


def _answer(status: dict[str, Any]) -> SegmentAnswer:
    times: dict[str, Any] = {each: None if status.get(each) is None else time_text(status[each]) for each in TIMES}
    if strangers := status.get("strangers"):
        items = [each | {"deleted_at": time_text(each.get("deleted_at"))} for each in strangers["items"]]
        times |= {"strangers": {**strangers, "items": items}}
    return SegmentAnswer.model_validate(status | times)
