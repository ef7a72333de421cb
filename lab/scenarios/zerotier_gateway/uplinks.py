"""Two services on one gateway: both are seen, both carry, and one takes over from the other."""

from __future__ import annotations

import signal
import time

from lab.loss import told, worst_ms
from lab.pings import PingTrain
from lab.scenarios.zerotier_gateway.world import FIBER, LTE, PORTS, World

BOUND_MS = 400.0
"""BFD of both circuit classes: 100 ms x 3, and some for the rest."""
BACK_SECONDS = 60.0


def both(world: World) -> None:
    run = world.run
    run.step("oslo-1 has two uplinks, each with a ZeroTier service, a home and a port of its own")
    for key, port in PORTS.items():
        said = world.report_of(key)
        run.expect(
            f"{key} is node {world.node_id(key)}, well, and has its address",
            (said.get("node_id"), said.get("status"), said.get("problem")) == (world.node_id(key), "OK", ""), said,
        )  # fmt: skip
        listening = world.services[key].get("/status")["config"]["settings"]["listeningOn"]
        run.expect(f"{key} listens on port {port}", any(each.endswith(f"/{port}") for each in listening), listening)
    for member in ("10.42.0.25", "10.42.0.26"):
        run.expect(f"{member} answers from paris-2", world.node("paris-2").reaches(member))
        run.expect(f"BFD between hub-1 and {member} is up", _bfd(world, member) == "up")


def _bfd(world: World, address: str) -> str:
    return str(world.stack.next_hop("hub-1", address).get("state", ""))


def one_dies(world: World) -> None:
    run, service = world.run, world.services[FIBER]
    host, far = world.node("host-oslo"), world.node("paris-2")
    flows = [host.pings("10.2.0.2", "host-oslo to paris"), far.pings("10.4.0.10", "paris to host-oslo", "10.2.0.2")]
    train = PingTrain(flows)
    try:
        run.wait_until("pings are answered", lambda: all(train.answered(flow.name) > 50 for flow in flows), 20)
        run.step("zerotier-one of the fibre is killed: the LTE carries")
        at = time.monotonic()
        assert service.process is not None
        service.process.kill(signal.SIGKILL)
        run.wait_until("some seconds go by", lambda: time.monotonic() > at + 4, 10)
    finally:
        tallies = train.finish()
    run.figure("uplink_killed_ms", worst_ms(tallies, at))
    run.expect(f"the other uplink carries within {BOUND_MS:g} ms", worst_ms(tallies, at) <= BOUND_MS, told(tallies))
    run.expect("and goes on", all(tally.recovered for tally in tallies.values()), told(tallies))
    run.wait_until(
        "the speaker says that the service does not answer",
        lambda: "nothing answers on 127.0.0.1 port 9993" in world.problem(FIBER), 40, lambda: world.problem(FIBER),
    )  # fmt: skip
    run.expect("and that the other one is well", not world.problem(LTE), world.problem(LTE))
    at = time.monotonic()
    service.start()

    def well() -> bool:
        return world.addresses(FIBER) == ["10.42.0.25"] and _bfd(world, "10.42.0.25") == "up"

    back = run.wait_until(
        "restarted, it has its interface, its address and its BFD session again", well, BACK_SECONDS,
        lambda: (world.addresses(FIBER), _bfd(world, "10.42.0.25")), at,
    )  # fmt: skip
    run.figure("uplink_back_seconds", back)
