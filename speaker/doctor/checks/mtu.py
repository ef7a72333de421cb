"""Do interface, network and underlay carry what the plan says the segment carries?"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found


def check(facts: Facts) -> Iterator[Found]:
    if facts.plan is None or not facts.plan.mtu:
        return
    mtu = facts.plan.mtu
    for service in facts.services:
        if service.network_mtu and service.network_mtu != mtu:
            what = f"the network's MTU is {service.network_mtu}, and the plan says {mtu}"
            fix = "leyline segment sync sets it; restart zerotier-one if the interface keeps the old one"
            yield Found("error", f"uplink {service.uplink}", what, fix)
    for uplink in facts.plan.uplinks:
        interface = (facts.interfaces or {}).get(uplink.interface)
        if interface is not None and interface.mtu != mtu:
            what = f"interface {uplink.interface} has an MTU of {interface.mtu}, and the plan says {mtu}"
            fix = f"ip link set dev {uplink.interface} mtu {mtu}, and find what has set it otherwise"
            yield Found("warning", f"uplink {uplink.name}", what, fix)
    for path in facts.report.paths if facts.report is not None else ():
        if 0 < path.mtu < mtu:
            what = f"packets of more than {path.mtu} bytes do not arrive, and the segment's MTU is {mtu}"
            fix = f"set the fabric's mtu to {path.mtu} or less, or find what drops fragments on the underlay"
            yield Found("error", f"path to {path.address} by {path.uplink}", what, fix)
