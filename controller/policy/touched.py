"""Whose plan a change can move: what is not named here need not be compiled again."""

from __future__ import annotations

from collections.abc import Iterable

from controller.inventory.model import Host, Inventory, Object, Prefix


def touched(changed: Iterable[Object], inventory: Inventory) -> frozenset[str] | None:
    """Names of the gateways of `inventory` whose plans can differ from those before; None: any may.

    `changed`: what came, what went, and what is another now, before and after. A prefix is in the plans of the
    gateways that announce it and in nobody else's: hubs know allocations only. A host is in no plan.
    Anything else may be in every plan.
    """
    sites: set[str] = set()
    named: set[str] = set()
    for each in changed:
        if isinstance(each, Host):
            continue
        if not isinstance(each, Prefix):
            return None
        sites.add(each.site)
        named.update(each.gateways)
    return frozenset(each.name for each in inventory.gateways if each.site in sites or each.name in named)
