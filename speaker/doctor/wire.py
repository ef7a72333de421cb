"""What only shows on the wire: who else answers for our address, and which echoes come back. Needs root; bounded."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from time import monotonic

from speaker.kernel.arp import ARP, ETH_P_ARP, arp_probe
from speaker.liveness.probes import HEADER, answers, echo

SECONDS = 1.0
TRIES = 2


def who_else_has(device: str, address: str, seconds: float = SECONDS) -> tuple[str, ...]:
    """MACs of others that answer an ARP probe (RFC 5227 2.1) for an address that is ours. Raises OSError."""
    wanted = IPv4Address(address).packed
    found: dict[bytes, None] = {}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(ETH_P_ARP)) as sock:
        sock.bind((device, ETH_P_ARP))
        own = bytes(sock.getsockname()[4])
        end = monotonic() + seconds
        for attempt in range(TRIES):
            sock.send(arp_probe(own, wanted))
            for frame in _frames(sock, min(end, monotonic() + seconds / TRIES) if attempt + 1 < TRIES else end):
                mac = says_it_has(frame, wanted)
                if mac is not None and mac != own:
                    found[mac] = None
    return tuple(mac.hex(":") for mac in found)


def says_it_has(frame: bytes, wanted: bytes) -> bytes | None:
    """The sender's MAC, when the frame says that it has the address. Pure."""
    if len(frame) < ARP.size:
        return None
    _, _, kind, hardware, protocol, _, _, _, mac, address, _, _ = ARP.unpack_from(frame)
    ours = (kind, hardware, protocol) == (ETH_P_ARP, 1, 0x0800)
    return bytes(mac) if ours and address == wanted else None


def _frames(sock: socket.socket, end: float) -> Iterator[bytes]:
    while (left := end - monotonic()) > 0:
        sock.settimeout(left)
        try:
            yield sock.recv(2048)
        except TimeoutError:
            return


def answers_from(source: str, target: str, device: str, seconds: float = SECONDS) -> bool:
    """Whether an IPv4 echo from one of our addresses, out of this interface, comes back. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.bind((source, 0))
        for sequence in range(TRIES):
            identifier = secrets.randbits(16)
            sock.sendto(echo(4, identifier, sequence), (target, 0))
            end = monotonic() + seconds / TRIES
            for packet in _frames(sock, end):
                if answers(4, packet, identifier, sequence) and len(packet) >= 20 + HEADER.size:
                    return True
    return False
