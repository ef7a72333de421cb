"""Sessions with who carries nothing yet, but would if somebody died: whether it answers must be known before that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from ipaddress import ip_address
from itertools import islice

from speaker.liveness.damping import Pair
from speaker.liveness.reach import Directory


def spares(
    known: Directory,
    wanted: Collection[Pair],
    anchors: Sequence[Collection[str]],
    beside: Callable[[Collection[bytes]], Collection[bytes]],
    usable: Collection[str],
) -> frozenset[Pair]:
    """The pairs to add to those `wanted`: what is left of `max_sessions` is all that they get.

    `anchors`: far uplinks that are dead or in use, the most important ones first. Their traffic may go over our other
    uplinks, or to those that stand `beside` them in a group. First everybody by our first uplink, then by the second.
    """
    room = known.plan.liveness.max_sessions - sum(pair not in known.always for pair in wanted)
    found = (pair for some in anchors for pair in _of(known, some, beside, usable) if pair not in wanted)
    return frozenset(islice(dict.fromkeys(found), max(0, room)))


def _of(
    known: Directory,
    anchors: Collection[str],
    beside: Callable[[Collection[bytes]], Collection[bytes]],
    usable: Collection[str],
) -> Iterator[Pair]:
    hops = [hop for remote in anchors for hop in known.far_uplink(ip_address(remote).packed).hops]
    others = {known.far_uplink(hop).remote for hop in (beside(hops) if hops else ())}.difference(anchors)
    remotes = [*sorted(anchors), *sorted(others)]
    for device, end in known.local.items():
        if device in usable:
            yield from ((device, remote) for remote in remotes if end.address6 is not None or ":" not in remote)
