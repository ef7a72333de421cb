"""One of two uplinks loses its interface: Linux drops every route over it, and they go in again over the other one."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import pytest
from msgspec.structs import replace

from speaker import plan as p
from speaker.bgp.wire import end_of_rib
from speaker.rib.prefix import Family
from tests.interop import tinybgp
from tests.netns.namespaces import Namespace, pair, veth, wait_until
from tests.netns.speakers import ASN, PATIENCE, Speaker, address, plan_of, to_hub, updates, within

pytestmark = pytest.mark.root

HUB, SPOKE, OTHER = 1, 2, 3
COUNT = 20_000
ROUTES = [f"{IPv4Address('20.1.0.0') + 128 * number}/25" for number in range(COUNT)]
PROBE = "20.1.0.1"
HOLD_SECONDS = 90  # The session shall outlive the link.
SECONDS = 1.5
"""It took 0.3 s, and 1.1 s with 100,000 routes: this grows with their number (docs/liveness.md)."""


def two_uplinks() -> p.Plan:
    plan = plan_of("spoke", SPOKE, [to_hub(SPOKE, HUB, HOLD_SECONDS)])
    (first,) = plan.uplinks
    second = replace(first, number=OTHER, name="second", interface="eth1", address=address(OTHER))
    return replace(plan, uplinks=(first, second))


def installed(node: Namespace) -> int:
    """IPv4 prefixes in its main table. Cheap, whatever their number."""
    found = re.search(r"Main:.*?Prefixes:\s+(\d+)", node.run("cat", "/proc/net/fib_triestat"), re.DOTALL)
    return int(found[1]) if found else 0


def test_routes_follow_to_the_other_uplink_and_no_declared_one_to_the_default_route() -> None:
    own = tinybgp.Speaker(ASN, address(HUB), (Family.IPV4,), add_path=(), hold_time=HOLD_SECONDS, restart_time=120)
    with (
        TemporaryDirectory(prefix="ll-uplinks-") as name,
        pair("uplinks", [f"{address(HUB)}/16"], [f"{address(SPOKE)}/16"]) as (far, near),
        tinybgp.listening(far.name, address(HUB), own) as accept,
    ):
        veth(near, "eth1", [f"{address(OTHER)}/16"], far, "eth1", ())
        veth(near, "wan0", (), far, "wan0", ())
        near.run("ip", "route", "add", "default", "dev", "wan0")
        spoke = Speaker(near, "spoke", Path(name))
        spoke.start(two_uplinks())
        with accept(PATIENCE) as hub:
            hub.send(*updates(HUB, ROUTES), end_of_rib(Family.IPV4))
            wait_until(lambda: spoke.has(ROUTES) and spoke.settled(HUB), PATIENCE, spoke.evidence)
            seen = set()

            def way() -> str:
                said = near.run("ip", "route", "get", PROBE, check=False)
                found = said.split(" dev ")[1].split()[0] if " dev " in said else "unreachable"
                seen.add(found)
                return found

            assert way() == "eth0"
            limit, started = within(SECONDS), monotonic()
            far.run("ip", "link", "set", "eth0", "down")  # The far end of the cable: it is carrier that is lost.
            wait_until(lambda: way() == "eth1", PATIENCE, spoke.evidence, interval=0.002)
            wait_until(lambda: installed(near) > COUNT, PATIENCE, spoke.evidence, interval=0.01)
            taken = monotonic() - started
            assert "wan0" not in seen
            assert spoke.has(ROUTES)
    assert taken < limit, f"{taken:.2f} s"
