"""Two uplinks on one segment, and a neighbour that took the wrong one's word before our agent came."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from speaker import plan as p
from tests.netns.namespaces import segment, veth, wait_until
from tests.netns.speakers import Speaker, address, plan_of, to_hub

pytestmark = pytest.mark.root

HUB, FIRST, SECOND = 1, 8, 9


def test_who_believed_the_other_uplink_is_corrected_when_the_agent_starts(tmp_path: Path) -> None:
    """Else BFD to the first one never comes up, while TCP, answered whichever way it came, keeps the wrong entry."""
    with segment("arp", {"gateway": [f"{address(FIRST)}/16"], "hub": [f"{address(HUB)}/16"]}) as members:
        gateway, hub = members["gateway"], members["hub"]
        veth(gateway, "eth1", [f"{address(SECOND)}/16"], hub, "cable", ())
        first, second = (gateway.run("cat", f"/sys/class/net/{name}/address").strip() for name in ("eth0", "eth1"))
        hub.run("ip", "neigh", "replace", address(FIRST), "lladdr", second, "nud", "reachable", "dev", "eth0")
        # And the gateway need not ask: its own request would correct the entry, too.
        known = hub.run("cat", "/sys/class/net/eth0/address").strip()
        for name in ("eth0", "eth1"):
            gateway.run("ip", "neigh", "replace", address(HUB), "lladdr", known, "nud", "permanent", "dev", name)
        one = plan_of("gateway", FIRST, [to_hub(FIRST, HUB)])
        other = p.UplinkPlan(SECOND, "second", "eth1", address(SECOND), None, "lte", 100, 0)
        speaker = Speaker(gateway, "gateway", tmp_path)
        speaker.start(replace(one, uplinks=(*one.uplinks, other)))

        def believed() -> str:
            return hub.run("ip", "neigh", "show", address(FIRST))

        try:
            wait_until(lambda: first in believed(), 20, lambda: believed() + speaker.evidence())
        finally:
            speaker.stop()
