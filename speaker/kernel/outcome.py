"""What came of bringing the kernel to the wishes."""

from __future__ import annotations

from dataclasses import dataclass, field

from speaker.rib.prefix import Family, Key


@dataclass(slots=True)
class Outcome:
    """What one flush did."""

    installed: int = 0  # Routes put in or moved.
    removed: int = 0
    failed: list[tuple[Family, Key, int, str]] = field(default_factory=list)  # Refused; at most 1,000 are listed.
    failures: int = 0  # All of them.
    remaining: int = 0  # Wanted, but waiting: for an interface, a next hop, or another try.
    faults: list[str] = field(default_factory=list)  # Next hops and groups that the kernel refused, and a dead socket.

    @property
    def converged(self) -> bool:
        return not (self.failures or self.remaining or self.faults)
