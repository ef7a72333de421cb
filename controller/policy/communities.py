"""Large communities `AS:function:value` (RFC 8092): what each function means, and who carries which.

The table for operators is docs/communities.md; a test compares the two. The numbers of reasons are the speaker's:
controller may not import speaker.rib, so a test compares these too.
"""

from __future__ import annotations

from controller.inventory.model import Site, community_value

SITE, REGION, CLASS, UPLINK, TAG, RELAY, LABEL_RELAY, SCOPE, REASON, MOST_PATHS, MED, PREPEND = range(1, 13)

FUNCTIONS = {
    SITE: "site number",
    REGION: "CRC-32 of the region's name",
    CLASS: "CRC-32 of the circuit class's name",
    UPLINK: "number of the originating uplink or client",
    TAG: "CRC-32 of the tag",
    RELAY: (
        "IPv4 overlay address, as a number, of a hub that can relay to this path's next hop by plain IP; told only to"
        " those who see paths as that hub does"
    ),
    LABEL_RELAY: "IPv4 overlay address, as a number, of a hub that can relay to this path's next hop by relay label",
    SCOPE: "1: told in the origin's own region only (`region_only`); 2: leaves and enters closed regions (`open`)",
    REASON: "why a hub keeps this path as filtered, see below; never on a path that is used or told",
    MOST_PATHS: "at most so many equal paths are used at once (`max_paths`)",
    MED: "MED that eBGP clients are told, by a rule without a viewer (`med`)",
    PREPEND: "so often the fabric's AS is put before AS_PATH towards eBGP clients, by rules without a viewer",
}
"""Function -> what its value is. A function is never given another meaning."""

WELL_KNOWN = {
    "NO_EXPORT": ("65535:65281", "RFC 1997", "not told to eBGP clients"),
    "NO_EXPORT_SUBCONFED": ("65535:65283", "RFC 1997", "not told to eBGP clients"),
    "NO_ADVERTISE": ("65535:65282", "RFC 1997", "told to nobody: the hubs that hear it use it themselves"),
    "GRACEFUL_SHUTDOWN": ("65535:0", "RFC 8326", "LOCAL_PREF 0, whatever rules say"),
    "BLACKHOLE": (
        "65535:666",
        "RFC 7999",
        "with `blackhole: true` of the fabric: an `unreachable` route, up to host routes; not in anycast space",
    ),
}
"""Name -> community, where it comes from, and what is done about it."""


REASONS = {
    1: ("next-hop-not-yours", "the next hop is none of the uplinks that the plan gives this peer"),
    2: ("next-hop-is-ours", "the next hop is an address of this gateway"),
    3: ("next-hop-off-segment", "the next hop is not on the fabric's segment"),
    4: ("prefix-not-allocated", "no allocation of the peer's site contains the prefix"),
    5: ("more-specific-than-allowed", "the prefix is longer than its allocation allows"),
    6: ("default-route", "no allocation of the peer's site is a default route"),
    7: ("inside-segment", "the prefix lies inside the fabric's segment"),
    8: ("martian", "the prefix lies in address space that is never routed"),
    9: ("connected", "the prefix lies inside one that this gateway is attached to"),
    10: ("own-originator-id", "ORIGINATOR_ID is our own: our route came back (RFC 4456 8)"),
    11: ("forged-originator-id", "a client reflects nothing, so it may not send ORIGINATOR_ID"),
    12: ("cluster-loop", "CLUSTER_LIST contains our own CLUSTER_ID (RFC 4456 8)"),
    13: ("as-loop", "AS_PATH contains our own AS (RFC 4271 9.1.2)"),
    14: ("denied", "nothing is accepted from this peer"),
    15: ("denied-by-rule", "a rule denies it"),
    16: ("over-limit", "the peer announces more prefixes than it may"),
    17: ("underlay", "it lies among addresses that ZeroTier runs over, or contains some and is not itself allocated"),
    18: ("first-as", "AS_PATH does not begin with the peer's own AS (RFC 4271 6.3)"),
    19: ("lan-down", "the interface to the LAN of this router is down, or without carrier"),
    20: ("too-many-paths", "the peer announces more paths of this prefix than it may"),
}
"""Number -> code and meaning. A number is never given another meaning. The speaker has the same table."""


def region_only(asn: int) -> str:
    return f"{asn}:{SCOPE}:1"


def opened(asn: int) -> str:
    return f"{asn}:{SCOPE}:2"


def at_most(asn: int, paths: int) -> str:
    return f"{asn}:{MOST_PATHS}:{paths}"


def of_number(asn: int, number: int | None) -> str:
    """Of a site."""
    return f"{asn}:{SITE}:{number}"


def of_region(asn: int, name: str) -> str:
    return f"{asn}:{REGION}:{community_value(name)}"


def of_class(asn: int, name: str) -> str:
    return f"{asn}:{CLASS}:{community_value(name)}"


def of_uplink(asn: int, number: int | None) -> str:
    return f"{asn}:{UPLINK}:{number}"


def of_tag(asn: int, name: str) -> str:
    return f"{asn}:{TAG}:{community_value(name)}"


def of_site(asn: int, site: Site, number: int) -> tuple[str, ...]:
    """What every path of the site carries."""
    values = [
        (1, number),
        (2, community_value(site.region)),
        *((5, value) for value in sorted(map(community_value, site.tags))),
    ]
    return tuple(f"{asn}:{function}:{value}" for function, value in values)


def of_path(asn: int, site: Site, site_number: int, circuit_class: str, number: int) -> tuple[str, ...]:
    """What a hub puts on a path of the site through uplink `number`, in place of what the sender put there."""
    values = [
        (1, site_number),
        (2, community_value(site.region)),
        (3, community_value(circuit_class)),
        (4, number),
        *((5, value) for value in sorted(map(community_value, site.tags))),
    ]
    return tuple(f"{asn}:{function}:{value}" for function, value in values)


def table() -> str:
    """docs/communities.md."""
    lines = [
        "# Communities",
        "",
        "`AS:function:value` (RFC 8092); AS is the fabric's. Hubs set them on everything that a client announces, in",
        "place of what it sent, so no gateway can claim to be another site. Filters of your own routers may use them.",
        "Communities of any other AS, and all standard ones (RFC 1997), are the operators' own and pass through.",
        "",
        "| function | value |",
        "| --- | --- |",
        *(f"| {function} | {value} |" for function, value in FUNCTIONS.items()),
        "",
        "Names become numbers by CRC-32 (IEEE 802.3, as zlib has it), so that adding a region moves no other's number:",
        "",
        "```console",
        "$ python3 -c 'import zlib; print(zlib.crc32(b\"eu\"))'",
        str(community_value("eu")),
        "```",
        "",
        "Two names of one kind with the same CRC-32 are refused (`community-taken`).",
        "",
        "Two extended communities speak of the next hop, and only hubs say them; what a client says of it is taken",
        "away: link bandwidth (RFC 10005), and Router's MAC (RFC 9135, type 0x06, sub-type 0x03), the next hop's",
        "Ethernet address on the segment: see [zerotier.md](zerotier.md#neighbours-without-arp).",
        "",
        f"## Reasons: `AS:{REASON}:N`",
        "",
        "What a hub does not accept stays visible as filtered, with the reason.",
        "",
        "| N | code | meaning |",
        "| --- | --- | --- |",
        *(f"| {number} | `{code}` | {meaning} |" for number, (code, meaning) in REASONS.items()),
        "",
        "## Well-known communities that are honoured",
        "",
        "| name | value | defined in | effect |",
        "| --- | --- | --- | --- |",
        *(f"| {name} | `{value}` | {source} | {effect} |" for name, (value, source, effect) in WELL_KNOWN.items()),
    ]
    return "\n".join(lines) + "\n"
