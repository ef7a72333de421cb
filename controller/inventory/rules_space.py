"""Rules about address space: who may announce what. Default deny rests on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from controller.inventory.findings import Finding
from controller.inventory.model import GLOBAL, Allocation, Inventory, Network, Prefix, network_order
from controller.inventory.rules_members import martian, nameless, unknown, unreadable


def _space(inventory: Inventory) -> tuple[Allocation | Prefix, ...]:
    return (*inventory.allocations, *inventory.prefixes)


def other_tenant(inventory: Inventory) -> Iterator[Finding]:
    used = [(each.label, each.tenant, "tenant") for each in (*_space(inventory), *inventory.assertions)]
    used += [(rule.label, rule.match.tenant, "match") for rule in inventory.rules]
    for label, tenant, field in used:
        if tenant != GLOBAL:
            message = f"tenant {tenant}: this release has only the tenant {GLOBAL}; leave the field out"
            yield Finding(label, "tenant-unknown", message, field=field)


def unroutable_space(inventory: Inventory) -> Iterator[Finding]:
    """Bogons, and what a default route, which is no space, cannot have."""
    for each in _space(inventory):
        if each.prefix.prefixlen == 0:
            yield from _more_than_a_default(each)
        elif (space := martian(each.prefix)) is not None:
            message = f"{each.prefix} touches {space}, which is never routed: declare other space"
            yield Finding(each.label, "martian", message, field="prefix")


def _more_than_a_default(each: Allocation | Prefix) -> Iterator[Finding]:
    if isinstance(each, Allocation) and each.longest:
        message = f"{each.prefix} is a default route and nothing else: leave longest out, and declare space by itself"
        yield Finding(each.label, "default-route", message, field="longest")
    if isinstance(each, Prefix) and each.first_hop is not None:
        message = f"{each.prefix} is a default route, which is in no LAN: leave first_hop out"
        yield Finding(each.label, "default-route", message, field="first_hop")


def allocation_on_segment(inventory: Inventory) -> Iterator[Finding]:
    """The segment is on-link for everybody: a route inside it would cut gateways off from each other."""
    fabric = inventory.fabric
    segments = [each for each in (fabric.segment, fabric.segment6) if each is not None] if fabric is not None else []
    for each in inventory.allocations:
        if each.prefix.prefixlen == 0:
            continue  # A default route is no space.
        for segment in segments:
            if segment.overlaps(each.prefix):
                message = f"{each.prefix} overlaps the segment {segment}: sites need other space than the uplinks"
                yield Finding(each.label, "allocation-on-segment", message, field="prefix")


def overlapping_allocations(inventory: Inventory) -> Iterator[Finding]:
    """Between sites, but for anycast; within one site a longer one may stand inside a shorter one.

    A default route overlaps nothing but the same one of another site.
    """
    for defaults in (True, False):
        yield from _overlapping(each for each in inventory.allocations if (each.prefix.prefixlen == 0) == defaults)


def _overlapping(allocations: Iterable[Allocation]) -> Iterator[Finding]:
    """One sweep in address order: `around` holds the allocations that the current one may stand in."""
    around: list[Allocation] = []
    for each in sorted(allocations, key=lambda each: (each.tenant, network_order(each.prefix), each.site)):
        while around and not _inside(each, around[-1]):
            around.pop()
        strangers = (other for other in reversed(around) if other.site != each.site and not _shared(each, other))
        if (outer := next(strangers, None)) is not None:
            code, why = _overlap(each, outer)
            message = f"{each.prefix} overlaps {outer.prefix} of site {outer.site}: {why}"
            yield Finding(each.label, code, message, field="prefix")
        # Of those that share a prefix two are enough: whatever stands inside them is a stranger to one of the two.
        if not all(_shared(each, other) for other in around[-2:]) or len(around) < 2:
            around.append(each)


def _shared(one: Allocation, other: Allocation) -> bool:
    """Anycast: the very same prefix of several sites, and all of them say so."""
    return one.anycast and other.anycast and one.prefix == other.prefix and one.tenant == other.tenant


def _overlap(each: Allocation, outer: Allocation) -> tuple[str, str]:
    """Code, and the way out."""
    if not (each.anycast or outer.anycast):
        return "allocation-overlap", "address space belongs to one site; move or shrink one of them"
    if each.prefix != outer.prefix:
        return "anycast-mismatch", "anycast is one prefix, the same at every site; give all of them the same"
    plain = outer if each.anycast else each
    return "anycast-mismatch", f"all sites of an anycast prefix say so; set anycast: true at site {plain.site} too"


def _inside(inner: Allocation, outer: Allocation) -> bool:
    """For allocations in sweep order: `outer` starts no later than `inner`."""
    return (
        inner.tenant == outer.tenant
        and inner.prefix.version == outer.prefix.version
        and int(inner.prefix.network_address) <= int(outer.prefix.broadcast_address)
    )


class _Space:
    """One site's allocations in one tenant: what covers a prefix, in one look-up per mask length in use."""

    def __init__(self) -> None:
        self.longest: dict[tuple[int, int, int], int] = {}
        self.lengths: dict[int, set[int]] = defaultdict(set)

    def add(self, allocation: Allocation) -> None:
        order = network_order(allocation.prefix)
        self.longest[order] = allocation.longest
        self.lengths[order[0]].add(order[2])

    def covering(self, prefix: Network) -> list[int]:
        """`longest` of every allocation that covers `prefix`. A default route covers only itself."""
        version, address, length = network_order(prefix)
        bits = prefix.max_prefixlen
        lengths = [n for n in self.lengths[version] if n <= length and bool(n) == bool(length)]
        masked = ((version, address >> (bits - n) << (bits - n), n) for n in lengths)
        return [self.longest[order] for order in masked if order in self.longest]


def prefix_not_allocated(inventory: Inventory) -> Iterator[Finding]:
    """What a hub would refuse is refused here first."""
    spaces: dict[tuple[str, str], _Space] = defaultdict(_Space)
    for each in inventory.allocations:
        spaces[each.site, each.tenant].add(each)
    lost = unreadable(inventory, "allocation")
    unknown_space = {key.partition("/")[0] for key in lost}
    known = {site.name for site in inventory.sites} - unknown_space
    for prefix in inventory.prefixes:
        if nameless(lost) or prefix.site not in known:
            continue
        covering = spaces[prefix.site, prefix.tenant].covering(prefix.prefix)
        if not covering:
            message = f"{prefix.prefix} is in no allocation of site {prefix.site}: allocate it there first"
            yield Finding(prefix.label, "prefix-not-allocated", message, field="prefix")
        elif prefix.prefix.prefixlen > max(covering):
            message = (
                f"{prefix.prefix} is longer than /{max(covering)}, the longest that its allocation allows:"
                ' raise "longest" there, or announce a shorter prefix'
            )
            yield Finding(prefix.label, "prefix-too-long", message, field="prefix")


def prefix6_without_segment6(inventory: Inventory) -> Iterator[Finding]:
    fabric = inventory.fabric
    if fabric is None or fabric.segment6 is not None:
        return
    for each in inventory.prefixes:
        if each.prefix.version == 6:
            message = f"{each.prefix} has no IPv6 next hop, for the fabric has no segment6: declare one"
            yield Finding(each.label, "prefix6-without-segment6", message, field="prefix")


def wrong_gateway(inventory: Inventory) -> Iterator[Finding]:
    """The gateways that a prefix names are of its site."""
    sites = {gateway.name: gateway.site for gateway in inventory.gateways}
    named = [(prefix, name) for prefix in inventory.prefixes for name in prefix.gateways]
    yield from unknown(inventory, ((prefix.label, name) for prefix, name in named), sites, "gateway", "gateways")
    for prefix, name in named:
        if sites.get(name, prefix.site) != prefix.site:
            message = (
                f"gateway {name} is of site {sites[name]}, not {prefix.site}: only its own gateways can announce it"
            )
            yield Finding(prefix.label, "gateway-of-another-site", message, field="gateways")


def space_on_underlay(inventory: Inventory) -> Iterator[Finding]:
    """What covers an address that ZeroTier runs over, or is inside, would capture its packets: hubs refuse it, but
    for a wider prefix that is declared as an allocation itself."""
    fabric = inventory.fabric
    if fabric is None:
        return
    for underlay in fabric.underlay:
        if underlay.prefixlen == 0:
            message = f"{underlay} is everything, so nothing could be announced: name the addresses that are meant"
            yield Finding(fabric.label, "default-route", message, field="underlay")
            continue
        for field, segment in (("segment", fabric.segment), ("segment6", fabric.segment6)):
            if segment is not None and underlay.overlaps(segment):
                message = f"{underlay} overlaps the {field} {segment}: ZeroTier runs over other addresses than its own"
                yield Finding(fabric.label, "underlay-overlap", message, field="underlay")
        yield from _on_underlay(inventory, underlay)


def _on_underlay(inventory: Inventory, underlay: Network) -> Iterator[Finding]:
    """An allocation may be around it: its other prefixes can be announced."""
    declared = {(each.site, each.tenant, each.prefix) for each in inventory.allocations}
    refused: list[Allocation | Prefix] = [
        each
        for each in inventory.prefixes
        if each.prefix.prefixlen and each.prefix.overlaps(underlay)
        if _is_part(each.prefix, underlay) or (each.site, each.tenant, each.prefix) not in declared
    ]
    refused += [each for each in inventory.allocations if _is_part(each.prefix, underlay)]
    for each in refused:
        way_out = _way_out(each.prefix, underlay)
        message = f"{each.prefix} and the underlay {underlay} overlap, so hubs refuse it: {way_out}"
        yield Finding(each.label, "underlay-overlap", message, field="prefix")


def _way_out(prefix: Network, underlay: Network) -> str:
    return "use other space" if _is_part(prefix, underlay) else "use other space, or allocate this very prefix"


def _is_part(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.overlaps(outer) and inner.prefixlen >= outer.prefixlen
