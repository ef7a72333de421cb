"""Sends bad BFD packets, as `python -m tests.netns.bfd_flood SECONDS A_SECOND VICTIM CAPTURE SOURCE...`.

Run in the namespace of the attacker. CAPTURE is a file of lines "source hex", packets that the victim got before; the
attacker says them again with the source's address, and its own inventions beside them. Prints how many were sent.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

IP_TRANSPARENT = 19


def sender(source: str, ttl: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    made.bind((source, 0))
    return made


def attacks(own: str, captured: list[tuple[str, bytes]], sources: list[str]) -> Iterator[tuple[str, int, bytes]]:
    """(source, TTL, payload), for ever, all kinds in turn."""
    chance = random.Random(1)
    while True:
        source, replay = chance.choice(captured)
        spoofed = chance.choice(sources)
        (yours,) = struct.unpack_from("!I", replay, 8)
        forged = struct.pack("!BBBBIIIII", 0x20, 0x40, 3, 24, chance.getrandbits(32) | 1, 0, 1, 1, 0)
        yield from (
            (own, 255, replay),  # A stranger.
            (own, 255, forged),
            (source, 254, replay),  # Not from this segment.
            (source, 254, forged),
            (source, 255, replay),  # What it has said, once more.
            (spoofed, 255, chance.randbytes(chance.randrange(60))),
            (spoofed, 255, replay[:3] + b"\xff" + replay[4:]),
            (spoofed, 255, bytes([0x20, 0x40, 0]) + replay[3:]),
            (spoofed, 255, bytes([0x20, 0x44, 3, 28]) + replay[4:] + bytes(4)),
            (spoofed, 255, struct.pack("!BBBBIIIII", 0x20, 0x40, 3, 24, 5, chance.getrandbits(32) | 1, 1, 1, 0)),
        )
        if yours:
            # Our victim's own discriminator: reflected, and under somebody else's address.
            yield source, 255, struct.pack("!BBBBIIIII", 0x20, 0x40, 3, 24, yours, 0, 1, 1, 0)
            yield (spoofed if spoofed != source else own), 255, replay


def main() -> None:
    seconds, rate, victim, capture, own, *sources = sys.argv[1:]
    captured = [(line.split()[0], bytes.fromhex(line.split()[1])) for line in Path(capture).read_text().splitlines()]
    sockets: dict[tuple[str, int], socket.socket] = {}
    started, sent = time.monotonic(), 0
    for source, ttl, payload in attacks(own, captured, sources):
        if (source, ttl) not in sockets:
            sockets[source, ttl] = sender(source, ttl)
        sockets[source, ttl].sendto(payload, (victim, 3784))
        sent += 1
        ahead = sent / float(rate) - (time.monotonic() - started)
        if ahead > 0.005:
            time.sleep(ahead)
        if time.monotonic() - started > float(seconds):
            break
    print(sent)


if __name__ == "__main__":
    main()
