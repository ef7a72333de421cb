"""Does a rule speak of this path, and of this viewer: the static half of matching, which needs no attributes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.inventory.model import Match, Network, PrefixMatch, Rule, Site, Viewer


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a path comes from, as the hub's communities on it say: one uplink of a gateway, or a client."""

    member: str  # Name of the gateway or client.
    site: str
    region: str
    tags: tuple[str, ...]
    circuit_class: str


def in_order(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """As they are looked at, whatever the order of rows."""
    return tuple(sorted(rules, key=lambda rule: (rule.order, rule.name)))


def origin_matches(match: Match, origin: Origin) -> bool:
    """Of each list one is enough; an empty list is everything. Prefixes and communities are not looked at."""
    return (
        _one_of(match.sites, origin.site)
        and _one_of(match.regions, origin.region)
        and _one_of(match.gateways, origin.member)
        and _one_of(match.circuit_classes, origin.circuit_class)
        and (not match.tags or not set(match.tags).isdisjoint(origin.tags))
    )


def viewer_matches(viewer: Viewer, site: Site) -> bool:
    """Whether a member of `site` looks through the rule's eyes."""
    return (
        _one_of(viewer.sites, site.name)
        and _one_of(viewer.regions, site.region)
        and (not viewer.tags or not set(viewer.tags).isdisjoint(site.tags))
    )


def prefix_matches(ranges: tuple[PrefixMatch, ...], prefix: Network) -> bool:
    """One range is enough; none at all is every prefix."""
    return not ranges or any(in_range(each, prefix) for each in ranges)


def in_range(each: PrefixMatch, prefix: Network) -> bool:
    """Inside `each.prefix`, with a length from ge to le, both included."""
    return (
        each.ge <= prefix.prefixlen <= each.le
        and prefix.version == each.prefix.version
        and prefix.prefixlen >= each.prefix.prefixlen
        and int(prefix.network_address) >> (prefix.max_prefixlen - each.prefix.prefixlen)
        == int(each.prefix.network_address) >> (prefix.max_prefixlen - each.prefix.prefixlen)
    )


def _one_of(names: tuple[str, ...], name: str) -> bool:
    return not names or name in names
