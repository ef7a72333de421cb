"""Each check of `leyline doctor` fires where it should, and is silent otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.client.examine import CHECKS
from controller.client.examine.facts import LEVELS, Facts, examine

NOW = 1_795_301_128.0
HEARD = "2026-11-21T22:45:27+00:00"  # One second before.
NETWORK = "53fe91125fc50e14"

REPORT: dict[str, Any] = {
    "gateway": "berlin-1",
    "reported_at": NOW - 1,
    "plan_error": "",
    "converged": True,
    "sessions": [{"peer": "hub-1", "state": "up", "reason": "", "warning": ""}],
    "uplinks": [{"name": "main", "up": True, "detail": ""}],
    "kernel": {"last_error": ""},
    "zerotier": [{"uplink": "main", "online": True, "status": "OK", "mtu": 2800, "problem": ""}],
}
TOKEN = {"state": "usable", "expires_at": "2026-12-31T00:00:00+00:00"}
STATUS: dict[str, Any] = {
    "gateway": "berlin-1",
    "in_force": True,
    "received_at": HEARD,
    "report": REPORT,
    "token": TOKEN,
}
SEGMENT: dict[str, Any] = {
    "network": NETWORK,
    "condition": "settled",
    "reason": "",
    "mtu": 2800,
    "error": "",
    "failures": {"total": 0, "items": []},
    "members": {"declared": 2, "in_service": 2, "without_node_id": []},
    "pending": {"network": [], "leaving": [], "members": {"total": 0, "items": []}},
    "held": {"network": [], "total": 0, "members": []},
    "conflicts": {"total": 0, "items": []},
    "strangers": {"total": 0, "items": []},
    "rules": [],
}
PATH: dict[str, Any] = {
    "gateway": "berlin-1",
    "uplink": "main",
    "to": "paris-1/main",
    "state": "direct",
    "since": NOW - 900,
    "mtu": 2800,
    "physical": "192.0.2.7/9993",
}
ADMINS = {"id": "aaaa", "gateway": None, "state": "usable", "expires_at": None}
WELL = Facts(NOW, {"segment": "10.42.0.0/16", "segment6": None}, [STATUS], SEGMENT, [PATH], [ADMINS])


def status(**changes: Any) -> Facts:
    return replace(WELL, statuses=[{**STATUS, **changes}])


def said(**changes: Any) -> Facts:
    return status(report={**REPORT, **changes})


def segment(**changes: Any) -> Facts:
    return replace(WELL, segment={**SEGMENT, **changes})


def paths(*changes: dict[str, Any]) -> Facts:
    return replace(WELL, paths=[{**PATH, **each} for each in changes])


def zerotier(**changes: Any) -> Facts:
    return said(zerotier=[{**REPORT["zerotier"][0], **changes}])


def on_underlay(site: str, **fabric: Any) -> Facts:
    """A site has the space that the path leads to."""
    allocation = {"site": site, "prefix": "192.0.2.0/28"}
    facts = replace(WELL, fabric={**WELL.fabric, **fabric}, allocations=[allocation])
    return replace(facts, statuses=[{**STATUS, "site": "berlin"}])


def md5(*, wanted: bool, key: bool) -> Facts:
    return replace(WELL, md5={"wanted": wanted, "hubs": [{"hub": "hub-1", "key": key}], "troubles": {}})


def items(*found: dict[str, Any]) -> dict[str, Any]:
    return {"total": len(found), "items": list(found)}


NONE = {"state": "none", "expires_at": None}
RELAYED = {"state": "relayed", "since": NOW - 600, "physical": ""}
SOON = "2026-11-24T22:45:28+00:00"
CONFLICT = {"object": "host nas", "address": "10.42.9.9", "holder": "c1b2c3d4e5"}
TWINS = [{"node_id": each * 10, "name": "", "authorised": True, "addresses": ["10.42.9.9"]} for each in "ab"]
HELD = {"network": ["routes"], "total": 1, "members": [{"node_id": "c1", "object": "host nas", "differs": ["name"]}]}
ADVICE = "Put what is missing before it, or declare segment_rules: owned."
IPAUTH = {
    "code": "rules-no-ipauth",
    "message": f"Frames with a foreign source are dropped. (routed IPv4: rule 3 drops it.) {ADVICE}",
    "snippet": "# before the rule that asks:\naccept ethertype ipv4;\naccept ethertype ipv6;",
    "rule": 3,
}
MPLS = {"code": "rules-no-mpls", "message": "MPLS frames are dropped.", "snippet": "accept ethertype 34887;", "rule": 0}

FIRES: list[tuple[str, str, str, str, Facts]] = [
    ("gateways", "error", "berlin-1", "no token lets it in", status(report=None, token=NONE)),
    ("gateways", "error", "berlin-1", "was never heard", status(report=None)),
    ("gateways", "warning", "berlin-1", "silent", replace(WELL, now=NOW + 60)),
    ("gateways", "error", "berlin-1", "version 9", said(plan_error="plan version 9")),
    ("gateways", "warning", "berlin-1", "not in force", status(in_force=False)),
    ("gateways", "error", "berlin-1", "refuses routes", said(kernel={"last_error": "No space left"})),
    ("gateways", "error", "berlin-1/main", "missing", said(
        uplinks=[{"name": "main", "up": False, "detail": "interface zt0 is missing"}])),
    ("sessions", "error", "berlin-1 with hub-1", "hold timer", said(
        sessions=[{"peer": "hub-1", "state": "down", "reason": "hold timer expired"}])),
    ("sessions", "warning", "berlin-1 with hub-1", "near", said(
        sessions=[{**REPORT["sessions"][0], "warning": "near its limit"}])),
    ("segment", "warning", f"network {NETWORK}", "nobody keeps it", segment(
        condition="unmanaged", reason="no service")),
    ("segment", "error", f"network {NETWORK}", "has no controller", segment(
        condition="failing", error="the node has no controller: 1.16 builds carry none")),
    ("segment", "error", "host nas", "not stored", segment(
        failures=items({"object": "host nas", "message": "addresses were not stored"}))),
    ("segment", "warning", "host nas", "somebody else has set up", segment(held=HELD)),
    ("segment", "warning", f"network {NETWORK}", "routes otherwise", segment(held=HELD)),
    ("segment", "warning", "client frr2", "no node id", segment(
        members={**SEGMENT["members"], "without_node_id": ["client frr2"]})),
    ("network-rules", "error", f"network {NETWORK}", "(routed IPv4: rule 3 drops it.)", segment(rules=[IPAUTH])),
    ("network-rules", "warning", f"network {NETWORK}", "MPLS frames", segment(rules=[MPLS])),
    ("address", "error", "host nas", "10.42.9.9", segment(conflicts=items(CONFLICT))),
    ("address", "warning", "member aaaaaaaaaa", "member bbbbbbbbbb's", segment(strangers=items(*TWINS))),
    ("service", "error", "berlin-1/main", "not authorised", zerotier(problem="this node is not authorised")),
    ("service", "error", "berlin-1/main", "no root answers", zerotier(online=False)),
    ("mtu", "error", f"network {NETWORK}", "is not 2800", segment(
        pending={"network": ["mtu"], "leaving": [], "members": items()})),
    ("mtu", "error", "berlin-1/main", "an MTU of 1400", replace(zerotier(mtu=1400), segment={**SEGMENT, "written": 1})),
    ("delivery", "error", "berlin-1/main", "has an MTU of 2800 for it, and the service there says 1400",
        zerotier(mtu=1400)),
    ("delivery", "error", "berlin-1/main", "has let it in, and the service there says ACCESS_DENIED",
        zerotier(status="ACCESS_DENIED")),
    ("delivery", "error", "berlin-1/main", "has the network, and the service there says NOT_FOUND",
        zerotier(status="NOT_FOUND")),
    ("delivery", "error", "berlin-1/main",
        "has 10.42.0.11 for it, and the service there says that it has no such address: stored, and not delivered",
        zerotier(lacks=["10.42.0.11"])),
    ("mtu", "error", "berlin-1/main to paris-1/main", "more than 1392", paths({"mtu": 1392})),
    ("overlay-loop", "error", "berlin-1/main", "over itself", paths({"physical": "10.42.0.3/9993"})),
    ("overlay-loop", "warning", "berlin-1/main", "inside 192.0.2.0/28 of site paris", on_underlay("paris")),
    ("relayed", "warning", "berlin-1/main", "relayed to paris-1/main", paths(RELAYED, {"to": "oslo-1/main"})),
    ("relayed", "warning", "berlin-1/main", "relayed to paris-1/main", paths(RELAYED)),
    ("relayed", "warning", "berlin-1/main", "all its 2 paths", paths(RELAYED, {**RELAYED, "to": "oslo-1/main"})),
    ("clock", "warning", "berlin-1", "9 s behind", said(reported_at=NOW - 10)),
    ("clock", "error", "berlin-1", "300 s ahead of", said(reported_at=NOW + 299)),
    ("keys", "warning", "hub-1", "its sessions have no key yet", md5(wanted=True, key=False)),
    ("keys", "warning", "hub-1", "still have a key", md5(wanted=False, key=True)),
    ("keys", "error", "berlin-1", "expired", status(token={"state": "expired", "expires_at": HEARD})),
    ("keys", "warning", "berlin-1", "expires in 3 days", status(token={**TOKEN, "expires_at": SOON})),
    ("keys", "warning", "token aaaa", "expires in 3 days", replace(WELL, tokens=[{**ADMINS, "expires_at": SOON}])),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "level", "where", "what", "facts"), FIRES, ids=[f"{name}: {what}" for name, _, _, what, _ in FIRES]
)
def test_it_fires(check: str, level: str, where: str, what: str, facts: Facts) -> None:
    (found,) = [each for each in examine(CHECKS, facts) if what in each.what]
    assert (found.check, found.level, found.where) == (check, level, where)
    assert found.fix


def test_every_check_has_a_case_in_which_it_fires() -> None:
    assert {name for name, *_ in FIRES} == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_it_is_silent_when_all_is_well(name: str) -> None:
    assert list(CHECKS[name](WELL)) == []


@pytest.mark.parametrize("name", CHECKS)
def test_it_is_silent_about_what_nobody_has_said(name: str) -> None:
    assert list(CHECKS[name](Facts(NOW))) == []


OLD = {name: value for name, value in REPORT.items() if name != "zerotier"}
SILENT = {
    "a report of the release before": status(report=OLD),
    "a segment that is somebody else's": replace(
        WELL, segment={"network": "", "condition": "unmanaged", "reason": "x"}
    ),
    "an address that is being assigned": replace(zerotier(lacks=["10.42.0.11"]), segment={**SEGMENT, "written": 1}),
    "a network before its first pass": replace(WELL, segment={"network": NETWORK, "condition": "waiting", "mtu": 2800}),
    "a path that was relayed for a moment": paths({**RELAYED, "since": NOW - 30}),
    "a path that nobody has measured": paths({"mtu": None, "since": None, "state": "unknown", "physical": ""}),
    "space that is declared to be underlay": on_underlay("paris", underlay=["192.0.2.7/32"]),
    "a path inside of its own site": on_underlay("berlin"),
    "a token that was never to end": status(token={"state": "usable", "expires_at": None}),
    "a gateway's token that was replaced": replace(WELL, tokens=[{**ADMINS, "state": "revoked", "expires_at": SOON}]),
    "strangers that nobody has let in": segment(strangers=items(*({**each, "authorised": False} for each in TWINS))),
}


@pytest.mark.parametrize("facts", SILENT.values(), ids=list(SILENT))
def test_it_does_not_cry_wolf(facts: Facts) -> None:
    assert examine(CHECKS, facts) == []


def test_an_address_of_a_plan_that_is_not_in_force_may_never_have_been_stored() -> None:
    (old,) = zerotier(lacks=["10.42.0.11"]).statuses
    assert [each.check for each in examine(CHECKS, replace(WELL, statuses=[{**old, "in_force": False}]))] == [
        "gateways"
    ]


def test_what_is_missing_in_the_rules_stands_on_one_line() -> None:
    (found,) = examine(CHECKS, segment(rules=[IPAUTH]))
    assert found.what.endswith("rule 3 drops it.)")
    assert found.fix == (
        "put this before it: accept ethertype ipv4; accept ethertype ipv6; or declare segment_rules: owned, and Leyline"
        " keeps them"
    )


def test_a_setting_is_to_be_set_and_put_before_nothing() -> None:
    setting = {
        "code": "broadcast-off",
        "message": "Broadcast is off.",
        "snippet": "set enableBroadcast to true",
        "rule": 0,
    }
    (found,) = examine(CHECKS, segment(rules=[setting]))
    assert found.fix == "set enableBroadcast to true, in ZeroTier"


def test_errors_come_first() -> None:
    facts = replace(segment(rules=[MPLS, IPAUTH]), paths=[{**PATH, **RELAYED}, {**PATH, "to": "x", "mtu": 1392}])
    levels = [each.level for each in examine(CHECKS, facts)]
    assert levels == sorted(levels, key=LEVELS.index)
    assert set(levels) == {"error", "warning"}
