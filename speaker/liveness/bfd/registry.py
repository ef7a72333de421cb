"""All sessions of this box: which there are, whose packet it is, whose turn it is. No socket, no clock of its own."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

from speaker.liveness.bfd import packet
from speaker.liveness.bfd.control import NOTHING, BfdUplink, Status, Want
from speaker.liveness.bfd.packet import ADMIN_DOWN, INIT, STATE_NAMES, UP, Discard
from speaker.liveness.bfd.session import NEVER, Session, Timers

MAX_PASSIVE = 1024
"""Sessions that peers opened, at once."""
MAX_PACKETS = 1500.0
"""A second, each way, of all sessions. Those that peers opened have what our own leave; without one they know nothing
of us, and so use us. The controller's check is that our own are not more."""
SILENT_SECONDS = 300.0
"""A passive session that is not Up goes when its peer was silent for so long. Long: it may be what says "dead"."""
ADMIN_DOWN_SECONDS = 10.0
"""... or has been AdminDown for so long."""
FAREWELL_SECONDS = 30.0
"""The longest AdminDown of a session that is not wanted any more."""

Key = tuple[str, str]


class Tools(NamedTuple):
    """What the registry must be given: chance, time of day, and where its words go."""

    fraction: Callable[[], float]  # 0 <= x < 1
    discriminator: Callable[[], int]  # 1 .. 2**32 - 1
    unix_time: Callable[[], float]
    send: Callable[[Pair, bytes], None]
    watcher: Watcher


class Watcher(Protocol):
    def changed(self, pair: Pair) -> None:
        """Its `status()` is not what it was."""

    def gone(self, pair: Pair) -> None: ...


class Pair:
    """A local interface and a remote overlay address, and the session between them."""

    def __init__(self, uplink: BfdUplink, local: str, remote: str, session: Session, since: float) -> None:
        self.key: Key = (uplink.device, remote)
        self.device = uplink.device
        self.local = local
        self.remote = remote
        self.session = session
        self.since = since
        self.state = session.state
        self.closing_at = NEVER  # When its farewell ends.
        self.left_at = NEVER  # Since when `tidy` has seen its peer AdminDown.
        self.due_at = NEVER  # Its earliest entry in the heap.
        self.told_up = False  # For the log.

    def status(self) -> Status:
        session = self.session
        return Status(
            device=self.device,
            local=self.local,
            remote=self.remote,
            state=STATE_NAMES[session.state],
            diagnostic=session.diagnostic,
            remote_state=STATE_NAMES[session.remote_state],
            since=self.since,
            ever_up=session.ever_up,
            downs=session.downs,
            active=session.active,
            detection_us=session.detection_us,
        )


class Registry:
    """`counters` says why packets were dropped, since the start."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.pairs: dict[Key, Pair] = {}
        self.counters: Counter[str] = Counter()
        self.want = NOTHING
        self._uplinks: dict[str, BfdUplink] = {}
        self._by_discriminator: dict[int, Pair] = {}
        self._heap: list[tuple[float, int, Pair]] = []
        self._pushed = 0
        self._passive = 0
        self._packets = 0.0  # A second, as of the last `tidy` and with what peers opened since.

    # What is wanted -------------------------------------------------------------------------------------------------

    def set_want(self, want: Want, now: float) -> list[str]:
        """From now on this is wanted. What of it cannot be is in the answer, and the rest is done."""
        self.want = want
        self._uplinks = {uplink.device: uplink for uplink in want.uplinks}
        errors = []
        wanted: dict[Key, str] = {}
        for key in want.sessions:
            local = self._local(*key)
            if local:
                wanted[key] = local
            else:
                errors.append(f"no session with {key[1]} on {key[0]}: the uplink has no address of that family")
        for pair in list(self.pairs.values()):
            uplink = self._uplinks.get(pair.device)
            if uplink is not None and self._local(*pair.key) != pair.local:
                self._remove(pair)  # Its address is no longer ours: there is no way to say farewell.
                continue
            if pair.key not in wanted and (pair.session.active or uplink is None or pair.remote not in want.accept):
                self._close(pair, now)
            elif uplink is not None:
                self._keep(pair, pair.key in wanted, uplink, now)
        for key, local in wanted.items():
            if key not in self.pairs:
                self._open(key, local, active=True, now=now)
        return errors

    def _keep(self, pair: Pair, active: bool, uplink: BfdUplink, now: float) -> None:
        session = pair.session
        if active:
            pair.closing_at = NEVER
        self._activate(session, active, now)
        session.configure(Timers(uplink.interval_us, uplink.multiplier), now)
        if self.want.admin_down:
            session.admin_down(now)
        elif pair.closing_at == NEVER:
            session.enable(now)
        self._settle(pair, now)

    def _activate(self, session: Session, active: bool, now: float) -> None:
        self._passive += session.active - active
        session.set_active(active, now)

    def _local(self, device: str, remote: str) -> str | None:
        uplink = self._uplinks.get(device)
        if uplink is None:
            return None
        return uplink.address6 if ":" in remote else uplink.address

    def _open(self, key: Key, local: str, active: bool, now: float) -> Pair:
        uplink = self._uplinks[key[0]]
        discriminator = self.tools.discriminator()
        while discriminator in self._by_discriminator:
            discriminator = self.tools.discriminator()
        session = Session(discriminator, Timers(uplink.interval_us, uplink.multiplier), active, now)
        pair = Pair(uplink, local, key[1], session, self.tools.unix_time())
        self.pairs[key] = self._by_discriminator[discriminator] = pair
        self._passive += not active
        if self.want.admin_down:
            session.admin_down(now)
        self._settle(pair, now)
        return pair

    def _close(self, pair: Pair, now: float) -> None:
        """AdminDown until the peer has surely heard it."""
        if pair.closing_at != NEVER:
            return
        seconds = min(pair.session.peer_detection_us * 1e-6, FAREWELL_SECONDS)
        if not seconds:
            self._remove(pair)
            return
        pair.closing_at = now + seconds
        self._activate(pair.session, False, now)
        pair.session.admin_down(now)
        self._settle(pair, now)

    def _remove(self, pair: Pair) -> None:
        del self.pairs[pair.key]
        del self._by_discriminator[pair.session.local_discriminator]
        self._passive -= not pair.session.active
        pair.due_at = NEVER  # Its entries in the heap mean nothing any more.
        self.tools.watcher.gone(pair)

    def stop(self, now: float, *, going_down: bool = False) -> None:
        """AdminDown everywhere; again at each call, because a packet may be lost. `set_want` would begin anew.

        `going_down`: Down instead. Nothing may be `received` any more: an answer would bring the sessions up again.
        """
        for pair in self.pairs.values():
            if going_down:
                pair.session.forwarding_ends(now)
            else:
                pair.session.admin_down(now)
            pair.session.tx_at = min(pair.session.tx_at, now) if pair.session.remote_discriminator else NEVER
            self._settle(pair, now)

    # Packets --------------------------------------------------------------------------------------------------------

    def received(self, device: str, remote: str, payload: bytes, single_hop: bool, now: float) -> None:
        """A packet to our address on `device`. `single_hop`: TTL or hop limit was 255 (RFC 5881 5).

        Cheapest test first: this also runs for thousands of packets a second that are nobody's.
        """
        key = (device, remote)
        pair = self.pairs.get(key)
        if pair is None and remote not in self.want.accept:
            self.counters["stranger"] += 1
            return
        if not single_hop:
            self.counters["ttl"] += 1
            return
        try:
            said = packet.decode(payload)
            found = self._session_of(pair, key, said, now)
        except Discard as discard:
            self.counters[discard.reason] += 1
            return
        if not found.session.receive(said, now):
            self.counters["contradicted"] += 1
        self._settle(found, now)

    def _session_of(self, pair: Pair | None, key: Key, said: packet.Packet, now: float) -> Pair:
        """RFC 5880 6.8.6: whose packet it is. Raises Discard when nobody's."""
        if not said.your_discriminator:
            if pair is None:
                return self._opened_by_peer(key, said, now)
        elif said.your_discriminator not in self._by_discriminator:
            raise Discard("unknown-discriminator")
        elif pair is None or said.your_discriminator != pair.session.local_discriminator:
            raise Discard("wrong-pair")
        if said.my_discriminator == pair.session.local_discriminator:
            raise Discard("own-discriminator")
        return pair

    def _opened_by_peer(self, key: Key, said: packet.Packet, now: float) -> Pair:
        local = self._local(*key)
        if local is None:
            raise Discard("stranger")
        # AdminDown opens nothing. Init cannot come without Your Discriminator: `decode` refuses it.
        if said.state == ADMIN_DOWN or self.want.admin_down:
            raise Discard("admin-down")
        if self._passive >= MAX_PASSIVE:
            raise Discard("too-many-sessions")
        packets = 1e6 / max(self._uplinks[key[0]].interval_us, said.required_min_rx_us)
        if self._packets + packets > MAX_PACKETS:
            raise Discard("packet-budget")
        self._packets += packets
        return self._open(key, local, active=False, now=now)

    # Time -----------------------------------------------------------------------------------------------------------

    def next_at(self) -> float:
        """When `run` must be called, at the latest."""
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].due_at:
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def run(self, now: float) -> None:
        """Everything that is due by the clock. Packets that wait to be read must have been read before."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, pair = heapq.heappop(heap)
            if at != pair.due_at:
                continue
            pair.due_at = NEVER
            pair.session.expire(now)
            self._settle(pair, now)

    def tidy(self, now: float) -> None:
        """About once a second: ends what is to end."""
        for pair in list(self.pairs.values()):
            session = pair.session
            if pair.closing_at <= now:
                self._remove(pair)
                continue
            left = session.remote_state == ADMIN_DOWN
            pair.left_at = min(pair.left_at, now) if left else NEVER
            if session.active or session.state == UP or pair.closing_at != NEVER:
                continue
            if now - pair.left_at > ADMIN_DOWN_SECONDS or now - session.heard_at > SILENT_SECONDS:
                self._close(pair, now)
        self._make_room(now)

    def _make_room(self, now: float) -> None:
        """Our own sessions came after those that peers opened: of these the latest go, by AdminDown."""
        self._packets = sum(pair.session.packets for pair in self.pairs.values())
        if self._packets <= MAX_PACKETS:
            return
        for pair in reversed(list(self.pairs.values())):
            if self._packets > MAX_PACKETS and not pair.session.active and pair.session.state in (INIT, UP):
                self.counters["packet-budget"] += 1
                self._packets -= pair.session.packets
                self._close(pair, now)

    def _settle(self, pair: Pair, now: float) -> None:
        """After anything that touched the session: send, tell, and look at the clock again."""
        session = pair.session
        while data := session.transmit(now, self.tools.fraction()):
            self.tools.send(pair, data)
        if session.changed:
            session.changed = False
            if session.state != pair.state:
                pair.state, pair.since = session.state, self.tools.unix_time()
            self.tools.watcher.changed(pair)
        # One live entry a pair. A later turn is found when the earlier entry comes up, so a packet costs no push.
        wake_at = session.wake_at
        if wake_at < pair.due_at:
            pair.due_at = wake_at
            self._pushed += 1
            heapq.heappush(self._heap, (wake_at, self._pushed, pair))
