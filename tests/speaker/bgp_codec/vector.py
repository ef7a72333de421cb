"""Vectors: a session, one UPDATE in hex, and what it says. One text file each, in `vectors/`.

# why it is here
session ibgp as4 receive=ipv4,ipv6 families=ipv4,ipv6
0000 ...                         # hex; the body, without marker, length and type
says
announced 7 10.0.1.0/24          # as `describe` writes it; or: reset CODE SUBCODE text
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speaker.bgp.decode import Decoder
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import SessionReset
from speaker.rib.prefix import Family
from tests.speaker.bgp_codec.describe import describe

VECTORS = Path(__file__).with_name("vectors")


@dataclass(frozen=True)
class Vector:
    negotiated: Negotiated
    ibgp: bool
    body: bytes
    says: list[str]

    def decoded(self) -> list[str]:
        try:
            return describe(Decoder(self.negotiated, self.ibgp).decode(self.body))
        except SessionReset as reset:
            return [f"reset {reset.code} {reset.subcode} {reset.text}"]


def load(path: Path) -> Vector:
    text = "\n".join(line.split("#")[0].rstrip() for line in path.read_text().splitlines())
    before, says = text.split("\nsays\n")
    session, hexadecimal = before.strip().split("\n", 1)
    words = session.split()
    options = dict(word.split("=") for word in words if "=" in word)
    negotiated = Negotiated(
        add_path_receive=_families(options.get("receive", "")),
        as4="as2" not in words,
        families=_families(options["families"]),
    )
    return Vector(negotiated, "ibgp" in words, bytes.fromhex(hexadecimal), [line for line in says.split("\n") if line])


def _families(text: str) -> frozenset[Family]:
    return frozenset(Family(name) for name in text.split(",") if name)
