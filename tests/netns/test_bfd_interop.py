"""leyline-bfd beside FRR's bfdd and BIRD 2: up in both families, timers agreed, death found in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.netns.bfd_world import Bfdd, Leyline, silenced
from tests.netns.namespaces import Bird, Namespace, pair, wait_until

pytestmark = pytest.mark.root

OURS, THEIRS = "10.42.0.1", "10.42.0.2"
OURS6, THEIRS6 = "fd42::1", "fd42::2"
LATE_S = 0.15
"""What a busy box of two cores may add to a detection time."""

BFDD = f"""bfd
 profile quick
  transmit-interval 150
  receive-interval 150
  detect-multiplier 4
 exit
 peer {OURS} interface eth0
  profile quick
 exit
 peer {OURS6} local-address {THEIRS6} interface eth0
  profile quick
 exit
exit
"""

BIRD = f"""router id {THEIRS};
log stderr all;
protocol device {{ }}
protocol bfd one {{
  interface "eth0" {{ min rx interval 150 ms; min tx interval 150 ms; idle tx interval 1 s; multiplier 4; }};
  neighbor {OURS} dev "eth0" local {THEIRS};
  neighbor {OURS6} dev "eth0" local {THEIRS6};
}}
"""


@pytest.fixture
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    with pair("bfd", (f"{OURS}/24", f"{OURS6}/64"), (f"{THEIRS}/24", f"{THEIRS6}/64")) as both:
        yield both


@pytest.fixture
def ours(ends: tuple[Namespace, Namespace], tmp_path: Path) -> Leyline:
    return Leyline(ends[0], tmp_path / "ours")


@pytest.fixture
def bfdd(ends: tuple[Namespace, Namespace]) -> Iterator[Bfdd]:
    with TemporaryDirectory(prefix="ll-bfd-") as name:  # User frr may not enter pytest's own directories.
        made = Bfdd(ends[1], Path(name), BFDD)
        yield made
        made.stop()  # They would write into a directory that is being removed.


@pytest.fixture
def bird(ends: tuple[Namespace, Namespace], tmp_path: Path) -> Bird:
    return ends[1].bird(BIRD, tmp_path / "bird")


def both_up(ours: Leyline) -> None:
    ours.want(OURS, THEIRS, THEIRS6, address6=OURS6)
    for remote, detection in ((THEIRS, 4 * 150_000), (THEIRS6, 4 * 150_000)):
        ours.until(partial(settled, ours, remote, detection))


def settled(ours: Leyline, remote: str, detection_us: int) -> bool:
    status = ours.statuses.get(("eth0", remote))
    return status is not None and (status.state, status.detection_us) == ("Up", detection_us)


def says(bfdd: Bfdd, address: str, key: str, value: object) -> bool:
    return bool(bfdd.peer(address).get(key) == value)


def found_dead_in_time(ours: Leyline) -> None:
    """The peer has just been killed. By our process's own word: this one here may be late."""
    killed = time.time()
    ours.until(lambda: ours.up() == 0)
    for remote in (THEIRS, THEIRS6):
        status = ours.status(remote)
        assert 0.3 < status.since - killed < 0.6 + LATE_S
        assert (status.diagnostic, status.downs, status.ever_up) == (1, 1, True)


def test_bfdd_comes_up_and_agrees_on_timers(ours: Leyline, bfdd: Bfdd) -> None:
    both_up(ours)
    for address in (OURS, OURS6):
        wait_until(partial(says, bfdd, address, "remote-transmit-interval", 100), 10, bfdd.log)
        peer = bfdd.peer(address)
        assert peer["status"] == "up"
        assert peer["remote-detect-multiplier"] == 3
        assert peer["remote-receive-interval"] == 100


def test_bfdd_killed_is_found_within_the_detection_time(ours: Leyline, bfdd: Bfdd) -> None:
    both_up(ours)
    bfdd.process.send_signal(signal.SIGKILL)
    found_dead_in_time(ours)


def test_bfdd_that_hears_nothing_says_so_and_we_believe_it(ours: Leyline, bfdd: Bfdd) -> None:
    both_up(ours)
    with silenced(bfdd.namespace):
        ours.until(lambda: ours.up() == 0)
        for remote in (THEIRS, THEIRS6):
            assert ours.status(remote).diagnostic == 3
            assert ours.status(remote).downs == 1
    ours.until(lambda: ours.up() == 2)


def test_bfdd_sees_our_admin_down_when_we_stop(ours: Leyline, bfdd: Bfdd) -> None:
    both_up(ours)
    ours.namespace.stop(ours.process)
    for address in (OURS, OURS6):
        wait_until(partial(says, bfdd, address, "status", "down"), 5, bfdd.log)
        assert bfdd.peer(address)["diagnostic"] == "neighbor signaled session down"
        assert bfdd.peer(address)["remote-diagnostic"] == "administratively down"


def test_bfdd_leaves_us_at_once_when_our_box_goes_down(
    ends: tuple[Namespace, Namespace], bfdd: Bfdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = on_a_box_that_goes_down(ends[0], tmp_path, monkeypatch)
    both_up(ours)
    ours.namespace.stop(ours.process)
    for address in (OURS, OURS6):
        peer = bfdd.peer(address)
        assert peer["status"] != "up", "it was told a second ago"
        assert peer["remote-diagnostic"] == "forwarding plane reset"


def on_a_box_that_goes_down(node: Namespace, place: Path, monkeypatch: pytest.MonkeyPatch) -> Leyline:
    """A leyline-bfd to which systemd says that everything ends."""
    (place / "systemctl").write_text("#!/bin/sh\necho stopping\nexit 1\n")
    (place / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return Leyline(node, place / "ours")


def test_bfdd_shut_down_is_unknown_and_not_dead(ours: Leyline, bfdd: Bfdd) -> None:
    both_up(ours)
    bfdd.vtysh("configure terminal", "bfd", "profile quick", "shutdown", check=True)
    ours.until(lambda: ours.up() == 0)
    for remote in (THEIRS, THEIRS6):
        status = ours.status(remote)
        assert (status.state, status.remote_state, status.diagnostic) == ("Down", "AdminDown", 3)
        assert (status.ever_up, status.downs) == (False, 0)
    bfdd.vtysh("configure terminal", "bfd", "profile quick", "no shutdown", check=True)
    ours.until(lambda: ours.up() == 2)


def test_bfdd_follows_when_our_timers_change(ours: Leyline, bfdd: Bfdd) -> None:
    both_up(ours)
    ours.want(OURS, THEIRS, THEIRS6, address6=OURS6, interval_ms=400, multiplier=5)
    for address, remote in ((OURS, THEIRS), (OURS6, THEIRS6)):
        ours.until(partial(settled, ours, remote, 4 * 400_000))
        wait_until(partial(says, bfdd, address, "remote-transmit-interval", 400), 5, bfdd.log)
        assert bfdd.peer(address)["remote-detect-multiplier"] == 5
        assert ours.status(remote).downs == 0


def test_bfdd_opens_a_session_that_we_did_not_ask_for(ours: Leyline, bfdd: Bfdd) -> None:
    ours.want(OURS, address6=OURS6, accept=(THEIRS,))
    ours.until(lambda: settled(ours, THEIRS, 4 * 150_000))
    assert not ours.status(THEIRS).active
    wait_until(lambda: ours.counters().get("stranger", 0) > 0, 5, ours.log)
    assert ("eth0", THEIRS6) not in ours.statuses
    assert bfdd.peer(OURS)["status"] == "up"


def bird_says(bird: Bird, address: str, *columns: str) -> bool:
    """`show bfd sessions`: address, interface, state, since, interval, timeout."""
    lines = [line.split() for line in bird.ask("show bfd sessions").splitlines()]
    found = next((line for line in lines if line and line[0] == address), [])
    return [*columns] == [*found[2:3], *found[-2:]][: len(columns)]


def test_bird_comes_up_and_agrees_on_timers(ours: Leyline, bird: Bird) -> None:
    both_up(ours)
    for address in (OURS, OURS6):
        wait_until(partial(bird_says, bird, address, "Up", "0.150", "0.450"), 5, partial(bird.ask, "show bfd sessions"))


def test_bird_killed_is_found_within_the_detection_time(ours: Leyline, bird: Bird) -> None:
    both_up(ours)
    bird.process.send_signal(signal.SIGKILL)
    found_dead_in_time(ours)


def test_bird_that_hears_nothing_says_so_and_we_believe_it(ours: Leyline, bird: Bird) -> None:
    both_up(ours)
    with silenced(bird.namespace):
        ours.until(lambda: ours.up() == 0)
        assert [ours.status(remote).downs for remote in (THEIRS, THEIRS6)] == [1, 1]
    ours.until(lambda: ours.up() == 2)


def test_bird_sees_our_admin_down_when_we_drain_and_stop(ours: Leyline, bird: Bird) -> None:
    both_up(ours)
    ours.want(OURS, THEIRS, THEIRS6, address6=OURS6, admin_down=True)
    for address in (OURS, OURS6):
        wait_until(partial(bird_says, bird, address, "Down"), 2, partial(bird.ask, "show bfd sessions"))
    ours.want(OURS, THEIRS, THEIRS6, address6=OURS6)
    ours.until(lambda: ours.up() == 2)
    assert [ours.status(remote).downs for remote in (THEIRS, THEIRS6)] == [0, 0]


def test_bird_leaves_us_at_once_when_our_box_goes_down(
    ends: tuple[Namespace, Namespace], bird: Bird, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = on_a_box_that_goes_down(ends[0], tmp_path, monkeypatch)
    both_up(ours)
    ours.namespace.stop(ours.process)
    assert not any(bird_says(bird, address, "Up") for address in (OURS, OURS6)), "it was told a second ago"


def test_what_is_on_the_wire(ours: Leyline, ends: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    """RFC 5881 4 and 5: TTL 255, source port 49152-65535, one for each session; and DSCP CS6."""
    ours.want(OURS, THEIRS, THEIRS6, address6=OURS6)
    capture = tmp_path / "bfd.pcap"
    fields = "ip.ttl ipv6.hlim ip.dsfield ipv6.tclass udp.srcport udp.dstport bfd.sta bfd.flags.c bfd.my_discriminator"
    command = ["tshark", "-i", "eth0", "-f", "udp port 3784", "-c", "4", "-a", "duration:15", "-w", str(capture)]
    ends[1].run(*command, timeout=30)
    shown = subprocess.run(
        ["tshark", "-r", str(capture), "-T", "json", *(word for name in fields.split() for word in ("-e", name))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    packets = [packet["_source"]["layers"] for packet in json.loads(shown)]
    assert len(packets) == 4
    four = [packet for packet in packets if "ip.ttl" in packet]
    six = [packet for packet in packets if "ipv6.hlim" in packet]
    assert four
    assert six
    assert all((p["ip.ttl"], p["ip.dsfield"]) == (["255"], ["0xc0"]) for p in four)
    assert all((p["ipv6.hlim"], p["ipv6.tclass"]) == (["255"], ["0x000000c0"]) for p in six)
    assert all(p["udp.dstport"] == ["3784"] and p["bfd.flags.c"] in (["1"], ["True"]) for p in packets)
    ports = {family: {int(p["udp.srcport"][0]) for p in some} for family, some in (("four", four), ("six", six))}
    assert all(len(own) == 1 and 49152 <= min(own) <= 65535 for own in ports.values())
    assert ports["four"] != ports["six"]
