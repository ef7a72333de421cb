"""Many sessions at 100 ms x 3 between two leyline-bfd: undisturbed, and with 5,000 bad packets a second at one end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from speaker.liveness.bfd.control import BfdUplink, Want
from tests.netns.bfd_world import Leyline
from tests.netns.namespaces import Namespace, segment, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]

ATTACKER = "10.42.250.1"
RATE = 5000


@dataclass(frozen=True)
class Crowd:
    """Two processes, `near` x `far` sessions between them; and a namespace on the same segment."""

    near: Leyline
    far: Leyline
    evil: Namespace
    near_addresses: tuple[str, ...]
    far_addresses: tuple[str, ...]

    def want(self) -> None:
        self.near.say("want", everybody(self.near_addresses, self.far_addresses))
        self.far.say("want", everybody(self.far_addresses, self.near_addresses))

    @property
    def number(self) -> int:
        return len(self.near_addresses) * len(self.far_addresses)

    def settle(self) -> None:
        for end in (self.near, self.far):
            end.until(partial(agreed, end, self.number), 30)

    def downs(self) -> int:
        return downs(self.near) + downs(self.far)

    def load(self, seconds: float) -> float:
        """Part of a core that the near end uses while `seconds` pass."""
        cpu, started = self.near.cpu_seconds(), time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):  # It must not end.
            self.near.process.wait(seconds)
        return (self.near.cpu_seconds() - cpu) / (time.monotonic() - started)


def everybody(own: tuple[str, ...], remotes: tuple[str, ...]) -> Want:
    uplinks = tuple(BfdUplink(f"u{index}", address, None, 100_000, 3) for index, address in enumerate(own))
    return Want(uplinks, tuple((u.device, remote) for u in uplinks for remote in remotes), frozenset(), False)


@contextlib.contextmanager
def crowd(tmp_path: Path, near: int, far: int) -> Iterator[Crowd]:
    """Each uplink is a macvlan with an address and a MAC of its own."""
    with segment("bfdl", {"near": (), "far": (), "evil": (f"{ATTACKER}/16",)}) as nodes:
        addresses = []
        for name, net, number in (("near", 0, near), ("far", 1, far)):
            own = tuple(f"10.42.{net}.{1 + index}" for index in range(number))
            batch = ""
            for index, address in enumerate(own):
                batch += f"link add u{index} link eth0 type macvlan mode private\nlink set u{index} up\n"
                batch += f"address add {address}/16 dev u{index}\n"
            nodes[name].run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
            nodes[name].run("ip", "-batch", "-", stdin=batch)
            addresses.append(own)
        ends = [Leyline(nodes[name], tmp_path / name) for name in ("near", "far")]
        made = Crowd(ends[0], ends[1], nodes["evil"], addresses[0], addresses[1])
        made.want()
        made.settle()
        yield made


def agreed(end: Leyline, number: int) -> bool:
    return sum(s.state == "Up" and s.detection_us == 300_000 for s in end.statuses.values()) == number


def downs(end: Leyline) -> int:
    end.read()
    return sum(status.downs for status in end.statuses.values())


def test_fifty_sessions_are_light(tmp_path: Path) -> None:
    with crowd(tmp_path, 1, 50) as made:
        load = made.load(10)
        print(f"50 sessions at 100 ms x 3: {load:.1%} of a core")
        assert made.downs() == 0
        assert load < 0.25


def test_three_hundred_sessions_hold(tmp_path: Path) -> None:
    with crowd(tmp_path, 6, 50) as made:
        before = made.downs()
        load = made.load(10)
        print(f"300 sessions at 100 ms x 3: {load:.1%} of a core, {made.downs() - before} downs")
        assert made.downs() == before


def test_bad_packets_do_not_disturb(tmp_path: Path) -> None:
    """Strangers, replays with the peers' own addresses, reflected discriminators, wrong TTL, junk: 5,000 a second."""
    with crowd(tmp_path, 1, 50) as made:
        capture = tmp_path / "capture"
        capture.write_text(coming_up(made, tmp_path / "up.pcap"))
        before = made.downs()
        cpu, started = made.near.cpu_seconds(), time.monotonic()
        command = (sys.executable, "-m", "tests.netns.bfd_flood", "15", str(RATE), made.near_addresses[0])
        sent = int(made.evil.run(*command, str(capture), ATTACKER, *made.far_addresses, timeout=60))
        load = (made.near.cpu_seconds() - cpu) / (time.monotonic() - started)
        counters = made.near.counters()
        print(f"{sent} bad packets in 15 s: {load:.1%} of a core, {counters}")
        assert sent > 15 * RATE * 0.9
        assert made.downs() == before, made.near.evidence()
        assert made.near.up() == made.far.up() == 50
        for reason in (
            "stranger", "ttl", "contradicted", "length", "multiplier", "authentication", "unknown-discriminator",
            "own-discriminator", "wrong-pair",
        ):  # fmt: skip
            assert counters[reason] > 100, reason


def coming_up(made: Crowd, pcap: Path) -> str:
    """Lines "source hex": all that the far end says while it comes up, which is what a replay could do harm with."""
    command = f"tcpdump -i eth0 -w {pcap} -U --immediate-mode".split()
    watch = made.near.namespace.start(*command, f"udp dst port 3784 and dst {made.near_addresses[0]}")
    wait_until(lambda: pcap.exists() and pcap.stat().st_size > 1000, 10)
    made.far.restart()
    made.far.say("want", everybody(made.far_addresses, made.near_addresses))
    made.near.until(lambda: downs(made.near) == made.number)
    made.settle()
    made.near.namespace.stop(watch)
    shown = subprocess.run(
        ["tshark", "-r", str(pcap), "-T", "fields", "-e", "ip.src", "-e", "udp.payload"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # Each once: what is said rarely is replayed as often as what is said ten times a second.
    return "\n".join(sorted({" ".join(line.split()) for line in shown.splitlines() if len(line.split()) == 2}))
