"""What each gateway announces, and what it does in the LANs behind: probes and first hops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from controller.inventory.model import (
    GLOBAL,
    HIGHEST_PRIORITY,
    Gateway,
    Inventory,
    Network,
    Prefix,
    network_order,
    residents,
    vrid_of,
)
from speaker.plan import FirstHopPlan, ProbePlan


class Announced:
    """The prefixes of `gateways`, by gateway, in canonical order."""

    def __init__(self, inventory: Inventory, gateways: Iterable[Gateway]) -> None:
        self._by_gateway: dict[str, list[Prefix]] = defaultdict(list)
        self._priority: dict[str, dict[str, int]] = {}
        sites = {gateway.site for gateway in gateways}
        neighbours = tuple(each for each in inventory.gateways if each.site in sites)
        of_site = residents(replace(inventory, gateways=neighbours))
        theirs = [each for each in inventory.prefixes if each.site in sites and each.tenant == GLOBAL]
        for each in sorted(theirs, key=lambda each: network_order(each.prefix)):
            names = each.gateways or of_site.get(each.site, ())
            for name in names:
                self._by_gateway[name].append(each)
            if each.first_hop is not None:
                self._priority[each.key] = {name: HIGHEST_PRIORITY - n for n, name in enumerate(sorted(names))}

    def networks(self, gateway: Gateway) -> list[Network]:
        return [each.prefix for each in self._by_gateway.get(gateway.name, ())]

    def probes(self, gateway: Gateway) -> tuple[ProbePlan, ...]:
        return tuple(
            ProbePlan(
                prefix=str(each.prefix),
                kind=each.probe.kind,
                address=str(each.probe.address),
                port=each.probe.port,
                interval_ms=each.probe.interval_ms,
                multiplier=each.probe.multiplier,
            )
            for each in self._by_gateway.get(gateway.name, ())
            if each.probe is not None
        )

    def first_hops(self, gateway: Gateway, advert_ms: int) -> tuple[FirstHopPlan, ...]:
        """`advert_ms` becomes whole centiseconds, as VRRP counts them (RFC 9568 5.2.7)."""
        return tuple(
            FirstHopPlan(
                prefix=str(each.prefix),
                address=str(each.first_hop),
                vrid=vrid_of(each),
                priority=self._priority[each.key][gateway.name],
                advert_ms=min(max((advert_ms + 5) // 10 * 10, 10), 40_950),
            )
            for each in self._by_gateway.get(gateway.name, ())
            if each.first_hop is not None
        )
