"""ARP frames over Ethernet (RFC 826), to ask who has an address and to say that we have one (RFC 5227)."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address

ETH_P_ARP = 0x0806
ARP = struct.Struct("!6s6sH HHBBH 6s4s6s4s")  # RFC 826, over Ethernet, for IPv4.
REQUEST, REPLY = 1, 2
BROADCAST, NOBODY = b"\xff" * 6, bytes(6)

ANNOUNCE_NUM = 2
ANNOUNCE_SECONDS = 2.0
"""RFC 5227 1.1: so many announcements, so far apart."""


def arp_probe(own: bytes, wanted: bytes) -> bytes:
    """A request that claims nothing: its sender's address is 0.0.0.0. Pure."""
    return _request(own, bytes(4), wanted)


def arp_announcement(own: bytes, address: bytes) -> bytes:
    """A request for our own address, which all who have an entry for it correct by. Pure."""
    return _request(own, address, address)


def announce(device: str, address: str) -> None:
    """Say on the segment, once, that `address` is behind this interface. Raises OSError."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as sock:
        sock.bind((device, 0))
        sock.send(arp_announcement(bytes(sock.getsockname()[4]), IPv4Address(address).packed))


def _request(own: bytes, sender: bytes, wanted: bytes) -> bytes:
    return ARP.pack(BROADCAST, own, ETH_P_ARP, 1, 0x0800, 6, 4, REQUEST, own, sender, NOBODY, wanted)
