"""The clients that are not ours: started under what `leyline client-config` prints, and their tables read as values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from lab.clients import BIRD_SOCKET, birdc, frr_details
from lab.expect import Run
from lab.node import Node
from lab.scenarios.te.oracle import RELAYS, Told
from lab.stack import Stack

PARTNER, LEGACY = "partner", "legacy"
ANNOUNCED: dict[str, list[dict[str, Any]]] = {
    PARTNER: [{"prefix": "10.21.1.0/24", "as_path": [65021], "med": 0}],  # FRR gives a `network` the MED 0.
    LEGACY: [{"prefix": "10.22.1.0/24"}, {"prefix": "10.22.2.0/24", "communities": ["65000:666"]}],
}
ADDRESSES = ("10.21.1.1", "10.22.1.1")
"""Somebody behind each who answers."""
FILLED_IN = {
    PARTNER: {"! FILL IN: network 192.0.2.0/24": "network 10.21.1.0/24"},
    LEGACY: {
        "# FILL IN: route 192.0.2.0/24 via 192.0.2.1;": "route 10.22.1.0/24 blackhole;\n"
        "\troute 10.22.2.0/24 blackhole { bgp_community.add((65000, 666)); };",
        '# FILL IN: the interface on the segment, in place of "*".\n\tinterface "*"': 'interface "zt0"',
    },
}
"""What the configuration asks for -> what is put there."""
DAEMONS = ("zebra", "bfdd", "bgpd")
BIRD_ROUTE = re.compile(r"^(\S+/\d+)?\s+unicast \[leyline_hub_(\d+) ")
BIRD_ATTRIBUTE = re.compile(r"^\s+BGP\.(\w+): ?(.*)$")
BIRD_COMMUNITY = re.compile(r"\(([\d, ]+)\)")
RELAY = re.compile(rf"64512:({'|'.join(map(str, RELAYS))}):")
ORIGINS = {"igp": 0, "egp": 1, "incomplete": 2}


def start(run: Run, stack: Stack) -> None:
    start_frr(run, run.lab.node(PARTNER), configuration(run, stack, PARTNER, "frr"))
    start_bird(run.lab.node(LEGACY), configuration(run, stack, LEGACY, "bird"))


def configuration(run: Run, stack: Stack, name: str, software: str) -> str:
    """As the operator gets it, with nothing but what it asks for filled in."""
    text = stack.leyline("client-config", name, "--format", software)
    for asked, given in FILLED_IN[name].items():
        run.require(f"{name}'s configuration asks: {asked.splitlines()[0]}", asked in text, text)
        text = text.replace(asked, given)
    return text


def start_frr(run: Run, node: Node, text: str) -> None:
    """All daemons, then the one configuration for all of them, as a router's boot has it."""
    node.write("/run/frr/start.conf", f"hostname {node.name}\n")
    node.write("/run/frr/frr.conf", text)
    node.run("chmod a+r /run/frr/start.conf")
    for daemon in DAEMONS:
        node.run([f"/usr/lib/frr/{daemon}", "-d", "-f", "/run/frr/start.conf", "--log", f"file:/run/frr/{daemon}.log"])
    loaded = node.run(["vtysh", "-f", "/run/frr/frr.conf"], check=False)
    said = loaded.stdout + loaded.stderr
    run.expect("FRR takes the configuration", loaded.returncode == 0 and "% " not in said, said)


def start_bird(node: Node, text: str) -> None:
    node.write("/run/bird/bird.conf", text)
    node.run(f"bird -c /run/bird/bird.conf -s {BIRD_SOCKET} -P /run/bird/bird.pid")


def told(name: str, node: Node, hubs: Mapping[str, str]) -> frozenset[Told]:
    """What stands in the client's table. `hubs`: name -> address. Raises CommandFailed."""
    if name == PARTNER:
        names = {address: hub for hub, address in hubs.items()}
        return told_frr({**frr_details(node, "ipv4"), **frr_details(node, "ipv6")}, names)
    return told_bird(birdc(node, "show route all where source = RTS_BGP"), sorted(hubs))


def told_frr(routes: Mapping[str, list[dict[str, Any]]], hubs: Mapping[str, str]) -> frozenset[Told]:
    """`routes`: as `show bgp FAMILY unicast json detail` has them. `hubs`: address -> name; others' are left out."""
    return frozenset(
        Told(
            hubs[path["peer"]["peerId"]],
            prefix,
            hop["ip"],
            _as_path(path["aspath"]["string"]),
            path.get("metric"),
            None,
            ORIGINS[path["origin"].lower()],
            _communities(_listed(path, "community"), _listed(path, "largeCommunity")),
        )
        for prefix, paths in routes.items()
        for path in paths
        for hop in path["nexthops"]
        if path["peer"]["peerId"] in hubs and hop.get("scope") != "link-local"
    )


def _listed(path: Mapping[str, Any], kind: str) -> list[str]:
    return list(path.get(kind, {}).get("list", ()))


def told_bird(text: str, hubs: list[str]) -> frozenset[Told]:
    """`text`: of `show route all`. `hubs`: in the order of the protocols `leyline_hub_1`, ..."""
    found: list[tuple[str, str, dict[str, str]]] = []
    prefix = ""
    for line in text.splitlines():
        if route := BIRD_ROUTE.match(line):
            prefix = route[1] or prefix
            found.append((hubs[int(route[2]) - 1], prefix, {}))
        elif (attribute := BIRD_ATTRIBUTE.match(line)) and found:
            found[-1][2][attribute[1]] = attribute[2]
        elif line.startswith("\t\t(") and found:  # More of a list than stands in one line.
            last = next(reversed(found[-1][2]))
            found[-1][2][last] += line
    return frozenset(_bird_route(*each) for each in found)


def _bird_route(hub: str, prefix: str, attributes: Mapping[str, str]) -> Told:
    next_hop = str(ip_address(attributes["next_hop"].split()[0]))  # After an IPv6 one stands the link-local one.
    med = int(attributes["med"]) if "med" in attributes else None
    listed = BIRD_COMMUNITY.findall(attributes.get("community", "") + attributes.get("large_community", ""))
    return Told(
        hub,
        prefix,
        next_hop,
        _as_path(attributes["as_path"]),
        med,
        int(attributes["local_pref"]),
        ORIGINS[attributes["origin"].lower()],
        _communities(":".join(each.replace(",", " ").split()) for each in listed),
    )


def _communities(*lists: Iterable[str]) -> frozenset[str]:
    return frozenset(each for listed in lists for each in listed if not RELAY.match(each))


def _as_path(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))
