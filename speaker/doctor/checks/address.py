"""Has each uplink its overlay address, and nobody else the same?"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found
from speaker.mac import node_of
from speaker.plan import UplinkPlan


def check(facts: Facts) -> Iterator[Found]:
    if facts.plan is None:
        return
    for uplink in facts.plan.uplinks:
        where = f"uplink {uplink.name}"
        for text in (uplink.address, uplink.address6):
            if text is None:
                continue
            interface = (facts.interfaces or {}).get(uplink.interface)
            if interface is not None and ip_address(text) not in {ip_address(each) for each in interface.addresses}:
                what = f"{text} is not on interface {uplink.interface}"
                yield Found("error", where, what, _way_out(facts, uplink, text))
            if macs := facts.answering.get(text):
                named = ", ".join(_named(mac, facts.plan.network) for mac in macs)
                what = f"{text} is also answered for by {named}: a duplicate address"
                fix = "take it from that member (ip address del there, and leyline segment show says whether ZeroTier \
assigns it), or give one of the two another address"
                yield Found("error", where, what, fix)


def _way_out(facts: Facts, uplink: UplinkPlan, text: str) -> str:
    """Of an address that is missing: whether ZeroTier has it to give."""
    given = {
        each.partition("/")[0]
        for service in facts.services
        if service.uplink == uplink.name
        for each in service.addresses
    }
    if text not in given:
        return "see leyline segment show: ZeroTier's controller has to assign it"
    if ip_address(text).version == 6:
        return f"ZeroTier has assigned it: is net.ipv6.conf.{uplink.interface}.disable_ipv6 set?"
    return "ZeroTier has assigned it: see what takes it away there, then restart zerotier-one"


def _named(mac: str, network: str) -> str:
    """A member's MAC names its node."""
    node = node_of(bytes.fromhex(mac.replace(":", "")), network) if network else ""
    return f"{mac}, which is node {node}" if node else mac
