"""The uplink goes and comes back: Linux drops every route with it, and says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from speaker.bgp.wire import end_of_rib
from speaker.rib.prefix import Family
from tests.interop import tinybgp
from tests.netns.namespaces import Namespace, pair, veth, wait_until
from tests.netns.speakers import ASN, PATIENCE, Speaker, address, plan_of, to_hub, updates, within

pytestmark = pytest.mark.root

HUB, SPOKE, COUNT = 1, 2, 5000
ROUTES = [f"20.{1 + number // 256}.{number % 256}.0/24" for number in range(COUNT)]
HOLD_SECONDS = 90  # The session shall outlive the link, for what is asked here is the kernel.


@dataclass
class Chain:
    far: Namespace
    spoke: Speaker
    hub: tinybgp.Session


@pytest.fixture
def chain() -> Iterator[Chain]:
    """A tiny hub with 5,000 routes, and a spoke."""
    own = tinybgp.Speaker(ASN, address(HUB), (Family.IPV4,), add_path=(), hold_time=HOLD_SECONDS, restart_time=120)
    with (
        TemporaryDirectory(prefix="ll-agent-") as name,
        pair("agent", [f"{address(HUB)}/16"], [f"{address(SPOKE)}/16"]) as (far, near),
        tinybgp.listening(far.name, address(HUB), own) as accept,
    ):
        spoke = Speaker(near, "spoke", Path(name))
        spoke.start(plan_of("spoke", SPOKE, [to_hub(SPOKE, HUB, HOLD_SECONDS)]))
        with accept(PATIENCE) as hub:
            hub.send(*updates(HUB, ROUTES), end_of_rib(Family.IPV4))
            wait_until(lambda: spoke.has(ROUTES) and spoke.settled(HUB), PATIENCE, spoke.evidence)
            yield Chain(far, spoke, hub)


def test_uplink_down_and_up(chain: Chain) -> None:
    spoke = chain.spoke
    spoke.namespace.run("ip", "link", "set", "eth0", "down")
    wait_until(lambda: not spoke.report()["uplinks"][0]["up"], PATIENCE, spoke.evidence)
    assert spoke.kernel() == {}
    wait_until(lambda: spoke.report()["kernel"]["routes"]["ipv4"] == 0, PATIENCE, spoke.evidence)
    spoke.namespace.run("ip", "link", "set", "eth0", "up")
    limit = within(2)
    taken = wait_until(lambda: spoke.has(ROUTES), PATIENCE, spoke.evidence)
    assert taken < limit, f"{taken:.1f} s"
    wait_until(lambda: spoke.settled(HUB), PATIENCE, spoke.evidence)
    assert chain.hub.closed == "", "the session outlives it"


def test_uplink_deleted_and_made_again(chain: Chain) -> None:
    """Same name, same address, another index, as when ZeroTier is restarted."""
    spoke = chain.spoke
    spoke.namespace.run("ip", "link", "del", "eth0")
    wait_until(lambda: not spoke.report()["uplinks"][0]["up"], PATIENCE, spoke.evidence)
    assert spoke.kernel() == {}
    assert spoke.report()["sessions"][0]["received"]["ipv4"] == COUNT, "paths are not lost with the link"

    veth(spoke.namespace, "eth0", [f"{address(SPOKE)}/16"], chain.far, "eth0", [f"{address(HUB)}/16"])
    limit = within(2)
    taken = wait_until(lambda: spoke.has(ROUTES), PATIENCE, spoke.evidence)
    assert taken < limit, f"{taken:.1f} s"
    assert set(spoke.kernel().values()) == {address(HUB)}
    rp_filter = spoke.namespace.run("sysctl", "-n", "net.ipv4.conf.eth0.rp_filter").strip()
    assert rp_filter == "2", "the new interface has its sysctls"
    wait_until(lambda: spoke.report()["converged"] is True, PATIENCE, spoke.evidence)
    assert "Traceback" not in spoke.log(), spoke.evidence()


def test_many_flaps_end_right(chain: Chain) -> None:
    """Down and up twenty times, faster than routes can follow."""
    spoke = chain.spoke
    flaps = "ip link set eth0 down; ip link set eth0 up; " * 20
    spoke.namespace.run("sh", "-c", flaps)
    wait_until(lambda: spoke.has(ROUTES) and spoke.settled(HUB), PATIENCE, spoke.evidence)
    assert spoke.report()["kernel"]["failed"] == 0
    assert "Traceback" not in spoke.log(), spoke.evidence()
