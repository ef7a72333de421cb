"""The rules of a sound fabric. Each is a generator; all are asked; everything wrong is said at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controller.inventory.findings import Finding
from controller.inventory.model import Inventory

Rule = Callable[[Inventory], Iterator[Finding]]


def no_fabric(inventory: Inventory) -> Iterator[Finding]:
    """Without a segment and an AS number there is nothing to compile."""
    if inventory.fabric is None and "fabric" not in inventory.broken:
        yield Finding("fabric", "fabric-missing", "no fabric is declared: add its name, asn and segment")


RULES: tuple[Rule, ...] = (no_fabric,)


def check(inventory: Inventory) -> list[Finding]:
    """All that is wrong with an allocated inventory; [] means that it can be compiled."""
    return [finding for rule in RULES for finding in rule(inventory)]
