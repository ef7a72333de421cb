"""Rules about rules and assertions: what they refer to is there, and they leave the fabric's own marks alone.

What a rule means (no effect, never reached) is for controller.policy to say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from controller.inventory.findings import Finding
from controller.inventory.model import Inventory, circuit_classes
from controller.inventory.rules_members import nameless, unknown, unreadable

REFERENCES = (
    ("sites", "site"),
    ("regions", "region"),
    ("gateways", "gateway"),
    ("circuit_classes", "circuit-class"),
    ("never_over", "circuit-class"),
)
"""Field of a match, viewer or assertion -> kind of what it names. Tags are declared by nobody."""


def unknown_names(inventory: Inventory) -> Iterator[Finding]:
    """A rule for a region that is not there would be a rule that quietly does nothing."""
    declared = _declared(inventory)
    users: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for label, part, holder in _holders(inventory):
        for field, kind in REFERENCES:
            users[kind, part or field] += ((label, name) for name in getattr(holder, field, ()))
    for (kind, field), named in users.items():
        if kind != "gateway" or not nameless(unreadable(inventory, "client")):
            yield from unknown(inventory, named, declared[kind], kind, field)


def _declared(inventory: Inventory) -> dict[str, Iterable[str]]:
    routers = {each.name for each in (*inventory.gateways, *inventory.clients)}
    return {
        "site": [each.name for each in inventory.sites],
        "region": [each.name for each in inventory.regions],
        "gateway": routers | unreadable(inventory, "client"),
        "circuit-class": circuit_classes(inventory),
    }


def _holders(inventory: Inventory) -> Iterator[tuple[str, str, Any]]:
    """(label, field of the object or "" for the object itself, what holds names)."""
    for rule in inventory.rules:
        yield rule.label, "match", rule.match
        if rule.viewer is not None:
            yield rule.label, "viewer", rule.viewer
    for assertion in inventory.assertions:
        yield assertion.label, "", assertion


def communities_of_the_fabric(inventory: Inventory) -> Iterator[Finding]:
    """They say where a path is from, and hubs alone set them: default deny rests on that."""
    if inventory.fabric is None:
        return
    own = f"{inventory.fabric.asn}:"
    for rule in inventory.rules:
        action = rule.action
        used = (("match", rule.match.communities), ("action", (*action.add_communities, *action.remove_communities)))
        for field, communities in used:
            for each in communities:
                if each.count(":") == 2 and each.startswith(own):
                    message = (
                        f"{each} is one of the large communities that hubs alone set: match by sites, regions, tags,"
                        " gateways or circuit_classes, and begin your own with another number than the fabric's AS"
                    )
                    yield Finding(rule.label, "community-reserved", message, field=field)
