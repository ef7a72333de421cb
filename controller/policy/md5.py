"""TCP MD5 keys (RFC 2385) of sessions. Pure: keys are made and kept elsewhere.

A key is a hub's, and every session that this hub waits for has it: those of its clients, and those of the hubs that
dial it. So both ends of a session name the same key without a word between them, and a new key of one hub
moves no session that another one waits for. Routers that are not ours go without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from msgspec.structs import replace

from controller.inventory.model import Inventory
from speaker.plan import Plan, SessionPlan

Key = TypeVar("Key")


def keyed(plan: Plan, keys: Mapping[str, str]) -> Plan:
    """`plan` with the key of each session. `keys`: hub -> key; a hub that is missing goes without."""
    if not keys:
        return plan
    return replace(plan, sessions=tuple(_keyed(plan.gateway, each, keys) for each in plan.sessions))


def _keyed(own: str, session: SessionPlan, keys: Mapping[str, str]) -> SessionPlan:
    # A router that is not ours is dialled, never waited for, and is no hub: it goes without.
    return replace(session, password=keys.get(own if session.passive else session.peer, ""))


def keys_after(
    keys: Mapping[str, Key],
    before: Inventory,
    after: Inventory,
    make: Callable[[], Key],
    renamed: tuple[str, str] | None = None,
) -> dict[str, Key]:
    """Hub -> key once the fabric has gone from `before` to `after`.

    A hub that comes has no sessions yet, so it has a key at once, where the fabric wants keys. One that is there
    keeps what it has: a key or none. To give it one, or to take it away, restarts its sessions, and that is done hub
    by hub. `renamed`: (old, new) name of a gateway.
    """
    names = dict([renamed] if renamed is not None else [])
    held = {names.get(name, name): key for name, key in keys.items()}
    former = {names.get(each.name, each.name) for each in before.gateways if each.role == "hub"}
    hubs = [each.name for each in after.gateways if each.role == "hub"]
    found = {name: held[name] for name in hubs if name in held}
    if after.fabric is not None and after.fabric.md5:
        found.update((name, make()) for name in hubs if name not in former)
    return found
