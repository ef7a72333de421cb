"""An existing network -> an inventory that does the same by BGP, and what only the operator can know. Pure.

Guessed, and said: a member that managed routes lead to is a gateway, members whose routes overlap are one site, other
members are hosts. Names, addresses and MTU stay. What comes out is checked as `leyline validate` would.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.inventory.allocate import allocate
from controller.inventory.checks import check
from controller.inventory.document import parse_document
from controller.inventory.model import DEFAULT_LONGEST, MAX_MTU, Inventory
from controller.inventory.yaml import dump_yaml
from controller.zerotier.imported_routes import Question, Space, owners, routed
from controller.zerotier.port import MAX_ROUTES, Address, MemberState, Network, NetworkState
from controller.zerotier.rules_check import check_rules
from controller.zerotier.summaries import summaries

ASN = 64512
REGION, UPLINK, CIRCUIT_CLASS = "main", "main", "broadband"
HUBS = 2
MAX_NAME = 63
MAX_SHOWN = 20
LOST_TO_HOSTS = ("summary-split", "summaries-too-many")
BLANK = "TODO"
"""Stands where nothing can be guessed; no reader of a field takes it."""


@dataclass(frozen=True)
class Imported:
    """`inventory`: allocated, when nothing was found wrong with the document; else None."""

    document: dict[str, Any]
    questions: tuple[Question, ...]
    inventory: Inventory | None


def imported(network: NetworkState, members: Mapping[str, MemberState]) -> Imported:
    """Members that are not authorised are left out: to declare them would let them in."""
    questions: list[Question] = []
    let_in = [members[node_id] for node_id in sorted(members) if members[node_id].authorised]
    segments = _segments(network, let_in, questions)
    spaces = routed(network.routes, members, segments.values(), questions)
    names = _names(let_in)
    addresses = _addresses(network, let_in, segments, questions)
    document: dict[str, Any] = {"fabric": _fabric(network, segments, questions)}
    if spaces:
        document |= _sites(network, spaces, names, addresses, questions)
    leading = {node_id for space in spaces for node_id in space.node_ids}
    if hosts := [
        {"name": names[each.node_id], "node_id": each.node_id, **addresses[each.node_id]}
        for each in let_in
        if each.node_id not in leading
    ]:
        document["hosts"] = hosts
    _ask_about_members(members, leading, questions)
    _ask_about_network(network, segments, questions)
    inventory, findings = _checked(document)
    questions += findings
    if inventory is not None:
        _ask_about_hosts(network, inventory, questions)
    return Imported(document, tuple(questions), inventory)


def to_yaml(found: Imported) -> str:
    """The document, and each question as a comment above the section that it is about."""
    lines = ["# Read from ZeroTier. Lines with TODO wait for your word; then: leyline validate"]
    for section in ("", *found.document, *(each.section for each in found.questions)):
        asked = [each for each in found.questions if each.section == section]
        comments = [f"# TODO {each}" for each in asked]
        if any(line in lines for line in comments):
            continue
        body = dump_yaml({section: found.document[section]}) if section in found.document else ""
        lines += [*([""] if section and (comments or body) else []), *comments, *body.splitlines()]
    return "\n".join(lines) + "\n"


def interface_name(network: str) -> str:
    """Of the network on Linux, the same on every member (source: osdep/LinuxEthernetTap.cpp)."""
    number = int(network, 16)
    folded = (number ^ number >> 24) & (1 << 40) - 1
    return "zt" + b32encode(folded.to_bytes(5, "big")).decode().lower()


def _segments(network: NetworkState, members: Iterable[MemberState], questions: list[Question]) -> dict[int, Network]:
    """Family -> the on-link route that most members' addresses are in."""
    found: dict[int, Network] = {}
    members = list(members)
    for version in (4, 6):
        on_link = [each.target for each in network.routes if each.via is None and each.target.version == version]
        counts = Counter(dict.fromkeys(on_link, 0))
        counts.update(
            target for member in members for address in member.addresses for target in on_link if address in target
        )
        for target, _ in counts.most_common(1):
            found[version] = target
        for other in [each for each in counts if each != found.get(version)]:
            why = "a network has one segment of each family; this one goes when Leyline adopts the network"
            questions.append(Question("fabric", f"the on-link route {other} is left out", why))
    if 4 not in found:
        why = "the network has no on-link IPv4 route: write the prefix that its members share"
        questions.append(Question("fabric", "segment", why))
    return found


def _fabric(network: NetworkState, segments: Mapping[int, Network], questions: list[Question]) -> dict[str, Any]:
    mtu = min(network.mtu, MAX_MTU)
    if mtu != network.mtu:
        questions.append(Question("fabric", f"mtu is {mtu}, not {network.mtu}", f"more than {MAX_MTU} does not work"))
    asked = {
        f"asn {ASN} is a guess": "any private AS number that your routers do not use yet",
        "guard_default is false": "beneath it the managed routes would be hidden; set it to true when they are gone",
        "underlay": "list the prefixes that ZeroTier itself runs over, so that they are never taken as routes",
    }
    questions += [Question("fabric", what, why) for what, why in asked.items()]
    six = {"segment6": str(segments[6])} if 6 in segments else {}
    return {
        "name": _slug(network.name) or "imported",
        "asn": ASN,
        "segment": str(segments.get(4, BLANK)),
        **six,
        "guard_default": False,
        "network": network.network,
        "mtu": mtu,
    }


def _sites(
    network: NetworkState,
    spaces: list[Space],
    names: Mapping[str, str],
    addresses: Mapping[str, Mapping[str, str]],
    questions: list[Question],
) -> dict[str, Any]:
    """regions, sites, allocations, prefixes and gateways."""
    by_size = sorted(
        (-sum(node_id in each for each in space.targets.values()), names[node_id], node_id)
        for space in spaces
        for node_id in space.node_ids
    )
    hubs = {node_id for _, _, node_id in by_size[:HUBS]}
    sections: dict[str, list[dict[str, Any]]] = {
        "regions": [{"name": REGION}], "sites": [], "allocations": [], "prefixes": [], "gateways": []
    }  # fmt: skip
    for space in spaces:
        site = names[space.node_ids[0]]
        sections["sites"].append({"name": site, "region": REGION})
        sections["allocations"] += _allocations(site, space)
        sections["prefixes"] += _prefixes(site, space, names)
        sections["gateways"] += [
            _gateway(network, node_id, site, names[node_id], node_id in hubs, addresses[node_id])
            for node_id in space.node_ids
        ]
        if len(space.node_ids) > 1:
            why = f"routes by way of {', '.join(names[each] for each in space.node_ids)} are the same, or overlap"
            questions.append(Question("sites", f"site {site} has {len(space.node_ids)} gateways", why))
    asked = {
        "regions": [(f"region {REGION} is a guess", "regions are what routes may be kept in")],
        "sites": [("names are those of ZeroTier's members", "rename them now, or later with leyline rename")],
        "gateways": [
            (f"hubs are {', '.join(sorted(names[each] for each in hubs))}", "choose two that are always reachable"),
            (f"circuit_class {CIRCUIT_CLASS} is a guess", "fiber, broadband, lte or satellite"),
            ("interface is that of Linux", "see zerotier-cli listnetworks on each; another system names it otherwise"),
        ],
    }
    questions += [Question(section, what, why) for section, each in asked.items() for what, why in each]
    return sections


def _allocations(site: str, space: Space) -> list[dict[str, Any]]:
    found = []
    for outer in space.outermost:
        inner = [each for each in space.targets if each.version == outer.version and _covers(outer, each)]
        longest = max(each.prefixlen for each in inner)
        more = {"longest": longest} if longest > max(DEFAULT_LONGEST[outer.version], outer.prefixlen) else {}
        found.append({"site": site, "prefix": str(outer), **more})
    return found


def _prefixes(site: str, space: Space, names: Mapping[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for target, node_ids in space.targets.items():
        some = {} if set(node_ids) == set(space.node_ids) else {"gateways": sorted(names[each] for each in node_ids)}
        found.append({"site": site, "prefix": str(target), **some})
    return found


def _gateway(
    network: NetworkState, node_id: str, site: str, name: str, hub: bool, addresses: Mapping[str, str]
) -> dict[str, Any]:
    uplink = {"name": UPLINK, "node_id": node_id, "interface": interface_name(network.network)}
    return {
        "name": name,
        "site": site,
        "role": "hub" if hub else "spoke",
        "uplinks": [{**uplink, **addresses, "circuit_class": CIRCUIT_CLASS}],
    }


def _addresses(
    network: NetworkState,
    members: Iterable[MemberState],
    segments: Mapping[int, Network],
    questions: list[Question],
) -> dict[str, dict[str, str]]:
    """Node id -> its `address` and `address6`: the one that routes lead to, else the first. Others are said."""
    members = list(members)
    vias = {route.via for route in network.routes}
    holders = owners(members)
    found: dict[str, dict[str, str]] = {}
    for member in members:
        chosen: dict[str, str] = {}
        for address in sorted(member.addresses, key=lambda each: each not in vias):
            field = "address" if address.version == 4 else "address6"
            why = _why_not(address, member.node_id, holders, segments, field in chosen)
            if why:
                what = f"{member.node_id} loses {address} when it is adopted"
                questions.append(Question("hosts", what, why))
            else:
                chosen[field] = str(address)
        found[member.node_id] = chosen
    return found


def _why_not(
    address: Address,
    node_id: str,
    holders: Mapping[Address, tuple[str, ...]],
    segments: Mapping[int, Network],
    has_one: bool,
) -> str:
    segment = segments.get(address.version)
    if segment is None or address not in segment:
        return "it is outside the segment"
    if segment.num_addresses > 2 and address.version == 4 and address in (segment[0], segment[-1]):
        return "it is the network or broadcast address of the segment"
    if holders[address][0] != node_id:
        return f"{holders[address][0]} has it, too"
    return "a member has one address of each family" if has_one else ""


def _ask_about_members(members: Mapping[str, MemberState], leading: set[str], questions: list[Question]) -> None:
    outside = [node_id for node_id in sorted(members) if not members[node_id].authorised]
    if outside:
        why = "they are not authorised; declare those that you want to let in"
        questions.append(Question("hosts", f"left out: {_some(outside)}", why))
    bridges = [each.node_id for each in members.values() if each.bridge and each.authorised]
    if bridges:
        why = "they are bridges: a LAN beneath one is in the segment itself, and stays so"
        questions.append(Question("hosts", f"look at {_some(sorted(bridges))}", why))
    if not leading:
        why = "no managed route leads to a member: there is nothing that BGP could take over yet"
        questions.append(Question("gateways", "there are no gateways", why))


def _ask_about_hosts(network: NetworkState, inventory: Inventory, questions: list[Question]) -> None:
    """What members without BGP would no longer reach: there would be no managed route for it."""
    for remark in summaries(inventory, {}, network.routes).remarks:
        if remark.code in LOST_TO_HOSTS:
            why = (
                f"{remark.message}. Name every gateway that has the LAN in `gateways` of both, or leave it out for all"
            )
            questions.append(Question("hosts", f"hosts would lose a route ({remark.code})", why))


def _ask_about_network(network: NetworkState, segments: Mapping[int, Network], questions: list[Question]) -> None:
    if len(network.routes) > MAX_ROUTES:
        why = f"ZeroTier delivers {MAX_ROUTES}: some of what is declared here does not work today"
        questions.append(Question("", f"{len(network.routes)} managed routes", why))
    if not network.private:
        questions.append(Question("", "the network is public", "it becomes private when Leyline adopts it"))
    modes = {
        "addresses from pools": network.auto_assign4 or network.auto_assign6,
        "6PLANE addresses": network.auto_6plane,
        "RFC 4193 addresses": network.auto_rfc4193,
    }
    for what in (what for what, on in modes.items() if on):
        why = "they end when Leyline adopts the network; new members are declared instead"
        questions.append(Question("", f"automatic {what}", why))
    four, six = segments.get(4), segments.get(6)
    if four is not None:
        found = check_rules(network, four, six)  # type: ignore[arg-type]
        questions += [Question("", f"flow rules, {each.code}", each.message) for each in found]


def _checked(document: dict[str, Any]) -> tuple[Inventory | None, list[Question]]:
    inventory, findings = parse_document(document)
    whole = allocate(inventory)
    findings = [*findings, *check(whole)]
    asked = [Question("fabric", f"{each.object} ({each.code})", each.message) for each in findings]
    return (None if findings else whole), asked


def _names(members: Iterable[MemberState]) -> dict[str, str]:
    """Node id -> a name of the inventory; the second of a name gets its node id as well."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for member in members:
        name = _slug(member.name) or f"member-{member.node_id}"
        if name in taken:
            name = f"{name[: MAX_NAME - 11]}-{member.node_id}"
        taken.add(name)
        found[member.node_id] = name
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:MAX_NAME].rstrip("-")


def _some(node_ids: list[str]) -> str:
    more = f" and {len(node_ids) - MAX_SHOWN} more" if len(node_ids) > MAX_SHOWN else ""
    return ", ".join(node_ids[:MAX_SHOWN]) + more


def _covers(outer: Any, inner: Any) -> bool:
    return bool(inner.subnet_of(outer))
