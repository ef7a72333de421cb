"""What a hub has by BGP of what gateways are declared to announce: the hub is asked, now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from controller.client.errors import NoAnswer, Refused
from controller.inventory.model import Gateway, Inventory, residents

Ask = Callable[[str, str], Sequence[Mapping[str, Any]]]
"""Hub, prefix -> every path that it has to it, as `leyline show routes`. Raises NoAnswer and Refused."""


def lacking(
    inventory: Inventory, targets: Collection[Any], hubs: Iterable[str], ask: Ask
) -> dict[str, frozenset[str]] | None:
    """Gateway -> its declared prefixes around or inside `targets` that a hub has no path to by way of it.

    The first hub that answers is believed: what a client announces reaches all of them. None when none answers.
    """
    asked = list(_announced(inventory, targets))
    for hub in hubs:
        found: dict[str, set[str]] = {}
        try:
            for prefix, gateways in asked:
                paths = ask(hub, prefix)
                for gateway in gateways:
                    if not any(_by_way_of(gateway, hub, path) for path in paths):
                        found.setdefault(gateway.name, set()).add(prefix)
        except (NoAnswer, Refused):
            continue
        return {name: frozenset(prefixes) for name, prefixes in found.items()}
    return None


def _announced(inventory: Inventory, targets: Collection[Any]) -> Iterator[tuple[str, list[Gateway]]]:
    """(prefix, who is declared to announce it), each prefix once."""
    gateways, at_site = {each.name: each for each in inventory.gateways}, residents(inventory)
    found: dict[str, set[str]] = {}
    for prefix in inventory.prefixes:
        if any(each.version == prefix.prefix.version and each.overlaps(prefix.prefix) for each in targets):
            found.setdefault(str(prefix.prefix), set()).update(prefix.gateways or at_site.get(prefix.site, ()))
    return ((prefix, [gateways[name] for name in sorted(names)]) for prefix, names in found.items())


def _by_way_of(gateway: Gateway, hub: str, path: Mapping[str, Any]) -> bool:
    """What the hub refuses, or keeps only until the session is back, is no way."""
    if path["rejected"] or path["stale"]:
        return False
    addresses = {str(each) for uplink in gateway.uplinks for each in (uplink.address, uplink.address6) if each}
    return path["next_hop"] in addresses or (gateway.name == hub and path["from"] == "local")
