"""Does ZeroTier run over its own overlay?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

from speaker.doctor.facts import Facts, Service
from speaker.doctor.finding import Found
from speaker.zerotier.config import NEVER_BOUND
from speaker.zerotier.peers import Peer

HOW = "leyline speaker writes local.conf so: interfacePrefixBlacklist and physical blacklist; restart zerotier-one"
SEE = (
    "see `ip route get {address}`: if a route of protocol 76 leads there, add {address} to the fabric's underlay, so"
    " that none does; else "
)


def check(facts: Facts) -> Iterator[Found]:
    if facts.plan is None:
        return
    uplinks = {uplink.interface for uplink in facts.plan.uplinks}
    for service in facts.services:
        where = f"uplink {service.uplink}"
        for address in sorted({*_inside(facts.plan.segments, service.listening)}):
            yield Found("error", where, f"ZeroTier listens on {address}, on the segment itself", HOW)
        for node_id, physical in ((peer.node_id, each) for peer in service.peers for each in _paths(peer)):
            device = facts.underlay_devices.get(_host(physical))
            if device in uplinks or any(_inside(facts.plan.segments, (physical,))):
                through = device or "the segment"
                what = f"the path to {node_id} at {physical} leads through {through}: ZeroTier over itself"
                yield Found("error", where, what, f"{SEE.format(address=_host(physical))}remove it. {HOW}")
        yield from _cut_off(facts, service, where)
        yield from _unguarded(facts, service, where)


def _cut_off(facts: Facts, service: Service, where: str) -> Iterator[Found]:
    """Declared space that contains the address is `unreachable` here, beneath all routes, and no route came."""
    for peer in service.peers:
        address = _host(peer.physical)
        if not peer.heard and facts.underlay_devices.get(address) == "":
            what = f"no route leads to {address}, where ZeroTier reached {peer.node_id}: it is cut off"
            yield Found("error", where, what, f"{SEE.format(address=address)}put it right")


def _paths(peer: Peer) -> tuple[str, ...]:
    """Those that live; ZeroTier may send by any of them."""
    return peer.alive or ((peer.physical,) if peer.heard else ())


def _unguarded(facts: Facts, service: Service, where: str) -> Iterator[Found]:
    """A loop that is possible though it is not there now. A LAN that is the way out, too, has to stay ZeroTier's."""
    if service.error or facts.plan is None or not facts.plan.network:
        return
    lans = {each.interface for each in (facts.report.lans if facts.report else ()) if each.interface}
    lans -= {*facts.ways_out}
    never = (*NEVER_BOUND, *service.interface_blacklist)
    free = [name for name in sorted(lans) if not name.startswith(never) and not _listed(facts, service, name)]
    if free:
        what = f"ZeroTier may use the LAN interfaces {', '.join(free)}: other gateways' LANs would carry it in turn"
        yield Found("warning", where, what, HOW)


def _listed(facts: Facts, service: Service, name: str) -> bool:
    """Whether all addresses of the interface are on the list of physical networks to keep out of."""
    interface = (facts.interfaces or {}).get(name)
    addresses = interface.addresses if interface is not None else ()
    return bool(addresses) and len({*_inside(service.physical_blacklist, addresses)}) == len(addresses)


def _inside(prefixes: Iterable[str], sockets: Iterable[str]) -> Iterator[str]:
    networks = [ip_network(prefix, strict=False) for prefix in prefixes]
    for text in sockets:
        try:
            address = ip_address(_host(text))
        except ValueError:
            continue
        if any(address in network for network in networks):
            yield text


def _host(text: str) -> str:
    return text.partition("/")[0]
