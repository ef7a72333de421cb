"""Why a gateway that was let in has no address in the segment yet, as the gateway itself is told. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.inventory.model import Gateway, uplink_key


def kept_out(status: Mapping[str, Any], gateway: Gateway) -> str:
    """What stands in its way, and the way out; "" when nothing is known. `status`: as `GET /api/v1/segment` answers.

    Nothing of the ZeroTier service is told: who asks is a gateway, not an operator.
    """
    if status["condition"] == "unmanaged":
        members = [
            f"node {uplink.node_id} as {' and '.join(str(each) for each in (uplink.address, uplink.address6) if each)}"
            for uplink in gateway.uplinks
        ]
        return f"the controller does not keep network {status['network']}: authorise there by hand {', '.join(members)}"
    if status.get("error"):
        return (
            "the controller gets nothing done at the ZeroTier service, and goes on trying: `leyline segment show` says"
            " why"
        )
    held, nodes = status.get("held", {}), {uplink.node_id for uplink in gateway.uplinks}
    if mine := sorted(nodes & {each["node_id"] for each in held.get("members", ())}):
        return f"{', '.join(mine)} was a member before, and is held: leyline segment adopt {' '.join(mine)}"
    if held.get("network"):
        return "the network's settings were somebody else's, and are held: leyline segment adopt --network"
    labels = {f"uplink {uplink_key(gateway, uplink)}" for uplink in gateway.uplinks}
    for each in _items(status, "conflicts"):
        if each["object"] in labels:
            return f"{each['address']} is also the address of member {each['holder']}: change one of them"
    for each in _items(status, "failures"):
        if each["object"] in labels:
            return f"the ZeroTier service did not take it ({each['message']}): `leyline segment show` says more"
    return ""


def _items(status: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = status.get(name, {}).get("items", [])
    return found
