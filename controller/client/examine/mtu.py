"""Do network, members and underlay carry what the fabric says the segment carries?"""

from __future__ import annotations

from collections.abc import Iterator

from controller.client.examine.facts import Facts, Found, reports, stored


def check(facts: Facts) -> Iterator[Found]:
    mtu = facts.segment.get("mtu")
    if not facts.segment.get("network") or not mtu:
        return
    pending = (facts.segment.get("pending") or {}).get("network", ())
    if "mtu" in pending or "mtu" in (facts.segment.get("held") or {}).get("network", ()):
        what = f"its MTU is not {mtu}, as declared"
        fix = "leyline segment sync; leyline segment adopt --network, if somebody else has set it"
        yield Found("error", f"network {facts.segment['network']}", what, fix)
    for gateway, report in () if stored(facts.segment) else reports(facts):  # Else `delivery` says it.
        for service in report.get("zerotier", ()):
            if service["mtu"] and service["mtu"] != mtu:
                what = f"the network's interface has an MTU of {service['mtu']}, and the fabric says {mtu}"
                fix = "leyline segment sync; restart zerotier-one there if it keeps the old one"
                yield Found("error", f"{gateway}/{service['uplink']}", what, fix)
    for path in facts.paths:
        if path["mtu"] and path["mtu"] < mtu:
            what = f"packets of more than {path['mtu']} bytes do not arrive, and the segment's MTU is {mtu}"
            fix = f"set the fabric's mtu to {path['mtu']} or less, or find what drops fragments on the underlay"
            yield Found("error", f"{path['gateway']}/{path['uplink']} to {path['to']}", what, fix)
