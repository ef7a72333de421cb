"""By which of its own uplinks a gateway sends: in the order of its plan, by the first one that is usable. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Preferred(Protocol):
    @property
    def preference(self) -> int: ...


Each = TypeVar("Each", bound=Preferred)


def in_order(uplinks: Iterable[Each], *, is_hub: bool) -> tuple[Each, ...]:
    """The uplinks of one gateway, given as declared, in the order in which it sends by them.

    A spoke sends by the best preference, of equal ones by the one declared first; it watches its hubs over each of
    them. A hub watches everybody over its primary uplink alone, so that one stays the first: what it relays over
    another one nobody would see die.
    """
    return tuple(uplinks if is_hub else sorted(uplinks, key=lambda each: -each.preference))
