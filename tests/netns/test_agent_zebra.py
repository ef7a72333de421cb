"""FRR on the same gateway: two who write next hops and routes, and neither takes the other's away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from speaker.bgp.wire import end_of_rib
from speaker.rib.prefix import Family
from tests.interop import tinybgp
from tests.netns.frr import STATIC_PREFIXES, Frr
from tests.netns.namespaces import pair, wait_until
from tests.netns.speakers import (
    ASN,
    PATIENCE,
    RouteMonitor,
    Speaker,
    address,
    plan_of,
    prefixes,
    to_hub,
    updates,
)

pytestmark = pytest.mark.root

HUB, SPOKE = 1, 9
ROUTES = prefixes(HUB, 50)


@dataclass
class World:
    spoke: Speaker
    frr: Frr
    place: Path

    def theirs(self) -> bool:
        return self.frr.routes() == STATIC_PREFIXES

    def ours(self) -> bool:
        return self.spoke.has(ROUTES) and self.spoke.settled(HUB)

    def evidence(self) -> str:
        return f"{self.spoke.evidence()}\n{self.frr.log()}"


@pytest.fixture
def world() -> Iterator[World]:
    """A spoke that audits its kernel twice a second, a tiny hub with 50 routes, and FRR in the spoke's namespace."""
    own = tinybgp.Speaker(ASN, address(HUB), (Family.IPV4,), restart_time=120)
    with (
        TemporaryDirectory(prefix="ll-agent-") as name,
        pair("agent", [f"{address(HUB)}/16"], [f"{address(SPOKE)}/16", "fd42:42::9/64"]) as (far, near),
        tinybgp.listening(far.name, address(HUB), own) as accept,
    ):
        place = Path(name)
        frr = Frr(near, _directory(place))
        spoke = Speaker(near, "spoke", place, "--audit-seconds=0.5")
        world = World(spoke, frr, place)
        wait_until(world.theirs, PATIENCE, frr.log)
        spoke.start(plan_of("spoke", SPOKE, [to_hub(SPOKE, HUB, 90)]))
        with accept(PATIENCE) as hub:
            hub.send(*updates(HUB, ROUTES), end_of_rib(Family.IPV4))
            wait_until(world.ours, PATIENCE, world.evidence)
            yield world


def _directory(place: Path) -> Path:
    """FRR's daemons run as a user of their own, who must get there."""
    place.chmod(0o755)
    directory = place / "frr"
    directory.mkdir()
    return directory


def test_zebra_and_the_agent_leave_each_other_alone(world: World) -> None:
    """Our start, audits, death, restart and stop beside a running FRR; then FRR's restart beside us."""
    spoke, frr = world.spoke, world.frr
    assert world.theirs(), "after our start"
    monitor = RouteMonitor(spoke.namespace, world.place)

    dead = spoke.kill("agent")
    wait_until(lambda: spoke.pid("agent") != dead and world.ours(), PATIENCE, world.evidence)
    spoke.stop()
    assert spoke.has(ROUTES), "ours after our stop"
    assert world.theirs(), "FRR's after our stop"
    assert monitor.deleted() == [], "routes that went meanwhile"

    spoke.start()
    wait_until(lambda: spoke.has(ROUTES) and spoke.report().get("converged") is True, PATIENCE, world.evidence)
    frr.stop()
    wait_until(lambda: not frr.routes(), PATIENCE, frr.log)
    assert spoke.has(ROUTES), "ours after FRR's stop"
    again = Frr(spoke.namespace, frr.directory)
    wait_until(lambda: again.routes() == STATIC_PREFIXES, PATIENCE, again.log)
    assert spoke.has(ROUTES), "ours after FRR's return"
    gone = [line for line in monitor.deleted() if "proto 76" in line or " 20." in line]
    assert gone == [], "of ours, ever"


def test_audits_beside_zebra_find_nothing(world: World) -> None:
    """Twice a second the whole kernel is compared; what FRR does between is no difference, and is left to it."""
    spoke, frr = world.spoke, world.frr
    monitor = RouteMonitor(spoke.namespace, world.place)
    repaired = spoke.report()["kernel"]["repaired"]
    for _ in range(3):
        frr.stop()
        wait_until(lambda: not world.frr.routes(), PATIENCE, frr.log)
        world.frr = frr = Frr(spoke.namespace, frr.directory)
        wait_until(world.theirs, PATIENCE, frr.log)
    # A route of ours that somebody takes away comes back by the next audit: audits do run here.
    spoke.namespace.run("ip", "route", "del", ROUTES[0], "proto", "76")
    wait_until(world.ours, PATIENCE, world.evidence)
    assert spoke.report()["kernel"]["repaired"] == repaired + 1, world.evidence()
    gone = [line for line in monitor.deleted() if " 20." in line]
    assert len(gone) == 1, gone
    assert frr.routes() == STATIC_PREFIXES
    assert "Traceback" not in spoke.log(), spoke.evidence()
