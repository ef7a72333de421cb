"""Where packets from a site or gateway to an address go: what was intended, what the gateways say, how it differs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from controller.api import answers
from controller.api.access import Context, Ctx, Viewer
from controller.api.errors import BadRequest, NotFound, TooManyAsks
from controller.inventory.fields import closest
from controller.inventory.model import GLOBAL, Address
from controller.policy.answered import AnswerUnreadable, Live, read
from controller.policy.differences import differences
from controller.policy.explained import TOLD, Intended, intended
from controller.policy.intended import Intent, Member

router = answers.router(tag="explain")

From = Annotated[
    str, Query(alias="from", max_length=63, description="A site, each of whose gateways is asked, or one.")
]
Destination = Annotated[str, Query(max_length=64, description="An IPv4 or IPv6 address.")]
Tenant = Annotated[str, Query(max_length=63)]

INTENDED_ONLY = "what follows is the intended state only"


class ExplainAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "from": "berlin",
                "address": "10.2.1.7",
                "tenant": "global",
                "revision": 7,
                "uplinks": {"10.42.0.2": "paris-1/fiber"},
                "gateways": [
                    {
                        "gateway": "berlin-1",
                        "site": "berlin",
                        "role": "spoke",
                        "no_answer": "berlin-1 does not answer: what follows is the intended state only",
                        "live": None,
                        "intended": {
                            "what": "route",
                            "prefix": "10.2.1.0/24",
                            "text": "over paris-1/fiber",
                            "prefixes": [],
                        },
                        "differences": [],
                    }
                ],
            }
        }
    )
    from_: str = Field(serialization_alias="from")
    address: str
    tenant: str
    revision: int
    uplinks: dict[str, str] = Field(description="Next hops that are mentioned -> GATEWAY/UPLINK, or a client.")
    gateways: list[dict[str, Any]] = Field(
        description="`live` is the gateway's own answer, null when there is none: then `no_answer` says why."
    )


@dataclass(frozen=True)
class _Viewer:
    """One that is asked. `pending`: its newest plan is not known to be in force."""

    member: Member
    role: str
    intended: Intended
    pending: bool


@dataclass(frozen=True)
class _Scene:
    revision: int
    viewers: list[_Viewer]
    names: Mapping[str, str]


@router.get("/explain", summary="Where packets from a site or gateway to an address go, and why")
async def explain(
    context: Ctx, _: Viewer, origin: From, address: Destination, tenant: Tenant = GLOBAL
) -> ExplainAnswer:
    """Gateways are asked now, and have five seconds; one that is silent is answered for by the inventory alone."""
    destination = _address(address)
    if tenant != GLOBAL:
        raise NotFound(f"there is no tenant {tenant}: this release has only the tenant {GLOBAL}")
    scene = await anyio.to_thread.run_sync(lambda: _scene(context, origin, destination))
    asked = (_ask(context, each, str(destination)) for each in scene.viewers)
    heard = await asyncio.gather(*asked)
    shown, mentioned = [], set[str]()
    for viewer, (body, silence) in zip(scene.viewers, heard, strict=True):
        entry, hops = _entry(viewer, body, silence, scene.names)
        shown.append(entry)
        mentioned |= hops
    return ExplainAnswer(
        from_=origin,
        address=str(destination),
        tenant=tenant,
        revision=scene.revision,
        uplinks={hop: scene.names[hop] for hop in sorted(mentioned) if hop in scene.names},
        gateways=shown,
    )


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise BadRequest(f"{text!r} is no address; write it like 10.1.0.7 or 2001:db8::7") from None


def _scene(context: Context, origin: str, address: Address) -> _Scene:
    """What the inventory says; in a thread, for it may take a while. Raises NotFound."""
    state = context.store.state()
    intent = Intent(state.inventory)
    members = _members(intent, origin)
    roles = {each.name: each.role for each in state.inventory.gateways}
    digests = context.store.digests()
    reports = {each.name: context.store.report(each.name) for each in members}
    in_force = {
        name: msgspec.json.decode(found.body).get("plan_digest") for name, found in reports.items() if found is not None
    }
    viewers = [
        _Viewer(
            each,
            roles.get(each.name, "client"),
            intended(intent, each, address),
            pending=each.name in roles and in_force.get(each.name) != digests.get(each.name),
        )
        for each in members
    ]
    return _Scene(state.revision, viewers, dict(_names(intent)))


def _members(intent: Intent, origin: str) -> list[Member]:
    """A site's gateways; its clients where it has none. Or the one of this name."""
    if origin in intent.sites:
        found = sorted(intent.of_site.get(origin, []), key=lambda each: each.name)
        gateways = [each for each in found if each.is_ours]
        if not found:
            raise NotFound(f"site {origin} has no gateway and no client: nobody there can be asked")
        return gateways or found
    if origin in intent.members:
        return [intent.members[origin]]
    known_names = [*intent.sites, *intent.members]
    raise NotFound(f"there is no site or gateway {origin}{closest(origin, known_names)}")


def _names(intent: Intent) -> Iterator[tuple[str, str]]:
    for member in intent.members.values():
        for source in member.sources:
            for hop in (source.address, source.address6):
                if hop is not None:
                    yield str(hop), source.key


async def _ask(context: Context, viewer: _Viewer, address: str) -> tuple[Any, str]:
    """(the gateway's answer, "") or (None, why there is none)."""
    name = viewer.member.name
    if viewer.role == "client":
        assumed = TOLD.get(viewer.member.kind, "")
        return None, f"{name} is not a gateway of ours and cannot be asked: {INTENDED_ONLY}; {assumed}"
    try:
        answer = await context.board.ask(name, "explain", {"address": address})
    except TooManyAsks as error:
        return None, f"{error.detail}: {INTENDED_ONLY}"
    if answer is None:
        polls = "" if context.board.polls(name) else ", it does not poll this controller now"
        return None, f"{name} does not answer{polls}: {INTENDED_ONLY}"
    if not answer.ok:
        said = answer.body.get("error") if isinstance(answer.body, dict) else None
        return None, f"{name}: {said or 'no reason given'}: {INTENDED_ONLY}"
    return answer.body, ""


def _entry(viewer: _Viewer, body: Any, silence: str, names: Mapping[str, str]) -> tuple[dict[str, Any], set[str]]:
    """(what is said of one gateway, the next hops that are mentioned)."""
    mentioned = {path.next_hop for each in viewer.intended.prefixes for path in each.paths}
    found: list[str] = []
    if not silence:
        try:
            live = read(body)
        except AnswerUnreadable as error:
            body, silence = None, f"{viewer.member.name}: {error} {INTENDED_ONLY}"
        else:
            mentioned |= _mentioned(live)
            found = differences(viewer.intended, live, names)
            if found and viewer.pending:
                found.insert(0, "its newest plan is not in force yet, so the rest may pass")
    entry = {
        "gateway": viewer.member.name,
        "site": viewer.member.site,
        "role": viewer.role,
        "no_answer": silence,
        "live": body,
        "intended": asdict(viewer.intended),
        "differences": found,
    }
    return entry, mentioned


def _mentioned(live: Live) -> set[str]:
    ways = {hop for way in live.verdict.ways for hop in (way.address, *way.towards)}
    return ways | {path.next_hop for each in live.prefixes for path in each.paths}
