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


def kind_of(listening: Collection[str], surface: Collection[str], roots: Collection[str]) -> str:
    """How the service is seen from outside. All are "ADDRESS/PORT", the first two as `GET /status` lists them; `roots`:
    where those who answer now are reached.

    ZeroTier listens on up to three ports of each local address, and every peer that it hears directly tells it one
    outer address and port for each (node/SelfAwareness.cpp). More outer ones than local ones: the mapping depends on
    who is spoken to. No more than one local address has, as two or more see it: it does not. Else nobody can tell.
    """
    if not listening or not surface or not roots:
        return UNSEEN
    outer = set(surface) - set(listening)
    if not outer:
        return OPEN
    kinds = {_mapping(*(_of_version(each, six=six) for each in (listening, outer, roots))) for six in map(_six, outer)}
    return next(kind for kind in (DEPENDENT, UNSEEN, INDEPENDENT) if kind in kinds)


def _mapping(listening: Collection[str], outer: Collection[str], roots: Collection[str]) -> str:
    """All are of one IP version."""
    if listening and len(outer) > len(listening):
        return DEPENDENT
    ports = max(map(len, _ports(listening).values()), default=0)
    return INDEPENDENT if len(outer) <= ports and len(_ports(roots)) > 1 else UNSEEN


def _six(socket: str) -> bool:
    return ":" in socket


def _of_version(sockets: Iterable[str], *, six: bool) -> frozenset[str]:
    return frozenset(each for each in sockets if _six(each) is six)


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
