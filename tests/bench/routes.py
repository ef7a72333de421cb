"""The routes of the benchmarks: /24 prefixes in blocks that share an attribute set, in everybody's words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FIRST = 0x20000000  # 32.0.0.0
ALLOCATION = "32.0.0.0/4"
MARK = 65000
"""Large community (MARK, 1, n) makes the n-th attribute set: not the fabric's AS, so that a hub leaves it alone."""


@dataclass(frozen=True)
class Load:
    routes: int = 1_000_000
    sets: int = 1_000

    def prefixes(self) -> Iterator[str]:
        for number in range(self.routes):
            value = FIRST + (number << 8)
            yield f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.0/24"

    def set_of(self, number: int) -> int:
        """Blocks of neighbours share their attributes, as the prefixes of one origin do."""
        return number * self.sets // self.routes

    def blocks(self) -> Iterator[tuple[int, list[str]]]:
        """(attribute set, its prefixes)."""
        block: list[str] = []
        for number, prefix in enumerate(self.prefixes()):
            block.append(prefix)
            if number + 1 == self.routes or self.set_of(number + 1) != self.set_of(number):
                yield self.set_of(number), block
                block = []

    def bird_static(self, name: str = "load", *, disabled: bool = False) -> str:
        """A BIRD static protocol with all of it."""
        lines = [f"protocol static {name} {{", "  disabled;" if disabled else "", "  ipv4;"]
        for number, block in self.blocks():
            attribute = f"{{ bgp_large_community.add(({MARK}, 1, {number})); }}"
            lines += [f"  route {prefix} unreachable {attribute};" for prefix in block]
        return "\n".join([*lines, "}"]) + "\n"
