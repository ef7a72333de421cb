"""Keys that differ only in the dead, on one kernel object: who shares, and what the object may hold meanwhile. Pure.

BFD takes a dead member out of its group at once; seconds later BGP withdraws its path, and the routes have other tiers,
which want what the group holds by then. Linux deals the buckets of a new object anew, so on one of their own flows of
members that live would change their gateway, and every route would be rewritten. So the group of the new tiers
*borrows* the object: its routes stand there under its own name (`Group.borrowed`), and no message goes out.

No packet goes where its route has no path, whatever happens in between, for three reasons:

1. For each route it stays known which tiers it wants, though it stands on the object of others.
2. An object with routes of several tiers is given only what all of them want at that moment (`common`), and what the
   kernel does to it by itself only makes it less.
3. They part as soon as they want different things, or somebody of those in whom they differ may be used again: the
   borrower gets an object, its routes move there, and only then the lender's holds what the lender wants. It is a
   return that parts them and not a death, and a return can wait: no failover walks routes for it. Where both come at
   once and nothing is common, the routes drop in silence until they have moved.

When no route of the lender's own tiers is on the object any more, it becomes the borrower's.
"""

from __future__ import annotations

from collections.abc import Iterable

from speaker.kernel.choice import Reach
from speaker.kernel.targets import Content
from speaker.rib.path import Tiers


def alike(one: Tiers, other: Tiers, reach: Reach) -> bool:
    """Whether they differ only in next hops to which there is no way at all: neither can be chosen for these."""
    return _without_the_dead(one, reach) == _without_the_dead(other, reach)


def common(own: Content | None, others: Iterable[Content | None]) -> Content | None:
    """What of `own` all the others want too; None when that is nothing: the object is left as it is."""
    kept = own or ()
    for other in others:
        wanted = {member for member, _ in other or ()}
        kept = tuple(entry for entry in kept if entry[0] in wanted)
    return kept or None


def _without_the_dead(tiers: Tiers, reach: Reach) -> Tiers:
    kept = (tuple(member for member in tier if reach.ways(member.next_hop)) for tier in tiers)
    return tuple(tier for tier in kept if tier)
