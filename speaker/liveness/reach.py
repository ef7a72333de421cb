"""From plan, routing table and verdicts to: which BFD sessions, which next hops are dead, and what leads around them.

Pure. A *far uplink* is one attachment of another gateway: it has a next hop of each family, and one session
(over IPv4 when an IPv4 next hop is known) decides for both. Nothing here grows with prefixes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain, islice
from typing import NamedTuple

from speaker.liveness.bfd.control import MAX_ACCEPT
from speaker.liveness.damping import Pair
from speaker.plan import FIRST_RELAY_LABEL, Plan, SessionPlan
from speaker.rib.hops import Hop

LINGER_SECONDS = 3.0
"""A hub stops saying that it relays to an uplink when BFD has not been up for so long: a flap announces nothing."""
LONG_LINGER_SECONDS = 15.0
"""The same for a client with many paths, all of which are announced anew. It is more than BGP's hold time, after which
the paths of a client that died go anyway. Until then the hub itself says that they are unreachable."""

DeadHops = frozenset[tuple[str, bytes]]
"""(local interface, next hop) that must not be used; of both families."""


class LocalUplink(NamedTuple):
    """A local end, as its sessions need it."""

    device: str
    address: str
    address6: str | None
    interval_us: int
    multiplier: int


class FarUplink(NamedTuple):
    remote: str  # The far end of its session.
    hops: tuple[bytes, ...]  # What the session decides about.


class Via(NamedTuple):
    """A way around: through the hub at this address (of the next hop's family) on this interface."""

    device: str
    address: bytes
    label: int | None = None


@dataclass(frozen=True)
class Directory:
    """Who is where. Made anew when the plan moves, or what the routing table knows of next hops."""

    plan: Plan
    devices: tuple[str, ...]  # All local interfaces, in the plan's order.
    local: dict[str, LocalUplink]  # Those with BFD.
    far: dict[bytes, FarUplink]  # By each of its next hops.
    told: dict[bytes, tuple[Hop, ...]]  # What the sources say of a next hop that hubs relay to.
    hubs: dict[bytes, SessionPlan]  # A spoke's hubs, by IPv4 overlay address.
    always: frozenset[Pair]  # Sessions that are kept whatever is in use.
    accept: frozenset[str]  # Far ends that may open a session.

    def far_uplink(self, hop: bytes) -> FarUplink:
        return self.far.get(hop) or FarUplink(str(ip_address(hop)), (hop,))


def directory(plan: Plan, hops: Iterable[Hop]) -> Directory:
    known = list(hops)
    groups = [*_planned(plan), *_learnt(known)]
    local = _local(plan)
    told: dict[bytes, tuple[Hop, ...]] = {}
    for hop in known:
        if hop.relays or hop.label_relays:
            told[hop.next_hop] = (*told.get(hop.next_hop, ()), hop)
    return Directory(
        plan=plan,
        devices=plan.interfaces,
        local=local,
        far=_far(groups),
        told=told,
        hubs={ip_address(each.peer_address).packed: each for each in plan.sessions if each.peer_role == "hub"},
        always=frozenset(_always(plan, local)),
        accept=frozenset(str(ip_address(hop)) for hop in islice(chain.from_iterable(groups), MAX_ACCEPT)),
    )


def sessions(
    known: Directory,
    demand: Iterable[str],
    dead: Collection[Pair],
    installed: Collection[bytes],
    usable: Collection[str],
) -> frozenset[Pair]:
    """The sessions to keep. On demand on the interface that is used, or would be next if that one is dead.

    A dead pair is kept while any path leads to its far end: else it would come alive without having spoken.
    """
    wanted = set(known.always)
    for remote in demand:
        for device in known.devices:
            if device not in usable:
                continue
            if device in known.local:
                wanted.add((device, remote))
            if (device, remote) not in dead:
                break
    for device, remote in dead:
        if device in known.local and (remote in known.accept or ip_address(remote).packed in installed):
            wanted.add((device, remote))
    return frozenset(wanted)


def in_use(known: Directory, demand: Iterable[str], dead: Collection[Pair], usable: Collection[str]) -> list[Pair]:
    """The pairs that packets go by, with BFD or without: far uplinks in use first, a spoke's hubs, then those with BFD
    sessions always."""
    remotes = (*sorted(demand), *(session.peer_address for session in known.hubs.values()))
    ways = ((way(known, remote, dead, usable), remote) for remote in remotes)
    used = [(device, remote) for device, remote in ways if device is not None]
    always = [(device, remote) for device, remote in sorted(known.always) if device in usable]
    return list(dict.fromkeys((*used, *always)))


def way(known: Directory, remote: str, dead: Collection[Pair], usable: Collection[str]) -> str | None:
    """Our interface by which packets leave for the far uplink with this end; None when there is none."""
    return next((device for device in known.devices if device in usable and (device, remote) not in dead), None)


def dead_hops(known: Directory, dead: Iterable[Pair]) -> DeadHops:
    """The next hops of both families that these pairs' far uplinks have."""
    return frozenset(
        (device, hop) for device, remote in dead for hop in known.far_uplink(ip_address(remote).packed).hops
    )


def lives(known: Directory, hop: bytes, dead: DeadHops, usable: Collection[str]) -> bool:
    """Whether any usable interface leads to `hop`, as far as is known."""
    return any(device in usable and (device, hop) not in dead for device in known.devices)


def relays(
    known: Directory, dead: DeadHops, up: Collection[Pair], usable: Collection[str], *, labels: bool, plain: bool = True
) -> dict[bytes, tuple[Via, ...]]:
    """For each of these next hops (dead, or never heard) the hubs to go through: with BFD up to it, and with us.

    On a spoke only: a hub never detours. By relay label where this kernel has MPLS (`labels`) and the hub
    offers one, else by plain IP, if the guard against loops is in force (`plain`).
    """
    if known.plan.role != "spoke":
        return {}
    around: dict[bytes, tuple[Via, ...]] = {}
    for hop in {hop for _, hop in dead if hop in known.told}:
        ways = [
            way
            for hub, peer in known.hubs.items()
            for way in _through(known, hop, hub, peer, up, usable, labels)
            if plain or way.label is not None
        ]
        if ways:
            around[hop] = tuple(ways)
    return around


def _through(
    known: Directory,
    hop: bytes,
    hub: bytes,
    peer: SessionPlan,
    up: Collection[Pair],
    usable: Collection[str],
    labels: bool,
) -> Iterator[Via]:
    """The way through one hub, if there is one."""
    told = known.told.get(hop, ())
    text = peer.peer_address if len(hop) == 4 else peer.peer_address6
    device = next((d for d in known.devices if d in usable and (d, peer.peer_address) in up), None)
    if device is None or text is None:
        return
    address = ip_address(text).packed
    labelled = next((each for each in told if labels and hub in each.label_relays), None)
    if labelled is not None:
        yield Via(device, address, FIRST_RELAY_LABEL + labelled.uplink)
    elif any(hub in each.relays for each in told) and address != hop:
        yield Via(device, address)


def relay_labels(
    known: Directory, dead: DeadHops, usable: Collection[str], numbers: Collection[int]
) -> dict[int, tuple[str, str]]:
    """As a hub: where the packets of a relay label go, uplink number -> (interface, overlay address).

    Of the clients' uplinks with these `numbers`, by the first usable interface behind which it is not dead; or
    else by the first usable one, so that a flap moves no label.
    """
    found: dict[int, tuple[str, str]] = {}
    for session in known.plan.sessions:
        for hop in session.imports.next_hops if session.imports is not None else ():
            packed = ip_address(hop.address).packed
            devices = [device for device in known.devices if device in usable]
            if hop.number in numbers and devices:
                best = next((device for device in devices if (device, packed) not in dead), devices[0])
                found[hop.number] = best, hop.address
    return found


class Demand:
    """Far uplinks in use: kept for `idle_seconds` after the last packet, at most `max_sessions`, the latest ones."""

    def __init__(self) -> None:
        self._used: dict[str, float] = {}  # Far end of the session -> last seen in use, the latest at the end.

    def note(self, known: Directory, used: Collection[str] | None, installed: Collection[bytes], now: float) -> None:
        """`used`: next hops that packets went to lately; None when nobody can tell: all `installed` ones count."""
        settings = known.plan.liveness
        packed = installed if used is None else {ip_address(text).packed for text in used}
        for hop in sorted(packed):
            if hop in installed:
                remote = known.far_uplink(hop).remote
                self._used.pop(remote, None)
                self._used[remote] = now
        self._used = {each: last for each, last in self._used.items() if now - last < settings.idle_seconds}
        for remote in list(self._used)[: max(0, len(self._used) - settings.max_sessions)]:
            del self._used[remote]

    def __iter__(self) -> Iterator[str]:
        return iter(self._used)


class Lingering:
    """A set that takes members at once and lets them go only after they have been away for a while."""

    def __init__(self, seconds: float = LINGER_SECONDS) -> None:
        self._seconds = seconds
        self._seen: dict[int, float] = {}

    def update(self, present: Collection[int], now: float) -> frozenset[int]:
        self._seen = {each: seen for each, seen in self._seen.items() if now - seen < self._seconds}
        self._seen.update(dict.fromkeys(present, now))
        return frozenset(self._seen)


def relayed(known: Directory, up: Collection[Pair]) -> frozenset[int]:
    """Numbers of the uplinks of a hub's own clients that have BFD up with it."""
    remotes = {remote for _, remote in up}
    return frozenset(
        hop.number
        for session in known.plan.sessions
        if session.peer_role == "client" and session.peer_is_ours and session.imports is not None
        for hop in session.imports.next_hops
        if hop.address in remotes
    )


def _local(plan: Plan) -> dict[str, LocalUplink]:
    found: dict[str, LocalUplink] = {}
    for uplink in plan.uplinks:
        if uplink.bfd is not None:
            interval_us = uplink.bfd.interval_ms * 1000
            end = LocalUplink(uplink.interface, uplink.address, uplink.address6, interval_us, uplink.bfd.multiplier)
            found.setdefault(uplink.interface, end)
    return found


def _planned(plan: Plan) -> Iterator[list[bytes]]:
    """Next hops of one far uplink, as the plan knows them: of peers, and of a hub's clients."""
    for session in plan.sessions:
        if session.peer_role == "lan":  # Not on the segment.
            continue
        yield _packed(session.peer_address, session.peer_address6)
        for hop in session.imports.next_hops if session.imports is not None else ():
            yield _packed(hop.address, hop.address6)


def _learnt(hops: Iterable[Hop]) -> Iterator[list[bytes]]:
    """The same, as sources tell; the latest of a family last."""
    by_uplink: dict[int, dict[bytes, None]] = {}
    for hop in hops:
        if hop.uplink:
            by_uplink.setdefault(hop.uplink, {})[hop.next_hop] = None
        else:
            yield [hop.next_hop]
    yield from map(list, by_uplink.values())


def _packed(*texts: str | None) -> list[bytes]:
    return [ip_address(text).packed for text in texts if text]


def _far(groups: Iterable[list[bytes]]) -> dict[bytes, FarUplink]:
    """Each next hop's far uplink. What the plan says comes first, and is not overruled by what was learnt."""
    far: dict[bytes, FarUplink] = {}
    for group in groups:
        four = [hop for hop in group if len(hop) == 4]
        six = [hop for hop in group if len(hop) == 16]
        for hop in four:
            far.setdefault(hop, FarUplink(str(ip_address(hop)), (hop, *six)))
        for hop in six:
            both = (four[-1], *six) if four else (hop,)
            far.setdefault(hop, FarUplink(str(ip_address(both[0])), both))
    return far


def _always(plan: Plan, local: dict[str, LocalUplink]) -> Iterator[Pair]:
    """A spoke: each uplink with each hub. A hub: with every uplink of clients that are ours, and with other hubs."""
    for session in plan.sessions:
        if not session.peer_is_ours:
            continue
        if session.peer_role == "hub":
            yield from ((device, session.peer_address) for device in local)
            continue
        hops = session.imports.next_hops if session.imports is not None else ()
        remotes = [hop.address for hop in hops] if session.peer_role == "client" else [session.peer_address]
        for uplink in local.values():
            if uplink.address == session.local_address:
                yield from ((uplink.device, remote) for remote in remotes)
