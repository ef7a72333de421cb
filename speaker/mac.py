"""The Ethernet address of a ZeroTier member: a function of its node id and the network's id. Pure.

Source: ZeroTier One 1.14, node/MAC.hpp, `fromAddress`, `toAddress` and `firstOctetForNetwork`.
"""

from __future__ import annotations

import re

NETWORK = re.compile(r"[0-9a-f]{16}")
NODE = re.compile(r"[0-9a-f]{10}")
KVM, INSTEAD_OF_KVM = 0x52, 0x32
"""The first octet that libvirt gives its guests; ZeroTier keeps out of it."""


def mac_of(node_id: str, network: str) -> bytes:
    """6 octets. Raises ValueError for what is no node id (10 hex digits) or no network id (16)."""
    if not NODE.fullmatch(node_id):
        raise ValueError(f"{node_id!r} is no ZeroTier node id: 10 hex digits, lower case")
    return bytes((_first_octet(network), *_mixed(bytes.fromhex(node_id), network)))


def node_of(mac: bytes, network: str) -> str:
    """The node id whose address in `network` is `mac`; "" when it is no member's. Raises ValueError as `mac_of`."""
    if len(mac) != 6 or mac[0] != _first_octet(network):
        return ""
    return _mixed(mac[1:], network).hex()


def mac_text(mac: bytes) -> str:
    return mac.hex(":")


def _first_octet(network: str) -> int:
    """Locally administered, never multicast."""
    octet = _octets(network)[7] & 0xFE | 0x02
    return INSTEAD_OF_KVM if octet == KVM else octet


def _mixed(address: bytes, network: str) -> bytes:
    """The other five octets from the node id, or back: XOR is its own inverse."""
    octets = _octets(network)
    return bytes(octet ^ octets[6 - at] for at, octet in enumerate(address))


def _octets(network: str) -> bytes:
    if not NETWORK.fullmatch(network):
        raise ValueError(f"{network!r} is no ZeroTier network id: 16 hex digits, lower case")
    return bytes.fromhex(network)
