"""Liveness while a million routes arrive: BFD sessions that stay up, the agent's loop, and a failover in the middle.

A whole spoke (agent, ExaBGP, bridge, leyline-bfd) has a session with a hub, which is a feeder here, and BFD at
100 ms x 3 with 50 next hops in use: another leyline-bfd with 50 interfaces. While the feeder's routes go into
the kernel, the far end of a 51st next hop is killed; what it carried has a second next hop. There is no anchor: the
aims are absolute (0 downs, p99.9 of the loop's lag under 100 ms, the kernel knows 1 s after the detection time).
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from msgspec.structs import replace

from lab.linux import socket_in
from speaker import plan as p
from speaker.bgp.encode import encode_updates
from speaker.bgp.wire import end_of_rib
from speaker.rib.attributes import Attributes
from speaker.rib.prefix import Family, key_of
from speaker.show import NoAnswer, fetch
from tests.bench.bfd_peers import INTERVAL_US, MULTIPLIER, BfdPeers
from tests.bench.harness import Inside, emit, rss_mb, say, until
from tests.bench.players import ASN, HOLD_SECONDS, TIMEOUT, Speaker, plan, session
from tests.bench.routes import MARK, Load
from tests.interop import tinybgp
from tests.netns.namespaces import Namespace, veth

SPOKE, HUB = "10.42.0.3", "10.42.0.1"
SESSIONS = 50
VICTIM = "10.42.2.1"
DETECTION_SECONDS = INTERVAL_US * MULTIPLIER / 1e6
KILL_AT = 0.3
"""The victim dies when so much of the load is in the kernel."""
LIVENESS_SECONDS = 30.0
LAG_WINDOW_SECONDS = 180.0
"""What the agent's percentile of its loop lag is about."""
LOOK = 0.5
"""Seconds between two looks at the kernel's routes: to count a million takes it a while, in which a core is away."""
RTNLGRP_NEXTHOP, RTM_DELNEXTHOP = 32, 105
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, SO_RCVBUFFORCE = 270, 1, 33


@dataclass(frozen=True)
class Outcome:
    routes: int
    sessions: int
    downs: int  # Up -> Down of any of the sessions, as its far end counts.
    flaps: int  # The same, as the agent counts.
    lag_ms: float  # 99.9th percentile of the agent's loop lag.
    failover_seconds: float  # From the death of the far end until the kernel has let go of the next hop.
    load_seconds: float  # From the first UPDATE until the last route is in the kernel.
    failover_in_load: bool
    rss_mb: float


def bench() -> None:
    say(f"liveness_load_1m: {SESSIONS} BFD sessions while routes arrive")
    outcome = measure(Load(), age=LAG_WINDOW_SECONDS)
    say(f"  {outcome}")
    emit(
        bench="liveness_load_1m",
        value=outcome.downs,
        unit="BFD sessions down",
        sessions=outcome.sessions,
        flaps=outcome.flaps,
        loop_lag_ms=round(outcome.lag_ms, 1),
        failover_seconds=round(outcome.failover_seconds, 3),
        failover_after_detection_seconds=round(outcome.failover_seconds - DETECTION_SECONDS, 3),
        load_seconds=round(outcome.load_seconds, 1),
        routes=outcome.routes,
        rss_mb=outcome.rss_mb,
    )


def hop(number: int) -> str:
    """The address of the n-th next hop, from 0."""
    return f"10.42.1.{number + 1}"


def measure(load: Load, sessions: int = SESSIONS, age: float = 0.0) -> Outcome:
    """One run, in namespaces of its own; the agent is asked once it is `age` seconds old. Raises Failed.

    Of fewer samples than a full window has, the 99.9th percentile is just the largest.
    """
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="ll-load-")))
        world = stack.enter_context(_world(sessions))
        peers = stack.enter_context(BfdPeers(world.peers, place / "peers", world.uplinks, SPOKE))
        victim = stack.enter_context(BfdPeers(world.victim, place / "victim", (("eth0", VICTIM),), SPOKE))
        inside = stack.enter_context(Inside(world.spoke))
        feeder = stack.enter_context(Feeder(world.hub))
        speaker = Speaker.start(world.spoke, _plan(), place)
        feeder.accept()
        feeder.warm_up(sessions)
        until(lambda: inside.kernel_routes() > sessions, TIMEOUT, "the first routes in the kernel")
        _use(world.spoke, sessions)
        until(lambda: peers.up() == sessions and victim.up() == 1, LIVENESS_SECONDS, "BFD with every next hop")
        until(lambda: _in_use(speaker) > sessions, LIVENESS_SECONDS, "every next hop counts as up")
        return _under_load(load, sessions, feeder, speaker, peers, victim, inside, world.spoke, age)


def _under_load(
    load: Load, sessions: int, feeder: Feeder, speaker: Speaker, peers: BfdPeers, victim: BfdPeers, inside: Inside,
    spoke: Namespace, age: float,
) -> Outcome:  # fmt: skip
    said, idle = feeder.encoded(load, sessions), inside.kernel_routes()
    with NextHopWatch(spoke, VICTIM) as watch:
        begun = time.monotonic()
        sending = threading.Thread(target=feeder.send, args=(said,))
        sending.start()
        until(lambda: inside.kernel_routes() - idle >= KILL_AT * load.routes, TIMEOUT, "a part of the routes", LOOK)
        killed = time.monotonic()
        os.kill(victim.process.pid, signal.SIGKILL)
        gone = watch.wait(TIMEOUT)
        full = until(lambda: inside.kernel_routes() - idle >= load.routes, TIMEOUT, "all routes in the kernel", LOOK)
        sending.join()
    until(lambda: time.time() - _report(speaker)["started_at"] >= age, age + 60, "the agent's age", 1.0)
    report = _report(speaker)
    others = [one for one in report["next_hops"] if one["address"] not in (VICTIM, HUB)]
    return Outcome(
        routes=load.routes,
        sessions=sessions,
        downs=peers.downs() + sessions - peers.up(),
        flaps=sum(one["flaps"] for one in others),
        lag_ms=report["loop_lag_ms"],
        failover_seconds=gone - killed,
        load_seconds=full - begun,
        failover_in_load=gone < full,
        rss_mb=rss_mb(speaker.pid("agent")),
    )


def _plan() -> p.Plan:
    quiet = plan("spoke", SPOKE, (session(SPOKE, HUB),))
    (uplink,) = quiet.uplinks
    return replace(quiet, uplinks=(replace(uplink, bfd=p.BfdPlan(INTERVAL_US // 1000, MULTIPLIER)),))


def _report(speaker: Speaker) -> dict[str, Any]:
    try:
        report: dict[str, Any] = fetch(speaker.place / "agent.sock", "report", {})
    except NoAnswer:
        return {}
    return report


def _in_use(speaker: Speaker) -> int:
    """Next hops that the agent calls up."""
    return sum(one["state"] == "up" for one in _report(speaker).get("next_hops", ()))


def _use(spoke: Namespace, sessions: int) -> None:
    """One packet to each next hop: that is what makes the agent ask for a session."""
    with socket_in(spoke.name, socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for third in (*range(sessions), sessions):
            sender.sendto(b"x", (f"31.0.{third}.1", 9))


@dataclass(frozen=True)
class World:
    spoke: Namespace
    hub: Namespace
    peers: Namespace
    victim: Namespace
    uplinks: Sequence[tuple[str, str]]  # (interface, address) in `peers`


@contextmanager
def _world(sessions: int) -> Iterator[World]:
    """Spoke, hub and victim with one interface on the segment, `peers` with as many as there are sessions."""
    with ExitStack() as stack:
        switch, spoke, hub, peers, victim = (
            stack.enter_context(Namespace("bench", name)) for name in ("switch", "spoke", "hub", "peers", "victim")
        )
        switch.run("ip", "link", "add", "br0", "type", "bridge")
        switch.run("ip", "link", "set", "br0", "up")
        # Many interfaces of one box on one segment: each answers for its own address only.
        peers.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
        uplinks = [(f"eth{number}", hop(number)) for number in range(sessions)]
        ends = [(spoke, "eth0", SPOKE), (hub, "eth0", HUB), (victim, "eth0", VICTIM)]
        ends += [(peers, device, address) for device, address in uplinks]
        for number, (namespace, device, address) in enumerate(ends):
            veth(namespace, device, [f"{address}/16"], switch, f"port{number}", ())
            switch.run("ip", "link", "set", f"port{number}", "master", "br0")
        yield World(spoke, hub, peers, victim, uplinks)


class Feeder:
    """The spoke's hub: a tiny BGP speaker that says what it is told to, with next hops that are others'."""

    def __init__(self, namespace: Namespace) -> None:
        own = tinybgp.Speaker(
            ASN, HUB, families=(Family.IPV4,), add_path=(Family.IPV4,), hold_time=HOLD_SECONDS, restart_time=120
        )
        self._stack = ExitStack()
        self._listening = self._stack.enter_context(tinybgp.listening(namespace.name, HUB, own))
        self._session: tinybgp.Session | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._session is not None:
            self._session.close(graceful=False)
        self._stack.close()

    def accept(self) -> None:
        self._session = self._listening(60.0)

    def warm_up(self, sessions: int) -> None:
        """31.0.N.0/24 by the n-th next hop; the last one by the victim, or else by the first."""
        groups = [(number + 1, _attributes(hop(number)), [_key(number)]) for number in range(sessions)]
        groups.append((1000, _attributes(VICTIM, preference=300), [_key(sessions)]))
        groups.append((1, _attributes(hop(0)), [_key(sessions)]))
        self.send([*encode_updates(Family.IPV4, self._up.negotiated, (), groups), end_of_rib(Family.IPV4)])

    def encoded(self, load: Load, sessions: int) -> list[bytes]:
        """All of `load`, dealt out to the next hops by attribute set."""
        groups = [
            (
                number % sessions + 1,
                _attributes(hop(number % sessions), mark=number),
                [key_of(ip_network(t)) for t in block],
            )
            for number, block in load.blocks()
        ]
        return list(encode_updates(Family.IPV4, self._up.negotiated, (), groups))

    def send(self, messages: Sequence[bytes]) -> None:
        for start in range(0, len(messages), 50):  # In pieces, so that keepalives get in between.
            self._up.send(*messages[start : start + 50])

    @property
    def _up(self) -> tinybgp.Session:
        assert self._session is not None, "no session yet"
        return self._session


def _attributes(address: str, preference: int = 200, mark: int = 0) -> Attributes:
    return Attributes(ip_address(address).packed, local_pref=preference, large_communities=((MARK, 1, mark),))


def _key(third: int) -> bytes:
    return key_of(ip_network(f"31.0.{third}.0/24"))


class NextHopWatch:
    """A context manager: when the kernel of a namespace deletes its next-hop object for an address."""

    def __init__(self, namespace: Namespace, address: str) -> None:
        self._wanted = ip_address(address).packed
        self._socket = socket_in(namespace.name, socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.bind((0, 0))
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NEXTHOP)
        self._seen = threading.Event()
        self._at = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def wait(self, timeout: float) -> float:
        """time.monotonic() of it. Raises Failed."""
        until(self._seen.is_set, timeout, "the dead next hop leaves the kernel")
        return self._at

    def _watch(self) -> None:
        while not self._seen.is_set():
            try:
                data = self._socket.recv(1 << 18)
            except OSError:
                return
            kind = int.from_bytes(data[4:6], "little")
            if kind == RTM_DELNEXTHOP and self._wanted in data:
                self._at = time.monotonic()
                self._seen.set()
