"""Whole speakers detour by relay label. Runs on the test machine: see tests/uml/test_relay_labels.py.

There is no nftables `inet` here, so nothing enforces the rules against loops, and no detour by plain IP is taken.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from speaker import plan as p
from speaker.kernel.mpls import relay_label
from tests.netns.namespaces import Namespace, wait_until
from tests.netns.speakers import Speaker
from tests.uml.inside.world import A6, B6, HOST_A, HOST_B, HUB, HUB6, A, B, ask, cut, fabric, ip, mend

DIRECT, DETOUR = 64 - 2, 64 - 3
PATIENCE = 240.0
"""Seconds. Three gateways start fifteen Python processes on one emulated CPU: 40 s here, far more on a busy host."""
BFD = p.BfdPlan(500, 4)  # One CPU of 100 Hz carries three gateways here.
UPLINKS = {"hub": (1, HUB, HUB6), "a": (2, A, A6), "b": (3, B, B6)}
SITES = {"a": ("10.1.0.0/24", "fd00:1::/64"), "b": ("10.2.0.0/24", "fd00:2::/64")}


def plan_of(name: str) -> p.Plan:
    number, address, address6 = UPLINKS[name]
    return p.Plan(
        version=2,
        gateway=name,
        role="hub" if name == "hub" else "spoke",
        asn=64512,
        router_id=address,
        segments=("10.42.0.0/16", "fd42:42::/64"),
        uplinks=(p.UplinkPlan(number, "main", "seg", address, address6, "fiber", 200, 0, BFD),),
        announcements=(p.AnnouncementPlan(SITES[name], ()),) if name in SITES else (),
        sessions=tuple(_session(name, peer) for peer in (SITES if name == "hub" else ("hub",))),
        rejects=(),
        max_paths=8,
    )


def _session(own: str, peer: str) -> p.SessionPlan:
    number, address, address6 = UPLINKS[peer]
    hop = p.NextHopPlan(number, address, address6, 200, (), 0)
    spaces = tuple(p.AllocationPlan(prefix, int(prefix.split("/")[1])) for prefix in SITES.get(peer, ()))
    return p.SessionPlan(
        peer=peer,
        peer_role="hub" if peer == "hub" else "client",
        peer_asn=64512,
        peer_address=address,
        local_address=UPLINKS[own][1],
        passive=own == "hub",
        families=("ipv4", "ipv6"),
        add_path=True,
        hold_time=30,
        restart_time=120,
        password="",
        imports=p.ImportPlan((hop,), spaces) if own == "hub" else None,
        peer_address6=address6,
    )


class Node(Namespace):
    """A namespace that the fabric has made already."""

    def __init__(self, name: str) -> None:
        super().__init__("uml", name)
        self.name = name


@dataclass
class Gateways:
    hub: Speaker
    a: Speaker
    b: Speaker

    def evidence(self) -> str:
        return "\n".join([*(each.evidence() for each in (self.hub, self.a, self.b)), *labels()])


@pytest.fixture(scope="module")
def gateways() -> Iterator[Gateways]:
    with fabric(configured=False), TemporaryDirectory() as place, ExitStack() as stack:
        speakers = {}
        for name in UPLINKS:
            speakers[name] = Speaker(Node(name), name, Path(place))
            speakers[name].start(plan_of(name))
            stack.callback(speakers[name].stop)
        found = Gateways(**speakers)
        wait_until(lambda: both_ways() == [DIRECT] * 4, PATIENCE, found.evidence)
        # Only what was alive can die.
        wait_until(lambda: up(found.a, B) and up(found.b, A), PATIENCE, found.evidence)
        yield found


def both_ways(patience: float = 1.0) -> list[int | None]:
    return [ask("ha", address, patience=patience) for address in HOST_B] + [
        ask("hb", address, patience=patience) for address in HOST_A
    ]


def up(speaker: Speaker, remote: str) -> bool:
    return any(hop["address"] == remote and hop["state"] == "up" for hop in speaker.report().get("next_hops", ()))


def labels() -> list[str]:
    return sorted(ip("route show\n", "hub", "-f", "mpls").splitlines())


def next_hops(node: str) -> str:
    return re.sub(" +", " ", ip("nexthop\n", node))


def test_speakers_detour_by_label_and_return(gateways: Gateways) -> None:
    to_b, to_a = relay_label(3), relay_label(2)
    wait_until(lambda: [line.split()[0] for line in labels()] == [str(to_a), str(to_b)], PATIENCE, gateways.evidence)
    cut("a", "b")
    started = time.monotonic()
    wait_until(lambda: both_ways(0.3) == [DETOUR] * 4, PATIENCE, gateways.evidence)
    print(f"all four ways by the hub after {time.monotonic() - started:.1f} s")
    assert f"encap mpls {to_b} via {HUB} " in next_hops("a")
    assert f"encap mpls {to_a} via {HUB6} " in next_hops("b")

    before = labels()
    killed = gateways.hub.kill("agent")
    wait_until(lambda: gateways.hub.pid("agent") != killed and gateways.hub.is_up(2, 3), PATIENCE, gateways.evidence)
    assert both_ways() == [DETOUR] * 4
    assert labels() == before

    mend()
    wait_until(lambda: both_ways(0.3) == [DIRECT] * 4, PATIENCE, gateways.evidence)
