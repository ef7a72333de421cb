"""TCP's MSS through a gateway: what real SYNs say that crossed it, both ways and in both families."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterator

import pytest

from speaker.kernel.nft import Nft, NftRules
from tests.netns.namespaces import Namespace, inside, segment, veth, wait_until

pytestmark = pytest.mark.root

SERVER, GATEWAY, LAN = ("10.50.0.2", "fd50::2"), ("10.50.0.1", "fd50::1"), ("10.51.0.2", "fd51::2")
HEADERS = (40, 60)
PORT = 7777
ETH_P_ALL, TCP, SYN, MSS, NOP, END = 3, 6, 0x02, 2, 1, 0

SERVE = f"""
import socket, sys
listening = socket.create_server(("::", {PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    listening.accept()[0].close()
"""
CONNECT = f"import socket, sys; socket.create_connection((sys.argv[1], {PORT}), 5).close()"


def mss_of(frame: bytes) -> int | None:
    """What a SYN says; None for any other packet."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == 0x0800 and frame[23] == TCP:
        start = 14 + (frame[14] & 15) * 4
    elif kind == 0x86DD and frame[20] == TCP:
        start = 54
    else:
        return None
    if not frame[start + 13] & SYN:
        return None
    at, end = start + 20, start + (frame[start + 12] >> 4) * 4
    while at < end and frame[at] != END:
        if frame[at] == MSS:
            return int(struct.unpack_from("!H", frame, at + 2)[0])
        at += 1 if frame[at] == NOP else frame[at + 1]
    return None


class World:
    def __init__(self, members: dict[str, Namespace], lan: Namespace) -> None:
        self.gateway, self.server, self.lan = members["gateway"], members["server"], lan
        self.nft = Nft()

    def clamp(self, mtu: int) -> None:
        with inside(self.gateway.name):
            assert self.nft.apply(NftRules(("eth0",), "spoke", frozenset(), 300, mtu)) == ""

    def said(self, family: int) -> tuple[int, int]:
        """(MSS of the LAN's SYN as the server gets it, MSS of the server's answer as the LAN gets it)."""
        caught = []
        for namespace, device in ((self.server, "eth0"), (self.lan, "eth0")):
            with inside(namespace.name):
                tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
                tap.bind((device, 0))
                tap.setblocking(False)
                caught.append(tap)
        self.lan.run(sys.executable, "-c", CONNECT, SERVER[family])
        # At the server both SYNs pass by, as at the LAN: the first one seen came in there, the second one here.
        at_server, at_lan = (self._read(tap) for tap in caught)
        return at_server[0], at_lan[1]

    def _read(self, tap: socket.socket) -> list[int]:
        found: list[int] = []
        deadline = time.monotonic() + 5
        with tap:
            while len(found) < 2 and time.monotonic() < deadline:
                try:
                    mss = mss_of(tap.recv(2048))
                except BlockingIOError:
                    time.sleep(0.01)
                    continue
                found += [mss] if mss is not None else []
        assert len(found) == 2, "two SYNs"
        return found


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    addresses = {
        "gateway": [f"{GATEWAY[0]}/24", f"{GATEWAY[1]}/64"],
        "server": [f"{SERVER[0]}/24", f"{SERVER[1]}/64"],
    }
    with segment("mss", addresses) as members, Namespace("mss", "lan") as lan:
        veth(members["gateway"], "lan0", ["10.51.0.1/24", "fd51::1/64"], lan, "eth0", [f"{LAN[0]}/24", f"{LAN[1]}/64"])
        members["gateway"].run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for namespace, device, ways in ((lan, "eth0", ("10.51.0.1", "fd51::1")), (members["server"], "eth0", GATEWAY)):
            for prefix, way in zip(("0.0.0.0/0", "::/0"), ways, strict=True):
                namespace.run("ip", "route", "add", prefix, "via", way, "dev", device)
        for namespace in (lan, *members.values()):
            wait_until(lambda: not namespace.run("ip", "-6", "address", "show", "tentative"), 15)  # noqa: B023
        members["server"].start(sys.executable, "-c", SERVE)
        wait_until(lambda: str(PORT) in members["server"].run("ss", "-tlnH"), 15)
        yield World(members, lan)


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_without_the_clamp_hosts_say_what_their_own_links_carry(world: World, family: int) -> None:
    world.clamp(0)
    assert world.said(family) == (1500 - HEADERS[family],) * 2


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("mtu", [1280, 1400])
def test_both_ends_are_told_what_the_segment_carries(world: World, family: int, mtu: int) -> None:
    world.clamp(mtu)
    assert world.said(family) == (mtu - HEADERS[family],) * 2


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_it_is_never_raised(world: World, family: int) -> None:
    world.clamp(9000)
    assert world.said(family) == (1500 - HEADERS[family],) * 2


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_route_that_carries_less_than_the_segment_counts(world: World, family: int) -> None:
    """The interface's own MTU, for one: an uplink that was made with another than the fabric's."""
    world.clamp(2800)
    world.gateway.run("ip", "link", "set", "eth0", "mtu", "1350")
    try:
        assert world.said(family) == (1350 - HEADERS[family],) * 2
    finally:
        world.gateway.run("ip", "link", "set", "eth0", "mtu", "1500")


def test_what_does_not_cross_the_segment_is_left_alone(world: World) -> None:
    with Namespace("mss", "other") as other:
        veth(world.gateway, "lan1", ["10.52.0.1/24"], other, "eth0", ["10.52.0.2/24"])
        other.run("ip", "route", "add", "default", "via", "10.52.0.1")
        other.start(sys.executable, "-c", SERVE)
        wait_until(lambda: str(PORT) in other.run("ss", "-tlnH"), 15)
        world.clamp(1280)
        with inside(other.name):
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            tap.bind(("eth0", 0))
            tap.setblocking(False)
        world.lan.run(sys.executable, "-c", CONNECT, "10.52.0.2")
        assert world._read(tap)[0] == 1460
