"""Does each uplink's ZeroTier service answer, and is it on the plan's network?"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts, Service
from speaker.doctor.finding import Found

SILENT_SECONDS = 30.0
"""ZeroTier asks after every path each 14 s; a peer that is gone stays in its list for eight minutes."""


def check(facts: Facts) -> Iterator[Found]:
    network = facts.plan.network if facts.plan is not None else ""
    wanted = {uplink.name: uplink.node_id for uplink in facts.plan.uplinks} if facts.plan is not None else {}
    for service in facts.services:
        where = f"uplink {service.uplink}"
        if service.error:
            fix = "systemctl start zerotier-one, and see that the token file and port are those of this instance"
            yield Found("error", where, f"its ZeroTier service does not answer: {service.error}", fix)
            continue
        node_id = wanted.get(service.uplink, "")
        if node_id and service.node_id != node_id:
            fix = f"write node_id: {service.node_id} in the inventory, or bring the identity of {node_id} back"
            yield Found("error", where, f"its node is {service.node_id}, and the inventory says {node_id}", fix)
        if network:
            yield from _on(service, network, where)


def _on(service: Service, network: str, where: str) -> Iterator[Found]:
    controller = network[:10]
    status = service.network_status
    if status in ("", "NOT_FOUND"):
        gone = "the network does not exist any more" if status else "it has not joined the network"
        fix = f"see that {network} is the right network and exists, then zerotier-cli join {network}"
        yield Found("error", where, f"{network}: {gone}", fix)
    elif status == "ACCESS_DENIED":
        fix = "see leyline segment show: the controller has to authorise this node"
        yield Found("error", where, f"{network}: this node is not authorised", fix)
    elif status == "REQUESTING_CONFIGURATION":
        known = any(peer.node_id == controller for peer in service.peers)
        heard = "is known, and silent" if known else "is not to be found"
        fix = f"see that the ZeroTier service with node id {controller} runs, has a controller, and is reached"
        yield Found("error", where, f"{network}: no configuration comes; its controller {controller} {heard}", fix)
    elif status != "OK":
        yield Found(
            "error", where, f"{network}: {status}", "zerotier-cli listnetworks says the same; its log says more"
        )
    elif service.peers and controller != service.node_id and (since := _silence(service, controller)):
        what = f"{network}: its controller {controller} has not been heard {since}: no change of it reaches this node"
        yield Found("warning", where, what, f"see that the ZeroTier service with node id {controller} runs")


def _silence(service: Service, controller: str) -> str:
    """For how long the controller has been silent; "" when it is not, or is relayed: then only ZeroTier knows."""
    known = {peer.node_id: peer.silent_seconds for peer in service.peers}
    if controller not in known:
        return "of"
    return f"for {known[controller]:.0f} s" if known[controller] > SILENT_SECONDS else ""
