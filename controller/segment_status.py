"""A pass over the segment -> what the API says of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from controller.zerotier.desired import Desired
from controller.zerotier.difference import Difference, differing
from controller.zerotier.port import MemberState
from controller.zerotier.state import FORGET_SECONDS, Pass, pause_after

MOST_LISTED = 100
"""Members in each of the lists; `total` says how many there are."""

OF_THE_SERVICE = (
    "read_at",
    "service",
    "failures",
    "rules",
    "summaries",
    "pending",
    "held",
    "conflicts",
    "unreadable",
    "strangers",
)
"""What only a pass knows that has read the service: a later one that has not leaves it as it is."""


def as_answer(done: Pass, wanted: Desired, former: Mapping[str, Any]) -> dict[str, Any]:
    """JSON types only. Lists are {"total": N, "items": at most MOST_LISTED}. `former`: the answer before; or empty."""
    answer = _of_the_pass(done, wanted)
    if done.difference is None:
        answer |= {each: former[each] for each in OF_THE_SERVICE if each in former}
    return answer


def _of_the_pass(done: Pass, wanted: Desired) -> dict[str, Any]:
    service = done.service
    left = done.difference
    return {
        "condition": done.condition,
        "read_at": None if left is None else done.at,
        "next_pass": done.at + pause_after(done),
        "failed_in_a_row": done.failed_in_a_row,
        "service": asdict(service) if service else None,
        "error": done.error,
        "failures": _some({"object": each.object, "message": each.message} for each in done.failures),
        "written": done.written,
        "members": {
            "declared": len(wanted.members),
            "in_service": None if left is None else done.members,
            "without_node_id": list(wanted.nameless[:MOST_LISTED]),
        },
        "rules": [asdict(each) for each in done.rules],
        "summaries": {
            "total": len(done.summaries.routes),
            "items": [{"prefix": str(each.target), "via": str(each.via)} for each in done.summaries.routes],
            "left_out": _some(str(each) for each in done.summaries.left_out),
            "remarks": [asdict(each) for each in done.summaries.remarks[:MOST_LISTED]],
        },
        **(_left(left, wanted, done.left) if left else {}),
    }


def _left(left: Difference, wanted: Desired, put_out: Mapping[str, float]) -> dict[str, Any]:
    return {
        "pending": {
            "network": list(differing(left.network)) if left.network else [],
            "leaving": list(left.leaving[:MOST_LISTED]),
            "members": _some(
                {"node_id": each, "object": wanted.members[each].label, "fields": list(differing(change))}
                for each, change in left.members.items()
            ),
        },
        "held": {
            "network": list(left.network_held),
            **_members({"node_id": e.node_id, "object": e.label, "differs": list(e.differs)} for e in left.held),
        },
        "conflicts": _some(
            {"object": each.label, "address": str(each.address), "holder": each.holder} for each in left.conflicts
        ),
        "unreadable": _some(
            {"node_id": each.node_id, "object": each.label, "reason": each.reason} for each in left.unreadable
        ),
        "strangers": {
            "revoked": sum(map(_revoked, left.strangers)),
            **_some(
                {
                    "node_id": each.node_id,
                    "name": each.name,
                    "authorised": each.authorised,
                    "revoked": _revoked(each),
                    "deleted_at": put_out[each.node_id] + FORGET_SECONDS if each.node_id in put_out else None,
                    "addresses": [*map(str, each.addresses)],
                }
                for each in left.strangers
            ),
        },
    }


def _revoked(member: MemberState) -> bool:
    """Whether it was let in once, and put out again, by whomever."""
    return not member.authorised and member.deauthorised_at > 0


def _members(items: Iterable[dict[str, Any]]) -> dict[str, Any]:
    some = _some(items)
    return {"total": some["total"], "members": some["items"]}


def _some(items: Iterable[Any]) -> dict[str, Any]:
    every = list(items)
    return {"total": len(every), "items": every[:MOST_LISTED]}
