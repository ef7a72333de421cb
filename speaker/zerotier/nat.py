"""What the NAT in front of a ZeroTier service does to its ports, from the addresses that others see. Pure.

A NAT that gives one local port another outer port for each destination (address-dependent mapping, RFC 4787 4.1) keeps
ZeroTier from telling anybody where to send: such paths are relayed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple

UNSEEN, OPEN, INDEPENDENT, DEPENDENT = "unknown", "none", "endpoint-independent", "address-dependent"
KINDS = (OPEN, INDEPENDENT, DEPENDENT)


def kind_of(listening: Collection[str], surface: Collection[str]) -> str:
    """How the service is seen from outside. Both are "ADDRESS/PORT" as `GET /status` lists them.

    ZeroTier listens on up to three ports of each local address. More outer ports than local ones under one address:
    the mapping depends on who is spoken to.
    """
    if not listening or not surface:
        return UNSEEN
    if set(surface) <= set(listening):
        return OPEN
    local_ports = max(len(ports) for ports in _ports(listening).values())
    outer = _ports(set(surface) - set(listening))
    return DEPENDENT if any(len(ports) > local_ports for ports in outer.values()) else INDEPENDENT


def _ports(sockets: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for each in sockets:
        address, _, port = each.partition("/")
        found[address].add(port)
    return found


class Nat(NamedTuple):
    """What it is, what it was before, and when that changed (Unix time). `before` is "" until it changes."""

    kind: str
    before: str = ""
    since: float = 0.0


def noted(known: Nat | None, kind: str, now: float) -> Nat:
    """What is known after one more look. What cannot be seen changes nothing."""
    if known is None or known.kind == UNSEEN:
        return Nat(kind)
    if kind in (UNSEEN, known.kind):
        return known
    return Nat(kind, known.kind, now)
