"""Permanent neighbour entries on a real kernel: the contract, forwarding without ARP, interfaces that go and return."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from speaker.kernel.neighbour_messages import NUD_NOARP, NUD_PERMANENT, Name
from speaker.kernel.neighbours import LinuxNeighbours, NeighbourKernel, NeighbourTable
from speaker.mac import mac_of, mac_text
from tests.netns.namespaces import Namespace, inside, segment, veth, wait_until
from tests.speaker.kernel.neighbour_contract import MAC, STALE, NeighbourContract

pytestmark = pytest.mark.root

STATES = {NUD_PERMANENT: "permanent", NUD_NOARP: "noarp", STALE: "stale"}
NETWORK = "8056c2e21c000001"
NODES = {"a": "a000000001", "b": "a000000002"}
ADDRESSES = {"a": ("10.50.0.1", "fd50::1"), "b": ("10.50.0.2", "fd50::2")}


NO_ARP = """table bridge segment {
    chain forward {
        type filter hook forward priority 0; policy accept;
        ether type arp drop
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } drop
    }
}
"""


class LinuxWorld:
    open: Callable[[], NeighbourKernel] = LinuxNeighbours

    def __init__(self, near: Namespace) -> None:
        self.near = near
        self.index = socket.if_nametoindex("eth0")

    def place(self, name: Name, mac: bytes, state: int, protocol: int) -> None:
        said = ("protocol", str(protocol)) if protocol else ()
        address = str(ip_address(name.address))
        self.near.run(
            *("ip", "neigh", "replace", address, "lladdr", mac_text(mac), "dev", "eth0"), *("nud", STATES[state]), *said
        )


class TestLinux(NeighbourContract):
    @pytest.fixture
    def world(self) -> Iterator[LinuxWorld]:
        with Namespace("neigh", "near") as near, Namespace("neigh", "far") as far:
            veth(near, "eth0", ["10.42.0.1/16", "fd42:42::1/64"], far, "eth0", ["10.42.0.2/16"])
            with inside(near.name):
                yield LinuxWorld(near)


@pytest.fixture
def pair() -> Iterator[dict[str, Namespace]]:
    """Two members whose cards have the MACs that ZeroTier would give them. The segment carries no ARP and no ND."""
    addresses = {name: (f"{v4}/24", f"{v6}/64") for name, (v4, v6) in ADDRESSES.items()}
    with segment("neigh", addresses) as members:
        for name, namespace in members.items():
            namespace.run("ip", "link", "set", "eth0", "address", mac_text(mac_of(NODES[name], NETWORK)))
            wait_until(lambda: not namespace.run("ip", "-6", "address", "show", "tentative"), 15)  # noqa: B023
            namespace.run("ip", "neigh", "flush", "dev", "eth0")
        Namespace("neigh", "switch").run("nft", "-f", "-", stdin=NO_ARP)
        yield members


def told(near: Namespace, other: str, *, mac: bytes | None = None) -> list[str]:
    """`near` gets entries for both addresses of `other`; the errors."""
    with inside(near.name):
        index = socket.if_nametoindex("eth0")
        known = mac or mac_of(NODES[other], NETWORK)
        desired = {Name(index, ip_address(text).packed): known for text in ADDRESSES[other]}
        return NeighbourTable().apply(desired).errors


def answered(near: Namespace, address: str) -> bool:
    return " 0% packet loss" in near.run("ping", "-n", "-c", "2", "-i", "0.1", "-W", "1", address, check=False)


@pytest.mark.parametrize("family", [0, 1])
def test_packets_pass_where_nobody_answers_arp(pair: dict[str, Namespace], family: int) -> None:
    a, b = pair["a"], pair["b"]
    assert not answered(a, ADDRESSES["b"][family]), "without entries nothing passes: else this test shows nothing"
    assert told(a, "b") == told(b, "a") == []
    assert answered(a, ADDRESSES["b"][family])
    assert answered(b, ADDRESSES["a"][family])
    assert told(a, "b", mac=MAC) == []
    assert not answered(a, ADDRESSES["b"][family]), "it is the entry that decides"


def test_iproute2_shows_them_as_ours(pair: dict[str, Namespace]) -> None:
    a = pair["a"]
    assert told(a, "b") == []
    for family, address in (("-4", ADDRESSES["b"][0]), ("-6", ADDRESSES["b"][1])):
        shown = a.run("ip", "-d", family, "neigh", "show", address)
        assert mac_text(mac_of(NODES["b"], NETWORK)) in shown
        assert "PERMANENT" in shown
        assert "proto 76" in shown, shown


def test_they_stay_while_the_carrier_is_away_and_go_with_the_interface(pair: dict[str, Namespace]) -> None:
    a = pair["a"]
    assert told(a, "b") == []
    switch = Namespace("neigh", "switch")
    switch.run("ip", "link", "set", "port0", "down")
    assert "PERMANENT" in a.run("ip", "neigh", "show", ADDRESSES["b"][0])
    switch.run("ip", "link", "set", "port0", "up")
    a.run("ip", "link", "set", "eth0", "down")
    a.run("ip", "link", "set", "eth0", "up")
    assert "PERMANENT" not in a.run("ip", "neigh", "show", ADDRESSES["b"][0])
    assert told(a, "b") == []
    assert "PERMANENT" in a.run("ip", "neigh", "show", ADDRESSES["b"][0])


def test_ten_thousand_entries(pair: dict[str, Namespace]) -> None:
    """More than the kernel's own bound on what it resolves (gc_thresh3, 1024): permanent ones do not count there."""
    a = pair["a"]
    with inside(a.name):
        index = socket.if_nametoindex("eth0")
        desired = {Name(index, (0x0A320100 + n).to_bytes(4, "big")): MAC for n in range(10_000)}
        outcome = NeighbourTable().apply(desired)
        assert (outcome.standing, outcome.errors) == (10_000, [])
        assert NeighbourTable().apply({}).removed == 10_000
