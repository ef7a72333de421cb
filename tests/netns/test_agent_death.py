"""What dies on a gateway, and what nobody else may notice of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.netns.fabric import BIRD, EXTRA, HUB, OWN, SPOKE, THEIRS, Fabric, fabric, spoke_plan
from tests.netns.namespaces import wait_until
from tests.netns.speakers import PATIENCE, RouteMonitor, connections, within

pytestmark = pytest.mark.root

FOREIGN = "198.51.100.0/24 via 10.42.0.9 dev eth0 proto static "
FOREIGN_BESIDE_OURS = "unreachable 20.3.1.0/24 proto static metric 50 "


@pytest.fixture
def world() -> Iterator[Fabric]:
    with fabric() as made:
        yield made


def test_death_of_the_spokes_agent(world: Fabric) -> None:
    """Sessions and routes stay; what was withdrawn meanwhile, and only that, is gone after its return."""
    spoke = world.spoke
    for route in (FOREIGN, FOREIGN_BESIDE_OURS):
        spoke.namespace.run("ip", "route", "add", *route.split())
    monitor = RouteMonitor(spoke.namespace, world.place)
    before, routes = connections(world.hub.namespace), spoke.namespace.run("ip", "-4", "route")

    with spoke.without_restarts():
        spoke.kill("agent")
        world.bird.bird.ask("disable extra")
        wait_until(lambda: world.hub.has(THEIRS + OWN), PATIENCE, world.evidence)
        assert spoke.namespace.run("ip", "-4", "route") == routes, "kernel routes while the agent is dead"
    world.until_settled(theirs=THEIRS)

    gone = {line.split()[1] for line in monitor.deleted()}
    assert gone == set(EXTRA), f"deleted from the kernel: {monitor.deleted()}"
    after = spoke.namespace.run("ip", "-4", "route")
    assert FOREIGN in after
    assert FOREIGN_BESIDE_OURS in after
    assert connections(world.hub.namespace) == before, world.evidence()
    assert world.bird.removed() == []


def test_death_of_the_hubs_agent(world: Fabric) -> None:
    """RFC 7313: what the spoke took back meanwhile is gone at BIRD, and nothing else ever was."""
    monitor = RouteMonitor(world.spoke.namespace, world.place)
    before = connections(world.hub.namespace)
    less = spoke_plan(OWN[1:])
    with world.hub.without_restarts():
        world.hub.kill("agent")
        world.spoke.give(less)
        wait_until(lambda: world.spoke.has_in_force(less), PATIENCE, world.spoke.evidence)
        assert world.bird.received() == set(OWN), "BIRD while the hub's agent is dead"
    world.until_settled(own=OWN[1:])

    assert world.bird.removed() == [OWN[0]], world.evidence()
    assert monitor.deleted() == [], "the spoke's kernel"
    assert connections(world.hub.namespace) == before, world.evidence()


@pytest.mark.parametrize("gateway", ["spoke", "hub"])
def test_death_of_exabgp(world: Fabric, gateway: str) -> None:
    """The sessions come back within 5 s, everything is said again, and nothing was missed by anybody."""
    speaker = world.spoke if gateway == "spoke" else world.hub
    monitors = [RouteMonitor(world.members[name], world.place) for name in ("spoke", "hub")]
    before = connections(world.hub.namespace)
    dead = speaker.kill("exabgp")
    limit = within(5)

    def back() -> bool:
        now = connections(world.hub.namespace)
        return len(now) == len(before) and now != before and world.settled(THEIRS + EXTRA, OWN)

    taken = wait_until(back, PATIENCE, world.evidence)
    assert speaker.pid("exabgp") != dead
    assert taken < limit, f"{taken:.1f} s\n{world.evidence()}"
    assert world.bird.removed() == [], world.evidence()
    assert [monitor.deleted() for monitor in monitors] == [[], []]


@pytest.mark.slow
def test_exabgp_that_dies_ten_times(world: Fabric) -> None:
    """The agent lives on, the pauses before each start are bounded, and in the end everything is back."""
    spoke, agent = world.spoke, world.spoke.pid("agent")
    monitor = RouteMonitor(spoke.namespace, world.place)
    hellos = spoke.log().count("event=bridge ")
    last = 0
    for death in range(10):
        wait_until(lambda last=last: spoke.pid("exabgp") not in (0, last), PATIENCE, spoke.evidence)  # type: ignore[misc]
        if death % 2:  # Every other one lives until its bridge has spoken to the agent.
            wait_until(lambda seen=hellos: spoke.log().count("event=bridge ") > seen, PATIENCE, spoke.evidence)  # type: ignore[misc]
        hellos = spoke.log().count("event=bridge ")
        last = spoke.kill("exabgp")
    world.until_settled()

    pauses = [float(text) for text in re.findall(r"process=exabgp .*in_seconds=([\d.]+)", spoke.log())]
    assert len(pauses) == 10, pauses
    assert max(pauses) <= 5, pauses
    assert spoke.pid("agent") == agent, "the agent died, too"
    assert "Traceback" not in spoke.log(), spoke.evidence()
    assert world.bird.removed() == []
    assert monitor.deleted() == []


def test_stopped_and_started_again(world: Fabric) -> None:
    """SIGTERM of the agent, then of everything, then a new start: no route is deleted from the kernel."""
    spoke = world.spoke
    monitor = RouteMonitor(spoke.namespace, world.place)
    routes = spoke.namespace.run("ip", "-4", "route")
    agent = spoke.pid("agent")
    spoke.terminate("agent")
    wait_until(lambda: spoke.pid("agent") != agent and spoke.settled(HUB), PATIENCE, spoke.evidence)
    assert spoke.namespace.run("ip", "-4", "route") == routes
    assert monitor.deleted() == []

    assert spoke.stop() == 0, spoke.evidence()
    assert connections(spoke.namespace) == set()
    assert spoke.namespace.run("ip", "-4", "route") == routes, "kernel routes after the stop"
    spoke.start()
    world.until_settled()
    assert spoke.namespace.run("ip", "-4", "route") == routes
    assert monitor.deleted() == []
    assert world.hub.is_up(SPOKE, BIRD)
