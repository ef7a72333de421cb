"""Every code of a finding, and what it means. Codes are for programs: they are never renamed or given another meaning.

docs/findings.md is this table; a test compares the two.
"""

from __future__ import annotations

CODES: dict[str, dict[str, str]] = {
    "Files": {
        "file-unreadable": "The file cannot be opened or read.",
        "file-too-large": "A file may have 16 MiB.",
        "no-files": "The directory holds no `*.yml` or `*.yaml`.",
        "yaml-alias": "An alias without its anchor, or aliases that stand for more than 10,000 nodes.",
        "yaml-character": "A byte that is no UTF-8, or a character that YAML forbids.",
        "yaml-key": "A key that is no word.",
        "yaml-key-twice": "A key stands twice in one mapping; both lines are named.",
        "yaml-several-documents": "A file holds one document.",
        "yaml-syntax": "No YAML 1.2.",
        "yaml-tag": "Tags such as `!!python/name` mean nothing here.",
        "yaml-too-deep": "Nested deeper than 16.",
    },
    "Form of one object": {
        "action-contradictory": "What is denied has no preference, what stays in its region is not open, and so on.",
        "action-empty": "The action of a rule sets nothing.",
        "address-invalid": "No IPv4 (or IPv6) address, one with a zone, or one that no router of a LAN has.",
        "asn-reserved": "AS 0, 23456, 65535 and 4294967295 are reserved.",
        "assertion-invalid": "An assertion has exactly one of `reaches`, `never_over` and `survives`.",
        "bandwidth-invalid": "Not bit/s, and not a number with K, M, G or T.",
        "bfd-unknown": "Neither a preset of BFD timers, nor `off`, nor timers; the presets are listed.",
        "community-invalid": "Neither a standard community (`65000:1`) nor a large one (`4200000000:1:7`).",
        "declared-twice": "Two objects have one key; both places are named.",
        "endpoint-invalid": "Not `ADDRESS/PORT`, or an address that no other gateway reaches.",
        "field-missing": "A field that has no default is not there.",
        "field-type": "Text instead of a number, a mapping instead of a list, and so on.",
        "field-unknown": "No such field; the closest one is suggested.",
        "interface-invalid": "No name that Linux gives an interface.",
        "name-invalid": "Names are 1 to 63 of a-z, 0-9 and '-', beginning with a letter or digit.",
        "network-id-invalid": "ZeroTier network ids are 16 digits of 0-9 and a-f, in lower case, in quotes.",
        "node-id-invalid": "ZeroTier node ids are 10 digits of 0-9 and a-f, in lower case.",
        "node-id-unquoted": "YAML takes the node id for a number (12345678e9, 1234567890): quote it.",
        "number-range": "A number outside its range, which the message names.",
        "prefix-host-bits": "Bits are set behind the length; the message names the prefix that is meant.",
        "prefix-invalid": "Not ADDRESS/LENGTH, or of the wrong family.",
        "prefix-match-invalid": "Not `PREFIX`, `PREFIX ge N`, `PREFIX le N` or both, or a range that matches nothing.",
        "probe-invalid": "A probe has one target: an address, or with TCP an address and a port.",
        "role-unknown": "Roles are `spoke` and `hub`.",
        "segment-rules-unknown": "Not `checked` or `owned`.",
        "survives-unknown": "Not `gateway`, `uplink`, `hub` or `provider`.",
        "too-many-objects": "A section may have 50,000 objects.",
        "viewer-empty": "A viewer names sites, regions or tags; without one a rule acts at the import.",
    },
    "Fabric, gateways, uplinks and clients": {
        "address-outside-segment": "An overlay address is not in the segment.",
        "address-reserved": "The network or broadcast address of the segment.",
        "address-taken": "Two owners of an overlay address, which is a router id too.",
        "address6-taken": "Two owners of an IPv6 overlay address.",
        "address6-without-segment6": "An IPv6 overlay address, but no IPv6 segment.",
        "asn-of-fabric": "A client or LAN peer of another AS has the fabric's own AS number.",
        "circuit-class-unknown": "The circuit class is neither built in nor declared.",
        "community-taken": "Two names have one CRC-32, so would be one large community (see communities.md).",
        "fabric-missing": "Name, AS number and segment are not declared.",
        "gateway-unknown": "The gateway (in a rule: or client) is not declared.",
        "hub-missing": "There are gateways or clients, but no hub.",
        "interface-taken": "Two uplinks of a gateway use one interface, or a LAN peer is behind one of them.",
        "lan-peer-address": "A LAN peer in the segment, of two families, or with the gateway's own address.",
        "lan-peer6-without-segment6": "A LAN peer by IPv6, but no IPv6 segment, so no route for it.",
        "lan-peer-taken": "Two LAN peers of a gateway have one address.",
        "name-taken": "Gateways, clients, LAN peers and hosts share their names, or a new name exists already.",
        "node-id-taken": "Two owners of a ZeroTier node id.",
        "number-taken": "Two owners of an uplink number (uplinks and clients share them).",
        "region-unknown": "The region is not declared.",
        "segment-martian": "The segment touches space that is never routed.",
        "segment-too-small": "The segment has fewer addresses than there are uplinks, clients and hosts.",
        "site-number-taken": "Two owners of a site number.",
        "site-unknown": "The site is not declared.",
        "uplink-missing": "A gateway has at least one uplink.",
        "uplinks-too-many": "A gateway has at most 8 uplinks.",
    },
    "Segment": {
        "moon-taken": "Two moons on one gateway.",
        "moons-too-many": "A fabric has at most 8 moons.",
        "network-missing": "Something is asked of the ZeroTier network, and no `network` is declared.",
        "uplink-unknown": "The gateway has no such uplink.",
    },
    "Address space": {
        "allocation-on-segment": "An allocation overlaps the segment.",
        "allocation-overlap": "Allocations of two sites overlap. Within one site they may.",
        "anycast-mismatch": "Anycast allocations are the very same prefix, and each of them says `anycast: true`.",
        "default-route": "More than a route is asked of 0.0.0.0/0 or ::/0, or it is said to be the underlay.",
        "gateway-of-another-site": "A prefix is announced by gateways of its own site only.",
        "martian": "Loopback, link-local, multicast, 0.0.0.0/8 or reserved space.",
        "prefix-not-allocated": "The prefix is in no allocation of its site.",
        "prefix-too-long": "The prefix is longer than its allocation allows (24 or 64 without `longest`).",
        "prefix6-without-segment6": "An IPv6 prefix, but no IPv6 segment, so no next hop.",
        "tenant-unknown": "This release has only the tenant `global`.",
        "underlay-overlap": "Space overlaps the underlay and is not itself allocated, or the underlay the segment.",
    },
    "Liveness": {
        "bfd-packet-budget": "A gateway would send over 1,500 BFD packets a second; the message has the figure.",
        "first-hop-crowded": "Over 250 gateways share a first hop: VRRP has no more priorities.",
        "first-hop-outside": "A first hop is not in its prefix, or of the other family.",
        "first-hop-reserved": "The network or broadcast address of its prefix.",
        "first-hop-taken": "Two prefixes of a site have one first hop.",
        "first-hop-unused": "No gateway announces the prefix, so the first hop stands nowhere.",
        "vrid-taken": "Two first hops of a site have one VRRP number; set `vrid` of one of them.",
        "vrid-without-first-hop": "A VRRP number, but no first hop.",
    },
    "Rules and assertions": {
        "assertion-without-effect": "The prefix of an assertion is outside of all allocations: it would always hold.",
        "community-reserved": "Large communities that begin with the fabric's AS are set by hubs alone.",
        "preference-too-high": "Own region first would not hold: an anycast prefix has a preference from 1,000,000 on.",
        "rule-contradictory": "Two rules of one order, match and viewer set the same thing differently.",
        "rule-unreachable": "A rule before it denies every path that it matches, or is the last for them.",
        "rule-without-effect": "A rule matches nothing that is declared, or changes nothing for anybody.",
    },
    "Changes": {
        "kind-unknown": "`rename` knows no such kind.",
        "object-unknown": "`rename` finds no object of this name.",
        "assertion-broken": "The change breaks an assertion; the message says how, and which changed object did it.",
        "removals-guarded": "More than 10 % of the sites or of the gateways would go; allow it by their number.",
    },
}
"""Group -> code -> meaning."""


def table() -> str:
    """docs/findings.md."""
    lines = [
        "# Findings",
        "",
        "What `leyline validate`, `leyline apply` and the API say about an inventory. Each finding names the object,",
        "has one of these codes, and its message ends in the way out. All findings are reported at once.",
    ]
    for group, codes in CODES.items():
        lines += ["", f"## {group}", "", "| code | meaning |", "| --- | --- |"]
        lines += [f"| `{code}` | {meaning} |" for code, meaning in codes.items()]
    return "\n".join(lines) + "\n"
