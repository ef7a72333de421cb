"""By which of its own uplinks a gateway sends, as its kernel says for every prefix that it has a route to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import ip_network

from lab.compare import installed
from lab.scenarios.te.explained import routes_got
from lab.scenarios.te.world import World

BEST = {"berlin-1": "zt0", "paris-1": "zt0", "denver-1": "zt1", "sydney-1": "zt1"}
"""Of those with two: fibre before LTE, and LTE before satellite, though that is declared first."""
SETTLE_SECONDS = 10.0


def all_send_by_the_best(world: World) -> None:
    run = world.run
    run.step("a gateway with two uplinks sends by the better one, whichever is declared first")
    settle(world, "fibre before LTE, LTE before satellite, for every prefix in both families", BEST, SETTLE_SECONDS)


def settle(
    world: World, what: str, wanted: Mapping[str, str], seconds: float, since: float | None = None,
    only: Collection[str] = (),
) -> float:  # fmt: skip
    """Seconds until each of these gateways sends everything, or to these prefixes `only`, by that interface.

    Raises Unmet.
    """
    return world.run.wait_until(
        what, lambda: not wrong(world, wanted, only), seconds, lambda: "\n".join(wrong(world, wanted, only)), since
    )


def wrong(world: World, wanted: Mapping[str, str], only: Collection[str] = ()) -> list[str]:
    found = []
    for name, interface in wanted.items():
        devices = {prefix: device for prefix, device in departures(world, name).items() if not only or prefix in only}
        found += [f"{name}: {p} leaves by {dev}, not {interface}" for p, dev in devices.items() if dev != interface]
        if not devices:
            found.append(f"{name} has no routes")
    return found


def departures(world: World, gateway: str) -> dict[str, str]:
    """prefix -> the interface that packets to it leave by."""
    node = world.node(gateway)
    addresses = {str(ip_network(prefix)[10]): prefix for prefix in installed(node)}
    return {addresses[address]: got.device for address, got in routes_got(node, list(addresses)).items()}
