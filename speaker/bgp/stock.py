"""Mode stock: the same bytes for the agent, ExaBGP's text and JSON for the bridge.

The agent hands over UPDATEs as it always does; here they become changes, and the changes lines of text.
What ExaBGP decoded becomes an UPDATE's body again. Slower (some 7,000 routes/s out), and without BoRR and EoRR:
an agent that restarts cannot take back what it would no longer announce.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from speaker.bgp import wire
from speaker.bgp.decode import Decoder
from speaker.bgp.encode import encode_updates
from speaker.bgp.events import PeerUp
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.opens import GracefulRestart
from speaker.bgp.text import LINES_UNANSWERED, Route, TextQueue, Unreadable, parse_update, refresh_line
from speaker.rib.path import Update
from speaker.rib.prefix import Family

GRACEFUL_SECONDS = 120
"""`show neighbor json` says whether the peer does graceful restart, not for how long, nor what it keeps: as our
hubs have it, all."""


@dataclass(slots=True)
class _Peer:
    queue: TextQueue
    decoder: Decoder
    received: Negotiated  # For what comes from the peer, when it is encoded again.


class Stock:
    """All sessions of one stock ExaBGP. `pump` gives the lines that may be written now."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}
        self._unanswered: deque[tuple[str, list[Route]]] = deque()
        self._extra: deque[str] = deque()  # Lines that are no changes: said before them.

    def up(self, event: PeerUp) -> None:
        sent = Negotiated(
            families=event.negotiated.families,
            add_path_receive=event.negotiated.add_path_send,
            as4=event.negotiated.as4,
        )
        back = Negotiated(
            families=event.negotiated.families,
            add_path_send=event.negotiated.add_path_receive,
            as4=event.negotiated.as4,
        )
        queue = TextQueue(event.peer, event.negotiated.add_path_send)
        self._peers[event.peer] = _Peer(queue, Decoder(sent, ibgp=True), back)

    def down(self, peer: str) -> None:
        self._peers.pop(peer, None)

    def say(self, line: str) -> None:
        """A line of its own, answered by `done` or `error` like the others."""
        self._extra.append(line)

    def put(self, peer: str, messages: Iterable[bytes]) -> None:
        """Complete messages for a peer. UPDATE, End-of-RIB and a plain ROUTE-REFRESH can be said; others cannot."""
        known = self._peers.get(peer)
        if known is None:
            return
        for message in messages:
            kind, body = message[18], message[wire.HEADER_OCTETS :]
            if kind == wire.UPDATE:
                known.queue.put(known.decoder.decode(body))
            elif kind == wire.ROUTE_REFRESH and body[2] == wire.REFRESH_REQUEST:
                family = wire.FAMILY_OF.get((int.from_bytes(body[:2], "big"), body[3]))
                if family is not None:
                    self.say(refresh_line(peer, family))
            elif kind == wire.NOTIFICATION:
                self.say(f"neighbor {peer} teardown {body[1]}\n")

    def waiting(self) -> int:
        return sum(peer.queue.waiting() for peer in self._peers.values())

    def pump(self, now: float) -> str:
        """Lines to write now, as far as LINES_UNANSWERED lets."""
        lines: list[str] = []
        while self._extra:
            lines.append(self._extra.popleft())
            self._unanswered.append(("", []))
        for name, peer in self._peers.items():
            while len(self._unanswered) < LINES_UNANSWERED:
                said = peer.queue.next_line(now)
                if said is None:
                    break
                lines.append(said[0])
                self._unanswered.append((name, said[1]))
        return "".join(lines)

    def answered(self, ok: bool, now: float) -> None:
        if self._unanswered:
            name, routes = self._unanswered.popleft()
            if name in self._peers:
                self._peers[name].queue.answered(routes, ok, now)

    def wake_at(self) -> float | None:
        """When `pump` may have more though nothing happens."""
        times = [peer.queue.wake_at() for peer in self._peers.values()]
        return min((time for time in times if time is not None), default=None)

    def faults(self) -> list[str]:
        """What could not be said since the last call, in words."""
        found = [fault for peer in self._peers.values() for fault in peer.queue.faults]
        for peer in self._peers.values():
            peer.queue.faults.clear()
        return found

    def bodies(self, peer: str, message: Mapping[str, Any]) -> list[bytes]:
        """A JSON update as the bodies of UPDATEs. Raises text.Unreadable."""
        known = self._peers.get(peer)
        if known is None:
            return []
        update = parse_update(message)
        try:
            return [made[wire.HEADER_OCTETS :] for made in _encoded(update, known.received)]
        except (ValueError, OverflowError) as error:
            raise Unreadable(f"update from ExaBGP for {peer}: {error}") from None


def _encoded(update: Update, negotiated: Negotiated) -> list[bytes]:
    if update.end_of_rib is not None:
        return [wire.end_of_rib(update.end_of_rib)]
    made: list[bytes] = []
    for family in Family:
        withdrawn = [(path_id, keys) for group, path_id, keys in update.withdrawn if group is family]
        announced = [
            (path_id, attributes, keys) for group, path_id, keys, attributes in update.announced if group is family
        ]
        made += encode_updates(family, negotiated, withdrawn, announced)
    return made


def peer_up(said: Mapping[str, Any], resumed: bool) -> PeerUp | None:
    """From one entry of `show neighbor json`; None when that session is not established. Raises Unreadable."""
    try:
        return _peer_up(said, resumed) if said["fsm"] == "ESTABLISHED" else None
    except (KeyError, ValueError, TypeError) as error:
        raise Unreadable(f"show neighbor json: {error!r}") from None


def _peer_up(said: Mapping[str, Any], resumed: bool) -> PeerUp:
    def families(side: str, what: str) -> frozenset[Family]:
        named = {f"{family.value} unicast": family for family in Family}
        return frozenset(named[name] for name, on in said[side][what].items() if on and name in named)

    common = families("local", "families") & families("peer", "families")
    theirs, ours = said["peer"]["capabilities"], said["local"]["capabilities"]
    graceful = GracefulRestart(False, GRACEFUL_SECONDS, common, common) if theirs["graceful-restart"] else None
    return PeerUp(
        peer=said["peer"]["address"],
        router_id=IPv4Address(said["peer"]["id"]).packed,
        negotiated=Negotiated(
            families=common,
            add_path_send=families("local", "add-path") & common,
            add_path_receive=families("peer", "add-path") & common,
            as4=bool(theirs["asn4"]),
        ),
        graceful_restart=graceful,
        refresh=bool(theirs["route-refresh"] and ours["route-refresh"]),
        enhanced_refresh=False,
        resumed=resumed,
    )
