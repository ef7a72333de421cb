"""A ZeroTier world with one root of our own, as the bytes of a `planet` file. Pure.

Layout: node/World.hpp, node/Identity.hpp and node/InetAddress.hpp (`serialize`) of ZeroTier One 1.14.1. A service takes
the first planet that it finds on its disk as it is; its built-in one then has another id and does not replace it
(node/Topology.cpp, constructor). So no signature is checked, and here it is zeros; services that are to take *another*
planet over the wire later would check it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address

TYPE_PLANET = 1
WORLD_ID = 0x6C65796C696E65
"""Not Earth's (149604618): that is how the built-in planet is kept out."""
WORLD_TIME_MS = 1
PUBLIC_KEY_BYTES = 64
SIGNATURE_BYTES = 96

_IDENTITY = re.compile(r"([0-9a-f]{10}):0:([0-9a-f]{128})(?::([0-9a-f]{128}))?", re.ASCII)


@dataclass(frozen=True)
class Identity:
    """Who a node is. `secret` is the text of its identity.secret."""

    secret: str

    def __post_init__(self) -> None:
        """Raises ValueError when the text is no secret identity."""
        found = _IDENTITY.fullmatch(self.secret)
        if found is None or found[3] is None:
            raise ValueError("no secret identity of a ZeroTier node (ADDRESS:0:PUBLIC:PRIVATE)")

    def __repr__(self) -> str:
        return f"Identity({self.node_id})"

    @property
    def node_id(self) -> str:
        return self.secret.partition(":")[0]

    @property
    def public(self) -> str:
        """The text of its identity.public."""
        return self.secret.rpartition(":")[0]


def planet(root: Identity, address: IPv4Address, port: int) -> bytes:
    """The world whose only root is `root`, to be found at `address` and UDP `port`."""
    key = bytes.fromhex(root.public.rpartition(":")[2])
    identity = bytes.fromhex(root.node_id) + b"\x00" + key + b"\x00"  # Of type 0; without its private key.
    endpoint = b"\x04" + address.packed + port.to_bytes(2, "big")
    return (
        bytes([TYPE_PLANET])
        + WORLD_ID.to_bytes(8, "big")
        + WORLD_TIME_MS.to_bytes(8, "big")
        + bytes(PUBLIC_KEY_BYTES + SIGNATURE_BYTES)
        + b"\x01"
        + identity
        + b"\x01"
        + endpoint
    )


BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def interface_name(network: str) -> str:
    """The name that a service on Linux gives to the interface of `network` (16 hex digits): the same on every member.

    osdep/LinuxEthernetTap.cpp: "zt", then 40 bits of the folded network id in base 32.
    """
    number = int(network, 16)
    folded = (number ^ (number >> 24)) & (1 << 40) - 1
    return "zt" + "".join(BASE32[folded >> shift & 31] for shift in range(35, -5, -5))
