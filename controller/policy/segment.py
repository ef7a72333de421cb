"""What plans say of the segment, when its ZeroTier network is the fabric's own business."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from controller.inventory.model import Client, Fabric, Gateway, Inventory, Moon, Uplink
from controller.policy.rejects import unguarded
from speaker.plan import PLAN_VERSION, MoonPlan, MoonSeedPlan, Plan

VERSION_WITHOUT_NETWORK: Final = 3
"""Of the plans of a fabric that leaves its segment to somebody else: nothing in them is newer."""


class Segment:
    """The fabric's network and moons."""

    def __init__(self, fabric: Fabric, inventory: Inventory) -> None:
        self.fabric = fabric
        gateways = {gateway.name: gateway for gateway in inventory.gateways}
        moons = sorted(inventory.moons, key=lambda moon: moon.name) if fabric.network else ()
        self.unguarded = tuple(map(str, unguarded(inventory)))
        self.moons = [(moon, seed_of(moon, gateways[moon.gateway])) for moon in moons]

    def filled(self, plan: Plan, gateway: Gateway) -> Plan:
        """`plan` with what its gateway must know of the segment; as it is when the segment is not ours."""
        fabric = self.fabric
        if not fabric.network:
            return plan
        own = (MoonSeedPlan(moon.name, seed.name, moon.endpoints) for moon, seed in self.moons_at(gateway, here=True))
        others = (
            MoonPlan(moon.name, world_of(seed), seed.node_id) for moon, seed in self.moons_at(gateway, here=False)
        )
        return replace(
            plan,
            version=PLAN_VERSION,
            network=fabric.network,
            mtu=fabric.mtu,
            mss_clamp=fabric.mss_clamp,
            permanent_neighbours=fabric.permanent_neighbours,
            orbit=tuple(others),
            moon=next(own, None),
            unguarded=self.unguarded,
            relayed_seconds=fabric.relayed_seconds,
            relayed_preference=fabric.relayed_preference if fabric.relayed_seconds else 0,
        )

    def moons_at(self, gateway: Gateway, *, here: bool) -> list[tuple[Moon, Uplink]]:
        return [(moon, seed) for moon, seed in self.moons if (moon.gateway == gateway.name) is here]


def seed_of(moon: Moon, gateway: Gateway) -> Uplink:
    """The uplink whose ZeroTier service is the moon's root."""
    return next((each for each in gateway.uplinks if each.name == moon.uplink), gateway.uplinks[0])


def world_of(seed: Uplink) -> str:
    """What `zerotier-idtool initmoon` names a world after: its first root."""
    return seed.node_id.rjust(16, "0")


def node_id(fabric: Fabric, attached: Uplink | Client) -> str:
    """What plans say of it: "" where it is not known, or nobody's business."""
    return (attached.node_id or "") if fabric.network else ""
