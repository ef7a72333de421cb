"""What rules make of one path: at a hub's import, and in the eyes of one viewer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from ipaddress import ip_network
from typing import Any, NamedTuple

from tests.oracle.reading import Member, Site, Uplink, closed_regions, inside, longest_of
from tests.oracle.words import Document

GRACEFUL_SHUTDOWN = "65535:0"  # RFC 8326
BLACKHOLE = "65535:666"  # RFC 7999
NO_EXPORT, NO_ADVERTISE = "65535:65281", "65535:65282"  # RFC 1997
LARGEST = 2**32 - 1
OWN_REGION_FIRST = 1_000_000


class Path(NamedTuple):
    """A route over one uplink, as hubs and spokes hold it. The last five fields are for the decision alone."""

    prefix: str
    member: Member  # Who announces it,
    uplink: Uplink  # and over what.
    next_hop: str
    local_pref: int
    as_path: tuple[int, ...]
    origin: int
    med: int | None
    communities: frozenset[str]
    med_by_rule: bool = False
    prepend: int = 0
    kind: str = "client"  # How the one that looks at it learnt it: "local", "client", "peer" or "hub".
    clusters: int = 0  # Length of CLUSTER_LIST.
    teller: int = 0  # Address of the peer that told it.
    path_id: int = 0


def in_order(document: Document) -> list[dict[str, Any]]:
    return sorted(document.get("rules", ()), key=lambda rule: (rule.get("order", 1000), rule["name"]))


def imported(document: Document, path: Path) -> Path | None:
    """`path` after the rules without a viewer; None: denied.

    What they say to eBGP clients, at whichever hub, stands on it as communities: docs/communities.md, 11 and 12.
    """
    path_after = after(document, [rule for rule in in_order(document) if not rule.get("viewer")], path)
    if path_after is None:
        return None
    asn = document["fabric"]["asn"]
    said = {f"{asn}:11:{path_after.med}"} if path_after.med_by_rule else set()
    said |= {f"{asn}:12:{most(path_after.prepend)}"} if path_after.prepend else set()
    return path_after._replace(communities=path_after.communities | said)


def most(prepended: int) -> int:
    return min(prepended, 32)


def viewed(document: Document, viewer: Site, paths: list[Path]) -> list[Path]:
    """What those at the site `viewer` may be told of `paths`, and how they shall see them."""
    chosen = [rule for rule in in_order(document) if is_for(rule, viewer)]
    seen = [view(document, viewer, chosen, path) for path in paths]
    return [path for path in seen if path is not None]


def view(document: Document, viewer: Site, chosen: list[dict[str, Any]], path: Path) -> Path | None:
    asn = document["fabric"]["asn"]
    own_region = path.member.site.region == viewer.region
    if f"{asn}:8:1" in path.communities and not own_region:
        return None
    closed = closed_regions(document) & {path.member.site.region, viewer.region}
    if closed and not own_region and f"{asn}:8:2" not in path.communities:
        return None
    seen = after(document, chosen, path)
    if seen is None or not (own_region and is_anycast(document, seen.prefix)):
        return seen
    # Everybody takes the copy of his own region first, whatever preference is: that decides among those of one region.
    return seen._replace(local_pref=in_bounds(seen, seen.local_pref + OWN_REGION_FIRST))


def is_for(rule: dict[str, Any], viewer: Site) -> bool:
    """A rule without a viewer is for nobody."""
    who = rule.get("viewer")
    return bool(who) and is_of(who, viewer)


def is_of(lists: dict[str, Any], site: Site) -> bool:
    """Of each list of sites, regions and tags one is enough; an empty one says nothing."""
    if lists.get("sites") and site.name not in lists["sites"]:
        return False
    if lists.get("regions") and site.region not in lists["regions"]:
        return False
    return not lists.get("tags") or bool(site.tags & set(lists["tags"]))


def is_anycast(document: Document, prefix: str) -> bool:
    return any(
        each.get("anycast") and inside(prefix, each["prefix"]) and ip_network(prefix).prefixlen <= longest_of(each)
        for each in document.get("allocations", ())
    )


def after(document: Document, rules: list[dict[str, Any]], path: Path) -> Path | None:
    """`path` after `rules`, in their order; None: denied."""
    for rule in rules:
        if not matches(rule.get("match") or {}, path):
            continue
        action = rule["action"]
        if action.get("deny"):
            return None
        path = acted(document["fabric"]["asn"], action, path)
        if action.get("last"):
            break
    return path


def matches(match: dict[str, Any], path: Path) -> bool:
    if not is_of(match, path.member.site):
        return False
    if match.get("gateways") and path.member.name not in match["gateways"]:
        return False
    if match.get("circuit_classes") and path.uplink.circuit_class not in match["circuit_classes"]:
        return False
    if match.get("communities") and not path.communities & set(match["communities"]):
        return False
    return not match.get("prefixes") or any(in_range(path.prefix, text) for text in match["prefixes"])


@cache
def in_range(prefix: str, text: str) -> bool:
    """`text` is "10.0.0.0/8 ge 16 le 24"."""
    base, *words = text.split()
    bounds = {name: int(value) for name, value in zip(words[::2], words[1::2], strict=True)}
    network = ip_network(base)
    shortest = bounds.get("ge", network.prefixlen)
    longest = bounds.get("le", network.max_prefixlen if "ge" in bounds else network.prefixlen)
    return inside(prefix, base) and shortest <= ip_network(prefix).prefixlen <= longest


def acted(asn: int, action: dict[str, Any], path: Path) -> Path:
    """`path` after one rule's actions. One that shall not be used does not come back by losing its mark."""
    removed = set(action.get("remove_communities", ())) - {GRACEFUL_SHUTDOWN}
    path = path._replace(
        communities=(path.communities - removed) | set(added(asn, action)),
        prepend=path.prepend + action.get("prepend", 0),
    )
    if action.get("med") is not None:
        path = path._replace(med=action["med"], med_by_rule=True)
    preference = path.local_pref if action.get("preference") is None else action["preference"]
    return path._replace(local_pref=in_bounds(path, preference + action.get("preference_add", 0)))


def added(asn: int, action: dict[str, Any]) -> Iterator[str]:
    yield from action.get("add_communities", ())
    if action.get("region_only"):
        yield f"{asn}:8:1"
    if action.get("open"):
        yield f"{asn}:8:2"
    if action.get("max_paths"):
        yield f"{asn}:10:{action['max_paths']}"


def in_bounds(path: Path, preference: int) -> int:
    """A rule makes no path worse than 1, and none better that is drained or shuts down (RFC 8326)."""
    last = path.member.drained or GRACEFUL_SHUTDOWN in path.communities
    return 0 if last else min(max(preference, 1), LARGEST)
