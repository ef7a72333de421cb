"""The rules of a sound fabric. Each is a generator; all are asked; everything wrong is said at once.

Rules about the form of single values (names, addresses, ranges) stand in `fields`: what breaks
them never becomes an inventory. All codes are listed in docs/findings.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controller.inventory import rules_effect as effect
from controller.inventory import rules_liveness as liveness
from controller.inventory import rules_members as members
from controller.inventory import rules_order as order
from controller.inventory import rules_peers as peers
from controller.inventory import rules_policy as policy
from controller.inventory import rules_space as space
from controller.inventory.findings import Finding
from controller.inventory.model import Inventory

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
    peers.lan_peer_twice,
    peers.lan_peer_on_uplink,
    policy.unknown_names,
    policy.communities_of_the_fabric,
    order.unreachable,
    order.contradictory,
    effect.without_effect,
)


def check(inventory: Inventory) -> list[Finding]:
    """All that is wrong with an allocated inventory, by object; [] means that it can be compiled.

    Does not depend on the order of rows.
    """
    findings = {finding for rule in RULES for finding in rule(inventory)}
    return sorted(findings, key=lambda finding: (finding.object, finding.code, finding.message))
