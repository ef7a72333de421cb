"""What must not be noticed, and what must heal: every process killed without mercy, an interface taken away."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from lab import clients
from lab.labs import plug, unplug
from lab.pings import PingTrain
from lab.routes import next_hops, routes
from lab.scenarios.fabric.world import World
from lab.sessions import connections

BACK_SECONDS = 5.0
PATIENCE = 60.0
"""Then it is not late but broken."""
INTERFACE_SECONDS = 2.0
QUIET_PINGS = 30
"""Three seconds of pings: how long nothing may happen."""
SHORT_LIVED = ("10.4.16.0/24", "fd10:4:0:77::/64")
"""Prefixes of oslo that come and go while an agent is dead."""
FOREIGN = "198.51.100.0/24"
FOREIGN_BY_OBJECT = "203.0.113.0/24"
FOREIGN_ID = 77
ZEBRA = """\
hostname lima
ip route 192.0.2.0/25 10.5.0.10
ip route 192.0.2.128/25 10.5.0.10
ip route 192.0.2.128/25 10.5.0.11
ipv6 route 2001:db8:5::/48 fd10:5::10
"""
ZEBRA_ROUTES = ("192.0.2.0/25", "192.0.2.128/25", "2001:db8:5::/48")


def observe(world: World, pings: int = QUIET_PINGS) -> None:
    """Let time go by, told by pings on the controller's own loopback."""
    world.stack.controller.run(f"ping -n -q -c {pings} -i 0.1 127.0.0.1")


def controller_dies(world: World) -> None:
    run, stack = world.run, world.stack
    run.step("kill -9 of the controller: nothing changes; it comes back: nothing changes either")
    assert stack.controller_process is not None
    before = {name: connections(world.node(name)) for name in world.gateways}
    with world.watch() as watch, world.nothing_lost("controller killed", "berlin", "paris", "oslo"):
        stack.controller_process.kill()
        run.require("the controller is gone", stack.controller_process.wait(5))
        observe(world)
        stack.start_controller()
        observe(world)
        events = watch.events()
    text = "\n".join(str(event) for event in events[:20])
    run.expect("no route has changed anywhere", not events, text)
    after = {name: connections(world.node(name)) for name in world.gateways}
    run.expect("no BGP session has been made anew", before == after, f"{before}\n{after}")
    world.expect_all_routes("without the controller, and with it again")


def agent_dies(world: World, gateway: str, site: str) -> None:
    """kill -9 of an agent. While it is dead prefixes are withdrawn; its supervisor is held until that is everywhere."""
    run, stack, node = world.run, world.stack, world.node(gateway)
    run.step(f"kill -9 of {gateway}'s agent: nobody notices, and what was withdrawn meanwhile goes afterwards")
    concerned = [name for name in world.routers if name != "oslo-1"]
    for prefix in SHORT_LIVED:
        world.declare("oslo", prefix)
    run.wait_until(
        f"{' and '.join(SHORT_LIVED)} are everywhere",
        lambda: all(world.has(name, prefix) for name in concerned for prefix in SHORT_LIVED), 20,
        lambda: [f"{prefix}: only in {world.who_has(prefix)}" for prefix in SHORT_LIVED],
    )  # fmt: skip
    foreign, sessions, supervisor = _put_foreign(world, gateway, site), connections(node), stack.speakers[gateway]
    with world.watch() as watch, world.nothing_lost(f"agent of {gateway} killed", site, "lima", "tokyo"):
        supervisor.kill(signal.SIGSTOP)
        begun = time.monotonic()
        stack.kill(gateway, "agent")
        for prefix in SHORT_LIVED:
            world.withdraw("oslo", prefix)
        if gateway not in world.facts.hubs():  # Where a hub is dead, its clients still have its word.
            others = [name for name in concerned if name != gateway]
            run.wait_until("they are withdrawn everywhere else", lambda: not _who_has_any(world, others), 20)
        held = all(world.has(gateway, prefix) for prefix in SHORT_LIVED)
        run.expect(f"{gateway}'s kernel still has all of its routes, the withdrawn ones too", held)
        observe(world)
        supervisor.kill(signal.SIGCONT)
        taken = run.wait_until(
            f"{gateway} drops the routes that were withdrawn while its agent was dead",
            lambda: not _who_has_any(world, [gateway]), 20, lambda: supervisor.log.read_text()[-3000:],
            patience=PATIENCE,
        )  # fmt: skip
        run.wait_until(
            "they are gone everywhere", lambda: not _who_has_any(world, world.routers), 20,
            lambda: f"still in {_who_has_any(world, world.routers)}",
        )  # fmt: skip
        gone = [
            event for event in watch.events(since=begun) if event.action == "remove" and event.prefix not in SHORT_LIVED
        ]
    run.figure(f"{gateway.replace('-', '_')}_agent_restart_to_purge_seconds", taken)
    run.expect("no other route was taken away anywhere", not gone, world.removals(gone))
    run.expect(f"no session of {gateway} went down", connections(node) == sessions, f"{sessions}\n{connections(node)}")
    _expect_foreign(world, gateway, foreign)


def _who_has_any(world: World, routers: Sequence[str]) -> str:
    """Those of `routers` that still have one of the short-lived prefixes."""
    return ", ".join(name for name in routers if any(world.has(name, prefix) for prefix in SHORT_LIVED))


def _put_foreign(world: World, gateway: str, site: str) -> str:
    """Routes and a next-hop object of somebody else, where the gateway has a LAN; all of them as text."""
    node = world.node(gateway)
    if gateway not in world.facts.hubs():
        host = world.host_address(site)
        node.run(f"ip route replace {FOREIGN} via {host} proto static")
        node.run(f"ip nexthop replace id {FOREIGN_ID} via {host} dev lan0")
        node.run(f"ip route replace {FOREIGN_BY_OBJECT} nhid {FOREIGN_ID}")
    return _foreign(world, gateway)


def _foreign(world: World, gateway: str) -> str:
    """Everything in the main tables and among the next hops that is not Leyline's."""
    node = world.node(gateway)
    theirs = [r for version in (4, 6) for r in routes(node, version).values() if r.protocol != "76"]
    objects = {number: hops for number, hops in next_hops(node).items() if not 0x4C000000 <= number < 0x4D000000}
    return "\n".join(
        [*sorted(map(str, theirs)), *(f"{number}: {sorted(hops)}" for number, hops in sorted(objects.items()))]
    )


def _expect_foreign(world: World, gateway: str, before: str) -> None:
    after = _foreign(world, gateway)
    world.run.expect(
        f"{gateway}'s foreign routes and next hops are untouched",
        before == after,
        f"before:\n{before}\nafter:\n{after}",
    )


def exabgp_dies(world: World, gateway: str, sites: tuple[str, ...]) -> None:
    """kill -9 of ExaBGP: graceful restart on every side, ours, FRR's and BIRD's."""
    run, stack, node = world.run, world.stack, world.node(gateway)
    run.step(f"kill -9 of {gateway}'s ExaBGP: back and announced again within {BACK_SECONDS:g} s, nobody loses a route")
    former, log = connections(node), stack.speakers[gateway].log
    with world.watch() as watch, world.nothing_lost(f"exabgp of {gateway} killed", *sites):
        begun = stack.kill(gateway, "exabgp")
        sessions = run.wait_until(
            f"all {len(former)} sessions of {gateway} stand again", lambda: _all_anew(former, connections(node)),
            BACK_SECONDS, lambda: f"{former}\n{connections(node)}\n{log.read_text()[-3000:]}", begun, PATIENCE,
        )  # fmt: skip
        announced = run.wait_until(
            f"{gateway} has announced again: nobody keeps a stale path of it", lambda: not _stale(world, gateway),
            BACK_SECONDS, lambda: _stale(world, gateway), begun, PATIENCE,
        )  # fmt: skip
        observe(world)
        events = watch.events(since=begun)
    name = gateway.replace("-", "_")
    run.figure(f"{name}_exabgp_sessions_back_seconds", sessions)
    run.figure(f"{name}_exabgp_announced_back_seconds", announced)
    gone = world.removals(events)
    run.expect("nothing was withdrawn at any gateway or client in between", not gone, gone)
    world.expect_all_routes(f"after {gateway}'s ExaBGP was killed")


def _all_anew(former: dict[str, str], now: dict[str, str]) -> bool:
    return all(peer in now and now[peer] != inode for peer, inode in former.items())


def _stale(world: World, gateway: str) -> str:
    """Who still keeps paths from `gateway` only because of graceful restart; empty = nobody."""
    found = []
    if gateway in world.facts.hubs():
        hub = world.facts.gateway(gateway).addresses[0]
        if problem := clients.frr_restored(world.node("frr1"), hub):
            found.append(f"frr1: {problem}")
        if problem := clients.bird_restored(world.node("bird1"), gateway.replace("-", "")):
            found.append(f"bird1: {problem}")
        looked_at, prefix = "berlin-1", "10.2.0.0/24"
        theirs = [path for path in world.paths(looked_at, prefix) if path["from"] == gateway]
    else:
        looked_at, prefix = "hub-1", next(p for s, p in world.facts.prefixes if s == world.facts.gateway(gateway).site)
        theirs = [path for path in world.paths(looked_at, prefix) if path["from"] == gateway]
    if not theirs or any(path["stale"] for path in theirs):
        found.append(f"{looked_at}: paths of {prefix} from {gateway}: {theirs}")
    return "\n".join(found)


def without_grace(world: World) -> None:
    """The counter-test: with graceful restart off, the same kill is seen. So the zeros above mean something."""
    run, stack = world.run, world.stack
    run.step("graceful restart is switched off: now the same kill does lose routes and pings")
    fabric = {**world.declared_fabric(), "restart_time": 0}
    stack.controller.write("/run/no-grace.yml", json.dumps({"fabric": fabric}))
    before = {name: connections(world.node(name)) for name in world.facts.spokes()}
    stack.apply(Path("/run/no-grace.yml"))
    run.wait_until(
        "every gateway has new sessions, without it",
        lambda: all(_all_anew(former, connections(world.node(name))) for name, former in before.items()), PATIENCE,
    )  # fmt: skip
    run.wait_until("all kernels are as declared", lambda: not any(map(world.wrong, world.routers)), PATIENCE)
    train = PingTrain([world.host("berlin").pings(world.host_address("oslo"), "berlin to oslo")])
    with world.watch(without="oslo-1") as watch:
        begun = stack.kill("oslo-1", "exabgp")
        run.wait_until("routes are withdrawn elsewhere", lambda: world.removals(watch.events(since=begun)), 10)
        run.wait_until("all kernels are as declared", lambda: not any(map(world.wrong, world.routers)), PATIENCE)
    pings = train.finish()["berlin to oslo"]
    run.expect("pings are lost meanwhile", pings.lost > 0, pings)


def interface_goes(world: World, gateway: str) -> None:
    """zerotier-one restarted: the segment's interface vanishes, with every route over it, and comes back."""
    run, lab, node = world.run, world.run.lab, world.node(gateway)
    run.step(f"{gateway}'s interface is taken away and given back: every route is back within {INTERFACE_SECONDS:g} s")
    facts = world.facts.gateway(gateway)
    far = f"segment:eth{facts.number}"
    mac = unplug(lab, f"{gateway}:zt0")
    run.wait_until(
        "the kernel has dropped its routes", lambda: not world.actual(gateway), 5, lambda: node.out("ip route")
    )
    observe(world, 10)
    plug(lab, f"{gateway}:zt0", far, mac, 2800)
    lab.node("segment").run(f"ip link set {far.partition(':')[2]} master br0")
    node.run(f"ip address add {facts.addresses[0]}/16 dev zt0")
    back = time.monotonic()
    node.run(f"ip address add {facts.addresses6[0]}/64 dev zt0 nodad")
    taken = run.wait_until(
        f"all {len(world.expected(gateway))} routes of {gateway} are back", lambda: not world.wrong(gateway),
        INTERFACE_SECONDS, lambda: world.wrong(gateway), back, PATIENCE,
    )  # fmt: skip
    run.figure("interface_back_to_routes_seconds", taken)
    run.wait_until(
        f"{gateway}'s sessions are there", lambda: len(connections(node)) >= len(world.facts.hubs()), 30,
        lambda: world.stack.speakers[gateway].log.read_text()[-3000:],
    )  # fmt: skip
    run.wait_until("all kernels are as declared", lambda: not any(map(world.wrong, world.routers)), 60)


def zebra_beside(world: World) -> None:
    """FRR's zebra and staticd on a gateway, with routes and next-hop objects of their own."""
    run, node = world.run, world.node("lima-1")
    run.step("FRR with zebra on lima-1: it and Leyline leave each other alone")
    node.run("install -d -o frr -g frr /run/frr")
    node.write("/run/frr/zebra.conf", ZEBRA)
    node.run("chown frr /run/frr/zebra.conf")
    zebra = node.start("/usr/lib/frr/zebra -f /run/frr/zebra.conf", name="zebra")
    node.start("/usr/lib/frr/staticd -f /run/frr/zebra.conf", name="staticd")
    run.wait_until(
        "zebra has installed its own routes", lambda: _zebra_routes(world) == set(ZEBRA_ROUTES), 20,
        lambda: f"{_zebra_routes(world)}\n{zebra.log.read_text()}\n{node.out('ip route show proto 196')}",
    )  # fmt: skip
    wrong = world.wrong("lima-1")
    run.expect("Leyline's routes are as before", not wrong, wrong)
    before = _foreign(world, "lima-1")
    world.declare("paris", "10.2.16.0/24")
    run.wait_until("a new prefix is installed", lambda: world.has("lima-1", "10.2.16.0/24"), 10)
    world.withdraw("paris", "10.2.16.0/24")
    run.wait_until("a withdrawn one is gone", lambda: not world.has("lima-1", "10.2.16.0/24"), 10)
    world.stack.kill("lima-1", "agent")
    run.wait_until("the agent is back", lambda: world.stack.runs("lima-1", "agent"), 20)
    observe(world)
    _expect_foreign(world, "lima-1", before)
    zebra.kill(signal.SIGTERM)
    run.require("zebra has stopped", zebra.wait(10))
    wrong = world.wrong("lima-1")
    run.expect("zebra stops, which takes its own routes away: Leyline's are as before", not wrong, wrong)


def _zebra_routes(world: World) -> set[str]:
    node = world.node("lima-1")
    return {r.prefix for version in (4, 6) for r in routes(node, version).values() if r.protocol == "196"}
