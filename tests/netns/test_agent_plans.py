"""Plans that a running gateway gets: those it must refuse, and those that change its sessions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from speaker import plan as p
from speaker.bgp.wire import end_of_rib
from speaker.rib.prefix import Family
from tests.interop import tinybgp
from tests.netns.fabric import BIRD, EXTRA, HUB, OTHER, OWN, SPOKE, THEIRS, Fabric, fabric, hub_plan, spoke_plan
from tests.netns.namespaces import wait_until
from tests.netns.speakers import ASN, PATIENCE, RouteMonitor, address, connections, prefixes, updates

pytestmark = pytest.mark.root


@pytest.fixture
def world() -> Iterator[Fabric]:
    with fabric() as made:
        yield made


def shown(world: Fabric) -> dict[str, Any]:
    """`leyline speaker show --json` on the spoke."""
    command = (sys.executable, "-m", "controller.cli", "speaker", "show", "--json")
    spoke = world.spoke
    report: dict[str, Any] = json.loads(spoke.namespace.run(*command, "--state-dir", str(spoke.state.root)))
    return report


def test_plans_that_are_refused_change_nothing(world: Fabric) -> None:
    spoke, good = world.spoke, spoke_plan()
    monitors = [RouteMonitor(world.members[name], world.place) for name in ("spoke", "hub")]
    before, routes = connections(world.hub.namespace), spoke.namespace.run("ip", "-4", "route")
    encoded = p.encode(spoke_plan(OWN[:1]))
    bad = {
        "truncated": encoded[: len(encoded) // 2],
        "version 5; this speaker reads 1, 2, 3, 4": encoded.replace(b'"version":3', b'"version":5'),
        "for gateway elsewhere, not spoke": p.encode(replace(spoke_plan(OWN[:1]), gateway="elsewhere")),
        "unknown field `deny`": encoded.replace(b'"version":3', b'"deny":[],"version":3'),
    }
    for words, plan in bad.items():
        spoke.give(plan)
        wait_until(lambda words=words: words in shown(world)["plan_error"], PATIENCE, spoke.evidence)  # type: ignore[misc]
        report = shown(world)
        assert report["plan_digest"] == p.digest(good), "the plan in force"
        assert [one["state"] for one in report["sessions"]] == ["up"]
        assert spoke.namespace.run("ip", "-4", "route") == routes, words
    assert world.settled(THEIRS + EXTRA, OWN), world.evidence()
    assert connections(world.hub.namespace) == before, "sessions"
    assert world.bird.removed() == []
    assert [monitor.deleted() for monitor in monitors] == [[], []]

    spoke.give(spoke_plan(OWN[1:]))
    world.until_settled(own=OWN[1:])
    report = shown(world)
    assert (report["plan_error"], report["plan_digest"]) == ("", p.digest(spoke_plan(OWN[1:])))
    assert connections(world.hub.namespace) == before, "prefixes alone reset no session"


def test_a_bad_plan_file_after_a_restart_changes_nothing(world: Fabric) -> None:
    """The agent dies while its plan file is cut off: kernel and sessions wait until there is a good one."""
    spoke = world.spoke
    monitor = RouteMonitor(spoke.namespace, world.place)
    before = connections(world.hub.namespace)
    encoded = p.encode(spoke_plan())
    spoke.plan_file.write_bytes(encoded[:-20])
    dead = spoke.kill("agent")
    wait_until(lambda: spoke.pid("agent") != dead and "truncated" in spoke.report().get("plan_error", ""), PATIENCE)
    assert spoke.report()["plan_digest"] == ""
    assert spoke.has(THEIRS + EXTRA)
    spoke.give(encoded)
    world.until_settled()
    assert spoke.report()["plan_error"] == ""
    assert monitor.deleted() == []
    assert world.bird.removed() == []
    assert connections(world.hub.namespace) == before


def test_a_cut_off_stored_plan(world: Fabric) -> None:
    """Its controller is gone and its stored plan broken: the agent leaves everything and says why it waits."""
    spoke = world.spoke
    monitor = RouteMonitor(spoke.namespace, world.place)
    spoke.stop()
    token = world.place / "token"
    token.write_text("secret")
    encoded = p.encode(spoke_plan())
    spoke.state.plan.write_bytes(encoded[: len(encoded) // 3])
    spoke.start(source=("--controller", "http://127.0.0.1:9", "--token-file", str(token)))
    wait_until(lambda: "plan.json" in spoke.report().get("plan_error", ""), PATIENCE, spoke.evidence)
    assert "waiting for the controller's plan" in shown(world)["plan_error"]
    assert spoke.has(THEIRS + EXTRA)
    assert monitor.deleted() == []

    spoke.state.plan.write_bytes(encoded)
    spoke.kill("agent")
    world.until_settled()
    assert shown(world)["plan_error"] == ""
    assert monitor.deleted() == []
    assert world.bird.removed() == []


def test_a_client_comes_and_goes(world: Fabric) -> None:
    """A session more resets no other; without it its routes are gone at once, restart time or not."""
    before = connections(world.hub.namespace)
    world.hub.give(hub_plan(SPOKE, BIRD, OTHER))
    own = tinybgp.Speaker(ASN, address(OTHER), (Family.IPV4,), restart_time=120)
    routes = prefixes(OTHER, 10)
    with tinybgp.dial(world.members["other"].name, address(OTHER), address(HUB), own, PATIENCE) as other:
        other.send(*updates(OTHER, routes), end_of_rib(Family.IPV4))
        wait_until(lambda: world.spoke.has(THEIRS + EXTRA + routes), PATIENCE, world.evidence)
        assert world.bird.received() == {*OWN, *routes}
        assert before < connections(world.hub.namespace), "the other sessions"

        world.hub.give(hub_plan(SPOKE, BIRD))
        world.until_settled()
        wait_until(lambda: other.closed != "", PATIENCE, world.evidence)
    assert connections(world.hub.namespace) == before, "the other sessions"
    assert sorted(world.bird.removed()) == sorted(routes)
