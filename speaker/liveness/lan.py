"""Which of our prefixes have a dead LAN behind them, and are to be withdrawn. `Lan` is pure; `LanWatch` has the clock.

A prefix is *placed* on the interface with an address in it, else on the one that a route for it points to, and
stays placed there when the interface, its address or the route goes: that is what is watched for. A prefix that
was never placed (a loopback, an aggregate) is always announced. Quick down, slow up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from speaker.plan import Plan
from speaker.report import LanReport
from speaker.rib.prefix import Family, Key, family_of, key_of, key_of_text

Network = IPv4Network | IPv6Network
Port = tuple[bool, tuple[Network, ...]]
"""An interface: (up and with a carrier, the networks of its addresses)."""

UP_DELAY_SECONDS = 1.0
MAX_ROUTED = 1000
"""Prefixes without an address on any interface that are looked for among the routes."""
MAX_REPORTS = 500

LOOPBACK = "lo"
NO_ROUTERS: Mapping[str, str] = {}


class Placed(NamedTuple):
    """Where a prefix is. Several interfaces, when it covers several LANs: it is well while one of them is."""

    interfaces: tuple[str, ...]
    routed: bool = False  # By a route.
    lost: bool = False  # By an address, which is gone.


class _Span(NamedTuple):
    family: Family
    bits: int
    first: int

    def holds(self, other: _Span) -> bool:
        shift = self.family.bits - self.bits
        return self.family is other.family and self.bits <= other.bits and other.first >> shift == self.first >> shift


class _GroupKey(NamedTuple):
    placed: Placed | None
    probed: str  # The prefix, when it has a probe.
    was: str  # Why it was withdrawn when the group was made.


@dataclass(slots=True)
class _Group:
    """Prefixes that live and die together."""

    prefixes: list[str] = field(default_factory=list)  # And addresses of routers.
    reason: str = ""  # Why they are withdrawn; "" when they are announced.
    well_since: float | None = None  # While they are well again, and still withdrawn.


class Lan:
    """Facts in, prefixes to withdraw out. `now` is of any clock that does not jump."""

    def __init__(self, up_delay: float = UP_DELAY_SECONDS) -> None:
        self.withdrawn: frozenset[str] = frozenset()
        self.cut_off: frozenset[str] = frozenset()  # Addresses of routers whose LAN is dead.
        self.due: float | None = None  # When to judge again though nothing happens.
        self.interfaces: dict[str, str] = {}  # prefix -> the one interface that it is behind; not for several.
        self.watched: frozenset[str] = frozenset()  # Every interface that some prefix is behind.
        self._up_delay = up_delay
        self._uplinks: frozenset[str] = frozenset()
        self._announced: dict[str, _Span] = {}
        self._others: dict[str, _Span] = {}
        self._routers: Mapping[str, str] = {}
        self._probed: frozenset[str] = frozenset()
        self._ports: Mapping[str, Port] | None = None  # None: not told yet, and nothing is judged.
        self._lans: list[tuple[_Span, str]] = []
        self._routes: Mapping[str, str] = {}
        self._failing: Mapping[str, str] = {}
        self._placed: dict[str, Placed] = {}
        self._groups: dict[_GroupKey, _Group] = {}

    def configure(
        self,
        announced: Iterable[str],
        others: Iterable[str],
        uplinks: Iterable[str],
        probed: Iterable[str],
        routers: Mapping[str, str] = NO_ROUTERS,
    ) -> None:
        """Whole values: what is announced, what is only placed (first hops), and which prefixes have a probe.

        `routers`: address of a router in a LAN -> the interface that it is behind, whatever networks that has.
        """
        self._uplinks = frozenset((*uplinks, LOOPBACK))
        self._announced = {prefix: _span_of_text(prefix) for prefix in announced}
        self._others = {prefix: _span_of_text(prefix) for prefix in others}
        self._routers = dict(routers)
        self._probed = frozenset(probed)
        self._find_lans()
        self._place(regroup=True)

    def ports(self, ports: Mapping[str, Port]) -> None:
        """Every interface of this box."""
        lans, self._ports = self._lans, dict(ports)
        self._find_lans()
        if self._lans != lans:
            self._place()

    def routes(self, routes: Mapping[str, str]) -> None:
        """prefix -> interface, of routes that others made for `unplaced`."""
        if routes != self._routes:
            self._routes = dict(routes)
            self._place()

    def probes(self, failing: Mapping[str, str]) -> None:
        """prefix -> why its probe says that the LAN is dead; nothing for the others."""
        self._failing = dict(failing)

    def unplaced(self) -> tuple[str, ...]:
        """Prefixes that no interface has an address in: ask the kernel for routes to them. At most MAX_ROUTED."""
        found = []
        for prefix, span in (*self._announced.items(), *self._others.items()):
            if not self._by_address(span):
                found.append(prefix)
                if len(found) == MAX_ROUTED:
                    break
        return tuple(found)

    def judge(self, now: float) -> bool:
        """Brings `withdrawn` and `cut_off` up to the facts. True when one changed."""
        if self._ports is None:
            return False
        dues = []
        for key, group in self._groups.items():
            self._judge(key, group, now)
            if group.well_since is not None:
                dues.append(group.well_since + self._up_delay)
        self.due = min(dues, default=None)
        before = self.withdrawn, self.cut_off
        dead = frozenset(each for group in self._groups.values() if group.reason for each in group.prefixes)
        self.withdrawn, self.cut_off = dead - self._routers.keys(), dead & self._routers.keys()
        return (self.withdrawn, self.cut_off) != before

    def _judge(self, key: _GroupKey, group: _Group, now: float) -> None:
        reason = self._why_dead(key)
        if reason:
            group.reason, group.well_since = reason, None
        elif group.reason:
            group.well_since = now if group.well_since is None else group.well_since
            if now - group.well_since >= self._up_delay:
                group.reason, group.well_since = "", None

    def _why_dead(self, key: _GroupKey) -> str:
        if key.placed is not None:
            names = ", ".join(key.placed.interfaces)
            if key.placed.lost:
                return f"{names}: {self._why_unusable(key.placed.interfaces[0]) or 'no address in the prefix any more'}"
            faults = [self._why_unusable(name) for name in key.placed.interfaces]
            if all(faults):
                return f"{names}: {faults[0]}"
        return self._failing.get(key.probed, "") if key.probed else ""

    def _why_unusable(self, name: str) -> str:
        port = (self._ports or {}).get(name)
        if port is None:
            return "no such interface"
        return "" if port[0] else "down or without carrier"

    def reports(self) -> tuple[LanReport, ...]:
        """Prefixes whose LAN is watched, the dead ones first; at most MAX_REPORTS."""
        found = [
            LanReport(prefix, ", ".join(key.placed.interfaces) if key.placed else "", not group.reason, group.reason)
            for key, group in sorted(self._groups.items(), key=lambda item: not item[1].reason)
            if key.placed or key.probed
            for prefix in group.prefixes[:MAX_REPORTS]
            if prefix not in self._routers
        ]
        return tuple(found[:MAX_REPORTS])

    def _find_lans(self) -> None:
        """The networks of all interfaces behind which a LAN can be.

        An address alone is none: first hops come and go, and with them nothing is placed anew.
        """
        self._lans = [
            (_span(network), name)
            for name, (_, networks) in sorted((self._ports or {}).items())
            if name not in self._uplinks
            for network in networks
            if network.prefixlen < network.max_prefixlen and not network.is_link_local
        ]

    def _by_address(self, span: _Span) -> tuple[str, ...]:
        """The interfaces with the longest network around the prefix; else all with one in it.

        A default route is in no LAN: every network lies in it.
        """
        if not span.bits:
            return ()
        around = [(lan.bits, name) for lan, name in self._lans if lan.holds(span)]
        if around:
            longest = max(bits for bits, _ in around)
            return tuple(dict.fromkeys(name for bits, name in around if bits == longest))
        return tuple(dict.fromkeys(name for lan, name in self._lans if span.holds(lan)))

    def _place(self, *, regroup: bool = False) -> None:
        placed = dict(self._places())
        if regroup or placed != self._placed:
            self._placed = placed
            self.interfaces = {prefix: at.interfaces[0] for prefix, at in placed.items() if len(at.interfaces) == 1}
            self.watched = frozenset(name for at in placed.values() for name in at.interfaces)
            self._regroup()

    def _places(self) -> Iterator[tuple[str, Placed]]:
        for prefix, span in (*self._others.items(), *self._announced.items()):
            before = self._placed.get(prefix)
            interfaces = self._by_address(span)
            routed = self._routes.get(prefix)
            if interfaces:
                yield prefix, Placed(interfaces)
            elif routed is not None and routed not in self._uplinks:
                yield prefix, Placed((routed,), routed=True)
            elif before is not None:
                yield prefix, before._replace(lost=not before.routed)
        for address, interface in self._routers.items():
            yield address, Placed((interface,))

    def _regroup(self) -> None:
        before = {prefix: group for group in self._groups.values() for prefix in group.prefixes}
        never = _Group()
        self._groups = {}
        for prefix in (*self._announced, *self._routers):
            old = before.get(prefix, never)
            key = _GroupKey(self._placed.get(prefix), prefix if prefix in self._probed else "", old.reason)
            group = self._groups.setdefault(key, _Group(reason=old.reason, well_since=old.well_since))
            group.prefixes.append(prefix)


def _span_of_text(text: str) -> _Span:
    return _span_of_key(*key_of_text(text))


def _span(network: Network) -> _Span:
    return _span_of_key(family_of(network), key_of(network))


def _span_of_key(family: Family, key: Key) -> _Span:
    return _Span(family, key[0], int.from_bytes(key[1:].ljust(family.bits // 8, b"\0"), "big"))


class LanWatch:
    """`Lan` with a clock. `changed` is called on the event loop whenever `withdrawn` or `cut_off` moved."""

    def __init__(self, changed: Callable[[], None], up_delay: float = UP_DELAY_SECONDS) -> None:
        self._lan = Lan(up_delay)
        self._changed = changed
        self._timer: asyncio.TimerHandle | None = None

    @property
    def withdrawn(self) -> frozenset[str]:
        """Announced prefixes to withdraw now. Empty until the interfaces were told."""
        return self._lan.withdrawn

    @property
    def cut_off(self) -> frozenset[str]:
        """Addresses of routers in LANs that are dead."""
        return self._lan.cut_off

    def configure(self, plan: Plan) -> None:
        """The plan in force. Call it before `ports`, and for each new plan."""
        self._lan.configure(
            (prefix for announcement in plan.announcements for prefix in announcement.prefixes),
            (first_hop.prefix for first_hop in plan.first_hops),
            (uplink.interface for uplink in plan.uplinks),
            (probe.prefix for probe in plan.probes),
            {session.peer_address: session.interface for session in plan.sessions if session.peer_role == "lan"},
        )
        self._judge()

    def ports(self, ports: Mapping[str, Port]) -> None:
        """Every interface of this box: `speaker.kernel.lan.LanLinks.ports`, whenever it changed."""
        self._lan.ports(ports)
        self._judge()

    def unplaced(self) -> tuple[str, ...]:
        """Prefixes for `speaker.kernel.lan.routed_by`: after `configure` and `ports`, and every ten seconds or so."""
        return self._lan.unplaced()

    def routes(self, routes: Mapping[str, str]) -> None:
        """What `routed_by` found: prefix -> interface."""
        self._lan.routes(routes)
        self._judge()

    def probes(self, failing: Mapping[str, str]) -> None:
        """`Prober.failing`, whenever it changed."""
        self._lan.probes(failing)
        self._judge()

    def interfaces(self) -> dict[str, str]:
        """prefix -> interface, of announced prefixes and first hops: what Prober and Keepalived ask for."""
        return self._lan.interfaces

    def watched(self) -> frozenset[str]:
        """Interfaces with a LAN of ours: `LanLinks.run` asks after their carrier."""
        return self._lan.watched

    def reports(self) -> tuple[LanReport, ...]:
        return self._lan.reports()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _judge(self) -> None:
        self.close()
        now = time.monotonic()
        changed = self._lan.judge(now)
        if self._lan.due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, self._lan.due - now), self._judge)
        if changed:
            self._changed()
