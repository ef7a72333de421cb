"""Messages about next-hop objects on their way, and what they were about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from speaker.kernel import messages as m
from speaker.kernel import parse
from speaker.kernel.hops import Hop
from speaker.kernel.port import Fault
from speaker.kernel.targets import Content, Group


@dataclass(slots=True)
class ObjectBatch:
    """Messages about objects, and what to remember when they went through. Applied before routes go on."""

    data: bytes
    hops: list[Hop] = field(default_factory=list)  # Put.
    groups: list[tuple[Group, int, Content]] = field(default_factory=list)  # Put under this id.
    dying: list[Hop] = field(default_factory=list)  # Deleted, after the groups: their neighbour is dead.
    deleted: list[int] = field(default_factory=list)  # Nothing knows them any more.


def group_message(group: Group, content: Content) -> bytes:
    flags = m.CREATE if group.content is None else m.REPLACE
    return m.put_group(group.nhid, content, flags, group.resilient)


def by_object(faults: Iterable[Fault]) -> Iterator[tuple[int, Fault]]:
    for fault in faults:
        nexthop = parse.Request(fault.message).nexthop
        if nexthop is not None:
            yield nexthop.id, fault
