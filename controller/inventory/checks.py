"""The rules of a sound fabric. Each is a generator; all are asked; everything wrong is said at once.

Rules about the form of single values (names, addresses, ranges) stand in `fields`: what breaks
them never becomes an inventory. All codes are listed in docs/findings.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from controller.inventory import rules_anycast as anycast
from controller.inventory import rules_effect as effect
from controller.inventory import rules_liveness as liveness
from controller.inventory import rules_members as members
from controller.inventory import rules_order as order
from controller.inventory import rules_peers as peers
from controller.inventory import rules_policy as policy
from controller.inventory import rules_segment as segment
from controller.inventory import rules_space as space
from controller.inventory.findings import Finding
from controller.inventory.model import Inventory, Object, Prefix

Rule = Callable[[Inventory], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    members.no_fabric,
    members.no_hub,
    members.bad_segment,
    members.uplink_count,
    members.interface_twice,
    members.unknown_region,
    members.unknown_class,
    members.unknown_site,
    members.two_owners,
    members.name_of_two,
    members.bad_address,
    members.same_community,
    space.other_tenant,
    space.unroutable_space,
    space.allocation_on_segment,
    space.overlapping_allocations,
    space.prefix_not_allocated,
    space.prefix6_without_segment6,
    space.wrong_gateway,
    space.space_on_underlay,
    liveness.bad_first_hop,
    liveness.shared_first_hop,
    liveness.unused_first_hop,
    liveness.bfd_packet_budget,
    peers.asn_of_the_fabric,
    peers.unknown_gateway,
    peers.lan_peer_address,
    peers.lan_peer6_without_segment6,
    peers.lan_peer_twice,
    peers.lan_peer_on_uplink,
    policy.unknown_names,
    policy.communities_of_the_fabric,
    anycast.preference_too_high,
    order.unreachable,
    order.denied_before,
    order.contradictory,
    effect.without_effect,
    effect.assertion_without_effect,
    segment.without_network,
    segment.unknown_gateway,
    segment.unknown_uplink,
    segment.moon_twice,
    segment.moons_of_the_fabric,
)

OF_PREFIXES: tuple[Rule, ...] = (
    members.unknown_site,
    space.other_tenant,
    space.unroutable_space,
    space.prefix_not_allocated,
    space.prefix6_without_segment6,
    space.wrong_gateway,
    liveness.bad_first_hop,
    liveness.shared_first_hop,
    liveness.unused_first_hop,
)
"""Those that look at prefixes: at those of one site at a time, and at allocations of no other."""


def check(inventory: Inventory) -> list[Finding]:
    """All that is wrong with an allocated inventory, by object; [] means that it can be compiled.

    Does not depend on the order of rows.
    """
    return _said_by(RULES, inventory)


def check_after(changed: Iterable[Object], inventory: Inventory) -> list[Finding]:
    """As `check`, where all was sound before: what is still the same is not judged again.

    `changed`: what came, what went, and what is another now, before and after.
    """
    sites = set()
    for each in changed:
        if not isinstance(each, Prefix):
            return check(inventory)
        sites.add(each.site)
    prefixes = tuple(prefix for prefix in inventory.prefixes if prefix.site in sites)
    allocations = tuple(allocation for allocation in inventory.allocations if allocation.site in sites)
    return _said_by(OF_PREFIXES, replace(inventory, prefixes=prefixes, allocations=allocations))


def _said_by(rules: Iterable[Rule], inventory: Inventory) -> list[Finding]:
    findings = {finding for rule in rules for finding in rule(inventory)}
    return sorted(findings, key=lambda finding: (finding.object, finding.code, finding.message))
