"""The BFD control packet (RFC 5880 4.1). Pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

ADMIN_DOWN, DOWN, INIT, UP = range(4)
STATE_NAMES = ("AdminDown", "Down", "Init", "Up")

NO_DIAGNOSTIC = 0
DETECTION_TIME_EXPIRED = 1
NEIGHBOUR_SIGNALLED_DOWN = 3
FORWARDING_PLANE_RESET = 4
ADMINISTRATIVELY_DOWN = 7

VERSION = 1
OCTETS = 24
_FORMAT = struct.Struct("!BBBBIIIII")
_POLL, _FINAL, _INDEPENDENT, _AUTHENTICATION, _DEMAND, _MULTIPOINT = 0x20, 0x10, 0x08, 0x04, 0x02, 0x01


class Discard(ValueError):
    """RFC 5880 6.8.6 wants the packet discarded. `reason` is a short fixed word, for counting."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Packet(NamedTuple):
    """One control packet without authentication. Intervals in microseconds."""

    state: int
    diagnostic: int
    multiplier: int
    my_discriminator: int
    your_discriminator: int
    desired_min_tx_us: int
    required_min_rx_us: int
    required_min_echo_rx_us: int = 0
    poll: bool = False
    final: bool = False
    control_plane_independent: bool = False
    demand: bool = False


def encode(packet: Packet) -> bytes:
    """24 octets. Raises struct.error for a number that does not fit its field."""
    flags = packet.state << 6
    flags |= _POLL if packet.poll else 0
    flags |= _FINAL if packet.final else 0
    flags |= _INDEPENDENT if packet.control_plane_independent else 0
    flags |= _DEMAND if packet.demand else 0
    return _FORMAT.pack(
        VERSION << 5 | packet.diagnostic,
        flags,
        packet.multiplier,
        OCTETS,
        packet.my_discriminator,
        packet.your_discriminator,
        packet.desired_min_tx_us,
        packet.required_min_rx_us,
        packet.required_min_echo_rx_us,
    )


def decode(payload: bytes) -> Packet:
    """The packet in a UDP payload. Raises Discard, and nothing else, for all that 6.8.6 refuses without a session.

    We do not authenticate, so a packet with the A bit is discarded. Octets beyond Length are ignored.
    """
    if len(payload) < OCTETS:
        raise Discard("length")
    first, flags, multiplier, length, mine, yours, desired, required, echo = _FORMAT.unpack_from(payload)
    if first >> 5 != VERSION:
        raise Discard("version")
    if length < (OCTETS + 2 if flags & _AUTHENTICATION else OCTETS) or length > len(payload):
        raise Discard("length")
    if not multiplier:
        raise Discard("multiplier")
    if flags & _MULTIPOINT:
        raise Discard("multipoint")
    if not mine:
        raise Discard("my-discriminator")
    state = flags >> 6
    if not yours and state not in (DOWN, ADMIN_DOWN):
        raise Discard("your-discriminator")
    if flags & _AUTHENTICATION:
        raise Discard("authentication")
    return Packet(
        state,
        first & 0x1F,
        multiplier,
        mine,
        yours,
        desired,
        required,
        echo,
        bool(flags & _POLL),
        bool(flags & _FINAL),
        bool(flags & _INDEPENDENT),
        bool(flags & _DEMAND),
    )
