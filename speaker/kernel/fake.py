"""A kernel in memory, for tests: the same bytes in, the same errors out, and it drops what Linux drops.

The same contract suite runs on it and on a real kernel.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.hops import NEXTHOP_IDS
from speaker.kernel.port import (
    METRIC_REJECT,
    METRIC_ROUTE,
    PROTO_LEYLINE,
    TABLE_LAN,
    TABLE_MAIN,
    UNICAST,
    UNREACHABLE,
    Fault,
    KernelError,
    NextHopRecord,
    RouteRecord,
)
from speaker.rib.prefix import Family, Key, network_of

RouteName = tuple[Family, Key, int]
"""Family, prefix, metric: Linux keeps one route per name (of those that are not appended)."""

FakeWay = tuple[int, bytes, int | None]
"""(interface index, gateway, label); (0, b"", None) is a blackhole."""


@dataclass(frozen=True, slots=True)
class FakeRoute:
    protocol: int
    nhid: int = 0
    kind: int = UNICAST


class Refused(Exception):
    def __init__(self, number: int, text: str) -> None:
        super().__init__(number, text)
        self.number = number
        self.text = text


class FakeKernel:
    """State is public: `routes_by_name`, `nexthops_by_id`, `links` (index -> up). Foreign things may be put in by hand.

    `failures` fails on demand: Counter of "nexthop", "group", "route", "removal" (that many messages are refused with
    ENOMEM), "submit" (KernelError before anything was done), "answer" (KernelError after all was done), "dump".
    `resilient` and `mpls` say whether it knows such groups and such next hops. Without `lo_up` no blackhole goes in.
    """

    def __init__(self, links: dict[int, bool] | None = None) -> None:
        self.routes_by_name: dict[RouteName, FakeRoute] = {}  # Of table main.
        self.lan_routes_by_name: dict[RouteName, FakeRoute] = {}  # Of TABLE_LAN.
        self.nexthops_by_id: dict[int, NextHopRecord] = {}
        self.links = links if links is not None else {1: True}
        self.failures: Counter[str] = Counter()
        self.log: list[str] = []  # What was asked, one word a message: "put route", "delete group", ...
        self.closed = False
        self.lo_up = True
        self.resilient = True
        self.mpls = True

    # The port

    def nexthops(self) -> list[NextHopRecord]:
        self._break("dump")
        return list(self.nexthops_by_id.values())

    def routes(self, family: Family, table: int = TABLE_MAIN) -> Iterator[list[RouteRecord]]:
        self._break("dump")
        found = [
            RouteRecord(key, metric, route.nhid, route.kind)
            for (route_family, key, metric), route in list(self._table(table).items())
            if route_family is family and route.protocol == PROTO_LEYLINE
        ]
        return iter([found[:7], found[7:]])

    def submit(self, messages: bytes) -> list[Fault]:
        self._break("submit")
        faults = []
        for request in parse.requests(messages):
            try:
                self._carry_out(request)
            except Refused as refused:
                faults.append(Fault(refused.number, refused.text, request.message))
        self._break("answer")
        return faults

    def close(self) -> None:
        self.closed = True

    # What happens to a kernel

    def link_down(self, index: int) -> None:
        """All next hops of the interface go, groups that become empty, and their routes. Nobody is told."""
        self.links[index] = False
        for record in [r for r in self.nexthops_by_id.values() if r.ifindex == index and not r.group]:
            self._delete_nexthop(record.id)

    def link_up(self, index: int) -> None:
        self.links[index] = True

    def ours(self) -> dict[RouteName, FakeRoute]:
        return {name: route for name, route in self.routes_by_name.items() if route.protocol == PROTO_LEYLINE}

    def foreign(self) -> dict[RouteName, FakeRoute]:
        return {name: route for name, route in self.routes_by_name.items() if route.protocol != PROTO_LEYLINE}

    def gateways(self, name: RouteName) -> dict[bytes, int] | None:
        """next hop -> weight of a route, None when there is none, {} when it is unreachable."""
        route = self.routes_by_name.get(name)
        if route is None:
            return None
        record = self.nexthops_by_id.get(route.nhid)
        members = record.group if record is not None else ()
        return {self.nexthops_by_id[member].gateway: weight for member, weight in members}

    def ways(self, name: RouteName) -> dict[FakeWay, int] | None:
        """way -> weight of a route, None when there is none, {} when it is unreachable."""
        route = self.routes_by_name.get(name)
        if route is None:
            return None
        members = self.nexthops_by_id[route.nhid].group if route.nhid else ()
        hops = [(self.nexthops_by_id[member], weight) for member, weight in members]
        return {(hop.ifindex, hop.gateway, hop.label): weight for hop, weight in hops}

    # Requests

    def _carry_out(self, request: parse.Request) -> None:
        assert request.flags & m.NLM_F_REQUEST, "not marked as a request"
        if request.nexthop is not None:
            assert request.nexthop.id in NEXTHOP_IDS, f"touched next hop {request.nexthop.id:#x}, which is not ours"
            if request.type == m.RTM_NEWNEXTHOP:
                self._put_nexthop(request.nexthop, request.flags)
            else:
                self._ask_delete_nexthop(request.nexthop.id)
        else:
            assert request.route is not None, f"no request of ours: type {request.type}"
            assert request.family is not None
            if request.type == m.RTM_NEWROUTE:
                self._put_route(self._table(request.table), request.family, request.route, request.flags)
            else:
                self._delete_route(self._table(request.table), request.family, request.route)

    def _table(self, number: int) -> dict[RouteName, FakeRoute]:
        assert number in (TABLE_MAIN, TABLE_LAN), f"touched table {number}"
        return self.routes_by_name if number == TABLE_MAIN else self.lan_routes_by_name

    def _put_nexthop(self, record: NextHopRecord, flags: int) -> None:
        assert record.protocol == PROTO_LEYLINE, "a next hop that would not be ours"
        self._log(f"put {'group' if record.group else 'nexthop'}")
        before = self.nexthops_by_id.get(record.id)
        self._check_flags(flags, before is not None, "Nexthop")
        assert before is None or before.protocol == PROTO_LEYLINE, f"overwrote next hop {record.id:#x} of somebody else"
        if record.group:
            self._check_group(record)
        elif record.blackhole:
            if not self.lo_up:
                raise Refused(errno.ENETDOWN, "Device for nexthop is not up")
        else:
            self._check_gateway(record)
        if before is not None and bool(before.group) != bool(record.group):
            raise Refused(errno.EINVAL, "Can not replace a nexthop with a nexthop group.")
        if before is not None and before.resilient != record.resilient:
            raise Refused(errno.EINVAL, "Can not replace a nexthop group with one of a different type.")
        if any(route.nhid == record.id and name[0] is Family.IPV6 for name, route in self.routes_by_name.items()):
            self._check_ipv6(record)
        self._maybe_refuse("group" if record.group else "nexthop")
        self.nexthops_by_id[record.id] = record

    def _check_gateway(self, record: NextHopRecord) -> None:
        if record.ifindex not in self.links:
            raise Refused(errno.EINVAL, "Invalid device index")
        if not self.links[record.ifindex]:
            raise Refused(errno.ENETDOWN, "Nexthop device is not up")
        if record.label is not None and not self.mpls:
            raise Refused(errno.EOPNOTSUPP, "LWT encapsulation type not supported")

    def _check_group(self, record: NextHopRecord) -> None:
        if record.resilient and not self.resilient:
            raise Refused(errno.EINVAL, "Invalid group type")
        for member, weight in record.group:
            assert 1 <= weight <= m.MAX_WEIGHT
            if member not in self.nexthops_by_id or self.nexthops_by_id[member].group:
                raise Refused(errno.EINVAL, "Invalid nexthop id")
            if self.nexthops_by_id[member].blackhole and len(record.group) > 1:
                raise Refused(errno.EINVAL, "Blackhole nexthop can not be used in a group with more than 1 path")

    def _ask_delete_nexthop(self, id_: int) -> None:
        record = self.nexthops_by_id.get(id_)
        self._log("delete group" if record is not None and record.group else "delete nexthop")
        if record is None:
            raise Refused(errno.ENOENT, "No such file or directory")
        assert record.protocol == PROTO_LEYLINE, f"deleted next hop {id_:#x} of somebody else"
        self._maybe_refuse("removal")
        self._delete_nexthop(id_)

    def _delete_nexthop(self, id_: int) -> None:
        del self.nexthops_by_id[id_]
        for table in (self.routes_by_name, self.lan_routes_by_name):
            for name in [name for name, route in table.items() if route.nhid == id_]:
                del table[name]
        for group in [r for r in self.nexthops_by_id.values() if any(member == id_ for member, _ in r.group)]:
            kept = tuple(entry for entry in group.group if entry[0] != id_)
            if kept:
                self.nexthops_by_id[group.id] = replace(group, group=kept)
            else:
                self._delete_nexthop(group.id)

    def _put_route(self, table: dict[RouteName, FakeRoute], family: Family, route: RouteRecord, flags: int) -> None:
        assert route.metric in (METRIC_ROUTE, METRIC_REJECT), f"a route at metric {route.metric}"
        assert route.kind == (UNICAST if route.nhid else UNREACHABLE), f"a route of type {route.kind}"
        network_of(family, route.key)  # Raises for host bits.
        self._log("put route")
        name = (family, route.key, route.metric)
        if route.nhid:
            self._check_nexthop(family, route.nhid)
        self._check_flags(flags, name in table, "Route")
        if name in table:
            assert table[name].protocol == PROTO_LEYLINE, f"overwrote somebody else's {name}"
        self._maybe_refuse("route")
        table[name] = FakeRoute(PROTO_LEYLINE, route.nhid, route.kind)

    def _check_nexthop(self, family: Family, id_: int) -> None:
        record = self.nexthops_by_id.get(id_)
        if record is None:
            raise Refused(errno.EINVAL, "Nexthop id does not exist")
        if family is Family.IPV6:
            self._check_ipv6(record)

    def _check_ipv6(self, record: NextHopRecord) -> None:
        members = [self.nexthops_by_id[member] for member, _ in record.group] or [record]
        if any(len(hop.gateway) == 4 or (hop.blackhole and hop.family is Family.IPV4) for hop in members):
            raise Refused(errno.EINVAL, "IPv6 routes can not use an IPv4 nexthop")

    def _delete_route(self, table: dict[RouteName, FakeRoute], family: Family, route: RouteRecord) -> None:
        self._log("delete route")
        name = (family, route.key, route.metric)
        found = table.get(name)
        if found is None or found.protocol != PROTO_LEYLINE or (route.nhid and route.nhid != found.nhid):
            raise Refused(errno.ESRCH, "No such process")
        self._maybe_refuse("removal")
        del table[name]

    @staticmethod
    def _check_flags(flags: int, exists: bool, what: str) -> None:
        if exists and flags & m.NLM_F_EXCL:
            raise Refused(errno.EEXIST, f"{what} exists")
        if exists and not flags & m.NLM_F_REPLACE:
            raise AssertionError(f"{what}: neither create nor replace")
        if not exists and not flags & m.NLM_F_CREATE:
            raise Refused(errno.ENOENT, f"{what} does not exist")

    def _log(self, what: str) -> None:
        self.log.append(what)

    def _maybe_refuse(self, kind: str) -> None:
        if self.failures[kind] > 0:
            self.failures[kind] -= 1
            raise Refused(errno.ENOMEM, "Cannot allocate memory")

    def _break(self, kind: str) -> None:
        if self.failures[kind] > 0:
            self.failures[kind] -= 1
            raise KernelError(errno.ENOBUFS, f"{kind}: no buffer space")
