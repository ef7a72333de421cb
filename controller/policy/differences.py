"""How what a gateway does differs from what was intended, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.policy.answered import Live, LiveChosen, LiveMember, LivePath, LivePrefix
from controller.policy.explained import ITSELF, OWN, Intended, IntendedPath, IntendedPrefix

STATES = {
    "dead": "does not answer",
    "held": "answers again, but is not trusted yet",
    "down": "has no interface of this gateway up that leads to it",
}
OUT = ("refused", "rule", "withheld")


def differences(intended: Intended, live: Live, names: Mapping[str, str]) -> list[str]:
    """What is not as intended, the gravest first. `names`: next hop -> uplink."""
    return [*_verdicts(intended, live), *_taken(intended, live, names), *_detours(live, names)]


def _verdicts(intended: Intended, live: Live) -> Iterator[str]:
    ours, its = (intended.what, intended.prefix), (live.verdict.what, live.verdict.prefix)
    # A LAN that it announces may be attached to it, by another prefix length, or be reached by its other routes. In
    # one that is attached it has an address itself.
    if ours[0] == OWN and its[0] in (OWN, "connected", ITSELF):
        return
    if ours != its:
        yield f"intended: {_said(*ours, intended.text)}; now: {_said(*its, live.verdict.text)}"


def _said(what: str, prefix: str, text: str) -> str:
    return text if what == "none" else f"{prefix}, {text}" if what != "route" else f"a route to {prefix}, {text}"


def _taken(intended: Intended, live: Live, names: Mapping[str, str]) -> Iterator[str]:
    prefix = intended.taken
    if prefix is None or not prefix.paths or prefix.what == OWN:
        return
    found = next((each for each in live.prefixes if each.prefix == prefix.prefix and each.kernel is not None), None)
    if found is None:
        yield f"{prefix.prefix} is not in its routing table: no hub tells it any path"
        return
    yield from _kernel(found)
    for path in prefix.paths:
        yield from _path(path, [each for each in found.paths if each.next_hop == path.next_hop])
    yield from _strangers(prefix, found, names)
    for number, tier in enumerate(found.tiers, 1):
        for member in tier:
            if member.state in STATES:
                yield f"next hop {_name(member.next_hop, names)} {STATES[member.state]}"
            elif member.state == "silent" and _passed_over(number, member, found.chosen):
                yield f"next hop {_name(member.next_hop, names)} was never heard, so it is passed over"


def _passed_over(tier: int, member: LiveMember, chosen: LiveChosen | None) -> bool:
    """Is it left out although its turn has come?"""
    return member.ways == () and (chosen is None or chosen.manner != "direct" or tier <= chosen.tier)


def _kernel(found: LivePrefix) -> Iterator[str]:
    kernel = found.kernel
    if kernel is not None and kernel.refused:
        yield f"the kernel refuses {found.prefix}: {kernel.refused}"
    elif kernel is not None and kernel.moving:
        yield f"another route to {found.prefix} is on its way into the kernel"


def _path(path: IntendedPath, copies: list[LivePath]) -> Iterator[str]:
    """`copies`: what the gateway has with this next hop, from all hubs."""
    usable = [each for each in copies if each.step not in OUT]
    if path.denied:
        if any(each.tier for each in usable):
            yield f"the path over {path.uplink} is there, and should not be: {path.why}"
        return
    if not usable:
        if copies:
            yield f"the path over {path.uplink} is not used: {copies[0].why}"
        else:
            yield f"the path over {path.uplink} is missing"
        return
    best = min(usable, key=lambda each: each.tier or 99)
    if best.tier != path.tier:
        yield f"the path over {path.uplink} is in {_tier(best.tier)}, and should be in {_tier(path.tier)}"
    if best.preference != path.preference:
        yield f"the path over {path.uplink} has LOCAL_PREF {best.preference}, and should have {path.preference}"
    if all(each.stale for each in usable):
        yield f"the path over {path.uplink} is stale: who told it is gone, or has not repeated it yet"


def _tier(number: int) -> str:
    return f"tier {number}" if number else "no tier"


def _strangers(prefix: IntendedPrefix, found: LivePrefix, names: Mapping[str, str]) -> Iterator[str]:
    intended = {path.next_hop for path in prefix.paths}
    strangers = dict.fromkeys(each.next_hop for each in found.paths if each.tier and each.next_hop not in intended)
    for hop in strangers:
        yield f"a path over {_name(hop, names)} may be used, and nobody intended it"


def _detours(live: Live, names: Mapping[str, str]) -> Iterator[str]:
    for way in live.verdict.ways:
        if way.detour:
            towards = " and ".join(_name(hop, names) for hop in way.towards)
            yield f"packets take a detour through {_name(way.address, names)}" + (f" to {towards}" if towards else "")


def _name(hop: str, names: Mapping[str, str]) -> str:
    return f"{names[hop]} ({hop})" if hop in names else hop
