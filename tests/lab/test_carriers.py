"""Which gateway carries which stream: packets read as values, and seen on a real interface."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.carriers import Carriers, Stream, stream_of
from lab.node import Node
from tests.netns.namespaces import Namespace, veth, wait_until

SOURCE, TARGET = "10.1.0.10", "10.2.0.10"


def packet(protocol: int, body: bytes, *, options: bytes = b"", fragment: int = 0) -> bytes:
    words = 5 + len(options) // 4
    addresses = socket.inet_aton(SOURCE) + socket.inet_aton(TARGET)
    head = struct.pack("!BBHHHBBH", 4 << 4 | words, 0, 0, 0, fragment, 64, protocol, 0)
    return head + addresses + options + body


UDP = struct.pack("!HHHH", 4000, 7000, 9, 0)
ECHO = struct.pack("!BBHHH", 8, 0, 0, 77, 3)


@pytest.mark.parametrize("options", [b"", b"\x01" * 4], ids=["plain", "with options"])
def test_udp_is_told_by_its_ports(options: bytes) -> None:
    found = stream_of(packet(socket.IPPROTO_UDP, UDP, options=options))
    assert found == Stream(SOURCE, TARGET, socket.IPPROTO_UDP, (4000, 7000))


def test_a_ping_is_told_by_its_identifier() -> None:
    assert stream_of(packet(socket.IPPROTO_ICMP, ECHO)) == Stream(SOURCE, TARGET, socket.IPPROTO_ICMP, (8, 77))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x45" * 19,
        packet(socket.IPPROTO_UDP, UDP[:7]),
        packet(socket.IPPROTO_UDP, UDP, fragment=0x2001),
        packet(socket.IPPROTO_TCP, UDP + bytes(12)),
        packet(socket.IPPROTO_ICMP, struct.pack("!BBHHH", 3, 1, 0, 0, 0)),
        b"\x60" + packet(socket.IPPROTO_UDP, UDP)[1:],
    ],
    ids=["nothing", "short", "half a header", "fragment", "TCP", "an error", "IPv6"],
)
def test_what_is_no_stream_is_left_out(data: bytes) -> None:
    assert stream_of(data) is None


@pytest.fixture
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    """Joined by two links: 10.1.0/24 over `left`, 10.2.0/24 over `right`."""
    with Namespace("carriers", "a") as a, Namespace("carriers", "b") as b:
        for name, network in (("left", "10.1.0"), ("right", "10.2.0")):
            veth(a, name, [f"{network}.1/24"], b, name, [f"{network}.2/24"])
        yield a, b


@pytest.mark.root
def test_packets_are_seen_where_they_arrive_and_not_where_they_leave(
    ends: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    a, b = (Node("lab", end.name, os.getpid(), end.name, {}, tmp_path) for end in ends)
    with Carriers({"left": (b, "left"), "right": (b, "right"), "sender": (a, "left")}) as seen:
        for address, count in (("10.1.0.2", 3), ("10.2.0.2", 2)):
            command = ["ip", "netns", "exec", ends[0].name, "ping", "-q", "-c", str(count), "-i", "0.01", address]
            subprocess.run(command, check=True, capture_output=True)
        wait_until(lambda: sum(seen.counts().values()) == 8, 5, lambda: str(seen.counts()))
        assert seen.counts() == {"left": 3, "right": 2, "sender": 3}, "the sender sees the answers of one link only"
        assert seen.counts("10.2.0.2") == {"left": 0, "right": 2, "sender": 0}
        assert list(seen.of_streams("10.1.0.2").values()) == [["left"]]
        mac = ends[0].run("cat", "/sys/class/net/left/address").strip()
        assert {one.sender for one in seen.packets("10.1.0.2")} == {mac}
