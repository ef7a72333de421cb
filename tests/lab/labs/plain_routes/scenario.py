"""Hosts behind two routers with static routes: the scenario runner itself, without Leyline. FAIL makes it fail."""

from __future__ import annotations

import os

from lab.expect import Run
from lab.watch import RouteWatch

TOPOLOGY = "../plain.clab.yml"


def scenario(run: Run) -> None:
    run.step("ping and traceroute")
    host = run.lab.node("host-east")
    run.expect("the far host answers", host.reaches("10.9.2.2"))
    path = host.traceroute("10.9.2.2")
    run.expect("the path is right", path == ["10.9.1.1", "10.9.0.2", "10.9.2.2"], path)
    run.step("watch routes")
    east = run.lab.node("east")
    with RouteWatch([east, run.lab.node("west")]) as watch:
        for command in (
            "route add 192.0.2.0/24 via 10.9.0.2 proto 76",
            "-6 route add 2001:db8::/32 dev zt0",
            "route del 192.0.2.0/24",
        ):
            east.run(f"ip {command}")
        run.wait_until("three events are seen", lambda: len(watch.events()) >= 3, 5, watch.events)
    seen = [(event.node, event.action, event.prefix, event.protocol) for event in watch.events()]
    wanted = [
        ("east", "add", "192.0.2.0/24", 76),
        ("east", "add", "2001:db8::/32", 3),
        ("east", "remove", "192.0.2.0/24", 76),
    ]
    run.expect("they are the right ones", seen == wanted, seen)
    run.figure("answer", 42)
    if os.environ.get("FAIL") == "expectation":
        run.expect("the moon is cheese", False, "rock samples")
    if os.environ.get("FAIL") == "error":
        east.run("false")
    run.table("what was seen", ("node", "prefix"), [(event.node, event.prefix) for event in watch.events()])
