"""Things that may fail, by name, and what goes down with each: a graph from providers and regions down to uplinks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller.inventory.fields import closest
from controller.inventory.model import Inventory, uplink_key

if TYPE_CHECKING:
    import networkx

KINDS = ("gateway", "uplink", "client", "site", "hub", "region", "provider")
"""Of a name as in `gateway:berlin-1`. A client is named as such; an uplink is GATEWAY/UPLINK."""

LEAVES = frozenset({"uplink", "client"})


class NoSuchThing(ValueError):
    """A name that means nothing, or more than one thing."""


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """`gateway:berlin-1`"""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class Failures:
    """What can fail in one inventory. Whatever stands on something that fails fails with it."""

    def __init__(self, inventory: Inventory) -> None:
        self._graph = _dependents(inventory)
        self._by_name: dict[str, list[Thing]] = {}
        for thing in sorted(self._graph):
            self._by_name.setdefault(thing.name, []).append(thing)

    def things(self, kind: str = "") -> list[Thing]:
        """All, or all of a kind, by kind and name. A hub is a gateway too, and stands in the whole list once."""
        if kind:
            return sorted(thing for thing in self._graph if thing.kind == kind)
        return sorted(thing for thing in self._graph if thing.kind != "hub")

    def named(self, text: str) -> Thing:
        """`gateway:berlin-1`, or a bare name that means one thing. Raises NoSuchThing with the way out."""
        kind, colon, name = text.partition(":")
        if colon:
            if kind not in KINDS:
                raise NoSuchThing(f"{text!r}: there are no things of kind {kind!r}; there are {', '.join(KINDS)}")
            thing = Thing(kind, name)
            if thing not in self._graph:
                raise NoSuchThing(
                    f"there is no {kind} {name!r}{closest(name, [each.name for each in self.things(kind)])}"
                )
            return thing
        # Who says the name of a hub means the gateway: it is the same thing twice.
        found = [thing for thing in self._by_name.get(text, ()) if thing.kind != "hub"]
        if not found:
            raise NoSuchThing(f"there is nothing named {text!r}{closest(text, sorted(self._by_name))}")
        if len(found) > 1:
            raise NoSuchThing(f"{text!r} can be {' or '.join(map(str, found))}: say which")
        return found[0]

    def fallen(self, things: Iterable[Thing]) -> frozenset[str]:
        """Keys of the uplinks and clients that are gone when these things are."""
        from networkx import descendants

        gone: set[Thing] = set()
        for thing in things:
            gone |= {thing, *descendants(self._graph, thing)}
        return frozenset(thing.name for thing in gone if thing.kind in LEAVES)


def _dependents(inventory: Inventory) -> networkx.DiGraph[Thing]:
    from networkx import DiGraph  # It takes 0.2 s, which only those who ask should pay.

    graph: networkx.DiGraph[Thing] = DiGraph()
    graph.add_nodes_from(Thing("region", each.name) for each in inventory.regions)
    for site in inventory.sites:
        graph.add_edge(Thing("region", site.region), Thing("site", site.name))
        if site.provider:
            graph.add_edge(Thing("provider", site.provider), Thing("site", site.name))
    for gateway in inventory.gateways:
        thing = Thing("gateway", gateway.name)
        graph.add_edge(Thing("site", gateway.site), thing)
        if gateway.role == "hub":
            graph.add_edge(Thing("hub", gateway.name), thing)
        graph.add_edges_from((thing, Thing("uplink", uplink_key(gateway, each))) for each in gateway.uplinks)
    for client in inventory.clients:
        graph.add_edge(Thing("site", client.site), Thing("client", client.name))
    return graph
