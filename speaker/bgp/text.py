"""ExaBGP's documented text API, for a stock ExaBGP: changes into lines, its JSON updates into changes. Pure.

The slow way, and one that ExaBGP gets wrong under churn: of several changes of one prefix that it has not
sent yet, the last need not win, and withdrawals in a session's first batch are lost. So TextQueue never has
two changes of one prefix under way, withdraws with the attributes that were announced and only what was
announced, and says at most PREFIXES_A_LINE prefixes a line, with LINES_UNANSWERED lines unanswered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, ip_address, ip_network
from itertools import islice
from typing import Any

from speaker.rib.attributes import AS_SEQUENCE, AS_SET, Attributes
from speaker.rib.path import Update
from speaker.rib.prefix import Family, Key, key_of, network_of

PREFIXES_A_LINE = 50
LINES_UNANSWERED = 4
SETTLE_SECONDS = 0.5
"""`done` means that ExaBGP has queued a line, not that it has sent it. It sends at most that much later."""

CHANGES_LOOKED_AT = 5_000
"""How far a line looks for prefixes that go together."""

Route = tuple[Family, int, Key]
"""Family, path id, prefix: what one change is about."""

ORIGINS = ("igp", "egp", "incomplete")
SEGMENTS = {AS_SEQUENCE: ("[", "]"), AS_SET: ("(", ")")}
SEGMENT_KINDS = {"as-sequence": AS_SEQUENCE, "as-set": AS_SET}


class Unsayable(ValueError):
    """The text API has no words for these attributes. The text says which."""


class Unreadable(ValueError):
    """A line of ExaBGP that is not what its documentation says."""


# Out -----------------------------------------------------------------------------------------------------------------


def announce_line(peer: str, routes: Sequence[Route], attributes: Attributes, add_path: bool) -> str:
    """One line for routes of one family and path id. Raises Unsayable."""
    return _line(peer, "announce", routes, attributes, add_path)


def withdraw_line(peer: str, routes: Sequence[Route], attributes: Attributes, add_path: bool) -> str:
    """As announce_line. `attributes` are those that the routes were announced with."""
    return _line(peer, "withdraw", routes, attributes, add_path)


def end_of_rib_line(peer: str, family: Family) -> str:
    return f"neighbor {peer} announce eor {family.value} unicast\n"


def refresh_line(peer: str, family: Family) -> str:
    return f"neighbor {peer} announce route-refresh {family.value} unicast\n"


def _line(peer: str, verb: str, routes: Sequence[Route], attributes: Attributes, add_path: bool) -> str:
    family, path_id, _ = routes[0]
    path = f" path-information {IPv4Address(path_id)}" if add_path else ""
    prefixes = " ".join(str(network_of(family, key)) for _, _, key in routes)
    return f"neighbor {peer} {verb} attributes {' '.join(_words(attributes))}{path} nlri {prefixes}\n"


def _words(attributes: Attributes) -> Iterator[str]:
    yield f"next-hop {ip_address(attributes.next_hop)}"
    yield f"origin {ORIGINS[attributes.origin]}"
    if attributes.as_path:
        yield f"as-path {' '.join(map(_segment, attributes.as_path))}"
    if attributes.med is not None:
        yield f"med {attributes.med}"
    if attributes.local_pref is not None:
        yield f"local-preference {attributes.local_pref}"
    if attributes.atomic_aggregate:
        yield "atomic-aggregate"
    if attributes.aggregator is not None:
        asn, address = attributes.aggregator
        yield f"aggregator ( {asn}:{IPv4Address(address)} )"
    if attributes.communities:
        yield f"community [ {' '.join(f'{value >> 16}:{value & 0xFFFF}' for value in attributes.communities)} ]"
    if attributes.originator_id is not None:
        yield f"originator-id {IPv4Address(attributes.originator_id)}"
    if attributes.cluster_list:
        yield f"cluster-list [ {' '.join(str(IPv4Address(value)) for value in attributes.cluster_list)} ]"
    if attributes.extended_communities:
        yield f"extended-community [ {' '.join('0x' + value.hex() for value in attributes.extended_communities)} ]"
    if attributes.large_communities:
        yield f"large-community [ {' '.join(':'.join(map(str, value)) for value in attributes.large_communities)} ]"
    for flags, code, value in attributes.unknown:
        yield f"attribute [ 0x{code:02x} 0x{flags:02x} 0x{value.hex()} ]"


def _segment(segment: tuple[int, tuple[int, ...]]) -> str:
    kind, asns = segment
    if kind not in SEGMENTS:
        raise Unsayable("a confederation segment in the AS_PATH")
    left, right = SEGMENTS[kind]
    return f"{left} {' '.join(map(str, asns))} {right}"


class TextQueue:
    """The changes for one peer, on their way out. Times are seconds of any clock that does not go back."""

    def __init__(self, peer: str, add_path: frozenset[Family]) -> None:
        self.peer = peer
        self.add_path = add_path
        self.faults: list[str] = []
        self._wanted: dict[Route, Attributes | None] = {}
        self._said: dict[Route, Attributes] = {}
        self._busy: set[Route] = set()
        self._settling: deque[tuple[float, list[Route]]] = deque()
        self._ends: list[Family] = []

    def put(self, update: Update) -> None:
        """Takes over the changes of one UPDATE; a later one replaces an earlier one that was not said yet."""
        for family, path_id, keys in update.withdrawn:
            for key in keys:
                self._want((family, path_id, key), None)
        for family, path_id, keys, attributes in update.announced:
            for key in keys:
                self._want((family, path_id, key), attributes)
        if update.end_of_rib is not None and update.end_of_rib not in self._ends:
            self._ends.append(update.end_of_rib)

    def _want(self, route: Route, attributes: Attributes | None) -> None:
        self._wanted.pop(route, None)  # To the end of the order.
        if self._said.get(route) != attributes:
            self._wanted[route] = attributes

    def waiting(self) -> int:
        """Changes that were not said yet."""
        return len(self._wanted)

    def next_line(self, now: float) -> tuple[str, list[Route]] | None:
        """A line to say now and what `answered` wants back; None when there is nothing that may be said."""
        self._settle(now)
        while self._wanted:
            routes = self._together()
            if not routes:
                return None
            attributes = self._wanted[routes[0]]
            for route in routes:
                del self._wanted[route]
            line = self._say(routes, attributes)
            if line is not None:
                self._busy.update(routes)
                return line, routes
        if self._ends and not self._busy:
            return end_of_rib_line(self.peer, self._ends.pop(0)), []
        return None

    def answered(self, routes: list[Route], ok: bool, now: float) -> None:
        """ExaBGP has taken a line, or refused it."""
        if not ok:
            self.faults.append(f"ExaBGP refused a line with {len(routes)} prefixes for {self.peer}")
            for route in routes:
                self._said.pop(route, None)
        self._settling.append((now + SETTLE_SECONDS, routes))

    def wake_at(self) -> float | None:
        """When `next_line` may have more to say though nothing else happens; None when never."""
        return self._settling[0][0] if self._settling and (self._wanted or self._ends) else None

    def _settle(self, now: float) -> None:
        while self._settling and self._settling[0][0] <= now:
            self._busy.difference_update(self._settling.popleft()[1])

    def _together(self) -> list[Route]:
        """Routes that are free and go into one line: the first that is, and others that want the same."""
        near = list(islice(self._wanted.items(), CHANGES_LOOKED_AT))
        first = next((route for route, _ in near if route not in self._busy), None)
        if first is None:
            return []
        wanted, said = self._wanted[first], self._said.get(first)
        alike = (
            route
            for route, attributes in near
            if route not in self._busy
            and route[:2] == first[:2]
            and attributes == wanted
            and (wanted is not None or self._said.get(route) == said)
        )
        return list(islice(alike, PREFIXES_A_LINE))

    def _say(self, routes: list[Route], attributes: Attributes | None) -> str | None:
        add_path = routes[0][0] in self.add_path
        if attributes is None:
            said = self._said.get(routes[0])
            for route in routes:
                self._said.pop(route, None)
            return None if said is None else withdraw_line(self.peer, routes, said, add_path)
        if all(self._said.get(route) == attributes for route in routes):
            return None
        try:
            line = announce_line(self.peer, routes, attributes, add_path)
        except Unsayable as error:
            self.faults.append(f"{len(routes)} prefixes for {self.peer} not announced: {error}")
            return None
        self._said.update(dict.fromkeys(routes, attributes))
        return line


# In ------------------------------------------------------------------------------------------------------------------


def parse_update(message: Mapping[str, Any]) -> Update:
    """The `message` of a JSON event of type `update`. Raises Unreadable, and nothing else."""
    try:
        return _parse(message)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, IndexError) as error:
        raise Unreadable(f"update from ExaBGP: {error!r}") from None


def _parse(message: Mapping[str, Any]) -> Update:
    if "eor" in message:
        return Update(end_of_rib=Family(message["eor"]["afi"]))
    body = message["update"]
    update = Update()
    for name, entries in body.get("withdraw", {}).items():
        for path_id, keys in _by_path_id(entries).items():
            update.withdrawn.append((_family(name), path_id, keys))
    for name, hops in body.get("announce", {}).items():
        for next_hop, entries in hops.items():
            attributes = _attributes(body.get("attribute", {}), next_hop)
            for path_id, keys in _by_path_id(entries).items():
                update.announced.append((_family(name), path_id, keys, attributes))
    return update


def _family(name: str) -> Family:
    afi, safi = name.split()
    if safi != "unicast":
        raise ValueError(name)
    return Family(afi)


def _by_path_id(entries: Sequence[Any]) -> dict[int, list[Key]]:
    found: dict[int, list[Key]] = {}
    for entry in entries:
        text, path = (entry, None) if isinstance(entry, str) else (entry["nlri"], entry.get("path-information"))
        path_id = 0 if path is None else int(IPv4Address(path))
        found.setdefault(path_id, []).append(key_of(ip_network(text, strict=False)))
    return found


def _attributes(said: Mapping[str, Any], next_hop: str) -> Attributes:
    aggregator = said.get("aggregator")
    originator = said.get("originator-id")
    return Attributes(
        next_hop=ip_address(next_hop).packed,
        origin=ORIGINS.index(said.get("origin", "igp")),
        as_path=_as_path(said.get("as-path", {})),
        med=said.get("med"),
        local_pref=said.get("local-preference"),
        atomic_aggregate=bool(said.get("atomic-aggregate", False)),
        aggregator=None if aggregator is None else _aggregator(aggregator),
        communities=tuple(sorted((high << 16) + low for high, low in said.get("community", ()))),
        originator_id=None if originator is None else IPv4Address(originator).packed,
        cluster_list=tuple(IPv4Address(value).packed for value in said.get("cluster-list", ())),
        extended_communities=tuple(
            sorted(value["value"].to_bytes(8, "big") for value in said.get("extended-community", ()))
        ),
        large_communities=tuple(sorted((a, b, c) for a, b, c in said.get("large-community", ()))),
        unknown=tuple(_unknown(said)),
    )


def _as_path(said: Mapping[str, Any]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    segments = sorted(said.items(), key=lambda item: int(item[0]))
    return tuple((SEGMENT_KINDS[segment["element"]], tuple(segment["value"])) for _, segment in segments)


def _aggregator(said: Any) -> tuple[int, bytes]:
    if isinstance(said, str):
        asn, _, address = said.partition(":")
        return int(asn), IPv4Address(address).packed
    return said["asn"], IPv4Address(said["speaker"]).packed


def _unknown(said: Mapping[str, Any]) -> Iterator[tuple[int, int, bytes]]:
    for name, value in said.items():
        if name.startswith("attribute-0x"):
            _, code, flags = name.split("-")
            yield int(flags, 16), int(code, 16), bytes.fromhex(value.removeprefix("0x"))
