"""Each check fires where it should, says what, where and how to fix it, and is silent otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from speaker.doctor.checks import CHECKS
from speaker.doctor.facts import ControllerSeen, Facts, Interface, RoutedEcho, RouteDifferences, Shadow
from speaker.doctor.finding import LEVELS, examine
from speaker.plan import MoonSeedPlan, Plan
from speaker.report import Report
from speaker.zerotier.nat import DEPENDENT, INDEPENDENT, UNSEEN, Nat
from speaker.zerotier.peers import Peer
from tests.speaker.doctor.given import (
    NETWORK,
    NOW,
    OWN_TABLE,
    PATH,
    PEER,
    PLAN,
    REPORT,
    SERVICE,
    SESSION,
    UP,
    WELL,
    chain,
    meta,
    rule,
    with_service,
)

ACCEPT: dict[str, Any] = {"accept": None}
SSH = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}
BFD = {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 3784}}
HUB = msgspec.structs.replace(PLAN, role="hub")
PASSIVE = msgspec.structs.replace(SESSION, passive=True, peer_role="client", peer="paris-1")
ROOT = Peer("bd26c2797f", "PLANET", -1, -1, "", "1.14.1")
KEEPER = Peer(NETWORK[:10], "LEAF", 2, 45, "192.0.2.11/9993", "1.14.1")
FAR = Peer("5f8d869aea", "LEAF", 2, 1, "10.9.0.7/9993", "1.14.1")


ESTABLISHED = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
STATEFUL = (chain("input", "drop"), rule(ESTABLISHED, ACCEPT), rule(SSH, ACCEPT))
DEAF = replace(SERVICE, peers=(replace(FAR, silent_seconds=40),))


def said(**changes: Any) -> Facts:
    """The agent's report says otherwise."""
    return replace(WELL, report=msgspec.structs.replace(REPORT, **changes))


def planned(plan: Plan = PLAN, **changes: Any) -> Facts:
    return replace(WELL, plan=msgspec.structs.replace(plan, **changes))


def knobs_are(values: dict[str, str]) -> Facts:
    assert WELL.sysctls is not None
    assert values.keys() <= WELL.sysctls.keys()
    return replace(WELL, sysctls={**WELL.sysctls, **values})


def knob(name: str, value: str) -> Facts:
    return knobs_are({name: value})


def relayed(seconds: float, nat: Nat | None) -> Facts:
    peer = msgspec.structs.replace(PEER, state="relayed", since=NOW - seconds)
    return replace(said(peers=(peer,)), nat={} if nat is None else {"main": nat})


def filtered(*items: dict[str, Any], plan: Plan = PLAN) -> Facts:
    return replace(WELL, plan=plan, nft=(OWN_TABLE, *items))


def kernel(**changes: Any) -> Facts:
    return said(kernel=msgspec.structs.replace(REPORT.kernel, **changes))


def seen(**changes: Any) -> Facts:
    assert WELL.controller is not None
    return replace(WELL, controller=replace(WELL.controller, **changes))


DOWN = msgspec.structs.replace(UP, state="down", reason="hold timer expired")
FIRES: list[tuple[str, str, str, str, Facts]] = [
    ("agent", "error", "agent", "no agent runs", replace(WELL, report=None, agent_error="no agent runs here")),
    ("agent", "error", "plan", "version 9", said(plan_error="plan version 9; this speaker reads 1, 2")),
    ("agent", "error", "plan", "none yet", said(plan_digest="")),
    ("agent", "error", "kernel", "No space", kernel(last_error="No space left on device")),
    ("agent", "error", "uplink main", "missing", said(uplinks=(msgspec.structs.replace(
        REPORT.uplinks[0], up=False, detail="interface zt0 is missing, down or without carrier"),))),
    ("sessions", "error", "hub-1 (10.42.0.1)", "hold timer", said(sessions=(DOWN,))),
    ("sessions", "error", "hub-1 (10.42.0.1)", "dropped 7 TCP segments for their MD5 key",
        replace(said(sessions=(DOWN,)), md5_drops=7)),
    ("sessions", "warning", "hub-1", "near its limit", said(sessions=(
        msgspec.structs.replace(UP, warning="near its limit"),))),
    ("sessions", "warning", "sessions", "none", planned(sessions=())),
    ("exabgp", "error", "bfd", "does not run", replace(WELL, processes={"exabgp": True, "bfd": False})),
    ("exabgp", "error", "exabgp", "6.0.0 is installed", replace(WELL, exabgp_version="6.0.0")),
    ("service", "error", "uplink main", "does not answer", with_service(error="connection refused")),
    ("service", "error", "uplink main", "its node is", with_service(node_id="ffffffffff")),
    ("service", "error", "uplink main", "has not joined", with_service(network_status="")),
    ("service", "error", "uplink main", "does not exist", with_service(network_status="NOT_FOUND")),
    ("service", "error", "uplink main", "not authorised", with_service(network_status="ACCESS_DENIED")),
    ("service", "error", "uplink main", "53fe91125f is known, and silent", with_service(
        network_status="REQUESTING_CONFIGURATION")),
    ("service", "error", "uplink main", "53fe91125f is not to be found", with_service(
        network_status="REQUESTING_CONFIGURATION", peers=(ROOT,))),
    ("service", "error", "uplink main", "PORT_ERROR", with_service(network_status="PORT_ERROR")),
    ("service", "warning", "uplink main", "not been heard of: no change", with_service(peers=(FAR,))),
    ("service", "warning", "uplink main", "not been heard for 45 s", with_service(peers=(FAR, KEEPER))),
    ("udp-blocked", "error", "uplink main", "TCP relay", with_service(tcp_fallback=True)),
    ("udp-blocked", "error", "uplink main", "none of 1 roots", with_service(online=False, peers=(ROOT,))),
    ("udp-blocked", "error", "uplink main", "no root is known", with_service(online=False, peers=())),
    ("udp-blocked", "warning", "uplink main", "those that stand", with_service(online=False, peers=(ROOT, FAR))),
    ("udp-blocked", "error", "uplink main", "nobody has been heard for 40 s", with_service(
        peers=(replace(ROOT, silent_seconds=50), replace(FAR, silent_seconds=40)))),
    ("udp-blocked", "warning", "uplink main", "those that stand", with_service(
        peers=(replace(ROOT, silent_seconds=50), FAR))),
    ("address", "error", "uplink main", "10.42.0.11 is not on interface zt0", replace(
        WELL, interfaces={"zt0": Interface(True, 2800, ())})),
    ("address", "error", "uplink main", "duplicate", replace(
        WELL, answering={"10.42.0.11": ("16:34:b8:d6:b4:3e",)})),
    ("address", "error", "uplink main", "16:51:48:d9:88:7b, which is node 5f8d869aea: a duplicate", replace(
        WELL, answering={"10.42.0.11": ("16:51:48:d9:88:7b",)})),
    ("mtu", "error", "uplink main", "the network's MTU is 1400", with_service(network_mtu=1400)),
    ("mtu", "warning", "uplink main", "an MTU of 1500", replace(
        WELL, interfaces={"zt0": Interface(True, 1500, ("10.42.0.11",))})),
    ("mtu", "error", "path to 10.42.0.2 by main", "more than 1392 bytes", said(
        paths=(msgspec.structs.replace(PATH, mtu=1392),))),
    ("overlay-loop", "error", "uplink main", "listens on 10.42.0.11/9993", with_service(
        listening=("192.0.2.20/9993", "10.42.0.11/9993"))),
    ("overlay-loop", "error", "uplink main", "through zt0", replace(
        with_service(peers=(*SERVICE.peers, FAR)), underlay_devices={"10.9.0.7": "zt0"})),
    ("overlay-loop", "error", "uplink main", "through the segment", with_service(
        peers=(*SERVICE.peers, replace(FAR, physical="10.42.0.2/9993")))),
    ("overlay-loop", "error", "uplink main", "at 10.9.0.9/9993 leads through zt0", replace(
        with_service(peers=(replace(FAR, alive=("10.9.0.7/9993", "10.9.0.9/9993")),)),
        underlay_devices={"10.9.0.7": "eth0", "10.9.0.9": "zt0"})),
    ("overlay-loop", "error", "uplink main", "no route leads to 10.9.0.7, where ZeroTier reached 5f8d869aea", replace(
        with_service(peers=(*SERVICE.peers, replace(FAR, silent_seconds=40))), underlay_devices={"10.9.0.7": ""})),
    ("overlay-loop", "warning", "uplink main", "LAN interfaces lan0", with_service(interface_blacklist=("docker",))),
    ("network-rules", "error", "segment towards hub-1", "not 10.1.1.1", replace(
        WELL, echoes=(RoutedEcho("hub-1", "10.42.0.1", True, "10.1.1.1", False),))),
    ("nat", "error", "uplink main", "until 2026-11-20", relayed(600, Nat(DEPENDENT, INDEPENDENT, NOW - 86_400))),
    ("nat", "warning", "uplink main", "each destination", relayed(600, Nat(DEPENDENT))),
    ("nat", "warning", "uplink main", "not the reason", relayed(600, Nat(INDEPENDENT))),
    ("nat", "warning", "uplink main", "not known whether this gateway's NAT", relayed(600, Nat(UNSEEN))),
    ("nat", "warning", "uplink main", "relayed to 10.42.0.2; it is not known", relayed(600, None)),
    ("kernel-routes", "error", "kernel routes", "10.2.1.0/24 and 6 more: not in", replace(
        WELL, routes=RouteDifferences(missing=("10.2.1.0/24",), counts=(7, 0, 0)))),
    ("kernel-routes", "error", "kernel routes", "nobody has decided", replace(
        WELL, routes=RouteDifferences(extra=("10.2.1.0/24",), counts=(0, 1, 0)))),
    ("kernel-routes", "error", "kernel routes", "otherwise than", replace(
        WELL, routes=RouteDifferences(changed=("10.2.1.0/24",), counts=(0, 0, 1)))),
    ("kernel-routes", "error", "kernel routes", "24: a route of protocol 3 with metric 10", replace(
        WELL, routes=RouteDifferences(shadowed=(Shadow("10.2.1.0/24", 3, 10),)))),
    ("kernel-routes", "error", "kernel routes", "3 routes were refused", kernel(failed=3)),
    ("sysctls", "error", "net.ipv4.ip_forward", "is 0, should be 1", knob("net.ipv4.ip_forward", "0")),
    ("sysctls", "warning", "net.ipv4.nexthop_compat_mode", "is 1", knob("net.ipv4.nexthop_compat_mode", "1")),
    ("rp-filter", "error", "zt0", "strict", knobs_are({
        "net.ipv4.conf.zt0.rp_filter": "0", "net.ipv4.conf.all.rp_filter": "1"})),
    ("firewall", "error", "inet filter base", "ZeroTier (UDP 9993) is dropped", replace(
        filtered(chain("input", "drop")), services=(DEAF,))),
    ("firewall", "error", "inet filter base", "ZeroTier (UDP 9993) is dropped", filtered(
        *STATEFUL, plan=msgspec.structs.replace(PLAN, moon=MoonSeedPlan("m", "main", ("192.0.2.20/9993",))))),
    ("firewall", "error", "inet filter base", "BFD from hub-1", filtered(chain("input", "drop"))),
    ("firewall", "error", "inet filter base", "BGP from paris-1", filtered(
        chain("input", "drop"), plan=msgspec.structs.replace(HUB, sessions=(PASSIVE,)))),
    ("forwarding", "error", "inet filter base", "zt0 to zt0", filtered(chain("forward", "drop"), plan=HUB)),
    ("forwarding", "error", "inet filter base", "lan0 to zt0", filtered(chain("forward", "drop"))),
    ("forwarding", "error", "inet filter base", "zt0 to lan0", filtered(
        chain("forward", "drop"), rule(meta("iifname", "lan0"), ACCEPT))),
    ("forwarding", "error", "inet filter base", "zt0 to zt0", filtered(
        chain("forward", "drop"), rule(SSH, ACCEPT), plan=HUB)),
    ("forwarding", "warning", "nftables", "`inet leyline` is not there", replace(WELL, nft=())),
    ("forwarding", "warning", "nftables", "nft is not installed", replace(
        WELL, nft=None, nft_error="nft is not installed")),
    ("clock", "error", "clock", "300 s behind", seen(clock_offset=300.0)),
    ("clock", "warning", "clock", "10 s ahead of", seen(clock_offset=-10.0)),
    ("clock", "warning", "clock", "nobody keeps", replace(WELL, clock_synchronised=False)),
    ("keys", "warning", "controller", "does not answer", seen(error="connection refused", status=0)),
    ("keys", "error", "token", "(401)", seen(status=401)),
    ("keys", "error", "token", "has expired", seen(token_expires=NOW - 1)),
    ("keys", "warning", "token", "expires in 3 days", seen(token_expires=NOW + 3 * 86_400)),
    ("keys", "warning", "CA certificate", "expires in 5 hours", replace(WELL, tls_expires=NOW + 5 * 3600)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "level", "where", "what", "facts"), FIRES, ids=[f"{name}: {what}" for name, _, _, what, _ in FIRES]
)
def test_it_fires(check: str, level: str, where: str, what: str, facts: Facts) -> None:
    found = [each for each in examine(CHECKS, facts) if what in each.what]
    assert found, examine(CHECKS, facts)
    assert {(each.check, each.level) for each in found} == {(check, level)}
    assert where in found[0].where
    assert found[0].fix


def test_every_check_has_a_case_in_which_it_fires() -> None:
    assert {name for name, *_ in FIRES} == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_it_is_silent_when_all_is_well(name: str) -> None:
    assert list(CHECKS[name](WELL)) == []


@pytest.mark.parametrize("name", CHECKS)
def test_it_is_silent_about_what_nobody_could_read(name: str) -> None:
    assert list(CHECKS[name](Facts(now=NOW))) == []


SILENT: list[tuple[str, Facts]] = [
    ("a path that was relayed for a moment only", relayed(30, Nat(DEPENDENT))),
    ("a NAT that maps by destination, and nothing is relayed", replace(WELL, nat={"main": Nat(DEPENDENT)})),
    ("more neighbours than needed", knob("net.ipv4.neigh.default.gc_thresh3", "65536")),
    ("loose reverse path filter everywhere", knob("net.ipv4.conf.all.rp_filter", "2")),
    ("a spoke never forwards from segment to segment", filtered(
        chain("forward", "drop"), rule(meta("iifname", "lan0"), ACCEPT), rule(meta("oifname", "lan0"), ACCEPT))),
    ("a hub's baseline that accepts the segment", filtered(
        chain("forward", "drop"), rule(meta("iifname", "zt*"), ACCEPT), rule(meta("oifname", "zt*"), ACCEPT),
        plan=HUB)),
    ("a rule that nobody can judge", filtered(
        chain("input", "drop"), rule({"xt": {"type": "match", "name": "conntrack"}}, ACCEPT))),
    ("a stateful firewall, through which ZeroTier has opened its ways", filtered(
        *STATEFUL, rule(BFD, ACCEPT))),
    ("a segment that is not ours", planned(network="", mtu=0)),
    ("probes that know no MTU yet", said(paths=(msgspec.structs.replace(PATH, mtu=0),))),
    ("the controller's own gateway", with_service(
        node_id=NETWORK[:10], peers=(replace(ROOT, silent_seconds=2),))),
    ("a LAN that is the way out, too", replace(with_service(interface_blacklist=()), ways_out=frozenset({"lan0"}))),
    ("a path that has no route, of a peer that has another one", replace(
        with_service(peers=(*SERVICE.peers, FAR)), underlay_devices={"10.9.0.7": ""})),
    ("a controller that is heard now and then", with_service(peers=(FAR, replace(KEEPER, silent_seconds=25)))),
    ("a LAN that ZeroTier keeps out of by its prefix", with_service(
        interface_blacklist=(), physical_blacklist=("10.1.0.0/16",))),
    ("an echo that was not tried", replace(WELL, echoes=(RoutedEcho("hub-1", "10.42.0.1", True, "", None),))),
    ("segments dropped for their key while all sessions are up", replace(WELL, md5_drops=7)),
    ("a hub that answers nothing", replace(WELL, echoes=(RoutedEcho("hub-1", "10.42.0.1", False, "", False),))),
    ("a dead path over the overlay", replace(
        with_service(peers=(*SERVICE.peers, replace(FAR, silent_seconds=60))), underlay_devices={"10.9.0.7": "zt0"})),
    ("a controller without a clock", replace(WELL, controller=ControllerSeen("https://leyline.example", "", 200))),
]  # fmt: skip


@pytest.mark.parametrize(("facts"), [facts for _, facts in SILENT], ids=[name for name, _ in SILENT])
def test_it_does_not_cry_wolf(facts: Facts) -> None:
    ours = [each for each in examine(CHECKS, facts) if each.check != "service" or "its node is" not in each.what]
    assert ours == []


@pytest.mark.parametrize(("password", "drops", "said_so"), [("", 0, False), ("key", 0, True), ("", 7, True)])
def test_a_session_that_may_have_two_keys_is_said_to(password: str, drops: int, said_so: bool) -> None:
    """Who dials with another key than the hub's hears nothing: only the hub's kernel knows why."""
    plan = msgspec.structs.replace(PLAN, sessions=(msgspec.structs.replace(SESSION, password=password),))
    (found,) = examine(CHECKS, replace(said(sessions=(DOWN,)), plan=plan, md5_drops=drops))
    assert ("leyline fabric md5-keys" in found.fix) is said_so


def test_a_route_that_leads_zerotier_over_itself_is_to_go_whoever_made_it() -> None:
    facts = replace(with_service(peers=(*SERVICE.peers, FAR)), underlay_devices={"10.9.0.7": "zt0"})
    (found,) = examine(CHECKS, facts)
    assert "add 10.9.0.7 to the fabric's underlay, so that none does; else remove it." in found.fix


@pytest.mark.parametrize(
    ("assigned", "fix"),
    [
        ((), "see leyline segment show: ZeroTier's controller has to assign it"),
        (("10.42.0.11/16",), "ZeroTier has assigned it: see what takes it away there, then restart zerotier-one"),
        (("10.42.0.11/16", "fd42::11/64"), "ZeroTier has assigned it: is net.ipv6.conf.zt0.disable_ipv6 set?"),
    ],
)
def test_an_address_that_is_assigned_and_not_there_is_no_matter_of_the_controller(
    assigned: tuple[str, ...], fix: str
) -> None:
    uplink = msgspec.structs.replace(PLAN.uplinks[0], address6="fd42::11")
    facts = replace(planned(uplinks=(uplink,)), services=(replace(SERVICE, addresses=assigned),))
    found = examine({"address": CHECKS["address"]}, replace(facts, interfaces={"zt0": Interface(True, 2800, ())}))
    assert fix in {each.fix for each in found}
    assert len(found) == 2


def test_errors_come_first() -> None:
    report: Report = msgspec.structs.replace(REPORT, sessions=(DOWN,))
    facts = replace(WELL, report=report, nft=(), clock_synchronised=False, controller=None)
    levels = [each.level for each in examine(CHECKS, facts)]
    assert levels == sorted(levels, key=LEVELS.index) != []
    assert set(levels) == {"error", "warning"}


def test_a_check_judges_and_reads_nothing() -> None:
    """What the finding says is a function of the facts: the same facts, the same findings."""
    facts = relayed(600, Nat(DEPENDENT, INDEPENDENT, NOW - 86_400))
    assert examine(CHECKS, facts) == examine(CHECKS, facts)
