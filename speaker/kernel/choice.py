"""Which members a group holds: by interfaces, by liveness, tier after tier, then by detour. Pure.

Liveness is no input of the decision (design rule 3): a group's tiers stay what they are, and only
what is said here follows who is dead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal, NamedTuple

from speaker.kernel.messages import MAX_WEIGHT
from speaker.rib.path import Member, Tier, Tiers

MAX_MEMBERS = 256
"""Of one group."""

Pair = tuple[str, bytes]
"""A local interface and a remote overlay address of 4 or 16 octets: what a liveness session is about."""


class Relay(NamedTuple):
    """A way to a next hop: through this interface and this neighbour. With a label, the neighbour pops and forwards."""

    device: str
    address: bytes  # Of the family of the next hop that it leads to.
    label: int | None = None


class Reach:
    """What can be used now: interfaces that are up, in the plan's order, and what is dead behind each.

    Who is not known to be dead is alive. All but `links` are whole values, set from outside.
    """

    def __init__(self, devices: tuple[str, ...]) -> None:
        self.devices = devices
        self.lans: Mapping[bytes, str] = {}
        """Next hops in LANs -> interface. Only that one leads there, and liveness does not know them."""
        self.links: dict[str, int] = {}  # Usable interfaces: name -> index.
        self.dead: frozenset[Pair] = frozenset()
        self.held: frozenset[Pair] = frozenset()  # Of the dead, those that answer again and are not trusted yet.
        self.silent: frozenset[Pair] = frozenset()  # Asked for some time, and never heard: not dead, but no way out.
        self.relays: Mapping[bytes, tuple[Relay, ...]] = {}

    def update(
        self,
        dead: frozenset[Pair],
        relays: Mapping[bytes, tuple[Relay, ...]],
        held: frozenset[Pair],
        silent: frozenset[Pair] = frozenset(),
    ) -> set[bytes]:
        """Take the new values. Returns the next hops whose ways may have changed, orphaned detours included."""
        flipped = self.dead ^ dead
        changed = {address for _, address in flipped | (self.held ^ held) | (self.silent ^ silent)}
        for before, after in ((self.relays, relays), (relays, self.relays)):
            for next_hop, ways in before.items():
                if after.get(next_hop, ()) != ways or any((way.device, way.address) in flipped for way in ways):
                    changed.add(next_hop)
        self.dead = dead
        self.held = held
        self.silent = silent
        self.relays = dict(relays)
        return changed

    @property
    def stranded(self) -> bool:
        """No interface of ours is up: the kernel has dropped all, and nothing can be said about anybody."""
        return not any(device in self.links for device in self.devices)

    def towards(self, next_hop: bytes) -> tuple[str, ...]:
        """The interfaces that it may be behind."""
        lan = self.lans.get(next_hop)
        return self.devices if lan is None else (lan,)

    def direct(self, next_hop: bytes) -> Relay | None:
        """Through the first usable interface behind which it is not dead."""
        for device in self.towards(next_hop):
            if device in self.links and (device, next_hop) not in self.dead:
                return Relay(device, next_hop)
        return None

    def trusted(self, next_hop: bytes, *, fallback: bool = False) -> Relay | None:
        """The same, but where something better died a silent pair is passed over: behind it may be nobody.

        `fallback`: something better than this next hop did. What stands first may be silent: who has no BFD is.
        """
        for device in self.towards(next_hop):
            pair = (device, next_hop)
            if pair in self.dead:
                fallback = True
            elif device in self.links and not (fallback and pair in self.silent):
                return Relay(device, next_hop)
        return None

    def unheard(self, next_hop: bytes) -> Relay | None:
        """The first usable way to who was never heard, and may have no BFD at all.

        None where it died behind another interface of ours: it has BFD then, and its silence here is no better.
        """
        if any((device, next_hop) in self.dead for device in self.towards(next_hop)):
            return None
        return self.direct(next_hop)

    def last_resort(self, next_hop: bytes) -> Relay | None:
        """Where it is dead everywhere: through the first usable interface behind which it answers again."""
        if self.trusted(next_hop) is not None:
            return None
        devices = (device for device in self.devices if device in self.links and (device, next_hop) in self.held)
        return next((Relay(device, next_hop) for device in devices), None)

    def detours(self, next_hop: bytes) -> tuple[Relay, ...]:
        return tuple(
            way
            for way in self.relays.get(next_hop, ())
            if way.device in self.links and (way.device, way.address) not in self.dead
        )

    def ways(self, next_hop: bytes) -> tuple[Relay, ...]:
        """What is used for it when it stands first: see `choose`."""
        trusted = self.trusted(next_hop)
        if trusted is not None:
            return (trusted,)
        last = self.unheard(next_hop) or self.last_resort(next_hop)
        return self.detours(next_hop) or ((last,) if last is not None else ())

    def all_direct(self, tiers: Tiers) -> set[Relay]:
        """What this group may hold one day: made ahead, so that a failover has nothing to wait for."""
        next_hops = {member.next_hop for tier in tiers for member in tier[:MAX_MEMBERS]}
        found = {self.direct(next_hop) for next_hop in next_hops}
        if self.silent:
            found |= {self.trusted(next_hop, fallback=True) for next_hop in next_hops}
        return {way for way in found if way is not None}

    def can_share(self, tiers: Tiers) -> bool:
        """Whether a group of these tiers may have two members at a time."""
        return any(len(tier) > 1 or any(len(self.relays.get(m.next_hop, ())) > 1 for m in tier) for tier in tiers)


Ways = dict[Relay, int]
"""way -> weight. {} = void: nobody is alive."""

Manner = Literal["direct", "detour", "unheard", "held"]
"""How those who are used are reached: themselves; through a hub; themselves, though they were never heard; themselves,
though they are not trusted yet."""


class Turn(NamedTuple):
    """One of the things that are tried, one after the other."""

    manner: Manner
    place: int  # Of the tier that is tried; 0 is the first.
    tier: Tier
    to: Callable[[bytes], tuple[Relay, ...]]  # Next hop of a member -> ways to it.


class Chosen(NamedTuple):
    """What a group holds, and on whose behalf."""

    turn: Turn
    ways: Ways

    def taken_by(self, next_hop: bytes) -> tuple[Relay, ...]:
        """The ways that the traffic of this member takes; () when it is not used."""
        member = any(each.next_hop == next_hop for each in self.turn.tier[:MAX_MEMBERS])
        return tuple(way for way in self.turn.to(next_hop) if way in self.ways) if member else ()


def choose(tiers: Tiers, reach: Reach, refused: Callable[[Relay], bool]) -> Ways | None:
    """The live members of the first tier that has any; else the detours of the first tier that has any; else members
    that were never heard; else members that answer again, though they are not trusted yet; else void.

    Silence takes nothing down: in the first tier who was never heard counts as alive. It is only where nobody flees to
    while there is another way.

    None = leave the group as it is: there is a way, or may be, but the kernel refuses it or no interface is up.
    """
    found, waiting = _first(tiers, reach, refused)
    if found is not None:
        return found.ways
    return None if waiting else {}


def chosen(tiers: Tiers, reach: Reach, refused: Callable[[Relay], bool]) -> Chosen | None:
    """The same with its reasons, for people. None: there is nobody, or the group is left as it is."""
    return _first(tiers, reach, refused)[0]


def _first(tiers: Tiers, reach: Reach, refused: Callable[[Relay], bool]) -> tuple[Chosen | None, bool]:
    """(the first turn with ways that the kernel takes, whether there may be a way though none was found)."""
    waiting = reach.stranded
    for turn in _in_order(tiers, reach):
        ways = _weighed(turn)
        usable = {way: weight for way, weight in ways.items() if not refused(way)}
        if usable:
            return Chosen(turn, usable), waiting
        waiting = waiting or bool(ways)
    return None, waiting


def _in_order(tiers: Tiers, reach: Reach) -> Iterator[Turn]:
    for place, tier in enumerate(tiers):
        yield Turn("direct", place, tier, partial(_only, partial(reach.trusted, fallback=place > 0)))
    for place, tier in enumerate(tiers):
        yield Turn("detour", place, tier, reach.detours)
    for place, tier in enumerate(tiers):
        yield Turn("unheard", place, tier, partial(_only, reach.unheard))
    for place, tier in enumerate(tiers):
        yield Turn("held", place, tier, partial(_only, reach.last_resort))


def _only(way_to: Callable[[bytes], Relay | None], next_hop: bytes) -> tuple[Relay, ...]:
    way = way_to(next_hop)
    return () if way is None else (way,)


def _weighed(turn: Turn) -> Ways:
    """Members behind one hub share its next hop, and their weights add up."""
    ways: Ways = {}
    for member in turn.tier[:MAX_MEMBERS]:
        for way in turn.to(member.next_hop):
            if way in ways or len(ways) < MAX_MEMBERS:
                ways[way] = min(MAX_WEIGHT, ways.get(way, 0) + _weight(member))
    return ways


def _weight(member: Member) -> int:
    return max(1, min(MAX_WEIGHT, member.weight))
