"""Objects of the inventory <-> rows. Pure: the database is elsewhere.

An object may have rows in several tables (a gateway's uplinks). Only allocated objects have rows: a
number or an address that is still None is a bug of the caller.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from sqlalchemy import Row as SqlRow
from sqlalchemy import Table

from controller.inventory import fields, fields_policy, fields_segment
from controller.inventory.document import order, plain_value
from controller.inventory.model import (
    Allocation,
    Assertion,
    CircuitClass,
    Client,
    Fabric,
    Gateway,
    Host,
    Inventory,
    LanPeer,
    Moon,
    Object,
    Prefix,
    Region,
    Rule,
    Site,
    Uplink,
)
from controller.store import tables

Row = dict[str, Any]
Rows = dict[Table, list[Row]]
Fetched = Mapping[Table, Sequence[SqlRow[Any]]]


def rows_of(objects: Iterable[Object]) -> Rows:
    """All rows of `objects`, by table."""
    found: Rows = defaultdict(list)
    for each in objects:
        for table, row in _rows(each):
            found[table].append(row)
    return found


def _rows(each: Object) -> Iterator[tuple[Table, Row]]:
    match each:
        case Prefix():
            key = {"site": each.site, "tenant": each.tenant, "prefix": str(each.prefix)}
            lan = {"first_hop": _text(each.first_hop), "vrid": each.vrid, "probe": _json(each.probe)}
            yield tables.prefixes, {**key, **lan}
            for gateway in each.gateways:
                yield tables.prefix_gateways, {**key, "gateway": gateway}
        case Allocation():
            yield (
                tables.allocations,
                {
                    "site": each.site,
                    "tenant": each.tenant,
                    "prefix": str(each.prefix),
                    "longest": each.longest,
                    "anycast": each.anycast,
                },
            )
        case Gateway():
            yield (
                tables.gateways,
                {"name": each.name, "site": each.site, "role": each.role, "drained": bool(each.drained)},
            )
            for position, uplink in enumerate(each.uplinks):
                yield tables.attachments, _attachment(uplink)
                yield (
                    tables.uplinks,
                    {
                        "gateway": each.name,
                        "name": uplink.name,
                        "position": position,
                        "interface": uplink.interface,
                        "number": uplink.number,
                    },
                )
        case Client():
            yield tables.attachments, _attachment(each)
            yield tables.clients, {"name": each.name, "site": each.site, "number": each.number, "asn": each.asn}
        case Site():
            yield (
                tables.sites,
                {
                    "name": each.name,
                    "region": each.region,
                    "number": each.number,
                    "provider": each.provider,
                    "tags": json.dumps(each.tags),
                    "max_prefixes": each.max_prefixes,
                },
            )
        case Region():
            yield tables.regions, {"name": each.name, "closed": each.closed}
        case CircuitClass():
            yield (
                tables.circuit_classes,
                {"name": each.name, "preference": each.preference, "bfd": _json(each.bfd)},
            )
        case LanPeer():
            yield tables.lan_peers, _lan_peer(each)
        case Rule():
            parts = {"match": _json(each.match), "viewer": _json(each.viewer), "action": _json(each.action)}
            yield tables.rules, {"name": each.name, "order": each.order, **parts}
        case Assertion():
            yield tables.assertions, _assertion(each)
        case Host():
            yield tables.hosts, _host(each)
        case Moon():
            endpoints = _json(each.endpoints)
            yield (
                tables.moons,
                {"name": each.name, "gateway": each.gateway, "uplink": each.uplink, "endpoints": endpoints},
            )
        case Fabric():
            yield tables.fabric, _fabric(each)


def _fabric(fabric: Fabric) -> Row:
    return {
        "id": 1,
        "name": fabric.name,
        "asn": fabric.asn,
        "segment": str(fabric.segment),
        "segment6": _text(fabric.segment6),
        "hold_time": fabric.hold_time,
        "restart_time": fabric.restart_time,
        "max_paths": fabric.max_paths,
        "bfd_up_delay_ms": fabric.bfd_up_delay_ms,
        "bfd_hold_max_ms": fabric.bfd_hold_max_ms,
        "bfd_idle_seconds": fabric.bfd_idle_seconds,
        "bfd_max_sessions": fabric.bfd_max_sessions,
        "hubless_seconds": fabric.hubless_seconds,
        "vrrp_advert_ms": fabric.vrrp_advert_ms,
        "guard_default": fabric.guard_default,
        "blackhole": fabric.blackhole,
        "underlay": _json(fabric.underlay),
        "network": fabric.network,
        "mtu": fabric.mtu,
        "segment_rules": fabric.segment_rules,
        "managed_floor": fabric.managed_floor,
        "permanent_neighbours": fabric.permanent_neighbours,
        "mss_clamp": fabric.mss_clamp,
        "relayed_seconds": fabric.relayed_seconds,
        "relayed_preference": fabric.relayed_preference,
        "md5": fabric.md5,
    }


def _lan_peer(each: LanPeer) -> Row:
    return {
        "name": each.name,
        "gateway": each.gateway,
        "asn": each.asn,
        "interface": each.interface,
        "address": str(each.address),
        "local_address": str(each.local_address),
    }


def _assertion(each: Assertion) -> Row:
    return {
        "name": each.name,
        "sites": _json(each.sites),
        "prefix": _text(each.prefix),
        "tenant": each.tenant,
        "reaches": each.reaches,
        "never_over": _json(each.never_over),
        "survives": each.survives,
    }


def _host(each: Host) -> Row:
    return {
        "name": each.name,
        "site": each.site or None,
        "node_id": each.node_id,
        "address": _text(each.address),
        "address6": _text(each.address6),
    }


def _attachment(each: Uplink | Client) -> Row:
    return {
        "number": each.number,
        "address": _text(each.address),
        "address6": _text(each.address6),
        "node_id": each.node_id,
        "circuit_class": each.circuit_class,
        "preference": each.preference,
        "bandwidth": each.bandwidth,
    }


def _text(value: object | None) -> str | None:
    return None if value is None else str(value)


def _json(value: object | None) -> str | None:
    return None if value is None else json.dumps(plain_value(value))


def _from_json(text: str | None, read: fields.Reader) -> Any:
    return None if text is None else read(json.loads(text))


def inventory_of(fetched: Fetched) -> Inventory:
    """The inventory whose rows these are, in canonical order."""
    attached = {row.number: _attached(row) for row in fetched[tables.attachments]}
    uplinks: dict[str, list[Uplink]] = defaultdict(list)
    for row in sorted(fetched[tables.uplinks], key=lambda row: row.position):
        uplinks[row.gateway].append(Uplink(name=row.name, interface=row.interface, **attached[row.number]))
    announcers: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in fetched[tables.prefix_gateways]:
        announcers[row.site, row.tenant, row.prefix].append(row.gateway)
    return Inventory(
        fabric=next((_fabric_of(row) for row in fetched[tables.fabric]), None),
        regions=_in_order(Region(row.name, row.closed) for row in fetched[tables.regions]),
        circuit_classes=_in_order(
            CircuitClass(row.name, row.preference, _from_json(row.bfd, fields.bfd))
            for row in fetched[tables.circuit_classes]
        ),
        sites=_in_order(
            Site(row.name, row.region, row.number, row.provider, tuple(json.loads(row.tags)), row.max_prefixes)
            for row in fetched[tables.sites]
        ),
        allocations=_in_order(
            Allocation(row.site, ip_network(row.prefix), row.longest, row.tenant, row.anycast)
            for row in fetched[tables.allocations]
        ),
        prefixes=_in_order(
            Prefix(
                row.site,
                ip_network(row.prefix),
                row.tenant,
                tuple(sorted(announcers.get((row.site, row.tenant, row.prefix), ()))),
                None if row.first_hop is None else ip_address(row.first_hop),
                row.vrid,
                _from_json(row.probe, fields.probe),
            )
            for row in fetched[tables.prefixes]
        ),
        gateways=_in_order(
            Gateway(row.name, row.site, row.role, tuple(uplinks[row.name]), row.drained)
            for row in fetched[tables.gateways]
        ),
        clients=_in_order(
            Client(name=row.name, site=row.site, asn=row.asn, **attached[row.number]) for row in fetched[tables.clients]
        ),
        lan_peers=_in_order(_lan_peer_of(row) for row in fetched[tables.lan_peers]),
        rules=_in_order(_rule_of(row) for row in fetched[tables.rules]),
        assertions=_in_order(_assertion_of(row) for row in fetched[tables.assertions]),
        hosts=_in_order(_host_of(row) for row in fetched[tables.hosts]),
        moons=_in_order(
            Moon(row.name, row.gateway, _from_json(row.endpoints, fields_segment.endpoints), row.uplink)
            for row in fetched[tables.moons]
        ),
    )


def _in_order(objects: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(objects, key=order))


def _fabric_of(row: SqlRow[Any]) -> Fabric:
    return Fabric(
        row.name,
        row.asn,
        IPv4Network(row.segment),
        None if row.segment6 is None else IPv6Network(row.segment6),
        row.hold_time,
        row.restart_time,
        row.max_paths,
        row.bfd_up_delay_ms,
        row.bfd_hold_max_ms,
        row.bfd_idle_seconds,
        row.bfd_max_sessions,
        row.hubless_seconds,
        row.vrrp_advert_ms,
        row.guard_default,
        row.blackhole,
        _from_json(row.underlay, fields_policy.networks),
        row.network,
        row.mtu,
        row.segment_rules,
        row.managed_floor,
        row.permanent_neighbours,
        row.mss_clamp,
        row.relayed_seconds,
        row.relayed_preference,
        row.md5,
    )


def _lan_peer_of(row: SqlRow[Any]) -> LanPeer:
    return LanPeer(
        row.name, row.gateway, ip_address(row.address), row.asn, row.interface, ip_address(row.local_address)
    )


def _rule_of(row: SqlRow[Any]) -> Rule:
    return Rule(
        row.name,
        _from_json(row.action, fields_policy.ACTION),
        _from_json(row.match, fields_policy.MATCH),
        _from_json(row.viewer, fields_policy.VIEWER),
        row.order,
    )


def _assertion_of(row: SqlRow[Any]) -> Assertion:
    return Assertion(
        row.name,
        _from_json(row.sites, fields.names),
        None if row.prefix is None else ip_network(row.prefix),
        row.reaches,
        _from_json(row.never_over, fields.names),
        row.survives,
        row.tenant,
    )


def _host_of(row: SqlRow[Any]) -> Host:
    address6 = None if row.address6 is None else IPv6Address(row.address6)
    return Host(row.name, row.node_id, IPv4Address(row.address), address6, row.site or "")


def _attached(row: SqlRow[Any]) -> Row:
    return {
        "number": row.number,
        "address": IPv4Address(row.address),
        "address6": None if row.address6 is None else IPv6Address(row.address6),
        "node_id": row.node_id,
        "circuit_class": row.circuit_class,
        "preference": row.preference,
        "bandwidth": row.bandwidth,
    }
