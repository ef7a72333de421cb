"""Rulesets as `nft -j list ruleset` prints them, and what becomes of a packet."""

from __future__ import annotations

from typing import Any

import pytest

from speaker.doctor.nft_verdict import Packet, Ruleset


def meta(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


def payload(protocol: str, field: str, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}}


ESTABLISHED = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}


def ruleset(*rules: list[dict[str, Any]], policy: str = "drop", hook: str = "forward", **more: Any) -> Ruleset:
    """One base chain, and what else is given: name of a chain -> its rules."""
    items: list[dict[str, Any]] = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "filter"}},
        {"chain": {"family": "inet", "table": "filter", "name": "base", "type": "filter", "hook": hook, "prio": 0}
         | {"policy": policy}},
    ]  # fmt: skip
    for name, chain in {"base": rules, **more}.items():
        if name != "base":
            items.append({"chain": {"family": "inet", "table": "filter", "name": name}})
        items += [{"rule": {"family": "inet", "table": "filter", "chain": name, "expr": rule}} for rule in chain]
    return Ruleset(items)


THROUGH = Packet(iifname="zt0", oifname="zt0", saddr="10.1.1.1", daddr="10.2.1.1", protocol="icmp")


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ([], "drop"),
        ([[ESTABLISHED, ACCEPT]], "drop"),
        ([[meta("iifname", "lan0"), ACCEPT]], "drop"),
        ([[meta("iifname", "zt0"), ACCEPT]], "accept"),
        ([[meta("iifname", "zt*"), meta("oifname", {"set": ["lan0", "zt0"]}), {"counter": {}}, ACCEPT]], "accept"),
        ([[meta("iifname", "zt0"), meta("oifname", "zt0"), DROP], [meta("iifname", "zt0"), ACCEPT]], "drop"),
        ([[meta("iifname", "lan0", "!="), ACCEPT]], "accept"),
        ([[{"xt": {"type": "match", "name": "comment"}}, ACCEPT]], "maybe"),
        ([[meta("mark", 7), ACCEPT]], "maybe"),
        ([[meta("mark", 7), DROP], [ACCEPT]], "maybe"),
        ([[payload("ip", "saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}}), ACCEPT]], "accept"),
        ([[payload("ip", "saddr", {"prefix": {"addr": "192.168.0.0", "len": 16}}), ACCEPT]], "drop"),
        ([[payload("ip", "daddr", {"range": ["10.2.0.0", "10.2.255.255"]}), ACCEPT]], "accept"),
        ([[{"return": None}], [ACCEPT]], "drop"),
        ([[{"log": {"prefix": "x"}}], [{"reject": {"type": "icmpx", "expr": "port-unreachable"}}]], "drop"),
    ],
)
def test_what_becomes_of_a_packet(rules: list[Any], verdict: str) -> None:
    assert ruleset(*rules).judge("forward", THROUGH).verdict == verdict


def test_jumps_return_and_gotos_do_not() -> None:
    jump, goto = {"jump": {"target": "other"}}, {"goto": {"target": "other"}}
    nothing: list[Any] = [[meta("iifname", "lan0"), DROP]]
    assert ruleset([jump], [ACCEPT], other=nothing).judge("forward", THROUGH).verdict == "accept"
    assert ruleset([goto], [ACCEPT], other=nothing).judge("forward", THROUGH).verdict == "drop"
    assert ruleset([jump], other=[[ACCEPT]]).judge("forward", THROUGH).verdict == "accept"


def test_chains_that_jump_in_a_circle_end() -> None:
    circle = {"jump": {"target": "other"}}
    assert ruleset([circle], other=[[circle]]).judge("forward", THROUGH).verdict == "maybe"


def test_a_verdict_map_is_read() -> None:
    key = {"ct": {"key": "state"}}
    states = [["established", ACCEPT], ["invalid", DROP]]
    vmap = {"vmap": {"key": key, "data": {"set": states}}}
    assert ruleset([vmap]).judge("forward", THROUGH).verdict == "drop"
    vmap = {"vmap": {"key": key, "data": {"set": [*states, ["new", ACCEPT]]}}}
    assert ruleset([vmap]).judge("forward", THROUGH).verdict == "accept"
    unknown = {"vmap": {"key": {"meta": {"key": "mark"}}, "data": {"set": [[7, ACCEPT]]}}}
    assert ruleset([unknown]).judge("forward", THROUGH).verdict == "maybe"


def test_a_named_set_is_looked_up() -> None:
    rule = {"family": "inet", "table": "filter", "chain": "base", "expr": [meta("iifname", "@uplinks"), ACCEPT]}
    chain = {"family": "inet", "table": "filter", "name": "base", "type": "filter", "hook": "forward", "policy": "drop"}
    known = {"set": {"family": "inet", "table": "filter", "name": "uplinks", "elem": ["zt0", {"elem": {"val": "zt1"}}]}}
    found = Ruleset([{"chain": chain}, {"rule": rule}, known])
    assert found.judge("forward", THROUGH).verdict == "accept"
    assert found.judge("forward", Packet(iifname="zt1")).verdict == "accept"
    assert found.judge("forward", Packet(iifname="eth0")).verdict == "drop"


def test_ports_are_of_their_protocol() -> None:
    rules = [payload("tcp", "dport", {"set": [22, {"range": [170, 180]}]}), ACCEPT]
    found = ruleset(rules, hook="input")
    assert found.judge("input", Packet(iifname="zt0", protocol="tcp", dport=179)).verdict == "accept"
    assert found.judge("input", Packet(iifname="zt0", protocol="udp", dport=179)).verdict == "drop"
    assert found.judge("input", Packet(iifname="zt0", protocol="tcp", dport=80)).verdict == "drop"


def test_who_drops_is_named_and_other_tables_hooks_and_families_are_not_asked() -> None:
    chain = {"type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}
    items = [
        {"chain": {"family": "inet", "table": "leyline", "name": "forward", **chain}},
        {"chain": {"family": "ip6", "table": "filter", "name": "FORWARD", **chain}},
        {"chain": {"family": "ip", "table": "nat", "name": "FORWARD", **chain, "type": "nat"}},
        {"chain": {"family": "ip", "table": "filter", "name": "INPUT", **chain, "hook": "input"}},
    ]
    assert Ruleset(items, without=[("inet", "leyline")]).judge("forward", THROUGH) == ("accept", "")
    items.append({"chain": {"family": "ip", "table": "filter", "name": "FORWARD", **chain}})
    assert Ruleset(items, without=[("inet", "leyline")]).judge("forward", THROUGH) == ("drop", "ip filter FORWARD")


@pytest.mark.parametrize("junk", [[{"chain": None}], [{"rule": {"expr": [None, 7, {}]}}], [{}], [{"set": {}}]])
def test_junk_is_no_rule(junk: list[Any]) -> None:
    assert Ruleset(junk).judge("forward", THROUGH).verdict == "accept"
