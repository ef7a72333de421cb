"""What a gateway is told that the segment does not let in: of itself, with the way out, and nothing of the service."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from controller.inventory.model import Gateway, Uplink
from controller.segment_admission import kept_out

GATEWAY = Gateway(
    "roof", "berlin", "spoke",
    (
        Uplink("main", "e000000001", "zt0", "gold", 1, IPv4Address("10.42.0.9"), IPv6Address("fd42::9")),
        Uplink("lte", "e000000002", "zt1", "dark", 2, IPv4Address("10.42.0.10")),
    ),
)  # fmt: skip
SETTLED: dict[str, Any] = {
    "network": "8056c2e21c000001",
    "condition": "settled",
    "reason": "",
    "error": "",
    "failures": {"total": 0, "items": []},
    "held": {"network": [], "total": 0, "members": []},
    "conflicts": {"total": 0, "items": []},
}


def held(*members: str, network: tuple[str, ...] = ()) -> dict[str, Any]:
    rows = [{"node_id": each, "object": "?", "differs": ["addresses"]} for each in members]
    return {"condition": "held", "held": {"network": list(network), "total": len(rows), "members": rows}}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({}, ""),
        ({"condition": "waiting"}, ""),
        (
            {"condition": "unmanaged", "reason": "no ZeroTier service is configured"},
            "the controller does not keep network 8056c2e21c000001: authorise there by hand node e000000001 as"
            " 10.42.0.9 and fd42::9, node e000000002 as 10.42.0.10",
        ),
        (
            {"condition": "failing", "error": "http://127.0.0.1:9993 does not accept the token"},
            "the controller gets nothing done at the ZeroTier service, and goes on trying: `leyline segment show` says"
            " why",
        ),
        (held("e000000002"), "e000000002 was a member before, and is held: leyline segment adopt e000000002"),
        (held("f000000001"), ""),
        (
            held(network=("mtu",)),
            "the network's settings were somebody else's, and are held: leyline segment adopt --network",
        ),
        (
            {"conflicts": {"items": [{"object": "uplink roof/lte", "address": "10.42.0.10", "holder": "c1b2c3d4e5"}]}},
            "10.42.0.10 is also the address of member c1b2c3d4e5: change one of them",
        ),
        ({"conflicts": {"items": [{"object": "host nas", "address": "10.42.0.10", "holder": "c1b2c3d4e5"}]}}, ""),
        (
            {"condition": "failing", "failures": {"items": [{"object": "uplink roof/main", "message": "no"}]}},
            "the ZeroTier service did not take it (no): `leyline segment show` says more",
        ),
        ({"condition": "failing", "failures": {"items": [{"object": "host nas", "message": "no"}]}}, ""),
    ],
)
def test_what_keeps_a_gateway_out(status: dict[str, Any], says: str) -> None:
    assert kept_out(SETTLED | status, GATEWAY) == says


def test_before_the_first_pass_nothing_is_known() -> None:
    assert kept_out({"network": "8056c2e21c000001", "condition": "waiting", "reason": ""}, GATEWAY) == ""
