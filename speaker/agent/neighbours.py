"""Which next hops' MACs are known, and permanent entries for them on every uplink of this gateway."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from time import monotonic

import structlog

from speaker.kernel.neighbour_messages import Name
from speaker.kernel.neighbours import NeighbourOutcome, NeighbourTable
from speaker.mac import mac_of, node_of
from speaker.plan import Plan
from speaker.rib.facts import network_of_macs
from speaker.rib.hops import Hop, Hops

log = structlog.get_logger()

AUDIT_SECONDS = 60.0
RETRY_SECONDS = 10.0
MAX_ENTRIES = 16_384
"""Of all uplinks together. The next hops beyond are resolved by ARP and ND; those that the plan names come first."""

Macs = Mapping[bytes, bytes]
"""Overlay address -> MAC, in order of importance."""


def known_macs(plan: Plan, hops: Iterable[Hop]) -> Macs:
    """What `plan` says, and what hubs say of the next hops of paths. Pure.

    A MAC that is no member's is not believed, and of a next hop that is told about in two ways nothing is: ARP decides.
    """
    network = network_of_macs(plan)
    if not network:
        return {}
    own = {ip_address(text).packed for each in plan.uplinks for text in (each.address, each.address6) if text}
    found = {ip_address(text).packed: mac_of(node, network) for text, node in _planned(plan)}
    learnt: dict[bytes, set[bytes]] = {}
    for hop in hops:
        if hop.mac and hop.next_hop not in found and node_of(hop.mac, network):
            learnt.setdefault(hop.next_hop, set()).add(hop.mac)
    found |= {hop: macs.pop() for hop, macs in sorted(learnt.items()) if len(macs) == 1}
    return {address: mac for address, mac in found.items() if address not in own}


def _planned(plan: Plan) -> Iterator[tuple[str, str]]:
    """(overlay address, node id): hubs, and a hub's own clients."""
    for session in plan.sessions:
        ends = [(session.peer_node_id, session.peer_address, session.peer_address6)]
        ends += [
            (hop.node_id, hop.address, hop.address6) for hop in (session.imports.next_hops if session.imports else ())
        ]
        for node, *addresses in ends:
            yield from ((text, node) for text in addresses if text and node)


class Neighbours:
    """One call at a time. A kernel that refuses costs nothing but ARP."""

    def __init__(self, table: NeighbourTable | None = None) -> None:
        self.outcome = NeighbourOutcome()
        self._table = table or NeighbourTable()
        self._applied: object = None
        self._known: tuple[Plan, int, frozenset[bytes], Macs] | None = None
        self._audit_at = 0.0
        self._said: tuple[str, ...] = ()

    @property
    def due(self) -> float:
        """Seconds until the kernel is to be looked at again, whether anything moved or not."""
        return max(0.0, self._audit_at - monotonic())

    def suspect(self) -> None:
        """The kernel may have dropped entries, as it does when an interface goes down: the next call looks."""
        self._audit_at = 0.0

    async def follow(
        self, plan: Plan, hops: Hops, used: frozenset[bytes], links: Mapping[str, int], *, may_remove: bool
    ) -> None:
        """Bring the kernel to what is known, when that or an interface moved, and once a minute.

        `used`: next hops of routes, the only strangers that there are entries for. `links`: usable interfaces and
        their indexes.
        """
        macs = self._macs(plan, hops, used)
        devices = plan.interfaces
        value = macs, {device: links.get(device) for device in devices}, may_remove
        if value == self._applied and self.due:
            return
        self.outcome = await asyncio.to_thread(self._apply, macs, devices, links, may_remove)
        self._applied = value
        self._audit_at = monotonic() + (RETRY_SECONDS if self.outcome.errors else AUDIT_SECONDS)
        self._told(len(macs))

    def _macs(self, plan: Plan, hops: Hops, used: frozenset[bytes]) -> Macs:
        """`known_macs`, made anew when something moved."""
        if self._known is None or self._known[0] is not plan or self._known[1:3] != (hops.version, used):
            macs = known_macs(plan, (hop for hop in hops if hop.next_hop in used))
            self._known = plan, hops.version, used, macs
        return self._known[3]

    def _apply(
        self, macs: Macs, devices: Iterable[str], links: Mapping[str, int], may_remove: bool
    ) -> NeighbourOutcome:
        usable = [links[device] for device in devices if device in links]
        names = [(Name(index, address), mac) for address, mac in macs.items() for index in usable]
        absent = {index for device in devices if device not in links and (index := _index(device))}
        return self._table.apply(dict(names[:MAX_ENTRIES]), may_remove=may_remove, absent=absent)

    def _told(self, known: int) -> None:
        foreign = [f"{ip_address(name.address)}: an entry of another program stands" for name in self.outcome.foreign]
        said = tuple((self.outcome.errors + foreign)[:10])
        if said != self._said:
            self._said = said
            for text in said:
                log.warning("neighbour entries", problem=text)
        if self.outcome.put or self.outcome.removed:
            log.info("neighbour entries", put=self.outcome.put, removed=self.outcome.removed, next_hops=known)


def _index(device: str) -> int:
    """0 when there is no such interface."""
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0
