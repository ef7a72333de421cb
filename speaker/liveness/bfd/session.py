"""One BFD session (RFC 5880 6.8), asynchronous mode. Pure: the clock and the random fraction are arguments.

The owner hands in packets that belong to the session (`receive`), calls `expire` at `wake_at`, and after each of the
three sends what `transmit` gives until it gives None. Times are seconds of one monotonic clock.

Not done, as the RFC allows: authentication, echo, demand mode. A peer's demand bit is ignored: we go on sending,
which it must bear.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from speaker.liveness.bfd.packet import (
    ADMIN_DOWN,
    ADMINISTRATIVELY_DOWN,
    DETECTION_TIME_EXPIRED,
    DOWN,
    FORWARDING_PLANE_RESET,
    INIT,
    NEIGHBOUR_SIGNALLED_DOWN,
    NO_DIAGNOSTIC,
    UP,
    Packet,
    encode,
)

NEVER = math.inf
SLOW_US = 1_000_000
"""While not Up, Desired Min TX is at least this (6.8.3)."""
DOUBT_INTERVALS = 2.25
"""A doubted packet counts after so many intervals without one that contradicts it: two missing ones, and a margin."""
FAREWELLS = 3
"""AdminDown is said so often at the former pace: if only the first were lost, the peer would see a failure."""


class Timers(NamedTuple):
    interval_us: int  # Desired Min TX while Up, and Required Min RX.
    multiplier: int


class Session:
    """The state variables of 6.8.1 and what moves them. `changed` is set when what people see has changed.

    A passive session (`active` False) is silent while it does not know the peer's discriminator (6.1).

    One thing is stricter than 6.8.6, against replays of what a peer once said. While Up, a packet with another My
    Discriminator than the peer's, or one that says Down without Your Discriminator, is doubted: it counts only once the
    packets of the peer that we know stay away for two intervals.
    """

    def __init__(self, discriminator: int, timers: Timers, active: bool, now: float) -> None:
        self.timers = timers
        self.active = active
        self.state = DOWN
        self.diagnostic = NO_DIAGNOSTIC
        self.local_discriminator = discriminator
        self.remote_discriminator = 0
        self.remote_state = DOWN
        self.remote_multiplier = 0
        self.remote_desired_tx_us = 0
        self.remote_required_rx_us = 1
        self.ever_up = False
        self.downs = 0
        self.changed = True
        self.polling = False
        self.heard_at = now
        self.tx_at = now if active else NEVER
        self.detect_at = NEVER
        self.doubt_at = NEVER
        self._doubted: Packet | None = None
        self._poll_again = False
        self._final_due = False
        # In force now; they differ from what our packets say until a Poll Sequence ends (6.8.3).
        self._tx_us = max(SLOW_US, timers.interval_us)
        self._rx_us = timers.interval_us
        self._sent_at = -NEVER
        self._hurry, self._hurry_us = 0, 0
        self._forget_peer = False

    # What is asked --------------------------------------------------------------------------------------------------

    @property
    def desired_tx_us(self) -> int:
        return self.timers.interval_us if self.state == UP else max(SLOW_US, self.timers.interval_us)

    @property
    def transmit_us(self) -> int:
        """Interval between our periodic packets before jitter (6.8.7); 0 = none are sent."""
        if not self.remote_required_rx_us:
            return 0
        return max(self._tx_us, self.remote_required_rx_us)

    @property
    def detection_us(self) -> int:
        """6.8.4; 0 before the first packet."""
        return self.remote_multiplier * max(self._rx_us, self.remote_desired_tx_us)

    @property
    def peer_detection_us(self) -> int:
        """When the peer misses us: 0 when it does not know us, or does not listen."""
        return self.timers.multiplier * self.transmit_us if self.remote_discriminator else 0

    @property
    def packets(self) -> float:
        """A second, the way that has more of them, once it is Up; while nobody answers, those that call."""
        if self.state not in (INIT, UP):
            return 1e6 / max(SLOW_US, self.timers.interval_us)
        # While not Up the peer says a slow Desired Min TX.
        return 1e6 / max(self.timers.interval_us, min(self.remote_required_rx_us, self.remote_desired_tx_us))

    @property
    def wake_at(self) -> float:
        return -NEVER if self._final_due else min(self.tx_at, self.detect_at, self.doubt_at)

    # What happens ---------------------------------------------------------------------------------------------------

    def receive(self, packet: Packet, now: float) -> bool:
        """A packet for this session, as `packet.decode` gave it. False: it is doubted, and has changed nothing yet."""
        if self.state == UP:
            stranger = packet.my_discriminator != self.remote_discriminator
            if stranger or (packet.state <= DOWN and not packet.your_discriminator):
                self._doubt(packet, now)
                return False
            if packet.state == UP:
                self.doubt_at, self._doubted = NEVER, None
        self._accept(packet, now)
        return True

    def expire(self, now: float) -> None:
        """What the clock alone changes, when `now` >= `wake_at`."""
        if now >= self.doubt_at:
            packet, self._doubted, self.doubt_at = self._doubted, None, NEVER
            if packet is not None:
                self._accept(packet, now)
        if now < self.detect_at:
            return
        self.detect_at = NEVER
        # The peer may have been told otherwise when it comes back; 0 from its former life would silence us for ever.
        self.remote_required_rx_us = 1
        if self.state in (INIT, UP):
            # It is told once under the discriminator that it knows us to know; so it need not doubt our word.
            self._forget_peer = True
            self._become(DOWN, DETECTION_TIME_EXPIRED, now)
        else:
            self.remote_discriminator = 0
            if self._mute() or self.tx_at == NEVER:
                self._speak(now)

    def configure(self, timers: Timers, now: float) -> None:
        """Other timers. While Up slower ones hold once the peer has answered a Poll, faster ones at once (6.8.3)."""
        if timers == self.timers:
            return
        moved = timers.interval_us != self.timers.interval_us
        self.timers = timers
        if self.state == UP:
            self._tx_us = min(self._tx_us, timers.interval_us)
            self._rx_us = max(self._rx_us, timers.interval_us)
            if moved:
                self._poll()
        else:
            self._tx_us, self._rx_us = self.desired_tx_us, timers.interval_us
        self._speak(now)
        self.changed = True

    def set_active(self, active: bool, now: float) -> None:
        if active != self.active:
            self.active, self.changed = active, True
            self._speak(now)

    def admin_down(self, now: float) -> None:
        """6.8.16. Holds until `enable`."""
        if self.state == ADMIN_DOWN:
            return
        pace = self.transmit_us
        self.ever_up = self.ever_up and self.state != UP  # What was dead before stays so.
        self._become(ADMIN_DOWN, ADMINISTRATIVELY_DOWN, now)
        self._hurry, self._hurry_us = FAREWELLS - 1, pace

    def forwarding_ends(self, now: float) -> None:
        """6.8.17: the peer can no longer rely on what we forward. Who is AdminDown stays so."""
        if self.state != ADMIN_DOWN:
            self._become(DOWN, FORWARDING_PLANE_RESET, now)

    def enable(self, now: float) -> None:
        if self.state == ADMIN_DOWN:
            self._become(DOWN, NO_DIAGNOSTIC, now)

    def transmit(self, now: float, fraction: float) -> bytes | None:
        """The packet that is due, or None. `fraction`, 0 <= fraction < 1, is the jitter of 6.8.7."""
        if self._final_due:
            self._final_due = False
            return self._encode(poll=False, final=True)
        if now < self.tx_at:
            return None
        data = self._encode(poll=self.polling, final=False)
        if self._forget_peer:
            self._forget_peer = False
            self.remote_discriminator = 0
        interval = self.transmit_us
        if self._hurry and interval:
            self._hurry -= 1
            interval = min(interval, self._hurry_us) or interval
        self._sent_at = now
        if not interval or self._mute():
            self.tx_at = NEVER
        elif self.timers.multiplier == 1:
            self.tx_at = now + interval * 1e-6 * (0.9 - 0.15 * fraction)
        else:
            self.tx_at = now + interval * 1e-6 * (1.0 - 0.25 * fraction)
        return data

    # How ------------------------------------------------------------------------------------------------------------

    def _accept(self, packet: Packet, now: float) -> None:
        """6.8.6 from "Set bfd.RemoteDiscr" on."""
        before = self.detection_us
        slower_before = self.transmit_us
        self.remote_discriminator = packet.my_discriminator
        self._forget_peer = False
        if packet.state != self.remote_state:
            self.remote_state, self.changed = packet.state, True
        self.remote_required_rx_us = packet.required_min_rx_us
        self.remote_desired_tx_us = packet.desired_min_tx_us
        self.remote_multiplier = packet.multiplier
        if packet.final and self.polling:
            self._polled()
        if self.transmit_us != slower_before:
            self._repace(now)
        elif self.tx_at == NEVER and self.transmit_us and not self._mute():
            self.tx_at = now
        detection = self.detection_us
        if detection != before:
            self.changed = True
        self.heard_at = now
        self.detect_at = now + detection * 1e-6
        if packet.state == ADMIN_DOWN and self.ever_up:
            self.ever_up, self.changed = False, True
        if self.state == ADMIN_DOWN:
            return
        self._follow(packet.state, now)
        if packet.poll:
            self._final_due = True

    def _follow(self, remote: int, now: float) -> None:
        """The three-way handshake."""
        if remote == ADMIN_DOWN:
            if self.state != DOWN:
                self._become(DOWN, NEIGHBOUR_SIGNALLED_DOWN, now)
        elif self.state == DOWN:
            if remote == DOWN:
                self._become(INIT, self.diagnostic, now)
            elif remote == INIT:
                self._become(UP, NO_DIAGNOSTIC, now)
        elif self.state == INIT:
            if remote in (INIT, UP):
                self._become(UP, NO_DIAGNOSTIC, now)
        elif remote == DOWN:
            self._become(DOWN, NEIGHBOUR_SIGNALLED_DOWN, now)

    def _become(self, state: int, diagnostic: int, now: float) -> None:
        if self.state == UP and state == DOWN and self.remote_state != ADMIN_DOWN:
            self.downs += 1
        self.state, self.diagnostic, self.changed = state, diagnostic, True
        self._hurry = 0
        self.doubt_at, self._doubted = NEVER, None
        if state == UP:
            self.ever_up = True
        # A Poll Sequence matters only while Up; otherwise new values hold at once, and every packet says them.
        self.polling = self._poll_again = False
        if self._tx_us != self.desired_tx_us:
            self._tx_us = self.desired_tx_us
            if state == UP:
                self._poll()
        self._rx_us = self.timers.interval_us
        self._speak(now)

    def _doubt(self, packet: Packet, now: float) -> None:
        if self._doubted is None:
            patience = DOUBT_INTERVALS * max(self._rx_us, self.remote_desired_tx_us) * 1e-6
            self.doubt_at = min(max(now, self.heard_at + patience), self.detect_at)
        self._doubted = packet

    def _poll(self) -> None:
        """A Final that answers what we said before must not end the Poll Sequence for what we say now."""
        if self.polling:
            self._poll_again = True
        self.polling = True

    def _polled(self) -> None:
        self.polling = self._poll_again
        self._poll_again = False
        if not self.polling:
            self._tx_us, self._rx_us = self.desired_tx_us, self.timers.interval_us

    def _mute(self) -> bool:
        return not self.active and not self.remote_discriminator

    def _speak(self, now: float) -> None:
        """What our packets say has changed: say it now (6.8.7)."""
        self.tx_at = NEVER if self._mute() else now

    def _repace(self, now: float) -> None:
        """The transmit interval has changed. A shorter one counts from the packet before (6.8.3)."""
        interval = self.transmit_us
        if self._mute() or not interval:
            self.tx_at = NEVER
        else:
            self.tx_at = max(now, min(self.tx_at, self._sent_at + interval * 0.75e-6))

    def _encode(self, *, poll: bool, final: bool) -> bytes:
        return encode(
            Packet(
                self.state,
                self.diagnostic,
                self.timers.multiplier,
                self.local_discriminator,
                self.remote_discriminator,
                self.desired_tx_us,
                self.timers.interval_us,
                poll=poll,
                final=final,
                control_plane_independent=True,
            )
        )
