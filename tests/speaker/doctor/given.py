"""A gateway in good health, as the doctor sees it, to be made ill in one respect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from speaker.doctor.facts import ControllerSeen, Facts, Interface, RoutedEcho, RouteDifferences, Service
from speaker.kernel.sysctls import knobs
from speaker.plan import Plan, SessionPlan, UplinkPlan
from speaker.report import (
    KernelReport,
    LanReport,
    PathProbeReport,
    PeerReport,
    Report,
    SessionReport,
    UplinkReport,
)
from speaker.zerotier.nat import INDEPENDENT, Nat
from speaker.zerotier.peers import read_peers

RECORDED = Path(__file__).parents[2] / "controller" / "zerotier" / "recorded"
NOW = 1_795_301_128.0
NETWORK = "53fe91125fc50e14"
NODE = "456efad81a"

UPLINK = UplinkPlan(11, "main", "zt0", "10.42.0.11", None, "fiber", 200, 0, node_id=NODE)
SESSION = SessionPlan(
    peer="hub-1",
    peer_role="hub",
    peer_asn=64512,
    peer_address="10.42.0.1",
    local_address="10.42.0.11",
    passive=False,
    families=("ipv4",),
    add_path=True,
    hold_time=9,
    restart_time=120,
    password="",
    imports=None,
)
PLAN = Plan(
    version=4,
    gateway="berlin-1",
    role="spoke",
    asn=64512,
    router_id="10.42.0.11",
    segments=("10.42.0.0/16",),
    uplinks=(UPLINK,),
    announcements=(),
    sessions=(SESSION,),
    rejects=(),
    max_paths=16,
    network=NETWORK,
    mtu=2800,
)
UP = SessionReport("hub-1", "10.42.0.1", "up", NOW - 900, "", True, {"ipv4": 5}, {}, {})
PEER = PeerReport("5f8d869aea", "10.42.0.2", "main", "direct", 2.0, 2.5, NOW - 900, "1.14.1", "192.0.2.21/9994")
PATH = PathProbeReport("10.42.0.2", "main", 2.0, 3.0, 0.0, 2800, 60)
REPORT = Report(
    version=1,
    gateway="berlin-1",
    speaker_version="0.1.0",
    plan_versions=(1, 2, 3, 4),
    plan_digest="0123456789abcdef",
    plan_error="",
    started_at=NOW - 1000,
    reported_at=NOW,
    converged=True,
    sessions=(UP,),
    uplinks=(UplinkReport(11, "main", "zt0", True, ""),),
    kernel=KernelReport({"ipv4": 5}, 1, 0, 0, "", {}),
    lans=(LanReport("10.1.1.0/24", "lan0", True, ""),),
    peers=(PEER,),
    paths=(PATH,),
)
SERVICE = Service(
    uplink="main",
    node_id=NODE,
    version="1.14.1",
    online=True,
    listening=("192.0.2.20/9993", "192.0.2.20/9994"),
    surface=("192.0.2.20/9993", "192.0.2.20/9994"),
    interface_blacklist=("lan", "veth", "dum"),
    network_status="OK",
    network_mtu=2800,
    device="zt0",
    addresses=("10.42.0.11/16",),
    peers=read_peers(json.loads((RECORDED / "member_GET_peer_list.json").read_text()), 1795301128228),
)


def chain(hook: str, policy: str = "accept", table: str = "filter", name: str = "base") -> dict[str, Any]:
    body = {"family": "inet", "table": table, "name": name, "type": "filter", "hook": hook, "prio": 0, "policy": policy}
    return {"chain": body}


def rule(*expression: dict[str, Any], name: str = "base") -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": "filter", "chain": name, "expr": list(expression)}}


def meta(key: str, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}}


OWN_TABLE = {"table": {"family": "inet", "name": "leyline", "handle": 1}}
WELL = Facts(
    now=NOW,
    plan=PLAN,
    report=REPORT,
    processes={"agent": True, "exabgp": True, "bfd": True},
    exabgp_version="5.0.15",
    exabgp_pinned="5.0.15",
    sysctls={knob.name: str(knob.value) for knob in knobs(["zt0"], ())},
    nft=(OWN_TABLE,),
    services=(SERVICE,),
    interfaces={"zt0": Interface(True, 2800, ("10.42.0.11",)), "lan0": Interface(True, 1500, ("10.1.1.1",))},
    underlay_devices={"192.0.2.21": "eth0", "192.0.2.11": "eth0"},
    answering={},
    nat={"main": Nat(INDEPENDENT)},
    echoes=(RoutedEcho("hub-1", "10.42.0.1", True, "10.1.1.1", True),),
    routes=RouteDifferences(),
    clock_synchronised=True,
    controller=ControllerSeen("https://leyline.example", "", 200, 0.2, NOW + 30 * 86_400),
    tls_expires=NOW + 300 * 86_400,
)


def with_service(**changes: Any) -> Facts:
    return replace(WELL, services=(replace(SERVICE, **changes),))
