"""Large communities `AS:function:value` (RFC 8092): what each function means, and who carries which.

The table for operators is docs/communities.md; a test compares the two.
"""

from __future__ import annotations

from controller.inventory.model import Site, community_value

FUNCTIONS = {
    1: "site number",
    2: "CRC-32 of the region's name",
    3: "CRC-32 of the circuit class's name",
    4: "number of the originating uplink or client",
    5: "CRC-32 of the tag",
    6: "IPv4 overlay address, as a number, of a hub that can relay to this path's next hop by plain IP",
    7: "IPv4 overlay address, as a number, of a hub that can relay to this path's next hop by relay label",
}
"""Function -> what its value is. A function is never given another meaning."""


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
        "# Large communities",
        "",
        "`AS:function:value` (RFC 8092); AS is the fabric's. Hubs set them on everything that a client announces, in",
        "place of what it sent, so no gateway can claim to be another site. Filters of your own routers may use them.",
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
    ]
    return "\n".join(lines) + "\n"
