"""Processes of a gateway and of a hub are killed, restarted and upgraded: not one ping is lost, through no box at all.

And the proof that this is no accident: without graceful restart, and with an agent that takes its routes away before
it has heard anybody, the same restarts lose pings.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from time import monotonic

from lab.expect import Run
from lab.failover.world import START_SECONDS, TOPOLOGY, Flood, World
from lab.scenarios.restarts import release
from lab.sessions import connections
from lab.speakers import PLAN_FILE

__all__ = ["TOPOLOGY", "scenario"]

GATEWAYS = ("hub-1", "hub-2", "berlin-1", "paris-1", "oslo-1")
PAIRS = (("berlin", "oslo"), ("oslo", "paris"))
SITE = "oslo-1"
"""The only gateway of its site: what it loses, nobody carries instead."""
PATIENCE = 30.0
BFD_KILLED_MS = 3000
"""Detection is 300 ms; the rest is until another leyline-bfd runs and has come up with everybody."""
AFTER_SECONDS = 1.0
"""Pings go on for so long after everything is back."""


def scenario(run: Run) -> None:
    world = World(run, gateways=GATEWAYS)
    node = world.node(SITE)
    for number in (version(release.DISTRIBUTION), release.next_version()):
        release.install(node, number)
    release.use(node, version(release.DISTRIBUTION))
    world.speakers.environments[SITE] = {"PYTHONPATH": release.INSTALLED}
    with world.cuts:
        world.start()
        world.wait_live(("berlin-1", SITE), (SITE, "paris-1"))
        for gateway in (SITE, "hub-1"):
            agent_dies(world, gateway)
            exabgp_dies(world, gateway)
        upgrade(world)
        bfd_ends(world)
        world.expect_clean()
        without_care(world)


@contextmanager
def unnoticed(world: World, what: str) -> Iterator[Flood]:
    """What happens in the block, until everything is settled again, costs no ping and takes no BFD session down."""
    before = {gateway: world.speakers.process(gateway, "bfd").pid for gateway in GATEWAYS}
    with world.flood(*PAIRS) as flood:
        flood.go_on()
        yield flood
        flood.observe(AFTER_SECONDS)
    flood.expect_none_lost(what, f"{what.replace(' ', '_').replace('-', '_')}_pings_lost")
    after = {gateway: world.speakers.process(gateway, "bfd").pid for gateway in GATEWAYS}
    world.run.expect("every leyline-bfd is the same process as before", before == after, f"{before}\n{after}")


def agent_dies(world: World, gateway: str) -> None:
    run, speakers = world.run, world.speakers
    run.step(f"kill -9 of {gateway}'s agent")
    sessions, started = connections(world.node(gateway)), speakers.report(gateway)["started_at"]
    with unnoticed(world, f"agent of {gateway} killed"):
        speakers.stop(gateway, "agent")
        _wait_for_new_agent(world, gateway, started)
    now = connections(world.node(gateway))
    run.expect(f"{gateway}'s BGP sessions are the same as before", now == sessions, f"{sessions}\n{now}")


def exabgp_dies(world: World, gateway: str) -> None:
    run = world.run
    run.step(f"kill -9 of {gateway}'s ExaBGP")
    with unnoticed(world, f"exabgp of {gateway} killed"):
        _kill_exabgp(world, gateway)
        world.speakers.wait_for_sessions(PATIENCE)
    world.wait_for_routes()


def upgrade(world: World) -> None:
    """As `pip install --upgrade` and `systemctl restart leyline-agent`: another version, the other processes stay."""
    run, speakers, node = world.run, world.speakers, world.node(SITE)
    number = release.next_version()
    run.step(f"{SITE}'s agent is upgraded in place, to version {number}")
    said = speakers.report(SITE)
    run.expect(f"{SITE} runs {said['speaker_version']}", said["speaker_version"] == version(release.DISTRIBUTION), said)
    sessions, exabgp = connections(node), speakers.process(SITE, "exabgp").pid
    with unnoticed(world, "agent upgraded"):
        release.use(node, number)
        speakers.stop(SITE, "agent", signal.SIGTERM)
        _wait_for_new_agent(world, SITE, said["started_at"])
    said = speakers.report(SITE)
    run.expect(f"{SITE} runs {said['speaker_version']} now", said["speaker_version"] == number, said)
    same = connections(node) == sessions and speakers.process(SITE, "exabgp").pid == exabgp
    run.expect("its ExaBGP and its sessions are the same as before", same, f"{sessions}\n{connections(node)}")


def bfd_ends(world: World) -> None:
    """Stopped, leyline-bfd takes its leave: nobody takes its gateway for dead. Killed, it is taken for just that.

    The second is what a site with one gateway pays; `leyline-bfd` that is back ends it, not the up delay.
    """
    run = world.run
    for number, done in ((signal.SIGTERM, "stopped"), (signal.SIGKILL, "killed")):
        run.step(f"{SITE}'s leyline-bfd is {done}")
        with world.flood(*PAIRS) as flood:
            flood.go_on()
            former = world.speakers.process(SITE, "bfd").pid
            at = monotonic()
            world.speakers.stop(SITE, "bfd", number)
            run.wait_until(f"{SITE} has a new leyline-bfd", lambda: _runs_anew(world, former), PATIENCE)  # noqa: B023
            world.wait_live(("berlin-1", SITE), (SITE, "paris-1"), seconds=PATIENCE)
            flood.observe(AFTER_SECONDS)
        if number == signal.SIGTERM:
            flood.expect_none_lost("leyline-bfd stopped", "bfd_stopped_pings_lost")
        else:
            flood.expect_window("leyline-bfd killed", "bfd_killed_ms", BFD_KILLED_MS, at)
        world.wait_for_routes()


def _runs_anew(world: World, former: int) -> bool:
    return world.speakers.runs(SITE, "bfd") and world.speakers.process(SITE, "bfd").pid != former


def without_care(world: World) -> None:
    """The counter-test: graceful restart and make before break are switched off."""
    run, speakers = world.run, world.speakers
    run.step("graceful restart and make before break are switched off: the same restarts are noticed")
    former = {gateway: connections(world.node(gateway)) for gateway in GATEWAYS}
    world.retime("fast", restart_time=0)
    run.wait_until(
        "every session is a new one, without it",
        lambda: all(_all_anew(old, connections(world.node(gateway))) for gateway, old in former.items()), PATIENCE,
    )  # fmt: skip
    speakers.speakers[SITE].kill(signal.SIGTERM)
    run.require("the speaker has stopped", speakers.speakers[SITE].wait(15))
    speakers.launch(SITE, ["--plan", PLAN_FILE, "--break-before-make", "true"])
    speakers.wait_for_sessions(START_SECONDS)
    world.wait_for_routes()
    started = speakers.report(SITE)["started_at"]
    with world.flood(*PAIRS) as flood:
        flood.go_on()
        speakers.stop(SITE, "agent")
        _wait_for_new_agent(world, SITE, started)
        flood.go_on()
    _expect_lost(run, flood, "agent that breaks before it makes")
    with world.flood(*PAIRS) as flood:
        flood.go_on()
        _kill_exabgp(world, SITE)
        speakers.wait_for_sessions(PATIENCE)
        world.wait_for_routes()
        flood.go_on()
    _expect_lost(run, flood, "exabgp without graceful restart")


def _expect_lost(run: Run, flood: Flood, what: str) -> None:
    lost = sum(tally.lost for tally in flood.tallies.values())
    run.expect(f"{what}: {lost} pings are lost", lost > 0, flood.text)


def _wait_for_new_agent(world: World, gateway: str, started: float) -> None:
    """Until an agent that started later has heard everybody and the kernel is as it wants it."""
    speakers = world.speakers
    world.run.wait_until(
        f"{gateway} has a new agent", lambda: speakers.report(gateway).get("started_at", 0) > started, PATIENCE,
        lambda: speakers.speakers[gateway].log.read_text(errors="replace")[-3000:],
    )  # fmt: skip
    speakers.wait_for_sessions(PATIENCE)
    world.wait_for_routes([gateway])


def _kill_exabgp(world: World, gateway: str) -> None:
    """Until every session of the gateway stands again."""
    node = world.node(gateway)
    former = connections(node)
    world.speakers.stop(gateway, "exabgp")
    world.run.wait_until(
        f"all {len(former)} sessions of {gateway} stand again", lambda: _all_anew(former, connections(node)), PATIENCE,
        lambda: f"{former}\n{connections(node)}",
    )  # fmt: skip


def _all_anew(former: dict[str, str], now: dict[str, str]) -> bool:
    return all(peer in now and now[peer] != inode for peer, inode in former.items())
