"""FRR's zebra on the same box, with next hops and routes of its own: neither disturbs the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from speaker.kernel.hops import NEXTHOP_IDS
from speaker.rib.prefix import Family
from tests.netns.frr import STATIC_PREFIXES, Frr
from tests.netns.kernel_world import LinuxWorld, linux_world
from tests.netns.namespaces import wait_until
from tests.speaker.kernel.world import via, want

pytestmark = pytest.mark.root

ZEBRA_OBJECT = "11"  # RTPROT_ZEBRA: what it marks next-hop objects with.


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="ll-kernel-frr-") as name:
        yield Path(name)


@pytest.fixture
def world() -> Iterator[LinuxWorld]:
    with linux_world() as world:
        yield world


def test_zebra_and_we_leave_each_other_alone(world: LinuxWorld, directory: Path) -> None:
    fib = world.fib()
    fib.set_may_remove(True)
    fib.want_rejects(["10.1.0.0/16"])
    want(fib, "10.1.1.0/24", via("10.42.0.2", "10.42.0.3"))
    want(fib, "2001:db8:1::/48", via("fd42:42::2"))
    assert fib.flush().converged
    before = (world.routes(), world.routes(Family.IPV6))

    frr = Frr(world.near, directory)
    wait_until(lambda: frr.routes() == STATIC_PREFIXES, 20, frr.log)
    assert any(n["protocol"] == ZEBRA_OBJECT for n in world.ip("nexthop")), "zebra uses next-hop objects here"
    assert (world.routes(), world.routes(Family.IPV6)) == before, "zebra's start"

    # Ours move and go, and are read back, under its eyes.
    want(fib, "10.1.1.0/24", via("10.42.0.3"))
    want(fib, "10.1.2.0/24", via("10.42.0.2"))
    assert fib.flush().converged
    assert fib.audit() == 0
    assert frr.routes() == STATIC_PREFIXES

    # What we delete, zebra makes anew as its own (8.4.4 does, under our id): not ours any more, and left to it.
    for _ in range(4):
        assert fib.audit() == 0
    ghosts = {n["id"] for n in world.ip("nexthop") if n["protocol"] == ZEBRA_OBJECT and n["id"] in NEXTHOP_IDS}
    used = {n["id"] for n in world.ip("nexthop") if n["protocol"] == "76"}
    assert not ghosts & used
    assert world.routes() == {
        ("10.1.0.0/16", 4999): {},
        ("10.1.1.0/24", 1000): {"10.42.0.3": 1},
        ("10.1.2.0/24", 1000): {"10.42.0.2": 1},
    }

    # The interface goes: the kernel drops everybody's, and everybody puts theirs back.
    world.link_down()
    fib.set_link("eth0", None)
    fib.flush()
    world.link_up()
    fib.set_link("eth0", world.index)
    assert fib.flush().converged
    wait_until(lambda: frr.routes() == STATIC_PREFIXES, 20, frr.log)
    for _ in range(4):
        fib.audit()
    assert fib.audit() == 0
    assert set(world.routes()) == {("10.1.0.0/16", 4999), ("10.1.1.0/24", 1000), ("10.1.2.0/24", 1000)}
    theirs = [n for n in world.ip("nexthop") if n["protocol"] == ZEBRA_OBJECT and n["id"] not in NEXTHOP_IDS]

    # We start anew, and adopt what is ours only.
    after = world.fib()
    after.set_may_remove(True)
    want(after, "10.1.2.0/24", via("10.42.0.2"))
    assert after.flush().converged
    assert set(world.routes()) == {("10.1.2.0/24", 1000)}
    assert frr.routes() == STATIC_PREFIXES
    ours_aside = [n for n in world.ip("nexthop") if n["protocol"] == ZEBRA_OBJECT and n["id"] not in NEXTHOP_IDS]
    assert [n["id"] for n in ours_aside] == [n["id"] for n in theirs]

    # It takes its own away when it stops, and nothing of ours.
    frr.stop()
    wait_until(lambda: not frr.routes(), 20, frr.log)
    assert set(world.routes()) == {("10.1.2.0/24", 1000)}
    assert after.audit() == 0


def test_a_prefix_that_both_have_is_ours_to_zebra(world: LinuxWorld, directory: Path) -> None:
    """FRR 8.4 takes protocol 76 for a kernel route of distance 0, and holds its own static one back.

    So "FRR's routes win" holds only where FRR does not know ours. When ours goes, its own comes.
    """
    fib = world.fib()
    fib.set_may_remove(True)
    frr = Frr(world.near, directory)
    wait_until(lambda: frr.routes() == STATIC_PREFIXES, 20, frr.log)
    want(fib, "172.16.1.0/24", via("10.42.0.9"))
    assert fib.flush().converged
    wait_until(lambda: frr.routes() == STATIC_PREFIXES - {"172.16.1.0/24"}, 20, frr.log)
    assert fib.audit() == 0
    assert set(world.routes()) == {("172.16.1.0/24", 1000)}
    want(fib, "172.16.1.0/24", None)
    assert fib.flush().converged
    wait_until(lambda: frr.routes() == STATIC_PREFIXES, 20, frr.log)
    assert world.routes() == {}
