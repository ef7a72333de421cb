"""What the local ZeroTier service says of its peers (`GET /peer`), read for what it is worth. Pure.

`active` and `expired` say nothing, and a dead path keeps `preferred` and its latency for 243 s: only the age of
`lastReceive` counts, and ZeroTier itself takes a path for dead after 19 s. A peer without paths is relayed, or dead:
the service cannot tell, so somebody who has sent packets there must (`Peer.state`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from speaker.report import MAX_PEERS, PeerReport

DEAD_SECONDS = 19.0
"""node/Path.hpp: ZT_PATH_HEARTBEAT_PERIOD (14 s) and 5 s more."""
MAX_READ = 10_000
"""Peers that are looked at of one answer."""
UNKNOWN = -1.0

State = Literal["direct", "relayed", "unknown"]
STATES: tuple[State, ...] = ("relayed", "unknown", "direct")
"""Those that are not direct first."""
ROOTS = ("PLANET", "MOON")


class PeersUnreadable(ValueError):
    """Not what `GET /peer` answers."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One node, as one service sees it."""

    node_id: str
    role: str  # "LEAF", "PLANET" or "MOON".
    latency_ms: float  # -1: unknown.
    silent_seconds: float  # Since the last packet by its freshest path; -1: it has no path.
    physical: str  # "ADDRESS/PORT" of that path; "" without one.
    version: str
    tunneled: bool = False  # Through ZeroTier's TCP relay.
    alive: tuple[str, ...] = ()  # "ADDRESS/PORT" of every path that a packet has come by lately.

    @property
    def root(self) -> bool:
        return self.role in ROOTS

    @property
    def heard(self) -> bool:
        """A packet has come by a path of its own lately."""
        return 0 <= self.silent_seconds <= DEAD_SECONDS and not self.tunneled

    def state(self, carries: bool | None) -> State:
        """`carries`: packets of ours to it were answered just now; None: nobody has tried."""
        if self.heard and self.latency_ms >= 0:
            return "direct"
        if carries and (self.tunneled or self.silent_seconds < 0):
            return "relayed"
        return "unknown"


def read_peers(answer: object, clock_ms: int) -> tuple[Peer, ...]:
    """The peers of one service's answer, by node id. `clock_ms`: that service's own clock (`GET /status`).

    A peer that cannot be read is left out. Raises PeersUnreadable when the answer is no list.
    """
    if not isinstance(answer, list):
        raise PeersUnreadable(f"/peer answers {type(answer).__name__}, not a list: is this a ZeroTier service?")
    found = (_peer(each, clock_ms) for each in answer[:MAX_READ])
    return tuple(sorted((peer for peer in found if peer is not None), key=lambda peer: peer.node_id))


def _peer(said: object, clock_ms: int) -> Peer | None:
    if not isinstance(said, dict) or not isinstance(said.get("address"), str) or not said["address"]:
        return None
    latest, physical = _freshest(said.get("paths"))
    tunneled = said.get("tunneled") is True
    return Peer(
        node_id=said["address"].lower(),
        role=_text(said.get("role")),
        latency_ms=_number(said.get("latency"), UNKNOWN),
        silent_seconds=UNKNOWN if latest is None else max(0.0, (clock_ms - latest) / 1000),
        physical=physical,
        version=_version(said.get("version")),
        tunneled=tunneled,
        alive=() if tunneled else _alive(said.get("paths"), clock_ms),
    )


def _freshest(paths: object) -> tuple[float | None, str]:
    """(`lastReceive` of the path that was heard last, its address); (None, "") without one."""
    return max(_heard(paths), default=(None, ""))


def _alive(paths: object, clock_ms: int) -> tuple[str, ...]:
    since = clock_ms - DEAD_SECONDS * 1000
    return tuple(sorted({address for at, address in _heard(paths) if address and at >= since}))


def _heard(paths: object) -> list[tuple[float, str]]:
    """(`lastReceive`, address) of each path."""
    return [
        (_number(path.get("lastReceive"), 0.0), _text(path.get("address")))
        for path in (paths if isinstance(paths, list) else ())
        if isinstance(path, dict)
    ]


def _number(value: Any, otherwise: float) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else otherwise


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _version(value: Any) -> str:
    """ "" for "-1.-1.-1", which is ZeroTier's word for not known."""
    text = _text(value)
    return "" if text.startswith("-") else text


class PeerWatch:
    """Since when each peer is in the state that it is in. One entry per uplink and peer of the last look."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], tuple[State, float]] = {}

    def look(
        self,
        peers: Mapping[str, Iterable[Peer]],
        addresses: Mapping[str, str],
        carries: Callable[[str, str], bool | None],
        now: float,
    ) -> tuple[PeerReport, ...]:
        """What is to be reported of them, at most MAX_PEERS, those that are not direct first.

        `peers`: name of our uplink -> what its service says; `addresses`: node id -> overlay address, of those who are
        known; `carries`: (uplink, overlay address) -> as `Peer.state` wants it; `now`: Unix time.
        """
        reports = list(self._reports(peers, addresses, carries, now))
        self._since = {(each.uplink, each.node_id): (each.state, each.since) for each in reports}
        reports.sort(key=lambda each: (not each.address, STATES.index(each.state), each.uplink, each.node_id))
        return tuple(reports[:MAX_PEERS])

    def _reports(
        self,
        peers: Mapping[str, Iterable[Peer]],
        addresses: Mapping[str, str],
        carries: Callable[[str, str], bool | None],
        now: float,
    ) -> Iterator[PeerReport]:
        for uplink, known in peers.items():
            for peer in known:
                address = addresses.get(peer.node_id, "")
                state = peer.state(carries(uplink, address) if address else None)
                was, since = self._since.get((uplink, peer.node_id), (None, now))
                yield PeerReport(
                    node_id=peer.node_id,
                    address=address,
                    uplink=uplink,
                    state=state,
                    latency_ms=peer.latency_ms,
                    silent_seconds=peer.silent_seconds,
                    since=since if was == state else now,
                    version=peer.version,
                    physical=peer.physical if state == "direct" else "",
                )
